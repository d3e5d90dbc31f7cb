/* Depthwise convolutions, backward. In one pass over a clip's rows the gradient at the output is
 * formed, the input is read through norm and SiLU, both into rings; of them come the weights'
 * gradient, the gradient at the input, and the sums that the input's own norm needs. */
#include <omp.h>

#include "model/cpu_depthwise.h"
#include "model/ref.h"

enum {
    ROWS_AT_A_TIME = COC_VECTOR_REGISTERS == 32 ? 5 : 3, /* kernel rows summed in registers */
    RING_FLOATS = 48 * 1024, /* of a thread's rings: they and what is written stay in the second
                                cache */
    AHEAD = 32               /* columns whose memory is asked for ahead */
};

/* One output row and the input rows under it, of one vector of channels. */
typedef struct {
    const float *rows[COC_MOST_KERNEL]; /* input as seen, in the ring */
    int first, end;                     /* of the kernel's rows, those inside the image */
    const float *dy;                    /* output row in the ring, at its first column */
    int columns;
    float *dw; /* [k * k][COC_LANES] += */
} weight_row;

/* `count` rows of the kernel from `first`. */
COC_KERNEL void add_weights(const int kernel, const int stride, const int count, int first,
                            const weight_row *r)
{
    coc_vec sum[ROWS_AT_A_TIME][COC_MOST_KERNEL];
    const float *x[ROWS_AT_A_TIME];

    COC_UNROLL
    for (int i = 0; i < count; i++) {
        x[i] = r->rows[first + i];
        COC_UNROLL
        for (int j = 0; j < kernel; j++)
            sum[i][j] = coc_load(r->dw + ((first + i) * kernel + j) * COC_LANES);
    }
    for (int64_t column = 0; column < r->columns; column++) {
        const coc_vec dy = coc_load(r->dy + column * COC_LANES);

        COC_UNROLL
        for (int i = 0; i < count; i++)
            COC_UNROLL
        for (int j = 0; j < kernel; j++)
            sum[i][j] += dy * coc_load(x[i] + (column * stride + j) * COC_LANES);
    }
    COC_UNROLL
    for (int i = 0; i < count; i++)
        COC_UNROLL
    for (int j = 0; j < kernel; j++)
        coc_store(r->dw + ((first + i) * kernel + j) * COC_LANES, sum[i][j]);
}

COC_KERNEL void weight_rows(const int kernel, const int stride, const weight_row *r)
{
    const int most = kernel < ROWS_AT_A_TIME ? kernel : ROWS_AT_A_TIME;
    int i = r->first;

    for (; i + most <= r->end; i += most)
        add_weights(kernel, stride, most, i, r);
    for (; i + 2 <= r->end; i += 2)
        add_weights(kernel, stride, 2, i, r);
    if (i < r->end) add_weights(kernel, stride, 1, i, r);
}

/* One input row of one vector of channels. */
typedef struct {
    coc_vec mean, inverse;            /* of the input's norm */
    const float *dy[COC_MOST_KERNEL]; /* output rows that it went into, in the ring */
    const float *w[COC_MOST_KERNEL];  /* the kernel's row that led there, [k][COC_LANES] */
    int count;
    int pad, columns, lanes;
    int64_t stride; /* of x and dz, from column to column */
    float *dz;      /* at the row's first column */
    bool accumulate;
    const float *slope; /* of the input in the ring, at the row's first column; NULL: no norm */
    const float *x;     /* raw input */
    float *sums;        /* [2][COC_LANES] += sum of du, of du * xhat */
} input_row;

/* A tile of input columns first, first + step, ...: dz complete. */
COC_KERNEL void finish_columns(const int step, const input_row *r, int first, coc_vec *dz,
                               coc_vec *du_sum, coc_vec *dux_sum)
{
    COC_UNROLL
    for (int t = 0; t < COC_TILE; t++) {
        const int column = first + t * step;
        float *to = r->dz + column * r->stride;

        if (column >= r->columns) continue;
        __builtin_prefetch(to + AHEAD * r->stride, 1);
        if (r->accumulate) dz[t] += coc_load_some(to, r->lanes);
        coc_store_some(to, dz[t], r->lanes);
        if (r->slope != NULL) {
            const coc_vec du = dz[t] * coc_load(r->slope + column * COC_LANES);
            const coc_vec x = coc_load_some(r->x + column * r->stride, r->lanes);

            *du_sum += du;
            *dux_sum += du * ((x - r->mean) * r->inverse);
        }
    }
}

