/* Softmax of a block of rows, a tile of columns at a time, while the tile is in the cache: a lane
 * is a row, and its sum is relative to the largest logit so far. */
#include <math.h>

#include "model/cpu_loss.h"

void coc_cpu_softmax_begin(const coc_cpu_block *k, coc_cpu_share_of_loss *share)
{
    for (int64_t i = 0; i < k->padded; i++) {
        share->top[i] = -INFINITY;
        share->sum[i] = 0;
        share->tile_end[i] = share->counted[i] = share->same[i] = 0;
    }
}

/* Sets and tracks of a row and a column. */
static bool own_set(const coc_contrast *c, int64_t row, int64_t column)
{
    return c->row_set == NULL || c->row_set[row] == c->column_set[column];
}

static bool own_track(const coc_contrast *c, int64_t row, int64_t column)
{
    return c->row_track != NULL && c->row_track[row] == c->column_track[column];
}

/* Own columns in the tile: they count whatever their set and track say, and have no other. */
static void take_own(const coc_cpu_block *k, coc_cpu_share_of_loss *share, int64_t first,
                     int64_t columns, float *s)
{
    const coc_contrast *c = k->c;

    for (int64_t i = 0; i < k->rows; i++) {
        const int64_t row = k->first + i, label = c->label[row], at = label - first;
        bool set, track;

        if (at < 0 || at >= columns) continue;
        k->own[i] = s[at * k->stride + i];
        k->tied[i] = false;
        for (int64_t j = 0; j < at; j++)
            k->tied[i] |= s[j * k->stride + i] == k->own[i] && own_set(c, row, first + j) &&
                          !(c->mask_track && own_track(c, row, first + j));
        s[at * k->stride + i] = -INFINITY;
        set = own_set(c, row, label);
        track = own_track(c, row, label);
        /* what the counts of whole columns will hold of it */
        share->counted[i] += 1 - (set && !(track && c->mask_track));
        share->same[i] -= set && track;
    }
}

/* Columns that do not count become -infinity; the others are counted. */
static void mask_column(const coc_cpu_block *k, coc_cpu_share_of_loss *share, int64_t column,
                        float *s)
{
    const coc_contrast *c = k->c;

    for (int64_t i = 0; i < k->rows; i++) {
        const bool set = own_set(c, k->first + i, column);
        const bool track = own_track(c, k->first + i, column);
        const bool counts = set && !(track && c->mask_track);

        s[i] = counts ? s[i] : -INFINITY;
        share->counted[i] += counts;
        share->same[i] += set && track;
    }
}

/* The common case: every column counts. */
static void count_tracks(const coc_cpu_block *k, coc_cpu_share_of_loss *share, int64_t column)
{
    const uint64_t *row_track = k->c->row_track + k->first, track = k->c->column_track[column];
    int32_t *same = share->same;

    for (int64_t i = 0; i < k->rows; i++)
        same[i] += row_track[i] == track;
}

static void count_columns(const coc_cpu_block *k, coc_cpu_share_of_loss *share, int64_t first,
                          int64_t columns, float *s)
{
    const coc_contrast *c = k->c;

    if (c->row_set != NULL || (c->mask_track && c->row_track != NULL)) {
        for (int64_t j = 0; j < columns; j++)
            mask_column(k, share, first + j, s + j * k->stride);
        return;
    }
    for (int64_t i = 0; i < k->rows; i++)
        share->counted[i] += (int32_t)columns;
    if (c->row_track == NULL) return;
    for (int64_t j = 0; j < columns; j++)
        count_tracks(k, share, first + j);
}

static coc_vec largest(int64_t columns, const float *s, int64_t stride)
{
    coc_vec top[COC_ABREAST] = {coc_splat(-INFINITY), coc_splat(-INFINITY)};
    int64_t j = 0;

    for (; j + COC_ABREAST <= columns; j += COC_ABREAST)
        COC_UNROLL
    for (int a = 0; a < COC_ABREAST; a++)
        top[a] = coc_max(coc_load(s + (j + a) * stride), top[a]);
    for (; j < columns; j++)
        top[0] = coc_max(coc_load(s + j * stride), top[0]);
    return coc_max(top[0], top[1]);
}

