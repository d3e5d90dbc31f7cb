/* train/passes.h - a batch through the encoder in parts, there and back.
 *
 * With several parts (train.micro_batch) the first pass embeds one after another; the loss sees all
 * rows; the second pass brings the gradient back part by part. An encoder keeps what backward needs
 * of one part: there are `places` encoders, so the last `places` parts need not be embedded again.
 * The others are, with the same inputs, masks and batch-norm groups, and so to the same bits.
 *
 *     parts 0 1 2 3, two places     embed 0 1 2 3 | loss | back 2 3, embed and back 0, 1
 *
 * Backward goes part by part, so all places share the buffers that gradients pass through.
 *
 * Where parts are leaves (comm/parts.h) statistics and gradients of each are made alone, and summed
 * over a tree; else one adds to those of the other.
 */
#ifndef COC_TRAIN_PASSES_H
#define COC_TRAIN_PASSES_H

#include "comm/parts.h"
#include "model/encoder.h"
#include "model/similarity.h"
#include "model/tree.h"
#include "train/loader.h"

/* A part between forward and backward; arrays on the backend's device. */
typedef struct {
    coc_encoder *encoder;
    coc_encoder_input input;
    real *dropout, *depth; /* masks: [2n][head], [blocks][2n] */
    real *h, *dh;          /* [2n][d] anchors, then positives; with one part the batch's own */
} coc_place;

/* What parts after the first took, as of coc_step_result: added up until the caller resets it. */
typedef struct {
    double wait, load, features;
} coc_part_seconds;

/* See coc_passes.look. */
typedef coc_status (*coc_part_look)(void *context, const coc_batch *batch,
                                    const coc_batch_part *part, const coc_place *place,
                                    const coc_groups *groups);

typedef struct {
    const coc_settings *settings; /* borrowed, as all that follows */
    const coc_network *network;
    const coc_parts *parts;
    coc_comm *comm;
    coc_backend *backend;
    coc_params *params;
    coc_batch_source source; /* where parts after the first come from */
    coc_now *now;            /* of the backend */
    coc_part_look look; /* called with every part when it has been embedded first; NULL: nobody */
    void *looking;      /* its context */

    int places;
    coc_place *place;
    coc_part_seconds more;
    coc_groups *groups, *last_groups; /* of a part of full size; of the last where it is smaller */
    int64_t group_count;              /* of the batch, on all ranks */
    coc_tree *stat_tree, *grad_tree;  /* over leaves; NULL where parts are none */
    real *h, *dh;                     /* [2][rows][d] anchors, then positives, of all parts */
    coc_similarity_batch rows;        /* what the loss reads of the batch at hand */
    /* [rows] what rows points to when there are several parts */
    int64_t *label, *column_label;
    uint64_t *row_track, *column_track;
    int32_t *row_set, *positive_set;
} coc_passes;

/* Fills in what lies below the blank line. places: 1 .. parts->count, the same on all ranks. Not
 * collective. Errors: COC_ERR_MEMORY, COC_ERR_DEVICE. */
coc_status coc_passes_create(coc_passes *passes, int places);
/* The batch-norm groups; after coc_passes_create. Collective. Errors: those of coc_groups_create.
 */
coc_status coc_passes_group(coc_passes *passes);
void coc_passes_destroy(coc_passes *passes);

/* Bytes that the places and embeddings take from the device beside the encoders. */
int64_t coc_passes_bytes(const coc_parts *parts, const coc_network *network, int places);

/* Embeds the batch whose first part is given: h, rows, and the columns of the similarity on their
 * way. masks: dropout and stochastic depth are drawn. similarity NULL: no columns. Statistics are
 * added to params->stat, which coc_running_begin has made 0. Collective. Errors: those of the
 * source, COC_ERR_RANKS, COC_ERR_DEVICE. */
coc_status coc_passes_embed(coc_passes *passes, const coc_batch *first, bool masks,
                            coc_similarity *similarity);

/* From dh to params->grad: added to what is there, over leaves to 0. `ready` as of
 * coc_encoder_backward, in the last part only. Collective. Errors: the same, those of ready. */
coc_status coc_passes_back(coc_passes *passes, coc_gradient_ready ready, void *context);

#endif
