/* train/clips.h - clips by request: which member of which pair -> features. The one place where the
 * store's audio becomes the encoder's input, for training, validation and evaluation alike. */
#ifndef COC_TRAIN_CLIPS_H
#define COC_TRAIN_CLIPS_H

#include "preprocess/sampler.h"

typedef struct {
    const coc_pair *pair;
    int view;         /* 0 anchor, 1 positive */
    int64_t position; /* keys the noise; training position or window */
    float noise;      /* sigma on the positive's waveform; 0: none */
    int first_frame;  /* of the part that is wanted: 0 .. COC_FRAMES - frames */
} coc_clip_request;

typedef struct coc_clips coc_clips; /* one caller at a time; uses several threads itself */

/* backend: whose features to use ("ref", "cpu"). frames: length of what is wanted of each window,
 * 1 .. COC_FRAMES. threads 0: OMP_NUM_THREADS. */
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

/* Floats of one clip's features: C * COC_BANDS * frames. */
int64_t coc_clip_floats(coc_feature_kind kind, int frames);

#endif
