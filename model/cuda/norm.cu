/* model/cuda/norm.cu - batch norm: small work on [groups][C], and the sums of its backward pass. */
#include "model/cuda/read.cuh"
#include "model/cuda/strips.cuh"

using namespace coc;

namespace
{

enum { THREADS = 32 }; /* few channels: many blocks, so that they wait beside each other */

__global__ void finish_forward(int channels, const double *sums, const double *positions,
                               const float *gamma, const float *beta, double eps, float *mean,
                               float *inverse_std, float *scale, float *shift)
{
    const int c = (int)(blockIdx.x * THREADS + threadIdx.x);
    const int64_t g = blockIdx.y, at = g * channels + c;
    double m, variance, inverse;

    if (c >= channels) return;
    m = sums[2 * g * channels + c] / positions[g];
    variance = sums[(2 * g + 1) * channels + c] / positions[g] - m * m;
    inverse = 1 / sqrt(fmax(variance, 0.0) + eps);
    mean[at] = (float)m;
    inverse_std[at] = (float)inverse;
    scale[at] = (float)((double)gamma[c] * inverse);
    shift[at] = (float)((double)beta[c] - m * (double)gamma[c] * inverse);
}

/* One thread a channel: groups in order, the loads of four on their way at a time. */
__global__ void collect(int channels, int groups, const double *sums, const double *positions,
                        const int32_t *owned, double *stat)
{
    const int c = (int)(blockIdx.x * THREADS + threadIdx.x);
    double mean = 0, variance = 0;

    if (c >= channels) return;
#pragma unroll 4
    for (int g = 0; g < groups; g++) {
        const double count = positions[g], m = sums[(int64_t)2 * g * channels + c] / count;
        const double square = sums[((int64_t)2 * g + 1) * channels + c] / count;
        const double unbias = count > 1 ? count / (count - 1) : 1;

        mean += owned[g] != 0 ? m : 0;
        variance += owned[g] != 0 ? unbias * fmax(square - m * m, 0.0) : 0;
    }
    stat[c] += mean;
    stat[channels + c] += variance;
}

__global__ void update_running(int64_t n, const double *stat, double groups, double momentum,
                               const coc_now *now, float *running)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    if (i < n && (now == NULL || isfinite(now->norm)))
        running[i] = (float)((1 - momentum) * (double)running[i] + momentum * stat[i] / groups);
}

__global__ void fix(int channels, const float *running_mean, const float *running_variance,
                    const float *gamma, const float *beta, double eps, float *mean,
                    float *inverse_std, float *scale, float *shift)
{
    const int c = (int)(blockIdx.x * THREADS + threadIdx.x);
    double inverse;

    if (c >= channels) return;
    inverse = 1 / sqrt((double)running_variance[c] + eps);
    mean[c] = running_mean[c];
    inverse_std[c] = (float)inverse;
    scale[c] = (float)((double)gamma[c] * inverse);
    shift[c] = (float)((double)beta[c] - (double)running_mean[c] * (double)gamma[c] * inverse);
}

__global__ void gradients(int channels, int groups, const double *sums, float *dgamma, float *dbeta)
{
    const int c = (int)(blockIdx.x * THREADS + threadIdx.x);
    double du = 0, dux = 0;

    if (c >= channels) return;
#pragma unroll 4
    for (int g = 0; g < groups; g++) {
        du += sums[(int64_t)2 * g * channels + c];
        dux += sums[((int64_t)2 * g + 1) * channels + c];
    }
    dbeta[c] += (float)du;
    dgamma[c] += (float)dux;
}

__global__ void finish_backward(int channels, const double *sums, const double *positions,
                                float *mean_du, float *mean_dux)
{
    const int c = (int)(blockIdx.x * THREADS + threadIdx.x);
    const int64_t g = blockIdx.y;

    if (c >= channels) return;
    mean_du[g * channels + c] = (float)(sums[2 * g * channels + c] / positions[g]);
    mean_dux[g * channels + c] = (float)(sums[(2 * g + 1) * channels + c] / positions[g]);
}

/* ---- sums of du and du * xhat: one pass over two large tensors ---- */

/* Positions of a thread: few enough that their sum may be kept in float, enough that loading the
 * coefficients of eight channels (160 bytes and more) does not count. */
enum { STEPS = 32 };

