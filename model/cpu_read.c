/* Reading raw tensors and gradients into blocks. A few vectors of channels are read at a time over
 * all rows, so that their coefficients stay in the first cache and memory is read in whole lines.
 */
#include "model/cpu.h"

enum {
    CHUNK = 256 / COC_LANES, /* vectors read at a time: 1 KiB of a row */
    AHEAD = 64               /* vectors whose memory is asked for ahead: strides are not foreseen */
};

/* Positions to ask memory for ahead of the one that is read, `vectors` of each. */
static int64_t ahead_of(int vectors)
{
    return 1 + AHEAD / vectors;
}

/* One row of coefficients: values [channels] spread over the vectors, or a constant. */
static void spread(const float *values, float constant, int channels, int rows, int row, float *out)
{
    for (int v = 0; v < coc_vectors(channels); v++)
        for (int i = 0; i < COC_LANES; i++) {
            const int c = v * COC_LANES + i;

            out[(v * rows + row) * COC_LANES + i] = c >= channels    ? 0.0f
                                                    : values != NULL ? values[c]
                                                                     : constant;
        }
}

void coc_cpu_input_coefficients(const coc_norm *norm, const float *gate, int64_t clip, int channels,
                                float *out)
{
    const int64_t at = norm != NULL ? (int64_t)norm->group[clip] * channels : 0;

    spread(norm != NULL ? norm->scale + at : NULL, 1, channels, COC_INPUT_ROWS, COC_INPUT_SCALE,
           out);
    spread(norm != NULL ? norm->shift + at : NULL, 0, channels, COC_INPUT_ROWS, COC_INPUT_SHIFT,
           out);
    spread(gate != NULL ? gate + clip * channels : NULL, 1, channels, COC_INPUT_ROWS,
           COC_INPUT_GATE, out);
}

static float *coefficient(float *out, int channel, int row)
{
    return out + (channel / COC_LANES * COC_GRADIENT_ROWS + row) * COC_LANES + channel % COC_LANES;
}

void coc_cpu_gradient_coefficients(const coc_gradient *g, int64_t clip, int channels, float *out)
{
    const coc_norm *norm = g->norm;
    const int64_t at = (int64_t)norm->group[clip] * channels;
    const float kept = g->clip != NULL ? g->clip[clip] : 1.0f;

    memset(out, 0, sizeof(float) * COC_GRADIENT_ROWS * COC_LANES * (size_t)coc_vectors(channels));
    for (int c = 0; c < channels; c++) {
        const float scale = norm->scale[at + c], inverse = norm->inverse_std[at + c];

        *coefficient(out, c, COC_GRADIENT_SCALE) = scale;
        *coefficient(out, c, COC_GRADIENT_SHIFT) = norm->shift[at + c];
        *coefficient(out, c, COC_GRADIENT_MEAN) = norm->mean[at + c];
        *coefficient(out, c, COC_GRADIENT_INVERSE) = inverse;
        *coefficient(out, c, COC_GRADIENT_FACTOR) =
            g->gate != NULL ? kept * g->gate[clip * channels + c] : kept;
        *coefficient(out, c, COC_GRADIENT_POOLED) =
            g->pooled != NULL ? kept * g->pooled[clip * channels + c] : 0.0f;
        if (g->mean_du == NULL) continue; /* the sums behind it are what is asked for */
        *coefficient(out, c, COC_GRADIENT_SLOPE) = -scale * inverse * g->mean_dux[at + c];
        *coefficient(out, c, COC_GRADIENT_OFFSET) = -scale * g->mean_du[at + c];
    }
}

/* How a kernel reads; constants, once it is inlined. */
typedef struct {
    coc_sight sight;
    bool gated, sloped;
} reading;

