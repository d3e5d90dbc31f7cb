/* model/cuda/optimizer.cu - the norm of the gradient, Adam, random masks. */
#include "base/cuda/philox.cuh"
#include "model/cuda/read.cuh"

using namespace coc;

namespace
{

/* PARTS does not depend on the device, so the sum does not either. OWN: weights of a thread. */
enum { THREADS = 256, PARTS = 512, OWN = 4 };

__device__ double sum_of_block(double x, double *left)
{
    left[threadIdx.x] = x;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) left[threadIdx.x] += left[threadIdx.x + half];
        __syncthreads();
    }
    return left[0];
}

__global__ void __launch_bounds__(THREADS) squares(int64_t n, const float *x, double *part)
{
    __shared__ double left[THREADS];
    double sum = 0;

#pragma unroll 8
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += PARTS * THREADS)
        sum += (double)x[i] * (double)x[i];
    sum = sum_of_block(sum, left);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(THREADS)
    set_clip(const double *part, double largest, coc_now *now)
{
    __shared__ double left[THREADS];
    double sum = 0;

    for (int i = (int)threadIdx.x; i < PARTS; i += THREADS)
        sum += part[i];
    sum = sqrt(sum_of_block(sum, left));
    if (threadIdx.x > 0) return;
    now->norm = sum;
    now->clip_scale = largest > 0 && sum > largest ? largest / sum : 1;
}

/* What all weights of a step share. */
struct step_factors {
    float grad, rate, correct; /* the gradient's, the update's, the root's */
    bool finite;
};

/* Four weights a thread, THREADS apart, loads of all on their way together while one thread works
 * out the powers, which cost more than a weight does. */
__global__ void __launch_bounds__(THREADS)
    update(int64_t n, coc_adam s, const coc_now *now, const float *grad, float *value, float *m,
           float *v)
{
    __shared__ step_factors factors;
    const int64_t first = (int64_t)blockIdx.x * OWN * THREADS + threadIdx.x;
    const float decay = (float)s.weight_decay, epsilon = (float)s.epsilon;
    const float beta1 = (float)s.beta1, beta2 = (float)s.beta2;
    const float rest1 = (float)(1 - s.beta1), rest2 = (float)(1 - s.beta2);
    float g[OWN], x[OWN], old_m[OWN], old_v[OWN];

#pragma unroll
    for (int k = 0; k < OWN; k++) {
        const int64_t i = min(first + k * THREADS, n - 1);

        g[k] = grad[i];
        x[k] = value[i];
        old_m[k] = m[i];
        old_v[k] = v[i];
    }
    if (threadIdx.x == 0) {
        const double step = (double)now->update;

        factors.grad = (float)now->clip_scale;
        factors.rate = (float)(s.rate * now->learning_rate / (1 - pow(s.beta1, step)));
        factors.correct = (float)(1 / sqrt(1 - pow(s.beta2, step)));
        factors.finite = isfinite(now->norm);
    }
    __syncthreads();
    if (!factors.finite) return;
#pragma unroll
    for (int k = 0; k < OWN; k++) {
        const int64_t i = first + k * THREADS;
        const float d = factors.grad * g[k] + decay * x[k];
        const float new_m = beta1 * old_m[k] + rest1 * d, new_v = beta2 * old_v[k] + rest2 * d * d;

        if (i >= n) continue;
        m[i] = new_m;
        v[i] = new_v;
        value[i] = x[k] - factors.rate * new_m / (sqrtf(new_v) * factors.correct + epsilon);
    }
}

/* A thread has one block of four words: elements 4 * block .. 4 * block + 3 of a row. */
__global__ void draw(coc_rng_key key, const coc_now *now, const uint32_t *pair, const uint8_t *view,
                     int64_t n, int64_t count, double drop, float *out)
{
    const int64_t blocks = (count + 3) / 4, i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    const int64_t row = i / blocks, block = i % blocks;
    const float kept = (float)(1 / (1 - drop));

    if (row >= n) return;
    const uint32_t last =
        (uint32_t)key.draw << 24 | (uint32_t)view[row] << 16 | (uint32_t)key.layer;
    const uint4 words = philox((uint32_t)key.seed, (uint32_t)(key.seed >> 32), (uint32_t)block,
                               pair[row], (uint32_t)now->draw_step, last);
    const uint32_t word[4] = {words.x, words.y, words.z, words.w};

#pragma unroll
    for (int k = 0; k < 4; k++) {
        const float uniform = (float)(word[k] >> 8) * 0x1p-24f;

        if (4 * block + k < count)
            out[row * count + 4 * block + k] = (double)uniform < drop ? 0.0f : kept;
    }
}

} // namespace

void coc_cuda_clip_gradient(coc_backend *b, int64_t n, const real *x, double largest, coc_now *now)
{
    double *part = (double *)coc_cuda_scratch(b, PARTS * sizeof(double));

    if (part == NULL) return;
    COC_LAUNCH(squares, dim3(PARTS), dim3(THREADS), 0, coc_cuda_of(b)->stream, n, x, part);
    COC_LAUNCH(set_clip, dim3(1), dim3(THREADS), 0, coc_cuda_of(b)->stream, part, largest, now);
    coc_cuda_launched(b, "norm of the gradient");
}

void coc_cuda_adam(coc_backend *b, int64_t n, const coc_adam *settings, const coc_now *now,
                   const real *grad, real *value, real *m, real *v)
{
    const coc_adam s = *settings;

    COC_LAUNCH(update, dim3((unsigned)divide_up(n, OWN * THREADS)), dim3(THREADS), 0,
               coc_cuda_of(b)->stream, n, s, now, grad, value, m, v);
    coc_cuda_launched(b, "Adam");
}

void coc_cuda_draw_keep(coc_backend *b, const coc_rng_key *key, const coc_now *now,
                        const uint32_t *pair, const uint8_t *view, int64_t n, int64_t count,
                        double drop, real *out)
{
    const coc_rng_key own = *key;

    COC_LAUNCH(draw, dim3((unsigned)divide_up(n * divide_up(count, 4), THREADS)), dim3(THREADS), 0,
               coc_cuda_of(b)->stream, own, now, pair, view, n, count, drop, out);
    coc_cuda_launched(b, "random masks");
}
