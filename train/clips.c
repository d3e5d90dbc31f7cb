#include "train/clips.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

/* Clips mixed before their features are computed: enough for every thread, small enough (5 MB of
 * waveform) to stay in the cache. */
enum { CHUNK = 16 };

struct coc_clips {
    coc_features *features;
    coc_feature_kind kind;
    float *wave; /* [CHUNK][COC_CLIP_SAMPLES] on the device of the features */
    coc_mix mix[CHUNK];
    coc_mix_scratch scratch[CHUNK];
};

int64_t coc_clip_floats(coc_feature_kind kind)
{
    return (int64_t)coc_feature_channels(kind) * COC_BANDS * COC_FRAMES;
}

coc_status coc_clips_create(const char *backend, coc_feature_kind kind, int threads,
                            coc_clips **clips)
{
    coc_status status;

    COC_TRY(coc_alloc(1, sizeof **clips, clips));
    (*clips)->kind = kind;
    COC_TRY_GOTO(status, coc_features_create(backend, threads, &(*clips)->features), fail);
    COC_TRY_GOTO(status,
                 coc_device_alloc((*clips)->features->device, CHUNK * COC_CLIP_SAMPLES,
                                  sizeof(float), &(*clips)->wave),
                 fail);
    return COC_OK;

fail:
    coc_clips_destroy(clips);
    return status;
}

void coc_clips_destroy(coc_clips **clips)
{
    if (*clips == NULL) return;
    for (int i = 0; i < CHUNK; i++)
        coc_mix_scratch_free(&(*clips)->scratch[i]);
    if ((*clips)->features != NULL)
        (*clips)->features->device->release((*clips)->features->device, (*clips)->wave);
    coc_features_destroy(&(*clips)->features);
    free(*clips);
    *clips = NULL;
}

const coc_device *coc_clips_device(const coc_clips *clips)
{
    return clips->features->device;
}

static coc_status compute_chunk(coc_clips *clips, const coc_sampler *sampler,
                                const coc_clip_request *requests, int64_t n, float *x,
                                double *load_seconds, double *feature_seconds)
{
    const double begin = coc_clock_seconds();
    double loaded;

    for (int64_t i = 0; i < n; i++)
        COC_TRY(coc_sampler_mix(sampler, requests[i].pair, requests[i].view, requests[i].position,
                                requests[i].noise, &clips->scratch[i], &clips->mix[i]));
    loaded = coc_clock_seconds();
    COC_TRY(clips->features->ops->mix(clips->features, clips->mix, n, clips->wave));
    COC_TRY(coc_features_compute(clips->features, clips->kind, clips->wave, n, x));
    if (load_seconds != NULL) *load_seconds += loaded - begin;
    if (feature_seconds != NULL) *feature_seconds += coc_clock_seconds() - loaded;
    return COC_OK;
}

coc_status coc_clips_compute(coc_clips *clips, const coc_sampler *sampler,
                             const coc_clip_request *requests, int64_t n, float *x,
                             double *load_seconds, double *feature_seconds)
{
    const int64_t floats = coc_clip_floats(clips->kind);

    for (int64_t i = 0; i < n; i += CHUNK) {
        const int64_t count = n - i < CHUNK ? n - i : CHUNK;

        COC_TRY(compute_chunk(clips, sampler, requests + i, count, x + i * floats, load_seconds,
                              feature_seconds));
    }
    return COC_OK;
}
