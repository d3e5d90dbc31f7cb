/* Log-mel bands of powers, and decibels. */
#include "base/cuda/kernel.cuh"
#include "preprocess/cuda/features_cuda.h"

namespace
{

enum {
    CHANNEL = COC_BANDS * COC_FRAMES,
    /* log-mel: a thread is a frame and sums 8 bands, which share most of their bins */
    FRAME_THREADS = 128,
    GROUP = 8,
    GROUPS = COC_BANDS / GROUP,
    /* relative decibels: a quarter of a channel a block, 16 bytes a thread */
    QUAD_THREADS = 256,
    QUARTERS = 4,
    QUADS = CHANNEL / 4 / QUARTERS,
};

static_assert(CHANNEL % (4 * QUARTERS) == 0, "a channel is read 16 bytes at a time");

/* log10f is right to 2 units in the last place: 2e-5 dB at -100 dB. */
__device__ __forceinline__ float decibels(float x)
{
    return 10.0f * log10f(fmaxf(x, 1e-10f));
}

__global__ void __launch_bounds__(FRAME_THREADS)
    mel_decibels(const coc_cuda_bank *__restrict__ bank, const float *__restrict__ power,
                 float *__restrict__ out)
{
    const int frame = (int)(blockIdx.x * FRAME_THREADS + threadIdx.x);
    const int64_t clip = blockIdx.z;

    if (frame >= COC_FRAMES) return;
    power += clip * COC_CUDA_POWERS + frame;
    out += clip * CHANNEL + frame;
    for (int band = (int)blockIdx.y * GROUP; band < ((int)blockIdx.y + 1) * GROUP; band++) {
        const int begin = __ldg(&bank->begin[band]), end = __ldg(&bank->end[band]);
        const float *weight = bank->weight + __ldg(&bank->weights[band]) - begin;
        float sum = 0;

#pragma unroll 4
        for (int bin = begin; bin < end; bin++)
            sum += __ldg(&weight[bin]) * power[bin * COC_CUDA_ROW];
        out[band * COC_FRAMES] = decibels(sum);
    }
}

__device__ __forceinline__ float relative(float x, float reference)
{
    return fmaxf(decibels(x) - reference, -80.0f);
}

__global__ void __launch_bounds__(QUAD_THREADS)
    decibels_relative(const float *__restrict__ loudest, float *bands)
{
    const int64_t channel = blockIdx.y;
    float4 *const quad = reinterpret_cast<float4 *>(bands + channel * CHANNEL) + blockIdx.x * QUADS;
    float reference = 0;

    for (int i = 0; i < COC_CUDA_PARTS; i++)
        reference = fmaxf(reference, __ldg(&loudest[channel * COC_CUDA_PARTS + i]));
    reference = decibels(reference);
    for (int i = (int)threadIdx.x; i < QUADS; i += QUAD_THREADS) {
        const float4 x = quad[i];

        quad[i] = make_float4(relative(x.x, reference), relative(x.y, reference),
                              relative(x.z, reference), relative(x.w, reference));
    }
}

} // namespace

void coc_cuda_mel_decibels(const coc_cuda_bank *bank, const float *power, int64_t n, float *out,
                           cudaStream_t stream)
{
    const dim3 grid((unsigned)coc::divide_up(COC_FRAMES, FRAME_THREADS), GROUPS, (unsigned)n);

    COC_LAUNCH(mel_decibels, grid, FRAME_THREADS, 0, stream, bank, power, out);
}

void coc_cuda_decibels_relative(const float *loudest, int64_t channels, float *bands,
                                cudaStream_t stream)
{
    const dim3 grid(QUARTERS, (unsigned)channels);

    COC_LAUNCH(decibels_relative, grid, QUAD_THREADS, 0, stream, loudest, bands);
}