/* dz [w] = sum of kernel [j] * dy [(w + pad - j) / step] over the j that divide: for the columns w
 * that leave the remainder `phase`, j = tap, tap + step, ... */
COC_KERNEL void input_columns(const int kernel, const int step, const int tap, int phase,
                              const input_row *r, coc_vec *du_sum, coc_vec *dux_sum)
{
    const int shift = (phase + r->pad - tap) / step;

    for (int first = phase; first < r->columns; first += COC_TILE * step) {
        const int64_t from = first / step + shift;
        coc_vec dz[COC_TILE] = {{0}};

        for (int i = 0; i < r->count; i++) {
            const float *dy = r->dy[i] + from * COC_LANES;
            const float *w = r->w[i];

            COC_UNROLL
            for (int j = tap, k = 0; j < kernel; j += step, k++) {
                const coc_vec weight = coc_load(w + j * COC_LANES);

                COC_UNROLL
                for (int t = 0; t < COC_TILE; t++)
                    dz[t] += weight * coc_load(dy + (t - k) * COC_LANES);
            }
        }
        finish_columns(step, r, first, dz, du_sum, dux_sum);
    }
}

COC_KERNEL void input_rows(const int kernel, const int step, const input_row *r)
{
    coc_vec du = coc_load(r->sums), dux = coc_load(r->sums + COC_LANES);

    if (step == 1) {
        input_columns(kernel, 1, 0, 0, r, &du, &dux);
    } else if (r->pad % 2 == 0) {
        input_columns(kernel, 2, 0, 0, r, &du, &dux);
        input_columns(kernel, 2, 1, 1, r, &du, &dux);
    } else {
        input_columns(kernel, 2, 1, 0, r, &du, &dux);
        input_columns(kernel, 2, 0, 1, r, &du, &dux);
    }
    coc_store(r->sums, du);
    coc_store(r->sums + COC_LANES, dux);
}

#define ROWS(kernel, stride)                                                                       \
    static __attribute__((noinline)) void weights_##kernel##stride(const weight_row *r)            \
    {                                                                                              \
        weight_rows(kernel, stride, r);                                                            \
    }                                                                                              \
    static __attribute__((noinline)) void input_##kernel##stride(const input_row *r)               \
    {                                                                                              \
        input_rows(kernel, stride, r);                                                             \
    }
ROWS(3, 1)
ROWS(3, 2)
ROWS(5, 1)
ROWS(5, 2)

/* A call's arguments and working memory. */
typedef struct {
    const coc_conv *s;
    const float *x;
    const coc_norm *norm;
    const coc_gradient *dy;
    float *dz;
    bool accumulate;
    int threads, vectors; /* of a group */
    int64_t n;
    coc_cpu_ring seen, slope, grad; /* sizes; memory of thread 0 */
    float *packed;                  /* [vectors][k * k][COC_LANES] */
    double *clip_sums;              /* [n][2][C] */
    double *parts;                  /* [threads][vectors][k * k][COC_LANES] */
    float *coefficients, *dy_coefficients, *sums, *dw;
    int64_t coefficients_size, dy_coefficients_size, sums_size, dw_size;
    void (*weights)(const weight_row *);
    void (*input)(const input_row *);
} plan;

