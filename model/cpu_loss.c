/* The loss in blocks of rows; every thread has its columns:
 *
 *     S  = A P', softmax      tile by tile; S of the block is kept
 *     dA = dS P, dP += dS' A  tile by tile: dS is made in the cache; a thread's part of dA is its
 *                             own, and the parts are added in the order of the threads
 *
 * A block's S is the only array that grows with rows times columns. It is written and read once:
 * what a processor's cores share is the way to memory. */
#include <math.h>

#include "model/cpu_loss.h"

#include "model/cpu_dense.h"

enum {
    MOST_ROWS = 512, /* P and dP pass by once a block: with so many rows that costs little */
    LEAST_ROWS = 128
};
static const int64_t block_floats = (int64_t)64 << 20; /* of S: 256 MB, but for LEAST_ROWS */

static int64_t block_rows(const coc_contrast *c)
{
    const int64_t columns = c->columns > 0 ? c->columns : 1;
    int64_t rows = block_floats / columns / LEAST_ROWS * LEAST_ROWS;

    rows = rows < LEAST_ROWS ? LEAST_ROWS : rows > MOST_ROWS ? MOST_ROWS : rows;
    return rows < c->rows ? rows : c->rows;
}

/* ---- memory ---- */

static void take_share(const coc_cpu_block *k, int64_t rows, int threads, int thread,
                       coc_cpu_scratch *scratch, coc_cpu_share_of_loss *share)
{
    const coc_contrast *c = k->c;
    int64_t columns;

    coc_cpu_share(c->columns, threads, thread, &share->first, &share->end);
    columns = share->end - share->first;
    share->top = coc_cpu_take(scratch, k->padded, sizeof *share->top);
    share->tile_end = coc_cpu_take(scratch, k->padded, sizeof *share->tile_end);
    share->sum = coc_cpu_take(scratch, k->padded, sizeof *share->sum);
    share->counted = coc_cpu_take(scratch, k->padded, sizeof *share->counted);
    share->same = coc_cpu_take(scratch, k->padded, sizeof *share->same);
    if (k->da == NULL) {
        share->logits = coc_cpu_take(scratch, COC_TILE_COLUMNS * k->stride, sizeof(float));
        return;
    }
    share->p = coc_cpu_take(scratch, coc_cpu_panels(c->d) * COC_TILE_COLUMNS * COC_TILE_WIDTH,
                            sizeof *share->p);
    share->da = coc_cpu_take(scratch, rows * c->d, sizeof *share->da);
    if (!c->screen) return;
    share->below = coc_cpu_take(scratch, k->padded, sizeof *share->below);
    share->bins = coc_cpu_take(scratch, k->padded * COC_SCREEN_BINS, sizeof *share->bins);
    share->entry = coc_cpu_take(scratch, columns * rows / COC_ENTRY_OF, sizeof *share->entry);
    share->start = coc_cpu_take(scratch, columns + 1, sizeof *share->start);
}

/* Room for a block of so many rows. */
static void take_all(coc_cpu_block *k, int64_t rows, int threads, coc_cpu_scratch *scratch)
{
    const coc_contrast *c = k->c;
    coc_cpu_share_of_loss counted = {0};

    k->padded = coc_cpu_panels(rows) * COC_TILE_WIDTH;
    k->stride = coc_cpu_tile_stride(rows);
    k->share = coc_cpu_take(scratch, threads, sizeof *k->share);
    k->results = coc_cpu_take(scratch, k->padded, sizeof *k->results);
    k->by_rows = coc_cpu_take(scratch, k->padded * c->d, sizeof *k->by_rows);
    k->own = coc_cpu_take(scratch, k->padded, sizeof *k->own);
    k->top = coc_cpu_take(scratch, k->padded, sizeof *k->top);
    k->tied = coc_cpu_take(scratch, k->padded, sizeof *k->tied);
    k->factor = coc_cpu_take(scratch, k->padded, sizeof *k->factor);
    k->own_entry = coc_cpu_take(scratch, k->padded, sizeof *k->own_entry);
    if (k->da != NULL) {
        k->by_depth = coc_cpu_take(scratch, coc_cpu_panels(c->d) * rows * COC_TILE_WIDTH,
                                   sizeof *k->by_depth);
        k->s = coc_cpu_take(scratch, c->columns * k->stride, sizeof *k->s);
        k->least = coc_cpu_take(scratch, k->padded, sizeof *k->least);
        k->dropped = coc_cpu_take(scratch, k->padded, sizeof *k->dropped);
        k->certified = coc_cpu_take(scratch, k->padded, sizeof *k->certified);
    }
    for (int t = 0; t < threads; t++)
        take_share(k, rows, threads, t, scratch, k->share != NULL ? &k->share[t] : &counted);
}

