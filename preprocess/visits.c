#include "preprocess/visits.h"

#include <math.h>

#include "base/rng.h"

/* ---- shares --------------------------------------------------------------------------------- */

/* The source whose share is farthest below (side 1) or above (side -1) what its weight says. */
static int farthest(const coc_visits *v, const double *weight, double sum, int side)
{
    double most = -INFINITY;
    int found = 0;

    for (int i = 0; i < v->sources; i++) {
        const double off = side * (weight[i] / sum * COC_ROUND - (double)v->source[i].share);

        if (off <= most || (side < 0 && v->source[i].share == 1)) continue;
        most = off;
        found = i;
    }
    return found;
}

void coc_visits_weigh(coc_visits *v, const double *weight)
{
    int64_t left = COC_ROUND;
    double sum = 0;

    for (int i = 0; i < v->sources; i++)
        sum += weight[i];
    for (int i = 0; i < v->sources; i++) {
        v->source[i].share = (int64_t)(weight[i] / sum * COC_ROUND);
        if (v->source[i].share == 0) v->source[i].share = 1;
        left -= v->source[i].share;
    }
    for (; left > 0; left--)
        v->source[farthest(v, weight, sum, 1)].share++;
    for (; left < 0; left++)
        v->source[farthest(v, weight, sum, -1)].share--;
    v->weighted = true;
}

/* ---- order ---------------------------------------------------------------------------------- */

static coc_visit visit_all(const coc_visits *v, int64_t position)
{
    const int64_t epoch = position / v->windows;
    const coc_rng_key order = {.seed = v->seed, .draw = COC_DRAW_ORDER, .step = (uint32_t)epoch};

    return (coc_visit){coc_rng_permute(&order, v->windows, position % v->windows), epoch};
}

/* The source whose turn it is, and how many of its turns in this round come before. The layers keep
 * these draws apart from the order of all windows. */
static int turn_of(const coc_visits *v, int64_t position, int64_t *before)
{
    const coc_rng_key order = {.seed = v->seed,
                               .draw = COC_DRAW_ORDER,
                               .step = (uint32_t)(position / COC_ROUND),
                               .layer = 1};
    int source = 0;

    *before = coc_rng_permute(&order, COC_ROUND, position % COC_ROUND);
    for (; *before >= v->source[source].share; source++)
        *before -= v->source[source].share;
    return source;
}

static coc_visit visit_by_turn(const coc_visits *v, int64_t position)
{
    int64_t before;
    const int number = turn_of(v, position, &before);
    const coc_visited *source = &v->source[number];
    const int64_t turn = position / COC_ROUND * source->share + before;
    const int64_t epoch = turn / source->windows;
    const coc_rng_key order = {.seed = v->seed,
                               .draw = COC_DRAW_ORDER,
                               .item = (uint32_t)number,
                               .step = (uint32_t)epoch,
                               .layer = 2};

    return (coc_visit){
        source->first + coc_rng_permute(&order, source->windows, turn % source->windows), epoch};
}

coc_visit coc_visit_at(const coc_visits *v, int64_t position)
{
    return v->weighted ? visit_by_turn(v, position) : visit_all(v, position);
}

int coc_visit_source(const coc_visits *v, int64_t position)
{
    int64_t window, before;
    int source = 0;

    if (v->weighted) return turn_of(v, position, &before);
    window = visit_all(v, position).window;
    while (window >= v->source[source].first + v->source[source].windows)
        source++;
    return source;
}

double coc_visit_share(const coc_visits *v, int source)
{
    if (v->weighted) return (double)v->source[source].share / COC_ROUND;
    return (double)v->source[source].windows / (double)v->windows;
}
