/* model/ops.h - every operation of the model, in one table, for each backend.
 *
 * `ref` is the specification: plain loops, compiled for float and for double. `cpu` is fast, `cuda`
 * is for GPUs. All entries are required.
 *
 * The fused plan. Only raw convolution outputs are stored. A batch norm is, at use, a scale and a
 * shift a channel; whoever reads a raw tensor applies norm, SiLU and squeeze-excitation gate on the
 * way in (coc_norm), and whoever writes one adds up the sums its norm will need on the way out. In
 * backward a raw tensor's gradient is likewise formed on the way in (coc_gradient) and never
 * stored.
 *
 * Conventions. Tensors are NHWC: [n][h][w][C], row-major. Every array that an operation is given
 * lies in the memory of the backend's device (b->device), index arrays and sums included; tensors
 * named `stored` hold the backend's storage type (model/real.h). Numbers that are passed by value
 * or inside a settings struct are host values and the same in every step, so that the calls of a
 * step can be recorded once and launched again; what changes from step to step lies in device
 * memory (coc_now). Weights have the published layout. n = clips, g = batch-norm group of a clip,
 * P = positions h * w. "+=" means: adds to what is there. So an operation works on any range of
 * clips: pass pointers to its first clip. Sums are double and added to in clip order. Calls are
 * asynchronous on the device's main stream; `finish` waits and reports what went wrong since the
 * last one. Nothing is allocated in a step but scratch, which a backend keeps after the first.
 */
#ifndef COC_MODEL_OPS_H
#define COC_MODEL_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/device.h"
#include "base/rng.h"
#include "model/network.h"
#include "model/real.h"

/* How the reader of a raw tensor x sees it:
 *     u = scale[g][c] x + shift[g][c],   v = silu(u) or u,   z = gate[n][c] v
 * with scale = gamma / std, shift = beta - mean * scale. */
typedef struct {
    const real *mean, *inverse_std; /* [groups][C] */
    const real *scale, *shift;      /* [groups][C] */
    const int32_t *group;           /* [n] */
    bool silu;
} coc_norm;

/* How the gradient dx at a raw tensor x is formed from the gradient at its normalised form:
 *     dv = clip[n] * (gate[n][c] * dz + pooled[n][c]),    du = dv * silu'(u) or dv
 *     dx = scale * (du - mean_du[g][c] - xhat * mean_dux[g][c]),   xhat = (x - mean) * inverse_std
 * where mean_du, mean_dux are the group means of du and du * xhat (norm_backward_*). */
typedef struct {
    const stored *x; /* [n][P][C] raw */
    const coc_norm *norm;
    const stored *dz;               /* [n][P][C], or NULL: 0 */
    const real *gate;               /* [n][C], or NULL: 1 */
    const real *pooled;             /* [n][C] gradient that all positions share, or NULL: 0 */
    const real *clip;               /* [n] stochastic-depth factor, or NULL: 1 */
    const real *mean_du, *mean_dux; /* [groups][C]; not read by norm_backward_sums */
} coc_gradient;

/* One row-wise softmax cross-entropy over shared columns (paper, eq. 3). Rows and columns
 * are independent: a row's label is any column.
 *
 *     S = A P',  loss = scale * sum_i (logsumexp_j S_ij - S_i,label(i)),  over columns that count
 *
 * A column j counts for row i if the sets are equal (or NULL) and the tracks differ (or NULL), or j
 * is the label. scale = 1 / K with the global K: every reduction over ranks is then a plain sum. */
typedef struct {
    int64_t rows, columns;
    int d;
    const real *a;                            /* [rows][d] */
    const real *p;                            /* [columns][d] */
    const int64_t *label;                     /* [rows] */
    const int32_t *row_set, *column_set;      /* both or neither */
    const uint64_t *row_track, *column_track; /* both or neither; only excluded if mask_track */
    bool mask_track;
    double scale;
    /* Of a tile, whose columns are some of the contrast's: [columns], ascending: what labels call
     * them. NULL: 0, 1, ... */
    const int64_t *number;
    bool screen; /* leave out what cannot be seen in the gradients: cpu only, see below */
} coc_contrast;

