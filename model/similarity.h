/* model/similarity.h - sim(h1, h2) = h1' W h2 and its contrastive loss over all ranks' columns.
 *
 *     P_r = H2_r W'                       here, before sharing: half the traffic of sharing both
 *     rows of S = A P', softmax, loss, dA, dP, with the P of all ranks: see loss.exchange
 *         allgather (model/similarity_gather.c): all of P, dP on every rank
 *         ring (model/similarity_ring.c): P_r and dP_r pass by all ranks, one after another
 *     dH2 = dP_r W,  dW += dP_r' H2_r
 *
 * The divisor is the global K on every rank and all reductions are sums, so W and the encoder get
 * the true gradient for any, also uneven, split of the batch. (The published code does the
 * same on one process.) Where parts are leaves (comm/parts.h) rows are taken leaf by leaf, and all
 * sums over rows added over their tree.
 *
 * With loss.symmetric the same is done once more with the roles exchanged: rows are this rank's
 * columns P_r, columns the anchors of all ranks. Each of the two losses counts half.
 */
#ifndef COC_MODEL_SIMILARITY_H
#define COC_MODEL_SIMILARITY_H

#include "comm/parts.h"
#include "model/ops.h"
#include "model/params.h"

typedef struct coc_similarity coc_similarity;

typedef struct {
    double loss;       /* mean over all global rows */
    double accuracy;   /* share of global rows that rank their own column first */
    double columns;    /* mean number of columns that counted for a row */
    double same_track; /* mean number of columns of the row's set and track but the own one,
                          counted or not (loss.mask_same_track) */
    /* of the gradients, with loss.screening: auto on a backend that screens */
    double kept;         /* share of the columns that counted over which they were summed */
    double dropped;      /* mean share of the weight of a row's negatives that is left out */
    double blocks;       /* blocks of rows, on all ranks; 0: no screening */
    double dense_blocks; /* of these, those that needed all columns */
} coc_loss;

/* What the loss knows of a batch besides embeddings; n are this rank's rows (coc_parts), K columns
 * those of all ranks in the order of the batch. On the backend's device, borrowed until the device
 * has done the call. A column counts for a row if their sets are equal, or where no sets are given;
 * the own one always does. */
typedef struct {
    const int64_t *label;         /* [n] column of each anchor's own positive */
    const uint64_t *row_track;    /* [n] of each anchor */
    const uint64_t *column_track; /* [n] of each positive that was dealt to this rank */
    const int32_t *row_set;       /* [n], or NULL */
    const int32_t *column_set;    /* [K], or NULL; both or neither */
    /* the same with anchors and positives exchanged; read only with loss.symmetric */
    const int64_t
        *column_label; /* [n] slot of the own anchor of each positive dealt to this rank */
    const int32_t *positive_set; /* [n] sets of those positives; NULL with row_set */
    const int32_t *anchor_set;   /* [K] sets of all anchors; NULL with row_set */
} coc_similarity_batch;

/* settings NULL: the published loss. Borrows backend and comm, which must outlive it. Collective:
 * all ranks fail if one does. Errors: COC_ERR_MEMORY, COC_ERR_DEVICE, COC_ERR_RANKS;
 * COC_ERR_SETTING for leaves where comm does not add over their tree. */
coc_status coc_similarity_create(coc_backend *backend, coc_comm *comm, const coc_parts *parts,
                                 int d, const coc_loss_settings *settings,
                                 coc_similarity **similarity);
/* Bytes that it takes from the device, with these settings (NULL: as above). */
int64_t coc_similarity_bytes(const coc_parts *parts, int d, const coc_loss_settings *settings);
/* Bytes of host memory that a communicator of the host, also below one that is staged, keeps for
 * its sums (coc_reduce_scatter_bytes). Both halves of a symmetric loss use the same ones. */
int64_t coc_similarity_sum_bytes(const coc_parts *parts, int d, const coc_loss_settings *settings);
/* Bytes of the backend's working memory (of these settings) that its loss takes beside. Errors:
 * COC_ERR_SETTING (no such backend). */
coc_status coc_similarity_scratch(const coc_model_settings *model, const coc_parts *parts, int d,
                                  const coc_loss_settings *settings, int64_t *bytes);
void coc_similarity_destroy(coc_similarity **similarity); /* collective */

/* A loss is made of two calls. h1, h2 [n][d] are the embeddings of this rank's anchors and of the
 * positives that were dealt to it, d_h1, d_h2 [n][d] the gradients there; all on the backend's
 * device. Both only give work to its stream, and are collective over comm.
 *
 * First, for every part from 0 on as soon as its rows of h2 are there: their columns are computed
 * and sent on their way to all ranks, beside what the stream is given next. Errors: COC_ERR_RANKS,
 * COC_ERR_DEVICE. */
coc_status coc_similarity_columns(coc_similarity *similarity, const coc_params *params,
                                  const coc_similarity_batch *batch, const real *h2, int64_t part);
/* Then: writes d_h1 and d_h2, adds dW to params->grad. seconds, if not NULL, is what the host spent
 * in communication. In the first call and every 100th after it the gathered columns are compared
 * with those that were sent, for which it waits for the device. */
coc_status coc_similarity_loss(coc_similarity *similarity, coc_params *params, const real *h1,
                               const real *h2, const coc_similarity_batch *batch, real *d_h1,
                               real *d_h2, double *seconds);

/* Of the last call, after the device has been waited for (ops->finish). */
coc_loss coc_similarity_result(const coc_similarity *similarity);

/* Whether the next call compares, and so waits for the device: such a call cannot be recorded. */
bool coc_similarity_checks(const coc_similarity *similarity);

/* A recorded call has been launched again: it counts too. */
void coc_similarity_again(coc_similarity *similarity);

/* s [n] = h1_i' W h2_i: the COCOLA Score of each pair of rows (paper, eq. 2). h1, h2 [n][d] on the
 * backend's device, s on the host. Not collective. Errors: COC_ERR_MEMORY, COC_ERR_DEVICE. */
coc_status coc_similarity_pairs(coc_backend *backend, const coc_params *params, int64_t n,
                                const real *h1, const real *h2, double *s);

#endif