size_t coc_cpu_loss_scratch(const coc_backend *b, const coc_contrast *shape, bool tile)
{
    float gradients = 0;
    coc_cpu_block k = {.c = shape, .da = &gradients};
    coc_cpu_scratch scratch = {0};

    if (tile) return coc_cpu_tile_scratch(shape);
    take_all(&k, block_rows(shape), coc_cpu_threads(b->threads), &scratch);
    return scratch.used;
}

/* ---- logits ---- */

static void pack_rows(const coc_cpu_block *k, int thread, int threads)
{
    int64_t first, end;

    coc_cpu_share(coc_cpu_panels(k->rows), threads, thread, &first, &end);
    coc_cpu_pack_rows(k->rows, k->c->d, k->c->a + k->first * k->c->d, first, end, k->by_rows);
}

static int64_t tile_columns(const coc_cpu_share_of_loss *share, int64_t column)
{
    const int64_t left = share->end - column;

    return left < COC_TILE_COLUMNS ? left : COC_TILE_COLUMNS;
}

static void logits(const coc_cpu_block *k, int thread, int threads)
{
    const coc_contrast *c = k->c;
    coc_cpu_share_of_loss *share = &k->share[thread];

    (void)threads;
    coc_cpu_softmax_begin(k, share);
    for (int64_t j = share->first; j < share->end; j += COC_TILE_COLUMNS) {
        const int64_t columns = tile_columns(share, j);
        float *s = k->s != NULL ? k->s + j * k->stride : share->logits;

        coc_cpu_tile_logits(k->rows, columns, c->d, k->by_rows, c->p + j * c->d, s, k->stride);
        coc_cpu_softmax_tile(k, share, j, columns, s);
    }
}

static void finish_rows(const coc_cpu_block *k, int thread, int threads)
{
    int64_t first, end;

    coc_cpu_share(k->rows, threads, thread, &first, &end);
    for (int64_t i = first; i < end; i++)
        coc_cpu_softmax_row(k, threads, i);
}

/* ---- gradients ---- */

static void pack_depth(const coc_cpu_block *k, int thread, int threads)
{
    int64_t first, end;

    coc_cpu_share(coc_cpu_panels(k->c->d), threads, thread, &first, &end);
    coc_cpu_pack_depth(k->rows, k->c->d, k->c->a + k->first * k->c->d, k->factor, first, end,
                       k->by_depth);
}

/* Logits of a tile to entries: d loss / d logit = factor * entry. */
static void make_entries(const coc_cpu_block *k, int64_t first, int64_t columns, float *s)
{
    for (int64_t j = 0; j < columns; j++) {
        float *column = s + j * k->stride;
        int64_t i = 0;

        for (; i < k->padded; i += 2 * COC_LANES) { /* two abreast */
            const coc_vec left = coc_load(column + i), right = coc_load(column + i + COC_LANES);
            const coc_vec to_left = coc_load(k->top + i),
                          to_right = coc_load(k->top + i + COC_LANES);

            coc_store(column + i, coc_exp_negative(left - to_left));
            coc_store(column + i + COC_LANES, coc_exp_negative(right - to_right));
        }
    }
    for (int64_t i = 0; i < k->rows; i++) {
        const int64_t at = k->c->label[k->first + i] - first;

        if (at >= 0 && at < columns) s[at * k->stride + i] = k->own_entry[i];
    }
}

static void dense_gradients(const coc_cpu_block *k, int thread, int threads)
{
    const coc_contrast *c = k->c;
    const coc_cpu_share_of_loss *share = &k->share[thread];

    (void)threads;
    memset(share->da, 0, (size_t)(k->rows * c->d) * sizeof *share->da);
    for (int64_t j = share->first; j < share->end; j += COC_TILE_COLUMNS) {
        const int64_t columns = tile_columns(share, j);
        float *s = k->s + j * k->stride;

        make_entries(k, j, columns, s);
        coc_cpu_pack_depth(columns, c->d, c->p + j * c->d, NULL, 0, coc_cpu_panels(c->d), share->p);
        coc_cpu_tile_rows(k->rows, columns, c->d, s, k->stride, share->p, share->da);
        coc_cpu_tile_columns(k->rows, columns, c->d, s, k->stride, k->by_depth, k->dp + j * c->d);
    }
}

static void collect(const coc_cpu_block *k, int thread, int threads)
{
    (void)threads;
    coc_cpu_screen_collect(k, &k->share[thread]);
}

