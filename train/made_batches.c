#include "train/made_batches.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "preprocess/features.h"
#include "train/batch.h"

/* Decibels: what the levels of bands vary around, how much they do, and the numbers around them.
 * Near those of music, whose features lie between -80 and 0. */
static const float middle = -40, of_levels = 12, of_numbers = 6;

struct coc_made_batches {
    coc_trainer *trainer;
    coc_deal *deal;
    coc_batch_place host, *place; /* [parts] each part has one of its own */
    float *x;                     /* host, of a part */
    int64_t step, next;           /* part of the step */
    int32_t *set;                 /* [K] */
};

/* ---- a part --------------------------------------------------------------------------------- */

/* x [C][F][T] of a clip. */
static void make_clip(const coc_trainer *t, int64_t step, uint32_t pair, int view, float *x)
{
    const int frames = t->seen.frames;
    float level[COC_BANDS];

    for (int c = 0; c < t->network.channels; c++, x += COC_BANDS * frames) {
        const coc_rng_key key = {.seed = (uint64_t)t->settings.train.seed,
                                 .draw = COC_DRAW_MADE,
                                 .item = pair,
                                 .step = (uint32_t)step,
                                 .view = (uint8_t)view,
                                 .layer = (uint16_t)c};

        coc_rng_normal(&key, 0, COC_BANDS, level);
        coc_rng_normal(&key, COC_BANDS, COC_BANDS * frames, x);
        for (int i = 0; i < COC_BANDS * frames; i++) {
            const float value = middle + of_levels * level[i / frames] + of_numbers * x[i];

            x[i] = fminf(0, fmaxf(-80, value));
        }
    }
}

/* Two pairs a track, for masks by track. */
static uint64_t track_of(const coc_made_batches *m, int64_t pair)
{
    return (uint64_t)(m->step * m->trainer->settings.train.batch + pair / 2);
}

static void describe_clip(coc_made_batches *m, const coc_batch_part *part, int64_t i)
{
    const coc_trainer *t = m->trainer;
    const int channels = t->network.channels;
    const coc_batch_clip clip = coc_batch_clip_at(m->deal, part, i);
    const uint32_t pair = clip.dealt.pair;

    make_clip(t, m->step, pair, clip.view, m->x + i * channels * COC_BANDS * t->seen.frames);
    coc_batch_describe(&m->host.batch, &clip, channels, track_of(m, pair));
}

/* The host's memory is written anew for the next part: waited for. */
static coc_status send(const coc_made_batches *m, const coc_batch_part *part, coc_batch_place *to)
{
    const coc_trainer *t = m->trainer;
    const coc_device *device = t->backend->device;
    const int64_t floats =
        2 * part->pairs * t->network.channels * COC_BANDS * (int64_t)t->seen.frames;

    COC_TRY(device->copy(device, to->block, m->host.block, to->bytes, NULL));
    COC_TRY(device->copy(device, to->batch.x, m->x, (size_t)floats * sizeof *m->x, NULL));
    return coc_comm_wait_device(t->comm, device, NULL);
}

static coc_status make_part(coc_made_batches *m, int64_t i, const coc_batch **batch)
{
    const coc_batch_part part = coc_part_at(&m->trainer->parts, i);
    coc_batch_place *to = &m->place[i];

    to->batch.step = m->step;
    to->batch.part = i;
    to->batch.pairs = part.pairs;
    to->batch.columns = coc_deal_mean_columns(m->deal);
    for (int64_t clip = 0; clip < 2 * part.pairs; clip++)
        describe_clip(m, &part, clip);
    coc_batch_describe_sets(&m->host.batch, m->deal);
    *batch = &to->batch;
    return send(m, &part, to);
}

/* After the last part come, in order, those that are embedded twice. */
static coc_status next_part(void *from, const coc_batch **batch)
{
    coc_made_batches *m = from;

    return make_part(m, m->next++ % m->trainer->parts.count, batch);
}

coc_status coc_made_batches_begin(coc_made_batches *m, int64_t step, const coc_batch **first)
{
    m->step = step;
    m->next = 0;
    coc_deal_step(m->deal, step, 0);
    return next_part(m, first);
}

coc_status coc_made_batches_floor(coc_made_batches *m, double *floor)
{
    const coc_settings *s = &m->trainer->settings;
    const int64_t batch = s->train.batch;
    int64_t *members;
    int32_t most = 0;

    *floor = log((double)batch);
    if (!coc_deal_has_sets(s)) return COC_OK;
    coc_deal_sets(m->deal, 1, m->set);
    for (int64_t i = 0; i < batch; i++)
        most = m->set[i] > most ? m->set[i] : most;
    COC_TRY(coc_alloc(most + 1, sizeof *members, &members));
    for (int64_t i = 0; i < batch; i++)
        members[m->set[i]]++;
    *floor = 0;
    for (int64_t i = 0; i < batch; i++)
        *floor += log((double)members[m->set[i]]) / (double)batch;
    free(members);
    return COC_OK;
}

/* ---- making --------------------------------------------------------------------------------- */

static coc_status create(coc_made_batches *m)
{
    const coc_trainer *t = m->trainer;
    const coc_device *device = t->backend->device;
    const int64_t most = t->parts.most, floats = t->network.channels * COC_BANDS;

    COC_TRY(coc_deal_create(&t->settings, NULL, t->passes.group_count, &m->deal));
    COC_TRY(coc_alloc(2 * most * floats * t->seen.frames, sizeof *m->x, &m->x));
    COC_TRY(coc_alloc(t->settings.train.batch, sizeof *m->set, &m->set));
    COC_TRY(coc_alloc(t->parts.count, sizeof *m->place, &m->place));
    COC_TRY(coc_batch_create_host(&m->host, device, &t->settings, most, 0));
    for (int64_t i = 0; i < t->parts.count; i++)
        COC_TRY(coc_batch_create(&m->place[i], device, &t->settings, most, 0));
    return COC_OK;
}

coc_status coc_made_batches_create(coc_trainer *trainer, coc_made_batches **batches)
{
    coc_status status;

    COC_TRY(coc_alloc(1, sizeof **batches, batches));
    (*batches)->trainer = trainer;
    status = create(*batches);
    if (status != COC_OK) coc_made_batches_destroy(batches);
    trainer->passes.source = (coc_batch_source){next_part, *batches};
    return status;
}

void coc_made_batches_destroy(coc_made_batches **batches)
{
    coc_made_batches *m = *batches;
    const coc_device *device;

    if (m == NULL) return;
    device = m->trainer->backend->device;
    for (int64_t i = 0; m->place != NULL && i < m->trainer->parts.count; i++)
        coc_batch_destroy(&m->place[i], device);
    coc_batch_destroy_host(&m->host, device);
    coc_deal_destroy(&m->deal);
    free(m->place);
    free(m->set);
    free(m->x);
    free(m);
    *batches = NULL;
}