/* `count` neighbouring vectors: v or z, and the slope. */
COC_KERNEL void see(const int count, const reading how, const float *coefficients, coc_vec *x,
                    coc_vec *slope)
{
    coc_vec s[COC_ABREAST];

    if (how.sight != COC_SEE_RAW) COC_UNROLL
    for (int i = 0; i < count; i++) {
        const float *c = coefficients + i * COC_INPUT_ROWS * COC_LANES;

        x[i] = COC_COEFFICIENT(c, COC_INPUT_SCALE) * x[i] + COC_COEFFICIENT(c, COC_INPUT_SHIFT);
    }
    if (how.sight == COC_SEE_SILU) coc_sigmoids(count, x, s);
    COC_UNROLL
    for (int i = 0; i < count; i++) {
        const float *c = coefficients + i * COC_INPUT_ROWS * COC_LANES;

        slope[i] = how.sight == COC_SEE_SILU ? coc_silu_slope(x[i], s[i]) : coc_splat(1.0f);
        if (how.sight == COC_SEE_SILU) x[i] *= s[i];
        if (how.gated) x[i] *= COC_COEFFICIENT(c, COC_INPUT_GATE);
    }
}

/* Where the block's vectors go: v * stride rows apart. */
typedef struct {
    float *out, *slope; /* at the row */
    int64_t stride, ahead;
} destination;

/* `count` vectors of a row from vector v; lanes: those of the last of them. */
COC_KERNEL void read_vectors(const int count, const reading how, int lanes, int v, const float *x,
                             const float *c, const destination *to)
{
    coc_vec value[COC_ABREAST], slope[COC_ABREAST];

    __builtin_prefetch(x + v * COC_LANES + to->ahead);
    COC_UNROLL
    for (int i = 0; i < count; i++)
        value[i] = coc_load_some(x + (v + i) * COC_LANES, i + 1 < count ? COC_LANES : lanes);
    see(count, how, c + v * COC_INPUT_ROWS * COC_LANES, value, slope);
    COC_UNROLL
    for (int i = 0; i < count; i++) {
        coc_store(to->out + (v + i) * to->stride * COC_LANES, value[i]);
        if (how.sloped) coc_store(to->slope + (v + i) * to->stride * COC_LANES, slope[i]);
    }
}

/* Vectors first .. end - 1 of all rows; the last has `lanes` channels. */
COC_KERNEL void read_chunk(const reading how, int64_t rows, int first, int end, int lanes,
                           const float *x, int64_t x_stride, const float *c, destination to)
{
    for (int64_t r = 0; r < rows; r++, x += x_stride) {
        int v = first;

        for (; v + COC_ABREAST < end; v += COC_ABREAST)
            read_vectors(COC_ABREAST, how, COC_LANES, v, x, c, &to);
        if (v + COC_ABREAST == end)
            read_vectors(COC_ABREAST, how, lanes, v, x, c, &to);
        else
            read_vectors(1, how, lanes, v, x, c, &to);
        to.out += COC_LANES;
        to.slope += COC_LANES;
    }
}

COC_KERNEL void read_all(const reading how, int64_t rows, int channels, const float *x,
                         int64_t x_stride, const float *c, float *out, float *slope, int64_t stride)
{
    const int all = coc_vectors(channels);

    for (int v = 0; v < all; v += CHUNK) {
        const int end = v + CHUNK < all ? v + CHUNK : all;

        read_chunk(how, rows, v, end, coc_lanes_of(channels, end - 1), x, x_stride, c,
                   (destination){out, slope, stride, ahead_of(end - v) * x_stride});
    }
}

#define READ(sight, gated, sloped)                                                                 \
    read_all((reading){sight, gated, sloped}, rows, channels, x, x_stride, coefficients, out,      \
             (sloped) ? slope : out, stride)

void coc_cpu_read_input(coc_sight sight, bool gated, int64_t rows, int channels, const float *x,
                        int64_t x_stride, const float *coefficients, float *out, float *slope,
                        int64_t stride)
{
    if (sight == COC_SEE_SILU && slope != NULL)
        READ(COC_SEE_SILU, false, true);
    else if (sight == COC_SEE_SILU && gated)
        READ(COC_SEE_SILU, true, false);
    else if (sight == COC_SEE_SILU)
        READ(COC_SEE_SILU, false, false);
    else if (sight == COC_SEE_NORMED && slope != NULL)
        READ(COC_SEE_NORMED, false, true);
    else if (sight == COC_SEE_NORMED && gated)
        READ(COC_SEE_NORMED, true, false);
    else if (sight == COC_SEE_NORMED)
        READ(COC_SEE_NORMED, false, false);
    else if (gated)
        READ(COC_SEE_RAW, true, false);
    else
        READ(COC_SEE_RAW, false, false);
}

