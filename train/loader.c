#include "train/loader.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "train/clips.h"

struct coc_loader {
    const coc_settings *settings;
    const coc_sampler *sampler;
    coc_clips *clips;
    int64_t first, pairs, groups;
    int64_t modes_from;         /* steps before it keep both channels */
    int64_t making;             /* modes_from of the batch that is made */
    coc_pair *drawn;            /* [2n] */
    coc_clip_request *requests; /* [2n] */
    int64_t *dealt;             /* [K] pair that stands in each slot; NULL with one group */
    int64_t *slot_of;           /* [K] its inverse */
    coc_batch made;             /* host: the batch that is made, on its way to the device; no x */

    int slots; /* batches in the ring: one in use, the others ahead */
    coc_batch batch[COC_MAX_PREFETCH + 1];
    int64_t next_made, next_used; /* steps */
    bool threaded, quit;
    coc_status failed;
    char failed_text[2000], failed_place[160];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

int64_t coc_modes_from(const coc_data_settings *settings, int64_t steps)
{
    if (settings->both_first == 0) return 0;
    return steps > 0 ? (int64_t)ceil(settings->both_first * (double)steps) : INT64_MAX;
}

unsigned coc_channel_mode_of(const coc_settings *settings, int64_t step, uint32_t pair)
{
    /* harmonic zeroed, percussive zeroed, both kept: with probability 1/3 each, as published */
    static const unsigned kept[3] = {2, 1, 3};
    coc_rng_key key = {.seed = (uint64_t)settings->train.seed,
                       .draw = COC_DRAW_MODE,
                       .item = pair,
                       .step = (uint32_t)step};
    coc_rng_sequence sequence;

    if (settings->data.features != COC_FEATURES_HPS ||
        settings->data.channel_mode == COC_CHANNELS_BOTH)
        return 3;
    if (settings->data.channel_mode == COC_CHANNELS_STEP) key.item = 0;
    sequence = coc_rng_sequence_begin(key);
    return kept[coc_rng_next_below(&sequence, 3)];
}

static unsigned mode_of(const coc_loader *l, int64_t step, uint32_t pair)
{
    return step < l->making ? 3 : coc_channel_mode_of(l->settings, step, pair);
}

/* Which pair's positive stands in each slot of the global batch, and the inverse. */
static void deal_positives(coc_loader *l, int64_t step)
{
    const coc_rng_key key = {
        .seed = (uint64_t)l->settings->train.seed, .draw = COC_DRAW_DEAL, .step = (uint32_t)step};
    const int64_t batch = l->settings->train.batch;

    for (int64_t slot = 0; slot < batch; slot++) {
        l->dealt[slot] = coc_rng_permute(&key, batch, slot);
        l->slot_of[l->dealt[slot]] = slot;
    }
}

/* Columns that count for a row: those of its own channel mode. Pure functions of the counters, so
 * that every rank knows all of them. */
static void choose_columns(coc_loader *l)
{
    coc_batch *b = &l->made;

    for (int64_t slot = 0; slot < l->settings->train.batch; slot++) {
        const int64_t pair = l->dealt != NULL ? l->dealt[slot] : slot;

        b->column_set[slot] = (int32_t)mode_of(l, b->step, (uint32_t)pair);
    }
    for (int64_t i = 0; i < l->pairs; i++)
        b->row_set[i] = (int32_t)mode_of(l, b->step, (uint32_t)(l->first + i));
}

int coc_crop_frames(const coc_data_settings *settings)
{
    return (int)lrint(settings->crop * COC_SAMPLE_RATE / COC_FFT_HOP) + 1;
}

/* Where the part begins that is seen of the pair at a position. */
static int choose_first_frame(const coc_settings *settings, int64_t position)
{
    const coc_rng_key key = {.seed = (uint64_t)settings->train.seed,
                             .draw = COC_DRAW_CROP,
                             .item = (uint32_t)position,
                             .step = (uint32_t)(position >> 32)};
    const int frames = coc_crop_frames(&settings->data);
    coc_rng_sequence sequence = coc_rng_sequence_begin(key);

    return (int)coc_rng_next_below(&sequence, (uint32_t)(COC_FRAMES - frames + 1));
}

/* Clip i of the batch (anchors, then positives): which pair it is, and what follows from that. */
static void describe_clip(coc_loader *l, int64_t i)
{
    coc_batch *b = &l->made;
    const int view = i >= l->pairs;
    const int64_t slot = l->first + (view ? i - l->pairs : i);
    const int64_t pair = view && l->dealt != NULL ? l->dealt[slot] : slot;
    const int64_t position = b->step * l->settings->train.batch + pair;
    const unsigned kept = mode_of(l, b->step, (uint32_t)pair);
    const int channels = coc_feature_channels(l->settings->data.features);

    coc_sampler_draw(l->sampler, position, &l->drawn[i]);
    l->requests[i] = (coc_clip_request){&l->drawn[i], view, position,
                                        view ? (float)l->settings->data.noise : 0.0f,
                                        choose_first_frame(l->settings, position)};
    b->pair[i] = (uint32_t)pair;
    b->view[i] = (uint8_t)view;
    for (int c = 0; c < channels; c++)
        b->keep[i * channels + c] = (float)(kept >> c & 1);
    if (view) {
        b->column_track[i - l->pairs] = l->drawn[i].track_id;
    } else {
        b->row_track[i] = l->drawn[i].track_id;
        b->label[i] = l->dealt != NULL ? l->slot_of[pair] : pair;
    }
}

/* What was written on the host, to where the model is. */
static coc_status send_descriptions(const coc_loader *l, const coc_batch *to)
{
    const coc_device *device = coc_clips_device(l->clips);
    coc_stream *stream = coc_clips_stream(l->clips);
    const coc_batch *from = &l->made;
    const size_t pairs = (size_t)l->pairs, clips = 2 * pairs;
    const size_t batch = (size_t)l->settings->train.batch;
    const size_t channels = (size_t)coc_feature_channels(l->settings->data.features);
    const struct {
        void *to;
        const void *from;
        size_t bytes;
    } array[] = {
        {to->keep, from->keep, clips * channels * sizeof *to->keep},
        {to->pair, from->pair, clips * sizeof *to->pair},
        {to->view, from->view, clips * sizeof *to->view},
        {to->label, from->label, pairs * sizeof *to->label},
        {to->row_track, from->row_track, pairs * sizeof *to->row_track},
        {to->column_track, from->column_track, pairs * sizeof *to->column_track},
        {to->row_set, from->row_set, pairs * sizeof *to->row_set},
        {to->column_set, from->column_set, batch * sizeof *to->column_set},
    };

    for (size_t i = 0; i < sizeof array / sizeof array[0]; i++)
        if (array[i].to != NULL)
            COC_TRY(device->copy(device, array[i].to, array[i].from, array[i].bytes, stream));
    return COC_OK;
}

static coc_status make_batch(coc_loader *l, int64_t step, coc_batch *b)
{
    const coc_device *device = coc_clips_device(l->clips);

    b->step = l->made.step = step;
    b->load_seconds = b->feature_seconds = 0;
    if (l->dealt != NULL) deal_positives(l, step);
    for (int64_t i = 0; i < 2 * l->pairs; i++)
        describe_clip(l, i);
    if (b->row_set != NULL) choose_columns(l);
    COC_TRY(send_descriptions(l, b));
    COC_TRY(coc_clips_compute(l->clips, l->sampler, l->requests, 2 * l->pairs, b->x,
                              &b->load_seconds, &b->feature_seconds));
    return device->wait(device, coc_clips_stream(l->clips));
}

/* Texts are kept per thread: hand them over. Called under the lock. */
static void note_failure(coc_loader *l, coc_status status)
{
    l->failed = status;
    snprintf(l->failed_text, sizeof l->failed_text, "%s", coc_error_text());
    snprintf(l->failed_place, sizeof l->failed_place, "%s", coc_error_place());
    pthread_cond_broadcast(&l->changed);
}

static void *work(void *argument)
{
    coc_loader *l = argument;
    const coc_device *device = coc_clips_device(l->clips);
    coc_status status = device->enter(device);

    pthread_mutex_lock(&l->lock);
    if (status != COC_OK) note_failure(l, status);
    while (!l->quit && status == COC_OK) {
        const int64_t step = l->next_made;

        if (step >= l->next_used + l->slots - 1) { /* one slot is in the step's hands */
            pthread_cond_wait(&l->changed, &l->lock);
            continue;
        }
        l->making = l->modes_from;
        pthread_mutex_unlock(&l->lock);
        status = make_batch(l, step, &l->batch[step % l->slots]);
        pthread_mutex_lock(&l->lock);
        if (status == COC_OK) {
            if (l->making == l->modes_from) l->next_made++; /* else once more */
        } else {
            note_failure(l, status);
        }
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

void coc_loader_set_modes_from(coc_loader *l, int64_t modes_from)
{
    pthread_mutex_lock(&l->lock);
    if (modes_from != l->modes_from) {
        l->modes_from = modes_from;
        l->next_made = l->next_used;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
}

coc_status coc_loader_next(coc_loader *l, const coc_batch **batch)
{
    const int64_t step = l->next_used;
    coc_batch *b = &l->batch[step % l->slots];

    *batch = NULL;
    if (!l->threaded) {
        l->making = l->modes_from;
        COC_TRY(make_batch(l, step, b));
        l->next_used++;
        *batch = b;
        return COC_OK;
    }
    pthread_mutex_lock(&l->lock);
    while (l->next_made <= step && l->failed == COC_OK)
        pthread_cond_wait(&l->changed, &l->lock);
    if (l->next_made > step) {
        l->next_used++;
        *batch = b;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    if (*batch != NULL) return COC_OK;
    coc_error_set(l->failed_text, l->failed_place);
    return l->failed;
}

/* A batch's arrays but x. */
static coc_status create_descriptions(const coc_device *device, int64_t pairs,
                                      const coc_settings *settings, coc_batch *b)
{
    const int64_t clips = 2 * pairs;
    const int64_t channels = coc_feature_channels(settings->data.features);

    b->pairs = pairs;
    COC_TRY(coc_device_alloc(device, clips * channels, sizeof *b->keep, &b->keep));
    COC_TRY(coc_device_alloc(device, clips, sizeof *b->pair, &b->pair));
    COC_TRY(coc_device_alloc(device, clips, sizeof *b->view, &b->view));
    COC_TRY(coc_device_alloc(device, pairs, sizeof *b->label, &b->label));
    COC_TRY(coc_device_alloc(device, pairs, sizeof *b->row_track, &b->row_track));
    COC_TRY(coc_device_alloc(device, pairs, sizeof *b->column_track, &b->column_track));
    if (settings->loss.negatives != COC_NEGATIVES_SAME_MODE) return COC_OK;
    COC_TRY(coc_device_alloc(device, pairs, sizeof *b->row_set, &b->row_set));
    return coc_device_alloc(device, settings->train.batch, sizeof *b->column_set, &b->column_set);
}

static coc_status create_batch(const coc_loader *l, int slot, coc_batch *b)
{
    const coc_settings *s = l->settings;
    const coc_device *device = coc_clips_device(l->clips);
    const int64_t floats = coc_clip_floats(s->data.features, coc_crop_frames(&s->data));

    b->slot = slot;
    COC_TRY(coc_device_alloc(device, 2 * l->pairs * floats, sizeof *b->x, &b->x));
    return create_descriptions(device, l->pairs, s, b);
}

static coc_status create_parts(coc_loader *l)
{
    const coc_settings *s = l->settings;
    const int64_t clips = 2 * l->pairs;

    COC_TRY(coc_clips_create(s->model.backend, s->data.features, coc_crop_frames(&s->data),
                             s->data.threads, &l->clips));
    COC_TRY(coc_alloc(clips, sizeof *l->drawn, &l->drawn));
    COC_TRY(coc_alloc(clips, sizeof *l->requests, &l->requests));
    COC_TRY(create_descriptions(coc_device_host(), l->pairs, s, &l->made));
    if (l->groups > 1) {
        COC_TRY(coc_alloc(s->train.batch, sizeof *l->dealt, &l->dealt));
        COC_TRY(coc_alloc(s->train.batch, sizeof *l->slot_of, &l->slot_of));
    }
    for (int i = 0; i < l->slots; i++)
        COC_TRY(create_batch(l, i, &l->batch[i]));
    if (s->data.prefetch == 0) return COC_OK;
    if (pthread_create(&l->thread, NULL, work, l) != 0)
        return COC_FAIL(COC_ERR_MEMORY, "the loader's thread cannot be started");
    l->threaded = true;
    return COC_OK;
}

coc_status coc_loader_create(const coc_settings *settings, const coc_sampler *sampler,
                             int64_t first, int64_t pairs, int64_t groups, int64_t step,
                             int64_t modes_from, coc_loader **loader)
{
    coc_status status;
    coc_loader *l;

    COC_TRY(coc_alloc(1, sizeof *l, loader));
    l = *loader;
    l->settings = settings;
    l->sampler = sampler;
    l->first = first;
    l->pairs = pairs;
    l->groups = groups;
    l->modes_from = modes_from;
    l->slots = settings->data.prefetch + 1;
    l->next_made = l->next_used = step;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    status = create_parts(l);
    if (status != COC_OK) coc_loader_destroy(loader);
    return status;
}

static void free_batch(const coc_device *device, coc_batch *b)
{
    device->release(device, b->x);
    device->release(device, b->keep);
    device->release(device, b->pair);
    device->release(device, b->view);
    device->release(device, b->label);
    device->release(device, b->row_track);
    device->release(device, b->column_track);
    device->release(device, b->row_set);
    device->release(device, b->column_set);
}

void coc_loader_destroy(coc_loader **loader)
{
    coc_loader *l = *loader;

    if (l == NULL) return;
    if (l->threaded) {
        pthread_mutex_lock(&l->lock);
        l->quit = true;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
        pthread_join(l->thread, NULL);
    }
    for (int i = 0; l->clips != NULL && i < l->slots; i++)
        free_batch(coc_clips_device(l->clips), &l->batch[i]);
    coc_clips_destroy(&l->clips);
    free(l->drawn);
    free(l->requests);
    free(l->dealt);
    free(l->slot_of);
    free_batch(coc_device_host(), &l->made);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l);
    *loader = NULL;
}
