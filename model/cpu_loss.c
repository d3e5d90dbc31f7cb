/* The loss in blocks of rows:
 *
 *     S  = A P'          each thread its columns
 *     dS = softmax ...   each thread its rows
 *     dA = dS P          each thread its rows;      dP += dS' A     each thread its columns
 *
 * A block's S is the only array that grows with rows times columns. */
#include <math.h>

#include "model/cpu.h"
#include "model/cpu_dense.h"
#include "model/cpu_sgemm.h"

enum {
    BLOCK_ROWS = 128,  /* enough that reading and writing dP once a block costs little */
    FLOAT_VECTORS = 32 /* of exponentials summed in float before they are added to a double */
};

/* One block of rows at work. */
typedef struct {
    const coc_contrast *c;
    int64_t first, rows;                     /* first row, number of rows */
    float *s;                                /* [rows][columns] logits, then their gradient */
    double (*results)[COC_CONTRAST_RESULTS]; /* of each row */
    float *da, *dp;
} block;

/* exp(x) for x <= 0, 0 below -87; see coc_sigmoid for how. */
COC_KERNEL coc_vec exp_negative(coc_vec x)
{
    const coc_vec z = coc_max(x, coc_splat(-87.0f));
    const coc_vec shifted = z * 1.44269504f + 12582912.0f;
    const coc_vec n = shifted - 12582912.0f;
    const coc_vec r = (z - n * 0.693145752f) - n * 1.42860677e-6f;
    coc_vec e = r * 1.40613130881e-3f + 8.37903030918e-3f;

    e = e * r + 4.16647757082e-2f;
    e = e * r + 1.66663651883e-1f;
    e = e * r + 5.00000043492e-1f;
    e = e * r + 1.00000004970f;
    e = e * r + 1.0f;
    e = (coc_vec)((coc_ivec)e + (((coc_ivec)shifted) << 23));
    return (coc_vec)((coc_ivec)e & (x >= -87.0f));
}

/* Logits of columns that do not count become -infinity; the others are counted. */
static void mask_row(const coc_contrast *c, int64_t row, float *s, double *results)
{
    const int64_t label = c->label[row];
    int64_t counted = 0, same = 0;

    for (int64_t j = 0; j < c->columns; j++) {
        const bool own_set = c->row_set == NULL || c->row_set[row] == c->column_set[j];
        const bool own_track = c->row_track != NULL && c->row_track[row] == c->column_track[j];
        const bool counts = (own_set && !(own_track && c->mask_track)) || j == label;

        if (!counts) s[j] = -INFINITY;
        counted += counts;
        same += own_set && own_track && j != label;
    }
    results[COC_CONTRAST_COUNTED] = (double)counted;
    results[COC_CONTRAST_SAME_TRACK] = (double)same;
}

/* The common case: every column counts. */
static void count_row(const coc_contrast *c, int64_t row, double *results)
{
    int64_t same = 0;

    results[COC_CONTRAST_COUNTED] = (double)c->columns;
    if (c->row_track == NULL) return;
    for (int64_t j = 0; j < c->columns; j++)
        same += c->row_track[row] == c->column_track[j];
    same -= c->row_track[row] == c->column_track[c->label[row]];
    results[COC_CONTRAST_SAME_TRACK] = (double)same;
}

static float largest(int64_t count, const float *s)
{
    coc_vec top = coc_splat(-INFINITY);
    float most = -INFINITY;
    int64_t i = 0;

    for (; i + COC_LANES <= count; i += COC_LANES)
        top = coc_max(coc_load(s + i), top);
    for (int k = 0; k < COC_LANES; k++)
        most = top[k] > most ? top[k] : most;
    for (; i < count; i++)
        most = s[i] > most ? s[i] : most;
    return most;
}

/* s = exp(s - top); returns the sum. */
static double exponentials(int64_t count, float top, float *s)
{
    double sum = 0;

    for (int64_t i = 0; i < count;) {
        const int64_t end = i + COC_LANES * FLOAT_VECTORS;
        coc_vec part = {0};

        for (; i + COC_LANES <= count && i < end; i += COC_LANES) {
            const coc_vec e = exp_negative(coc_load(s + i) - top);

            coc_store(s + i, e);
            part += e;
        }
        for (int k = 0; k < COC_LANES; k++)
            sum += (double)part[k];
        for (; i < count && i < end; i++) {
            s[i] = exp_negative(coc_splat(s[i] - top))[0];
            sum += (double)s[i];
        }
    }
    return sum;
}

