/* model/cpu_loss_ring.c - the loss tile by tile, in blocks of rows:
 *
 *     S  = A P'          each thread its columns
 *     what S says of rows, or dS       each thread its rows
 *     dA += dS P         each thread its rows;      dP += dS' A     each thread its columns
 *
 * S of a block is made twice, in each direction once. */
#include <math.h>
#include <string.h>

#include "model/cpu_dense.h"
#include "model/cpu_loss.h"
#include "model/cpu_sgemm.h"

enum {
    BLOCK_ROWS = 128,  /* enough that reading and writing dP once a block costs little */
    FLOAT_VECTORS = 32 /* of exponentials summed in float before they are added to a double */
};

/* One block of rows at work. */
typedef struct block {
    const coc_contrast *c;
    int64_t first, rows; /* first row, number of rows */
    float *s;            /* [rows][columns] logits, then their gradient */
    /* What is done with a row's logits s, of row i of the block. */
    void (*row)(const struct block *k, int64_t i, float *s);
    coc_contrast_row *seen; /* [c->rows] */
    float *da, *dp;         /* NULL: forward */
} block;

/* Logits of columns that do not count become -infinity; the others are counted. label: where the
 * row's own column stands, or -1. */
static void mask_row(const coc_contrast *c, int64_t row, int64_t label, float *s, double *results)
{
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
static void count_row(const coc_contrast *c, int64_t row, int64_t label, double *results)
{
    int64_t same = 0;

    results[COC_CONTRAST_COUNTED] = (double)c->columns;
    if (c->row_track == NULL) return;
    for (int64_t j = 0; j < c->columns; j++)
        same += c->row_track[row] == c->column_track[j];
    if (label >= 0) same -= c->row_track[row] == c->column_track[label];
    results[COC_CONTRAST_SAME_TRACK] = (double)same;
}

static void mask_or_count(const coc_contrast *c, int64_t row, int64_t label, float *s,
                          double *results)
{
    memset(results, 0, COC_CONTRAST_RESULTS * sizeof *results);
    if (c->row_set != NULL || (c->mask_track && c->row_track != NULL))
        mask_row(c, row, label, s, results);
    else
        count_row(c, row, label, results);
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
            const coc_vec e = coc_exp_negative(coc_load(s + i) - top);

            coc_store(s + i, e);
            part += e;
        }
        for (int k = 0; k < COC_LANES; k++)
            sum += (double)part[k];
        for (; i < count && i < end; i++) {
            s[i] = coc_exp_negative(coc_splat(s[i] - top))[0];
            sum += (double)s[i];
        }
    }
    return sum;
}

/* Where a column of that number stands, or -1. */
static int64_t place_of(const coc_contrast *c, int64_t number)
{
    int64_t first = 0, end = c->columns;

    if (c->number == NULL) return number;
    while (first < end) {
        const int64_t middle = first + (end - first) / 2;

        if (c->number[middle] < number)
            first = middle + 1;
        else
            end = middle;
    }
    return first < c->columns && c->number[first] == number ? first : -1;
}

static int64_t first_of(int64_t count, float value, const float *s)
{
    int64_t i = 0;

    while (i < count && s[i] != value)
        i++;
    return i;
}

/* Logits of a tile -> what is known of the row. */
static void see_row(const block *k, int64_t i, float *s)
{
    const coc_contrast *c = k->c;
    const int64_t row = k->first + i, label = place_of(c, c->label[row]);
    coc_contrast_row *seen = &k->seen[row];
    double results[COC_CONTRAST_RESULTS];
    int64_t best;
    float top;

    mask_or_count(c, row, label, s, results);
    if (label >= 0) seen->own = (double)s[label];
    seen->same_track += (int64_t)results[COC_CONTRAST_SAME_TRACK];
    if (results[COC_CONTRAST_COUNTED] == 0) return;
    top = largest(c->columns, s);
    best = first_of(c->columns, top, s);
    if (best < c->columns) { /* else nothing but what is no number */
        const int64_t number = c->number != NULL ? c->number[best] : best;

        if (seen->counted == 0 || (double)top > seen->top ||
            ((double)top == seen->top && number < seen->best))
            seen->best = number;
    }
    if (seen->counted > 0 && seen->top > (double)top) top = (float)seen->top;
    if (seen->counted > 0) seen->sum *= exp(seen->top - (double)top);
    seen->sum += exponentials(c->columns, top, s);
    seen->top = (double)top;
    seen->counted += (int64_t)results[COC_CONTRAST_COUNTED];
}

