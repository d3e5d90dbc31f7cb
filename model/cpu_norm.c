/* Sums of a gradient, for batch norm's backward. */
#include <omp.h>

#include "model/cpu.h"

enum {
    CHUNK = 256 / COC_LANES, /* vectors read at a time: 1 KiB of a row */
    FLUSH_ROWS = 128         /* float sums are added to double ones so often */
};

/* `count` vectors of a row from vector v; sums as below. */
COC_KERNEL void add_vectors(const int count, const bool silu, const bool has_dz, int lanes, int v,
                            const float *x, const float *dz, const float *c, float *sums)
{
    coc_vec value[COC_ABREAST], d[COC_ABREAST], du[COC_ABREAST];

    c += v * COC_GRADIENT_ROWS * COC_LANES;
    COC_UNROLL
    for (int i = 0; i < count; i++) {
        const int valid = i + 1 < count ? COC_LANES : lanes;

        value[i] = coc_load_some(x + (v + i) * COC_LANES, valid);
        d[i] = has_dz ? coc_load_some(dz + (v + i) * COC_LANES, valid) : (coc_vec){0};
    }
    coc_gradient_at_u(count, silu, value, d, c, du);
    COC_UNROLL
    for (int i = 0; i < count; i++, c += COC_GRADIENT_ROWS * COC_LANES) {
        const coc_vec xhat = (value[i] - COC_COEFFICIENT(c, COC_GRADIENT_MEAN)) *
                             COC_COEFFICIENT(c, COC_GRADIENT_INVERSE);
        float *to = sums + 2 * (v + i) * COC_LANES;

        coc_store(to, coc_load(to) + du[i]);
        coc_store(to + COC_LANES, coc_load(to + COC_LANES) + du[i] * xhat);
    }
}

/* sums [vectors][2][COC_LANES] += sum of du, sum of du * xhat over rows; lanes: those of the last
 * vector. */
COC_KERNEL void add_rows(const bool silu, const bool has_dz, int64_t rows, int channels,
                         int vectors, int lanes, const float *x, const float *dz, const float *c,
                         float *sums)
{
    for (int64_t r = 0; r < rows; r++, x += channels) {
        int v = 0;

        for (; v + COC_ABREAST < vectors; v += COC_ABREAST)
            add_vectors(COC_ABREAST, silu, has_dz, COC_LANES, v, x, dz, c, sums);
        if (v + COC_ABREAST == vectors)
            add_vectors(COC_ABREAST, silu, has_dz, lanes, v, x, dz, c, sums);
        else
            add_vectors(1, silu, has_dz, lanes, v, x, dz, c, sums);
        if (has_dz) dz += channels;
    }
}

static void add_chunk(bool silu, int64_t rows, int channels, int vectors, int lanes, const float *x,
                      const float *dz, const float *c, float *sums)
{
    if (silu && dz != NULL)
        add_rows(true, true, rows, channels, vectors, lanes, x, dz, c, sums);
    else if (silu)
        add_rows(true, false, rows, channels, vectors, lanes, x, dz, c, sums);
    else if (dz != NULL)
        add_rows(false, true, rows, channels, vectors, lanes, x, dz, c, sums);
    else
        add_rows(false, false, rows, channels, vectors, lanes, x, dz, c, sums);
}

/* One clip; clip_sums [2][C] =. */
static void sum_clip(int64_t clip, int64_t positions, int channels, const coc_gradient *g,
                     float *coefficients, double *clip_sums)
{
    const int64_t first = clip * positions * channels;

    memset(clip_sums, 0, (size_t)(2 * channels) * sizeof(double));
    coc_cpu_gradient_coefficients(g, clip, channels, coefficients);
    for (int64_t p = 0; p < positions; p += FLUSH_ROWS) {
        const int64_t rows = positions - p < FLUSH_ROWS ? positions - p : FLUSH_ROWS;

        for (int v = 0; v < coc_vectors(channels); v += CHUNK) {
            const int left = coc_vectors(channels) - v, vectors = left < CHUNK ? left : CHUNK;
            const int64_t at = first + p * channels + v * COC_LANES;
            _Alignas(64) float sums[CHUNK * 2 * COC_LANES] = {0};

            add_chunk(g->norm->silu, rows, channels, vectors,
                      coc_lanes_of(channels, v + vectors - 1), g->x + at,
                      g->dz != NULL ? g->dz + at : NULL,
                      coefficients + v * COC_GRADIENT_ROWS * COC_LANES, sums);
            for (int c = v * COC_LANES, i = 0; i < vectors * COC_LANES && c < channels; c++, i++) {
                const int from = i / COC_LANES * 2 * COC_LANES + i % COC_LANES;

                clip_sums[c] += (double)sums[from];
                clip_sums[channels + c] += (double)sums[from + COC_LANES];
            }
        }
    }
}

void coc_cpu_norm_backward_sums(coc_backend *b, int64_t n, int64_t positions, int channels,
                                const coc_gradient *g, double *sums)
{
    const int threads = n < b->threads ? (int)n : b->threads;
    const int64_t size = (int64_t)coc_vectors(channels) * COC_GRADIENT_ROWS * COC_LANES;
    double *clip_sums = NULL;
    float *coefficients = NULL;
    coc_cpu_scratch scratch = {0};

    for (int pass = 0; pass < 2; pass++) { /* count, then cut */
        clip_sums = coc_cpu_take(&scratch, n * 2 * channels, sizeof(double));
        coefficients = coc_cpu_take(&scratch, threads * size, sizeof(float));
        if (pass == 0 && !coc_cpu_scratch_begin(b, &scratch)) return;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t clip = 0; clip < n; clip++)
        sum_clip(clip, positions, channels, g, coefficients + omp_get_thread_num() * size,
                 clip_sums + clip * 2 * channels);
    coc_cpu_add_sums(n, channels, clip_sums, g->norm->group, sums);
}
