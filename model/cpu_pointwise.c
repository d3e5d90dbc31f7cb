/* 1 x 1 convolutions: a panel of rows is read through norm, SiLU and gate into the caches, and
 * multiplied there. Backward forms the gradient of the same rows and makes both products of them.
 */
#include <omp.h>

#include "model/cpu_gemm.h"

/* Sizes and working memory of a call. */
typedef struct {
    int in, out, threads;
    int64_t n, positions;
    int rows; /* of a panel, at most */
    int64_t stride;
    float *packed;
    double *clip_sums;                     /* [n][2][out] */
    float *parts;                          /* weight gradients of the threads */
    float *panels, *dy_panels;             /* of the threads, in and out channels */
    float *coefficients, *dy_coefficients; /* likewise */
    int64_t panel_size, dy_size, coefficients_size, dy_coefficients_size;
} plan;

static plan make_plan(const coc_backend *b, const coc_conv *s, int64_t n, int64_t channels)
{
    const int64_t in = coc_vectors(s->in_c) * COC_LANES, out = coc_vectors(s->out_c) * COC_LANES;
    plan p = {.in = s->in_c,
              .out = s->out_c,
              .threads = n < b->threads ? (int)n : b->threads,
              .n = n,
              .positions = (int64_t)s->out_h * s->out_w,
              .rows = coc_cpu_panel_rows(channels)};

    p.stride = coc_cpu_panel_stride(p.rows);
    p.panel_size = in * p.stride;
    p.dy_size = out * p.stride;
    p.coefficients_size = in * COC_INPUT_ROWS;
    p.dy_coefficients_size = out * COC_GRADIENT_ROWS;
    return p;
}

static void lay_out_forward(plan *p, coc_cpu_scratch *scratch)
{
    p->packed = coc_cpu_take(scratch, coc_cpu_packed_size(p->in, p->out), sizeof(float));
    p->clip_sums = coc_cpu_take(scratch, p->n * 2 * p->out, sizeof(double));
    p->panels = coc_cpu_take(scratch, p->threads * p->panel_size, sizeof(float));
    p->coefficients = coc_cpu_take(scratch, p->threads * p->coefficients_size, sizeof(float));
}

static void lay_out_backward(plan *p, coc_cpu_scratch *scratch)
{
    p->packed = coc_cpu_take(scratch, coc_cpu_packed_size(p->out, p->in), sizeof(float));
    p->parts = coc_cpu_take(scratch, p->threads * coc_cpu_outer_size(p->out, p->in), sizeof(float));
    p->panels = coc_cpu_take(scratch, p->threads * p->panel_size, sizeof(float));
    p->dy_panels = coc_cpu_take(scratch, p->threads * p->dy_size, sizeof(float));
    p->coefficients = coc_cpu_take(scratch, p->threads * p->coefficients_size, sizeof(float));
    p->dy_coefficients = coc_cpu_take(scratch, p->threads * p->dy_coefficients_size, sizeof(float));
}

/* The input of a panel as it is seen, clip by clip. */
static void read_panel(const plan *p, const coc_cpu_panel *at, const float *x, const coc_norm *norm,
                       const float *gate, bool gated, float *coefficients, float *panel)
{
    for (int i = 0; i < at->clips; i++) {
        const int64_t clip = at->clip + i, row = clip * p->positions + at->position;

        if (at->position == 0) coc_cpu_input_coefficients(norm, gate, clip, p->in, coefficients);
        coc_cpu_read_input(coc_sight_of(norm), gated, at->rows, p->in, x + row * p->in, p->in,
                           coefficients, panel + (int64_t)i * at->rows * COC_LANES, NULL,
                           p->stride);
    }
}

void coc_cpu_pointwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const float *x,
                               const coc_norm *norm, const float *gate, const float *w, float *y,
                               const int32_t *group, double *sums)
{
    plan p = make_plan(b, s, n, s->in_c);
    coc_cpu_scratch scratch = {0};

    lay_out_forward(&p, &scratch);
    if (!coc_cpu_scratch_begin(b, &scratch)) return;
    lay_out_forward(&p, &scratch);
#pragma omp parallel num_threads(p.threads)
    {
        const int thread = omp_get_thread_num();
        float *panel = p.panels + thread * p.panel_size;
        float *coefficients = p.coefficients + thread * p.coefficients_size;
        coc_cpu_panel at = {0};
        int64_t end;

        coc_cpu_pack(p.in, p.out, w, 1, p.in, p.threads, thread, p.packed);
        coc_cpu_share(n, p.threads, thread, &at.clip, &end);
        memset(p.clip_sums + at.clip * 2 * p.out, 0,
               (size_t)((end - at.clip) * 2 * p.out) * sizeof(double));
#pragma omp barrier
        while (coc_cpu_next_panel(&at, end, p.positions, p.rows)) {
            const coc_cpu_product product = {
                .clips = at.clips,
                .rows = at.rows,
                .k = p.in,
                .n = p.out,
                .panel = panel,
                .stride = p.stride,
                .packed = p.packed,
                .out = y + (at.clip * p.positions + at.position) * p.out,
                .sums = sums != NULL ? p.clip_sums + at.clip * 2 * p.out : NULL};

            read_panel(&p, &at, x, norm, gate, gate != NULL, coefficients, panel);
            coc_cpu_multiply(&product);
        }
    }
    if (sums != NULL) coc_cpu_add_sums(n, p.out, p.clip_sums, group, sums);
}