/* Logits of a tile -> d loss / d logit. */
static void tile_row_gradient(const block *k, int64_t i, float *s)
{
    const coc_contrast *c = k->c;
    const int64_t row = k->first + i, label = place_of(c, c->label[row]);
    const coc_contrast_row *seen = &k->seen[row];
    const float factor = (float)(c->scale / seen->sum);
    double results[COC_CONTRAST_RESULTS];

    mask_or_count(c, row, label, s, results);
    (void)exponentials(c->columns, (float)seen->top, s);
    for (int64_t j = 0; j < c->columns; j++)
        s[j] *= factor;
    if (label >= 0) s[label] -= (float)c->scale;
}

static void block_logits(const block *k, int thread, int threads)
{
    const coc_contrast *c = k->c;
    int64_t first, end;

    coc_cpu_share(c->columns, threads, thread, &first, &end);
    if (first < end)
        coc_cpu_sgemm(false, true, k->rows, end - first, c->d, c->a + k->first * c->d, c->d,
                      c->p + first * c->d, c->d, 0, k->s + first, c->columns);
}

static void block_rows(const block *k, int thread, int threads)
{
    int64_t first, end;

    coc_cpu_share(k->rows, threads, thread, &first, &end);
    for (int64_t i = first; i < end; i++)
        k->row(k, i, k->s + i * k->c->columns);
}

static void block_gradients(const block *k, int thread, int threads)
{
    const coc_contrast *c = k->c;
    int64_t first, end;

    coc_cpu_share(k->rows, threads, thread, &first, &end);
    if (first < end)
        coc_cpu_sgemm(false, false, end - first, c->d, c->columns, k->s + first * c->columns,
                      c->columns, c->p, c->d, 1, k->da + (k->first + first) * c->d, c->d);
    coc_cpu_share(c->columns, threads, thread, &first, &end);
    if (first < end)
        coc_cpu_sgemm(true, false, end - first, c->d, k->rows, k->s + first, c->columns,
                      c->a + k->first * c->d, c->d, 1, k->dp + first * c->d, c->d);
}

static void run_block(const block *k, int threads)
{
    /* loops over shares, not threads: right also where fewer threads are given than asked for */
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int t = 0; t < threads; t++)
            block_logits(k, t, threads);
#pragma omp for schedule(static)
        for (int t = 0; t < threads; t++)
            block_rows(k, t, threads);
        if (k->da != NULL) {
#pragma omp for schedule(static)
            for (int t = 0; t < threads; t++)
                block_gradients(k, t, threads);
        }
    }
}

size_t coc_cpu_tile_scratch(const coc_contrast *c)
{
    const int64_t rows = c->rows < BLOCK_ROWS ? c->rows : BLOCK_ROWS;

    return (size_t)(rows * c->columns) * sizeof(float);
}

/* Block after block. */
static void run_blocks(coc_backend *b, block *k)
{
    const coc_contrast *c = k->c;

    k->s = coc_backend_scratch(b, coc_cpu_tile_scratch(c));
    if (k->s == NULL) return;
    for (; k->first < c->rows; k->first += k->rows) {
        k->rows = c->rows - k->first < BLOCK_ROWS ? c->rows - k->first : BLOCK_ROWS;
        run_block(k, b->threads);
    }
}

void coc_cpu_tile_forward(coc_backend *b, const coc_contrast *c, coc_contrast_row *row)
{
    block k = {.c = c, .row = see_row, .seen = row};

    run_blocks(b, &k);
}

void coc_cpu_tile_backward(coc_backend *b, const coc_contrast *c, const coc_contrast_row *row,
                           float *da, float *dp)
{
    block k = {.c = c,
               .row = tile_row_gradient,
               .seen = (coc_contrast_row *)row, /* only read */
               .da = da,
               .dp = dp};

    run_blocks(b, &k);
}
