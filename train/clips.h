/* train/clips.h - clips by request: which member of which pair -> features. The one place where the
 * store's audio becomes the encoder's input, for training, validation and evaluation alike. */
#ifndef COC_TRAIN_CLIPS_H
#define COC_TRAIN_CLIPS_H

#include <stdbool.h>

#include "preprocess/sampler.h"

typedef struct {
    const coc_pair *pair;
    int view;         /* 0 anchor, 1 positive */
    int64_t position; /* keys the noise; training position or window */
    float noise;      /* sigma on the positive's waveform; 0: none */
    int first_frame;  /* of the part that is wanted: 0 .. COC_FRAMES - frames */
} coc_clip_request;

typedef struct coc_clips coc_clips; /* one caller at a time; uses several threads itself */

/* backend: whose features to use ("ref", "cpu", "cuda"). frames: length of what is wanted of each
 * window, 1 .. COC_FRAMES. threads 0: OMP_NUM_THREADS. */
coc_status coc_clips_create(const char *backend, coc_feature_kind kind, int frames, int threads,
                            coc_clips **clips);
void coc_clips_destroy(coc_clips **clips);

/* Where x must lie: the device of the backend. */
const coc_device *coc_clips_device(const coc_clips *clips);

/* The stream on which x is made; whoever uses x on another waits for it. */
coc_stream *coc_clips_stream(const coc_clips *clips);

/* x [n][C][COC_BANDS][frames], on that device and stream. *load_seconds and *feature_seconds (may
 * be NULL) are added to. Errors: those of coc_store_read and of the features. */
coc_status coc_clips_compute(coc_clips *clips, const coc_sampler *sampler,
                             const coc_clip_request *requests, int64_t n, float *x,
                             double *load_seconds, double *feature_seconds);

/* ---- feeds (preprocess/features.h): the same x in two halves, of which the second can be recorded
 */

/* What is needed beside to give feeds. Errors: COC_ERR_MEMORY, COC_ERR_DEVICE. */
coc_status coc_clips_allow_feeds(coc_clips *clips);

/* On the host: read the stems of n <= feed->clips requests into feed->pcm and describe the clips in
 * feed->clip and feed->gain, all of which lie on the host here. *fits false, and nothing was read:
 * together they have more stems than the feed has room for. *stems: how many they have.
 * *load_seconds is added to. Errors: those of coc_store_read. */
coc_status coc_clips_fill(coc_clips *clips, const coc_sampler *sampler,
                          const coc_clip_request *requests, int64_t n, const coc_feed *feed,
                          bool *fits, int64_t *stems, double *load_seconds);

/* On the device: x [n][C][COC_BANDS][frames] of the feed's clips, as coc_clips_compute makes it, to
 * the bit. What is given to the stream follows from n and from where feed and x lie: it may be
 * recorded. Errors: COC_ERR_DEVICE. */
coc_status coc_clips_give(coc_clips *clips, const coc_feed *feed, int64_t n, float *x);

/* What coc_clips_create takes of the device's memory (the host's for a backend of the host), and of
 * page-locked memory; with feeds, what coc_clips_allow_feeds takes too. Errors: COC_ERR_SETTING (no
 * such backend). */
coc_status coc_clips_bytes(const char *backend, coc_feature_kind kind, int frames, bool feeds,
                           int64_t *device, int64_t *pinned);

/* Floats of one clip's features: C * COC_BANDS * frames. */
int64_t coc_clip_floats(coc_feature_kind kind, int frames);

#endif
