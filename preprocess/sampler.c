#include "preprocess/sampler.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "configs/list.h"
#include "preprocess/visits.h"

typedef struct {
    int64_t track, first;
} window_start;

struct coc_sampler {
    coc_store *store;
    uint64_t seed;
    bool random_windows, submixtures;
    int64_t step;      /* samples between neighbouring windows of all grids together */
    coc_visits visits; /* of the windows */
    int64_t capacity;
    window_start *window; /* [visits.windows], in file order */
    int64_t tracks, skipped;
};

/* ---- audible stems of a window ----------------------------------------------------------------
 */

static bool audible(const coc_sampler *s, int64_t stem, int64_t first)
{
    return coc_store_mean_square(s->store, stem, first, COC_CLIP_SAMPLES) > COC_AUDIBLE;
}

static bool has_pair(const coc_sampler *s, int64_t track, int64_t first)
{
    const coc_track *t = coc_store_track(s->store, track);
    int found = 0;

    for (int32_t i = 0; i < t->stems && found < 2; i++)
        if (audible(s, t->first_stem + i, first)) found++;
    return found == 2;
}

/* The audible stems in store order; of more than COC_MAX_STEMS a uniform choice (reservoir). */
static int list_audible(const coc_sampler *s, int64_t track, int64_t first,
                        coc_rng_sequence *random, int64_t stems[COC_MAX_STEMS])
{
    const coc_track *t = coc_store_track(s->store, track);
    uint32_t found = 0;

    for (int32_t i = 0; i < t->stems; i++) {
        uint32_t place = found;

        if (!audible(s, t->first_stem + i, first)) continue;
        found++;
        if (found > COC_MAX_STEMS) place = coc_rng_next_below(random, found);
        if (place < COC_MAX_STEMS) stems[place] = t->first_stem + i;
    }
    return found < COC_MAX_STEMS ? (int)found : COC_MAX_STEMS;
}

/* ---- the windows of a split -------------------------------------------------------------------
 */

static coc_status add_track(coc_sampler *s, int64_t track)
{
    const int64_t before = s->visits.windows, samples = coc_store_track(s->store, track)->samples;

    for (int64_t shift = 0; shift < COC_CLIP_SAMPLES; shift += s->step) {
        for (int64_t first = shift; first < samples; first += COC_CLIP_SAMPLES) {
            if (!has_pair(s, track, first)) continue;
            COC_TRY(coc_grow(&s->window, &s->capacity, s->visits.windows + 1, sizeof *s->window));
            s->window[s->visits.windows++] = (window_start){track, first};
        }
    }
    if (s->visits.windows > before)
        s->tracks++;
    else
        s->skipped++;
    return COC_OK;
}

/* As many grids as keep the overlap of neighbours, 1 - 1/grids, at r or less; neighbours lie 100 ms
 * apart or more. */
static int64_t window_step(double overlap)
{
    const double most = (double)COC_CLIP_SAMPLES / COC_STORE_LEVEL_SAMPLES;
    const double grids = fmax(1.0, fmin(most, floor(1.0 / (1.0 - overlap) + 1e-9)));

    return (int64_t)ceil(COC_CLIP_SAMPLES / grids);
}

static coc_status add_split(coc_sampler *s, coc_split split)
{
    const int64_t tracks = coc_store_tracks(s->store);

    s->visits.sources = coc_store_sources(s->store);
    s->visits.seed = s->seed;
    COC_TRY(coc_alloc(s->visits.sources, sizeof *s->visits.source, &s->visits.source));
    for (int64_t track = 0; track < tracks; track++) {
        const coc_track *t = coc_store_track(s->store, track);
        coc_visited *source = &s->visits.source[t->source];
        const int64_t before = s->visits.windows;

        if (t->split != split) continue;
        COC_TRY(add_track(s, track));
        if (source->windows == 0) source->first = before;
        source->windows += s->visits.windows - before;
    }
    if (s->visits.windows > 0) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT,
                    "%s: no 5 s window with two audible stems in its %s split (%lld tracks); "
                    "preprocess more tracks or name another split",
                    coc_store_path(s->store), coc_split_name(split), (long long)s->skipped);
}

/* ---- shares of sources ------------------------------------------------------------------------
 */

