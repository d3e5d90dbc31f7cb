#include "train/deal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "preprocess/features.h"

enum { MODES = 4 }; /* values of a channel mode */

struct coc_deal {
    const coc_settings *settings;
    const coc_sampler *sampler; /* NULL: one data set */
    int64_t step, modes_from;   /* of what follows; step -1: of none yet */
    int64_t *pair_of;           /* [K] pair whose positive stands in a slot; NULL: its own */
    int64_t *slot_of;           /* [K] its inverse */
    int64_t *members;           /* [sets] pairs of each set */
    int32_t *set;               /* [K] of each pair; NULL: every column counts */
    double columns;             /* of a row's own set, the mean over all rows */
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

static unsigned mode_of(const coc_deal *d, int64_t pair)
{
    return d->step < d->modes_from ? 3 : coc_channel_mode_of(d->settings, d->step, (uint32_t)pair);
}

int coc_crop_frames(const coc_data_settings *settings)
{
    return (int)lrint(settings->crop * COC_SAMPLE_RATE / COC_FFT_HOP) + 1;
}

/* Where the part begins that is seen of the pair at a position. */
static int first_frame_of(const coc_settings *settings, int64_t position)
{
    const coc_rng_key key = {.seed = (uint64_t)settings->train.seed,
                             .draw = COC_DRAW_CROP,
                             .item = (uint32_t)position,
                             .step = (uint32_t)(position >> 32)};
    const int frames = coc_crop_frames(&settings->data);
    coc_rng_sequence sequence = coc_rng_sequence_begin(key);

    return (int)coc_rng_next_below(&sequence, (uint32_t)(COC_FRAMES - frames + 1));
}

/* ---- sets ----------------------------------------------------------------------------------- */

/* Pairs of a group of columns; the groups are drawn anew in every step. */
static int64_t group_size(const coc_settings *settings)
{
    return settings->loss.k > 0 ? settings->loss.k : settings->train.batch;
}

static bool has_modes(const coc_settings *settings)
{
    return settings->loss.negatives == COC_NEGATIVES_SAME_MODE ||
           settings->loss.negatives == COC_NEGATIVES_SAME_DATASET_AND_MODE;
}

static bool has_datasets(const coc_settings *settings)
{
    return settings->loss.negatives == COC_NEGATIVES_SAME_DATASET ||
           settings->loss.negatives == COC_NEGATIVES_SAME_DATASET_AND_MODE;
}

bool coc_deal_has_sets(const coc_settings *settings)
{
    return has_modes(settings) || has_datasets(settings) ||
           group_size(settings) < settings->train.batch;
}

static int64_t datasets(const coc_deal *d)
{
    return has_datasets(d->settings) && d->sampler != NULL ? coc_sampler_sources(d->sampler) : 1;
}

static int64_t sets(const coc_deal *d)
{
    return d->settings->train.batch / group_size(d->settings) * datasets(d) * MODES;
}

static int32_t set_of(const coc_deal *d, int64_t pair)
{
    const int64_t batch = d->settings->train.batch, size = group_size(d->settings);
    const coc_rng_key key = {.seed = (uint64_t)d->settings->train.seed,
                             .draw = COC_DRAW_COLUMNS,
                             .step = (uint32_t)d->step};
    const int64_t group = size < batch ? coc_rng_permute(&key, batch, pair) / size : 0;
    const int64_t sources = datasets(d);
    const int64_t dataset =
        sources > 1 ? coc_sampler_source(d->sampler, d->step * batch + pair) : 0;

    return (int32_t)((group * sources + dataset) * MODES +
                     (has_modes(d->settings) ? (int64_t)mode_of(d, pair) : 0));
}

void coc_deal_sets(const coc_deal *d, int view, int32_t *set)
{
    for (int64_t slot = 0; slot < d->settings->train.batch; slot++)
        set[slot] = d->set[view == 1 && d->pair_of != NULL ? d->pair_of[slot] : slot];
}

double coc_deal_mean_columns(const coc_deal *d)
{
    return d->columns;
}

static void deal_sets(coc_deal *d)
{
    const int64_t batch = d->settings->train.batch, count = sets(d);
    double columns = 0;

    d->columns = (double)batch;
    if (d->set == NULL) return;
    memset(d->members, 0, (size_t)count * sizeof *d->members);
    for (int64_t pair = 0; pair < batch; pair++) {
        d->set[pair] = set_of(d, pair);
        d->members[d->set[pair]]++;
    }
    for (int64_t i = 0; i < count; i++)
        columns += (double)d->members[i] * (double)d->members[i];
    d->columns = columns / (double)batch;
}

/* ---- slots ---------------------------------------------------------------------------------- */

void coc_deal_step(coc_deal *d, int64_t step, int64_t modes_from)
{
    const coc_rng_key key = {
        .seed = (uint64_t)d->settings->train.seed, .draw = COC_DRAW_DEAL, .step = (uint32_t)step};
    const int64_t batch = d->settings->train.batch;

    if (step == d->step && modes_from == d->modes_from) return; /* another part of the same */
    d->step = step;
    d->modes_from = modes_from;
    deal_sets(d);
    for (int64_t slot = 0; slot < batch && d->pair_of != NULL; slot++) {
        d->pair_of[slot] = coc_rng_permute(&key, batch, slot);
        d->slot_of[d->pair_of[slot]] = slot;
    }
}

coc_dealt coc_deal_at(const coc_deal *d, int64_t slot, int view)
{
    const int64_t pair = view == 1 && d->pair_of != NULL ? d->pair_of[slot] : slot;
    const int64_t positive = d->slot_of != NULL ? d->slot_of[pair] : pair;
    const int64_t position = d->step * d->settings->train.batch + pair;

    return (coc_dealt){.pair = (uint32_t)pair,
                       .position = position,
                       .kept = mode_of(d, pair),
                       .first_frame = first_frame_of(d->settings, position),
                       .other = view == 1 ? pair : positive,
                       .set = d->set != NULL ? d->set[pair] : 0};
}

coc_status coc_deal_create(const coc_settings *settings, const coc_sampler *sampler, int64_t groups,
                           coc_deal **deal)
{
    coc_status status;
    coc_deal *d;

    COC_TRY(coc_alloc(1, sizeof *d, deal));
    d = *deal;
    d->settings = settings;
    d->sampler = sampler;
    d->step = -1;
    COC_TRY_GOTO(status, coc_alloc(sets(d), sizeof *d->members, &d->members), fail);
    if (coc_deal_has_sets(settings))
        COC_TRY_GOTO(status, coc_alloc(settings->train.batch, sizeof *d->set, &d->set), fail);
    if (groups <= 1 || settings->model.bn_pairing == COC_PAIRING_PAIRED) return COC_OK;
    COC_TRY_GOTO(status, coc_alloc(settings->train.batch, sizeof *d->pair_of, &d->pair_of), fail);
    COC_TRY_GOTO(status, coc_alloc(settings->train.batch, sizeof *d->slot_of, &d->slot_of), fail);
    return COC_OK;

fail:
    coc_deal_destroy(deal);
    return status;
}

void coc_deal_destroy(coc_deal **deal)
{
    if (*deal == NULL) return;
    free((*deal)->pair_of);
    free((*deal)->slot_of);
    free((*deal)->members);
    free((*deal)->set);
    free(*deal);
    *deal = NULL;
}
