/* train/buckets.h - gradients summed over ranks piece by piece, while backward goes on.
 *
 * Backward finishes the flat gradient from its end (model/params.h). As soon as a piece of at least
 * `least` weights is finished, its sum is started; the last piece takes what is left. Over the
 * fixed tree (loss.reduction) there is one piece, summed at the end: nothing is finished before the
 * last leaf is.
 */
#ifndef COC_TRAIN_BUCKETS_H
#define COC_TRAIN_BUCKETS_H

#include "comm/comm.h"
#include "model/real.h"

enum { COC_MAX_BUCKETS = 128 };

typedef struct {
    coc_comm *comm;
    coc_reduction reduction;
    real *grad;     /* [weights], memory of comm's side */
    int64_t unsent; /* gradients at offsets >= unsent are on their way */
    int64_t least;
    int count;
    coc_request *request[COC_MAX_BUCKETS];
} coc_buckets;

/* Of one step. One process alone has nothing to sum. */
coc_buckets coc_buckets_begin(coc_comm *comm, coc_reduction reduction, real *grad, int64_t weights,
                              int64_t least);

/* All gradients at offsets >= first are final on this rank (coc_gradient_ready; context: the
 * buckets). first 0: all of them. Calls come with falling `first`, the same on all ranks.
 * Collective. Errors: those of start_all_reduce and coc_sum_over_ranks. */
coc_status coc_buckets_ready(void *context, int64_t first);

/* For all that were started, also after a failure; the first failure. Collective. Errors: those of
 * wait. */
coc_status coc_buckets_wait(coc_buckets *buckets);

#endif
