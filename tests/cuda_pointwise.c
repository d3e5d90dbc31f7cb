/* The GPU's 1 x 1 convolutions, own ones or cuDNN's (argument "cudnn"), against the reference, in
 * both precisions, on shapes that lead to each of their kernels: as the network uses them, and with
 * everything optional drawn at random. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/on_device.h"
#include "tests/test.h"

enum { GROUPS = 3 };

/* What may be left out, or added to. */
enum {
    IN_NORM = 1,
    IN_SILU = 2,
    IN_GATE = 4,
    OUT_SILU = 8,
    DZ = 16,
    OUT_GATE = 32,
    POOLED = 64,
    CLIP = 128,
    ACCUMULATE = 256,
    SUMS = 512,
    ALL = 1024,
    /* as the network has them */
    EXPAND = OUT_SILU | DZ | SUMS,
    EXPAND_SKIP = EXPAND | ACCUMULATE,
    PROJECT = IN_NORM | IN_SILU | IN_GATE | DZ | CLIP | SUMS,
    HEAD = OUT_SILU | POOLED | SUMS,
};

/* An array on both sides. */
typedef struct {
    float *host;
    void *device;
    int64_t count;
    bool is_stored;
} tensor;

/* X: with the sums as double and the groups as int32_t beside it. */
enum {
    X,
    Y,
    Y_RAW,
    DZ_OUT,
    DZ_IN,
    W,
    DW,
    GATE_IN,
    GATE_OUT,
    DGATE,
    POOLED_OUT,
    CLIP_OUT,
    MEAN_DU,
    MEAN_DUX,
    IN_COEFFICIENTS,
    OUT_COEFFICIENTS,
    TENSORS
};

typedef struct {
    coc_conv s;
    int64_t n, sums_count;
    tensor t[TENSORS];
    int32_t *group, *group_there;
    double *sums, *sums_there;
} fixture;

static coc_backend *ref, *cuda;
static uint32_t seed;

static uint32_t below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static tensor make(int64_t count, float low, float high, bool is_stored, bool rounded)
{
    tensor t = {malloc((size_t)count * sizeof(float)), NULL, count, is_stored};

    coc_test_random(t.host, count, ++seed);
    for (int64_t i = 0; i < count; i++)
        t.host[i] = low + 0.5f * (t.host[i] + 1) * (high - low);
    if (is_stored || rounded) coc_test_round(cuda, t.host, count);
    return t;
}

static void upload(fixture *f)
{
    for (int i = 0; i < TENSORS; i++) {
        tensor *t = &f->t[i];

        coc_test_release(cuda, t->device);
        t->device = t->is_stored ? (void *)coc_test_put_stored(cuda, t->host, t->count)
                                 : coc_test_put(cuda, t->host, t->count, sizeof *t->host);
    }
    coc_test_release(cuda, f->group_there);
    coc_test_release(cuda, f->sums_there);
    f->group_there = coc_test_put(cuda, f->group, f->n, sizeof *f->group);
    f->sums_there = coc_test_put(cuda, f->sums, f->sums_count, sizeof *f->sums);
}

/* Weights are rounded as tensor cores take them. A norm's mean, inverse_std, scale and shift lie
 * one after the other. */
static fixture make_fixture(const int v[5])
{
    const int64_t in = v[2], out = v[3], n = v[4], rows = n * v[0] * v[1];
    fixture f = {.s = {.in_h = v[0],
                       .in_w = v[1],
                       .in_c = v[2],
                       .out_h = v[0],
                       .out_w = v[1],
                       .out_c = v[3],
                       .kernel = 1,
                       .stride = 1},
                 .n = n,
                 .sums_count = GROUPS * 2 * out};

    f.t[X] = make(rows * in, -1, 1, true, true);
    f.t[Y] = make(rows * out, -1, 1, true, true);
    f.t[Y_RAW] = make(rows * out, -1, 1, true, true);
    f.t[DZ_OUT] = make(rows * out, -1, 1, true, true);
    f.t[DZ_IN] = make(rows * in, -1, 1, true, true);
    f.t[W] = make(in * out, -1, 1, false, true);
    f.t[DW] = make(in * out, -1, 1, false, false);
    f.t[GATE_IN] = make(n * in, 0, 1, false, false);
    f.t[GATE_OUT] = make(n * out, 0, 1, false, false);
    f.t[DGATE] = make(n * in, -1, 1, false, false);
    f.t[POOLED_OUT] = make(n * out, -1, 1, false, false);
    f.t[CLIP_OUT] = make(n, 0, 2, false, false);
    f.t[MEAN_DU] = make(GROUPS * out, -0.5f, 0.5f, false, false);
    f.t[MEAN_DUX] = make(GROUPS * out, -0.5f, 0.5f, false, false);
    f.t[IN_COEFFICIENTS] = make(4 * GROUPS * in, 0.25f, 1.5f, false, false);
    f.t[OUT_COEFFICIENTS] = make(4 * GROUPS * out, 0.25f, 1.5f, false, false);
    f.group = malloc((size_t)n * sizeof *f.group);
    f.sums = malloc((size_t)f.sums_count * sizeof *f.sums);
    for (int64_t i = 0; i < n; i++)
        f.group[i] = (int32_t)(i * 5 / 2 % GROUPS);
    for (int64_t i = 0; i < f.sums_count; i++)
        f.sums[i] = (double)(i % 7) - 3;
    return f;
}

