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

/* Another pair of the row's own track. */
static bool own_track(const coc_contrast *c, int64_t row, int64_t column)
{
    return column != c->label[row] && c->row_track != NULL &&
           c->row_track[row] == c->column_track[column];
}

static bool counts(const coc_contrast *c, int64_t row, int64_t column)
{
    if (column == c->label[row]) return true;
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

static void row_gradient(const coc_contrast *c, int64_t row, const double *ds, double *sum,
                         real *da, double *dp)
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
    for (int k = 0; k < d; k++)
        da[row * d + k] = (real)sum[k];
}

void coc_ref_contrast(coc_backend *b, const coc_contrast *c, real *da, real *dp, double *results)
{
    const int64_t sums = da != NULL ? c->columns * c->d : 0;
    double *s = coc_backend_scratch(b, (size_t)(c->columns + c->d + sums) * sizeof(double));
    double *row, *sum;

    if (s == NULL) return;
    row = s + c->columns;
    sum = row + c->d;
    memset(sum, 0, (size_t)sums * sizeof *sum);
    for (int64_t i = 0; i < c->rows; i++) {
        row_logits(c, i, row, s, results);
        row_loss(c, i, s, results);
        if (da != NULL) row_gradient(c, i, s, row, da, sum);
    }
    for (int64_t k = 0; k < sums; k++)
        dp[k] += (real)sum[k];
}