static void lay_out(plan *p, coc_cpu_scratch *scratch)
{
    const int channels = p->s->in_c, taps = p->s->kernel * p->s->kernel;
    const int64_t vectors = coc_vectors(channels), threads = p->threads;

    p->coefficients_size = vectors * COC_INPUT_ROWS * COC_LANES;
    p->dy_coefficients_size = vectors * COC_GRADIENT_ROWS * COC_LANES;
    p->sums_size = (int64_t)p->vectors * 2 * COC_LANES;
    p->dw_size = (int64_t)p->vectors * taps * COC_LANES;
    p->packed = coc_cpu_take(scratch, vectors * taps * COC_LANES, sizeof(float));
    p->clip_sums = coc_cpu_take(scratch, p->n * 2 * channels, sizeof(double));
    p->parts = coc_cpu_take(scratch, threads * vectors * taps * COC_LANES, sizeof(double));
    p->seen.memory = coc_cpu_take(scratch, threads * coc_ring_size(&p->seen), sizeof(float));
    p->slope.memory = coc_cpu_take(scratch, threads * coc_ring_size(&p->slope), sizeof(float));
    p->grad.memory = coc_cpu_take(scratch, threads * coc_ring_size(&p->grad), sizeof(float));
    p->coefficients = coc_cpu_take(scratch, threads * p->coefficients_size, sizeof(float));
    p->dy_coefficients = coc_cpu_take(scratch, threads * p->dy_coefficients_size, sizeof(float));
    p->sums = coc_cpu_take(scratch, threads * p->sums_size, sizeof(float));
    p->dw = coc_cpu_take(scratch, threads * p->dw_size, sizeof(float));
}

static void choose_rings(plan *p)
{
    const coc_conv *s = p->s;
    const int reach = (s->out_w - 1) * s->stride + s->kernel;
    const int wide = reach > s->in_w + s->pad ? reach : s->in_w + s->pad;
    /* kernel - 1 columns of zeros before the output's row, and what an overhanging tile reads */
    const int tiles = (s->in_w + s->stride * COC_TILE - 1) / (s->stride * COC_TILE);
    const int narrow = 2 * s->kernel + tiles * COC_TILE;
    const int tall = s->out_w + 2 * s->kernel;
    int64_t floats;

    p->seen.slots = p->slope.slots = s->kernel;
    p->grad.slots = (s->kernel - 1) / s->stride + 1;
    p->seen.width = p->slope.width = coc_cpu_ring_width(wide);
    p->grad.width = coc_cpu_ring_width(narrow > tall ? narrow : tall);
    floats = (int64_t)(2 * s->kernel * p->seen.width + p->grad.slots * p->grad.width) * COC_LANES;
    p->vectors = coc_cpu_ring_vectors(s->in_c, floats, RING_FLOATS);
    p->seen.vectors = p->slope.vectors = p->grad.vectors = p->vectors;
    if (s->kernel == 3) {
        p->weights = s->stride == 1 ? weights_31 : weights_32;
        p->input = s->stride == 1 ? input_31 : input_32;
    } else {
        p->weights = s->stride == 1 ? weights_51 : weights_52;
        p->input = s->stride == 1 ? input_51 : input_52;
    }
}

/* One thread's work on one clip and one group of channels. */
typedef struct {
    const plan *p;
    int64_t clip;
    int first, vectors, channels; /* vector the group begins at; its size */
    int read;                     /* input rows in the rings so far */
    coc_cpu_ring seen, slope, grad;
    float *coefficients, *dy_coefficients, *sums, *dw;
} worker;

static void read_rows(worker *k, int end)
{
    const plan *p = k->p;
    const coc_conv *s = p->s;
    const int offset = k->first * COC_LANES;

    for (; k->read < end; k->read++) {
        const int64_t row = (k->clip * s->in_h + k->read) * s->in_w;
        const int64_t pad = s->pad * COC_LANES;

        coc_cpu_read_input(
            coc_sight_of(p->norm), false, s->in_w, k->channels, p->x + row * s->in_c + offset,
            s->in_c, k->coefficients + offset * COC_INPUT_ROWS,
            coc_ring_row(&k->seen, k->read, 0) + pad,
            p->norm != NULL ? coc_ring_row(&k->slope, k->read, 0) + pad : NULL, k->seen.width);
    }
}

static void form_row(worker *k, int row)
{
    const coc_conv *s = k->p->s;
    const int offset = k->first * COC_LANES;

    coc_cpu_read_gradient(
        k->p->dy, (k->clip * s->out_h + row) * s->out_w * (int64_t)s->in_c + offset, s->out_w,
        k->channels, s->in_c, k->dy_coefficients + offset * COC_GRADIENT_ROWS,
        coc_ring_row(&k->grad, row, 0) + (s->kernel - 1) * COC_LANES, k->grad.width);
}

