/* Products in registers: a tile of rows and vectors of columns is summed over k, where k runs along
 * a panel's channels (coc_cpu_multiply) or rows (coc_cpu_outer). Tile sizes fill the registers:
 * with 16 of them 6 rows by 2 vectors, 12 sums, 2 vectors of weights and one value that all lanes
 * share.
 */
#include "model/cpu_gemm.h"

enum {
    MANY = COC_VECTOR_REGISTERS == 32,
    WIDEST = 3,       /* vectors of columns in a tile; what is left over makes others narrower */
    PRODUCT_WIDE = 2, /* usual in coc_cpu_multiply; coc_cpu_outer: WIDEST */
    /* rows of a tile that is 1, 2, 3 vectors wide */
    ROWS_1 = 8,
    ROWS_2 = MANY ? 10 : 6,
    ROWS_3 = MANY ? 8 : 4,
    OUTER_1 = COC_LANES < 8 ? COC_LANES : 8, /* they divide COC_LANES */
    OUTER_3 = MANY && COC_LANES >= 8 ? 8 : 4,
    SLACK = 16,               /* more rows than any tile has */
    PANEL_FLOATS = 80 * 1024, /* of all blocks of a product: they stay in the second cache */
    LEAST_ROWS = 24,
    MOST_ROWS = 240,
    ROUND_ROWS = 12, /* whole tiles */
    AHEAD = 16       /* rows whose memory is asked for ahead */
};

/* ---- panels ---- */

int coc_cpu_panel_rows(int64_t channels)
{
    const int64_t fit = PANEL_FLOATS / channels / ROUND_ROWS * ROUND_ROWS;

    return (int)(fit < LEAST_ROWS ? LEAST_ROWS : fit > MOST_ROWS ? MOST_ROWS : fit);
}

int64_t coc_cpu_panel_stride(int rows)
{
    const int64_t line = 64 / (int64_t)sizeof(float);
    int64_t stride = rows + SLACK;

    /* an odd number of cache lines: blocks do not fall on the same sets of a cache */
    while (stride * COC_LANES % line != 0 || stride * COC_LANES / line % 2 == 0)
        stride++;
    return stride;
}

bool coc_cpu_next_panel(coc_cpu_panel *panel, int64_t end, int64_t positions, int most)
{
    int64_t pieces, rows;

    if (panel->rows > 0) panel->position += panel->rows;
    if (panel->position == positions || panel->clips > 1) {
        panel->clip += panel->clips;
        panel->position = 0;
    }
    if (panel->clip >= end) return false;
    if (positions <= most) {
        const int64_t clips = most / positions, left = end - panel->clip;

        panel->clips = (int)(clips < left ? clips : left);
        panel->rows = (int)positions;
        return true;
    }
    pieces = (positions + most - 1) / most;
    rows = (positions + pieces - 1) / pieces;
    rows = (rows + ROUND_ROWS - 1) / ROUND_ROWS * ROUND_ROWS;
    if (rows > positions - panel->position) rows = positions - panel->position;
    panel->clips = 1;
    panel->rows = (int)rows;
    return true;
}

/* ---- column blocks ---- */

/* Vectors of the next column block when `left` are left: `usual`, but no single one at the end. */
static int block_width(int left, int usual)
{
    if (left <= WIDEST) return left;
    return usual == WIDEST && left == WIDEST + 1 ? 2 : usual;
}

int64_t coc_cpu_packed_size(int k, int n)
{
    return (int64_t)k * coc_vectors(n) * COC_LANES;
}

static void pack_block(int k, int columns, int width, const float *w, int64_t k_stride,
                       int64_t n_stride, float *packed)
{
    for (int i = 0; i < k; i++, packed += width) {
        const float *from = w + i * k_stride;

        for (int c = 0; c < columns; c++)
            packed[c] = from[c * n_stride];
        for (int c = columns; c < width; c++)
            packed[c] = 0;
    }
}

void coc_cpu_pack(int k, int n, const float *w, int64_t k_stride, int64_t n_stride, int threads,
                  int thread, float *packed)
{
    const int vectors = coc_vectors(n);
    int block = 0;

    for (int v = 0; v < vectors; block++) {
        const int wide = block_width(vectors - v, PRODUCT_WIDE), first = v * COC_LANES;
        const int columns = n - first < wide * COC_LANES ? n - first : wide * COC_LANES;

        if (block % threads == thread)
            pack_block(k, columns, wide * COC_LANES, w + first * n_stride, k_stride, n_stride,
                       packed + (int64_t)first * k);
        v += wide;
    }
}

/* ---- out = panel packed ---- */

