/* Every convolution works clip by clip: read what it sees into z, form the gradient at its output
 * into dy, then loop. Weight gradients are summed over the clips in double and added once. */
#include <string.h>

#include "model/backends.h"
#include "model/ref.h"

static int64_t in_positions(const coc_conv *s)
{
    return (int64_t)s->in_h * s->in_w;
}

static int64_t out_positions(const coc_conv *s)
{
    return (int64_t)s->out_h * s->out_w;
}

/* The input position under a tap of the kernel, or -1 in the padding. */
static int64_t source(const coc_conv *s, int64_t out, int tap)
{
    const int64_t h = out / s->out_w * s->stride + tap / s->kernel - s->pad;
    const int64_t w = out % s->out_w * s->stride + tap % s->kernel - s->pad;

    return h >= 0 && h < s->in_h && w >= 0 && w < s->in_w ? h * s->in_w + w : -1;
}

static void store(int64_t count, const double *values, real *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (real)values[i];
}

static void add(int64_t count, const double *values, real *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] += (real)values[i];
}

/* out += factor * x */
static void add_scaled(int64_t count, double factor, const double *restrict x, double *restrict out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] += factor * x[i];
}

static void add_product(int64_t count, const double *restrict x, const double *restrict y,
                        double *restrict out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] += x[i] * y[i];
}

/* sums[2][C] += sum, sum of squares of a clip of y [P][C]. */
static void add_sums(int64_t positions, int channels, const real *y, double *sums)
{
    for (int64_t p = 0; p < positions; p++)
        for (int c = 0; c < channels; c++) {
            const double value = y[p * channels + c];

            sums[c] += value;
            sums[channels + c] += value * value;
        }
}

/* out [rows][columns] -> [columns][rows], to or from the published order of weights. */
static void transpose_weights(int64_t rows, int64_t columns, const real *w, double *out)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            out[c * rows + r] = w[r * columns + c];
}

static void add_transposed(int64_t rows, int64_t columns, const double *dw, real *out)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            out[r * columns + c] += (real)dw[c * rows + r];
}

/* ---- stem: [C][F][T] -> [P][O] ---- */

/* z [P][C] = keep * x of one clip. */
static void read_features(const coc_conv *s, int64_t clip, const real *x, const real *keep,
                          double *z)
{
    const int64_t positions = in_positions(s);

    for (int c = 0; c < s->in_c; c++) {
        const double factor = keep != NULL ? keep[clip * s->in_c + c] : 1.0;

        for (int64_t p = 0; p < positions; p++)
            z[p * s->in_c + c] = factor * x[(clip * s->in_c + c) * positions + p];
    }
}

void coc_ref_stem_forward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                          const real *keep, const real *w, real *y, const int32_t *group,
                          double *sums)
{
    const int taps = s->kernel * s->kernel;
    const int64_t in = in_positions(s) * s->in_c, out = out_positions(s), weights = s->in_c * taps;
    double *z =
        coc_backend_scratch(b, (size_t)(in + weights * s->out_c + s->out_c) * sizeof(double));
    double *wt, *acc;

    if (z == NULL) return;
    wt = z + in;
    acc = wt + weights * s->out_c;
    transpose_weights(s->out_c, weights, w, wt); /* [C][k][k][O] */
    for (int64_t i = 0; i < n; i++) {
        real *to = y + i * out * s->out_c;

        read_features(s, i, x, keep, z);
        for (int64_t p = 0; p < out; p++) {
            memset(acc, 0, (size_t)s->out_c * sizeof *acc);
            for (int t = 0; t < taps; t++) {
                const int64_t from = source(s, p, t);

                for (int c = 0; c < s->in_c && from >= 0; c++)
                    add_scaled(s->out_c, z[from * s->in_c + c], wt + (c * taps + t) * s->out_c,
                               acc);
            }
            store(s->out_c, acc, to + p * s->out_c);
        }
        if (sums != NULL) add_sums(out, s->out_c, to, sums + group[i] * 2 * s->out_c);
    }
}