static void add_weight_row(const worker *k, int row)
{
    const coc_conv *s = k->p->s;
    const int top = row * s->stride - s->pad, taps = s->kernel * s->kernel;
    weight_row r = {.first = top < 0 ? -top : 0,
                    .end = s->in_h - top < s->kernel ? s->in_h - top : s->kernel,
                    .columns = s->out_w};

    for (int v = 0; v < k->vectors; v++) {
        for (int i = r.first; i < r.end; i++)
            r.rows[i] = coc_ring_row(&k->seen, top + i, v);
        r.dy = coc_ring_row(&k->grad, row, v) + (s->kernel - 1) * COC_LANES;
        r.dw = k->dw + v * taps * COC_LANES;
        k->p->weights(&r);
    }
}

static void finish_input_row(const worker *k, int row)
{
    const plan *p = k->p;
    const coc_conv *s = p->s;
    const int taps = s->kernel * s->kernel;
    const int64_t at = (k->clip * s->in_h + row) * s->in_w * (int64_t)s->in_c;

    for (int v = 0; v < k->vectors; v++) {
        const int vector = k->first + v;
        const int64_t place = at + vector * COC_LANES;
        const float *w = p->packed + (int64_t)vector * taps * COC_LANES;
        input_row r = {.pad = s->pad,
                       .columns = s->in_w,
                       .lanes = coc_lanes_of(s->in_c, vector),
                       .stride = s->in_c,
                       .dz = p->dz + place,
                       .accumulate = p->accumulate,
                       .x = p->x + place,
                       .sums = k->sums + 2 * v * COC_LANES};

        for (int i = 0; i < s->kernel; i++) {
            const int from = row + s->pad - i;

            if (from < 0 || from % s->stride != 0 || from / s->stride >= s->out_h) continue;
            r.dy[r.count] =
                coc_ring_row(&k->grad, from / s->stride, v) + (s->kernel - 1) * COC_LANES;
            r.w[r.count++] = w + i * s->kernel * COC_LANES;
        }
        if (p->norm != NULL) {
            const int64_t own = (int64_t)p->norm->group[k->clip] * s->in_c + vector * COC_LANES;

            r.slope = coc_ring_row(&k->slope, row, v) + s->pad * COC_LANES;
            r.mean = coc_load_some(p->norm->mean + own, r.lanes);
            r.inverse = coc_load_some(p->norm->inverse_std + own, r.lanes);
        }
        p->input(&r);
    }
}

/* Add the float sums of a group to the clip's and begin anew. */
static void flush_sums(worker *k)
{
    const int channels = k->p->s->in_c;

    for (int v = 0; v < k->vectors; v++)
        for (int i = 0; i < coc_lanes_of(channels, k->first + v); i++) {
            double *to = k->p->clip_sums + k->clip * 2 * channels + (k->first + v) * COC_LANES + i;

            to[0] += (double)k->sums[2 * v * COC_LANES + i];
            to[channels] += (double)k->sums[(2 * v + 1) * COC_LANES + i];
        }
    memset(k->sums, 0, (size_t)k->vectors * 2 * COC_LANES * sizeof(float));
}

static void backward_group(worker *k, double *part)
{
    const coc_conv *s = k->p->s;
    const int taps = s->kernel * s->kernel;
    int done = 0, positions = 0;

    k->read = 0;
    memset(k->dw, 0, (size_t)(k->vectors * taps * COC_LANES) * sizeof(float));
    for (int row = 0; row < s->out_h; row++) {
        const int bottom = row * s->stride - s->pad + s->kernel;
        /* input rows that no later output row reads */
        const int last = row + 1 < s->out_h ? (row + 1) * s->stride - s->pad : s->in_h;

        form_row(k, row);
        read_rows(k, bottom < s->in_h ? bottom : s->in_h);
        add_weight_row(k, row);
        for (; done < last; done++) {
            read_rows(k, done + 1); /* rows below the last kernel */
            finish_input_row(k, done);
            positions += s->in_w;
            if (positions < COC_FLUSH_POSITIONS) continue;
            flush_sums(k);
            positions = 0;
        }
    }
    flush_sums(k);
    for (int i = 0; i < k->vectors * taps * COC_LANES; i++)
        part[k->first * taps * COC_LANES + i] += (double)k->dw[i];
}

