/* model/cuda/cuda.h - inside of the cuda backend; for model/cuda alone. C and C++.
 *
 * One function an operation, named coc_cuda_<entry of coc_ops>; the .cu file of an operation holds
 * its kernels and the function that launches them. Everything goes to one stream, in order. What a
 * function needs besides its operands comes from coc_cuda_scratch, whose content the next call may
 * overwrite. A function reports nothing itself: after its launches it calls coc_cuda_launched.
 */
#ifndef COC_MODEL_CUDA_CUDA_H
#define COC_MODEL_CUDA_CUDA_H

#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "model/ops.h"

/* coc_backend.impl */
typedef struct {
    cudaStream_t stream;
    int processors;          /* streaming multiprocessors */
    size_t shared_bytes;     /* most shared memory that a block can have */
    cublasHandle_t blas;     /* on the stream; float products are float products (no TF32) */
    void *blas_memory;       /* its working memory, so that recorded calls allocate nothing */
    struct coc_cudnn *cudnn; /* NULL: own convolutions */
    char failed[512];        /* the first failure since the last finish, or "" */
} coc_cuda;

static inline coc_cuda *coc_cuda_of(coc_backend *b)
{
    return (coc_cuda *)b->impl;
}

/* Device memory, aligned to 256 bytes, valid until the next call; NULL after a failure, which
 * `finish` reports: the operation then does nothing. */
void *coc_cuda_scratch(coc_backend *b, size_t bytes);

/* Whether calls are being recorded: then nothing can be allocated. */
bool coc_cuda_recording(const coc_backend *b);

/* Notes a failure, of which `finish` reports the first: what failed, and how. */
void coc_cuda_note(coc_backend *b, coc_status status, const char *operation, const char *text);

/* After the launches of an operation: notes the first failure. */
void coc_cuda_launched(coc_backend *b, const char *operation);

/* ---- matrix products by cuBLAS: row-major, float */

/* c [m][n] = beta c + op(a) op(b): op(a) [m][k], op(b) [k][n]; a is stored [m][k], or [k][m] where
 * transposed; likewise b. reduced: inputs may be rounded to TF32 (in bf16 precision only). */
void coc_cuda_product(coc_backend *b, bool transpose_a, bool transpose_b, int64_t m, int64_t n,
                      int64_t k, const float *a, const float *bb, float beta, float *c,
                      bool reduced);

/* ---- products of the loss, whose factors are rounded as loss.precision says: factor.cu */

/* A matrix of floats as such products take it. */
typedef struct {
    const void *high; /* the floats themselves (fp32, tf32), their upper halves (tf32x3), or bf16 */
    const void *low;  /* tf32x3: the lower halves */
} coc_cuda_factor;

/* Bytes for what there is beside n floats of which `high` takes the place (none: fp32, tf32), and
 * beside n floats that stay; multiples of 256. */
size_t coc_cuda_rest_bytes(const coc_backend *b, int64_t n);
size_t coc_cuda_factor_bytes(const coc_backend *b, int64_t n);
/* A factor that a kernel has written (put_factor); x [n] as one, in room of
 * coc_cuda_factor_bytes; its part from number `first` on. */
coc_cuda_factor coc_cuda_factor_of(const coc_backend *b, const float *whole, const void *rest);
coc_cuda_factor coc_cuda_factor_make(coc_backend *b, int64_t n, const float *x, void *room);
coc_cuda_factor coc_cuda_factor_from(const coc_backend *b, coc_cuda_factor factor, int64_t first);
/* As coc_cuda_product; sums are floats. */
void coc_cuda_factor_product(coc_backend *b, bool transpose_a, bool transpose_b, int64_t m,
                             int64_t n, int64_t k, coc_cuda_factor a, coc_cuda_factor bb,
                             float beta, float *c);

/* ---- sums of what blocks leave behind, always in the same order: sums.cu */

/* sums [groups][2][C] += partial [n][parts][2][C] summed over the parts of a clip and the clips of
 * a group. partial is scratch of coc_cuda_sums_room doubles, of which the first n * parts * 2 * C
 * are given and the rest is working memory. */