void coc_ref_stem_backward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                           const real *keep, const coc_gradient *dy, real *dw)
{
    const int taps = s->kernel * s->kernel;
    const int64_t in = in_positions(s) * s->in_c, out = out_positions(s), weights = s->in_c * taps;
    double *z =
        coc_backend_scratch(b, (size_t)(in + out * s->out_c + weights * s->out_c) * sizeof(double));
    double *g, *sum;

    if (z == NULL) return;
    g = z + in;
    sum = g + out * s->out_c; /* [C][k][k][O] */
    memset(sum, 0, (size_t)(weights * s->out_c) * sizeof *sum);
    for (int64_t i = 0; i < n; i++) {
        read_features(s, i, x, keep, z);
        coc_ref_form(dy, i, out, s->out_c, g);
        for (int64_t p = 0; p < out; p++)
            for (int t = 0; t < taps; t++) {
                const int64_t from = source(s, p, t);

                for (int c = 0; c < s->in_c && from >= 0; c++)
                    add_scaled(s->out_c, z[from * s->in_c + c], g + p * s->out_c,
                               sum + (c * taps + t) * s->out_c);
            }
    }
    add_transposed(s->out_c, weights, sum, dw);
}

/* ---- depthwise: [P][C] -> [P][C], each channel by itself ---- */

void coc_ref_depthwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                               const coc_norm *norm, const real *w, real *y, const int32_t *group,
                               double *sums)
{
    const int taps = s->kernel * s->kernel, channels = s->out_c;
    const int64_t in = in_positions(s), out = out_positions(s);
    double *z = coc_backend_scratch(b, (size_t)((in + taps + 1) * channels) * sizeof(double));
    double *wt, *acc;

    if (z == NULL) return;
    wt = z + in * channels;
    acc = wt + taps * channels;
    transpose_weights(channels, taps, w, wt); /* [k][k][C] */
    for (int64_t i = 0; i < n; i++) {
        real *to = y + i * out * channels;

        coc_ref_read(norm, NULL, i, in, channels, x, z);
        for (int64_t p = 0; p < out; p++) {
            memset(acc, 0, (size_t)channels * sizeof *acc);
            for (int t = 0; t < taps; t++) {
                const int64_t from = source(s, p, t);

                if (from >= 0) add_product(channels, z + from * channels, wt + t * channels, acc);
            }
            store(channels, acc, to + p * channels);
        }
        if (sums != NULL) add_sums(out, channels, to, sums + group[i] * 2 * channels);
    }
}

/* One clip: dz = gradient at what the convolution read, dw [k][k][C] +=. */
static void depthwise_backward_clip(const coc_conv *s, const double *z, const double *dy,
                                    const double *wt, double *dz, double *dw)
{
    const int taps = s->kernel * s->kernel, channels = s->out_c;
    const int64_t in = in_positions(s), out = out_positions(s);

    memset(dz, 0, (size_t)(in * channels) * sizeof *dz);
    for (int64_t p = 0; p < out; p++)
        for (int t = 0; t < taps; t++) {
            const int64_t from = source(s, p, t);

            if (from < 0) continue;
            add_product(channels, dy + p * channels, wt + t * channels, dz + from * channels);
            add_product(channels, dy + p * channels, z + from * channels, dw + t * channels);
        }
}

