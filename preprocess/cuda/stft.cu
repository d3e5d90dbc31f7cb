/* Power spectra: real transforms of 1024 as complex ones of 512 (even samples real, odd ones
 * imaginary), radix 8, 8, 8, decimated in frequency. In double, as on the host: masks compare what
 * lies 100 dB below the loudest value (docs/features.md). Where double runs at half the speed of
 * float (compute capability 8.0, 9.0, 10.0), double and shared memory are about equally busy, some
 * 300 cycles of a multiprocessor a frame.
 *
 * With n = 64 a + 8 b + c and k = 64 h + 8 g + f (digits 0 .. 7), the sum over n of
 * x[n] unit(n k / 512) is done as
 *
 *     over a:  y[f][b][c] = unit((8 b + c) f / 512) sum of x[64 a + 8 b + c] unit(a f / 8)
 *     over b:  z[f][g][c] = unit(c g / 64)          sum of y[f][b][c] unit(b g / 8)
 *     over c:  X[k]       =                         sum of z[f][g][c] unit(c h / 8)
 */
#include "base/cuda/kernel.cuh"
#include "preprocess/cuda/features_cuda.h"

namespace
{

/* A block: 8 frames side by side, 64 threads each. A value of all 8 frames is 128 bytes of shared
 * memory, so however the values are strided, there are no bank conflicts, and threads of 4 places
 * share a load of a constant. 64 KB of values and 6 KB of samples: two blocks (32 warps, 64
 * registers a thread) on a multiprocessor. The results of a bin are a whole sector of 32 bytes. */
enum {
    LANES = COC_CUDA_TRANSFORMS,
    PLACES = 64,
    THREADS = LANES * PLACES,
    HALF = COC_FFT_SIZE / 2,
    EDGE = COC_FFT_WINDOW / 2, /* samples that the first frame reaches before the clip */
    SAMPLES = (LANES - 1) * COC_FFT_HOP + COC_FFT_WINDOW,
    SKEW = 4, /* floats left out after every hop: frames then begin in different banks */
    ROOM = SAMPLES + (SAMPLES / COC_FFT_HOP + 1) * SKEW,
    SHARED = HALF * LANES * (int)sizeof(double2) + ROOM * (int)sizeof(float),
};

static_assert(COC_CUDA_ROW % LANES == 0 && COC_CUDA_ROW >= (int)COC_FRAMES,
              "rows hold whole blocks");
static_assert(SAMPLES / 4 <= THREADS && EDGE % 4 == 0 && LANES * COC_FFT_HOP % 4 == 0 &&
                  COC_FFT_HOP % 4 == 0 && COC_CLIP_SAMPLES % 4 == 0 && SKEW % 4 == 0,
              "a thread copies 4 samples");
static_assert(COC_FFT_WINDOW > 6 * PLACES && COC_FFT_WINDOW <= 8 * PLACES,
              "the first step takes four values of eight");

__device__ __forceinline__ double2 plus(double2 a, double2 b)
{
    return make_double2(a.x + b.x, a.y + b.y);
}

__device__ __forceinline__ double2 minus(double2 a, double2 b)
{
    return make_double2(a.x - b.x, a.y - b.y);
}

__device__ __forceinline__ double2 times(double2 a, double2 b)
{
    return make_double2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

__device__ __forceinline__ double2 constant(const coc_cuda_number *number)
{
    return __ldg(reinterpret_cast<const double2 *>(number));
}

/* x unit(1 / 8), x unit(2 / 8), x unit(3 / 8) */
__device__ __forceinline__ double2 eighth(double2 x)
{
    const double h = 0.70710678118654752440;

    return make_double2(h * (x.x + x.y), h * (x.y - x.x));
}

__device__ __forceinline__ double2 quarter(double2 x)
{
    return make_double2(x.y, -x.x);
}

__device__ __forceinline__ double2 three_eighths(double2 x)
{
    const double h = 0.70710678118654752440;

    return make_double2(h * (x.y - x.x), -h * (x.x + x.y));
}

/* Transform of 4 values, results in natural order. */
__device__ __forceinline__ void transform_4(double2 &a, double2 &b, double2 &c, double2 &d)
{
    const double2 s = plus(a, c), t = minus(a, c), u = plus(b, d), v = quarter(minus(b, d));

    a = plus(s, u);
    b = plus(t, v);
    c = minus(s, u);
    d = minus(t, v);
}

/* Transform of 8 values, results in natural order. */
__device__ __forceinline__ void transform_8(double2 x[8])
{
    double2 a = plus(x[0], x[4]), b = plus(x[1], x[5]), c = plus(x[2], x[6]), d = plus(x[3], x[7]);
    double2 e = minus(x[0], x[4]), f = eighth(minus(x[1], x[5])), g = quarter(minus(x[2], x[6])),
            h = three_eighths(minus(x[3], x[7]));

    transform_4(a, b, c, d); /* even frequencies */
    transform_4(e, f, g, h); /* odd ones */
    x[0] = a, x[1] = e, x[2] = b, x[3] = f, x[4] = c, x[5] = g, x[6] = d, x[7] = h;
}

/* The samples of the block's frames, from `begin` on, into shared memory. Blocks and clips begin
 * and end at multiples of 4 samples, so 4 of them are inside or outside together; where a mirror is
 * wanted and seen they go one by one. Ends when they are there for this thread. */
__device__ __forceinline__ void read_samples(const float *wave, int begin, bool mirrored,
                                             float *sample)
{
    const int last = COC_CLIP_SAMPLES - 1;

    if (mirrored && (begin < 0 || begin + SAMPLES > COC_CLIP_SAMPLES)) {
        for (unsigned i = threadIdx.x; i < SAMPLES; i += THREADS) {
            const int t = abs(begin + (int)i);

            sample[i + i / COC_FFT_HOP * SKEW] = wave[t <= last ? t : 2 * last - t];
        }
    } else if (threadIdx.x < SAMPLES / 4) {
        const unsigned i = threadIdx.x * 4;
        const int t = begin + (int)i;
        const bool inside = t >= 0 && t <= last;

        coc_cp_async_16(sample + i + i / COC_FFT_HOP * SKEW, wave + (inside ? t : 0), inside);
    }
    coc_cp_async_commit();
    coc_cp_async_wait<0>();
}

/* Values 2 n and 2 n + 1 of the windowed frame. The window stands at the start of the transform
 * instead of its middle: powers do not know. */
__device__ __forceinline__ double2 windowed(const double *window, const float *frame, unsigned n)
{
    const double2 w = __ldg(reinterpret_cast<const double2 *>(window) + n);
    const float2 x = *reinterpret_cast<const float2 *>(frame + 2 * n + 2 * n / COC_FFT_HOP * SKEW);

    return make_double2(w.x * (double)x.x, w.y * (double)x.y);
}

/* The first step. Values 200 .. 511 are 0, so four of eight are left, the last one mostly 0. */
__device__ __forceinline__ void first_step(const coc_cuda_tables *tables, const float *frame,
                                           unsigned place, double2 *value)
{
    double2 a = windowed(tables->window, frame, place);
    double2 b = windowed(tables->window, frame, place + PLACES);
    double2 c = windowed(tables->window, frame, place + 2 * PLACES);
    double2 d = make_double2(0, 0);
    double2 e = a, f = eighth(b), g = quarter(c), h;

    if (place < COC_FFT_WINDOW / 2 - 3 * PLACES)
        d = windowed(tables->window, frame, place + 3 * PLACES);
    h = three_eighths(d);

    transform_4(a, b, c, d);
    value[place * LANES] = a;
    value[(2 * PLACES + place) * LANES] = times(b, constant(&tables->of_512[2][place]));
    value[(4 * PLACES + place) * LANES] = times(c, constant(&tables->of_512[4][place]));
    value[(6 * PLACES + place) * LANES] = times(d, constant(&tables->of_512[6][place]));
    transform_4(e, f, g, h);
    value[(PLACES + place) * LANES] = times(e, constant(&tables->of_512[1][place]));
    value[(3 * PLACES + place) * LANES] = times(f, constant(&tables->of_512[3][place]));
    value[(5 * PLACES + place) * LANES] = times(g, constant(&tables->of_512[5][place]));
    value[(7 * PLACES + place) * LANES] = times(h, constant(&tables->of_512[7][place]));
}

/* The second step, in place: place = (f, c). */
__device__ __forceinline__ void second_step(const coc_cuda_tables *tables, unsigned place,
                                            double2 *value)
{
    double2 *const v = value + (place / 8 * 64 + place % 8) * LANES;
    double2 x[8];

#pragma unroll
    for (int b = 0; b < 8; b++)
        x[b] = v[b * 8 * LANES];
    transform_8(x);
    v[0] = x[0];
#pragma unroll
    for (int g = 1; g < 8; g++)
        v[g * 8 * LANES] = times(x[g], constant(&tables->of_64[g][place % 8]));
}

/* |X|^2 of bins k and 512 - k of the real transform, from Z[k] and Z[512 - k] of the complex one:
 * with E = (Z[k] + conj Z[-k]) / 2 and O = (Z[k] - conj Z[-k]) / 2j, X[k] = E + w O and
 * X[512 - k] = conj(E - w O). Twice E and O are formed, so squares are four times too large. */
__device__ __forceinline__ void write_powers(double2 low, double2 high, double2 w, float *of_low,
                                             float *of_high)
{
    const double2 e = make_double2(low.x + high.x, low.y - high.y);
    const double2 o = times(make_double2(low.y + high.y, high.x - low.x), w);
    const double2 p = plus(e, o), q = minus(e, o);

    *of_low = (float)(0.25 * (p.x * p.x + p.y * p.y));
    *of_high = (float)(0.25 * (q.x * q.x + q.y * q.y));
}

/* The third step and the powers: place = (f, g) holds bins 64 h + 8 g + f. The lower half of them
 * stays in registers and meets the upper half of another place, which lies in shared memory. */
__device__ __forceinline__ void last_steps(const coc_cuda_tables *tables, unsigned place,
                                           double2 *value, float *power)
{
    const unsigned first = place % 8 * 8 + place / 8; /* bin, h = 0 */
    double2 x[8];

#pragma unroll
    for (int c = 0; c < 8; c++)
        x[c] = value[(place * 8 + c) * LANES];
    transform_8(x);
#pragma unroll
    for (int h = 4; h < 8; h++)
        value[(place * 8 + h) * LANES] = x[h];
    __syncthreads();
    if (first == 0) power[HALF / 2 * COC_CUDA_ROW] = (float)(x[4].x * x[4].x + x[4].y * x[4].y);
#pragma unroll
    for (int h = 0; h < 4; h++) {
        const unsigned k = first + 64 * h, other = HALF - k;
        const unsigned there = other % 8 * 64 + other / 8 % 8 * 8 + other / 64;
        const double2 high = k == 0 ? x[0] : value[there * LANES];

        write_powers(x[h], high, constant(&tables->half_turn[k]), power + k * COC_CUDA_ROW,
                     power + other * COC_CUDA_ROW);
    }
}

__global__ void __launch_bounds__(THREADS, 2)
    powers(const coc_cuda_tables *__restrict__ tables, const float *__restrict__ wave,
           bool mirrored, float *__restrict__ power)
{
    COC_SHARED(double2, value);
    float *const sample = reinterpret_cast<float *>(value + HALF * LANES);
    const unsigned lane = threadIdx.x % LANES, place = threadIdx.x / LANES;
    const unsigned frame = blockIdx.x * LANES;
    const int64_t clip = blockIdx.y;

    read_samples(wave + clip * COC_CLIP_SAMPLES, (int)frame * COC_FFT_HOP - EDGE, mirrored, sample);
    __syncthreads();
    first_step(tables, sample + lane * (COC_FFT_HOP + SKEW), place, value + lane);
    __syncthreads();
    second_step(tables, place, value + lane);
    __syncthreads();
    last_steps(tables, place, value + lane, power + clip * COC_CUDA_POWERS + frame + lane);
}

} // namespace

void coc_cuda_powers(const coc_cuda_tables *tables, const float *wave, int64_t n, bool mirrored,
                     float *power, cudaStream_t stream)
{
    const dim3 grid(COC_CUDA_ROW / LANES, (unsigned)n);

    if (cudaFuncSetAttribute(reinterpret_cast<const void *>(powers),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED) != cudaSuccess)
        return; /* features_cuda.c asks for the failure */
    COC_LAUNCH(powers, grid, THREADS, SHARED, stream, tables, wave, mirrored, power);
}