/* partial [clip][part][2][C]. */
template <typename T>
__global__ void __launch_bounds__(STRIP_THREADS, 2)
    backward_sums(gradient_view<T> g, strips s, double *partial)
{
    __shared__ float left[STRIP_THREADS * 16]; /* [rows][2][8 vectors] */
    __shared__ double more[STRIP_THREADS];
    const strip_place at = place_of(s);
    const int width = 8 * s.vectors;
    const vec8 zero = {{0, 0, 0, 0, 0, 0, 0, 0}};
    vec8 du_sum = zero, dux_sum = zero;

    if (at.inside) {
        const former8 f = load_former(g, at.clip, s.channels, at.c);

#pragma unroll 2
        for (int64_t p = at.first; p < at.end; p += s.rows) {
            const int64_t i = (at.clip * s.positions + p) * s.channels + at.c;
            const vec8 x = load8(g.x + i), dz = g.dz != NULL ? load8(g.dz + i) : zero;
            const vec8 du = form_du<T>(f, g.norm.silu, x, dz), xhat = form_xhat(f, x);

#pragma unroll
            for (int k = 0; k < 8; k++) {
                du_sum.v[k] += du.v[k];
                dux_sum.v[k] += du.v[k] * xhat.v[k];
            }
        }
    }
    if (at.row < s.rows) {
        store8(left + at.row * 2 * width + 8 * at.vector, du_sum);
        store8(left + at.row * 2 * width + width + 8 * at.vector, dux_sum);
    }
    __syncthreads();
    partial += (at.clip * gridDim.y + blockIdx.y) * 2 * s.channels;
    sum_of_rows(s.rows, 2 * width, left, more, [&](int k, double sum) {
        const int which = k / width, c = (int)blockIdx.x * width + k % width;

        if (c < s.channels) partial[which * s.channels + c] = sum;
    });
}

template <typename T>
void launch_backward_sums(coc_backend *b, int64_t n, int64_t positions, int channels,
                          const coc_gradient *g, double *sums)
{
    const strips s = strips_of(channels, positions, STEPS);
    const int64_t parts = parts_of(s);
    const size_t room = (size_t)coc_cuda_sums_room(n, parts, channels);
    double *partial = (double *)coc_cuda_scratch(b, room * sizeof(double));
    const auto kernel = backward_sums<T>;

    if (partial == NULL) return;
    COC_LAUNCH(kernel, blocks_of(s, n), dim3(STRIP_THREADS), 0, coc_cuda_of(b)->stream,
               view_of<T>(g), s, partial);
    coc_cuda_add_sums(b, n, parts, channels, partial, g->norm->group, sums);
}

dim3 blocks(int64_t count, int groups = 1)
{
    return dim3((unsigned)divide_up(count, THREADS), (unsigned)groups);
}

} // namespace

void coc_cuda_norm_finish(coc_backend *b, int channels, int groups, const double *sums,
                          const double *positions, const real *gamma, const real *beta, double eps,
                          real *mean, real *inverse_std, real *scale, real *shift)
{
    COC_LAUNCH(finish_forward, blocks(channels, groups), dim3(THREADS), 0, coc_cuda_of(b)->stream,
               channels, sums, positions, gamma, beta, eps, mean, inverse_std, scale, shift);
    coc_cuda_launched(b, "batch norm");
}

void coc_cuda_norm_collect(coc_backend *b, int channels, int groups, const double *sums,
                           const double *positions, const int32_t *owned, double *stat)
{
    COC_LAUNCH(collect, blocks(channels), dim3(THREADS), 0, coc_cuda_of(b)->stream, channels,
               groups, sums, positions, owned, stat);
    coc_cuda_launched(b, "batch statistics");
}

void coc_cuda_running_update(coc_backend *b, int64_t n, const double *stat, double groups,
                             double momentum, const coc_now *now, real *running)
{
    COC_LAUNCH(update_running, blocks(n), dim3(THREADS), 0, coc_cuda_of(b)->stream, n, stat, groups,
               momentum, now, running);
    coc_cuda_launched(b, "running statistics");
}

void coc_cuda_norm_fixed(coc_backend *b, int channels, const real *running_mean,
                         const real *running_variance, const real *gamma, const real *beta,
                         double eps, real *mean, real *inverse_std, real *scale, real *shift)
{
    COC_LAUNCH(fix, blocks(channels), dim3(THREADS), 0, coc_cuda_of(b)->stream, channels,
               running_mean, running_variance, gamma, beta, eps, mean, inverse_std, scale, shift);
    coc_cuda_launched(b, "running statistics as a norm");
}

void coc_cuda_norm_backward_sums(coc_backend *b, int64_t n, int64_t positions, int channels,
                                 const coc_gradient *g, double *sums)
{
    if (b->precision == COC_BF16)
        launch_backward_sums<bf16>(b, n, positions, channels, g, sums);
    else
        launch_backward_sums<float>(b, n, positions, channels, g, sums);
    coc_cuda_launched(b, "sums of batch norm, backward");
}

void coc_cuda_norm_backward_params(coc_backend *b, int channels, int groups, const double *sums,
                                   real *dgamma, real *dbeta)
{
    COC_LAUNCH(gradients, blocks(channels), dim3(THREADS), 0, coc_cuda_of(b)->stream, channels,
               groups, sums, dgamma, dbeta);
    coc_cuda_launched(b, "gradients of batch norm");
}

void coc_cuda_norm_backward_finish(coc_backend *b, int channels, int groups, const double *sums,
                                   const double *positions, real *mean_du, real *mean_dux)
{
    COC_LAUNCH(finish_backward, blocks(channels, groups), dim3(THREADS), 0, coc_cuda_of(b)->stream,
               channels, sums, positions, mean_du, mean_dux);
    coc_cuda_launched(b, "means of batch norm, backward");
}
