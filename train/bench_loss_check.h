/* train/bench_loss_check.h - the loss of `cocola bench loss` once more in double precision, on
 * sampled rows and columns. */
#ifndef COC_TRAIN_BENCH_LOSS_CHECK_H
#define COC_TRAIN_BENCH_LOSS_CHECK_H

#include <stdint.h>

#include "base/status.h"

/* A loss with host arrays. Anchor i is pool[i % pool_size], so that the softmax of every row is
 * known from a pool's. Row i's own column is i % columns. */
typedef struct {
    int64_t rows, columns, pool_size;
    int d;
    const float *pool; /* [pool_size][d] anchors */
    const float *h2;   /* [columns][d] positives */
    const float *w;    /* [d][d] similarity */
    double scale;
    int64_t samples; /* rows, columns, and rows of W, that are compared; at most so many */
    int threads;
} coc_loss_problem;

/* What a backend made of it, for the samples: host arrays. */
typedef struct {
    double loss;
    const float *d_h1; /* [samples][d] rows coc_loss_sample(rows, samples, s) */
    const float *d_h2; /* [samples][d] columns, likewise */
    const float *d_w;  /* [samples][d] rows of W, likewise */
} coc_loss_found;

/* Relative: of the loss; of gradients the norm of the difference by the norm. */
typedef struct {
    double loss, d_h1, d_h2, d_w;
} coc_loss_error;

/* Number s of so many samples of n, spread evenly. */
int64_t coc_loss_sample(int64_t n, int64_t samples, int64_t s);

/* Not collective. Takes about 2 pool_size columns d multiplications and additions. Errors:
 * COC_ERR_MEMORY. */
coc_status coc_loss_check(const coc_loss_problem *problem, const coc_loss_found *found,
                          coc_loss_error *error);

#endif