void coc_ref_depthwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                                const coc_norm *norm, const coc_gradient *dy, const real *w,
                                real *dz, bool accumulate, real *dw, double *sums)
{
    const int taps = s->kernel * s->kernel, channels = s->out_c;
    const int64_t in = in_positions(s), out = out_positions(s);
    double *z =
        coc_backend_scratch(b, (size_t)((2 * in + out + 2 * taps) * channels) * sizeof(double));
    double *dzc, *g, *wt, *sum;

    if (z == NULL) return;
    dzc = z + in * channels;
    g = dzc + in * channels;
    wt = g + out * channels;
    sum = wt + taps * channels; /* [k][k][C] */
    transpose_weights(channels, taps, w, wt);
    memset(sum, 0, (size_t)(taps * channels) * sizeof *sum);
    for (int64_t i = 0; i < n; i++) {
        real *to = dz + i * in * channels;

        coc_ref_read(norm, NULL, i, in, channels, x, z);
        coc_ref_form(dy, i, out, channels, g);
        depthwise_backward_clip(s, z, g, wt, dzc, sum);
        (accumulate ? add : store)(in * channels, dzc, to);
        if (sums != NULL)
            coc_ref_add_norm_sums(norm, i, in, channels, x, to,
                                  sums + norm->group[i] * 2 * channels);
    }
    add_transposed(channels, taps, sum, dw);
}

/* ---- pointwise: [P][I] -> [P][O] ---- */

void coc_ref_pointwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                               const coc_norm *norm, const real *gate, const real *w, real *y,
                               const int32_t *group, double *sums)
{
    const int64_t positions = in_positions(s);
    double *z = coc_backend_scratch(b, (size_t)(positions * s->in_c) * sizeof(double));

    if (z == NULL) return;
    for (int64_t i = 0; i < n; i++) {
        real *to = y + i * positions * s->out_c;

        coc_ref_read(norm, gate, i, positions, s->in_c, x, z);
        for (int64_t p = 0; p < positions; p++)
            for (int o = 0; o < s->out_c; o++)
                to[p * s->out_c + o] =
                    (real)coc_ref_dot(s->in_c, z + p * s->in_c, w + (int64_t)o * s->in_c);
        if (sums != NULL) add_sums(positions, s->out_c, to, sums + group[i] * 2 * s->out_c);
    }
}

/* dgate [C] = sum over positions of dz * v, v: what is read without the gate. */
static void gate_gradient(int64_t positions, int channels, const double *v, const real *dz,
                          real *dgate)
{
    for (int c = 0; c < channels; c++) {
        double sum = 0;

        for (int64_t p = 0; p < positions; p++)
            sum += v[p * channels + c] * dz[p * channels + c];
        dgate[c] = (real)sum;
    }
}

void coc_ref_pointwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                                const coc_norm *norm, const real *gate, const coc_gradient *dy,
                                const real *w, real *dz, bool accumulate, real *dw, real *dgate)
{
    const int in = s->in_c, out = s->out_c;
    const int64_t positions = in_positions(s), weights = (int64_t)in * out;
    double *z =
        coc_backend_scratch(b, (size_t)(positions * (2 * in + out) + 2 * weights) * sizeof(double));
    double *dzc, *g, *wd, *sum;

    if (z == NULL) return;
    dzc = z + positions * in;
    g = dzc + positions * in;
    wd = g + positions * out;
    sum = wd + weights;
    memset(sum, 0, (size_t)weights * sizeof *sum);
    for (int64_t k = 0; k < weights; k++)
        wd[k] = w[k];
    for (int64_t i = 0; i < n; i++) {
        real *to = dz + i * positions * in;

        coc_ref_read(norm, gate, i, positions, in, x, z);
        coc_ref_form(dy, i, positions, out, g);
        memset(dzc, 0, (size_t)(positions * in) * sizeof *dzc);
        for (int64_t p = 0; p < positions; p++)
            for (int o = 0; o < out; o++) {
                add_scaled(in, g[p * out + o], wd + (int64_t)o * in, dzc + p * in);
                add_scaled(in, g[p * out + o], z + p * in, sum + (int64_t)o * in);
            }
        (accumulate ? add : store)(positions * in, dzc, to);
        if (dgate == NULL) continue;
        coc_ref_read(norm, NULL, i, positions, in, x, z);
        gate_gradient(positions, in, z, to, dgate + i * in);
    }
    add(weights, sum, dw);
}
