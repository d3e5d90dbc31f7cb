/* The GPU's convolutions against the reference, in both precisions: kernels, strides, the odd sizes
 * of the network's maps, clips in groups, with and without norm, gate, pooled gradient and so on.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/on_device.h"
#include "tests/test.h"

enum { GROUPS = 2, MOST_CLIPS = 24 };

/* Options: what may be left out, or added to. */
enum {
    IN_SILU = 1,
    OUT_SILU = 2,
    DZ = 4,
    OUT_GATE = 8,
    POOLED = 16,
    CLIP = 32,
    IN_NORM = 64,
    SUMS = 128,
    ACCUMULATE = 256,
    IN_GATE = 512,
    ALL = 1024
};

/* What an operation takes, on the host or on the device of a backend; and what it writes. */
typedef struct {
    coc_conv s;
    int64_t n, in, out, weights;
    float *features, *keep, *w, *gate_in, *gate_out, *pooled, *clip;
    float *mean[2], *inverse[2], *scale[2], *shift[2], *mean_du, *mean_dux;
    stored *x, *y_raw, *dz_in;
    int32_t *group;
    stored *y; /* [max(in, out)] output, or gradient at the input */
    float *dw, *dgate;
    double *sums;
} fixture;

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

static int64_t results_of(const fixture *f)
{
    return f->in > f->out ? f->in : f->out;
}

static int64_t sums_of(const fixture *f)
{
    return GROUPS * 2 * (int64_t)(f->s.in_c > f->s.out_c ? f->s.in_c : f->s.out_c);
}

/* Everything random, on the host, as `b` would keep it. */
static fixture make(const coc_backend *b, coc_conv s, int64_t n, bool depthwise)
{
    fixture f = {.s = s, .n = n};
    const int channels[2] = {s.in_c, s.out_c};

    f.in = n * s.in_h * s.in_w * s.in_c;
    f.out = n * s.out_h * s.out_w * s.out_c;
    f.weights = (int64_t)s.out_c * s.kernel * s.kernel * (depthwise ? 1 : s.in_c);
    f.features = numbers(f.in, -1, 1);
    f.keep = numbers(n * s.in_c, 0, 1);
    f.w = numbers(f.weights, -1, 1);
    f.x = numbers(f.in, -1, 1);
    f.y_raw = numbers(f.out, -1, 1);
    f.dz_in = numbers(f.out, -1, 1);
    f.gate_in = numbers(n * s.in_c, 0, 1);
    f.gate_out = numbers(n * s.out_c, 0, 1);
    f.pooled = numbers(n * s.out_c, -1, 1);
    f.clip = numbers(n, 0, 2);
    f.mean_du = numbers(GROUPS * s.out_c, -0.5f, 0.5f);
    f.mean_dux = numbers(GROUPS * s.out_c, -0.5f, 0.5f);
    for (int i = 0; i < 2; i++) {
        f.mean[i] = numbers(GROUPS * channels[i], -1, 1);
        f.inverse[i] = numbers(GROUPS * channels[i], 0.5f, 2);
        f.scale[i] = numbers(GROUPS * channels[i], -2, 2);
        f.shift[i] = numbers(GROUPS * channels[i], -1, 1);
    }
    f.group = malloc((size_t)n * sizeof *f.group);
    for (int64_t i = 0; i < n; i++)
        f.group[i] = i % n >= n / 2;
    f.y = numbers(results_of(&f), -1, 1);
    f.dw = numbers(f.weights, -1, 1);
    f.dgate = numbers(n * s.in_c, -1, 1);
    f.sums = malloc((size_t)sums_of(&f) * sizeof *f.sums);
    for (int64_t i = 0; i < sums_of(&f); i++)
        f.sums[i] = (double)(i % 7) - 3;
    coc_test_round(b, f.x, f.in);
    coc_test_round(b, f.y_raw, f.out);
    coc_test_round(b, f.dz_in, f.out);
    coc_test_round(b, f.y, results_of(&f));
    /* tensor cores take weights as bf16 too: give the reference what they see */
    coc_test_round(b, f.w, f.weights);
    return f;
}

/* Every array with its length: to copy, and to free. */
typedef struct {
    void *place; /* of the pointer */
    int64_t count;
    size_t size; /* 0: stored */
} array;

enum { ARRAYS = 27 };

