/* Harmonic and percussive bands in one pass over the powers: medians of 31 along time and along
 * frequency, soft masks, sums over mel bands. */
#include "base/cuda/kernel.cuh"

#define COC_MEDIAN_FUNCTION static __device__ __forceinline__
#include "preprocess/cuda/features_cuda.h"
#include "preprocess/median_network.h"

namespace
{

/* A block: 32 frames of a clip, walking up the bins in steps of 64. A step is 128 networks of 16
 * medians along time (lanes are bins, a warp reads 32 rows) and as many along frequency (lanes are
 * frames): 4 warps each. A step reads 64 new rows and keeps 30 of the step before, so powers are
 * read twice in all (64 frames for 32), from the second-level cache.
 *
 * Some 85 % of the instructions are minima and maxima, which run at half the speed of others; rows
 * are read while other blocks compute: 43 KB of shared memory and 64 registers a thread put four
 * blocks on a multiprocessor. Rows of the tile are 68 floats, 4 more than two rounds of the banks,
 * so that 16-byte reads by lanes in 8 neighbouring rows have no conflicts; likewise 36. */
enum {
    THREADS = 256,
    WARPS = THREADS / 32,
    FRAMES = COC_CUDA_COLUMNS,
    STEP = 64, /* bins */
    MARGIN = COC_MEDIAN_TAPS / 2,
    BEFORE = MARGIN + 1, /* frames of the tile before the block's, for aligned reads */
    COLUMNS = FRAMES + 2 * BEFORE,
    KEPT = 2 * MARGIN, /* rows */
    ROWS = STEP + KEPT,
    TILE_ROW = COLUMNS + 4,
    OUT_ROW = FRAMES + 4,
    QUADS = COLUMNS / 4,
    SHARED = (ROWS * TILE_ROW + 2 * STEP * OUT_ROW) * (int)sizeof(float),
};

static_assert((int)COC_MEDIAN_ROWS == (int)COC_MEDIAN_WINDOWS + 2 * (int)MARGIN &&
                  STEP * FRAMES / COC_MEDIAN_WINDOWS == THREADS / 2,
              "a step is one network a thread");
static_assert(KEPT * QUADS <= 2 * THREADS && THREADS % COLUMNS == 0 &&
                  STEP * FRAMES / 4 % THREADS == 0,
              "rows are moved by whole blocks of threads");
static_assert((COC_CUDA_PARTS - 1) * FRAMES < (int)COC_FRAMES &&
                  COC_CUDA_PARTS * FRAMES >= (int)COC_FRAMES && COC_CUDA_ROW % 4 == 0,
              "blocks cover the frames; rows are read 16 bytes at a time");

/* The place of index i of n where edges mirror with the edge itself repeated. */
__device__ __forceinline__ int mirrored(int i, int n)
{
    return max(i, -1 - i) - max(2 * (i - n) + 1, 0);
}

/* COUNT rows of the tile from row `first` on, bins from `bin` on; the tile's first column is
 * `frame`. Ends when the copies are on their way. */
template <int COUNT>
__device__ __forceinline__ void read_rows(const float *power, int bin, int frame, float *tile)
{
    if (frame >= 0 && frame + COLUMNS <= COC_FRAMES) {
        const unsigned column = threadIdx.x % QUADS * 4;

#pragma unroll
        for (unsigned row = threadIdx.x / QUADS; row < COUNT; row += THREADS / QUADS)
            coc_cp_async_16(
                tile + row * TILE_ROW + column,
                power + mirrored(bin + (int)row, COC_BINS) * COC_CUDA_ROW + frame + column, true);
    } else {
        const unsigned column = threadIdx.x % COLUMNS;

        power += mirrored(frame + (int)column, COC_FRAMES);
#pragma unroll 4
        for (unsigned row = threadIdx.x / COLUMNS; row < COUNT; row += THREADS / COLUMNS)
            tile[row * TILE_ROW + column] =
                power[mirrored(bin + (int)row, COC_BINS) * COC_CUDA_ROW];
    }
    coc_cp_async_commit();
}

/* 16 neighbouring frames of one bin: the first window begins at from[1]. Knowing the alignment, the
 * compiler reads 16 bytes at a time. */
__device__ __forceinline__ void medians_along_time(const float *from, float *out)
{
    const void *const in = __builtin_assume_aligned(from, 16);
    coc_float_bits median[COC_MEDIAN_WINDOWS];

    coc_median_network(static_cast<const coc_float_bits *>(in) + 1, 1, median, 1);
#pragma unroll
    for (int i = 0; i < COC_MEDIAN_WINDOWS; i += 4)
        *reinterpret_cast<int4 *>(out + i) =
            make_int4(median[i], median[i + 1], median[i + 2], median[i + 3]);
}

/* 16 neighbouring bins of one frame. */
__device__ __forceinline__ void medians_along_frequency(const float *from, float *out)
{
    coc_median_network(reinterpret_cast<const coc_float_bits *>(from), TILE_ROW,
                       reinterpret_cast<coc_float_bits *>(out), OUT_ROW);
}

/* Medians of the `bins` bins of a step: harmonic, percussive [STEP][OUT_ROW]. */
__device__ __forceinline__ void medians(const float *tile, unsigned bins, float *harmonic,
                                        float *percussive)
{
    const unsigned thread = threadIdx.x;

    if (thread < THREADS / 2) {
        const unsigned bin = thread % STEP, frame = thread / STEP * COC_MEDIAN_WINDOWS;

        if (bin < bins)
            medians_along_time(tile + (MARGIN + bin) * TILE_ROW + frame,
                               harmonic + bin * OUT_ROW + frame);
    } else {
        const unsigned frame = thread % FRAMES;
        const unsigned bin = (thread - THREADS / 2) / FRAMES * COC_MEDIAN_WINDOWS;

        if (bin < bins)
            medians_along_frequency(tile + bin * TILE_ROW + BEFORE + frame,
                                    percussive + bin * OUT_ROW + frame);
    }
}

/* Medians harm^2, perc^2 of a power s to the powers of both parts. The smallest normal float, added
 * to both, makes the masks 0.5 where both are 0 and is lost in rounding elsewhere. */
__device__ __forceinline__ void mask(float s, float &harmonic, float &percussive)
{
    const float smallest = 1.17549435e-38f;
    const float a = harmonic + smallest, b = percussive + smallest;
    const float inverse = __fdividef(1.0f, a + b), x = a * inverse, y = b * inverse;

    harmonic = s * (x * x);
    percussive = s * (y * y);
}

__device__ __forceinline__ void masks(const float *tile, float *harmonic, float *percussive)
{
    const unsigned frame = threadIdx.x % (FRAMES / 4) * 4;

#pragma unroll
    for (unsigned bin = threadIdx.x / (FRAMES / 4); bin < STEP; bin += THREADS / (FRAMES / 4)) {
        float4 *const h = reinterpret_cast<float4 *>(harmonic + bin * OUT_ROW + frame);
        float4 *const p = reinterpret_cast<float4 *>(percussive + bin * OUT_ROW + frame);
        const float4 s =
            *reinterpret_cast<const float4 *>(tile + (MARGIN + bin) * TILE_ROW + BEFORE + frame);
        float4 x = *h, y = *p;

        mask(s.x, x.x, y.x);
        mask(s.y, x.y, y.y);
        mask(s.z, x.z, y.z);
        mask(s.w, x.w, y.w);
        *h = x;
        *p = y;
    }
}

/* The last KEPT rows of the tile become its first ones: read before, written after a barrier. */
struct kept_rows {
    float4 quad[2];
};

__device__ __forceinline__ bool keeps(int turn)
{
    return turn * THREADS + threadIdx.x < KEPT * QUADS;
}

/* This thread's part of the rows from `row` on. */
__device__ __forceinline__ float4 *kept_quad(float *tile, int row, int turn)
{
    return reinterpret_cast<float4 *>(
        tile + (row + turn * THREADS / QUADS + threadIdx.x / QUADS) * TILE_ROW +
        threadIdx.x % QUADS * 4);
}

__device__ __forceinline__ kept_rows take_rows(float *tile)
{
    kept_rows kept;

#pragma unroll
    for (int turn = 0; turn < 2; turn++)
        kept.quad[turn] = keeps(turn) ? *kept_quad(tile, STEP, turn) : make_float4(0, 0, 0, 0);
    return kept;
}

__device__ __forceinline__ void put_rows(const kept_rows &kept, float *tile)
{
#pragma unroll
    for (int turn = 0; turn < 2; turn++)
        if (keeps(turn)) *kept_quad(tile, 0, turn) = kept.quad[turn];
}

/* A warp sums every fourth band of one part, one after the other, lanes being frames. A bin is in
 * two bands at most, so of these at most one is unfinished after a step. */
struct band_sum {
    int band;
    float sum, loudest;
};

/* Adds the bins begin .. end - 1, whose powers are part [end - begin][OUT_ROW]. */
__device__ __forceinline__ void add_step(const coc_cuda_bank *bank, const float *part, int begin,
                                         int end, float *bands, band_sum &s)
{
    const int frame = (int)(blockIdx.x * FRAMES + threadIdx.x % 32);
    const int64_t channel = blockIdx.y * 2 + threadIdx.x / 32 % 2;

    while (s.band < COC_BANDS) {
        const int band_begin = __ldg(&bank->begin[s.band]), band_end = __ldg(&bank->end[s.band]);
        const int from = max(begin, band_begin), to = min(end, band_end);
        const float *weight = bank->weight + __ldg(&bank->weights[s.band]) - band_begin;

        if (band_begin >= end) return;
#pragma unroll 4
        for (int bin = from; bin < to; bin++)
            s.sum += __ldg(&weight[bin]) * part[(bin - begin) * OUT_ROW];
        if (band_end > end) return;
        if (frame < COC_FRAMES) {
            bands[(channel * COC_BANDS + s.band) * COC_FRAMES + frame] = s.sum;
            s.loudest = fmaxf(s.loudest, s.sum);
        }
        s.sum = 0;
        s.band += WARPS / 2;
    }
}

/* The largest of the block's values of either part: even and odd warps. */
__device__ __forceinline__ void write_loudest(float value, float *of_warp, float *loudest)
{
    for (int distance = 16; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, distance));
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x >= 2) return;
    value = 0;
    for (int warp = (int)threadIdx.x; warp < WARPS; warp += 2)
        value = fmaxf(value, of_warp[warp]);
    loudest[threadIdx.x * COC_CUDA_PARTS] = value;
}

