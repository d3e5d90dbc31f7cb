/* train/measure.h - how well embeddings of held-out pairs find each other: accuracy at any K, and
 * the rank of every anchor's own positive among all positives. docs/evaluation.md has the meaning.
 *
 * One pass over the similarities of all anchors with all positives gives everything: a row of n
 * similarities holds the row of every batch that its pair stands in. Ranks share the rows; results
 * are the same bits on any number of them where the backend's product is (ref, cpu). Memory a rank,
 * beside the embeddings: `memory` for similarities and as much for orders, 16 bytes a pair and
 * thread, 32 bytes a pair and K; more orders than fit are gone through in several passes.
 */
#ifndef COC_TRAIN_MEASURE_H
#define COC_TRAIN_MEASURE_H

#include "train/evaluate.h"

typedef struct {
    const int64_t *k; /* [ks] batch sizes, each 1 .. pairs */
    int ks;
    int64_t orders; /* averaged, 1 or more; file order is one, whatever this says */
    bool file_order;
    int64_t bootstrap; /* resamplings over tracks for the intervals; 0: none */
    uint64_t seed;
    int64_t memory;       /* bytes of similarities, and of orders; 0: 128 MB. Results do not depend
                             on it, time does */
    const char *progress; /* name of the progress line, or NULL */
} coc_measure_settings;

/* Mean over the full batches of `orders` seeded orders (the remainder of an order is left out), or
 * of the file order. K = all pairs is one batch, whatever the orders. */
typedef struct {
    int64_t k, pairs, tracks, batches;
    double accuracy, low, high; /* share of rows; 95 % interval, NAN without one */
    double loss;                /* mean over rows of the contrastive loss at this K */
    double chance;              /* 1 / K */
    double same_track;          /* mean number of columns of the row's own track besides its own */
} coc_accuracy;

typedef struct {
    double value, low, high; /* 95 % interval, NAN without one */
    double chance;           /* of an order drawn by lot */
} coc_figure;

enum { COC_RECALLS = 3, COC_CURVE_POINTS = 256 };
extern const int64_t coc_recall_at[COC_RECALLS]; /* 1, 5, 10 */

/* Ranks of the anchors' own positives among all pairs' positives, 1 the best. A positive that is
 * as similar to the anchor as its own one counts as before it. */
typedef struct {
    int64_t pairs, tracks;
    double same_track; /* mean number of the other positives that are of the anchor's track */
    coc_figure median_rank, recall[COC_RECALLS], mean_reciprocal_rank;
    /* At about 20 values of K a decade, from 1 to all pairs: the share of ranks up to K, and the
     * mean accuracy over all batches of K that could be drawn, which shuffled orders estimate. */
    int points;
    int64_t k[COC_CURVE_POINTS];
    double recall_curve[COC_CURVE_POINTS], accuracy_curve[COC_CURVE_POINTS];
} coc_retrieval;

/* Bytes that a measure at one K takes, beside the embeddings, of an accelerator and of the host, by
 * so many pairs, of which `share` are this rank's. threads as of a backend (0: OMP_NUM_THREADS). */
void coc_measure_bytes(int64_t pairs, int64_t share, int d, int64_t orders, int threads,
                       coc_side side, int64_t *device, int64_t *host);

/* accuracy [ks]; retrieval may be NULL. Every rank gets the same. Collective. Errors:
 * COC_ERR_USAGE when a K is larger than the number of pairs, or they are more than 2^31 - 1;
 * COC_ERR_MEMORY, COC_ERR_DEVICE, COC_ERR_RANKS. */
coc_status coc_measure(coc_comm *comm, coc_backend *backend, const coc_embedded *embedded,
                       const coc_measure_settings *settings, coc_accuracy *accuracy,
                       coc_retrieval *retrieval);

#endif
