/* model/cuda/stem.cu - the first convolution: planar features of one or two channels to NHWC, and
 * the gradient of its weights. It has no input gradient: features are given. */
#include "model/cuda/read.cuh"

using namespace coc;

namespace
{

enum { THREADS = 256, PART = 256, CHUNK = 64, SLICE = 64, MOST_TAPS = 2 * 9 };
enum {
    SPLITS = 512
}; /* of the gradient: blocks that add up chunks in turn; four a multiprocessor */

/* Sums of float tensors are kept in double, of bf16 tensors in float over a block's positions. */
template <typename T> struct accumulator {
    typedef double type;
};
template <> struct accumulator<bf16> {
    typedef float type;
};

template <typename T> __device__ __forceinline__ float rounded(float x);
template <> __device__ __forceinline__ float rounded<float>(float x)
{
    return x;
}
template <> __device__ __forceinline__ float rounded<bf16>(float x)
{
    return __bfloat162float(__float2bfloat16(x));
}

/* What the convolution reads at a tap (channel and place in the kernel) of an output position. */
__device__ __forceinline__ float read_tap(const coc_conv &s, const float *x, const float *keep,
                                          int64_t clip, int position, int tap)
{
    const int area = s.kernel * s.kernel, channel = tap / area, place = tap % area;
    const int h = position / s.out_w * s.stride + place / s.kernel - s.pad;
    const int w = position % s.out_w * s.stride + place % s.kernel - s.pad;
    const int64_t plane = clip * s.in_c + channel;

    if (h < 0 || h >= s.in_h || w < 0 || w >= s.in_w) return 0;
    return x[(plane * s.in_h + h) * s.in_w + w] * (keep != NULL ? keep[plane] : 1.0f);
}

/* The threads that have a position's channels are neighbours, so that an output row is written
 * whole; a block has PART positions of one clip. Shared memory: weights [tap][O], then what
 * threads have added up [place][O], for each of two sums in turn. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    forward(coc_conv s, const float *x, const float *keep, const float *w, T *y, double *partial)
{
    typedef typename accumulator<T>::type sum_type;
    COC_SHARED(double, memory);
    float *weights = (float *)memory;
    const int taps = s.in_c * s.kernel * s.kernel, out = s.out_c, vectors = out / 8;
    const int places = THREADS / vectors, place = (int)threadIdx.x / vectors;
    const int vector = (int)threadIdx.x % vectors * 8, positions = s.out_h * s.out_w;
    const int first = (int)blockIdx.x * PART, end = min(first + PART, positions);
    const int64_t clip = blockIdx.y, parts = gridDim.x;
    sum_type sum[8] = {0}, squares[8] = {0};

    for (int i = (int)threadIdx.x; i < taps * out; i += THREADS)
        weights[i % taps * out + i / taps] = w[i];
    __syncthreads();
    for (int p = first + place; p < end && place < places; p += places) {
        vec8 acc = {{0, 0, 0, 0, 0, 0, 0, 0}};

        for (int tap = 0; tap < taps; tap++) {
            const float value = read_tap(s, x, keep, clip, p, tap);
            const vec8 row = load8(weights + tap * out + vector);

#pragma unroll
            for (int i = 0; i < 8; i++)
                acc.v[i] += value * row.v[i];
        }
        store8(y + (clip * positions + p) * out + vector, acc);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const sum_type value = rounded<T>(acc.v[i]);

            sum[i] += value;
            squares[i] += value * value;
        }
    }
    if (partial == NULL) return;
    for (int which = 0; which < 2; which++) {
        __syncthreads();
        for (int i = 0; i < 8 && place < places; i++)
            memory[place * out + vector + i] = (double)(which == 0 ? sum[i] : squares[i]);
        __syncthreads();
        for (int c = (int)threadIdx.x; c < out; c += THREADS) {
            double all = 0;

            for (int i = 0; i < places; i++)
                all += memory[i * out + c];
            partial[((clip * parts + blockIdx.x) * 2 + which) * out + c] = all;
        }
    }
}

template <typename T>
void launch_forward(coc_backend *b, const coc_conv *s, int64_t n, const real *x, const real *keep,
                    const real *w, stored *y, const int32_t *group, double *sums)
{
    const int64_t parts = divide_up((int64_t)s->out_h * s->out_w, PART);
    const int places = THREADS / (s->out_c / 8);
    const size_t weights = (size_t)(s->out_c * s->in_c * s->kernel * s->kernel) * sizeof(float);
    const size_t left = (size_t)(places * s->out_c) * sizeof(double);
    const size_t room = (size_t)coc_cuda_sums_room(n, parts, s->out_c) * sizeof(double);
    double *partial = sums != NULL ? (double *)coc_cuda_scratch(b, room) : NULL;
    const auto kernel = forward<T>;
    const coc_conv conv = *s;

    if (sums != NULL && partial == NULL) return;
    COC_LAUNCH(kernel, dim3((unsigned)parts, (unsigned)n), dim3(THREADS),
               weights > left ? weights : left, coc_cuda_of(b)->stream, conv, x, keep, w, (T *)y,
               partial);
    if (sums != NULL) coc_cuda_add_sums(b, n, parts, s->out_c, partial, group, sums);
}

/* A block adds up every SPLITS-th chunk of 64 positions for 64 output channels: gradients at the
 * outputs and what was read there lie in shared memory, a thread has eight channels of one tap and
 * every few positions. partial [split][O][taps]. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    weight_gradient(coc_conv s, int64_t n, const float *x, const float *keep, gradient_view<T> g,
                    float *partial)
{
    __shared__ float dy[CHUNK][SLICE];
    __shared__ float seen[CHUNK][MOST_TAPS];
    __shared__ float left[THREADS][8];
    const int taps = s.in_c * s.kernel * s.kernel, positions = s.out_h * s.out_w;
    const int slice = (int)blockIdx.y * SLICE, vectors = min((int)SLICE, s.out_c - slice) / 8;
    const int items = vectors * taps, strips = THREADS / items;
    const int item = (int)threadIdx.x % items, strip = (int)threadIdx.x / items;
    const int vector = item % vectors * 8, tap = item / vectors;
    const int64_t per_clip = divide_up(positions, CHUNK);
    const vec8 zero = {{0, 0, 0, 0, 0, 0, 0, 0}};
    float acc[8] = {0};

    for (int64_t chunk = blockIdx.x; chunk < n * per_clip; chunk += gridDim.x) {
        const int64_t clip = chunk / per_clip;
        const int first = (int)(chunk % per_clip) * CHUNK;

        __syncthreads();
        for (int i = (int)threadIdx.x; i < CHUNK * vectors; i += THREADS) {
            const int p = first + i / vectors, c = slice + i % vectors * 8;
            const int64_t at = (clip * positions + p) * s.out_c + c;
            vec8 d = zero;

            if (p < positions)
                d = form_dx<T>(load_former(g, clip, s.out_c, c), g.norm.silu, load8(g.x + at),
                               g.dz != NULL ? load8(g.dz + at) : zero);
            store8(&dy[i / vectors][i % vectors * 8], d);
        }
        for (int i = (int)threadIdx.x; i < CHUNK * taps; i += THREADS) {
            const int p = first + i % CHUNK;

            seen[i % CHUNK][i / CHUNK] =
                p < positions ? read_tap(s, x, keep, clip, p, i / CHUNK) : 0.0f;
        }
        __syncthreads();
        for (int p = strip; p < CHUNK && strip < strips; p += strips) {
            const vec8 d = load8(&dy[p][vector]);
            const float value = seen[p][tap];

#pragma unroll
            for (int i = 0; i < 8; i++)
                acc[i] += value * d.v[i];
        }
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
        left[threadIdx.x][i] = acc[i];
    __syncthreads();
    if (strip > 0) return;
    for (int i = 0; i < 8; i++) {
        float all = 0;

        for (int k = 0; k < strips; k++)
            all += left[k * items + item][i];
        partial[((int64_t)blockIdx.x * s.out_c + slice + vector + i) * taps + tap] = all;
    }
}

template <typename T>
void launch_backward(coc_backend *b, const coc_conv *s, int64_t n, const real *x, const real *keep,
                     const coc_gradient *dy, real *dw)
{
    const int64_t chunks = n * divide_up((int64_t)s->out_h * s->out_w, CHUNK);
    const int64_t splits = chunks < (int64_t)SPLITS ? chunks : (int64_t)SPLITS;
    const int64_t weights = (int64_t)s->out_c * s->in_c * s->kernel * s->kernel;
    float *partial = (float *)coc_cuda_scratch(b, (size_t)(splits * weights) * sizeof(float));
    const auto kernel = weight_gradient<T>;
    const coc_conv conv = *s;

    if (partial == NULL) return;
    COC_LAUNCH(kernel, dim3((unsigned)splits, (unsigned)divide_up(s->out_c, SLICE)), dim3(THREADS),
               0, coc_cuda_of(b)->stream, conv, n, x, keep, view_of<T>(dy), partial);
    coc_cuda_sum_parts(b, 1, splits, weights, partial, true, dw);
}

} // namespace

void coc_cuda_stem_forward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                           const real *keep, const real *w, stored *y, const int32_t *group,
                           double *sums)
{
    if (b->precision == COC_BF16)
        launch_forward<bf16>(b, s, n, x, keep, w, y, group, sums);
    else
        launch_forward<float>(b, s, n, x, keep, w, y, group, sums);
    coc_cuda_launched(b, "first convolution");
}

void coc_cuda_stem_backward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                            const real *keep, const coc_gradient *dy, real *dw)
{
    if (b->precision == COC_BF16)
        launch_backward<bf16>(b, s, n, x, keep, dy, dw);
    else
        launch_backward<float>(b, s, n, x, keep, dy, dw);
    coc_cuda_launched(b, "first convolution, backward");
}
