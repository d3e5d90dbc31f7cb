/* preprocess/features.h - waveforms of 5 s clips to the tensors that the encoder sees.
 *
 * One code path for training, evaluation and scoring. What is computed: docs/features.md (librosa's
 * HPSS features, torchaudio's log-mel). Backends share one table, every entry required:
 * `ref` (plain loops in double, the specification), `cpu` (fast, float), `cuda` (on a GPU).
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

/* One clip of a feed. */
typedef struct {
    coc_rng_key noise_key;
    float noise; /* sigma; 0: none */
    int32_t stems;
    int64_t stem;        /* the first of them, of the feed's */
    int32_t first_frame; /* of the part that is wanted, see crop */
} coc_feed_clip;

/* The clips of a batch as the device reads them by itself: calls on a feed depend on its sizes and
 * places alone, so they can be recorded once (base/device.h) and launched for whatever lies there
 * by then. */
typedef struct {
    int64_t clips, stems; /* that there is room for */
    coc_feed_clip *clip;  /* [clips]; on the device */
    float *gain;          /* [stems] 2^exponent / 32768; on the device */
    int16_t *pcm;         /* [stems][COC_CLIP_SAMPLES]; host memory from alloc_host */
} coc_feed;

typedef struct coc_features
    coc_features; /* one caller at a time; works on several threads itself */

typedef struct {
    const char *name;
    int chunk;    /* clips that are best handed over at a time */
    bool records; /* whether mix_feed, hps, mel and crop can be recorded on its device */
    /* What create takes of an accelerator's memory, and of page-locked host memory. Both 0 on the
     * host, where the memory of work, a few MB a thread, is not counted. */
    void (*bytes)(int64_t *device, int64_t *pinned);
    /* Fills in device, threads (given as asked for; 0: choose) and impl. */
    coc_status (*create)(coc_features *features);
    void (*destroy)(coc_features *features);
    /* wave [n][COC_CLIP_SAMPLES], full scale 1.0 */
    coc_status (*mix)(coc_features *features, const coc_mix *mixes, int64_t n, float *wave);
    /* The same, to the bit, for clips first .. first + n - 1 of a feed. Calls go through a feed in
     * order, from first 0 on; waves of one call and the next lie apart, since the next call may
     * fill its own while features of this one are computed. */
    coc_status (*mix_feed)(coc_features *features, const coc_feed *feed, int64_t first, int64_t n,
                           float *wave);
    /* HPS: out [n][2][COC_BANDS][COC_FRAMES], dB in [-80, 0] relative to the channel's maximum;
     * a silent channel is all 0. */
    coc_status (*hps)(coc_features *features, const float *wave, int64_t n, float *out);
    /* log-mel: out [n][1][COC_BANDS][COC_FRAMES], dB, absolute. */
    coc_status (*mel)(coc_features *features, const float *wave, int64_t n, float *out);
    /* Parts of features: out [n][rows][frames] = frames first_frame .. of whole
     * [n][rows][COC_FRAMES], where clips first .. first + n - 1 of the feed say first_frame. */
    coc_status (*crop)(coc_features *features, const coc_feed *feed, int64_t first, int64_t n,
                       int rows, int frames, const float *whole, float *out);
} coc_feature_ops;

struct coc_features {
    const coc_feature_ops *ops;
    const coc_device *device; /* where waves and features live */
    coc_stream *stream;       /* on which they are made; NULL on the host */
    int threads;
    void *impl;
};

/* backend: "ref" or "cpu" (what model.backend says). threads 0: OMP_NUM_THREADS. The caller's,
 * ended by coc_features_destroy. Errors: COC_ERR_SETTING (no such backend), COC_ERR_MEMORY. */
coc_status coc_features_create(const char *backend, int threads, coc_features **features);
void coc_features_destroy(coc_features **features);

/* The row of a backend. Errors: COC_ERR_SETTING (no such backend). */
coc_status coc_feature_ops_find(const char *backend, const coc_feature_ops **ops);

/* Pieces of an arena for the feed's clips and gains; the caller sets pcm. */
void coc_feed_layout(coc_feed *feed, coc_arena *arena, int64_t clips, int64_t stems);
/* Bytes of the page-locked memory for its pcm. */
size_t coc_feed_pcm_bytes(int64_t stems);

/* ops->hps or ops->mel. */
coc_status coc_features_compute(coc_features *features, coc_feature_kind kind, const float *wave,
                                int64_t n, float *out);

#endif
