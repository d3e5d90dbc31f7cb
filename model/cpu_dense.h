/* model/cpu_dense.h - operations of the fast backend that are not convolutions; what they compute
 * stands in model/ops.h. Private to the fast backend.
 *
 * Work is cut into shares that depend on the number of threads alone, and every value is summed by
 * one thread in a fixed order: the same input gives the same bits, however threads are scheduled.
 */
#ifndef COC_MODEL_CPU_DENSE_H
#define COC_MODEL_CPU_DENSE_H

#include "model/ops.h"

void coc_cpu_pool_forward(coc_backend *b, int64_t n, int64_t positions, int channels,
                          const float *x, const coc_norm *norm, float *out);
void coc_cpu_join_forward(coc_backend *b, int64_t n, int64_t positions, int channels,
                          const float *x, const coc_norm *norm, const float *clip,
                          const float *skip, float *out);
void coc_cpu_squeeze_forward(coc_backend *b, int64_t n, int channels, int squeeze,
                             const float *pooled, const float *w1, const float *b1, const float *w2,
                             const float *b2, float *hidden, float *gate);
void coc_cpu_squeeze_backward(coc_backend *b, int64_t n, int channels, int squeeze,
                              const float *pooled, const float *hidden, const float *gate,
                              const float *dgate, const float *w1, const float *w2, double factor,
                              float *dpooled, float *dw1, float *db1, float *dw2, float *db2);
void coc_cpu_linear_forward(coc_backend *b, int64_t n, int in, int out, const float *x,
                            const float *w, const float *bias, float *y);
void coc_cpu_linear_backward(coc_backend *b, int64_t n, int in, int out, const float *x,
                             const float *w, const float *dy, float *dx, float *dw, float *dbias);
void coc_cpu_contrast(coc_backend *b, const coc_contrast *c, float *da, float *dp, double *results);
size_t coc_cpu_tile_scratch(const coc_contrast *c);
void coc_cpu_tile_forward(coc_backend *b, const coc_contrast *c, coc_contrast_row *row);
void coc_cpu_tile_backward(coc_backend *b, const coc_contrast *c, const coc_contrast_row *row,
                           float *da, float *dp);
void coc_cpu_add(coc_backend *b, int64_t n, const float *x, float *out);
void coc_cpu_clip_gradient(coc_backend *b, int64_t n, const float *x, double largest, coc_now *now);
void coc_cpu_adam(coc_backend *b, int64_t n, const coc_adam *settings, const coc_now *now,
                  const float *grad, float *value, float *m, float *v);

#endif