static void backward_clips(const plan *p, int thread)
{
    const coc_conv *s = p->s;
    const int channels = s->in_c, all = coc_vectors(channels), taps = s->kernel * s->kernel;
    double *part = p->parts + (int64_t)thread * all * taps * COC_LANES;
    worker k = {.p = p,
                .seen = p->seen,
                .slope = p->slope,
                .grad = p->grad,
                .coefficients = p->coefficients + thread * p->coefficients_size,
                .dy_coefficients = p->dy_coefficients + thread * p->dy_coefficients_size,
                .sums = p->sums + thread * p->sums_size,
                .dw = p->dw + thread * p->dw_size};
    int64_t end;

    k.seen.memory += thread * coc_ring_size(&k.seen);
    k.slope.memory += thread * coc_ring_size(&k.slope);
    k.grad.memory += thread * coc_ring_size(&k.grad);
    memset(k.seen.memory, 0, (size_t)coc_ring_size(&k.seen) * sizeof(float));
    memset(k.grad.memory, 0, (size_t)coc_ring_size(&k.grad) * sizeof(float));
    memset(k.sums, 0, (size_t)p->sums_size * sizeof(float));
    memset(part, 0, (size_t)(all * taps * COC_LANES) * sizeof(double));
    coc_cpu_share(p->n, p->threads, thread, &k.clip, &end);
    memset(p->clip_sums + k.clip * 2 * channels, 0,
           (size_t)((end - k.clip) * 2 * channels) * sizeof(double));
    for (; k.clip < end; k.clip++) {
        coc_cpu_input_coefficients(p->norm, NULL, k.clip, channels, k.coefficients);
        coc_cpu_gradient_coefficients(p->dy, k.clip, channels, k.dy_coefficients);
        for (k.first = 0; k.first < all; k.first += p->vectors) {
            const int left = channels - k.first * COC_LANES;

            k.vectors = all - k.first < p->vectors ? all - k.first : p->vectors;
            k.channels = left < k.vectors * COC_LANES ? left : k.vectors * COC_LANES;
            backward_group(&k, part);
        }
    }
}

/* dw [C][k][k] += the threads' parts in order. */
static void add_parts(const plan *p, float *dw)
{
    const int channels = p->s->in_c, taps = p->s->kernel * p->s->kernel;
    const int64_t size = (int64_t)coc_vectors(channels) * taps * COC_LANES;

    for (int c = 0; c < channels; c++)
        for (int t = 0; t < taps; t++) {
            double sum = 0;

            for (int i = 0; i < p->threads; i++)
                sum += p->parts[i * size + (c / COC_LANES * taps + t) * COC_LANES + c % COC_LANES];
            dw[c * taps + t] += (float)sum;
        }
}

void coc_cpu_depthwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const float *x,
                                const coc_norm *norm, const coc_gradient *dy, const float *w,
                                float *dz, bool accumulate, float *dw, double *sums)
{
    plan p = {.s = s,
              .x = x,
              .norm = norm,
              .dy = dy,
              .dz = dz,
              .accumulate = accumulate,
              .threads = n < b->threads ? (int)n : b->threads,
              .n = n};
    coc_cpu_scratch scratch = {0};

    if (!coc_cpu_has_depthwise(s)) {
        coc_ref_depthwise_backward(b, s, n, x, norm, dy, w, dz, accumulate, dw, sums);
        return;
    }
    choose_rings(&p);
    lay_out(&p, &scratch);
    if (!coc_cpu_scratch_begin(b, &scratch)) return;
    lay_out(&p, &scratch);
#pragma omp parallel num_threads(p.threads)
    {
        const int thread = omp_get_thread_num();

        coc_cpu_pack_depthwise(s->in_c, s->kernel * s->kernel, w, p.threads, thread, p.packed);
#pragma omp barrier
        backward_clips(&p, thread);
    }
    add_parts(&p, dw);
    if (sums != NULL && norm != NULL) coc_cpu_add_sums(n, s->in_c, p.clip_sums, norm->group, sums);
}
