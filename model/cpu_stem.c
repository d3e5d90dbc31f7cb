/* The first convolution: features [C][F][T] of a clip are gathered into a panel of output positions
 * by taps, in the published order of the weights; the rest is that of a 1 x 1 convolution with
 * C k k input channels. */
#include <omp.h>

#include "model/cpu_gemm.h"

typedef struct {
    const coc_conv *s;
    int taps, threads; /* taps: of all input channels */
    int64_t n, positions;
    int rows; /* of a panel, at most */
    int64_t stride, panel_size, dy_size, coefficients_size;
    float *packed, *parts, *panels, *dy_panels, *coefficients;
    double *clip_sums;
} plan;

static plan make_plan(const coc_backend *b, const coc_conv *s, int64_t n)
{
    const int taps = s->in_c * s->kernel * s->kernel;
    plan p = {.s = s,
              .taps = taps,
              .threads = n < b->threads ? (int)n : b->threads,
              .n = n,
              .positions = (int64_t)s->out_h * s->out_w,
              .rows = coc_cpu_panel_rows(taps + s->out_c)};
    const int64_t out = (int64_t)coc_vectors(s->out_c) * COC_LANES;

    p.stride = coc_cpu_panel_stride(p.rows);
    p.panel_size = (int64_t)coc_vectors(taps) * COC_LANES * p.stride;
    p.dy_size = out * p.stride;
    p.coefficients_size = out * COC_GRADIENT_ROWS;
    return p;
}

static void lay_out_forward(plan *p, coc_cpu_scratch *scratch)
{
    p->packed = coc_cpu_take(scratch, coc_cpu_packed_size(p->taps, p->s->out_c), sizeof(float));
    p->clip_sums = coc_cpu_take(scratch, p->n * 2 * p->s->out_c, sizeof(double));
    p->panels = coc_cpu_take(scratch, p->threads * p->panel_size, sizeof(float));
}

static void lay_out_backward(plan *p, coc_cpu_scratch *scratch)
{
    p->parts =
        coc_cpu_take(scratch, p->threads * coc_cpu_outer_size(p->s->out_c, p->taps), sizeof(float));
    p->panels = coc_cpu_take(scratch, p->threads * p->panel_size, sizeof(float));
    p->dy_panels = coc_cpu_take(scratch, p->threads * p->dy_size, sizeof(float));
    p->coefficients = coc_cpu_take(scratch, p->threads * p->coefficients_size, sizeof(float));
}

/* One tap for outputs column .. column + count - 1 of a row: to[i * COC_LANES]. from: the input
 * row, NULL in the padding. */
static void gather_tap(const coc_conv *s, const float *from, float factor, int tap, int column,
                       int count, float *to)
{
    int at = column * s->stride + tap - s->pad;

    for (int i = 0; i < count; i++, at += s->stride)
        to[i * COC_LANES] = from != NULL && at >= 0 && at < s->in_w ? factor * from[at] : 0.0f;
}

/* Outputs column .. column + count - 1 of output row `row`, all taps. x: the clip. */
static void gather_row(const plan *p, int row, int column, int count, const float *x,
                       const float *keep, float *panel)
{
    const coc_conv *s = p->s;
    const int area = s->kernel * s->kernel;

    for (int t = 0; t < p->taps; t++) {
        const int c = t / area, h = row * s->stride + t % area / s->kernel - s->pad;
        const float *from = h >= 0 && h < s->in_h ? x + ((int64_t)c * s->in_h + h) * s->in_w : NULL;

        gather_tap(s, from, keep != NULL ? keep[c] : 1.0f, t % s->kernel, column, count,
                   panel + t / COC_LANES * p->stride * COC_LANES + t % COC_LANES);
    }
}

static void gather_panel(const plan *p, const coc_cpu_panel *at, const float *x, const float *keep,
                         float *panel)
{
    const coc_conv *s = p->s;

    for (int i = 0; i < at->clips; i++) {
        const int64_t clip = at->clip + i;
        const float *from = x + clip * s->in_c * s->in_h * s->in_w;
        const float *kept = keep != NULL ? keep + clip * s->in_c : NULL;

        for (int done = 0; done < at->rows;) {
            const int place = (int)at->position + done;
            const int column = place % s->out_w, left = at->rows - done;
            const int count = left < s->out_w - column ? left : s->out_w - column;

            gather_row(p, place / s->out_w, column, count, from, kept,
                       panel + ((int64_t)i * at->rows + done) * COC_LANES);
            done += count;
        }
    }
}

