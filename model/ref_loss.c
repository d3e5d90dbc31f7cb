#include <math.h>
#include <string.h>

#include "model/backends.h"
#include "model/ref.h"

/* The block is one row: scratch holds its logits [columns], the row as doubles [d] and, for the
 * gradients, sums [columns][d] of dp. */

static bool same_set(const coc_contrast *c, int64_t row, int64_t column)
{
    return c->row_set == NULL || c->row_set[row] == c->column_set[column];
}

static bool is_own(const coc_contrast *c, int64_t row, int64_t column)
{
    return (c->number != NULL ? c->number[column] : column) == c->label[row];
}

/* Another pair of the row's own track. */
static bool own_track(const coc_contrast *c, int64_t row, int64_t column)
{
    return !is_own(c, row, column) && c->row_track != NULL &&
           c->row_track[row] == c->column_track[column];
}

static bool counts(const coc_contrast *c, int64_t row, int64_t column)
{
    if (is_own(c, row, column)) return true;
    return same_set(c, row, column) && !(c->mask_track && own_track(c, row, column));
}

/* Logits of a row; columns that do not count get -infinity, so that their exponential is 0. */
static void row_logits(const coc_contrast *c, int64_t row, double *a, double *s, double *results)
{
    for (int k = 0; k < c->d; k++)
        a[k] = c->a[row * c->d + k];
    for (int64_t j = 0; j < c->columns; j++) {
        s[j] = -INFINITY;
        if (same_set(c, row, j) && own_track(c, row, j)) results[COC_CONTRAST_SAME_TRACK]++;
        if (!counts(c, row, j)) continue;
        s[j] = coc_ref_dot(c->d, a, c->p + j * c->d);
        results[COC_CONTRAST_COUNTED]++;
        results[COC_CONTRAST_KEPT]++;
    }
}

/* Turns the logits of a row into d loss / d logit. */
static void row_loss(const coc_contrast *c, int64_t row, double *s, double *results)
{
    const int64_t label = c->label[row];
    const double own = s[label];
    int64_t best = 0;
    double top, sum = 0;

    for (int64_t j = 1; j < c->columns; j++)
        if (s[j] > s[best]) best = j;
    top = s[best];
    for (int64_t j = 0; j < c->columns; j++) {
        s[j] = exp(s[j] - top);
        sum += s[j];
    }
    results[COC_CONTRAST_LOSS] += c->scale * (top + log(sum) - own);
    if (best == label) results[COC_CONTRAST_RIGHT]++;
    for (int64_t j = 0; j < c->columns; j++)
        s[j] *= c->scale / sum;
    s[label] -= c->scale;
}

/* sum [d] = the gradient at the row; that at the columns is added to dp. */
static void row_gradient(const coc_contrast *c, int64_t row, const double *ds, double *sum,
                         double *dp)
{
    const int d = c->d;

    memset(sum, 0, (size_t)d * sizeof *sum);
    for (int64_t j = 0; j < c->columns; j++) {
        if (ds[j] == 0) continue;
        for (int k = 0; k < d; k++) {
            sum[k] += ds[j] * c->p[j * d + k];
            dp[j * d + k] += ds[j] * c->a[row * d + k];
        }
    }
}

static size_t scratch_bytes(const coc_contrast *c, bool gradients)
{
    return (size_t)(c->columns + c->d + (gradients ? c->columns * c->d : 0)) * sizeof(double);
}

size_t coc_ref_loss_scratch(const coc_backend *b, const coc_contrast *shape, bool tile)
{
    (void)b, (void)tile; /* the same */
    return scratch_bytes(shape, true);
}

void coc_ref_contrast(coc_backend *b, const coc_contrast *c, real *da, real *dp, double *results)
{
    const int64_t sums = da != NULL ? c->columns * c->d : 0;
    double *s = coc_backend_scratch(b, scratch_bytes(c, da != NULL));
    double *row, *sum;

    if (s == NULL) return;
    row = s + c->columns;
    sum = row + c->d;
    memset(sum, 0, (size_t)sums * sizeof *sum);
    for (int64_t i = 0; i < c->rows; i++) {
        row_logits(c, i, row, s, results);
        row_loss(c, i, s, results);
        if (da == NULL) continue;
        row_gradient(c, i, s, row, sum);
        for (int k = 0; k < c->d; k++)
            da[i * c->d + k] = (real)row[k];
    }
    for (int64_t k = 0; k < sums; k++)
        dp[k] += (real)sum[k];
}

/* ---- tile by tile */

/* One more column that counts. */
static void see(coc_contrast_row *r, double logit, int64_t number)
{
    if (r->counted++ == 0) {
        r->top = logit;
        r->sum = 1;
        r->best = number;
    } else if (logit > r->top) {
        r->sum = r->sum * exp(r->top - logit) + 1;
        r->top = logit;
        r->best = number;
    } else {
        r->sum += exp(logit - r->top);
        if (logit == r->top && number < r->best) r->best = number;
    }
}

void coc_ref_tile_forward(coc_backend *b, const coc_contrast *c, coc_contrast_row *row)
{
    double *s = coc_backend_scratch(b, scratch_bytes(c, false));

    if (s == NULL) return;
    for (int64_t i = 0; i < c->rows; i++) {
        double counts_of_row[COC_CONTRAST_RESULTS] = {0};

        row_logits(c, i, s + c->columns, s, counts_of_row);
        row[i].same_track += (int64_t)counts_of_row[COC_CONTRAST_SAME_TRACK];
        for (int64_t j = 0; j < c->columns; j++) {
            if (!counts(c, i, j)) continue;
            see(&row[i], s[j], c->number != NULL ? c->number[j] : j);
            if (is_own(c, i, j)) row[i].own = s[j];
        }
    }
}

void coc_ref_tile_results(coc_backend *b, const coc_contrast *c, const coc_contrast_row *row,
                          double *results)
{
    (void)b;
    for (int64_t i = 0; i < c->rows; i++) {
        results[COC_CONTRAST_LOSS] += c->scale * (row[i].top + log(row[i].sum) - row[i].own);
        results[COC_CONTRAST_RIGHT] += row[i].best == c->label[i];
        results[COC_CONTRAST_COUNTED] += (double)row[i].counted;
        results[COC_CONTRAST_SAME_TRACK] += (double)row[i].same_track;
        results[COC_CONTRAST_KEPT] += (double)row[i].counted;
    }
}

void coc_ref_tile_backward(coc_backend *b, const coc_contrast *c, const coc_contrast_row *row,
                           real *da, real *dp)
{
    const int64_t sums = c->columns * c->d;
    double *s = coc_backend_scratch(b, scratch_bytes(c, true));
    double *a, *sum;

    if (s == NULL) return;
    a = s + c->columns;
    sum = a + c->d;
    memset(sum, 0, (size_t)sums * sizeof *sum);
    for (int64_t i = 0; i < c->rows; i++) {
        double counts_of_row[COC_CONTRAST_RESULTS] = {0};

        row_logits(c, i, a, s, counts_of_row);
        for (int64_t j = 0; j < c->columns; j++)
            s[j] = c->scale * (exp(s[j] - row[i].top) / row[i].sum - is_own(c, i, j));
        row_gradient(c, i, s, a, sum);
        for (int k = 0; k < c->d; k++)
            da[i * c->d + k] += (real)a[k];
    }
    for (int64_t k = 0; k < sums; k++)
        dp[k] += (real)sum[k];
}
