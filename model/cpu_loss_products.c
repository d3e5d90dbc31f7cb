/* Every product sums GROUP by two vectors in registers: two vectors of a packed panel times single
 * values, which all lanes share, of GROUP columns or rows. */
#include "model/cpu_loss_products.h"

enum {
    GROUP = COC_VECTOR_REGISTERS == 32 ? 12 : 6, /* three quarters of the registers: the sums */
    DEPTH = 128 /* of a logit's sum at a time: panel and columns stay in the first cache */
};

int64_t coc_cpu_panels(int64_t n)
{
    return (n + COC_TILE_WIDTH - 1) / COC_TILE_WIDTH;
}

int64_t coc_cpu_tile_stride(int64_t rows)
{
    const int64_t line = 64 / (int64_t)sizeof(float);
    int64_t lines = (coc_cpu_panels(rows) * COC_TILE_WIDTH + GROUP + line - 1) / line;

    lines += lines % 2 == 0; /* columns do not fall on the same sets of a cache */
    return lines * line;
}

void coc_cpu_pack_rows(int64_t rows, int d, const float *a, int64_t first, int64_t end,
                       float *packed)
{
    for (int64_t panel = first; panel < end; panel++) {
        float *to = packed + panel * d * COC_TILE_WIDTH;

        for (int lane = 0; lane < COC_TILE_WIDTH; lane++) {
            const int64_t row = panel * COC_TILE_WIDTH + lane;

            for (int k = 0; k < d; k++)
                to[k * COC_TILE_WIDTH + lane] = row < rows ? a[row * d + k] : 0.0f;
        }
    }
}

void coc_cpu_pack_depth(int64_t count, int d, const float *x, const float *factor, int64_t first,
                        int64_t end, float *packed)
{
    for (int64_t panel = first; panel < end; panel++) {
        const int64_t at = panel * COC_TILE_WIDTH;
        const int64_t some = d - at < COC_TILE_WIDTH ? d - at : COC_TILE_WIDTH;
        float *to = packed + panel * count * COC_TILE_WIDTH;

        for (int64_t i = 0; i < count; i++, to += COC_TILE_WIDTH) {
            const float *from = x + i * d + at, by = factor != NULL ? factor[i] : 1.0f;

            for (int64_t k = 0; k < some; k++)
                to[k] = by * from[k];
            for (int64_t k = some; k < COC_TILE_WIDTH; k++)
                to[k] = 0;
        }
    }
}

/* sum [count][2] = values [count] at along apart, next apart from step to step, times a panel. */
COC_KERNEL void sum_group(const int count, int64_t steps, const float *panel, const float *values,
                          int64_t along, int64_t next, coc_vec (*sum)[2])
{
    COC_UNROLL
    for (int i = 0; i < count; i++)
        sum[i][0] = sum[i][1] = (coc_vec){0};
    for (int64_t k = 0; k < steps; k++, panel += COC_TILE_WIDTH, values += next) {
        coc_vec left = coc_load(panel), right = coc_load(panel + COC_LANES);

        COC_IN_REGISTER(left);
        COC_IN_REGISTER(right);
        COC_UNROLL
        for (int i = 0; i < count; i++) {
            const float value = values[i * along];

            sum[i][0] += value * left;
            sum[i][1] += value * right;
        }
    }
}

/* ---- logits ---- */

COC_KERNEL void logits_group(const int count, int depth, int d, const float *panel, const float *p,
                             bool add, float *s, int64_t stride)
{
    coc_vec sum[GROUP][2];

    sum_group(count, depth, panel, p, d, 1, sum);
    COC_UNROLL
    for (int i = 0; i < count; i++)
        COC_UNROLL
    for (int j = 0; j < 2; j++) {
        float *to = s + i * stride + j * COC_LANES;

        coc_store(to, add ? coc_load(to) + sum[i][j] : sum[i][j]);
    }
}

void coc_cpu_tile_logits(int64_t rows, int64_t columns, int d, const float *a, const float *p,
                         float *s, int64_t stride)
{
    const int64_t panels = coc_cpu_panels(rows);

    for (int64_t panel = 0; panel < panels; panel++)
        for (int k = 0; k < d; k += DEPTH) {
            const int depth = d - k < DEPTH ? d - k : DEPTH;
            const float *from = a + (panel * d + k) * COC_TILE_WIDTH;
            float *to = s + panel * COC_TILE_WIDTH;
            int64_t c = 0;

            for (; c + GROUP <= columns; c += GROUP)
                logits_group(GROUP, depth, d, from, p + c * d + k, k > 0, to + c * stride, stride);
            for (; c < columns; c++)
                logits_group(1, depth, d, from, p + c * d + k, k > 0, to + c * stride, stride);
        }
}

/* ---- gradients ---- */

/* Adds count rows of a panel's width, `some` numbers of it, d apart. */
COC_KERNEL void add_group(const int count, int64_t steps, const float *panel, const float *values,
                          int64_t along, int64_t next, int some, float *out, int d)
{
    coc_vec sum[GROUP][2];

    COC_UNROLL
    for (int i = 0; i < count; i++)
        __builtin_prefetch(out + i * d, 1);
    sum_group(count, steps, panel, values, along, next, sum);
    COC_UNROLL
    for (int i = 0; i < count; i++) {
        float *to = out + (int64_t)i * d;

        if (some == COC_TILE_WIDTH) {
            coc_store(to, coc_load(to) + sum[i][0]);
            coc_store(to + COC_LANES, coc_load(to + COC_LANES) + sum[i][1]);
            continue;
        }
        for (int k = 0; k < some; k++)
            to[k] += sum[i][k / COC_LANES][k % COC_LANES];
    }
}

/* out [n][d] += values [n] at along apart times panels [steps] by depth */
COC_KERNEL void add_products(int64_t n, int64_t steps, int d, const float *values, int64_t along,
                             int64_t next, const float *panels, float *out)
{
    for (int at = 0; at < d; at += COC_TILE_WIDTH, panels += steps * COC_TILE_WIDTH) {
        const int some = d - at < COC_TILE_WIDTH ? d - at : COC_TILE_WIDTH;
        int64_t i = 0;

        for (; i + GROUP <= n; i += GROUP)
            add_group(GROUP, steps, panels, values + i * along, along, next, some, out + i * d + at,
                      d);
        for (; i < n; i++)
            add_group(1, steps, panels, values + i * along, along, next, some, out + i * d + at, d);
    }
}

void coc_cpu_tile_rows(int64_t rows, int64_t columns, int d, const float *s, int64_t stride,
                       const float *p, float *da)
{
    add_products(rows, columns, d, s, 1, stride, p, da);
}

void coc_cpu_tile_columns(int64_t rows, int64_t columns, int d, const float *s, int64_t stride,
                          const float *a, float *dp)
{
    add_products(columns, rows, d, s, stride, 1, a, dp);
}
