/* The GPU's depthwise and first convolutions, own ones or cuDNN's (argument "cudnn"), against the
 * reference on random shapes: any padding,
 * maps from one position to several tiles, clips that fill no block, groups in any order; and the
 * same bits whenever and in whatever company they are computed. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/on_device.h"
#include "tests/test.h"

enum { GROUPS = 4, SHAPES = 24 };

/* Options: one bit each for what may be left out, or added to. */
enum {
    IN_SILU = 1,
    OUT_SILU = 2,
    DZ = 4,
    GATE = 8,
    POOLED = 16,
    CLIP = 32,
    IN_NORM = 64, /* or keep, of a first convolution */
    SUMS = 128,
    ACCUMULATE = 256,
    ALL = 512
};

/* What an operation is given; on the host, as the backend under test would keep it. */
typedef struct {
    coc_conv s;
    int64_t n, in, out, weights;
    bool stem;
    uint32_t options;
    float *x, *keep, *w, *y_raw, *dz, *gate, *pooled, *clip, *mean_du, *mean_dux;
    float *norm[2][4]; /* of input and output: mean, inverse_std, scale, shift */
    int32_t *group;
} fixture;

/* What it wrote: y, or the gradient at x; the gradient of weights; sums. */
typedef struct {
    float *y, *dw;
    double *sums;
} results;

static coc_backend *ref, *cuda;
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

static float *stored_numbers(int64_t count)
{
    float *values = numbers(count, -1, 1);

    coc_test_round(cuda, values, count);
    return values;
}

static void make_norm(float *norm[4], int channels)
{
    norm[0] = numbers((int64_t)GROUPS * channels, -1, 1);
    norm[1] = numbers((int64_t)GROUPS * channels, 0.5f, 2);
    norm[2] = numbers((int64_t)GROUPS * channels, -2, 2);
    norm[3] = numbers((int64_t)GROUPS * channels, -1, 1);
}

static fixture make(coc_conv s, int64_t n, bool stem, uint32_t options)
{
    fixture f = {.s = s, .n = n, .stem = stem, .options = options};

    f.in = (int64_t)s.in_h * s.in_w * s.in_c;
    f.out = (int64_t)s.out_h * s.out_w * s.out_c;
    f.weights = (int64_t)s.out_c * s.kernel * s.kernel * (stem ? s.in_c : 1);
    f.x = stem ? numbers(n * f.in, -80, 0) : stored_numbers(n * f.in);
    f.keep = numbers(n * s.in_c, 0, 1);
    for (int64_t i = 0; i < n * s.in_c; i++)
        f.keep[i] = f.keep[i] > 0.3f;
    f.w = numbers(f.weights, -1, 1);
    f.y_raw = stored_numbers(n * f.out);
    f.dz = stored_numbers(n * f.out);
    f.gate = numbers(n * s.out_c, 0, 1);
    f.pooled = numbers(n * s.out_c, -1, 1);
    f.clip = numbers(n, 0, 2);
    f.mean_du = numbers((int64_t)GROUPS * s.out_c, -0.5f, 0.5f);
    f.mean_dux = numbers((int64_t)GROUPS * s.out_c, -0.5f, 0.5f);
    make_norm(f.norm[0], s.in_c);
    make_norm(f.norm[1], s.out_c);
    f.group = malloc((size_t)n * sizeof *f.group);
    for (int64_t i = 0; i < n; i++)
        f.group[i] = (int32_t)below(GROUPS);
    return f;
}

static void release(fixture *f)
{
    float *all[] = {f->x,    f->keep,   f->w,    f->y_raw,   f->dz,
                    f->gate, f->pooled, f->clip, f->mean_du, f->mean_dux};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
    for (int i = 0; i < 8; i++)
        free(f->norm[i / 4][i % 4]);
    free(f->group);
}

static int64_t values_of(const fixture *f)
{
    return f->n * (f->in > f->out ? f->in : f->out);
}

static int64_t sums_of(const fixture *f)
{
    return (int64_t)GROUPS * 2 * f->s.out_c;
}

static void free_results(results *r)
{
    free(r->y);
    free(r->dw);
    free(r->sums);
}

/* ---- running ---- */

/* Memory of a run on the device, to be given back. */
enum { MOST_PIECES = 32 };
static void *pieces[MOST_PIECES];
static int pieces_used;

static void *put(const coc_backend *b, const void *host, int64_t count, size_t size)
{
    return pieces[pieces_used++] = coc_test_put(b, host, count, size);
}