int64_t coc_cuda_sums_room(int64_t n, int64_t parts, int channels);
void coc_cuda_add_sums(coc_backend *b, int64_t n, int64_t parts, int channels, double *partial,
                       const int32_t *group, double *sums);
/* out [rows][count] = (accumulate: +=) the sum over p of partial [rows][parts][count], in scratch.
 */
void coc_cuda_sum_parts(coc_backend *b, int64_t rows, int64_t parts, int64_t count,
                        const float *partial, bool accumulate, float *out);

/* out [count] += the sum over rows of x [rows][count]; x may lie in scratch. */
void coc_cuda_add_rows(coc_backend *b, int64_t rows, int64_t count, const float *x, float *out);

/* ---- what convolutions do on the way in and out, as passes of their own: passes.cu */

/* z [n][P][C] = x through norm and gate; each may be NULL. */
void coc_cuda_read(coc_backend *b, int64_t n, int64_t positions, int channels, const stored *x,
                   const coc_norm *norm, const real *gate, stored *z);
/* z [n][P][padded] = keep * x [n][C][P] (keep NULL: 1); padded: a multiple of eight, zeros beyond
 * C.
 */
void coc_cuda_read_channels(coc_backend *b, int64_t n, int64_t positions, int channels, int padded,
                            const real *x, const real *keep, stored *z);
/* dx [n][P][C]: the gradient at g's raw tensor. */
void coc_cuda_form(coc_backend *b, int64_t n, int64_t positions, int channels,
                   const coc_gradient *g, stored *dx);
/* to [O][taps][padded], as activations are stored, from w [O][I][taps], zeros beyond I; and
 * dw [O][I][taps] += from [O][taps][padded]. */
void coc_cuda_put_weights(coc_backend *b, int outputs, int inputs, int taps, int padded,
                          const real *w, void *to);
void coc_cuda_add_weights(coc_backend *b, int outputs, int inputs, int taps, int padded,
                          const void *from, real *dw);
/* to [count] += from, count a multiple of eight. */
void coc_cuda_add_stored(coc_backend *b, int64_t count, const stored *from, stored *to);
/* sums [groups][2][C] += sum of y, sum of y^2 of y [n][P][C]. */
void coc_cuda_output_sums(coc_backend *b, int64_t n, int64_t positions, int channels,
                          const stored *y, const int32_t *group, double *sums);
/* dgate [n][C] = sum over positions of dz * v, v: x through norm. */
void coc_cuda_gate_sums(coc_backend *b, int64_t n, int64_t positions, int channels, const stored *x,
                        const coc_norm *norm, const stored *dz, real *dgate);

/* ---- convolutions by cuDNN in the place of the own ones: cudnn_conv.c, or where the build has
 * none, cudnn_missing.c */

/* b->ops becomes a table with them. Errors: COC_ERR_SETTING (not built in), COC_ERR_DEVICE,
 * COC_ERR_MEMORY. */
coc_status coc_cudnn_open(coc_backend *b);
void coc_cudnn_close(coc_backend *b);

/* ---- the operations */

extern const coc_ops coc_cuda_ops;
coc_status coc_cuda_open(coc_backend *b);

void coc_cuda_stem_forward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                           const real *keep, const real *w, stored *y, const int32_t *group,
                           double *sums);
void coc_cuda_depthwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                                const coc_norm *norm, const real *w, stored *y,
                                const int32_t *group, double *sums);
void coc_cuda_pointwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                                const coc_norm *norm, const real *gate, const real *w, stored *y,
                                const int32_t *group, double *sums);
void coc_cuda_stem_backward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                            const real *keep, const coc_gradient *dy, real *dw);
void coc_cuda_depthwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                                 const coc_norm *norm, const coc_gradient *dy, const real *w,
                                 stored *dz, bool accumulate, real *dw, double *sums);
void coc_cuda_pointwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                                 const coc_norm *norm, const real *gate, const coc_gradient *dy,
                                 const real *w, stored *dz, bool accumulate, real *dw, real *dgate);
void coc_cuda_norm_finish(coc_backend *b, int channels, int groups, const double *sums,
                          const double *positions, const real *gamma, const real *beta, double eps,
                          real *mean, real *inverse_std, real *scale, real *shift);