__global__ void __launch_bounds__(THREADS, 4)
    hps_bands(const coc_cuda_bank *__restrict__ bank, const float *__restrict__ power,
              float *__restrict__ bands, float *__restrict__ loudest)
{
    COC_SHARED(float, tile);
    float *const harmonic = tile + ROWS * TILE_ROW, *const percussive = harmonic + STEP * OUT_ROW;
    const float *const part = harmonic + threadIdx.x / 32 % 2 * STEP * OUT_ROW + threadIdx.x % 32;
    const int frame = (int)blockIdx.x * FRAMES - BEFORE;
    const int begin = __ldg(&bank->begin[0]), end = __ldg(&bank->end[COC_BANDS - 1]);
    band_sum sum = {(int)threadIdx.x / 64, 0, 0};

    power += (int64_t)blockIdx.y * COC_CUDA_POWERS;
    read_rows<ROWS>(power, begin - MARGIN, frame, tile);
    for (int bin = begin; bin < end; bin += STEP) {
        const int after = min(bin + STEP, end);
        kept_rows kept;

        coc_cp_async_wait<0>();
        __syncthreads();
        medians(tile, (unsigned)(after - bin), harmonic, percussive);
        __syncthreads();
        masks(tile, harmonic, percussive);
        kept = take_rows(tile);
        __syncthreads();
        if (after < end) {
            put_rows(kept, tile);
            read_rows<STEP>(power, after + MARGIN, frame, tile + KEPT * TILE_ROW);
        }
        add_step(bank, part, bin, after, bands, sum);
    }
    write_loudest(sum.loudest, tile,
                  loudest + (int64_t)blockIdx.y * 2 * COC_CUDA_PARTS + blockIdx.x);
}

} // namespace

void coc_cuda_hps_bands(const coc_cuda_bank *bank, const float *power, int64_t n, float *bands,
                        float *loudest, cudaStream_t stream)
{
    const dim3 grid(COC_CUDA_PARTS, (unsigned)n);

    COC_LAUNCH(hps_bands, grid, THREADS, SHARED, stream, bank, power, bands, loudest);
}