static coc_vec sum_of_exponentials(int64_t columns, const float *s, int64_t stride, coc_vec top)
{
    coc_vec sum[COC_ABREAST] = {{0}};
    int64_t j = 0;

    for (; j + COC_ABREAST <= columns; j += COC_ABREAST)
        COC_UNROLL
    for (int a = 0; a < COC_ABREAST; a++)
        sum[a] += coc_exp_negative(coc_load(s + (j + a) * stride) - top);
    for (; j < columns; j++)
        sum[0] += coc_exp_negative(coc_load(s + j * stride) - top);
    return sum[0] + sum[1];
}

void coc_cpu_softmax_tile(const coc_cpu_block *k, coc_cpu_share_of_loss *share, int64_t first,
                          int64_t columns, float *s)
{
    take_own(k, share, first, columns, s);
    count_columns(k, share, first, columns, s);
    for (int64_t i = 0; i < k->padded; i += COC_LANES) {
        const coc_vec before = coc_load(share->top + i);
        const coc_vec here = largest(columns, s + i, k->stride), top = coc_max(here, before);
        const coc_vec sum = sum_of_exponentials(columns, s + i, k->stride, top);
        const coc_vec shrunk = coc_exp_negative(before - top);
        const coc_ivec new_top = here > before;

        coc_store(share->top + i, top);
        for (int lane = 0; lane < COC_LANES; lane++) {
            share->sum[i + lane] = share->sum[i + lane] * (double)shrunk[lane] + (double)sum[lane];
            if (new_top[lane]) share->tile_end[i + lane] = (int32_t)(first + columns);
        }
    }
}

/* Of the other columns of a row: the largest logit, the end of the tile where it comes first, the
 * sum of exponentials relative to it. */
typedef struct {
    float top;
    int32_t tile_end;
    double sum;
    int64_t counted, same;
} others;

static others merge(const coc_cpu_block *k, int threads, int64_t row)
{
    others all = {.top = -INFINITY};

    for (int t = 0; t < threads; t++) /* columns grow with threads: the first of equals stays */
        if (k->share[t].top[row] > all.top) {
            all.top = k->share[t].top[row];
            all.tile_end = k->share[t].tile_end[row];
        }
    for (int t = 0; t < threads; t++) {
        const coc_cpu_share_of_loss *share = &k->share[t];

        if (share->sum[row] > 0)
            all.sum += share->sum[row] * exp((double)share->top[row] - (double)all.top);
        all.counted += share->counted[row];
        all.same += share->same[row];
    }
    return all;
}

/* log(1 + sum exp(top - own)), without a small difference of large numbers. A logit that is not
 * finite must show: the trainer ends on it. */
static double loss_of(const others *o, double own, double total)
{
    if (!isfinite(own)) return NAN;
    if (o->top == -INFINITY) return 0;
    if (own >= o->top) return log1p(o->sum * exp((double)o->top - own));
    return (double)o->top - own + log(total);
}

void coc_cpu_softmax_row(const coc_cpu_block *k, int threads, int64_t row)
{
    const others o = merge(k, threads, row);
    const double own = k->own[row];
    const double total = o.sum + exp(own - (double)o.top);
    const int64_t label = k->c->label[k->first + row];
    const bool tie_behind = o.tile_end > label && !k->tied[row];
    double *results = k->results[row];

    k->top[row] = o.top;
    k->factor[row] = o.top == -INFINITY ? 0.0f : (float)(k->c->scale / total);
    k->own_entry[row] = -(float)o.sum;
    memset(results, 0, COC_CONTRAST_RESULTS * sizeof *results);
    results[COC_CONTRAST_LOSS] = k->c->scale * loss_of(&o, own, total);
    results[COC_CONTRAST_RIGHT] = own > (double)o.top || (own == (double)o.top && tie_behind);
    results[COC_CONTRAST_COUNTED] = (double)o.counted;
    results[COC_CONTRAST_SAME_TRACK] = (double)o.same;
}
