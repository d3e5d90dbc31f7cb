/* Passes over large tensors on the GPU against the reference, in both precisions: sums of batch
 * norm's backward, means over positions, joins. Convolutions: cuda_pointwise.c, cuda_depthwise.c.
 */
#include <stdio.h>

#include "tests/on_device.h"
#include "tests/test.h"

enum { GROUPS = 2 };

static coc_backend *ref, *cuda;

typedef struct {
    int64_t n, positions;
    int channels;
    coc_twin x, dz, skip, out, mean, inverse, scale, shift, gate, pooled, clip, group, means, sums;
} fixture;

/* Positions and channels of the network's maps, and odd ones: one position, more than a part. */
static const int shapes[][3] = {{2000, 8, 2}, {30, 136, 5}, {1, 24, 3}, {1056, 72, 1}, {7, 8, 9}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static fixture make(const int shape[3])
{
    fixture f = {.n = shape[2], .positions = shape[0], .channels = shape[1]};
    const int64_t values = f.n * f.positions * f.channels, own = f.n * f.channels;
    const int64_t all = (int64_t)GROUPS * f.channels;
    int32_t group[16];

    for (int64_t i = 0; i < f.n; i++)
        group[i] = i >= f.n / 2;
    f.x = coc_twin_stored(values, -1, 1);
    f.dz = coc_twin_stored(values, -1, 1);
    f.skip = coc_twin_stored(values, -1, 1);
    f.out = coc_twin_stored(values, -1, 1);
    f.mean = coc_twin_numbers(all, -1, 1);
    f.inverse = coc_twin_numbers(all, 0.5f, 2);
    f.scale = coc_twin_numbers(all, -2, 2);
    f.shift = coc_twin_numbers(all, -1, 1);
    f.gate = coc_twin_numbers(own, 0, 1);
    f.pooled = coc_twin_numbers(own, -1, 1);
    f.clip = coc_twin_numbers(f.n, 0, 2);
    f.group = coc_twin_copy(group, f.n, sizeof *group);
    f.means = coc_twin_numbers(own, -1, 1);
    f.sums = coc_twin_doubles(2 * all, -3, 3);
    return f;
}

static coc_norm norm_of(const coc_backend *b, const fixture *f, bool silu)
{
    return (coc_norm){coc_twin_on(b, f->mean),  coc_twin_on(b, f->inverse),
                      coc_twin_on(b, f->scale), coc_twin_on(b, f->shift),
                      coc_twin_on(b, f->group), silu};
}

/* options: one bit each for what may be left out. */
static void check_sums(const int shape[3], unsigned options)
{
    const fixture f = make(shape);
    const bool half = cuda->precision == COC_BF16;

    for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
        const coc_norm norm = norm_of(b, &f, (options & 1) != 0);
        const coc_gradient g = {.x = coc_twin_on(b, f.x),
                                .norm = &norm,
                                .dz = options & 2 ? coc_twin_on(b, f.dz) : NULL,
                                .gate = options & 4 ? coc_twin_on(b, f.gate) : NULL,
                                .pooled = options & 8 ? coc_twin_on(b, f.pooled) : NULL,
                                .clip = options & 16 ? coc_twin_on(b, f.clip) : NULL};

        b->ops->norm_backward_sums(b, f.n, f.positions, f.channels, &g, coc_twin_on(b, f.sums));
    }
    coc_twin_check("sums", f.sums, half ? 4e-3 : 2e-6, half ? 1e-2 : 1e-5);
    coc_twins_free();
}

/* Sums of the gradient before a norm, with and without each of its parts. */
static void sums_equal_reference(void)
{
    for (int i = 0; i < SHAPES; i++) {
        check_sums(shapes[i], 2);
        check_sums(shapes[i], 31);
        check_sums(shapes[i], 1 + 8);
        check_sums(shapes[i], 1 + 2 + 4 + 8);
    }
}

static void check_pool(const int shape[3], bool silu)
{
    const fixture f = make(shape);
    const bool half = cuda->precision == COC_BF16;

    for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
        const coc_norm norm = norm_of(b, &f, silu);

        b->ops->pool_forward(b, f.n, f.positions, f.channels, coc_twin_on(b, f.x), &norm,
                             coc_twin_on(b, f.means));
    }
    coc_twin_check("means", f.means, half ? 4e-3 : 2e-6, half ? 1e-2 : 1e-5);
    coc_twins_free();
}

/* Means over the positions of a clip, through norm and SiLU. */
static void means_equal_reference(void)
{
    for (int i = 0; i < SHAPES; i++) {
        check_pool(shapes[i], true);
        check_pool(shapes[i], false);
    }
}

static void check_join(const int shape[3], bool clip, bool skip)
{
    const fixture f = make(shape);
    const bool half = cuda->precision == COC_BF16;

    for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
        const coc_norm norm = norm_of(b, &f, false);

        b->ops->join_forward(b, f.n, f.positions, f.channels, coc_twin_on(b, f.x), &norm,
                             clip ? coc_twin_on(b, f.clip) : NULL,
                             skip ? coc_twin_on(b, f.skip) : NULL, coc_twin_on(b, f.out));
    }
    coc_twin_check("join", f.out, half ? 4e-3 : 2e-7, half ? 4e-3 : 4e-7);
    coc_twins_free();
}

/* A block's output, with and without stochastic depth and skip. */
static void joins_equal_reference(void)
{
    for (int i = 0; i < SHAPES; i++)
        for (int o = 0; o < 4; o++)
            check_join(shapes[i], (o & 1) != 0, (o & 2) != 0);
}

int main(void)
{
    ref = coc_test_backend("ref", COC_FP32);
    for (int p = 0; p < 2; p++) {
        cuda = coc_test_backend("cuda", p == 0 ? COC_FP32 : COC_BF16);
        if (cuda == NULL) return COC_TEST_SKIPPED;
        fprintf(stderr, "%s\n", coc_precision_name(cuda->precision));
        coc_twins_begin(ref, cuda, 1);
        RUN(sums_equal_reference);
        RUN(means_equal_reference);
        RUN(joins_equal_reference);
        coc_backend_destroy(&cuda);
    }
    coc_backend_destroy(&ref);
    return coc_test_result();
}