static void release(fixture *f)
{
    for (int i = 0; i < TENSORS; i++) {
        free(f->t[i].host);
        coc_test_release(cuda, f->t[i].device);
    }
    free(f->group);
    free(f->sums);
    coc_test_release(cuda, f->group_there);
    coc_test_release(cuda, f->sums_there);
}

/* ---- the operations, on either side ---- */

static float *on(const coc_backend *b, const fixture *f, int which)
{
    return b == ref ? f->t[which].host : f->t[which].device;
}

static coc_norm norm_on(const coc_backend *b, const fixture *f, int which, int channels, bool silu)
{
    const float *c = on(b, f, which);
    const int64_t size = (int64_t)GROUPS * channels;

    return (coc_norm){.mean = c,
                      .inverse_std = c + size,
                      .scale = c + 2 * size,
                      .shift = c + 3 * size,
                      .group = b == ref ? f->group : f->group_there,
                      .silu = silu};
}

typedef void (*operation)(coc_backend *b, const fixture *f, uint32_t o);

static void forward(coc_backend *b, const fixture *f, uint32_t o)
{
    const coc_norm norm = norm_on(b, f, IN_COEFFICIENTS, f->s.in_c, (o & IN_SILU) != 0);

    b->ops->pointwise_forward(b, &f->s, f->n, on(b, f, X), o & IN_NORM ? &norm : NULL,
                              o & IN_GATE ? on(b, f, GATE_IN) : NULL, on(b, f, W), on(b, f, Y),
                              b == ref ? f->group : f->group_there,
                              !(o & SUMS) ? NULL : (b == ref ? f->sums : f->sums_there));
}

static void backward(coc_backend *b, const fixture *f, uint32_t o)
{
    const coc_norm in = norm_on(b, f, IN_COEFFICIENTS, f->s.in_c, (o & IN_SILU) != 0);
    const coc_norm out = norm_on(b, f, OUT_COEFFICIENTS, f->s.out_c, (o & OUT_SILU) != 0);
    const bool gate = o & IN_GATE && o & IN_NORM; /* a gate is on something normalised */
    const coc_gradient dy = {.x = on(b, f, Y_RAW),
                             .norm = &out,
                             .dz = o & DZ ? on(b, f, DZ_OUT) : NULL,
                             .gate = o & OUT_GATE ? on(b, f, GATE_OUT) : NULL,
                             .pooled = o & POOLED ? on(b, f, POOLED_OUT) : NULL,
                             .clip = o & CLIP ? on(b, f, CLIP_OUT) : NULL,
                             .mean_du = on(b, f, MEAN_DU),
                             .mean_dux = on(b, f, MEAN_DUX)};

    b->ops->pointwise_backward(b, &f->s, f->n, on(b, f, X), o & IN_NORM ? &in : NULL,
                               gate ? on(b, f, GATE_IN) : NULL, &dy, on(b, f, W), on(b, f, DZ_IN),
                               (o & ACCUMULATE) != 0, on(b, f, DW), gate ? on(b, f, DGATE) : NULL);
}

/* ---- comparing ---- */

/* Float: rounding of sums in another order. bf16: what goes into a product and what is stored is
 * rounded to 2^-9 of itself, one value by another error, so that errors of sums average out. */
static void check_near(const fixture *f, uint32_t o, const char *what, const float *got,
                       const float *want, int64_t n)
{
    const bool half = cuda->precision == COC_BF16;
    const double error = coc_test_relative_error(got, want, n);
    double most = 0, worst = 0;

    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs(want[i]));
        worst = fmax(worst, isnan(got[i]) ? INFINITY : fabs((double)got[i] - want[i]));
    }
    coc_test_record(what, cuda->precision, error, half ? 5e-3 : 2e-6);
    if (!(error <= (half ? 5e-3 : 2e-6)) || !(worst <= (half ? 1.5e-2 : 2e-5) * most + 1e-30))
        coc_test_fail(__FILE__, __LINE__,
                      "%d x %d, %d -> %d, %d clips, options %#x: %s: relative error %.2g, worst "
                      "%.2g of %.3g",
                      f->s.in_h, f->s.in_w, f->s.in_c, f->s.out_c, (int)f->n, o, what, error, worst,
                      most);
}

/* Everything that the operations may have written, one after the other. */
static int64_t results_count(const fixture *f)
{
    return f->t[Y].count + f->t[DZ_IN].count + f->t[DW].count + f->t[DGATE].count + f->sums_count;
}