/* What is known of a row of a contrast when some of its columns have been seen; all 0: none yet. */
typedef struct {
    double top;                  /* largest logit of columns that count */
    double sum;                  /* of exp(logit - top) over them */
    double own;                  /* the label's logit, if it has been seen */
    int64_t best;                /* number of the first column with the largest logit */
    int64_t counted, same_track; /* columns: see COC_CONTRAST_COUNTED, COC_CONTRAST_SAME_TRACK */
} coc_contrast_row;

/* What a contrast adds up, in this order, as doubles. */
enum {
    COC_CONTRAST_LOSS,
    COC_CONTRAST_RIGHT, /* rows whose largest counted logit (the first of equals) is the label's */
    COC_CONTRAST_COUNTED,    /* columns that counted, summed over rows */
    COC_CONTRAST_SAME_TRACK, /* columns of its set and track besides the label, masked or not */
    /* of the gradients */
    COC_CONTRAST_KEPT,    /* columns that they were summed over: those that counted, or fewer */
    COC_CONTRAST_DROPPED, /* weight of the others, as a share of a row's sum; summed over rows */
    COC_CONTRAST_BLOCKS,  /* blocks of rows that were screened */
    COC_CONTRAST_DENSE,   /* of these, those that were summed over all columns nevertheless */
    COC_CONTRAST_RESULTS,
};

typedef struct {
    double beta1, beta2, epsilon, weight_decay;
    double rate; /* times coc_now.learning_rate */
} coc_adam;

/* What changes from step to step; lies in the backend's memory. */
typedef struct {
    /* written by the host before a step */
    double learning_rate;
    int64_t update;    /* 1 for the first */
    int64_t draw_step; /* coc_rng_key.step of the masks */
    /* written by clip_gradient */
    double norm;       /* of the flat gradient */
    double clip_scale; /* the gradient is multiplied by it */
} coc_now;

typedef struct coc_backend coc_backend;