void coc_cuda_norm_collect(coc_backend *b, int channels, int groups, const double *sums,
                           const double *positions, const int32_t *owned, double *stat);
void coc_cuda_running_update(coc_backend *b, int64_t n, const double *stat, double groups,
                             double momentum, const coc_now *now, real *running);
void coc_cuda_norm_fixed(coc_backend *b, int channels, const real *running_mean,
                         const real *running_variance, const real *gamma, const real *beta,
                         double eps, real *mean, real *inverse_std, real *scale, real *shift);
void coc_cuda_norm_backward_sums(coc_backend *b, int64_t n, int64_t positions, int channels,
                                 const coc_gradient *g, double *sums);
void coc_cuda_norm_backward_params(coc_backend *b, int channels, int groups, const double *sums,
                                   real *dgamma, real *dbeta);
void coc_cuda_norm_backward_finish(coc_backend *b, int channels, int groups, const double *sums,
                                   const double *positions, real *mean_du, real *mean_dux);
void coc_cuda_pool_forward(coc_backend *b, int64_t n, int64_t positions, int channels,
                           const stored *x, const coc_norm *norm, real *out);
void coc_cuda_squeeze_forward(coc_backend *b, int64_t n, int channels, int squeeze,
                              const real *pooled, const real *w1, const real *b1, const real *w2,
                              const real *b2, real *hidden, real *gate);
void coc_cuda_squeeze_backward(coc_backend *b, int64_t n, int channels, int squeeze,
                               const real *pooled, const real *hidden, const real *gate,
                               const real *dgate, const real *w1, const real *w2, double factor,
                               real *dpooled, real *dw1, real *db1, real *dw2, real *db2);
void coc_cuda_join_forward(coc_backend *b, int64_t n, int64_t positions, int channels,
                           const stored *x, const coc_norm *norm, const real *clip,
                           const stored *skip, stored *out);
void coc_cuda_linear_forward(coc_backend *b, int64_t n, int in, int out, const real *x,
                             const real *w, const real *bias, real *y);
void coc_cuda_linear_backward(coc_backend *b, int64_t n, int in, int out, const real *x,
                              const real *w, const real *dy, real *dx, real *dw, real *dbias);
void coc_cuda_multiply(coc_backend *b, int64_t n, double factor, const real *x, const real *y,
                       real *out);
void coc_cuda_add(coc_backend *b, int64_t n, const real *x, real *out);
void coc_cuda_add_doubles(coc_backend *b, int64_t n, const double *x, double *out);
void coc_cuda_layer_norm_tanh_forward(coc_backend *b, int64_t n, int d, const real *x,
                                      const real *gamma, const real *beta, double eps, real *h,
                                      real *mean, real *inverse_std);
void coc_cuda_layer_norm_tanh_backward(coc_backend *b, int64_t n, int d, const real *x,
                                       const real *h, const real *mean, const real *inverse_std,
                                       const real *gamma, const real *dh, real *dx, real *dgamma,
                                       real *dbeta);
size_t coc_cuda_loss_scratch(const coc_backend *b, const coc_contrast *shape, bool tile);
void coc_cuda_contrast(coc_backend *b, const coc_contrast *c, real *da, real *dp, double *results);
void coc_cuda_tile_forward(coc_backend *b, const coc_contrast *c, coc_contrast_row *row);
void coc_cuda_tile_results(coc_backend *b, const coc_contrast *c, const coc_contrast_row *row,
                           double *results);
void coc_cuda_tile_backward(coc_backend *b, const coc_contrast *c, const coc_contrast_row *row,
                            real *da, real *dp);
void coc_cuda_clip_gradient(coc_backend *b, int64_t n, const real *x, double largest, coc_now *now);
void coc_cuda_adam(coc_backend *b, int64_t n, const coc_adam *settings, const coc_now *now,
                   const real *grad, real *value, real *m, real *v);
void coc_cuda_draw_keep(coc_backend *b, const coc_rng_key *key, const coc_now *now,
                        const uint32_t *pair, const uint8_t *view, int64_t n, int64_t count,
                        double drop, real *out);
coc_status coc_cuda_finish(coc_backend *b);
void coc_cuda_destroy(coc_backend *b);

#ifdef __cplusplus
}
#endif

#endif