static void list(fixture *f, array out[ARRAYS])
{
    const coc_conv *s = &f->s;
    const array all[ARRAYS] = {{&f->features, f->in, 4},
                               {&f->keep, f->n * s->in_c, 4},
                               {&f->w, f->weights, 4},
                               {&f->gate_in, f->n * s->in_c, 4},
                               {&f->gate_out, f->n * s->out_c, 4},
                               {&f->pooled, f->n * s->out_c, 4},
                               {&f->clip, f->n, 4},
                               {&f->mean[0], GROUPS * s->in_c, 4},
                               {&f->mean[1], GROUPS * s->out_c, 4},
                               {&f->inverse[0], GROUPS * s->in_c, 4},
                               {&f->inverse[1], GROUPS * s->out_c, 4},
                               {&f->scale[0], GROUPS * s->in_c, 4},
                               {&f->scale[1], GROUPS * s->out_c, 4},
                               {&f->shift[0], GROUPS * s->in_c, 4},
                               {&f->shift[1], GROUPS * s->out_c, 4},
                               {&f->mean_du, GROUPS * s->out_c, 4},
                               {&f->mean_dux, GROUPS * s->out_c, 4},
                               {&f->x, f->in, 0},
                               {&f->y_raw, f->out, 0},
                               {&f->dz_in, f->out, 0},
                               {&f->group, f->n, 4},
                               {&f->y, results_of(f), 0},
                               {&f->dw, f->weights, 4},
                               {&f->dgate, f->n * s->in_c, 4},
                               {&f->sums, sums_of(f), 8}};

    memcpy(out, all, sizeof all);
}

static fixture copy_to(const coc_backend *b, fixture *host)
{
    fixture there = *host;
    array from[ARRAYS], to[ARRAYS];

    list(host, from);
    list(&there, to);
    for (int i = 0; i < ARRAYS && from[i].place != NULL; i++) {
        void *memory;

        memcpy(&memory, from[i].place, sizeof memory);
        memory = from[i].size == 0 ? (void *)coc_test_put_stored(b, memory, from[i].count)
                                   : coc_test_put(b, memory, from[i].count, from[i].size);
        memcpy(to[i].place, &memory, sizeof memory);
    }
    return there;
}

static void release(const coc_backend *b, fixture *f)
{
    array all[ARRAYS];

    list(f, all);
    for (int i = 0; i < ARRAYS && all[i].place != NULL; i++) {
        void *memory;

        memcpy(&memory, all[i].place, sizeof memory);
        if (b != NULL)
            coc_test_release(b, memory);
        else
            free(memory);
    }
}

/* ---- the operations ---- */

static coc_norm norm_of(const fixture *f, int which, bool silu)
{
    return (coc_norm){f->mean[which],  f->inverse[which], f->scale[which],
                      f->shift[which], f->group,          silu};
}

typedef void (*operation)(coc_backend *b, const fixture *f, uint32_t o, const coc_norm *in,
                          const coc_gradient *dy);

static void stem_forward(coc_backend *b, const fixture *f, uint32_t o, const coc_norm *in,
                         const coc_gradient *dy)
{
    (void)in, (void)dy;
    b->ops->stem_forward(b, &f->s, f->n, f->features, o & IN_NORM ? f->keep : NULL, f->w, f->y,
                         f->group, o & SUMS ? f->sums : NULL);
}

static void stem_backward(coc_backend *b, const fixture *f, uint32_t o, const coc_norm *in,
                          const coc_gradient *dy)
{
    (void)in;
    b->ops->stem_backward(b, &f->s, f->n, f->features, o & IN_NORM ? f->keep : NULL, dy, f->dw);
}

static void depthwise_forward(coc_backend *b, const fixture *f, uint32_t o, const coc_norm *in,
                              const coc_gradient *dy)
{
    (void)dy;
    b->ops->depthwise_forward(b, &f->s, f->n, f->x, o & IN_NORM ? in : NULL, f->w, f->y, f->group,
                              o & SUMS ? f->sums : NULL);
}

static void depthwise_backward(coc_backend *b, const fixture *f, uint32_t o, const coc_norm *in,
                               const coc_gradient *dy)
{
    b->ops->depthwise_backward(b, &f->s, f->n, f->x, o & IN_NORM ? in : NULL, dy, f->w, f->y,
                               (o & ACCUMULATE) != 0, f->dw, o & IN_NORM ? f->sums : NULL);
}

static void pointwise_forward(coc_backend *b, const fixture *f, uint32_t o, const coc_norm *in,
                              const coc_gradient *dy)
{
    (void)dy;
    b->ops->pointwise_forward(b, &f->s, f->n, f->x, o & IN_NORM ? in : NULL,
                              o & IN_GATE ? f->gate_in : NULL, f->w, f->y, f->group,
                              o & SUMS ? f->sums : NULL);
}

