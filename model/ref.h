/* model/ref.h - the reference backend: plain loops, one thread, the specification of every
 * operation. Private to the folder. What each function computes stands in model/ops.h; products are
 * summed in double, whatever `real` is. Any host backend may use these functions for operations
 * that it has no faster version of.
 */
#ifndef COC_MODEL_REF_H
#define COC_MODEL_REF_H

#include "model/ops.h"

extern const coc_ops coc_ref_ops;

/* Host device, one thread. */
coc_status coc_ref_open(coc_backend *b);

/* -- how raw tensors are read and their gradients formed: ref_norm.c -- */

/* z [positions][channels] = gate * v of clip number `clip` of x (norm, gate: NULL: as it is). */
void coc_ref_read(const coc_norm *norm, const real *gate, int64_t clip, int64_t positions,
                  int channels, const real *x, double *z);
/* dx [positions][channels]: the gradient at the raw tensor of clip number `clip`. */
void coc_ref_form(const coc_gradient *g, int64_t clip, int64_t positions, int channels, double *dx);
/* sums[2][channels] += sum of du, sum of du * xhat over a clip whose gradient at v is dv. */
void coc_ref_add_norm_sums(const coc_norm *norm, int64_t clip, int64_t positions, int channels,
                           const real *x, const real *dv, double *sums);
/* sum of a[i] * b[i] */
double coc_ref_dot(int64_t n, const double *a, const real *b);
double coc_ref_sigmoid(double x);
double coc_ref_silu(double x);
double coc_ref_silu_slope(double x); /* d silu(x) / dx */

/* -- convolutions: ref_conv.c -- */

void coc_ref_stem_forward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                          const real *keep, const real *w, real *y, const int32_t *group,
                          double *sums);
void coc_ref_depthwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                               const coc_norm *norm, const real *w, real *y, const int32_t *group,
                               double *sums);
void coc_ref_pointwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                               const coc_norm *norm, const real *gate, const real *w, real *y,
                               const int32_t *group, double *sums);
void coc_ref_stem_backward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                           const real *keep, const coc_gradient *dy, real *dw);
void coc_ref_depthwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                                const coc_norm *norm, const coc_gradient *dy, const real *w,
                                real *dz, bool accumulate, real *dw, double *sums);
void coc_ref_pointwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                                const coc_norm *norm, const real *gate, const coc_gradient *dy,
                                const real *w, real *dz, bool accumulate, real *dw, real *dgate);

/* -- batch norm: ref_norm.c -- */

void coc_ref_norm_finish(coc_backend *b, int channels, int groups, const double *sums,
                         const double *positions, const real *gamma, const real *beta, double eps,
                         real *mean, real *inverse_std, real *scale, real *shift);
void coc_ref_norm_collect(coc_backend *b, int channels, int groups, const double *sums,
                          const double *positions, const int32_t *owned, double *stat);
void coc_ref_running_update(coc_backend *b, int64_t n, const double *stat, double groups,
                            double momentum, const coc_now *now, real *running);
void coc_ref_norm_fixed(coc_backend *b, int channels, const real *running_mean,
                        const real *running_variance, const real *gamma, const real *beta,
                        double eps, real *mean, real *inverse_std, real *scale, real *shift);
void coc_ref_norm_backward_sums(coc_backend *b, int64_t n, int64_t positions, int channels,
                                const coc_gradient *g, double *sums);
void coc_ref_norm_backward_params(coc_backend *b, int channels, int groups, const double *sums,
                                  real *dgamma, real *dbeta);
void coc_ref_norm_backward_finish(coc_backend *b, int channels, int groups, const double *sums,
                                  const double *positions, real *mean_du, real *mean_dux);

/* -- between convolutions: ref_pool.c -- */

void coc_ref_pool_forward(coc_backend *b, int64_t n, int64_t positions, int channels, const real *x,
                          const coc_norm *norm, real *out);
void coc_ref_squeeze_forward(coc_backend *b, int64_t n, int channels, int squeeze,
                             const real *pooled, const real *w1, const real *b1, const real *w2,
                             const real *b2, real *hidden, real *gate);
void coc_ref_squeeze_backward(coc_backend *b, int64_t n, int channels, int squeeze,
                              const real *pooled, const real *hidden, const real *gate,
                              const real *dgate, const real *w1, const real *w2, double factor,
                              real *dpooled, real *dw1, real *db1, real *dw2, real *db2);
void coc_ref_join_forward(coc_backend *b, int64_t n, int64_t positions, int channels, const real *x,
                          const coc_norm *norm, const real *clip, const real *skip, real *out);

/* -- dense: ref_dense.c -- */

void coc_ref_linear_forward(coc_backend *b, int64_t n, int in, int out, const real *x,
                            const real *w, const real *bias, real *y);
void coc_ref_linear_backward(coc_backend *b, int64_t n, int in, int out, const real *x,
                             const real *w, const real *dy, real *dx, real *dw, real *dbias);
void coc_ref_multiply(coc_backend *b, int64_t n, double factor, const real *x, const real *y,
                      real *out);
void coc_ref_add(coc_backend *b, int64_t n, const real *x, real *out);
void coc_ref_add_sums(coc_backend *b, int64_t n, const double *x, double *out);
void coc_ref_layer_norm_tanh_forward(coc_backend *b, int64_t n, int d, const real *x,
                                     const real *gamma, const real *beta, double eps, real *h,
                                     real *mean, real *inverse_std);
void coc_ref_layer_norm_tanh_backward(coc_backend *b, int64_t n, int d, const real *x,
                                      const real *h, const real *mean, const real *inverse_std,
                                      const real *gamma, const real *dh, real *dx, real *dgamma,
                                      real *dbeta);

/* -- loss: ref_loss.c; optimizer and masks: ref_optimizer.c -- */

size_t coc_ref_loss_scratch(const coc_backend *b, const coc_contrast *shape, bool tile);
void coc_ref_contrast(coc_backend *b, const coc_contrast *c, real *da, real *dp, double *results);
void coc_ref_tile_forward(coc_backend *b, const coc_contrast *c, coc_contrast_row *row);
void coc_ref_tile_results(coc_backend *b, const coc_contrast *c, const coc_contrast_row *row,
                          double *results);
void coc_ref_tile_backward(coc_backend *b, const coc_contrast *c, const coc_contrast_row *row,
                           real *da, real *dp);
void coc_ref_clip_gradient(coc_backend *b, int64_t n, const real *x, double largest, coc_now *now);
/* now->norm and now->clip_scale from the sum of squares of a gradient. */
void coc_ref_set_clip(double squares, double largest, coc_now *now);
void coc_ref_adam(coc_backend *b, int64_t n, const coc_adam *settings, const coc_now *now,
                  const real *grad, real *value, real *m, real *v);
void coc_ref_draw_keep(coc_backend *b, const coc_rng_key *key, const coc_now *now,
                       const uint32_t *pair, const uint8_t *view, int64_t n, int64_t count,
                       double drop, real *out);
coc_status coc_ref_finish(coc_backend *b);
void coc_ref_destroy(coc_backend *b);

#endif
