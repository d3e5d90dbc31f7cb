/* model/cuda/pool.cu - means over positions, and the join at a block's end: passes over large
 * tensors, bound by memory. */
#include "model/cuda/read.cuh"
#include "model/cuda/strips.cuh"

using namespace coc;

namespace
{

/* Positions of a thread. A pool's sum of that many is kept in float; the more there are, the fewer
 * clips need a second pass over what blocks leave behind. A join only has to be worth its
 * coefficients, and the fewer it has, the more blocks there are. Four loads of 16 or 32 bytes are
 * on their way at a time, which with 1,024 threads and more a multiprocessor is more than memory
 * needs to be kept busy. */
enum { POOL_STEPS = 64, JOIN_STEPS = 8 };

/* partial [clip][part][C] = sum of v over the part's positions, over all positions of the clip. */
template <typename T>
__global__ void __launch_bounds__(STRIP_THREADS, 3)
    pool(const T *x, norm_view norm, strips s, float *partial)
{
    __shared__ float left[STRIP_THREADS * 8]; /* [rows][vectors][8] */
    __shared__ double more[STRIP_THREADS];
    const strip_place at = place_of(s);
    const int width = 8 * s.vectors;
    vec8 sum = {{0, 0, 0, 0, 0, 0, 0, 0}};

    if (at.inside) {
        const affine8 a = load_affine(norm, at.clip, s.channels, at.c);

#pragma unroll 4
        for (int64_t p = at.first; p < at.end; p += s.rows) {
            const int64_t i = (at.clip * s.positions + p) * s.channels + at.c;
            const vec8 v = activated<T>(load8(x + i), a, norm.silu);

#pragma unroll
            for (int k = 0; k < 8; k++)
                sum.v[k] += v.v[k];
        }
    }
    if (at.row < s.rows) store8(left + at.row * width + 8 * at.vector, sum);
    __syncthreads();
    partial += (at.clip * gridDim.y + blockIdx.y) * s.channels;
    sum_of_rows(s.rows, width, left, more, [&](int k, double all) {
        const int c = (int)blockIdx.x * width + k;

        if (c < s.channels) partial[c] = (float)(all / (double)s.positions);
    });
}

template <typename T>
void launch_pool(coc_backend *b, int64_t n, int64_t positions, int channels, const stored *x,
                 const coc_norm *norm, real *out)
{
    const strips s = strips_of(channels, positions, POOL_STEPS);
    const int64_t parts = parts_of(s);
    const auto kernel = pool<T>;
    float *partial = out;

    if (parts > 1)
        partial = (float *)coc_cuda_scratch(b, (size_t)(n * parts * channels) * sizeof(float));
    if (partial == NULL) return;
    COC_LAUNCH(kernel, blocks_of(s, n), dim3(STRIP_THREADS), 0, coc_cuda_of(b)->stream,
               (const T *)x, view_of(norm), s, partial);
    if (parts > 1) coc_cuda_sum_parts(b, n, parts, channels, partial, false, out);
}

template <typename T>
__global__ void __launch_bounds__(STRIP_THREADS, 3)
    join(const T *__restrict__ x, norm_view norm, const float *clip_factor,
         const T *__restrict__ skip, strips s, T *__restrict__ out)
{
    const strip_place at = place_of(s);
    const vec8 zero = {{0, 0, 0, 0, 0, 0, 0, 0}};

    if (!at.inside) return;
    {
        const affine8 a = load_affine(norm, at.clip, s.channels, at.c);
        const float factor = clip_factor != NULL ? clip_factor[at.clip] : 1.0f;

#pragma unroll 4
        for (int64_t p = at.first; p < at.end; p += s.rows) {
            const int64_t i = (at.clip * s.positions + p) * s.channels + at.c;
            const vec8 own = skip != NULL ? load8(skip + i) : zero;
            vec8 y = normalised(load8(x + i), a);

#pragma unroll
            for (int k = 0; k < 8; k++)
                y.v[k] = factor * y.v[k] + own.v[k];
            store8(out + i, y);
        }
    }
}

template <typename T>
void launch_join(coc_backend *b, int64_t n, int64_t positions, int channels, const stored *x,
                 const coc_norm *norm, const real *clip, const stored *skip, stored *out)
{
    const strips s = strips_of(channels, positions, JOIN_STEPS);
    const auto kernel = join<T>;

    COC_LAUNCH(kernel, blocks_of(s, n), dim3(STRIP_THREADS), 0, coc_cuda_of(b)->stream,
               (const T *)x, view_of(norm), clip, (const T *)skip, s, (T *)out);
}

} // namespace

void coc_cuda_pool_forward(coc_backend *b, int64_t n, int64_t positions, int channels,
                           const stored *x, const coc_norm *norm, real *out)
{
    if (b->precision == COC_BF16)
        launch_pool<bf16>(b, n, positions, channels, x, norm, out);
    else
        launch_pool<float>(b, n, positions, channels, x, norm, out);
    coc_cuda_launched(b, "pool");
}

void coc_cuda_join_forward(coc_backend *b, int64_t n, int64_t positions, int channels,
                           const stored *x, const coc_norm *norm, const real *clip,
                           const stored *skip, stored *out)
{
    if (b->precision == COC_BF16)
        launch_join<bf16>(b, n, positions, channels, x, norm, clip, skip, out);
    else
        launch_join<float>(b, n, positions, channels, x, norm, clip, skip, out);
    coc_cuda_launched(b, "join");
}