static void pointwise_backward(coc_backend *b, const fixture *f, uint32_t o, const coc_norm *in,
                               const coc_gradient *dy)
{
    const bool gate = o & IN_GATE && o & IN_NORM; /* a gate is on something normalised */

    b->ops->pointwise_backward(b, &f->s, f->n, f->x, o & IN_NORM ? in : NULL,
                               gate ? f->gate_in : NULL, dy, f->w, f->y, (o & ACCUMULATE) != 0,
                               f->dw, gate ? f->dgate : NULL);
}

static void norm_sums(coc_backend *b, const fixture *f, uint32_t o, const coc_norm *in,
                      const coc_gradient *dy)
{
    (void)in, (void)o;
    b->ops->norm_backward_sums(b, f->n, (int64_t)f->s.out_h * f->s.out_w, f->s.out_c, dy, f->sums);
}

static void pool(coc_backend *b, const fixture *f, uint32_t o, const coc_norm *in,
                 const coc_gradient *dy)
{
    (void)o, (void)dy;
    b->ops->pool_forward(b, f->n, (int64_t)f->s.in_h * f->s.in_w, f->s.in_c, f->x, in, f->dgate);
}

static void join(coc_backend *b, const fixture *f, uint32_t o, const coc_norm *in,
                 const coc_gradient *dy)
{
    (void)dy;
    b->ops->join_forward(b, f->n, (int64_t)f->s.in_h * f->s.in_w, f->s.in_c, f->x, in,
                         o & CLIP ? f->clip : NULL, o & ACCUMULATE ? f->x : NULL, f->y);
}

static void apply(operation op, coc_backend *b, const fixture *f, uint32_t o)
{
    const coc_norm in = norm_of(f, 0, (o & IN_SILU) != 0), out = norm_of(f, 1, (o & OUT_SILU) != 0);
    const coc_gradient dy = {.x = f->y_raw,
                             .norm = &out,
                             .dz = o & DZ ? f->dz_in : NULL,
                             .gate = o & OUT_GATE ? f->gate_out : NULL,
                             .pooled = o & POOLED || !(o & DZ) ? f->pooled : NULL,
                             .clip = o & CLIP ? f->clip : NULL,
                             .mean_du = f->mean_du,
                             .mean_dux = f->mean_dux};

    op(b, f, o, &in, &dy);
}

/* ---- comparing ---- */

static coc_backend *ref, *cuda;

/* Root of the mean of squares of the difference, relative to that of what is wanted; and the
 * largest difference relative to the largest value. */
static void check_near(const char *what, const float *got, const float *want, int64_t n)
{
    const bool half = cuda->precision == COC_BF16;
    const double error = coc_test_relative_error(got, want, n);
    double most = 0, worst = 0;

    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs(want[i]));
        worst = fmax(worst, fabs((double)got[i] - want[i]));
        if (isnan(got[i])) worst = INFINITY;
    }
    if (!(error <= (half ? 8e-3 : 2e-6)) || !(worst <= (half ? 3e-2 : 2e-5) * most + 1e-30))
        coc_test_fail(__FILE__, __LINE__, "%s: relative error %.2g, worst %.2g of %.3g", what,
                      error, worst, most);
}

static void compare_all(const fixture *want, const fixture *there)
{
    const int64_t values = results_of(want);
    float *got = malloc((size_t)values * sizeof *got);
    float *numbers_got = malloc((size_t)(want->weights + want->n * want->s.in_c) * sizeof *got);
    double *sums = malloc((size_t)sums_of(want) * sizeof *sums);
    float *a = malloc((size_t)sums_of(want) * sizeof *a), *b = malloc((size_t)sums_of(want) * 4);

    coc_test_get_stored(cuda, there->y, values, got);
    check_near("tensor", got, want->y, values);
    coc_test_get(cuda, there->dw, want->weights, sizeof *got, numbers_got);
    check_near("gradient of weights", numbers_got, want->dw, want->weights);
    coc_test_get(cuda, there->dgate, want->n * want->s.in_c, sizeof *got, numbers_got);
    check_near("gradient of the gate", numbers_got, want->dgate, want->n * want->s.in_c);
    coc_test_get(cuda, there->sums, sums_of(want), sizeof *sums, sums);
    for (int64_t i = 0; i < sums_of(want); i++) {
        a[i] = (float)sums[i];
        b[i] = (float)want->sums[i];
    }
    check_near("sums", a, b, sums_of(want));
    free(got);
    free(numbers_got);
    free(sums);
    free(a);
    free(b);
}

