/* Reading raw tensors and gradients into blocks. A few vectors of channels are read at a time over
 * all rows, so that their coefficients stay in the first cache and memory is read in whole lines.
 */
#include "model/cpu.h"

enum { CHUNK = 64 / COC_LANES }; /* vectors read at a time: 256 bytes of a row */

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

/* One vector: v or z, and the slope. */
COC_KERNEL coc_vec see(const reading how, coc_vec x, const float *c, coc_vec *slope)
{
    coc_vec value = x;

    *slope = coc_splat(1.0f);
    if (how.sight != COC_SEE_RAW)
        value = coc_load(c + COC_INPUT_SCALE * COC_LANES) * x +
                coc_load(c + COC_INPUT_SHIFT * COC_LANES);
    if (how.sight == COC_SEE_SILU) {
        const coc_vec s = coc_sigmoid(value);

        *slope = coc_silu_slope(value, s);
        value *= s;
    }
    return how.gated ? value * coc_load(c + COC_INPUT_GATE * COC_LANES) : value;
}

/* Where a chunk of channels lies. lanes: those of the last vector. */
typedef struct {
    int64_t rows, x_stride, stride;
    int vectors, lanes;
} chunk;

COC_KERNEL void read_chunk(const reading how, const chunk k, const float *x, const float *c,
                           float *out, float *slopes)
{
    for (int64_t r = 0; r < k.rows; r++, x += k.x_stride)
        for (int v = 0; v < k.vectors; v++) {
            const coc_vec value =
                coc_load_some(x + v * COC_LANES, v + 1 < k.vectors ? COC_LANES : k.lanes);
            const int64_t at = (v * k.stride + r) * COC_LANES;
            coc_vec slope;

            coc_store(out + at, see(how, value, c + v * COC_INPUT_ROWS * COC_LANES, &slope));
            if (how.sloped) coc_store(slopes + at, slope);
        }
}

/* The chunk of channels that begins at vector v. */
COC_KERNEL chunk chunk_at(int64_t rows, int channels, int64_t x_stride, int64_t stride, int v)
{
    const int left = coc_vectors(channels) - v, vectors = left < CHUNK ? left : CHUNK;

    return (chunk){rows, x_stride, stride, vectors, coc_lanes_of(channels, v + vectors - 1)};
}

COC_KERNEL void read_all(const reading how, int64_t rows, int channels, const float *x,
                         int64_t x_stride, const float *c, float *out, float *slopes,
                         int64_t stride)
{
    for (int v = 0; v < coc_vectors(channels); v += CHUNK) {
        const chunk k = chunk_at(rows, channels, x_stride, stride, v);
        const float *from = x + v * COC_LANES, *with = c + v * COC_INPUT_ROWS * COC_LANES;
        const int64_t to = v * stride * COC_LANES;

        if (k.lanes != COC_LANES)
            read_chunk(how, k, from, with, out + to, slopes + to);
        else if (k.vectors == CHUNK)
            read_chunk(how, (chunk){rows, x_stride, stride, CHUNK, COC_LANES}, from, with, out + to,
                       slopes + to);
        else
            read_chunk(how, (chunk){rows, x_stride, stride, k.vectors, COC_LANES}, from, with,
                       out + to, slopes + to);
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

COC_KERNEL void form_chunk(const bool silu, const bool has_dz, const chunk k, const float *x,
                           const float *dz, const float *c, float *out)
{
    for (int64_t r = 0; r < k.rows; r++)
        for (int v = 0; v < k.vectors; v++) {
            const int valid = v + 1 < k.vectors ? COC_LANES : k.lanes;
            const int64_t from = r * k.x_stride + v * COC_LANES;
            const coc_vec value = coc_load_some(x + from, valid);
            const coc_vec d = has_dz ? coc_load_some(dz + from, valid) : (coc_vec){0};

            coc_store(out + (v * k.stride + r) * COC_LANES,
                      coc_gradient_at_x(silu, value, d, c + v * COC_GRADIENT_ROWS * COC_LANES));
        }
}

COC_KERNEL void form_all(const bool silu, const bool has_dz, int64_t rows, int channels,
                         const float *x, const float *dz, int64_t x_stride, const float *c,
                         float *out, int64_t stride)
{
    for (int v = 0; v < coc_vectors(channels); v += CHUNK) {
        const chunk k = chunk_at(rows, channels, x_stride, stride, v);
        const float *from = x + v * COC_LANES, *with = c + v * COC_GRADIENT_ROWS * COC_LANES;
        const float *grad = has_dz ? dz + v * COC_LANES : NULL;
        float *to = out + v * stride * COC_LANES;

        if (k.lanes != COC_LANES)
            form_chunk(silu, has_dz, k, from, grad, with, to);
        else if (k.vectors == CHUNK)
            form_chunk(silu, has_dz, (chunk){rows, x_stride, stride, CHUNK, COC_LANES}, from, grad,
                       with, to);
        else
            form_chunk(silu, has_dz, (chunk){rows, x_stride, stride, k.vectors, COC_LANES}, from,
                       grad, with, to);
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