static stored *put_stored(const coc_backend *b, const float *host, int64_t count)
{
    return pieces[pieces_used++] = coc_test_put_stored(b, host, count);
}

static coc_norm put_norm(const coc_backend *b, const fixture *f, int which, const int32_t *group,
                         bool silu)
{
    const int64_t count = (int64_t)GROUPS * (which == 0 ? f->s.in_c : f->s.out_c);
    real *part[4];

    for (int i = 0; i < 4; i++)
        part[i] = put(b, f->norm[which][i], count, sizeof(real));
    return (coc_norm){part[0], part[1], part[2], part[3], group, silu};
}

static coc_gradient put_gradient(const coc_backend *b, const fixture *f, const coc_norm *norm)
{
    const uint32_t o = f->options;
    const int64_t n = f->n, c = f->s.out_c;

    return (coc_gradient){.x = put_stored(b, f->y_raw, n * f->out),
                          .norm = norm,
                          .dz = o & DZ ? put_stored(b, f->dz, n * f->out) : NULL,
                          .gate = o & GATE ? put(b, f->gate, n * c, 4) : NULL,
                          .pooled = o & POOLED || !(o & DZ) ? put(b, f->pooled, n * c, 4) : NULL,
                          .clip = o & CLIP ? put(b, f->clip, n, 4) : NULL,
                          .mean_du = put(b, f->mean_du, GROUPS * c, 4),
                          .mean_dux = put(b, f->mean_dux, GROUPS * c, 4)};
}

static void run_stem(coc_backend *b, const fixture *f, bool backward, const int32_t *group,
                     stored *y, float *dw, double *sums)
{
    const coc_norm out = put_norm(b, f, 1, group, (f->options & OUT_SILU) != 0);
    const coc_gradient dy = put_gradient(b, f, &out);
    const float *x = put(b, f->x, f->n * f->in, sizeof(float));
    const float *w = put(b, f->w, f->weights, sizeof(float));
    const float *keep =
        f->options & IN_NORM ? put(b, f->keep, f->n * f->s.in_c, sizeof(float)) : NULL;

    if (backward)
        b->ops->stem_backward(b, &f->s, f->n, x, keep, &dy, dw);
    else
        b->ops->stem_forward(b, &f->s, f->n, x, keep, w, y, group, sums);
}

static void run_depthwise(coc_backend *b, const fixture *f, bool backward, const int32_t *group,
                          stored *y, float *dw, double *sums)
{
    const uint32_t o = f->options;
    const coc_norm in = put_norm(b, f, 0, group, (o & IN_SILU) != 0);
    const coc_norm out = put_norm(b, f, 1, group, (o & OUT_SILU) != 0);
    const coc_gradient dy = put_gradient(b, f, &out);
    const coc_norm *norm = o & IN_NORM ? &in : NULL;
    const stored *x = put_stored(b, f->x, f->n * f->in);
    const float *w = put(b, f->w, f->weights, sizeof(float));

    if (backward)
        b->ops->depthwise_backward(b, &f->s, f->n, x, norm, &dy, w, y, (o & ACCUMULATE) != 0, dw,
                                   norm != NULL ? sums : NULL);
    else
        b->ops->depthwise_forward(b, &f->s, f->n, x, norm, w, y, group, sums);
}

/* Results start with the same numbers each time: what is added to must keep them. */
static results run(coc_backend *b, const fixture *f, bool backward)
{
    const int64_t values = values_of(f), sums = sums_of(f);
    results r = {.y = malloc((size_t)values * sizeof *r.y),
                 .dw = malloc((size_t)f->weights * sizeof *r.dw),
                 .sums = malloc((size_t)sums * sizeof *r.sums)};
    const int32_t *group;
    stored *y;
    float *dw;
    double *s;

    coc_test_random(r.y, values, 1);
    coc_test_random(r.dw, f->weights, 2);
    coc_test_round(cuda, r.y, values);
    for (int64_t i = 0; i < sums; i++)
        r.sums[i] = (double)(i % 7) - 3;
    pieces_used = 0;
    y = put_stored(b, r.y, values);
    dw = put(b, r.dw, f->weights, sizeof *dw);
    s = put(b, r.sums, sums, sizeof *s);
    group = put(b, f->group, f->n, sizeof *f->group);
    (f->stem ? run_stem : run_depthwise)(b, f, backward, group, y, dw,
                                         f->options & SUMS || backward ? s : NULL);
    if (b->ops->finish(b) != COC_OK) coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    coc_test_get_stored(b, y, values, r.y);
    coc_test_get(b, dw, f->weights, sizeof *dw, r.dw);
    coc_test_get(b, s, sums, sizeof *s, r.sums);
    while (pieces_used > 0)
        coc_test_release(b, pieces[--pieces_used]);
    return r;
}