static float *fetch(const fixture *f, double *sums)
{
    static const int which[] = {Y, DZ_IN, DW, DGATE};
    float *got = malloc((size_t)results_count(f) * sizeof *got), *at = got;

    for (int i = 0; i < 4; i++) {
        const tensor *t = &f->t[which[i]];

        if (t->is_stored)
            coc_test_get_stored(cuda, t->device, t->count, at);
        else
            coc_test_get(cuda, t->device, t->count, sizeof *at, at);
        at += t->count;
    }
    coc_test_get(cuda, f->sums_there, f->sums_count, sizeof *sums, sums);
    for (int64_t i = 0; i < f->sums_count; i++)
        at[i] = (float)sums[i];
    return got;
}

static void check_results(const fixture *f, uint32_t o, const float *got)
{
    static const int which[] = {Y, DZ_IN, DW, DGATE};
    static const char *const name[] = {"output", "gradient at the input", "gradient of weights",
                                       "gradient of the gate"};
    float *sums = malloc((size_t)f->sums_count * sizeof *sums);

    for (int i = 0; i < 4; i++) {
        const tensor *t = &f->t[which[i]];

        check_near(f, o, name[i], got, t->host, t->count);
        got += t->count;
    }
    for (int64_t i = 0; i < f->sums_count; i++)
        sums[i] = (float)f->sums[i];
    check_near(f, o, "sums", got, sums, f->sums_count);
    free(sums);
}

static void compare(operation op, const int shape[5], uint32_t o)
{
    fixture f = make_fixture(shape);
    double *sums = malloc((size_t)f.sums_count * sizeof *sums);
    double *sums_again = malloc((size_t)f.sums_count * sizeof *sums);
    float *got, *again;

    upload(&f);
    op(cuda, &f, o);
    got = fetch(&f, sums);
    upload(&f);
    op(cuda, &f, o);
    again = fetch(&f, sums_again);
    CHECK(memcmp(got, again, (size_t)results_count(&f) * sizeof *got) == 0);
    CHECK(memcmp(sums, sums_again, (size_t)f.sums_count * sizeof *sums) == 0);

    op(ref, &f, o);
    CHECK(ref->ops->finish(ref) == COC_OK);
    check_results(&f, o, got);
    free(got);
    free(again);
    free(sums);
    free(sums_again);
    release(&f);
}

/* ---- the tests ---- */

/* The network's own widths on smaller maps: every expansion, projection and head comes out as the
 * reference has it, and twice the same bits. */
static void network_shapes_equal_reference(void)
{
    static const struct {
        int shape[5];
        uint32_t options;
    } cases[] = {
        {{8, 125, 32, 16, 2}, PROJECT},   {{8, 131, 16, 96, 1}, EXPAND},
        {{8, 62, 96, 24, 2}, PROJECT},    {{8, 63, 24, 144, 1}, EXPAND_SKIP},
        {{4, 62, 144, 24, 2}, PROJECT},   {{4, 31, 144, 40, 3}, PROJECT},
        {{8, 31, 40, 240, 1}, EXPAND},    {{4, 33, 240, 40, 1}, PROJECT},
        {{4, 31, 240, 80, 1}, PROJECT},   {{4, 16, 80, 480, 1}, EXPAND_SKIP},
        {{4, 16, 480, 80, 1}, PROJECT},   {{4, 16, 480, 112, 1}, PROJECT},
        {{2, 15, 112, 672, 2}, EXPAND},   {{2, 15, 672, 112, 2}, PROJECT},
        {{2, 15, 672, 192, 1}, PROJECT},  {{2, 15, 192, 1152, 1}, EXPAND_SKIP},
        {{2, 15, 1152, 320, 1}, PROJECT}, {{2, 15, 320, 1280, 1}, HEAD},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        compare(forward, cases[i].shape, cases[i].options);
        compare(backward, cases[i].shape, cases[i].options);
    }
}

/* Maps of more and of fewer positions than a tile has rows, channels that fill no tile, many clips:
 * with anything left out that may be. */
static void any_options_equal_reference(void)
{
    static const int shapes[][5] = {
        {8, 63, 16, 96, 2},  {2, 65, 8, 8, 1},    {4, 31, 40, 24, 3},  {2, 15, 72, 136, 9},
        {2, 3, 24, 40, 24},  {1, 1, 8, 16, 5},    {1, 129, 24, 32, 2}, {2, 64, 104, 64, 2},
        {3, 50, 32, 16, 4},  {1, 2, 16, 8, 70},   {3, 43, 8, 24, 3},   {1, 127, 264, 40, 1},
        {2, 33, 40, 248, 3}, {1, 65, 48, 56, 2},  {5, 5, 136, 88, 5},  {1, 300, 24, 200, 2},
        {1, 40, 88, 184, 2}, {1, 30, 200, 120, 3}};

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int again = 0; again < 3; again++) {
            compare(forward, shapes[i], below(ALL));
            compare(backward, shapes[i], below(ALL));
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
        RUN(network_shapes_equal_reference);
        RUN(any_options_equal_reference);
        coc_backend_destroy(&cuda);
    }
    coc_backend_destroy(&ref);
    return coc_test_result();
}