typedef struct {
    const char *name;

    /* -- convolutions, forward. y is raw; sums[groups][2][out_c] += sum of y, sum of y^2 (NULL: not
     *    wanted); group [n] says which. -- */

    /* x [n][C][F][T] features, keep [n][C] 0 or 1 (NULL: 1) multiplies channels; w [O][C][k][k]. */
    void (*stem_forward)(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                         const real *keep, const real *w, stored *y, const int32_t *group,
                         double *sums);
    /* x through norm (NULL: as it is); w [C][1][k][k]. */
    void (*depthwise_forward)(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                              const coc_norm *norm, const real *w, stored *y, const int32_t *group,
                              double *sums);
    /* x through norm and gate [n][in_c] (NULL: as it is); w [O][I][1][1]. */
    void (*pointwise_forward)(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                              const coc_norm *norm, const real *gate, const real *w, stored *y,
                              const int32_t *group, double *sums);

    /* -- convolutions, backward. dw += ; dz is the gradient at what the convolution read: after
     * norm, SiLU and gate (NULL norm: at x itself). accumulate: dz +=. -- */
    void (*stem_backward)(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                          const real *keep, const coc_gradient *dy, real *dw);
    /* sums[groups][2][in_c] += sum of du, sum of du * xhat of the input's own norm (NULL: no norm).
     */
    void (*depthwise_backward)(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                               const coc_norm *norm, const coc_gradient *dy, const real *w,
                               stored *dz, bool accumulate, real *dw, double *sums);
    /* dgate [n][in_c] = sum over positions of dz * v (NULL: no gate). */
    void (*pointwise_backward)(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                               const coc_norm *norm, const real *gate, const coc_gradient *dy,
                               const real *w, stored *dz, bool accumulate, real *dw, real *dgate);

    /* -- batch norm: small work on [groups][C] -- */

    /* Sums of groups to coefficients; positions[g]: number of values behind a sum. */
    void (*norm_finish)(coc_backend *b, int channels, int groups, const double *sums,
                        const double *positions, const real *gamma, const real *beta, double eps,
                        real *mean, real *inverse_std, real *scale, real *shift);
    /* stat[2][C] += mean, unbiased variance of the groups with owned[g] != 0. */
    void (*norm_collect)(coc_backend *b, int channels, int groups, const double *sums,
                         const double *positions, const int32_t *owned, double *stat);
    /* running = (1 - momentum) running + momentum * stat / groups, n values. Does nothing where
     * now->norm is not finite, as adam; now NULL: always. */
    void (*running_update)(coc_backend *b, int64_t n, const double *stat, double groups,
                           double momentum, const coc_now *now, real *running);
    /* Evaluation: the running statistics as one group. */
    void (*norm_fixed)(coc_backend *b, int channels, const real *running_mean,
                       const real *running_variance, const real *gamma, const real *beta,
                       double eps, real *mean, real *inverse_std, real *scale, real *shift);
    /* sums[groups][2][C] += sum of du, sum of du * xhat. */
    void (*norm_backward_sums)(coc_backend *b, int64_t n, int64_t positions, int channels,
                               const coc_gradient *g, double *sums);
    /* dgamma += sum over groups of sum du * xhat, dbeta += sum du: from this rank's own sums. */
    void (*norm_backward_params)(coc_backend *b, int channels, int groups, const double *sums,
                                 real *dgamma, real *dbeta);
    /* Group sums over all ranks to means. */
    void (*norm_backward_finish)(coc_backend *b, int channels, int groups, const double *sums,
                                 const double *positions, real *mean_du, real *mean_dux);

    /* -- between convolutions -- */

    /* out [n][C] = mean over positions of v. */
    void (*pool_forward)(coc_backend *b, int64_t n, int64_t positions, int channels,
                         const stored *x, const coc_norm *norm, real *out);
    /* hidden [n][R] = w1 pooled + b1; gate [n][C] = sigmoid(w2 silu(hidden) + b2). w1 [R][C], w2
     * [C][R]. */
    void (*squeeze_forward)(coc_backend *b, int64_t n, int channels, int squeeze,
                            const real *pooled, const real *w1, const real *b1, const real *w2,
                            const real *b2, real *hidden, real *gate);
    /* dpooled [n][C] = factor * gradient at pooled (factor = 1 / positions: see
     * coc_gradient.pooled); dw1, db1, dw2, db2 +=. */
    void (*squeeze_backward)(coc_backend *b, int64_t n, int channels, int squeeze,
                             const real *pooled, const real *hidden, const real *gate,
                             const real *dgate, const real *w1, const real *w2, double factor,
                             real *dpooled, real *dw1, real *db1, real *dw2, real *db2);
    /* out = clip[n] * u + skip: a block's output. clip, skip may be NULL (1, 0). */
    void (*join_forward)(coc_backend *b, int64_t n, int64_t positions, int channels,
                         const stored *x, const coc_norm *norm, const real *clip,
                         const stored *skip, stored *out);

    /* -- dense -- */

    /* y [n][O] = x [n][I] w' + bias; w [O][I]; bias may be NULL. */
    void (*linear_forward)(coc_backend *b, int64_t n, int in, int out, const real *x, const real *w,
                           const real *bias, real *y);
    /* dx = dy w (NULL: not wanted); dw += dy' x; dbias += sum dy (NULL: none). */
    void (*linear_backward)(coc_backend *b, int64_t n, int in, int out, const real *x,
                            const real *w, const real *dy, real *dx, real *dw, real *dbias);
    /* out = factor * x * y, elementwise; y may be NULL (1). out may be x. */
    void (*multiply)(coc_backend *b, int64_t n, double factor, const real *x, const real *y,
                     real *out);
    /* out += x, n values; add_sums of sums. */
    void (*add)(coc_backend *b, int64_t n, const real *x, real *out);
    void (*add_sums)(coc_backend *b, int64_t n, const double *x, double *out);
    /* h = tanh(gamma * xhat + beta), xhat over d values of a row; inverse_std [n] is kept. */
    void (*layer_norm_tanh_forward)(coc_backend *b, int64_t n, int d, const real *x,
                                    const real *gamma, const real *beta, double eps, real *h,
                                    real *mean, real *inverse_std);
    void (*layer_norm_tanh_backward)(coc_backend *b, int64_t n, int d, const real *x, const real *h,
                                     const real *mean, const real *inverse_std, const real *gamma,
                                     const real *dh, real *dx, real *dgamma, real *dbeta);

    /* -- loss, optimizer, random masks -- */

    /* da [rows][d] =, dp [columns][d] += (both NULL: only results); results [COC_CONTRAST_RESULTS]
     * +=. Memory: a block of rows times columns, never rows times columns. c->screen: the gradients
     * are summed over the label and the largest entries of a row only, where those left out have at
     * most 1e-7 of the weight that the row's columns but the label have together; a block of rows
     * where that saves nothing is summed over all columns. Logits and the other results are
     * the same either way. A backend without screening sums over all. */
    void (*contrast)(coc_backend *b, const coc_contrast *c, real *da, real *dp, double *results);
    /* The same tile by tile, for columns that are never all there at once: forward over all tiles,
     * the results, then backward over all of them, each in any order. A tile is a contrast with the
     * same rows, labels and scale, and other columns, numbered in all. */
    /* row [rows]: now also of this tile. */
    void (*tile_forward)(coc_backend *b, const coc_contrast *c, coc_contrast_row *row);
    /* results [COC_CONTRAST_RESULTS] += of rows that have seen all; of c, rows, label and scale are
     * read. */
    void (*tile_results)(coc_backend *b, const coc_contrast *c, const coc_contrast_row *row,
                         double *results);
    /* da [rows][d] +=, dp [columns][d] +=; rows that have seen all. */
    void (*tile_backward)(coc_backend *b, const coc_contrast *c, const coc_contrast_row *row,
                          real *da, real *dp);
    /* now->norm = norm of x [n]; now->clip_scale = largest / norm where that is below 1 and largest
     * is not 0, else 1. */
    void (*clip_gradient)(coc_backend *b, int64_t n, const real *x, double largest, coc_now *now);
    /* Adam as in PyTorch (L2 weight decay on the gradient), in place over flat buffers. Does
     * nothing where now->norm is not finite: training has diverged, and the caller will say so. */
    void (*adam)(coc_backend *b, int64_t n, const coc_adam *settings, const coc_now *now,
                 const real *grad, real *value, real *m, real *v);
    /* out [n][count] = 0 with probability drop, else 1 / (1 - drop); value (i, j) is drawn with
     * key.item = pair[i], key.view = view[i], key.step = now->draw_step, element j. */
    void (*draw_keep)(coc_backend *b, const coc_rng_key *key, const coc_now *now,
                      const uint32_t *pair, const uint8_t *view, int64_t n, int64_t count,
                      double drop, real *out);

    /* Wait for the stream and report failures. */
    coc_status (*finish)(coc_backend *b);
    void (*destroy)(coc_backend *b);
} coc_ops;