/* ---- comparing ---- */

/* fp32: a few roundings of 6e-8 each. bf16: values are kept to 2^-9 of themselves (measured 1.8e-3
 * over a tensor), and the device's tanh is good to 2^-11. */
static void check_near(const fixture *f, const char *what, const float *got, const float *want,
                       int64_t n)
{
    const bool half = cuda->precision == COC_BF16;
    const double error = coc_test_relative_error(got, want, n);
    double most = 0, worst = 0;

    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs(want[i]));
        worst = isnan(got[i]) ? INFINITY : fmax(worst, fabs((double)got[i] - want[i]));
    }
    coc_test_record(what, cuda->precision, error, half ? 4e-3 : 1e-6);
    if (!(error <= (half ? 4e-3 : 1e-6)) || !(worst <= (half ? 1e-2 : 5e-6) * most))
        coc_test_fail(
            __FILE__, __LINE__,
            "%s of kernel %d stride %d pad %d, %d x %d x %d to %d x %d, %d clips, options "
            "%u: relative error %.2g, worst %.2g of %.3g",
            what, f->s.kernel, f->s.stride, f->s.pad, f->s.in_h, f->s.in_w, f->s.out_c, f->s.out_h,
            f->s.out_w, (int)f->n, f->options, error, worst, most);
}

static void compare(const fixture *f, bool backward)
{
    const int64_t sums = sums_of(f);
    results want = run(ref, f, backward), got = run(cuda, f, backward);
    float *a = malloc((size_t)sums * sizeof *a), *b = malloc((size_t)sums * sizeof *b);

    for (int64_t i = 0; i < sums; i++) {
        a[i] = (float)got.sums[i];
        b[i] = (float)want.sums[i];
    }
    check_near(f, backward ? "dz" : "y", got.y, want.y, values_of(f));
    check_near(f, "dw", got.dw, want.dw, f->weights);
    check_near(f, "sums", a, b, sums);
    free(a);
    free(b);
    free_results(&want);
    free_results(&got);
}

/* Sizes of a convolution with `padding` rows and columns of zeros in all, `before` of them first.
 */
static coc_conv shape(int kernel, int stride, int h, int w, int in_c, int out_c, int padding,
                      int before)
{
    h = h + padding < kernel ? kernel : h;
    w = w + padding < kernel ? kernel : w;
    return (coc_conv){.in_h = h,
                      .in_w = w,
                      .in_c = in_c,
                      .out_h = (h + padding - kernel) / stride + 1,
                      .out_w = (w + padding - kernel) / stride + 1,
                      .out_c = out_c,
                      .kernel = kernel,
                      .stride = stride,
                      .pad = before};
}

static coc_conv random_shape(bool stem)
{
    const int kernel = stem ? 3 : 3 + 2 * (int)below(2), padding = (int)below((uint32_t)kernel);
    const int channels = 8 * (1 + (int)below(9));
    const int h = 1 + (int)below(below(3) == 0 ? 40 : 9), w = 1 + (int)below(70);

    return shape(kernel, stem ? 2 : 1 + (int)below(2), h, w, stem ? 1 + (int)below(2) : channels,
                 channels, padding, (int)below((uint32_t)padding + 1));
}

static void compare_shapes(bool stem)
{
    for (int i = 0; i < SHAPES; i++) {
        const coc_conv s = random_shape(stem);
        fixture f = make(s, 1 + below(s.in_h * s.in_w < 100 ? 11 : 3), stem, below(ALL));

        compare(&f, false);
        compare(&f, true);
        release(&f);
    }
}

static void depthwise_equals_reference(void)
{
    compare_shapes(false);
}

static void stem_equals_reference(void)
{
    compare_shapes(true);
}