void coc_cpu_stem_forward(coc_backend *b, const coc_conv *s, int64_t n, const float *x,
                          const float *keep, const float *w, float *y, const int32_t *group,
                          double *sums)
{
    plan p = make_plan(b, s, n);
    coc_cpu_scratch scratch = {0};

    lay_out_forward(&p, &scratch);
    if (!coc_cpu_scratch_begin(b, &scratch)) return;
    lay_out_forward(&p, &scratch);
#pragma omp parallel num_threads(p.threads)
    {
        const int thread = omp_get_thread_num();
        float *panel = p.panels + thread * p.panel_size;
        coc_cpu_panel at = {0};
        int64_t end;

        coc_cpu_pack(p.taps, s->out_c, w, 1, p.taps, p.threads, thread, p.packed);
        coc_cpu_share(n, p.threads, thread, &at.clip, &end);
        memset(p.clip_sums + at.clip * 2 * s->out_c, 0,
               (size_t)((end - at.clip) * 2 * s->out_c) * sizeof(double));
        memset(panel, 0, (size_t)p.panel_size * sizeof(float)); /* lanes beyond the taps */
#pragma omp barrier
        while (coc_cpu_next_panel(&at, end, p.positions, p.rows)) {
            const coc_cpu_product product = {
                .clips = at.clips,
                .rows = at.rows,
                .k = p.taps,
                .n = s->out_c,
                .panel = panel,
                .stride = p.stride,
                .packed = p.packed,
                .out = y + (at.clip * p.positions + at.position) * s->out_c,
                .sums = sums != NULL ? p.clip_sums + at.clip * 2 * s->out_c : NULL};

            gather_panel(&p, &at, x, keep, panel);
            coc_cpu_multiply(&product);
        }
    }
    if (sums != NULL) coc_cpu_add_sums(n, s->out_c, p.clip_sums, group, sums);
}

/* One thread's panels. */
static void backward_panels(const plan *p, int thread, const float *x, const float *keep,
                            const coc_gradient *dy)
{
    const int out = p->s->out_c;
    const int64_t size = coc_cpu_outer_size(out, p->taps);
    float *panel = p->panels + thread * p->panel_size;
    float *dy_panel = p->dy_panels + thread * p->dy_size;
    float *coefficients = p->coefficients + thread * p->coefficients_size;
    coc_cpu_panel at = {0};
    int64_t end;

    coc_cpu_share(p->n, p->threads, thread, &at.clip, &end);
    memset(p->parts + thread * size, 0, (size_t)size * sizeof(float));
    memset(panel, 0, (size_t)p->panel_size * sizeof(float));
    while (coc_cpu_next_panel(&at, end, p->positions, p->rows)) {
        for (int i = 0; i < at.clips; i++) {
            const int64_t row = (at.clip + i) * p->positions + at.position;

            if (at.position == 0) coc_cpu_gradient_coefficients(dy, at.clip + i, out, coefficients);
            coc_cpu_read_gradient(dy, row * out, at.rows, out, out, coefficients,
                                  dy_panel + (int64_t)i * at.rows * COC_LANES, p->stride);
        }
        gather_panel(p, &at, x, keep, panel);
        coc_cpu_outer(at.clips * at.rows, out, p->taps, dy_panel, panel, p->stride,
                      p->parts + thread * size);
    }
}

void coc_cpu_stem_backward(coc_backend *b, const coc_conv *s, int64_t n, const float *x,
                           const float *keep, const coc_gradient *dy, float *dw)
{
    plan p = make_plan(b, s, n);
    coc_cpu_scratch scratch = {0};

    lay_out_backward(&p, &scratch);
    if (!coc_cpu_scratch_begin(b, &scratch)) return;
    lay_out_backward(&p, &scratch);
#pragma omp parallel num_threads(p.threads)
    {
        backward_panels(&p, omp_get_thread_num(), x, keep, dy);
#pragma omp barrier
        coc_cpu_outer_add(s->out_c, p.taps, p.threads, p.parts, p.threads, omp_get_thread_num(),
                          dw);
    }
}
