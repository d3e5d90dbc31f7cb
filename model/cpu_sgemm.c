/* Our own product: blocks of both matrices are packed so that the kernel reads them in order, and a
 * tile of the result stays in registers. */
#include "model/cpu_sgemm.h"
#include "model/cpu.h"

enum {
    TILE_ROWS = COC_VECTOR_REGISTERS == 32 ? 12 : 6, /* three quarters of the registers: the tile */
    TILE_COLUMNS = 2 * COC_LANES,
    DEPTH = 256, /* a packed block of b: 128 KB on the stack */
    COLUMNS = 128,
};

typedef struct {
    const float *from;
    int64_t along_rows, along_columns; /* distance of neighbours in op(matrix) */
} matrix;

static float at(const matrix *m, int64_t row, int64_t column)
{
    return m->from[row * m->along_rows + column * m->along_columns];
}

/* out [columns / TILE_COLUMNS][depth][TILE_COLUMNS], zeros behind the last column. */
static void pack_b(const matrix *b, int64_t k, int64_t column, int depth, int columns, float *out)
{
    for (int j = 0; j < columns; j += TILE_COLUMNS)
        for (int i = 0; i < depth; i++)
            for (int t = 0; t < TILE_COLUMNS; t++)
                *out++ = j + t < columns ? at(b, k + i, column + j + t) : 0.0f;
}

/* out [depth][TILE_ROWS], zeros behind the last row. */
static void pack_a(const matrix *a, int64_t row, int64_t k, int rows, int depth, float *out)
{
    for (int i = 0; i < depth; i++)
        for (int t = 0; t < TILE_ROWS; t++)
            *out++ = t < rows ? at(a, row + t, k + i) : 0.0f;
}

/* tile [TILE_ROWS][TILE_COLUMNS] = packed a times packed b */
static void multiply_tile(int depth, const float *a, const float *b, float *tile)
{
    coc_vec left[TILE_ROWS] = {{0}}, right[TILE_ROWS] = {{0}};

    for (int k = 0; k < depth; k++, a += TILE_ROWS, b += TILE_COLUMNS) {
        const coc_vec first = coc_load(b), second = coc_load(b + COC_LANES);

        COC_UNROLL
        for (int t = 0; t < TILE_ROWS; t++) {
            left[t] += a[t] * first;
            right[t] += a[t] * second;
        }
    }
    for (int t = 0; t < TILE_ROWS; t++) {
        coc_store(tile + t * TILE_COLUMNS, left[t]);
        coc_store(tile + t * TILE_COLUMNS + COC_LANES, right[t]);
    }
}

static void store_tile(const float *tile, int rows, int columns, bool add, float *c, int64_t ldc)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++)
            c[i * ldc + j] = tile[i * TILE_COLUMNS + j] + (add ? c[i * ldc + j] : 0.0f);
}

static int least(int64_t a, int b)
{
    return a < b ? (int)a : b;
}

void coc_cpu_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                   const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                   int64_t ldc)
{
    const matrix left = {a, transpose_a ? 1 : lda, transpose_a ? lda : 1};
    const matrix right = {b, transpose_b ? 1 : ldb, transpose_b ? ldb : 1};
    float packed_b[DEPTH * COLUMNS], packed_a[DEPTH * TILE_ROWS];
    float tile[TILE_ROWS * TILE_COLUMNS];

    for (int64_t j = 0; j < n; j += COLUMNS)
        for (int64_t l = 0; l < k; l += DEPTH) {
            const int columns = least(n - j, COLUMNS), depth = least(k - l, DEPTH);

            pack_b(&right, l, j, depth, columns, packed_b);
            for (int64_t i = 0; i < m; i += TILE_ROWS) {
                const int rows = least(m - i, TILE_ROWS);

                pack_a(&left, i, l, rows, depth, packed_a);
                for (int t = 0; t < columns; t += TILE_COLUMNS) {
                    multiply_tile(depth, packed_a, packed_b + (int64_t)t * depth, tile);
                    store_tile(tile, rows, least(columns - t, TILE_COLUMNS), beta != 0 || l > 0,
                               c + i * ldc + j + t, ldc);
                }
            }
        }
}