static void choose(const coc_cpu_block *k, int thread, int threads)
{
    int64_t first, end;

    coc_cpu_share(k->rows, threads, thread, &first, &end);
    for (int64_t i = first; i < end; i++)
        coc_cpu_screen_row(k, threads, i);
}

static void kept_gradients(const coc_cpu_block *k, int thread, int threads)
{
    const coc_cpu_share_of_loss *share = &k->share[thread];

    (void)threads;
    memset(share->da, 0, (size_t)(k->rows * k->c->d) * sizeof *share->da);
    coc_cpu_screen_gradients(k, &k->share[thread]);
}

/* da = factor * sum of the threads' parts */
static void add_parts(const coc_cpu_block *k, int thread, int threads)
{
    const int d = k->c->d;
    int64_t first, end;

    coc_cpu_share(k->rows, threads, thread, &first, &end);
    for (int64_t i = first; i < end; i++) {
        float *to = k->da + (k->first + i) * d;

        for (int n = 0; n < d; n++) {
            float sum = k->share[0].da[i * d + n];

            for (int t = 1; t < threads; t++)
                sum += k->share[t].da[i * d + n];
            to[n] = k->factor[i] * sum;
        }
    }
}

/* ---- a block ---- */

typedef void (*work)(const coc_cpu_block *k, int thread, int threads);

/* Inside a parallel region: loops over shares, not threads, which is right also where fewer threads
 * are given than asked for. All have done their share when one goes on. */
static void each(work share, const coc_cpu_block *k, int threads)
{
#pragma omp for schedule(static)
    for (int t = 0; t < threads; t++)
        share(k, t, threads);
}

static bool screened(const coc_cpu_block *k, int threads)
{
    if (!k->screen) return false;
    each(collect, k, threads);
    each(choose, k, threads);
    return coc_cpu_screen_holds(k, threads); /* the same answer in every thread */
}

static void run_block(const coc_cpu_block *k, int threads)
{
#pragma omp parallel num_threads(threads)
    {
        each(pack_rows, k, threads);
        each(logits, k, threads);
        each(finish_rows, k, threads);
        if (k->da != NULL) {
            if (screened(k, threads)) {
                each(kept_gradients, k, threads);
            } else {
                each(pack_depth, k, threads);
                each(dense_gradients, k, threads);
            }
            each(add_parts, k, threads);
        }
    }
}

/* Returns whether the block was summed over few entries. */
static bool add_results(const coc_cpu_block *k, int threads, double *results)
{
    const bool screening = k->da != NULL && k->c->screen;
    const bool holds = k->screen && coc_cpu_screen_holds(k, threads);

    for (int64_t i = 0; i < k->rows; i++) {
        double *row = k->results[i];

        if (holds)
            row[COC_CONTRAST_DROPPED] = k->dropped[i];
        else
            row[COC_CONTRAST_KEPT] = row[COC_CONTRAST_COUNTED];
        for (int r = 0; r < COC_CONTRAST_RESULTS; r++)
            results[r] += row[r];
    }
    for (int t = 0; t < threads && holds; t++)
        results[COC_CONTRAST_KEPT] += (double)k->share[t].kept;
    results[COC_CONTRAST_BLOCKS] += screening;
    results[COC_CONTRAST_DENSE] += screening && !holds;
    return holds;
}

void coc_cpu_contrast(coc_backend *b, const coc_contrast *c, float *da, float *dp, double *results)
{
    const int64_t rows = block_rows(c);
    coc_cpu_block k = {.c = c, .da = da, .dp = dp};
    coc_cpu_scratch scratch = {0};
    int64_t pause = 0, wait = 0; /* blocks that are not screened after one that fell back */

    take_all(&k, rows, b->threads, &scratch);
    if (!coc_cpu_scratch_begin(b, &scratch)) return;
    take_all(&k, rows, b->threads, &scratch);
    for (; k.first < c->rows; k.first += k.rows) {
        k.rows = c->rows - k.first < rows ? c->rows - k.first : rows;
        k.padded = coc_cpu_panels(k.rows) * COC_TILE_WIDTH;
        for (int64_t i = k.rows; i < k.padded; i++)
            k.top[i] = INFINITY; /* no row: its exponentials are 0 */
        k.screen = da != NULL && c->screen && wait == 0;
        run_block(&k, b->threads);
        if (add_results(&k, b->threads, results)) {
            pause = 0;
        } else if (wait > 0) {
            wait--;
        } else { /* rows of a batch are alike: the more of them fall back, the fewer are tried */
            wait = pause;
            pause = 2 * pause + 1;
        }
    }
}