/* The gradient at the output of a panel's rows. */
static void form_panel(const plan *p, const coc_cpu_panel *at, const coc_gradient *dy,
                       float *coefficients, float *panel)
{
    for (int i = 0; i < at->clips; i++) {
        const int64_t clip = at->clip + i, row = clip * p->positions + at->position;

        if (at->position == 0) coc_cpu_gradient_coefficients(dy, clip, p->out, coefficients);
        coc_cpu_read_gradient(dy, row * p->out, at->rows, p->out, p->out, coefficients,
                              panel + (int64_t)i * at->rows * COC_LANES, p->stride);
    }
}

/* v -> z = gate * v for the rows of a panel. */
static void apply_gate(const plan *p, const coc_cpu_panel *at, const float *gate, float *panel)
{
    for (int i = 0; i < at->clips; i++)
        for (int v = 0; v < coc_vectors(p->in); v++) {
            const coc_vec factor = coc_load_some(gate + (at->clip + i) * p->in + v * COC_LANES,
                                                 coc_lanes_of(p->in, v));
            float *row = panel + (v * p->stride + (int64_t)i * at->rows) * COC_LANES;

            for (int r = 0; r < at->rows; r++, row += COC_LANES)
                coc_store(row, coc_load(row) * factor);
        }
}

/* One thread's panels. */
static void backward_panels(const plan *p, int thread, const float *x, const coc_norm *norm,
                            const float *gate, const coc_gradient *dy, float *dz, bool accumulate,
                            float *dgate)
{
    const int64_t size = coc_cpu_outer_size(p->out, p->in);
    float *panel = p->panels + thread * p->panel_size;
    float *dy_panel = p->dy_panels + thread * p->dy_size;
    float *part = p->parts + thread * size;
    coc_cpu_panel at = {0};
    int64_t end;

    coc_cpu_share(p->n, p->threads, thread, &at.clip, &end);
    memset(part, 0, (size_t)size * sizeof(float));
    if (dgate != NULL)
        memset(dgate + at.clip * p->in, 0, (size_t)((end - at.clip) * p->in) * sizeof(float));
    while (coc_cpu_next_panel(&at, end, p->positions, p->rows)) {
        const coc_cpu_product product = {.clips = at.clips,
                                         .rows = at.rows,
                                         .k = p->out,
                                         .n = p->in,
                                         .panel = dy_panel,
                                         .stride = p->stride,
                                         .packed = p->packed,
                                         .out = dz + (at.clip * p->positions + at.position) * p->in,
                                         .add = accumulate,
                                         .other = panel,
                                         .dots = dgate != NULL ? dgate + at.clip * p->in : NULL};

        form_panel(p, &at, dy, p->dy_coefficients + thread * p->dy_coefficients_size, dy_panel);
        read_panel(p, &at, x, norm, NULL, false, p->coefficients + thread * p->coefficients_size,
                   panel);
        coc_cpu_multiply(&product);
        if (gate != NULL) apply_gate(p, &at, gate, panel);
        coc_cpu_outer(at.clips * at.rows, p->out, p->in, dy_panel, panel, p->stride, part);
    }
}

void coc_cpu_pointwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const float *x,
                                const coc_norm *norm, const float *gate, const coc_gradient *dy,
                                const float *w, float *dz, bool accumulate, float *dw, float *dgate)
{
    plan p = make_plan(b, s, n, (int64_t)s->in_c + s->out_c);
    coc_cpu_scratch scratch = {0};

    lay_out_backward(&p, &scratch);
    if (!coc_cpu_scratch_begin(b, &scratch)) return;
    lay_out_backward(&p, &scratch);
#pragma omp parallel num_threads(p.threads)
    {
        const int thread = omp_get_thread_num();

        coc_cpu_pack(p.out, p.in, w, p.in, 1, p.threads, thread, p.packed);
#pragma omp barrier
        backward_panels(&p, thread, x, norm, gate, dy, dz, accumulate, dgate);
#pragma omp barrier
        coc_cpu_outer_add(p.out, p.in, p.threads, p.parts, p.threads, thread, dw);
    }
}