struct coc_backend {
    const coc_ops *ops;
    const coc_device *device;
    coc_precision precision;
    coc_convolutions conv;
    coc_loss_precision loss_precision; /* of contrast; never auto */
    size_t stored_bytes;               /* of one stored value */
    int threads;
    void *scratch; /* kept working memory, on the device */
    size_t scratch_bytes;
    coc_status status; /* first failure since the last finish */
    void *impl;        /* handles of the backend */
};

/* Which of the machine's devices this process uses for a backend, by its rank among those of the
 * machine; once, before anything is opened on it. Otherwise it is the first. share: several ranks
 * may use the same. *sharers: how many do. On backends of the host only that is found. Errors:
 * COC_ERR_DEVICE, COC_ERR_SETTING. */
coc_status coc_backend_choose_device(const char *name, int local_rank, int local_size, bool share,
                                     int *sharers);

/* The backend that the settings name (backend, precision, conv, loss_precision, threads; 0
 * threads: OMP_NUM_THREADS). The caller's. Errors: COC_ERR_SETTING (no such backend, with the names
 * that exist; a precision or convolutions that it does not have), COC_ERR_MEMORY, COC_ERR_DEVICE.
 */
coc_status coc_backend_open(const coc_model_settings *settings, coc_backend **backend);
/* The same by name, in fp32. */
coc_status coc_backend_create(const char *name, int threads, coc_backend **backend);
void coc_backend_destroy(coc_backend **backend);

/* Bytes of working memory that contrast or, if tile, the tile operations take on a backend of these
 * settings, which need not be open. Of shape counts: rows, columns, d, screen. Errors:
 * COC_ERR_SETTING (no such backend). */
coc_status coc_backend_loss_scratch(const coc_model_settings *settings, const coc_contrast *shape,
                                    bool tile, int64_t *bytes);

/* The most working memory that convolutions by cuDNN take, in bytes, of whatever batch. */
#define COC_CUDNN_MOST_SCRATCH ((int64_t)1 << 30)

/* Names of the compiled-in backends, NULL at the end. */
const char *const *coc_backend_names(void);

#endif
