/* Depthwise convolutions, forward: each input row is read through norm and SiLU into a ring once,
 * then a tile of outputs by one vector of channels is summed in registers. */
#include "model/cpu_depthwise.h"

#include <omp.h>

#include "model/ref.h"

enum {
    RING_FLOATS = 96 * 1024, /* of a thread's ring: it stays in the second cache */
    AHEAD = 32               /* outputs along a row whose memory is asked for ahead */
};

int coc_cpu_ring_width(int width)
{
    const int line = 64 / (int)sizeof(float);

    while (width * COC_LANES % line != 0 || width * COC_LANES / line % 2 == 0)
        width++;
    return width;
}

int coc_cpu_ring_vectors(int channels, int64_t floats, int64_t budget)
{
    const int line = 16 / COC_LANES; /* vectors in a cache line */
    const int all = coc_vectors(channels);
    const int64_t fit = budget / floats;
    const int most = fit < 1 ? 1 : fit > all ? all : (int)fit;
    const int groups = (all + most - 1) / most;
    const int equal = (all + groups - 1) / groups, whole = (equal + line - 1) / line * line;

    if (whole <= most) return whole;
    return most < line ? most : most / line * line;
}

bool coc_cpu_has_depthwise(const coc_conv *s)
{
    return (s->kernel == 3 || s->kernel == 5) && (s->stride == 1 || s->stride == 2) &&
           s->pad < s->kernel;
}

void coc_cpu_pack_depthwise(int channels, int taps, const float *w, int threads, int thread,
                            float *packed)
{
    for (int v = thread; v < coc_vectors(channels); v += threads)
        for (int t = 0; t < taps; t++)
            for (int i = 0; i < COC_LANES; i++) {
                const int c = v * COC_LANES + i;

                packed[(v * taps + t) * COC_LANES + i] = c < channels ? w[c * taps + t] : 0.0f;
            }
}

/* One output row of one vector of channels. */
typedef struct {
    const float *rows[COC_MOST_KERNEL]; /* input rows under the kernel, in the ring */
    int first, end;                     /* of the kernel's rows, those inside the image */
    const float *w;                     /* [k * k][COC_LANES] */
    float *y;
    int64_t y_stride;
    int columns, lanes;
    float *sums; /* [2][COC_LANES] += sum, sum of squares */
} output_row;

COC_KERNEL void forward_row(const int kernel, const int stride, const output_row *o)
{
    coc_vec first = coc_load(o->sums), second = coc_load(o->sums + COC_LANES);

    for (int column = 0; column < o->columns; column += COC_TILE) {
        float *y = o->y + column * o->y_stride;
        coc_vec sum[COC_TILE] = {{0}};

        for (int i = o->first; i < o->end; i++) {
            const float *x = o->rows[i] + column * stride * COC_LANES;
            const float *w = o->w + i * kernel * COC_LANES;

            COC_UNROLL
            for (int j = 0; j < kernel; j++) {
                const coc_vec weight = coc_load(w + j * COC_LANES);

                COC_UNROLL
                for (int t = 0; t < COC_TILE; t++)
                    sum[t] += weight * coc_load(x + (t * stride + j) * COC_LANES);
            }
        }
        COC_UNROLL
        for (int t = 0; t < COC_TILE; t++) {
            if (column + t >= o->columns) continue;
            __builtin_prefetch(y + (t + AHEAD) * o->y_stride, 1);
            coc_store_some(y + t * o->y_stride, sum[t], o->lanes);
            first += sum[t];
            second += sum[t] * sum[t];
        }
    }
    coc_store(o->sums, first);
    coc_store(o->sums + COC_LANES, second);
}

static __attribute__((noinline)) void forward_row_31(const output_row *o)
{
    forward_row(3, 1, o);
}

static __attribute__((noinline)) void forward_row_32(const output_row *o)
{
    forward_row(3, 2, o);
}

static __attribute__((noinline)) void forward_row_51(const output_row *o)
{
    forward_row(5, 1, o);
}

static __attribute__((noinline)) void forward_row_52(const output_row *o)
{
    forward_row(5, 2, o);
}

/* A call's working memory. */
typedef struct {
    const coc_conv *s;
    int threads;
    coc_cpu_ring ring; /* sizes; memory of thread 0 */
    float *packed;     /* [vectors][k * k][COC_LANES] */
    double *clip_sums; /* [n][2][C] */
    float *coefficients, *sums;
    int64_t coefficients_size, sums_size;
    void (*row)(const output_row *);
} plan;

static void lay_out(plan *p, int64_t n, coc_cpu_scratch *scratch)
{
    const int channels = p->s->in_c, taps = p->s->kernel * p->s->kernel;
    const int64_t vectors = coc_vectors(channels);

    p->coefficients_size = vectors * COC_INPUT_ROWS * COC_LANES;
    p->sums_size = (int64_t)p->ring.vectors * 2 * COC_LANES;
    p->packed = coc_cpu_take(scratch, vectors * taps * COC_LANES, sizeof(float));
    p->clip_sums = coc_cpu_take(scratch, n * 2 * channels, sizeof(double));
    p->ring.memory = coc_cpu_take(scratch, p->threads * coc_ring_size(&p->ring), sizeof(float));
    p->coefficients = coc_cpu_take(scratch, p->threads * p->coefficients_size, sizeof(float));
    p->sums = coc_cpu_take(scratch, p->threads * p->sums_size, sizeof(float));
}

