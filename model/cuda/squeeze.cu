/* model/cuda/squeeze.cu - squeeze and excitation: two small layers a clip.
 *
 * A block has several clips, so that a weight that it has read counts for all of them: the weights
 * of the widest layers are 400 KB, and with one clip a block they would be read from the cache for
 * each. With few clips a block has fewer, for the sake of more blocks; a clip's own results do not
 * depend on it. */
#include "model/cuda/read.cuh"

using namespace coc;

namespace
{

enum { THREADS = 256, LANES = 32, WARPS = THREADS / LANES };
enum { FEW = 2, MANY = 8, MANY_FROM = 512 }; /* clips of a block; clips from which on it is MANY */
enum { TILE = THREADS / 2, TILE_FLOATS = 7 << 10, PLAIN_BYTES = 48 << 10 };

__device__ float sum_of_warp(float x)
{
    for (int lane = LANES / 2; lane > 0; lane /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}

/* ---- forward ---- */

/* hidden = w1 pooled + b1 and active [CLIPS][R] = silu(hidden); a warp has a row of w1 at a time.
 */
template <int CLIPS>
__device__ __forceinline__ void forward_hidden(int64_t first, int clips, int channels, int squeeze,
                                               const float *pooled, const float *w1,
                                               const float *b1, float *active, float *hidden)
{
    const int warp = (int)threadIdx.x / LANES, lane = (int)threadIdx.x % LANES;

    for (int r = warp; r < squeeze; r += WARPS) {
        const float *row = w1 + (int64_t)r * channels;
        float sum[CLIPS] = {0};

#pragma unroll 4
        for (int c = lane; c < channels; c += LANES) {
            const float w = row[c];

#pragma unroll
            for (int k = 0; k < CLIPS; k++)
                sum[k] += pooled[k * channels + c] * w;
        }
#pragma unroll
        for (int k = 0; k < CLIPS; k++) {
            const float u = sum_of_warp(sum[k]) + b1[r];

            if (lane == 0) active[k * squeeze + r] = silu<float>(u);
            if (lane == 0 && k < clips) hidden[(first + k) * squeeze + r] = u;
        }
    }
}

/* Shared memory: the clips' pooled values [CLIPS][C], then a tile of rows of w2 in their place
 * (rows an odd number of words apart: threads that read a column of it meet no others at a bank);
 * silu(hidden) [CLIPS][R] behind `room` floats. In the second layer a thread has a channel, and
 * half of the clips. */
template <int CLIPS>
__global__ void __launch_bounds__(THREADS, 2)
    forward(int64_t n, int channels, int squeeze, int tile, int room, const float *pooled,
            const float *w1, const float *b1, const float *w2, const float *b2, float *hidden,
            float *gate)
{
    COC_SHARED(float, memory);
    float *active = memory + room;
    const int64_t first = (int64_t)blockIdx.x * CLIPS;
    const int clips = (int)min((int64_t)CLIPS, n - first), pitch = squeeze | 1;
    const int own = (int)threadIdx.x % TILE, half = (int)threadIdx.x / TILE * (CLIPS / 2);

    for (int i = (int)threadIdx.x; i < CLIPS * channels; i += THREADS)
        memory[i] = i < clips * channels ? pooled[first * channels + i] : 0.0f;
    __syncthreads();
    forward_hidden<CLIPS>(first, clips, channels, squeeze, memory, w1, b1, active, hidden);
    for (int begin = 0; begin < channels; begin += tile) {
        const int columns = min(tile, channels - begin), c = begin + own;
        float sum[CLIPS / 2];

        __syncthreads();
        for (int i = (int)threadIdx.x; i < columns * squeeze; i += THREADS)
            memory[i / squeeze * pitch + i % squeeze] = w2[(int64_t)begin * squeeze + i];
        __syncthreads();
        if (own >= columns) continue;
#pragma unroll
        for (int k = 0; k < CLIPS / 2; k++)
            sum[k] = b2[c];
        for (int r = 0; r < squeeze; r++) {
            const float w = memory[own * pitch + r];

#pragma unroll
            for (int k = 0; k < CLIPS / 2; k++)
                sum[k] += active[(half + k) * squeeze + r] * w;
        }
#pragma unroll
        for (int k = 0; k < CLIPS / 2; k++)
            if (half + k < clips) gate[(first + half + k) * channels + c] = sigmoid<float>(sum[k]);
    }
}

template <int CLIPS>
void launch_forward(coc_backend *b, int64_t n, int channels, int squeeze, const float *pooled,
                    const float *w1, const float *b1, const float *w2, const float *b2,
                    float *hidden, float *gate)
{
    const int pitch = squeeze | 1, fits = TILE_FLOATS / pitch;
    const int tile = fits < 1 ? 1 : fits < TILE ? fits : (int)TILE;
    const int room = CLIPS * channels > tile * pitch ? CLIPS * channels : tile * pitch;
    const size_t bytes = (size_t)(room + CLIPS * squeeze) * sizeof(float);
    const auto kernel = forward<CLIPS>;

    if (bytes > PLAIN_BYTES)
        (void)cudaFuncSetAttribute((const void *)kernel,
                                   cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    COC_LAUNCH(kernel, dim3((unsigned)divide_up(n, CLIPS)), dim3(THREADS), bytes,
               coc_cuda_of(b)->stream, n, channels, squeeze, tile, room, pooled, w1, b1, w2, b2,
               hidden, gate);
}

/* ---- backward ---- */

/* own [CLIPS][R] = the gradient at hidden: w2' du through the slope of silu. Threads walk through
 * w2 as it lies, each with a column of it, some of its rows and all clips; part [CLIPS][THREADS].
 */
template <int CLIPS>
__device__ __forceinline__ void backward_hidden(int64_t first, int clips, int channels, int squeeze,
                                                const float *du, const float *hidden,
                                                const float *w2, float *part, float *own)
{
    const int wide = min(squeeze, (int)THREADS), strips = THREADS / wide;
    const int thread = (int)threadIdx.x, strip = thread / wide;

    for (int begin = 0; begin < squeeze; begin += wide) {
        const int r = begin + thread % wide;
        float sum[CLIPS] = {0};

        if (strip < strips && r < squeeze) {
#pragma unroll 4
            for (int c = strip; c < channels; c += strips) {
                const float w = w2[(int64_t)c * squeeze + r];

#pragma unroll
                for (int k = 0; k < CLIPS; k++)
                    sum[k] += du[k * channels + c] * w;
            }
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < CLIPS; k++)
            part[k * THREADS + thread] = sum[k];
        __syncthreads();
        for (int i = thread; i < CLIPS * wide; i += THREADS) {
            const int k = i / wide, column = i % wide;
            float all = 0;

            if (begin + column >= squeeze) continue;
            for (int s = 0; s < strips; s++)
                all += part[k * THREADS + s * wide + column];
            if (k < clips) all *= silu_slope<float>(hidden[(first + k) * squeeze + begin + column]);
            own[k * squeeze + begin + column] = all;
        }
    }
    __syncthreads();
}

/* The clips' own gradients: before the sigmoid [n][C], silu(hidden) [n][R], at hidden [n][R], of
 * which products over clips make those of the weights; and dpooled. Shared memory: the first
 * [CLIPS][C], sums [CLIPS][THREADS], the third [CLIPS][R]. */
template <int CLIPS>
__global__ void __launch_bounds__(THREADS, 2)
    backward(int64_t n, int channels, int squeeze, const float *hidden, const float *gate,
             const float *dgate, const float *w1, const float *w2, float factor, float *before,
             float *active, float *dhidden, float *dpooled)
{
    COC_SHARED(float, memory);
    float *part = memory + CLIPS * channels, *own = part + CLIPS * THREADS;
    const int64_t first = (int64_t)blockIdx.x * CLIPS;
    const int clips = (int)min((int64_t)CLIPS, n - first);

    for (int i = (int)threadIdx.x; i < CLIPS * channels; i += THREADS) {
        const int64_t at = first * channels + i;

        memory[i] = 0;
        if (i >= clips * channels) continue;
        memory[i] = dgate[at] * gate[at] * (1.0f - gate[at]);
        before[at] = memory[i];
    }
    __syncthreads();
    backward_hidden<CLIPS>(first, clips, channels, squeeze, memory, hidden, w2, part, own);
    for (int i = (int)threadIdx.x; i < clips * squeeze; i += THREADS) {
        dhidden[first * squeeze + i] = own[i];
        active[first * squeeze + i] = silu<float>(hidden[first * squeeze + i]);
    }
    for (int c = (int)threadIdx.x; c < channels; c += THREADS) {
        float sum[CLIPS] = {0};

#pragma unroll 4
        for (int r = 0; r < squeeze; r++) {
            const float w = w1[(int64_t)r * channels + c];

#pragma unroll
            for (int k = 0; k < CLIPS; k++)
                sum[k] += own[k * squeeze + r] * w;
        }
#pragma unroll
        for (int k = 0; k < CLIPS; k++)
            if (k < clips) dpooled[(first + k) * channels + c] = factor * sum[k];
    }
}

/* What backward leaves behind for the products over clips. */
struct left_behind {
    float *before, *active, *dhidden;
};

template <int CLIPS>
void launch_backward(coc_backend *b, int64_t n, int channels, int squeeze, const float *hidden,
                     const float *gate, const float *dgate, const float *w1, const float *w2,
                     double factor, const left_behind &left, float *dpooled)
{
    const size_t bytes = CLIPS * (size_t)(channels + THREADS + squeeze) * sizeof(float);
    const auto kernel = backward<CLIPS>;

    if (bytes > PLAIN_BYTES)
        (void)cudaFuncSetAttribute((const void *)kernel,
                                   cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    COC_LAUNCH(kernel, dim3((unsigned)divide_up(n, CLIPS)), dim3(THREADS), bytes,
               coc_cuda_of(b)->stream, n, channels, squeeze, hidden, gate, dgate, w1, w2,
               (float)factor, left.before, left.active, left.dhidden, dpooled);
}

/* Many clips a block, where there are enough clips and the block's memory suffices. */
bool with_many(int64_t n, int channels, int squeeze)
{
    return n >= MANY_FROM &&
           MANY * (size_t)(channels + THREADS + squeeze) * sizeof(float) <= 2 * PLAIN_BYTES;
}

} // namespace

void coc_cuda_squeeze_forward(coc_backend *b, int64_t n, int channels, int squeeze,
                              const real *pooled, const real *w1, const real *b1, const real *w2,
                              const real *b2, real *hidden, real *gate)
{
    if (with_many(n, channels, squeeze))
        launch_forward<MANY>(b, n, channels, squeeze, pooled, w1, b1, w2, b2, hidden, gate);
    else
        launch_forward<FEW>(b, n, channels, squeeze, pooled, w1, b1, w2, b2, hidden, gate);
    coc_cuda_launched(b, "squeeze");
}

void coc_cuda_squeeze_backward(coc_backend *b, int64_t n, int channels, int squeeze,
                               const real *pooled, const real *hidden, const real *gate,
                               const real *dgate, const real *w1, const real *w2, double factor,
                               real *dpooled, real *dw1, real *db1, real *dw2, real *db2)
{
    const bool reduced = b->precision == COC_BF16;
    float *before =
        (float *)coc_cuda_scratch(b, (size_t)(n * (channels + 2 * squeeze)) * sizeof(float));
    left_behind left = {before, NULL, NULL};

    if (before == NULL) return;
    left.active = before + n * channels;
    left.dhidden = left.active + n * squeeze;
    if (with_many(n, channels, squeeze))
        launch_backward<MANY>(b, n, channels, squeeze, hidden, gate, dgate, w1, w2, factor, left,
                              dpooled);
    else
        launch_backward<FEW>(b, n, channels, squeeze, hidden, gate, dgate, w1, w2, factor, left,
                             dpooled);
    coc_cuda_product(b, true, false, channels, squeeze, n, before, left.active, 1, dw2, reduced);
    coc_cuda_product(b, true, false, squeeze, channels, n, left.dhidden, pooled, 1, dw1, reduced);
    coc_cuda_add_rows(b, n, channels, before, db2);
    coc_cuda_add_rows(b, n, squeeze, left.dhidden, db1);
    coc_cuda_launched(b, "squeeze, backward");
}
