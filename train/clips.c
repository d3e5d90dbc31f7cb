#include "train/clips.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

struct coc_clips {
    coc_features *features;
    coc_feature_kind kind;
    int frames;    /* wanted of each window */
    int64_t chunk; /* clips mixed before their features are computed: of the features' table */
    float *wave;   /* [chunk][COC_CLIP_SAMPLES] on the device of the features */
    float *other;  /* the same, with which wave takes turns in feeds; NULL: no feeds */
    float *whole;  /* [chunk][C][COC_BANDS][COC_FRAMES], likewise; NULL: windows are wanted whole */
    coc_mix *mix;  /* [chunk] */
    coc_mix_scratch *scratch; /* [chunk] */
};

int64_t coc_clip_floats(coc_feature_kind kind, int frames)
{
    return (int64_t)coc_feature_channels(kind) * COC_BANDS * frames;
}

static coc_status create_parts(coc_clips *clips, const char *backend, int threads)
{
    const coc_device *device;

    COC_TRY(coc_features_create(backend, threads, &clips->features));
    device = clips->features->device;
    clips->chunk = clips->features->ops->chunk;
    COC_TRY(coc_alloc(clips->chunk, sizeof *clips->mix, &clips->mix));
    COC_TRY(coc_alloc(clips->chunk, sizeof *clips->scratch, &clips->scratch));
    COC_TRY(coc_device_alloc(device, clips->chunk * COC_CLIP_SAMPLES, sizeof *clips->wave,
                             &clips->wave));
    if (clips->frames == COC_FRAMES) return COC_OK;
    return coc_device_alloc(device, clips->chunk * coc_clip_floats(clips->kind, COC_FRAMES),
                            sizeof *clips->whole, &clips->whole);
}

coc_status coc_clips_create(const char *backend, coc_feature_kind kind, int frames, int threads,
                            coc_clips **clips)
{
    coc_status status;

    COC_TRY(coc_alloc(1, sizeof **clips, clips));
    (*clips)->kind = kind;
    (*clips)->frames = frames;
    status = create_parts(*clips, backend, threads);
    if (status != COC_OK) coc_clips_destroy(clips);
    return status;
}

void coc_clips_destroy(coc_clips **clips)
{
    if (*clips == NULL) return;
    for (int64_t i = 0; (*clips)->scratch != NULL && i < (*clips)->chunk; i++)
        coc_mix_scratch_free(&(*clips)->scratch[i]);
    free((*clips)->scratch);
    free((*clips)->mix);
    if ((*clips)->features != NULL) {
        const coc_device *device = (*clips)->features->device;

        device->release(device, (*clips)->wave);
        device->release(device, (*clips)->other);
        device->release(device, (*clips)->whole);
    }
    coc_features_destroy(&(*clips)->features);
    free(*clips);
    *clips = NULL;
}

const coc_device *coc_clips_device(const coc_clips *clips)
{
    return clips->features->device;
}

coc_stream *coc_clips_stream(const coc_clips *clips)
{
    return clips->features->stream;
}

/* The failure of the first clip in order that has one. */
typedef struct {
    int64_t clip;
    coc_status status;
    char text[2000], place[160];
} fault;

/* Called by one thread at a time, the one that failed: texts are kept per thread. */
static void note_fault(fault *first, int64_t clip, coc_status status)
{
    if (first->status != COC_OK && first->clip < clip) return;
    first->clip = clip;
    first->status = status;
    snprintf(first->text, sizeof first->text, "%s", coc_error_text());
    snprintf(first->place, sizeof first->place, "%s", coc_error_place());
}

/* Stems from the store, by all threads: pages come in and blocks are hashed at the first visit. */
static coc_status read_chunk(coc_clips *clips, const coc_sampler *sampler,
                             const coc_clip_request *requests, int64_t n)
{
    fault first = {.status = COC_OK};

#pragma omp parallel for schedule(dynamic, 1) num_threads(clips->features->threads)
    for (int64_t i = 0; i < n; i++) {
        const coc_clip_request *r = &requests[i];
        const coc_status status = coc_sampler_mix(sampler, r->pair, r->view, r->position, r->noise,
                                                  &clips->scratch[i], &clips->mix[i]);

        if (status == COC_OK) continue;
#pragma omp critical(coc_clips_fault)
        note_fault(&first, i, status);
    }
    if (first.status != COC_OK) coc_error_set(first.text, first.place);
    return first.status;
}

/* The wanted frames of every band of n whole clips -> x. */
static coc_status crop(const coc_clips *clips, const coc_clip_request *requests, int64_t n,
                       float *x)
{
    const coc_device *device = clips->features->device;
    const int64_t bands = coc_clip_floats(clips->kind, 1);
    const size_t bytes = (size_t)clips->frames * sizeof *x;

    for (int64_t i = 0; i < n; i++)
        COC_TRY(device->copy_rows(device, x + i * bands * clips->frames, bytes,
                                  clips->whole + i * bands * COC_FRAMES + requests[i].first_frame,
                                  COC_FRAMES * sizeof *x, bytes, bands, clips->features->stream));
    return COC_OK;
}

