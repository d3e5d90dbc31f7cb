#include "model/cpu.h"
#include "model/cpu_dense.h"

/* Rows that are summed in float before they are added to a double. */
enum { POOL_ROWS = 64 };

/* Sum over `rows` rows of one vector of channels. */
COC_KERNEL coc_vec sum_rows(coc_sight sight, int64_t rows, int channels, int lanes, const float *x,
                            coc_vec scale, coc_vec shift)
{
    coc_vec sum = {0};

    for (int64_t p = 0; p < rows; p++) {
        coc_vec v = coc_load_some(x + p * channels, lanes);

        if (sight != COC_SEE_RAW) v = scale * v + shift;
        if (sight == COC_SEE_SILU) v *= coc_sigmoid(v);
        sum += v;
    }
    return sum;
}

/* sum [channels] += sums over rows that fit the first cache. */
COC_KERNEL void pool_rows(coc_sight sight, int64_t rows, int channels, const float *x,
                          const float *scale, const float *shift, double *sum)
{
    for (int c = 0; c < channels; c += COC_LANES) {
        const int lanes = coc_lanes_of(channels, c / COC_LANES);
        const bool raw = sight == COC_SEE_RAW;
        const coc_vec a = raw ? (coc_vec){0} : coc_load_some(scale + c, lanes);
        const coc_vec b = raw ? (coc_vec){0} : coc_load_some(shift + c, lanes);
        const coc_vec part = lanes == COC_LANES
                                 ? sum_rows(sight, rows, channels, COC_LANES, x + c, a, b)
                                 : sum_rows(sight, rows, channels, lanes, x + c, a, b);

        for (int i = 0; i < lanes; i++)
            sum[c + i] += (double)part[i];
    }
}

static void pool_clip(coc_sight sight, int64_t positions, int channels, const float *x,
                      const float *scale, const float *shift, double *sum)
{
    memset(sum, 0, (size_t)channels * sizeof *sum);
    for (int64_t p = 0; p < positions; p += POOL_ROWS, x += POOL_ROWS * channels) {
        const int64_t rows = positions - p < POOL_ROWS ? positions - p : POOL_ROWS;

        if (sight == COC_SEE_SILU)
            pool_rows(COC_SEE_SILU, rows, channels, x, scale, shift, sum);
        else
            pool_rows(sight, rows, channels, x, scale, shift, sum);
    }
}

void coc_cpu_pool_forward(coc_backend *b, int64_t n, int64_t positions, int channels,
                          const float *x, const coc_norm *norm, float *out)
{
    const coc_sight sight = coc_sight_of(norm);
    double *sums = coc_backend_scratch(b, (size_t)(n * channels) * sizeof *sums);

    if (sums == NULL) return;
#pragma omp parallel for schedule(static) num_threads(b->threads)
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = norm != NULL ? (int64_t)norm->group[i] * channels : 0;
        double *sum = sums + i * channels;

        pool_clip(sight, positions, channels, x + i * positions * channels,
                  norm != NULL ? norm->scale + at : NULL, norm != NULL ? norm->shift + at : NULL,
                  sum);
        for (int c = 0; c < channels; c++)
            out[i * channels + c] = (float)(sum[c] / (double)positions);
    }
}

/* out = factor * u + skip for a clip. */
static void join_clip(int64_t positions, int channels, const float *restrict x,
                      const float *restrict scale, const float *restrict shift, float factor,
                      const float *skip, float *out)
{
    for (int64_t p = 0; p < positions; p++, x += channels, out += channels) {
        for (int c = 0; c < channels; c += COC_LANES) {
            const int lanes = coc_lanes_of(channels, c / COC_LANES);
            coc_vec u = coc_load_some(scale + c, lanes) * coc_load_some(x + c, lanes) +
                        coc_load_some(shift + c, lanes);
            u *= factor;
            if (skip != NULL) u += coc_load_some(skip + c, lanes);
            coc_store_some(out + c, u, lanes);
        }
        if (skip != NULL) skip += channels;
    }
}

void coc_cpu_join_forward(coc_backend *b, int64_t n, int64_t positions, int channels,
                          const float *x, const coc_norm *norm, const float *clip,
                          const float *skip, float *out)
{
    const int64_t values = positions * channels;

#pragma omp parallel for schedule(static) num_threads(b->threads)
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = (int64_t)norm->group[i] * channels;

        join_clip(positions, channels, x + i * values, norm->scale + at, norm->shift + at,
                  clip != NULL ? clip[i] : 1.0f, skip != NULL ? skip + i * values : NULL,
                  out + i * values);
    }
}