/* As read_vectors. */
COC_KERNEL void form_vectors(const int count, const bool silu, const bool has_dz, int lanes, int v,
                             const float *x, const float *dz, const float *c, float *out,
                             int64_t stride, int64_t ahead)
{
    coc_vec value[COC_ABREAST], d[COC_ABREAST], du[COC_ABREAST];

    c += v * COC_GRADIENT_ROWS * COC_LANES;
    __builtin_prefetch(x + v * COC_LANES + ahead);
    if (has_dz) __builtin_prefetch(dz + v * COC_LANES + ahead);
    COC_UNROLL
    for (int i = 0; i < count; i++) {
        const int valid = i + 1 < count ? COC_LANES : lanes;

        value[i] = coc_load_some(x + (v + i) * COC_LANES, valid);
        d[i] = has_dz ? coc_load_some(dz + (v + i) * COC_LANES, valid) : (coc_vec){0};
    }
    coc_gradient_at_u(count, silu, value, d, c, du);
    COC_UNROLL
    for (int i = 0; i < count; i++, c += COC_GRADIENT_ROWS * COC_LANES)
        coc_store(out + (v + i) * stride * COC_LANES,
                  COC_COEFFICIENT(c, COC_GRADIENT_SCALE) * du[i] +
                      (value[i] - COC_COEFFICIENT(c, COC_GRADIENT_MEAN)) *
                          COC_COEFFICIENT(c, COC_GRADIENT_SLOPE) +
                      COC_COEFFICIENT(c, COC_GRADIENT_OFFSET));
}

/* As read_chunk. */
COC_KERNEL void form_chunk(const bool silu, const bool has_dz, int64_t rows, int first, int end,
                           int lanes, const float *x, const float *dz, int64_t x_stride,
                           const float *c, float *out, int64_t stride)
{
    const int64_t ahead = ahead_of(end - first) * x_stride;

    for (int64_t r = 0; r < rows; r++, x += x_stride, out += COC_LANES) {
        int v = first;

        for (; v + COC_ABREAST < end; v += COC_ABREAST)
            form_vectors(COC_ABREAST, silu, has_dz, COC_LANES, v, x, dz, c, out, stride, ahead);
        if (v + COC_ABREAST == end)
            form_vectors(COC_ABREAST, silu, has_dz, lanes, v, x, dz, c, out, stride, ahead);
        else
            form_vectors(1, silu, has_dz, lanes, v, x, dz, c, out, stride, ahead);
        if (has_dz) dz += x_stride;
    }
}

COC_KERNEL void form_all(const bool silu, const bool has_dz, int64_t rows, int channels,
                         const float *x, const float *dz, int64_t x_stride, const float *c,
                         float *out, int64_t stride)
{
    const int all = coc_vectors(channels);

    for (int v = 0; v < all; v += CHUNK) {
        const int end = v + CHUNK < all ? v + CHUNK : all;

        form_chunk(silu, has_dz, rows, v, end, coc_lanes_of(channels, end - 1), x, dz, x_stride, c,
                   out, stride);
    }
}

void coc_cpu_read_gradient(const coc_gradient *g, int64_t at, int64_t rows, int channels,
                           int64_t x_stride, const float *coefficients, float *out, int64_t stride)
{
    const float *x = g->x + at, *dz = g->dz != NULL ? g->dz + at : NULL;

    if (g->norm->silu && dz != NULL)
        form_all(true, true, rows, channels, x, dz, x_stride, coefficients, out, stride);
    else if (g->norm->silu)
        form_all(true, false, rows, channels, x, dz, x_stride, coefficients, out, stride);
    else if (dz != NULL)
        form_all(false, true, rows, channels, x, dz, x_stride, coefficients, out, stride);
    else
        form_all(false, false, rows, channels, x, dz, x_stride, coefficients, out, stride);
}