/* The network's largest maps, and its smallest with as many clips as make a block. */
static void maps_of_the_network_equal_reference(void)
{
    const struct {
        bool stem;
        int64_t n;
        coc_conv s;
    } maps[] = {{true, 1, shape(3, 2, 64, 501, 2, 32, 1, 0)},
                {false, 1, shape(3, 1, 32, 250, 32, 32, 2, 1)},
                {false, 1, shape(3, 2, 32, 250, 40, 40, 1, 0)},
                {false, 2, shape(5, 2, 16, 125, 24, 24, 3, 1)},
                {false, 2, shape(5, 1, 8, 62, 40, 40, 4, 2)},
                {false, 17, shape(5, 2, 4, 31, 32, 32, 3, 1)},
                {false, 19, shape(5, 1, 2, 15, 48, 48, 4, 2)},
                {false, 21, shape(3, 1, 2, 15, 48, 48, 2, 1)}};

    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++) {
        fixture f = make(maps[i].s, maps[i].n, maps[i].stem, (ALL - 1) & ~(uint32_t)ACCUMULATE);

        compare(&f, false);
        compare(&f, true);
        release(&f);
    }
}

/* ---- the same bits ---- */

static void check_same(const fixture *f, const results *a, const results *b)
{
    CHECK(memcmp(a->y, b->y, (size_t)values_of(f) * sizeof *a->y) == 0);
    CHECK(memcmp(a->dw, b->dw, (size_t)f->weights * sizeof *a->dw) == 0);
    CHECK(memcmp(a->sums, b->sums, (size_t)sums_of(f) * sizeof *a->sums) == 0);
}

/* Twice the same gives the same bits. */
static void runs_give_the_same_bits(void)
{
    for (int i = 0; i < 8; i++) {
        const bool stem = i >= 6, backward = i % 2 != 0;
        fixture f = make(random_shape(stem), 5, stem, ALL - 1);
        results one = run(cuda, &f, backward), two = run(cuda, &f, backward);

        check_same(&f, &one, &two);
        free_results(&one);
        free_results(&two);
        release(&f);
    }
}

/* A clip's values and sums are the same bits alone as among others: with its group to itself, the
 * last of five clips is computed again as one. */
static void clips_do_not_depend_on_their_company(void)
{
    for (int i = 0; i < 6; i++) {
        const bool stem = i == 5, backward = i % 2 != 0;
        const coc_conv s = stem ? shape(3, 2, 16, 31, 2, 24, 1, 0)
                                : shape(3 + i / 2 * 2 % 4, 1 + i / 4, 2 + i, 15, 24, 24, 2, 1);
        fixture f = make(s, 5, stem, (ALL - 1) & ~(uint32_t)ACCUMULATE), last;
        results all, one;
        const int64_t most = values_of(&f) / 5, written = backward ? f.in : f.out;

        for (int c = 0; c < 5; c++)
            f.group[c] = c == 4;
        last = f;
        last.n = 1;
        last.x += 4 * f.in, last.keep += 4 * s.in_c;
        last.y_raw += 4 * f.out, last.dz += 4 * f.out;
        last.gate += 4 * s.out_c, last.pooled += 4 * s.out_c;
        last.clip += 4, last.group += 4;
        all = run(cuda, &f, backward);
        one = run(cuda, &last, backward);
        CHECK(most >= written);
        if (!stem || !backward)
            CHECK(memcmp(all.y + 4 * written, one.y, (size_t)written * sizeof *one.y) == 0);
        CHECK(memcmp(all.sums + (int64_t)2 * s.out_c, one.sums + (int64_t)2 * s.out_c,
                     (size_t)(2 * s.out_c) * sizeof *one.sums) == 0);
        free_results(&all);
        free_results(&one);
        release(&f);
    }
}

int main(int argc, char **argv)
{
    const coc_convolutions conv = coc_test_conv(argc, argv);

    ref = coc_test_backend("ref", COC_FP32);
    for (int p = 0; p < 2; p++) {
        cuda = coc_test_backend_with("cuda", p == 0 ? COC_FP32 : COC_BF16, conv);
        if (cuda == NULL) return COC_TEST_SKIPPED;
        fprintf(stderr, "%s\n", coc_precision_name(cuda->precision));
        seed = 1;
        RUN(depthwise_equals_reference);
        RUN(stem_equals_reference);
        RUN(maps_of_the_network_equal_reference);
        RUN(runs_give_the_same_bits);
        if (conv == COC_CONV_OWN) RUN(clips_do_not_depend_on_their_company); /* cuDNN's may */
        coc_backend_destroy(&cuda);
    }
    coc_backend_destroy(&ref);
    return coc_test_result();
}
