#include "train/loader.h"

#include <math.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "train/batch.h"
#include "train/clips.h"

struct coc_loader {
    const coc_settings *settings;
    const coc_sampler *sampler;
    coc_clips *clips;
    coc_parts parts;
    int held;
    int64_t again;
    coc_deal *deal;
    int64_t modes_from; /* steps before it keep both channels */
    int64_t making;     /* modes_from of the batch that is made */
    void (*given)(const coc_batch *batch);
    coc_pair *drawn;            /* [2n] */
    coc_clip_request *requests; /* [2n] */

    int slots;              /* batches in the ring: `held` in use, the others ahead */
    coc_batch_place *batch; /* [slots] */
    coc_batch_place host[COC_HOST_PLACES]; /* where batches are written, in turn */
    int made;                              /* which of them is written */
    int64_t stems;                         /* room of their feeds; 0: there are none */
    bool fed, said;                        /* a feed was given; that one was too small was told */
    coc_graph *(*graph)[COC_HOST_PLACES];  /* [slots], from there to here */

    int64_t next_made, next_used; /* parts since step 0 */
    bool threaded, quit;
    coc_status failed;
    char failed_text[2000], failed_place[160];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

/* The batch that is written. */
static coc_batch *made(coc_loader *l)
{
    return &l->host[l->made].batch;
}

/* Clip i of the part (anchors, then positives): which pair it is, and what follows from that. */
static void describe_clip(coc_loader *l, const coc_batch_part *part, int64_t i)
{
    const int channels = coc_feature_channels(l->settings->data.features);
    const coc_batch_clip clip = coc_batch_clip_at(l->deal, part, i);

    coc_sampler_draw(l->sampler, clip.dealt.position, &l->drawn[i]);
    l->requests[i] = (coc_clip_request){&l->drawn[i], clip.view, clip.dealt.position,
                                        clip.view ? (float)l->settings->data.noise : 0.0f,
                                        clip.dealt.first_frame};
    coc_batch_describe(made(l), &clip, channels, l->drawn[i].track_id);
}

/* What batch number `number` is, on the host and where it goes. */
static void describe(coc_loader *l, int64_t number, coc_batch *to)
{
    const int64_t made_of_step = l->parts.count + l->again;
    const int64_t i = number % made_of_step % l->parts.count;
    const coc_batch_part part = coc_part_at(&l->parts, i);
    coc_batch *b = made(l);

    to->step = b->step = number / made_of_step;
    to->part = b->part = i;
    to->pairs = b->pairs = part.pairs;
    coc_deal_step(l->deal, b->step, l->making);
    for (int64_t clip = 0; clip < 2 * part.pairs; clip++)
        describe_clip(l, &part, clip);
    coc_batch_describe_sets(b, l->deal);
    to->columns = b->columns = coc_deal_mean_columns(l->deal);
}

/* ---- from the host to the device */

static coc_status send_block(const coc_loader *l, const coc_batch_place *to)
{
    const coc_device *device = coc_clips_device(l->clips);

    return device->copy(device, to->block, l->host[l->made].block, to->bytes,
                        coc_clips_stream(l->clips));
}

typedef struct {
    const coc_loader *loader;
    const coc_batch_place *to;
} way_there;

/* Everything from page-locked memory to the features. Nothing in it depends on what lies there. */
static coc_status give_feed(void *context)
{
    const way_there *w = context;
    const coc_loader *l = w->loader;
    coc_feed feed = w->to->feed;

    feed.pcm = l->host[l->made].feed.pcm;
    COC_TRY(send_block(l, w->to));
    return coc_clips_give(l->clips, &feed, 2 * l->parts.most, w->to->batch.x);
}

/* The first one is not recorded: whatever kernels need is there afterwards. */
static coc_status launch_feed(coc_loader *l, coc_batch_place *to)
{
    const coc_device *device = coc_clips_device(l->clips);
    coc_stream *stream = coc_clips_stream(l->clips);
    coc_graph **graph = &l->graph[to->batch.slot][l->made];
    way_there w = {l, to};

    to->batch.way = l->fed ? COC_MADE_BY_RECORDING : COC_MADE_BY_FEED;
    if (!l->fed) {
        l->fed = true;
        return give_feed(&w);
    }
    if (*graph == NULL) COC_TRY(coc_device_record(device, stream, give_feed, &w, graph));
    return device->launch(device, *graph, stream);
}

static void say_too_small(coc_loader *l, int64_t stems)
{
    const double pairs = (double)l->parts.most;

    if (l->said) return;
    l->said = true;
    coc_log_rank("data.feed_stems: a batch has %lld stems, page-locked memory has room for %lld: "
                 "such batches are handed over piece by piece; %.1f would be enough",
                 (long long)stems, (long long)l->stems, ceil(5 * (double)stems / pairs) / 10);
}

static coc_status make_features(coc_loader *l, coc_batch_place *to)
{
    coc_batch *b = &to->batch;
    bool fits = false;
    int64_t stems;
    double begin;

    if (l->stems > 0 && b->pairs == l->parts.most) { /* what is recorded has one size */
        COC_TRY(coc_clips_fill(l->clips, l->sampler, l->requests, 2 * b->pairs,
                               &l->host[l->made].feed, &fits, &stems, &b->load_seconds));
        if (!fits) say_too_small(l, stems);
    }
    if (!fits) {
        b->way = COC_MADE_BY_CALLS;
        COC_TRY(send_block(l, to));
        return coc_clips_compute(l->clips, l->sampler, l->requests, 2 * b->pairs, b->x,
                                 &b->load_seconds, &b->feature_seconds);
    }
    begin = coc_clock_seconds();
    COC_TRY(launch_feed(l, to));
    b->feature_seconds += coc_clock_seconds() - begin;
    return COC_OK;
}

/* Gives out the work; to->mark says when it is done. */
static coc_status make_batch(coc_loader *l, int64_t number, coc_batch_place *to)
{
    const coc_device *device = coc_clips_device(l->clips);
    coc_stream *stream = coc_clips_stream(l->clips);
    coc_batch_place *from;

    l->made = (l->made + 1) % COC_HOST_PLACES;
    from = &l->host[l->made];
    COC_TRY(device->mark_wait(device, from->mark)); /* the batch before the last */
    to->batch.load_seconds = to->batch.feature_seconds = 0;
    describe(l, number, &to->batch);
    COC_TRY(make_features(l, to));
    COC_TRY(device->mark_set(device, from->mark, stream));
    return device->mark_set(device, to->mark, stream);
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
        const int64_t number = l->next_made;

        if (number >= l->next_used + l->slots - l->held) { /* the others are in use */
            pthread_cond_wait(&l->changed, &l->lock);
            continue;
        }
        l->making = l->modes_from;
        pthread_mutex_unlock(&l->lock);
        status = make_batch(l, number, &l->batch[number % l->slots]);
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

/* The work that was given for it is done when this returns. */
static coc_status take_batch(const coc_loader *l, const coc_batch_place *place,
                             const coc_batch **batch)
{
    const coc_device *device = coc_clips_device(l->clips);

    COC_TRY(device->mark_wait(device, place->mark));
    *batch = &place->batch;
    if (l->given != NULL) l->given(*batch);
    return COC_OK;
}

coc_status coc_loader_next(coc_loader *l, const coc_batch **batch)
{
    const int64_t number = l->next_used;
    bool given;
    coc_batch_place *place = &l->batch[number % l->slots];

    *batch = NULL;
    if (!l->threaded) {
        l->making = l->modes_from;
        COC_TRY(make_batch(l, number, place));
        l->next_used++;
        return take_batch(l, place, batch);
    }
    pthread_mutex_lock(&l->lock);
    while (l->next_made <= number && l->failed == COC_OK)
        pthread_cond_wait(&l->changed, &l->lock);
    given = l->next_made > number;
    if (given) {
        l->next_used++;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    if (given) return take_batch(l, place, batch);
    coc_error_set(l->failed_text, l->failed_place);
    return l->failed;
}

static coc_status next_of(void *from, const coc_batch **batch)
{
    return coc_loader_next(from, batch);
}

coc_batch_source coc_loader_source(coc_loader *l)
{
    return (coc_batch_source){next_of, l};
}

static coc_status create_places(coc_loader *l)
{
    const coc_device *device = coc_clips_device(l->clips);

    COC_TRY(coc_batch_feed_room(l->settings, 2 * l->parts.most, &l->stems));
    if (l->stems > 0) COC_TRY(coc_clips_allow_feeds(l->clips));
    COC_TRY(coc_alloc(l->slots, sizeof *l->batch, &l->batch));
    COC_TRY(coc_alloc(l->slots, sizeof *l->graph, &l->graph));
    for (int i = 0; i < COC_HOST_PLACES; i++)
        COC_TRY(coc_batch_create_host(&l->host[i], device, l->settings, l->parts.most, l->stems));
    for (int i = 0; i < l->slots; i++) {
        COC_TRY(coc_batch_create(&l->batch[i], device, l->settings, l->parts.most, l->stems));
        l->batch[i].batch.slot = i;
    }
    return COC_OK;
}

static coc_status create_parts(coc_loader *l)
{
    const coc_settings *s = l->settings;
    const int64_t clips = 2 * l->parts.most;

    COC_TRY(coc_clips_create(s->model.backend, s->data.features, coc_crop_frames(&s->data),
                             s->data.threads, &l->clips));
    COC_TRY(coc_alloc(clips, sizeof *l->drawn, &l->drawn));
    COC_TRY(coc_alloc(clips, sizeof *l->requests, &l->requests));
    COC_TRY(create_places(l));
    if (s->data.prefetch == 0) return COC_OK;
    if (pthread_create(&l->thread, NULL, work, l) != 0)
        return COC_FAIL(COC_ERR_MEMORY, "the loader's thread cannot be started");
    l->threaded = true;
    return COC_OK;
}

coc_status coc_loader_create(const coc_settings *settings, const coc_sampler *sampler,
                             const coc_loader_needs *needs, coc_loader **loader)
{
    coc_status status;
    coc_loader *l;

    COC_TRY(coc_alloc(1, sizeof *l, loader));
    l = *loader;
    l->settings = settings;
    l->sampler = sampler;
    l->parts = *needs->parts;
    l->held = needs->held;
    l->again = needs->again;
    l->modes_from = needs->modes_from;
    l->given = needs->given;
    l->slots = settings->data.prefetch + needs->held;
    l->next_made = l->next_used = needs->step * (l->parts.count + l->again);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    status = coc_deal_create(settings, sampler, needs->groups, &l->deal);
    if (status == COC_OK) status = create_parts(l);
    if (status != COC_OK) coc_loader_destroy(loader);
    return status;
}

/* Work that was given may still be on its way. */
static void destroy_places(coc_loader *l)
{
    const coc_device *device = coc_clips_device(l->clips);

    (void)device->wait(device, coc_clips_stream(l->clips));
    for (int i = 0; i < l->slots && l->graph != NULL; i++) {
        for (int h = 0; h < COC_HOST_PLACES; h++)
            if (l->graph[i][h] != NULL) device->graph_destroy(device, l->graph[i][h]);
        coc_batch_destroy(&l->batch[i], device);
    }
    for (int i = 0; i < COC_HOST_PLACES; i++)
        coc_batch_destroy_host(&l->host[i], device);
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
    if (l->clips != NULL) destroy_places(l);
    coc_clips_destroy(&l->clips);
    free(l->drawn);
    free(l->requests);
    free(l->batch);
    free(l->graph);
    coc_deal_destroy(&l->deal);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l);
    *loader = NULL;
}
