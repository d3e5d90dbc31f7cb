#include "train/track_sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"

static int compare_ids(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* id [rows] sorted, each once; returns their number. */
static int64_t distinct(int64_t rows, uint64_t *id)
{
    int64_t n = 0;

    qsort(id, (size_t)rows, sizeof *id, compare_ids);
    for (int64_t i = 0; i < rows; i++)
        if (n == 0 || id[i] != id[n - 1]) id[n++] = id[i];
    return n;
}

coc_status coc_row_tracks_create(int64_t rows, const uint64_t *id, coc_row_tracks *tracks)
{
    uint64_t *sorted;
    coc_status status;

    *tracks = (coc_row_tracks){.rows = rows};
    COC_TRY(coc_alloc(rows, sizeof *sorted, &sorted));
    memcpy(sorted, id, (size_t)rows * sizeof *id);
    tracks->tracks = distinct(rows, sorted);
    status = coc_alloc(rows, sizeof *tracks->of, &tracks->of);
    if (status == COC_OK) status = coc_alloc(tracks->tracks, sizeof *tracks->sizes, &tracks->sizes);
    for (int64_t i = 0; i < rows && status == COC_OK; i++) {
        const uint64_t *at =
            bsearch(&id[i], sorted, (size_t)tracks->tracks, sizeof *sorted, compare_ids);

        tracks->of[i] = (int32_t)(at - sorted);
        tracks->sizes[at - sorted] += 1;
    }
    free(sorted);
    return status;
}

void coc_row_tracks_free(coc_row_tracks *tracks)
{
    free(tracks->of);
    free(tracks->sizes);
    *tracks = (coc_row_tracks){0};
}

void coc_row_tracks_sum(const coc_row_tracks *tracks, const double *value, int64_t stride,
                        double *sums)
{
    memset(sums, 0, (size_t)tracks->tracks * sizeof *sums);
    for (int64_t i = 0; i < tracks->rows; i++)
        sums[tracks->of[i]] += value[i * stride];
}

static void draw(int64_t tracks, uint64_t seed, int64_t number, double *times)
{
    coc_rng_sequence draws = coc_rng_sequence_begin(
        (coc_rng_key){.seed = seed, .draw = COC_DRAW_BOOTSTRAP, .item = (uint32_t)number});

    memset(times, 0, (size_t)tracks * sizeof *times);
    for (int64_t i = 0; i < tracks; i++)
        times[coc_rng_next_below(&draws, (uint32_t)tracks)] += 1;
}

coc_status coc_bootstrap(int64_t tracks, int64_t resamplings, uint64_t seed,
                         coc_statistic statistic, const void *of, double *low, double *high)
{
    double *values, *times;

    *low = *high = NAN;
    if (resamplings == 0) return COC_OK;
    COC_TRY(coc_alloc(resamplings + tracks, sizeof *values, &values));
    times = values + resamplings;
    for (int64_t b = 0; b < resamplings; b++) {
        draw(tracks, seed, b, times);
        values[b] = statistic(of, times);
    }
    qsort(values, (size_t)resamplings, sizeof *values, compare_doubles);
    *low = values[(int64_t)(0.025 * (double)(resamplings - 1))];
    *high = values[(int64_t)ceil(0.975 * (double)(resamplings - 1))];
    free(values);
    return COC_OK;
}

double coc_track_ratio_of(const void *ratio, const double *times)
{
    const coc_track_ratio *r = ratio;
    double above = 0, below = 0;

    for (int64_t t = 0; t < r->tracks; t++) {
        above += times[t] * r->above[t];
        below += times[t] * r->below[t];
    }
    return below > 0 ? above / below : 0;
}
