/* The fast backend's convolutions against the reference on random shapes: kernels, strides, odd
 * sizes, clips in several groups, with and without norm, gate, pooled gradient and so on. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "model/ops.h"
#include "tests/test.h"

enum { GROUPS = 2, MOST = 1 << 15, SHAPES = 16 };

/* Everything that any operation here takes, filled with random numbers. */
typedef struct {
    coc_conv s;
    int64_t n;
    float *x, *keep, *w, *y_raw, *dz_in, *gate_in, *gate_out, *pooled, *clip;
    float *mean[2], *inverse[2], *scale[2], *shift[2], *mean_du, *mean_dux;
    int32_t group[8];
    coc_norm in, out;
    coc_gradient dy;
} fixture;

/* What an operation wrote. */
typedef struct {
    float *y, *dw, *dgate;
    double *sums;
} results;

static uint32_t seed;

static uint32_t below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static float *numbers(int64_t count, float low, float high)
{
    float *values = malloc((size_t)count * sizeof *values);

    coc_test_random(values, count, ++seed);
    for (int64_t i = 0; i < count; i++)
        values[i] = low + 0.5f * (values[i] + 1) * (high - low);
    return values;
}

static coc_norm make_norm(fixture *f, int which, int channels, bool silu)
{
    f->mean[which] = numbers(GROUPS * channels, -1, 1);
    f->inverse[which] = numbers(GROUPS * channels, 0.5f, 2);
    f->scale[which] = numbers(GROUPS * channels, -2, 2);
    f->shift[which] = numbers(GROUPS * channels, -1, 1);
    return (coc_norm){.mean = f->mean[which],
                      .inverse_std = f->inverse[which],
                      .scale = f->scale[which],
                      .shift = f->shift[which],
                      .group = f->group,
                      .silu = silu};
}

/* options: one bit each for what may be left out. The fixture points into itself. */
static void make(fixture *f, coc_conv s, int64_t n, uint32_t options)
{
    const int64_t in = (int64_t)s.in_h * s.in_w * s.in_c;
    const int64_t out = (int64_t)s.out_h * s.out_w * s.out_c;

    *f = (fixture){.s = s, .n = n};
    for (int i = 0; i < 8; i++)
        f->group[i] = i >= n / 2;
    f->x = numbers(n * in, -1, 1);
    f->keep = numbers(n * s.in_c, 0, 1);
    f->w = numbers((int64_t)s.in_c * s.out_c * s.kernel * s.kernel, -1, 1);
    f->y_raw = numbers(n * out, -1, 1);
    f->dz_in = numbers(n * out, -1, 1);
    f->gate_in = numbers(n * s.in_c, 0, 1);
    f->gate_out = numbers(n * s.out_c, 0, 1);
    f->pooled = numbers(n * s.out_c, -1, 1);
    f->clip = numbers(n, 0, 2);
    f->mean_du = numbers(GROUPS * s.out_c, -0.5f, 0.5f);
    f->mean_dux = numbers(GROUPS * s.out_c, -0.5f, 0.5f);
    f->in = make_norm(f, 0, s.in_c, (options & 1) != 0);
    f->out = make_norm(f, 1, s.out_c, (options & 2) != 0);
    f->dy = (coc_gradient){.x = f->y_raw,
                           .norm = &f->out,
                           .dz = options & 4 ? f->dz_in : NULL,
                           .gate = options & 8 ? f->gate_out : NULL,
                           .pooled = options & 16 || !(options & 4) ? f->pooled : NULL,
                           .clip = options & 32 ? f->clip : NULL,
                           .mean_du = f->mean_du,
                           .mean_dux = f->mean_dux};
}