static coc_status read_weight(const coc_sampler *s, const char *weights, int source, double *weight)
{
    char item[COC_SETTING_TEXT], *end;

    coc_list_item(weights, source, item);
    *weight = strtod(item, &end);
    if (end == item || *end != '\0' || !(*weight > 0) || *weight > 1e9)
        return COC_FAIL(COC_ERR_SETTING, "data.weights: '%s' is no number from 0 to 1e9, without 0",
                        item);
    if (s->visits.source[source].windows == 0)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: no 5 s window with two audible stems in its train split, but "
                        "data.weights wants some of it; take it out of data.train",
                        coc_store_source(s->store, source));
    return COC_OK;
}

static coc_status set_weights(coc_sampler *s, const char *weights)
{
    const int sources = s->visits.sources, given = coc_list_count(weights);
    coc_status status = COC_OK;
    double *weight;

    if (given == 0) return COC_OK;
    if (given != sources || sources > COC_ROUND)
        return COC_FAIL(COC_ERR_SETTING,
                        "data.weights: %d numbers for the %d stores of data.train; give one a "
                        "store (at most %d), or none",
                        given, sources, COC_ROUND);
    COC_TRY(coc_alloc(sources, sizeof *weight, &weight));
    for (int i = 0; i < sources && status == COC_OK; i++)
        status = read_weight(s, weights, i, &weight[i]);
    if (status == COC_OK && sources > 1) coc_visits_weigh(&s->visits, weight);
    free(weight);
    return status;
}

coc_status coc_sampler_create(coc_store *store, coc_split split, const coc_data_settings *settings,
                              uint64_t seed, coc_sampler **sampler)
{
    coc_sampler *s;
    coc_status status;

    COC_TRY(coc_alloc(1, sizeof *s, sampler));
    s = *sampler;
    s->store = store;
    s->seed = seed;
    s->random_windows = settings->windows == COC_WINDOWS_RANDOM;
    s->submixtures = settings->submixtures;
    s->step = window_step(settings->overlap);
    status = add_split(s, split);
    if (status == COC_OK && split == COC_TRAIN) status = set_weights(s, settings->weights);
    if (status != COC_OK) coc_sampler_destroy(sampler);
    return status;
}

void coc_sampler_destroy(coc_sampler **sampler)
{
    if (*sampler == NULL) return;
    free((*sampler)->visits.source);
    free((*sampler)->window);
    free(*sampler);
    *sampler = NULL;
}

int64_t coc_sampler_windows(const coc_sampler *sampler)
{
    return sampler->visits.windows;
}

int coc_sampler_sources(const coc_sampler *sampler)
{
    return sampler->visits.sources;
}

int64_t coc_sampler_source_windows(const coc_sampler *sampler, int source)
{
    return sampler->visits.source[source].windows;
}

double coc_sampler_source_share(const coc_sampler *sampler, int source)
{
    return coc_visit_share(&sampler->visits, source);
}

int coc_sampler_source(const coc_sampler *sampler, int64_t position)
{
    return coc_visit_source(&sampler->visits, position);
}

int64_t coc_sampler_tracks(const coc_sampler *sampler)
{
    return sampler->tracks;
}

int64_t coc_sampler_skipped(const coc_sampler *sampler)
{
    return sampler->skipped;
}

/* ---- drawing ----------------------------------------------------------------------------------
 */

static void swap_stems(int64_t *a, int64_t *b)
{
    const int64_t t = *a;

    *a = *b;
    *b = t;
}

/* Ascending: neighbours in the store are read together, and a sum has one order. */
static void take_sorted(const int64_t *from, int count, int64_t *to)
{
    for (int i = 0; i < count; i++) {
        int at = i;

        for (; at > 0 && to[at - 1] > from[i]; at--)
            to[at] = to[at - 1];
        to[at] = from[i];
    }
}

/* Two disjoint non-empty subsets: their sizes, then a shuffle as far as they need (Fisher-Yates).
 */
static void draw_subsets(const coc_sampler *s, window_start window, coc_rng_sequence random,
                         coc_pair *pair)
{
    int64_t stems[COC_MAX_STEMS];
    const int n = list_audible(s, window.track, window.first, &random, stems);

    pair->track = window.track;
    pair->track_id = coc_store_track(s->store, window.track)->id;
    pair->source = coc_store_track(s->store, window.track)->source;
    pair->first_sample = window.first;
    pair->stems[0] = pair->stems[1] = 1;
    if (s->submixtures) {
        pair->stems[0] = 1 + (int)coc_rng_next_below(&random, (uint32_t)(n - 1));
        pair->stems[1] = 1 + (int)coc_rng_next_below(&random, (uint32_t)(n - pair->stems[0]));
    }
    for (int i = 0; i < pair->stems[0] + pair->stems[1]; i++)
        swap_stems(&stems[i], &stems[i + (int)coc_rng_next_below(&random, (uint32_t)(n - i))]);
    take_sorted(stems, pair->stems[0], pair->stem[0]);
    take_sorted(stems + pair->stems[0], pair->stems[1], pair->stem[1]);
}