static void compare(operation op, coc_conv s, int64_t n, bool depthwise)
{
    const uint32_t o = below(ALL);
    fixture host = make(cuda, s, n, depthwise), there = copy_to(cuda, &host);

    apply(op, ref, &host, o);
    CHECK(ref->ops->finish(ref) == COC_OK);
    apply(op, cuda, &there, o);
    if (cuda->ops->finish(cuda) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    compare_all(&host, &there);
    release(cuda, &there);
    release(NULL, &host);
}

/* ---- shapes ---- */

/* Static padding as the network has it: computed for an even size. */
static coc_conv shape(int kernel, int stride, int h, int w, int in_c, int out_c)
{
    const int padding = kernel - (stride == 2 ? 2 : 1);

    return (coc_conv){.in_h = h,
                      .in_w = w,
                      .in_c = in_c,
                      .out_h = (h + padding - kernel) / stride + 1,
                      .out_w = (w + padding - kernel) / stride + 1,
                      .out_c = out_c,
                      .kernel = kernel,
                      .stride = stride,
                      .pad = padding / 2};
}

/* Depthwise convolutions: the kernels, strides and odd maps of the network. */
static void depthwise_equals_reference(void)
{
    static const int shapes[][6] = {
        {3, 1, 32, 63, 8, 2}, {3, 2, 8, 125, 24, 1}, {5, 2, 16, 31, 40, 3}, {5, 1, 8, 62, 16, 2},
        {3, 2, 8, 62, 8, 1},  {3, 1, 4, 31, 72, 3},  {5, 2, 4, 31, 48, 2},  {5, 1, 2, 15, 136, 5},
        {3, 1, 2, 15, 8, 1},  {5, 1, 2, 3, 64, 7},   {3, 2, 4, 7, 32, 4}};

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const int *v = shapes[i];
        const coc_conv s = shape(v[0], v[1], v[2], v[3], v[4], v[4]);

        for (int again = 0; again < 2; again++) {
            compare(depthwise_forward, s, v[5], true);
            compare(depthwise_backward, s, v[5], true);
        }
    }
}

/* 1 x 1 convolutions: clips of more and of fewer positions than a tile has rows, inputs and outputs
 * that fill no tile. */
static void pointwise_equals_reference(void)
{
    static const int shapes[][5] = {{8, 63, 16, 96, 2},  {2, 65, 8, 8, 1},    {4, 31, 40, 24, 3},
                                    {2, 15, 72, 136, 9}, {2, 3, 24, 40, 24},  {1, 1, 8, 16, 5},
                                    {1, 129, 24, 32, 2}, {2, 64, 104, 64, 2}, {3, 50, 32, 16, 4}};

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const int *v = shapes[i];
        const coc_conv s = shape(1, 1, v[0], v[1], v[2], v[3]);

        for (int again = 0; again < 3; again++) {
            compare(pointwise_forward, s, v[4], false);
            compare(pointwise_backward, s, v[4], false);
        }
    }
}

/* The first convolution, of two channels and of one. */
static void stem_equals_reference(void)
{
    static const int shapes[][5] = {
        {64, 63, 2, 32, 2}, {64, 126, 2, 16, 1}, {16, 31, 1, 8, 3}, {64, 125, 1, 40, 1}};

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const int *v = shapes[i];
        const coc_conv s = shape(3, 2, v[0], v[1], v[2], v[3]);

        compare(stem_forward, s, v[4], false);
        compare(stem_backward, s, v[4], false);
    }
}

/* Sums, means and joins over maps of every size. */
static void passes_equal_reference(void)
{
    static const int shapes[][4] = {
        {16, 125, 8, 2}, {2, 15, 136, 5}, {1, 1, 24, 3}, {33, 32, 72, 1}};

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const int *v = shapes[i];
        const coc_conv s = shape(1, 1, v[0], v[1], v[2], v[2]);

        compare(norm_sums, s, v[3], true);
        compare(pool, s, v[3], true);
        compare(join, s, v[3], true);
        compare(join, s, v[3], true);
    }
}

int main(void)
{
    ref = coc_test_backend("ref", COC_FP32);
    for (int p = 0; p < 2; p++) {
        cuda = coc_test_backend("cuda", p == 0 ? COC_FP32 : COC_BF16);
        if (cuda == NULL) return COC_TEST_SKIPPED;
        fprintf(stderr, "%s\n", coc_precision_name(cuda->precision));
        seed = 1;
        RUN(passes_equal_reference);
        RUN(pointwise_equals_reference);
        RUN(depthwise_equals_reference);
        RUN(stem_equals_reference);
        coc_backend_destroy(&cuda);
    }
    coc_backend_destroy(&ref);
    return coc_test_result();
}
