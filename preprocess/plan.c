#include "preprocess/plan.h"

#include <stdlib.h>

#include "base/memory.h"
#include "preprocess/features.h"

/* Bounds of a shard, samples: 32 MiB and 1 GiB of PCM. Small data sets get smaller shards, so that
 * ranks share the work evenly. */
static const int64_t LEAST = (int64_t)1 << 24, MOST = (int64_t)1 << 29;
enum { WANTED_SHARDS = 32 };

static int64_t choose_target(const int64_t *samples, int64_t tracks)
{
    int64_t all = 0;

    for (int64_t t = 0; t < tracks; t++)
        all += samples[t];
    all /= WANTED_SHARDS;
    return all < LEAST ? LEAST : all > MOST ? MOST : all;
}

static coc_status cut(const int64_t *kept, const int64_t *samples, int64_t tracks, int64_t target,
                      coc_plan *plan)
{
    coc_plan_shard *open = NULL;

    for (int64_t t = 0; t < tracks; t++) {
        if (kept[t] >= 0) {
            open = NULL;
            continue;
        }
        if (open == NULL || open->samples + samples[t] > target) {
            COC_TRY(coc_grow(&plan->shard, &plan->capacity, plan->shards + 1, sizeof *open));
            open = &plan->shard[plan->shards++];
            *open = (coc_plan_shard){.first = t};
        }
        open->tracks++;
        open->samples += samples[t];
    }
    return COC_OK;
}

static int compare_numbers(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static coc_status number_shards(const int64_t *kept, int64_t tracks, coc_plan *plan)
{
    int64_t *taken, at = 0, number = 0;

    COC_TRY(coc_alloc(tracks, sizeof *taken, &taken));
    for (int64_t t = 0; t < tracks; t++)
        taken[t] = kept[t];
    qsort(taken, (size_t)tracks, sizeof *taken, compare_numbers);
    for (int64_t i = 0; i < plan->shards; i++, number++) {
        for (; at < tracks && taken[at] <= number; at++)
            if (taken[at] == number) number++;
        plan->shard[i].number = number;
    }
    free(taken);
    return COC_OK;
}

static int compare_sizes(const void *a, const void *b)
{
    const coc_plan_shard *x = *(coc_plan_shard *const *)a, *y = *(coc_plan_shard *const *)b;

    if (x->samples != y->samples) return x->samples > y->samples ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

/* The largest first, each to the rank that has least. */
static coc_status deal(int ranks, coc_plan *plan)
{
    coc_plan_shard **order = NULL;
    int64_t *load = NULL;
    coc_status status;

    COC_TRY_GOTO(status, coc_alloc(plan->shards, sizeof *order, &order), done);
    COC_TRY_GOTO(status, coc_alloc(ranks, sizeof *load, &load), done);
    for (int64_t i = 0; i < plan->shards; i++)
        order[i] = &plan->shard[i];
    if (plan->shards > 1) qsort(order, (size_t)plan->shards, sizeof *order, compare_sizes);
    for (int64_t i = 0; i < plan->shards; i++) {
        int least = 0;

        for (int rank = 1; rank < ranks; rank++)
            if (load[rank] < load[least]) least = rank;
        order[i]->rank = least;
        load[least] += order[i]->samples;
    }

done:
    free(order);
    free(load);
    return status;
}

coc_status coc_plan_make(const int64_t *kept, const int64_t *samples, int64_t tracks,
                         int64_t target, int ranks, coc_plan *plan)
{
    coc_status status;

    *plan = (coc_plan){0};
    if (target <= 0) target = choose_target(samples, tracks);
    COC_TRY_GOTO(status, cut(kept, samples, tracks, target, plan), fail);
    COC_TRY_GOTO(status, number_shards(kept, tracks, plan), fail);
    COC_TRY_GOTO(status, deal(ranks, plan), fail);
    return COC_OK;

fail:
    free(plan->shard);
    *plan = (coc_plan){0};
    return status;
}

double coc_plan_patience(const coc_plan *plan, int ranks)
{
    int64_t longest = 0;

    for (int rank = 0; rank < ranks; rank++) {
        int64_t share = 0;

        for (int64_t i = 0; i < plan->shards; i++)
            if (plan->shard[i].rank == rank) share += plan->shard[i].samples;
        if (share > longest) longest = share;
    }
    return (double)longest / COC_SAMPLE_RATE / 10;
}