/* Where a window lies in an epoch of data.windows = random. */
static window_start move_window(const coc_sampler *s, window_start window, int64_t epoch)
{
    const coc_track *track = coc_store_track(s->store, window.track);
    const int64_t last = track->samples - COC_CLIP_SAMPLES; /* the last that needs no padding */
    coc_rng_sequence random = coc_rng_sequence_begin((coc_rng_key){.seed = s->seed,
                                                                   .draw = COC_DRAW_OFFSET,
                                                                   .item = (uint32_t)track->id,
                                                                   .step = (uint32_t)epoch});
    window_start moved = window;

    moved.first += coc_rng_next_below(&random, (uint32_t)s->step);
    if (moved.first > last) moved.first = window.first > last ? window.first : last;
    return has_pair(s, moved.track, moved.first) ? moved : window;
}

void coc_sampler_draw(const coc_sampler *sampler, int64_t position, coc_pair *pair)
{
    const coc_visit visit = coc_visit_at(&sampler->visits, position);
    const coc_rng_key submix = {.seed = sampler->seed,
                                .draw = COC_DRAW_SUBMIX,
                                .item = (uint32_t)position,
                                .step = (uint32_t)(position >> 32)};
    window_start window = sampler->window[visit.window];

    if (sampler->random_windows) window = move_window(sampler, window, visit.epoch);
    draw_subsets(sampler, window, coc_rng_sequence_begin(submix), pair);
}

void coc_sampler_draw_fixed(const coc_sampler *sampler, int64_t window, coc_pair *pair)
{
    const window_start w = sampler->window[window];
    /* the layer keeps these draws apart from those of training */
    const coc_rng_key submix = {.seed = sampler->seed,
                                .draw = COC_DRAW_SUBMIX,
                                .item = (uint32_t)coc_store_track(sampler->store, w.track)->id,
                                .step = (uint32_t)w.first,
                                .layer = 1};

    draw_subsets(sampler, w, coc_rng_sequence_begin(submix), pair);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

coc_status coc_sampler_read(const coc_sampler *sampler, const coc_pair *pair, int view,
                            int16_t *pcm, float *gain)
{
    for (int i = 0; i < pair->stems[view]; i++) {
        const int64_t stem = pair->stem[view][i];

        COC_TRY(coc_store_read(sampler->store, stem, pair->first_sample, COC_CLIP_SAMPLES,
                               pcm + (int64_t)i * COC_CLIP_SAMPLES));
        gain[i] = ldexpf(1.0f, coc_store_stem(sampler->store, stem)->exponent - 15);
    }
    return COC_OK;
}

coc_rng_key coc_sampler_noise_key(const coc_sampler *sampler, int view, int64_t position)
{
    return (coc_rng_key){.seed = sampler->seed,
                         .draw = COC_DRAW_NOISE,
                         .item = (uint32_t)position,
                         .step = (uint32_t)(position >> 32),
                         .view = (uint8_t)view};
}

coc_status coc_sampler_mix(const coc_sampler *sampler, const coc_pair *pair, int view,
                           int64_t position, float noise, coc_mix_scratch *scratch, coc_mix *mix)
{
    const int stems = pair->stems[view];

    COC_TRY(coc_grow(&scratch->pcm, &scratch->capacity, stems,
                     COC_CLIP_SAMPLES * sizeof *scratch->pcm));
    COC_TRY(coc_sampler_read(sampler, pair, view, scratch->pcm, scratch->gain));
    for (int i = 0; i < stems; i++)
        scratch->pointer[i] = scratch->pcm + (int64_t)i * COC_CLIP_SAMPLES;
    *mix = (coc_mix){.stems = stems,
                     .pcm = scratch->pointer,
                     .gain = scratch->gain,
                     .noise = view == 1 ? noise : 0.0f,
                     .noise_key = coc_sampler_noise_key(sampler, view, position)};
    return COC_OK;
}

void coc_mix_scratch_free(coc_mix_scratch *scratch)
{
    free(scratch->pcm);
    *scratch = (coc_mix_scratch){0};
}
