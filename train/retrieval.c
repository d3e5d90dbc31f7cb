#include "train/retrieval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

const int64_t coc_recall_at[COC_RECALLS] = {1, 5, 10};

/* Rows in the order of their ranks. */
typedef struct {
    int64_t rank;
    int32_t track;
} ranked;

typedef struct {
    const coc_row_tracks *tracks;
    ranked *row;           /* [rows] */
    double *value, *sums;  /* [rows], [tracks]: of one figure at a time */
    double *log_factorial; /* [rows] of 0 .. rows - 1 */
} work;

static void work_free(work *w)
{
    free(w->row);
    free(w->value);
    free(w->sums);
    free(w->log_factorial);
}

static int compare_ranks(const void *a, const void *b)
{
    const ranked *x = a, *y = b;

    return (x->rank > y->rank) - (x->rank < y->rank);
}

static coc_status work_create(const coc_row_tracks *tracks, const int64_t *rank, work *w)
{
    const int64_t n = tracks->rows;

    *w = (work){.tracks = tracks};
    COC_TRY(coc_alloc(n, sizeof *w->row, &w->row));
    COC_TRY(coc_alloc(n, sizeof *w->value, &w->value));
    COC_TRY(coc_alloc(tracks->tracks, sizeof *w->sums, &w->sums));
    COC_TRY(coc_alloc(n, sizeof *w->log_factorial, &w->log_factorial));
    for (int64_t i = 0; i < n; i++) {
        w->row[i] = (ranked){rank[i], tracks->of[i]};
        w->log_factorial[i] = lgamma((double)i + 1);
    }
    qsort(w->row, (size_t)n, sizeof *w->row, compare_ranks);
    return COC_OK;
}

/* ---- figures -------------------------------------------------------------------------------- */

/* The mean of the two ranks in the middle, or the one, with each row as often as its track was
 * drawn: times [tracks]. */
static double median_of(const void *of, const double *times)
{
    const work *w = of;
    double rows = 0, seen = 0, lower = NAN;

    for (int64_t t = 0; t < w->tracks->tracks; t++)
        rows += times[t] * w->tracks->sizes[t];
    for (int64_t i = 0; i < w->tracks->rows; i++) {
        seen += times[w->row[i].track];
        if (isnan(lower) && 2 * seen >= rows) lower = (double)w->row[i].rank;
        if (2 * seen > rows) return (lower + (double)w->row[i].rank) / 2;
    }
    return lower; /* not reached: all rows together are more than half of them */
}

static coc_status median_figure(const work *w, int64_t resamplings, uint64_t seed,
                                coc_figure *figure)
{
    const int64_t tracks = w->tracks->tracks;

    for (int64_t t = 0; t < tracks; t++)
        w->sums[t] = 1;
    figure->value = median_of(w, w->sums);
    figure->chance = (double)(w->tracks->rows + 1) / 2;
    return coc_bootstrap(tracks, resamplings, seed, median_of, w, &figure->low, &figure->high);
}

/* The mean of w->value. */
static coc_status mean_figure(const work *w, int64_t resamplings, uint64_t seed, double chance,
                              coc_figure *figure)
{
    const coc_row_tracks *tracks = w->tracks;
    const coc_track_ratio ratio = {tracks->tracks, w->sums, tracks->sizes};
    double sum = 0;

    for (int64_t i = 0; i < tracks->rows; i++)
        sum += w->value[i];
    figure->value = sum / (double)tracks->rows;
    figure->chance = chance;
    coc_row_tracks_sum(tracks, w->value, 1, w->sums);
    return coc_bootstrap(tracks->tracks, resamplings, seed, coc_track_ratio_of, &ratio,
                         &figure->low, &figure->high);
}

static coc_status recall_figure(const work *w, const int64_t *rank, int64_t at, int64_t resamplings,
                                uint64_t seed, coc_figure *figure)
{
    const int64_t n = w->tracks->rows;

    for (int64_t i = 0; i < n; i++)
        w->value[i] = rank[i] <= at;
    return mean_figure(w, resamplings, seed, at < n ? (double)at / (double)n : 1, figure);
}

static coc_status reciprocal_figure(const work *w, const int64_t *rank, int64_t resamplings,
                                    uint64_t seed, coc_figure *figure)
{
    const int64_t n = w->tracks->rows;
    double harmonic = 0;

    for (int64_t i = 0; i < n; i++) {
        w->value[i] = 1 / (double)rank[i];
        harmonic += 1 / ((double)i + 1);
    }
    return mean_figure(w, resamplings, seed, harmonic / (double)n, figure);
}

/* ---- curves --------------------------------------------------------------------------------- */

/* Every K up to 9, then steps of about 12 %, and all pairs. */
static int choose_points(int64_t n, int64_t *k)
{
    const double step = pow(10, 1.0 / 20);
    int points = 0;

    for (int64_t at = 1; at < n; points++) {
        const int64_t next = (int64_t)ceil((double)at * step);

        k[points] = at;
        at = next > at ? next : at + 1;
    }
    k[points] = n;
    return points + 1;
}

/* In how many of the batches of k that hold a row, drawn from n pairs, none of the rank - 1 better
 * ones is among the k - 1 others: C(n - rank, k - 1) / C(n - 1, k - 1). */
static double chance_of_first(const double *log_factorial, int64_t n, int64_t k, int64_t rank)
{
    if (n - rank < k - 1) return 0;
    return exp(log_factorial[n - rank] - log_factorial[n - rank - k + 1] - log_factorial[n - 1] +
               log_factorial[n - k]);
}

static void fill_point(const work *w, int64_t k, double *recall, double *accuracy)
{
    const int64_t n = w->tracks->rows;
    double within = 0, first = 0;

    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && w->row[end].rank == w->row[i].rank;)
            end++;
        if (w->row[i].rank <= k) within += (double)(end - i);
        first += (double)(end - i) * chance_of_first(w->log_factorial, n, k, w->row[i].rank);
    }
    *recall = within / (double)n;
    *accuracy = first / (double)n;
}

static double same_track(const coc_row_tracks *tracks)
{
    double others = 0;

    for (int64_t t = 0; t < tracks->tracks; t++)
        others += tracks->sizes[t] * (tracks->sizes[t] - 1);
    return others / (double)tracks->rows;
}

coc_status coc_retrieval_of(const coc_row_tracks *tracks, const int64_t *rank, int64_t resamplings,
                            uint64_t seed, coc_retrieval *r)
{
    coc_status status;
    work w;

    *r = (coc_retrieval){
        .pairs = tracks->rows, .tracks = tracks->tracks, .same_track = same_track(tracks)};
    COC_TRY_GOTO(status, work_create(tracks, rank, &w), done);
    COC_TRY_GOTO(status, median_figure(&w, resamplings, seed, &r->median_rank), done);
    for (int i = 0; i < COC_RECALLS; i++)
        COC_TRY_GOTO(status,
                     recall_figure(&w, rank, coc_recall_at[i], resamplings, seed, &r->recall[i]),
                     done);
    COC_TRY_GOTO(status, reciprocal_figure(&w, rank, resamplings, seed, &r->mean_reciprocal_rank),
                 done);
    r->points = choose_points(tracks->rows, r->k);
    for (int i = 0; i < r->points; i++)
        fill_point(&w, r->k[i], &r->recall_curve[i], &r->accuracy_curve[i]);

done:
    work_free(&w);
    return status;
}