/* Logits of a row -> its results and d loss / d logit. */
static void finish_row(const coc_contrast *c, int64_t row, float *s, double *results)
{
    const int64_t label = c->label[row];
    double own, sum;
    float top, factor;
    int64_t best = 0;

    memset(results, 0, COC_CONTRAST_RESULTS * sizeof *results);
    if (c->row_set != NULL || (c->mask_track && c->row_track != NULL))
        mask_row(c, row, s, results);
    else
        count_row(c, row, results);
    own = s[label];
    top = largest(c->columns, s);
    while (best < c->columns && s[best] != top)
        best++;
    sum = exponentials(c->columns, top, s);
    results[COC_CONTRAST_LOSS] = c->scale * (top + log(sum) - own);
    results[COC_CONTRAST_RIGHT] = best == label;
    factor = (float)(c->scale / sum);
    for (int64_t j = 0; j < c->columns; j++)
        s[j] *= factor;
    s[label] -= (float)c->scale;
}

static bool block_logits(const block *k, int thread, int threads)
{
    const coc_contrast *c = k->c;
    int64_t first, end;

    coc_cpu_share(c->columns, threads, thread, &first, &end);
    return first == end ||
           coc_sgemm(false, true, k->rows, end - first, c->d, c->a + k->first * c->d, c->d,
                     c->p + first * c->d, c->d, 0, k->s + first, c->columns);
}

static void block_rows(const block *k, int thread, int threads)
{
    int64_t first, end;

    coc_cpu_share(k->rows, threads, thread, &first, &end);
    for (int64_t i = first; i < end; i++)
        finish_row(k->c, k->first + i, k->s + i * k->c->columns, k->results[i]);
}

static bool block_gradients(const block *k, int thread, int threads)
{
    const coc_contrast *c = k->c;
    int64_t first, end;
    bool good = true;

    coc_cpu_share(k->rows, threads, thread, &first, &end);
    if (first < end)
        good = coc_sgemm(false, false, end - first, c->d, c->columns, k->s + first * c->columns,
                         c->columns, c->p, c->d, 0, k->da + (k->first + first) * c->d, c->d);
    coc_cpu_share(c->columns, threads, thread, &first, &end);
    if (first < end)
        good = coc_sgemm(true, false, end - first, c->d, k->rows, k->s + first, c->columns,
                         c->a + k->first * c->d, c->d, 1, k->dp + first * c->d, c->d) &&
               good;
    return good;
}

static bool run_block(const block *k, int threads)
{
    bool good = true;

    /* loops over shares, not threads: right also where fewer threads are given than asked for */
#pragma omp parallel num_threads(threads) reduction(&& : good)
    {
#pragma omp for schedule(static)
        for (int t = 0; t < threads; t++)
            good = block_logits(k, t, threads) && good;
#pragma omp for schedule(static)
        for (int t = 0; t < threads; t++)
            block_rows(k, t, threads);
        if (k->da != NULL) {
#pragma omp for schedule(static)
            for (int t = 0; t < threads; t++)
                good = block_gradients(k, t, threads) && good;
        }
    }
    return good;
}

void coc_cpu_contrast(coc_backend *b, const coc_contrast *c, float *da, float *dp, double *results)
{
    const size_t of_results = BLOCK_ROWS * COC_CONTRAST_RESULTS * sizeof(double);
    const int64_t most = c->rows < BLOCK_ROWS ? c->rows : BLOCK_ROWS;
    block k = {.c = c, .da = da, .dp = dp};

    k.results = coc_backend_scratch(b, of_results + (size_t)(most * c->columns) * sizeof(float));
    if (k.results == NULL) return;
    k.s = (float *)(k.results + BLOCK_ROWS);
    for (; k.first < c->rows; k.first += k.rows) {
        k.rows = c->rows - k.first < BLOCK_ROWS ? c->rows - k.first : BLOCK_ROWS;
        if (!run_block(&k, b->threads)) b->status = COC_ERR_MEMORY;
        for (int64_t i = 0; i < k.rows; i++)
            for (int r = 0; r < COC_CONTRAST_RESULTS; r++)
                results[r] += k.results[i][r];
    }
}