static coc_status compute_chunk(coc_clips *clips, const coc_sampler *sampler,
                                const coc_clip_request *requests, int64_t n, float *x,
                                double *load_seconds, double *feature_seconds)
{
    const double begin = coc_clock_seconds();
    double loaded;

    COC_TRY(read_chunk(clips, sampler, requests, n));
    loaded = coc_clock_seconds();
    COC_TRY(clips->features->ops->mix(clips->features, clips->mix, n, clips->wave));
    COC_TRY(coc_features_compute(clips->features, clips->kind, clips->wave, n,
                                 clips->whole != NULL ? clips->whole : x));
    if (clips->whole != NULL) COC_TRY(crop(clips, requests, n, x));
    if (load_seconds != NULL) *load_seconds += loaded - begin;
    if (feature_seconds != NULL) *feature_seconds += coc_clock_seconds() - loaded;
    return COC_OK;
}

coc_status coc_clips_compute(coc_clips *clips, const coc_sampler *sampler,
                             const coc_clip_request *requests, int64_t n, float *x,
                             double *load_seconds, double *feature_seconds)
{
    const int64_t floats = coc_clip_floats(clips->kind, clips->frames);

    for (int64_t i = 0; i < n; i += clips->chunk) {
        const int64_t count = n - i < clips->chunk ? n - i : clips->chunk;

        COC_TRY(compute_chunk(clips, sampler, requests + i, count, x + i * floats, load_seconds,
                              feature_seconds));
    }
    return COC_OK;
}

/* ---- feeds ---------------------------------------------------------------------------------- */

coc_status coc_clips_allow_feeds(coc_clips *clips)
{
    return coc_device_alloc(clips->features->device, clips->chunk * COC_CLIP_SAMPLES,
                            sizeof *clips->other, &clips->other);
}

/* The clips of the feed, one's stems behind another's; gives the number of stems. */
static int64_t describe_feed(const coc_sampler *sampler, const coc_clip_request *requests,
                             int64_t n, coc_feed_clip *clip)
{
    int64_t stems = 0;

    for (int64_t i = 0; i < n; i++) {
        const coc_clip_request *r = &requests[i];

        clip[i] = (coc_feed_clip){.noise_key = coc_sampler_noise_key(sampler, r->view, r->position),
                                  .noise = r->view == 1 ? r->noise : 0.0f,
                                  .stems = r->pair->stems[r->view],
                                  .stem = stems,
                                  .first_frame = r->first_frame};
        stems += clip[i].stems;
    }
    return stems;
}

coc_status coc_clips_fill(coc_clips *clips, const coc_sampler *sampler,
                          const coc_clip_request *requests, int64_t n, const coc_feed *feed,
                          bool *fits, int64_t *stems, double *load_seconds)
{
    const double begin = coc_clock_seconds();
    fault first = {.status = COC_OK};

    *stems = describe_feed(sampler, requests, n, feed->clip);
    *fits = *stems <= feed->stems;
    if (!*fits) return COC_OK;
#pragma omp parallel for schedule(dynamic, 1) num_threads(clips->features->threads)
    for (int64_t i = 0; i < n; i++) {
        const coc_feed_clip *c = &feed->clip[i];
        const coc_status status =
            coc_sampler_read(sampler, requests[i].pair, requests[i].view,
                             feed->pcm + c->stem * COC_CLIP_SAMPLES, feed->gain + c->stem);

        if (status == COC_OK) continue;
#pragma omp critical(coc_clips_fault)
        note_fault(&first, i, status);
    }
    *load_seconds += coc_clock_seconds() - begin;
    if (first.status != COC_OK) coc_error_set(first.text, first.place);
    return first.status;
}

coc_status coc_clips_give(coc_clips *clips, const coc_feed *feed, int64_t n, float *x)
{
    const coc_feature_ops *ops = clips->features->ops;
    const int64_t floats = coc_clip_floats(clips->kind, clips->frames);
    const int rows = (int)coc_clip_floats(clips->kind, 1);
    float *wave = clips->wave, *other = clips->other;

    for (int64_t i = 0; i < n; i += clips->chunk, x += clips->chunk * floats) {
        const int64_t count = n - i < clips->chunk ? n - i : clips->chunk;
        float *const mixed = wave;

        COC_TRY(ops->mix_feed(clips->features, feed, i, count, mixed));
        COC_TRY(coc_features_compute(clips->features, clips->kind, mixed, count,
                                     clips->whole != NULL ? clips->whole : x));
        if (clips->whole != NULL)
            COC_TRY(
                ops->crop(clips->features, feed, i, count, rows, clips->frames, clips->whole, x));
        wave = other;
        other = mixed;
    }
    return COC_OK;
}

coc_status coc_clips_bytes(const char *backend, coc_feature_kind kind, int frames, bool feeds,
                           int64_t *device, int64_t *pinned)
{
    const coc_feature_ops *ops;
    int64_t floats = (feeds ? 2 : 1) * COC_CLIP_SAMPLES;

    *device = *pinned = 0;
    COC_TRY(coc_feature_ops_find(backend, &ops));
    ops->bytes(device, pinned);
    if (frames != COC_FRAMES) floats += coc_clip_floats(kind, COC_FRAMES);
    *device += ops->chunk * floats * (int64_t)sizeof(float);
    return COC_OK;
}
