/* Waveforms as sums of stems and noise. The noise is that of base/rng_normal.c: the same words of
 * the same counters through the same polynomials; values differ by roundings. */
#include "base/cuda/kernel.cuh"
#include "base/cuda/philox.cuh"
#include "preprocess/cuda/features_cuda.h"

namespace
{

/* A thread makes 8 samples: 16 bytes of every stem, two blocks of random words. The stems' loads do
 * not depend on each other. */
enum { THREADS = 256, SAMPLES = 8, BLOCK_SAMPLES = THREADS * SAMPLES };
enum { PARTS = (COC_CLIP_SAMPLES + BLOCK_SAMPLES - 1) / BLOCK_SAMPLES }; /* of a clip */

static_assert(COC_CLIP_SAMPLES % SAMPLES == 0, "a thread's samples are all inside");
static_assert(sizeof(coc_cuda_mix) * COC_CUDA_MIXES % 16 == 0 &&
                  sizeof(float) * COC_CUDA_STEMS % 16 == 0,
              "stems are read 16 bytes at a time");

/* sqrt(-2 ln u), 0 < u <= 1: u = m 2^e with m in [sqrt 1/2, sqrt 2), and
 * ln m = 2 (s + s^3/3 + s^5/5 + ...) with s = (m - 1) / (m + 1), |s| < 0.172. */
__device__ __forceinline__ float radius(float u)
{
    const int root_half = 0x3f3504f3, exponent_one = 1 << 23; /* bits of floats */
    const int bits = __float_as_int(u), exponent = (bits - root_half) >> 23;
    const float m = __int_as_float(bits - exponent * exponent_one);
    const float s = (m - 1.0f) / (m + 1.0f), q = s * s;
    const float ln =
        2.0f * s * (1.0f + q * (1.0f / 3 + q * (1.0f / 5 + q * (1.0f / 7 + q * (1.0f / 9)))));

    return sqrtf(-2.0f * (0.693147181f * (float)exponent + ln));
}

/* Cosine and sine of 2 pi `turns`, 0 <= turns < 1: quarter turns are taken off exactly, the rest x
 * has |x| <= pi / 4. */
__device__ __forceinline__ float2 circle(float turns)
{
    const int quarter = (int)(4.0f * turns + 0.5f);
    const float x = 1.57079633f * (4.0f * turns - (float)quarter), q = x * x;
    const float s =
        x * (1.0f + q * (-1.0f / 6 + q * (1.0f / 120 + q * (-1.0f / 5040 + q * (1.0f / 362880)))));
    const float c =
        1.0f + q * (-0.5f + q * (1.0f / 24 +
                                 q * (-1.0f / 720 + q * (1.0f / 40320 - q * (1.0f / 3628800)))));
    const float a = quarter & 1 ? s : c, b = quarter & 1 ? c : s;

    return make_float2((quarter + 1) & 2 ? -a : a, quarter & 2 ? -b : b);
}

/* Two normal numbers of two words. */
__device__ __forceinline__ float2 normals(uint32_t first, uint32_t second)
{
    /* (0, 1]: the logarithm must stay finite */
    const float r = radius(((float)(int)(first >> 8) + 1.0f) * 0x1p-24f);
    const float2 direction = circle((float)(int)(second >> 8) * 0x1p-24f);

    return make_float2(r * direction.x, r * direction.y);
}

/* sum = noise of samples first .. first + 7 */
__device__ __forceinline__ void draw_noise(const coc_cuda_mix &mix, int first, float sum[SAMPLES])
{
#pragma unroll
    for (int i = 0; i < SAMPLES; i += 4) {
        const uint4 word = coc::philox(mix.key[0], mix.key[1], (uint32_t)(first + i) / 4,
                                       mix.counter[0], mix.counter[1], mix.counter[2]);
        const float2 a = normals(word.x, word.y), b = normals(word.z, word.w);

        sum[i] = mix.noise * a.x;
        sum[i + 1] = mix.noise * a.y;
        sum[i + 2] = mix.noise * b.x;
        sum[i + 3] = mix.noise * b.y;
    }
}

/* The two halves of a word are samples. */
__device__ __forceinline__ void add_pair(int word, float gain, float sum[2])
{
    sum[0] += gain * (float)(short)(word & 0xffff);
    sum[1] += gain * (float)(word >> 16);
}

/* Of a clip's `stems` stems, whose gains and samples begin there. */
__device__ __forceinline__ void add_stems(const float *__restrict__ gains,
                                          const int16_t *__restrict__ stem, int stems, int first,
                                          float sum[SAMPLES])
{
#pragma unroll 4
    for (int s = 0; s < stems; s++) {
        const int4 pcm =
            __ldg(reinterpret_cast<const int4 *>(stem + (int64_t)s * COC_CLIP_SAMPLES + first));
        const float gain = __ldg(&gains[s]);

        add_pair(pcm.x, gain, sum);
        add_pair(pcm.y, gain, sum + 2);
        add_pair(pcm.z, gain, sum + 4);
        add_pair(pcm.w, gain, sum + 6);
    }
}

__global__ void __launch_bounds__(THREADS)
    mix_stems(const coc_cuda_load *__restrict__ load, float *__restrict__ wave)
{
    const coc_cuda_mix mix = load->mix[blockIdx.y];
    const int first = (int)(blockIdx.x * THREADS + threadIdx.x) * SAMPLES;
    float4 *const out = reinterpret_cast<float4 *>(wave + mix.clip * COC_CLIP_SAMPLES + first);
    float sum[SAMPLES] = {0, 0, 0, 0, 0, 0, 0, 0};

    if (first >= COC_CLIP_SAMPLES) return;
    if (mix.adds) {
        const float4 a = out[0], b = out[1];

        sum[0] = a.x, sum[1] = a.y, sum[2] = a.z, sum[3] = a.w;
        sum[4] = b.x, sum[5] = b.y, sum[6] = b.z, sum[7] = b.w;
    } else if (mix.noise != 0) {
        draw_noise(mix, first, sum);
    }
    add_stems(load->gain + mix.first, load->pcm[mix.first], mix.stems, first, sum);
    out[0] = make_float4(sum[0], sum[1], sum[2], sum[3]);
    out[1] = make_float4(sum[4], sum[5], sum[6], sum[7]);
}

/* A block makes parts of clips in turn, as many as there are: see COC_CUDA_FEED_BLOCKS. The samples
 * come over the bus, each of them once. */
__global__ void __launch_bounds__(THREADS)
    mix_feed(const coc_feed_clip *__restrict__ clips, const float *__restrict__ gain,
             const int16_t *__restrict__ pcm, int n, float *__restrict__ wave)
{
    for (int part = (int)blockIdx.x; part < n * PARTS; part += (int)gridDim.x) {
        const coc_feed_clip clip = clips[part / PARTS];
        const int first = (part % PARTS * THREADS + (int)threadIdx.x) * SAMPLES;
        const coc_cuda_mix mix = coc_cuda_noise(clip.noise, &clip.noise_key);
        float4 *const out =
            reinterpret_cast<float4 *>(wave + (int64_t)(part / PARTS) * COC_CLIP_SAMPLES + first);
        float sum[SAMPLES] = {0, 0, 0, 0, 0, 0, 0, 0};

        if (first >= COC_CLIP_SAMPLES) continue;
        if (mix.noise != 0) draw_noise(mix, first, sum);
        add_stems(gain + clip.stem, pcm + clip.stem * COC_CLIP_SAMPLES, clip.stems, first, sum);
        out[0] = make_float4(sum[0], sum[1], sum[2], sum[3]);
        out[1] = make_float4(sum[4], sum[5], sum[6], sum[7]);
    }
}

} // namespace

void coc_cuda_mix_feed(const coc_feed *feed, int64_t first, int64_t n, float *wave,
                       cudaStream_t stream)
{
    COC_LAUNCH(mix_feed, COC_CUDA_FEED_BLOCKS, THREADS, 0, stream, feed->clip + first, feed->gain,
               feed->pcm, (int)n, wave);
}

void coc_cuda_mix_stems(const coc_cuda_load *load, int mixes, float *wave, cudaStream_t stream)
{
    const dim3 grid(PARTS, (unsigned)mixes);

    COC_LAUNCH(mix_stems, grid, THREADS, 0, stream, load, wave);
}
