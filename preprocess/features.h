/* preprocess/features.h - waveforms of 5 s clips to the tensors that the encoder sees.
 *
 * One code path for training, evaluation and scoring. What is computed: docs/features.md (librosa's
 * HPSS features, torchaudio's log-mel). Backends share one table, every entry required:
 * `ref` (plain loops in double, the specification), `cpu` (fast, float), later `cuda`.
 */
#ifndef COC_PREPROCESS_FEATURES_H
#define COC_PREPROCESS_FEATURES_H

#include <stdint.h>

#include "base/device.h"
#include "base/rng.h"
#include "base/status.h"
#include "configs/settings.h"

enum {
    COC_SAMPLE_RATE = 16000,  /* Hz */
    COC_CLIP_SAMPLES = 80000, /* 5 s */
    COC_FFT_SIZE = 1024,
    COC_FFT_WINDOW = 400, /* samples, periodic Hann, centred in the FFT */
    COC_FFT_HOP = 160,
    COC_FRAMES = 501,
    COC_BINS = 513,
    COC_BANDS = 64, /* mel, 60 Hz to 7800 Hz */
    COC_MEDIAN_TAPS = 31,
};

/* Channels of a feature kind: 2 (harmonic, percussive) or 1. */
int coc_feature_channels(coc_feature_kind kind);

/* One clip as a sum of stems: wave[t] = sum over stems of gain * pcm[t] + noise * normal(key, t).
 */
typedef struct {
    int stems;
    const int16_t *const *pcm; /* [stems] -> [COC_CLIP_SAMPLES], host */
    const float *gain;         /* [stems], 2^exponent / 32768 */
    float noise;               /* sigma; 0: none */
    coc_rng_key noise_key;
} coc_mix;

typedef struct coc_features
    coc_features; /* one caller at a time; works on several threads itself */

typedef struct {
    const char *name;
    /* Fills in device, threads (given as asked for; 0: choose) and impl. */
    coc_status (*create)(coc_features *features);
    void (*destroy)(coc_features *features);
    /* wave [n][COC_CLIP_SAMPLES], full scale 1.0 */
    coc_status (*mix)(coc_features *features, const coc_mix *mixes, int64_t n, float *wave);
    /* HPS: out [n][2][COC_BANDS][COC_FRAMES], dB in [-80, 0] relative to the channel's maximum;
     * a silent channel is all 0. */
    coc_status (*hps)(coc_features *features, const float *wave, int64_t n, float *out);
    /* log-mel: out [n][1][COC_BANDS][COC_FRAMES], dB, absolute. */
    coc_status (*mel)(coc_features *features, const float *wave, int64_t n, float *out);
} coc_feature_ops;

struct coc_features {
    const coc_feature_ops *ops;
    const coc_device *device; /* where waves and features live */
    coc_stream *stream;       /* on which they are made; NULL on the host */
    int chunk;                /* clips that are best handed over at a time */
    int threads;
    void *impl;
};

/* backend: "ref" or "cpu" (what model.backend says). threads 0: OMP_NUM_THREADS. The caller's,
 * ended by coc_features_destroy. Errors: COC_ERR_SETTING (no such backend), COC_ERR_MEMORY. */
coc_status coc_features_create(const char *backend, int threads, coc_features **features);
void coc_features_destroy(coc_features **features);

/* ops->hps or ops->mel. */
coc_status coc_features_compute(coc_features *features, coc_feature_kind kind, const float *wave,
                                int64_t n, float *out);

#endif
