/* preprocess/cuda/features_cuda.h - inside of the features on the GPU; for this folder and its
 * tests alone. C and C++.
 *
 * As on the host (preprocess/features_cpu.h) everything is computed on powers |X|^2, which lie
 * [bin][frame]. Clips go through in chunks of COC_CUDA_CLIPS, so that the powers of a chunk (33 MB)
 * are still in the second-level cache when the medians read them:
 *
 *     stft.cu    waveforms -> powers                 8 frames a block, in double
 *     hps.cu     powers -> bands, loudest values     medians, masks and bands of 32 frames a block
 *     bands.cu   powers -> bands (log-mel); bands -> decibels
 *     mix.cu     stems -> waveforms
 *     crop.cu    features -> parts of them
 *
 * The .cu files hold kernels and the functions below, which launch them and report nothing:
 * features_cuda.c asks for failures. Every number is the result of one thread's work in a fixed
 * order, whatever else is in the batch.
 */
#ifndef COC_PREPROCESS_CUDA_FEATURES_CUDA_H
#define COC_PREPROCESS_CUDA_FEATURES_CUDA_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "preprocess/features.h"
#include "preprocess/mel_bank.h"

enum {
    COC_CUDA_CLIPS = 32,     /* whose powers are kept at a time */
    COC_CUDA_TRANSFORMS = 8, /* frames of a block of the transform: one sector of 32 bytes */
    COC_CUDA_ROW = 504,      /* floats from a bin to the next: a multiple of 8 */
    COC_CUDA_COLUMNS = 32,   /* frames of a block of the medians: the lanes of a warp */
    COC_CUDA_PARTS = 16,     /* such blocks of a clip */
    COC_CUDA_POWERS = COC_BINS * COC_CUDA_ROW, /* floats of a clip */
    COC_CUDA_STEMS = 64,                       /* stems that are copied to the device at a time */
    COC_CUDA_MIXES = 128,                      /* clips, or parts of clips, of such a copy */
    /* Blocks that mix out of the host's memory. They wait for the bus most of the time: a few that
     * keep it busy, 512 KB on their way, and leave the processors to the training step. */
    COC_CUDA_FEED_BLOCKS = 32,
};

/* ---- constant tables, on the device */

/* The bins of every band and their weights. Bands begin and end in order, and at most two of them
 * share a bin. */
typedef struct {
    int begin[COC_BANDS], end[COC_BANDS]; /* end > begin */
    int weights[COC_BANDS];               /* place of the weight of bin `begin` */
    float weight[2 * COC_BINS];
} coc_cuda_bank;

typedef struct {
    double re, im;
} coc_cuda_number; /* 16 bytes, aligned to 16 */

/* unit(x) = exp(-2 pi j x) */
typedef struct {
    double window[COC_FFT_WINDOW];
    coc_cuda_number of_512[8][64];           /* unit(k n / 512) */
    coc_cuda_number of_64[8][8];             /* unit(k n / 64) */
    coc_cuda_number half_turn[COC_BINS / 2]; /* unit(k / 1024) */
    coc_cuda_bank slaney, htk;
} coc_cuda_tables;

/* ---- what is copied for a mix, in one piece */

/* wave[clip] = noise, or += where the stems of a clip come in several copies; then += gain * pcm.
 */
typedef struct {
    int64_t clip;
    int32_t first, stems; /* of the copy's stems */
    int32_t adds;         /* to what is there already */
    float noise;          /* 0: none */
    uint32_t key[2];      /* words of the random numbers: base/rng.h */
    uint32_t counter[3];  /* the last three of four */
    int32_t unused;
} coc_cuda_mix;

#ifdef __CUDACC__
#define COC_CUDA_BOTH __host__ __device__
#else
#define COC_CUDA_BOTH
#endif

/* Noise of sigma `noise` by that key; no stems yet. */
COC_CUDA_BOTH static inline coc_cuda_mix coc_cuda_noise(float noise, const coc_rng_key *key)
{
    coc_cuda_mix mix = {0, 0, 0, 0, 0, {0, 0}, {0, 0, 0}, 0};

    mix.noise = noise;
    mix.key[0] = (uint32_t)key->seed;
    mix.key[1] = (uint32_t)(key->seed >> 32);
    mix.counter[0] = key->item;
    mix.counter[1] = key->step;
    mix.counter[2] = (uint32_t)key->draw << 24 | (uint32_t)key->view << 16 | (uint32_t)key->layer;
    return mix;
}

/* Aligned to 16. The copy ends after the last stem that is used. */
typedef struct {
    coc_cuda_mix mix[COC_CUDA_MIXES];
    float gain[COC_CUDA_STEMS];
    int16_t pcm[COC_CUDA_STEMS][COC_CLIP_SAMPLES];
} coc_cuda_load;

/* ---- launches; all pointers are on the device */

/* The first `mixes` mixes of a load. */
void coc_cuda_mix_stems(const coc_cuda_load *load, int mixes, float *wave, cudaStream_t stream);

/* Clips first .. first + n - 1 of a feed, from the host's memory. */
void coc_cuda_mix_feed(const coc_feed *feed, int64_t first, int64_t n, float *wave,
                       cudaStream_t stream);

/* As coc_feature_ops.crop. */
void coc_cuda_crop(const coc_feed *feed, int64_t first, int64_t n, int rows, int frames,
                   const float *whole, float *out, cudaStream_t stream);

/* power [n][COC_BINS][COC_CUDA_ROW] of wave [n][COC_CLIP_SAMPLES]. Beyond the clip: silence, or the
 * clip mirrored at its first and last sample, which are not repeated. Frames from COC_FRAMES on
 * have no meaning. */
void coc_cuda_powers(const coc_cuda_tables *tables, const float *wave, int64_t n, bool mirrored,
                     float *power, cudaStream_t stream);

/* Bands [n][2][COC_BANDS][COC_FRAMES] of the harmonic and percussive parts, and the largest value
 * of every block, loudest [n][2][COC_CUDA_PARTS]. */
void coc_cuda_hps_bands(const coc_cuda_bank *bank, const float *power, int64_t n, float *bands,
                        float *loudest, cudaStream_t stream);

/* Bands to decibels relative to the channel's loudest value, in place; channels: 2 n. */
void coc_cuda_decibels_relative(const float *loudest, int64_t channels, float *bands,
                                cudaStream_t stream);

/* out [n][COC_BANDS][COC_FRAMES]: bands in absolute decibels. */
void coc_cuda_mel_decibels(const coc_cuda_bank *bank, const float *power, int64_t n, float *out,
                           cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