COC_KERNEL void add_step(const int rows, const int wide, const float *a, const float *b,
                         coc_vec (*sum)[WIDEST])
{
    coc_vec column[WIDEST];

    COC_UNROLL
    for (int j = 0; j < wide; j++) {
        column[j] = coc_load(b + j * COC_LANES);
        if (wide == WIDEST) COC_IN_REGISTER(column[j]);
    }
    COC_UNROLL
    for (int i = 0; i < rows; i++) {
        const float value = a[i * COC_LANES];

        COC_UNROLL
        for (int j = 0; j < wide; j++)
            sum[i][j] += value * column[j];
    }
}

/* sum [rows][wide] = rows of a panel times a column block */
COC_KERNEL void sum_tile(const int rows, const int wide, int k, const float *a, int64_t stride,
                         const float *b, coc_vec (*sum)[WIDEST])
{
    COC_UNROLL
    for (int i = 0; i < rows; i++)
        COC_UNROLL
    for (int j = 0; j < wide; j++)
        sum[i][j] = (coc_vec){0};
    for (; k >= COC_LANES; k -= COC_LANES, a += stride * COC_LANES)
        COC_UNROLL
    for (int lane = 0; lane < COC_LANES; lane++, b += wide * COC_LANES)
        add_step(rows, wide, a + lane, b, sum);
    for (int lane = 0; lane < k; lane++, b += wide * COC_LANES)
        add_step(rows, wide, a + lane, b, sum);
}

/* What is added up over the rows of a clip in one column block. */
typedef struct {
    coc_vec first[WIDEST], second[WIDEST];
} column_sums;

/* Store `valid` rows of a tile; lanes: those of the last vector. */
COC_KERNEL void finish_tile(const int rows, const int wide, const coc_cpu_product *p, int valid,
                            int lanes, const float *other, float *out, coc_vec (*sum)[WIDEST],
                            column_sums *total)
{
    COC_UNROLL
    for (int i = 0; i < rows; i++) {
        if (i >= valid) continue;
        COC_UNROLL
        for (int j = 0; j < wide; j++) {
            float *to = out + (int64_t)i * p->n + j * COC_LANES;
            const int some = j + 1 < wide ? COC_LANES : lanes;

            if (p->add) sum[i][j] += coc_load_some(to, some);
            if (p->dots != NULL)
                total->first[j] += sum[i][j] * coc_load(other + (j * p->stride + i) * COC_LANES);
            if (p->sums != NULL) {
                total->first[j] += sum[i][j];
                total->second[j] += sum[i][j] * sum[i][j];
            }
            coc_store_some(to, sum[i][j], some);
        }
    }
}

static void keep_sums(const coc_cpu_product *p, int clip, int column, int columns,
                      const column_sums *total)
{
    const float *first = (const float *)total->first, *second = (const float *)total->second;

    if (p->dots != NULL)
        for (int c = 0; c < columns; c++)
            p->dots[(int64_t)clip * p->n + column + c] += first[c];
    if (p->sums == NULL) return;
    for (int c = 0; c < columns; c++) {
        double *sums = p->sums + (int64_t)clip * 2 * p->n + column + c;

        sums[0] += (double)first[c];
        sums[p->n] += (double)second[c];
    }
}

/* The rows of one clip in one column block. */
COC_KERNEL void multiply_clip(const int rows, const int wide, const coc_cpu_product *p, int clip,
                              int column)
{
    const int left = p->n - column;
    const int columns = left < wide * COC_LANES ? left : wide * COC_LANES;
    const int lanes = columns - (wide - 1) * COC_LANES;
    const int64_t first = (int64_t)clip * p->rows;
    const float *b = p->packed + (int64_t)column * p->k;
    column_sums total = {0};

    for (int r = 0; r < p->rows; r += rows) {
        const int64_t row = first + r;
        coc_vec sum[SLACK][WIDEST];

        COC_UNROLL
        for (int i = 0; i < rows; i++)
            __builtin_prefetch(p->out + (row + AHEAD + i) * p->n + column, 1);
        sum_tile(rows, wide, p->k, p->panel + row * COC_LANES, p->stride, b, sum);
        finish_tile(rows, wide, p, p->rows - r, lanes,
                    p->other + (column / COC_LANES * p->stride + row) * COC_LANES,
                    p->out + row * p->n + column, sum, &total);
    }
    if (p->sums != NULL || p->dots != NULL) keep_sums(p, clip, column, columns, &total);
}

static __attribute__((noinline)) void multiply_clip_1(const coc_cpu_product *p, int clip,
                                                      int column)
{
    multiply_clip(ROWS_1, 1, p, clip, column);
}

static __attribute__((noinline)) void multiply_clip_2(const coc_cpu_product *p, int clip,
                                                      int column)
{
    multiply_clip(ROWS_2, 2, p, clip, column);
}

static __attribute__((noinline)) void multiply_clip_3(const coc_cpu_product *p, int clip,
                                                      int column)
{
    multiply_clip(ROWS_3, 3, p, clip, column);
}