static plan make_plan(const coc_backend *b, const coc_conv *s, int64_t n)
{
    const int tiles = (s->out_w + COC_TILE - 1) / COC_TILE;
    const int reach = (tiles * COC_TILE - 1) * s->stride + s->kernel; /* overhanging tile, too */
    const int width = reach > s->in_w + s->pad ? reach : s->in_w + s->pad;
    plan p = {.s = s, .threads = n < b->threads ? (int)n : b->threads};

    p.ring.slots = s->kernel;
    p.ring.width = coc_cpu_ring_width(width);
    p.ring.vectors = coc_cpu_ring_vectors(s->in_c, (int64_t)p.ring.slots * p.ring.width * COC_LANES,
                                          RING_FLOATS);
    if (s->kernel == 3)
        p.row = s->stride == 1 ? forward_row_31 : forward_row_32;
    else
        p.row = s->stride == 1 ? forward_row_51 : forward_row_52;
    return p;
}

/* Add the float sums of a group to the clip's and begin anew. */
static void flush_sums(int channels, int first, int vectors, float *sums, double *clip_sums)
{
    for (int v = 0; v < vectors; v++)
        for (int i = 0; i < coc_lanes_of(channels, first + v); i++) {
            double *to = clip_sums + (first + v) * COC_LANES + i;

            to[0] += (double)sums[2 * v * COC_LANES + i];
            to[channels] += (double)sums[(2 * v + 1) * COC_LANES + i];
        }
    memset(sums, 0, (size_t)vectors * 2 * COC_LANES * sizeof(float));
}

/* The rows of one clip and one group of channels, which begins at vector `first`. */
static void forward_group(const plan *p, const coc_cpu_ring *ring, int vectors, int first,
                          const float *x, coc_sight sight, const float *coefficients, float *y,
                          float *sums, double *clip_sums)
{
    const coc_conv *s = p->s;
    const int channels = s->in_c, offset = first * COC_LANES, taps = s->kernel * s->kernel;
    const int left = channels - offset;
    const int width = left < vectors * COC_LANES ? left : vectors * COC_LANES;
    int read = 0, positions = 0;

    for (int h = 0; h < s->out_h; h++) {
        const int top = h * s->stride - s->pad;
        output_row o = {.first = top < 0 ? -top : 0,
                        .end = s->in_h - top < s->kernel ? s->in_h - top : s->kernel,
                        .y_stride = channels,
                        .columns = s->out_w};

        for (; read < top + o.end; read++)
            coc_cpu_read_input(sight, false, s->in_w, width,
                               x + (int64_t)read * s->in_w * channels + offset, channels,
                               coefficients + offset * COC_INPUT_ROWS,
                               coc_ring_row(ring, read, 0) + s->pad * COC_LANES, NULL, ring->width);
        for (int v = 0; v < vectors; v++) {
            for (int i = o.first; i < o.end; i++)
                o.rows[i] = coc_ring_row(ring, top + i, v);
            o.w = p->packed + (int64_t)(first + v) * taps * COC_LANES;
            o.y = y + (int64_t)h * s->out_w * channels + offset + v * COC_LANES;
            o.lanes = coc_lanes_of(channels, first + v);
            o.sums = sums + 2 * v * COC_LANES;
            p->row(&o);
        }
        positions += s->out_w;
        if (positions < COC_FLUSH_POSITIONS && h + 1 < s->out_h) continue;
        flush_sums(channels, first, vectors, sums, clip_sums);
        positions = 0;
    }
}

static void forward_clips(const plan *p, int thread, int64_t n, const float *x,
                          const coc_norm *norm, float *y)
{
    const coc_conv *s = p->s;
    const int channels = s->in_c, all = coc_vectors(channels);
    float *coefficients = p->coefficients + thread * p->coefficients_size;
    float *sums = p->sums + thread * p->sums_size;
    coc_cpu_ring ring = p->ring;
    int64_t clip, end;

    ring.memory += thread * coc_ring_size(&ring);
    memset(ring.memory, 0, (size_t)coc_ring_size(&ring) * sizeof(float));
    memset(sums, 0, (size_t)p->sums_size * sizeof(float));
    coc_cpu_share(n, p->threads, thread, &clip, &end);
    for (; clip < end; clip++) {
        double *clip_sums = p->clip_sums + clip * 2 * channels;

        memset(clip_sums, 0, (size_t)(2 * channels) * sizeof(double));
        coc_cpu_input_coefficients(norm, NULL, clip, channels, coefficients);
        for (int v = 0; v < all; v += ring.vectors)
            forward_group(p, &ring, all - v < ring.vectors ? all - v : ring.vectors, v,
                          x + clip * s->in_h * s->in_w * channels, coc_sight_of(norm), coefficients,
                          y + clip * s->out_h * s->out_w * channels, sums, clip_sums);
    }
}

void coc_cpu_depthwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const float *x,
                               const coc_norm *norm, const float *w, float *y, const int32_t *group,
                               double *sums)
{
    plan p = make_plan(b, s, n);
    coc_cpu_scratch scratch = {0};

    if (!coc_cpu_has_depthwise(s)) {
        coc_ref_depthwise_forward(b, s, n, x, norm, w, y, group, sums);
        return;
    }
    lay_out(&p, n, &scratch);
    if (!coc_cpu_scratch_begin(b, &scratch)) return;
    lay_out(&p, n, &scratch);
#pragma omp parallel num_threads(p.threads)
    {
        const int thread = omp_get_thread_num();

        coc_cpu_pack_depthwise(s->in_c, s->kernel * s->kernel, w, p.threads, thread, p.packed);
#pragma omp barrier
        forward_clips(&p, thread, n, x, norm, y);
    }
    if (sums != NULL) coc_cpu_add_sums(n, s->out_c, p.clip_sums, group, sums);
}
