/* model/cuda/dense.cu - linear layers, layer norm with tanh, elementwise products. */
#include "model/cuda/read.cuh"

using namespace coc;

namespace
{

enum { THREADS = 256, LANES = 32, WARPS = THREADS / LANES, MOST_STRIPS = 1024 };

/* A block has 256 columns of every gridDim.y-th row. */
__global__ void __launch_bounds__(THREADS) add_bias(int64_t n, int out, const float *bias, float *y)
{
    const int c = (int)(blockIdx.x * THREADS + threadIdx.x);

    if (c >= out) return;
    for (int64_t row = blockIdx.y; row < n; row += gridDim.y)
        y[row * out + c] += bias[c];
}

__global__ void scale(int64_t n, float factor, const float *x, const float *y, float *out)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    if (i < n) out[i] = factor * x[i] * (y != NULL ? y[i] : 1.0f);
}

template <typename T> __global__ void add_to(int64_t n, const T *x, T *out)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    if (i < n) out[i] += x[i];
}

/* The sum over a block, in all its threads; left [WARPS]. */
__device__ float sum_of_block(float x, float *left)
{
    float sum = 0;

    for (int lane = LANES / 2; lane > 0; lane /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, lane);
    __syncthreads();
    if (threadIdx.x % LANES == 0) left[threadIdx.x / LANES] = x;
    __syncthreads();
    for (int w = 0; w < WARPS; w++)
        sum += left[w];
    return sum;
}

/* One block a row. */
__global__ void __launch_bounds__(THREADS)
    layer_norm(int d, const float *x, const float *gamma, const float *beta, float eps, float *h,
               float *mean, float *inverse_std)
{
    __shared__ float left[WARPS];
    const int64_t row = blockIdx.x;
    float sum = 0, squares = 0, inverse;

    x += row * d;
    for (int k = (int)threadIdx.x; k < d; k += THREADS)
        sum += x[k];
    sum = sum_of_block(sum, left) / (float)d;
    for (int k = (int)threadIdx.x; k < d; k += THREADS)
        squares += (x[k] - sum) * (x[k] - sum);
    inverse = 1.0f / sqrtf(sum_of_block(squares, left) / (float)d + eps);
    for (int k = (int)threadIdx.x; k < d; k += THREADS)
        h[row * d + k] = tanhf(gamma[k] * (x[k] - sum) * inverse + beta[k]);
    if (threadIdx.x == 0) {
        mean[row] = sum;
        inverse_std[row] = inverse;
    }
}

/* dx, and what rows add to dgamma and dbeta: each [row][d]. */
__global__ void __launch_bounds__(THREADS)
    layer_norm_backward(int d, const float *x, const float *h, const float *mean,
                        const float *inverse_std, const float *gamma, const float *dh, float *dx,
                        float *of_gamma, float *of_beta)
{
    __shared__ float left[WARPS];
    const int64_t row = blockIdx.x, first = row * d;
    const float m = mean[row], inverse = inverse_std[row];
    float g = 0, gx = 0;

    for (int k = (int)threadIdx.x; k < d; k += THREADS) {
        const float xhat = (x[first + k] - m) * inverse;
        const float dt = dh[first + k] * (1.0f - h[first + k] * h[first + k]);

        of_gamma[first + k] = dt * xhat;
        of_beta[first + k] = dt;
        g += dt * gamma[k];
        gx += dt * gamma[k] * xhat;
    }
    g = sum_of_block(g, left) / (float)d;
    gx = sum_of_block(gx, left) / (float)d;
    for (int k = (int)threadIdx.x; k < d; k += THREADS) {
        const float xhat = (x[first + k] - m) * inverse;
        const float dt = dh[first + k] * (1.0f - h[first + k] * h[first + k]);

        dx[first + k] = inverse * (dt * gamma[k] - g - xhat * gx);
    }
}

dim3 blocks(int64_t count)
{
    return dim3((unsigned)divide_up(count, THREADS));
}

template <typename T> void add_array(coc_backend *b, int64_t n, const T *x, T *out)
{
    COC_LAUNCH(add_to<T>, blocks(n), dim3(THREADS), 0, coc_cuda_of(b)->stream, n, x, out);
    coc_cuda_launched(b, "sum");
}

} // namespace

void coc_cuda_linear_forward(coc_backend *b, int64_t n, int in, int out, const real *x,
                             const real *w, const real *bias, real *y)
{
    const dim3 strips((unsigned)divide_up(out, THREADS), (unsigned)min(n, (int64_t)MOST_STRIPS));

    coc_cuda_product(b, false, true, n, out, in, x, w, 0, y, b->precision == COC_BF16);
    if (bias != NULL)
        COC_LAUNCH(add_bias, strips, dim3(THREADS), 0, coc_cuda_of(b)->stream, n, out, bias, y);
    coc_cuda_launched(b, "linear layer");
}

void coc_cuda_linear_backward(coc_backend *b, int64_t n, int in, int out, const real *x,
                              const real *w, const real *dy, real *dx, real *dw, real *dbias)
{
    const bool reduced = b->precision == COC_BF16;

    coc_cuda_product(b, true, false, out, in, n, dy, x, 1, dw, reduced);
    if (dbias != NULL) coc_cuda_add_rows(b, n, out, dy, dbias);
    if (dx != NULL) coc_cuda_product(b, false, false, n, in, out, dy, w, 0, dx, reduced);
}

void coc_cuda_multiply(coc_backend *b, int64_t n, double factor, const real *x, const real *y,
                       real *out)
{
    COC_LAUNCH(scale, blocks(n), dim3(THREADS), 0, coc_cuda_of(b)->stream, n, (float)factor, x, y,
               out);
    coc_cuda_launched(b, "product");
}

void coc_cuda_add(coc_backend *b, int64_t n, const real *x, real *out)
{
    add_array(b, n, x, out);
}

void coc_cuda_add_doubles(coc_backend *b, int64_t n, const double *x, double *out)
{
    add_array(b, n, x, out);
}

void coc_cuda_layer_norm_tanh_forward(coc_backend *b, int64_t n, int d, const real *x,
                                      const real *gamma, const real *beta, double eps, real *h,
                                      real *mean, real *inverse_std)
{
    COC_LAUNCH(layer_norm, dim3((unsigned)n), dim3(THREADS), 0, coc_cuda_of(b)->stream, d, x, gamma,
               beta, (float)eps, h, mean, inverse_std);
    coc_cuda_launched(b, "layer norm");
}

void coc_cuda_layer_norm_tanh_backward(coc_backend *b, int64_t n, int d, const real *x,
                                       const real *h, const real *mean, const real *inverse_std,
                                       const real *gamma, const real *dh, real *dx, real *dgamma,
                                       real *dbeta)
{
    float *of_gamma = (float *)coc_cuda_scratch(b, (size_t)(2 * n * d) * sizeof(float));
    float *of_beta = of_gamma + n * d;

    if (of_gamma == NULL) return;
    COC_LAUNCH(layer_norm_backward, dim3((unsigned)n), dim3(THREADS), 0, coc_cuda_of(b)->stream, d,
               x, h, mean, inverse_std, gamma, dh, dx, of_gamma, of_beta);
    coc_cuda_add_rows(b, n, d, of_gamma, dgamma);
    coc_cuda_add_rows(b, n, d, of_beta, dbeta);
    coc_cuda_launched(b, "layer norm, backward");
}