void coc_cpu_multiply(const coc_cpu_product *p)
{
    const int vectors = coc_vectors(p->n);

    for (int v = 0; v < vectors;) {
        const int wide = block_width(vectors - v, PRODUCT_WIDE);

        for (int clip = 0; clip < p->clips; clip++)
            (wide == 1   ? multiply_clip_1
             : wide == 2 ? multiply_clip_2
                         : multiply_clip_3)(p, clip, v * COC_LANES);
        v += wide;
    }
}

/* ---- dw += dy' z ---- */

/* The side along which a tile has vectors; of the other it has single values. Full tiles are three
 * vectors wide. */
static bool along_n(int n, int k)
{
    return coc_vectors(k) % WIDEST != 0 && coc_vectors(n) % WIDEST == 0;
}

int64_t coc_cpu_outer_size(int n, int k)
{
    return (int64_t)coc_vectors(n) * COC_LANES * coc_vectors(k) * COC_LANES;
}

COC_KERNEL void outer_tile(const int high, const int wide, int rows, const float *dy,
                           const float *z, int64_t stride, float *dw)
{
    coc_vec sum[SLACK][WIDEST];

    COC_UNROLL
    for (int i = 0; i < high; i++)
        COC_UNROLL
    for (int j = 0; j < wide; j++)
        sum[i][j] = (coc_vec){0};
    for (int r = 0; r < rows; r++, dy += COC_LANES, z += COC_LANES) {
        coc_vec column[WIDEST];

        COC_UNROLL
        for (int j = 0; j < wide; j++) {
            column[j] = coc_load(z + j * stride * COC_LANES);
            COC_IN_REGISTER(column[j]);
        }
        COC_UNROLL
        for (int i = 0; i < high; i++)
            COC_UNROLL
        for (int j = 0; j < wide; j++)
            sum[i][j] += dy[i] * column[j];
    }
    COC_UNROLL
    for (int i = 0; i < high; i++)
        COC_UNROLL
    for (int j = 0; j < wide; j++) {
        float *to = dw + (i * wide + j) * COC_LANES;

        coc_store(to, coc_load(to) + sum[i][j]);
    }
}

/* A column block of dw: all of the other side in tiles of `high`. */
COC_KERNEL void outer_block(const int high, const int wide, int rows, int others, const float *dy,
                            const float *z, int64_t stride, float *dw)
{
    for (int i = 0; i < others; i += high)
        outer_tile(high, wide, rows, dy + i / COC_LANES * stride * COC_LANES + i % COC_LANES, z,
                   stride, dw + (int64_t)i * wide * COC_LANES);
}

void coc_cpu_outer(int rows, int n, int k, const float *dy, const float *z, int64_t stride,
                   float *dw)
{
    const bool turned = along_n(n, k);
    const int vectors = coc_vectors(turned ? n : k), others = turned ? k : n;
    const int all = coc_vectors(others) * COC_LANES;
    const float *single = turned ? z : dy;

    for (int v = 0; v < vectors;) {
        const int wide = block_width(vectors - v, WIDEST);
        const float *columns = (turned ? dy : z) + v * stride * COC_LANES;
        float *to = dw + (int64_t)all * v * COC_LANES;

        if (wide == 1)
            outer_block(OUTER_1, 1, rows, others, single, columns, stride, to);
        else if (wide == 2)
            outer_block(OUTER_3, 2, rows, others, single, columns, stride, to);
        else
            outer_block(OUTER_3, 3, rows, others, single, columns, stride, to);
        v += wide;
    }
}

/* Add row `i` of a column block that begins at `column` to dw. */
static void add_block_row(bool turned, int i, int column, int columns, int k, const float *from,
                          float *dw)
{
    if (turned)
        for (int c = 0; c < columns; c++)
            dw[(int64_t)(column + c) * k + i] += from[c];
    else
        for (int c = 0; c < columns; c++)
            dw[(int64_t)i * k + column + c] += from[c];
}

void coc_cpu_outer_add(int n, int k, int parts, const float *part, int threads, int thread,
                       float *dw)
{
    const bool turned = along_n(n, k);
    const int across = turned ? n : k, others = turned ? k : n;
    const int vectors = coc_vectors(across), all = coc_vectors(others) * COC_LANES;
    const int64_t size = coc_cpu_outer_size(n, k);
    int64_t first, end;

    coc_cpu_share(others, threads, thread, &first, &end);
    for (int v = 0; v < vectors;) {
        const int width = block_width(vectors - v, WIDEST) * COC_LANES, column = v * COC_LANES;
        const int columns = across - column < width ? across - column : width;

        for (int64_t i = first; i < end; i++)
            for (int p = 0; p < parts; p++)
                add_block_row(turned, (int)i, column, columns, k,
                              part + p * size + (int64_t)all * column + i * width, dw);
        v += width / COC_LANES;
    }
}