static void release(fixture *f)
{
    float *all[] = {f->x,        f->keep,       f->w,          f->y_raw,    f->dz_in,
                    f->gate_in,  f->gate_out,   f->pooled,     f->clip,     f->mean[0],
                    f->mean[1],  f->inverse[0], f->inverse[1], f->scale[0], f->scale[1],
                    f->shift[0], f->shift[1],   f->mean_du,    f->mean_dux};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

/* Buffers start with the same numbers each time: what adds must keep them. */
static results make_results(void)
{
    results r = {.y = malloc(MOST * sizeof(float)),
                 .dw = malloc(MOST * sizeof(float)),
                 .dgate = malloc(MOST * sizeof(float)),
                 .sums = malloc(MOST * sizeof(double))};

    coc_test_random(r.y, MOST, 1);
    coc_test_random(r.dw, MOST, 2);
    coc_test_random(r.dgate, MOST, 3);
    for (int i = 0; i < MOST; i++)
        r.sums[i] = (double)r.dw[i];
    return r;
}

static void free_results(results *r)
{
    free(r->y);
    free(r->dw);
    free(r->dgate);
    free(r->sums);
}

static float largest(const float *values)
{
    float most = 1;

    for (int i = 0; i < MOST; i++)
        most = fabsf(values[i]) > most ? fabsf(values[i]) : most;
    return most;
}

/* terms: products that are summed in a value of y and in one of dw. Rounding grows like the root of
 * the number of terms (4 sqrt(K) eps); numbers are relative to the largest. */
static void check_equal(const results *got, const results *want, int64_t terms, int64_t dw_terms)
{
    const double eps = 6e-8;
    double most = 1;

    CHECK_CLOSE(got->y, want->y, MOST, 0, 4 * sqrt((double)terms) * eps * largest(want->y));
    CHECK_CLOSE(got->dw, want->dw, MOST, 0, 4 * sqrt((double)dw_terms) * eps * largest(want->dw));
    CHECK_CLOSE(got->dgate, want->dgate, MOST, 0,
                4 * sqrt((double)(terms + dw_terms)) * eps * largest(want->dgate));
    for (int i = 0; i < MOST; i++)
        most = fabs(want->sums[i]) > most ? fabs(want->sums[i]) : most;
    for (int i = 0; i < MOST; i++)
        if (!(fabs(got->sums[i] - want->sums[i]) <=
              4 * sqrt((double)(terms + dw_terms)) * eps * most)) {
            coc_test_fail(__FILE__, __LINE__, "sums[%d] = %.9g, want %.9g", i, got->sums[i],
                          want->sums[i]);
            return;
        }
}

typedef void (*operation)(coc_backend *b, const fixture *f, uint32_t options, results *r);

static results run(const char *backend, int threads, operation op, const fixture *f,
                   uint32_t options)
{
    results r = make_results();
    coc_backend *b = NULL;

    if (coc_backend_create(backend, threads, &b) == COC_OK) {
        op(b, f, options, &r);
        CHECK(b->ops->finish(b) == COC_OK);
    } else {
        coc_test_fail(__FILE__, __LINE__, "%s: %s", backend, coc_error_text());
    }
    coc_backend_destroy(&b);
    return r;
}

static void stem_forward(coc_backend *b, const fixture *f, uint32_t o, results *r)
{
    b->ops->stem_forward(b, &f->s, f->n, f->x, o & 64 ? f->keep : NULL, f->w, r->y, f->group,
                         o & 128 ? r->sums : NULL);
}

static void stem_backward(coc_backend *b, const fixture *f, uint32_t o, results *r)
{
    b->ops->stem_backward(b, &f->s, f->n, f->x, o & 64 ? f->keep : NULL, &f->dy, r->dw);
}

static void depthwise_forward(coc_backend *b, const fixture *f, uint32_t o, results *r)
{
    b->ops->depthwise_forward(b, &f->s, f->n, f->x, o & 64 ? &f->in : NULL, f->w, r->y, f->group,
                              o & 128 ? r->sums : NULL);
}

static void depthwise_backward(coc_backend *b, const fixture *f, uint32_t o, results *r)
{
    b->ops->depthwise_backward(b, &f->s, f->n, f->x, o & 64 ? &f->in : NULL, &f->dy, f->w, r->y,
                               (o & 256) != 0, r->dw, o & 64 ? r->sums : NULL);
}

static void pointwise_forward(coc_backend *b, const fixture *f, uint32_t o, results *r)
{
    b->ops->pointwise_forward(b, &f->s, f->n, f->x, o & 64 ? &f->in : NULL,
                              o & 512 ? f->gate_in : NULL, f->w, r->y, f->group,
                              o & 128 ? r->sums : NULL);
}

static void pointwise_backward(coc_backend *b, const fixture *f, uint32_t o, results *r)
{
    b->ops->pointwise_backward(b, &f->s, f->n, f->x, o & 64 ? &f->in : NULL,
                               o & 512 ? f->gate_in : NULL, &f->dy, f->w, r->y, (o & 256) != 0,
                               r->dw, o & 512 ? r->dgate : NULL);
}

static void norm_sums(coc_backend *b, const fixture *f, uint32_t o, results *r)
{
    (void)o;
    b->ops->norm_backward_sums(b, f->n, (int64_t)f->s.out_h * f->s.out_w, f->s.out_c, &f->dy,
                               r->sums);
}

/* A shape whose input is h x w; padding as the network has it, or none. */
static coc_conv shape(int kernel, int stride, int h, int w, int in_c, int out_c)
{
    const int needed = kernel - (stride == 2 && (h | w) % 2 == 0 ? 2 : 1);
    const int pad = below(4) == 0 ? 0 : needed;

    if (h < kernel) h = kernel;
    if (w < kernel) w = kernel;
    return (coc_conv){.in_h = h,
                      .in_w = w,
                      .in_c = in_c,
                      .out_h = (h + pad - kernel) / stride + 1,
                      .out_w = (w + pad - kernel) / stride + 1,
                      .out_c = out_c,
                      .kernel = kernel,
                      .stride = stride,
                      .pad = pad / 2};
}

static coc_conv depthwise_shape(void)
{
    const int channels = 8 * (1 + (int)below(9)) - (below(4) == 0 ? (int)below(8) : 0);

    return shape(3 + 2 * (int)below(2), 1 + (int)below(2), 3 + (int)below(9), 3 + (int)below(36),
                 channels, channels);
}

static coc_conv pointwise_shape(void)
{
    return shape(1, 1, 1 + (int)below(5), 1 + (int)below(70), 8 * (1 + (int)below(9)),
                 8 * (1 + (int)below(9)) - (below(4) == 0 ? (int)below(8) : 0));
}

static coc_conv stem_shape(void)
{
    return shape(3, 2, 3 + (int)below(9), 3 + (int)below(60), 1 + (int)below(2),
                 8 * (1 + (int)below(5)));
}

/* n clips, at most 5, that fit the buffers */
static int64_t clips_for(const coc_conv *s)
{
    const int64_t in = (int64_t)s->in_h * s->in_w * s->in_c;
    const int64_t out = (int64_t)s->out_h * s->out_w * s->out_c;
    const int64_t most = MOST / (in > out ? in : out);
    const int64_t n = 1 + below(5);

    return n < most ? n : most;
}

static void compare(operation op, coc_conv (*draw)(void), bool many_inputs)
{
    for (int i = 0; i < SHAPES; i++) {
        const coc_conv s = draw();
        const int64_t n = clips_for(&s);
        const uint32_t options = below(1024);
        const int64_t terms = (int64_t)s.kernel * s.kernel * (many_inputs ? s.in_c + s.out_c : 1);
        fixture f;
        results want, one, two, again;

        make(&f, s, n, options);
        want = run("ref", 1, op, &f, options);
        one = run("cpu", 1, op, &f, options);
        two = run("cpu", 2, op, &f, options);
        again = run("cpu", 2, op, &f, options);

        check_equal(&one, &want, terms, n * s.out_h * s.out_w);
        check_equal(&two, &want, terms, n * s.out_h * s.out_w);
        CHECK(memcmp(two.y, again.y, MOST * sizeof(float)) == 0);
        CHECK(memcmp(two.dw, again.dw, MOST * sizeof(float)) == 0);
        CHECK(memcmp(two.dgate, again.dgate, MOST * sizeof(float)) == 0);
        CHECK(memcmp(one.sums, two.sums, MOST * sizeof(double)) == 0);
        free_results(&want);
        free_results(&one);
        free_results(&two);
        free_results(&again);
        release(&f);
    }
}

/* The first convolution equals the reference, on one thread and two, twice the same bits. */
static void stem_equals_reference(void)
{
    compare(stem_forward, stem_shape, true);
    compare(stem_backward, stem_shape, true);
}

/* Depthwise convolutions equal the reference for kernels 3 and 5, strides 1 and 2, any padding and
 * numbers of channels that are no multiple of a vector. */
static void depthwise_equals_reference(void)
{
    compare(depthwise_forward, depthwise_shape, false);
    compare(depthwise_backward, depthwise_shape, false);
}

/* 1 x 1 convolutions equal the reference, with and without norm, gate and accumulation. */
static void pointwise_equals_reference(void)
{
    compare(pointwise_forward, pointwise_shape, true);
    compare(pointwise_backward, pointwise_shape, true);
}

/* The sums of batch norm's backward equal the reference. */
static void norm_sums_equal_reference(void)
{
    compare(norm_sums, depthwise_shape, false);
}

/* silu as the fast backend sees it is within 4 units in the last place of the true value over the
 * whole range, also where exp overflows, and a NaN stays one. */
static void silu_is_accurate(void)
{
    enum { N = 4096 };
    const coc_conv s = {1, N, 1, 1, N, 1, 1, 1, 0};
    const float one = 1, zero = 0;
    const int32_t group = 0;
    const coc_norm norm = {&zero, &one, &one, &zero, &group, true};
    float x[N], y[N];
    coc_backend *b = NULL;

    REQUIRE_OK(coc_backend_create("cpu", 1, &b));
    for (int i = 0; i < N; i++)
        x[i] = 100.0f * (float)(i - N / 2) / (float)(N / 2);
    x[0] = NAN;
    b->ops->pointwise_forward(b, &s, 1, x, &norm, NULL, &one, y, &group, NULL);
    CHECK(isnan(y[0]));
    for (int i = 1; i < N; i++)
        if (fabsf(x[i]) < 86) { /* beyond it the sigmoid is cut off at exp(-87) */
            const double want = (double)x[i] / (1 + exp(-(double)x[i]));

            if (!(fabs(y[i] - want) <= 4 * 6e-8 * fabs(want)))
                coc_test_fail(__FILE__, __LINE__, "silu(%g) = %.9g, want %.9g", x[i], y[i], want);
        }
    CHECK(y[N - 1] == x[N - 1]);
    CHECK(fabsf(y[1]) < 1e-30f);
    coc_backend_destroy(&b);
}

int main(void)
{
    RUN(stem_equals_reference);
    RUN(depthwise_equals_reference);
    RUN(pointwise_equals_reference);
    RUN(norm_sums_equal_reference);
    RUN(silu_is_accurate);
    return coc_test_result();
}
