/* Batch norm, squeeze and excitation and dense layers on the GPU against the reference. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/on_device.h"
#include "tests/test.h"

static coc_backend *ref, *cuda;

/* Sums of float terms in another order. */
static void check_sums(const char *what, coc_twin t)
{
    coc_twin_check(what, t, 2e-6, 1e-5);
}

/* Products over many rows, whose factors may be rounded to TF32 (2^-11) in bf16 precision. */
static void check_products(const char *what, coc_twin t)
{
    const bool half = cuda->precision == COC_BF16;

    coc_twin_check(what, t, half ? 1e-3 : 2e-6, half ? 3e-3 : 1e-5);
}

/* The same formula in double, or nearly. */
static void check_same(const char *what, coc_twin t)
{
    coc_twin_check(what, t, 2e-7, 4e-7);
}

/* ---- batch norm ---- */

static void check_statistics(int channels, int groups)
{
    const int64_t all = (int64_t)groups * channels;
    const coc_twin gamma = coc_twin_numbers(channels, -2, 2),
                   beta = coc_twin_numbers(channels, -1, 1);
    const coc_twin sums = coc_twin_doubles(2 * all, 1, 30),
                   positions = coc_twin_doubles(groups, 20, 40);
    const coc_twin mean = coc_twin_numbers(all, 0, 1), inverse = coc_twin_numbers(all, 0, 1);
    const coc_twin scale = coc_twin_numbers(all, 0, 1), shift = coc_twin_numbers(all, 0, 1);
    const coc_twin stat = coc_twin_doubles(2 * channels, 0, 1),
                   running = coc_twin_numbers(2 * channels, 0.1f, 1);
    const coc_twin variance = coc_twin_numbers(channels, 0, 1);
    int32_t owned[64];
    coc_twin own;

    for (int g = 0; g < groups; g++)
        owned[g] = g % 3 != 1;
    own = coc_twin_copy(owned, groups, sizeof *owned);
    for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
        b->ops->norm_finish(b, channels, groups, coc_twin_on(b, sums), coc_twin_on(b, positions),
                            coc_twin_on(b, gamma), coc_twin_on(b, beta), 1e-3, coc_twin_on(b, mean),
                            coc_twin_on(b, inverse), coc_twin_on(b, scale), coc_twin_on(b, shift));
        b->ops->norm_collect(b, channels, groups, coc_twin_on(b, sums), coc_twin_on(b, positions),
                             coc_twin_on(b, own), coc_twin_on(b, stat));
        b->ops->running_update(b, 2 * channels, coc_twin_on(b, stat), 3, 0.01, NULL,
                               coc_twin_on(b, running));
    }
    check_same("mean", mean);
    check_same("inverse std", inverse);
    check_same("scale", scale);
    check_same("shift", shift);
    coc_twin_check("statistics", stat, 1e-14, 1e-14);
    check_same("running statistics", running);
    for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
        b->ops->norm_fixed(b, channels, coc_twin_on(b, running), coc_twin_on(b, variance),
                           coc_twin_on(b, gamma), coc_twin_on(b, beta), 1e-3, coc_twin_on(b, mean),
                           coc_twin_on(b, inverse), coc_twin_on(b, scale), coc_twin_on(b, shift));
        b->ops->norm_backward_params(b, channels, groups, coc_twin_on(b, sums),
                                     coc_twin_on(b, gamma), coc_twin_on(b, beta));
        b->ops->norm_backward_finish(b, channels, groups, coc_twin_on(b, sums),
                                     coc_twin_on(b, positions), coc_twin_on(b, mean),
                                     coc_twin_on(b, inverse));
    }
    check_same("fixed scale", scale);
    check_same("fixed shift", shift);
    check_same("dgamma", gamma);
    check_same("dbeta", beta);
    check_same("mean of du", mean);
    check_same("mean of du xhat", inverse);
    coc_twins_free();
}

/* Coefficients and statistics of any number of channels and groups. */
static void norms_equal_reference(void)
{
    check_statistics(8, 1);
    check_statistics(32, 5);
    check_statistics(136, 33);
    check_statistics(1152, 2);
}

/* A tensor of whole numbers, whose sums are exact: a group must get its own clips and no other's,
 * bit for bit. */
static void check_groups(int64_t n, int64_t positions, int channels, const int32_t *group,
                         int groups)
{
    const int64_t count = n * positions * channels, all = (int64_t)groups * channels;
    float *values = malloc((size_t)count * sizeof *values);
    const coc_twin of_group = coc_twin_copy(group, n, sizeof *group),
                   sums = coc_twin_doubles(2 * all, 0, 1);
    const coc_twin mean = coc_twin_numbers(all, 0, 0),
                   one = coc_twin_numbers(all > n ? all : n, 1, 1);
    stored *x;

    coc_test_random(values, count, 1);
    for (int64_t i = 0; i < count; i++)
        values[i] = roundf(4 * values[i]);
    x = coc_test_put_stored(cuda, values, count);
    for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
        const coc_norm norm = {coc_twin_on(b, mean), coc_twin_on(b, one),      coc_twin_on(b, one),
                               coc_twin_on(b, mean), coc_twin_on(b, of_group), false};
        const coc_gradient g = {.x = b == ref ? values : x,
                                .norm = &norm,
                                .dz = b == ref ? values : x,
                                .clip = coc_twin_on(b, one)};

        b->ops->norm_backward_sums(b, n, positions, channels, &g, coc_twin_on(b, sums));
    }
    coc_twin_check("sums of groups", sums, 0, 0);
    coc_test_release(cuda, x);
    free(values);
    coc_twins_free();
}

/* Groups of one clip and of all, in any order, with some that have none; more clips than are looked
 * at at a time. */
static void groups_get_their_clips(void)
{
    enum { MOST = 3000 };
    int32_t group[MOST] = {0};

    check_groups(7, 5, 8, group, 1);
    check_groups(MOST, 1, 8, group, 1);
    for (int i = 0; i < MOST; i++)
        group[i] = 2 + i * 7 % 5;
    check_groups(9, 300, 40, group, 7);
    check_groups(300, 3, 24, group, 7);
    for (int i = 0; i < MOST; i++)
        group[i] = (i * 37) % 90;
    check_groups(200, 2, 16, group, 90);
    check_groups(MOST, 1, 8, group, 90);
}

/* ---- squeeze and excitation, dense ---- */

static void check_squeeze(int64_t n, int c, int r)
{
    const coc_twin pooled = coc_twin_numbers(n * c, -1, 1), dgate = coc_twin_numbers(n * c, -1, 1);
    const coc_twin w1 = coc_twin_numbers((int64_t)r * c, -0.3f, 0.3f),
                   b1 = coc_twin_numbers(r, -1, 1);
    const float size = 2 / sqrtf((float)r); /* keeps gates off 1, where they lose their digits */
    const coc_twin w2 = coc_twin_numbers((int64_t)c * r, -size, size),
                   b2 = coc_twin_numbers(c, -1, 1);
    const coc_twin hidden = coc_twin_numbers(n * r, 0, 1), gate = coc_twin_numbers(n * c, 0, 1);
    const coc_twin dpooled = coc_twin_numbers(n * c, 0, 1),
                   dw1 = coc_twin_numbers((int64_t)r * c, -1, 1);
    const coc_twin db1 = coc_twin_numbers(r, -1, 1), dw2 = coc_twin_numbers((int64_t)c * r, -1, 1);
    const coc_twin db2 = coc_twin_numbers(c, -1, 1);

    for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
        b->ops->squeeze_forward(b, n, c, r, coc_twin_on(b, pooled), coc_twin_on(b, w1),
                                coc_twin_on(b, b1), coc_twin_on(b, w2), coc_twin_on(b, b2),
                                coc_twin_on(b, hidden), coc_twin_on(b, gate));
        b->ops->squeeze_backward(b, n, c, r, coc_twin_on(b, pooled), coc_twin_on(b, hidden),
                                 coc_twin_on(b, gate), coc_twin_on(b, dgate), coc_twin_on(b, w1),
                                 coc_twin_on(b, w2), 1.0 / 30, coc_twin_on(b, dpooled),
                                 coc_twin_on(b, dw1), coc_twin_on(b, db1), coc_twin_on(b, dw2),
                                 coc_twin_on(b, db2));
    }
    check_sums("hidden", hidden);
    check_sums("gate", gate);
    check_sums("dpooled", dpooled);
    check_products("dw1", dw1);
    check_sums("db1", db1);
    check_products("dw2", dw2);
    check_sums("db2", db2);
    coc_twins_free();
}

/* Squeeze and excitation, both directions; gradients of weights are added to what is there. */
static void squeezes_equal_reference(void)
{
    check_squeeze(5, 8, 1);
    check_squeeze(3, 96, 4);
    check_squeeze(1, 40, 10);
    check_squeeze(17, 672, 28);
    check_squeeze(6, 1152, 48);
    check_squeeze(1030, 24, 6);
    check_squeeze(2, 2304, 300);
}

static void check_linear(int64_t n, int in, int out, bool with_bias)
{
    const coc_twin none = {0}, x = coc_twin_numbers(n * in, -1, 1),
                   w = coc_twin_numbers((int64_t)out * in, -1, 1);
    const coc_twin bias = with_bias ? coc_twin_numbers(out, -1, 1) : none,
                   y = coc_twin_numbers(n * out, 0, 1);
    const coc_twin dbias = with_bias ? coc_twin_numbers(out, -1, 1) : none,
                   dy = coc_twin_numbers(n * out, -1, 1);
    const coc_twin dx = coc_twin_numbers(n * in, 0, 1),
                   dw = coc_twin_numbers((int64_t)out * in, -1, 1);

    for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
        b->ops->linear_forward(b, n, in, out, coc_twin_on(b, x), coc_twin_on(b, w),
                               coc_twin_on(b, bias), coc_twin_on(b, y));
        b->ops->linear_backward(b, n, in, out, coc_twin_on(b, x), coc_twin_on(b, w),
                                coc_twin_on(b, dy), coc_twin_on(b, dx), coc_twin_on(b, dw),
                                coc_twin_on(b, dbias));
        b->ops->linear_backward(b, n, in, out, coc_twin_on(b, x), coc_twin_on(b, w),
                                coc_twin_on(b, dy), NULL, coc_twin_on(b, dw), NULL);
    }
    check_products("y", y);
    check_products("dx", dx);
    check_products("dw", dw);
    if (with_bias) check_sums("dbias", dbias);
    coc_twins_free();
}

static void linears_equal_reference(void)
{
    check_linear(1, 8, 3, true);
    check_linear(37, 320, 129, true);
    check_linear(70, 65, 512, false);
}

static void check_layer_norm(int64_t n, int d)
{
    const coc_twin x = coc_twin_numbers(n * d, 1, 4), gamma = coc_twin_numbers(d, -1, 1),
                   beta = coc_twin_numbers(d, -1, 1);
    const coc_twin h = coc_twin_numbers(n * d, 0, 1), mean = coc_twin_numbers(n, 0, 1),
                   inverse = coc_twin_numbers(n, 0, 1);
    const coc_twin dh = coc_twin_numbers(n * d, -1, 1), dx = coc_twin_numbers(n * d, 0, 1);
    const coc_twin dgamma = coc_twin_numbers(d, -1, 1), dbeta = coc_twin_numbers(d, -1, 1);

    for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
        b->ops->layer_norm_tanh_forward(b, n, d, coc_twin_on(b, x), coc_twin_on(b, gamma),
                                        coc_twin_on(b, beta), 1e-5, coc_twin_on(b, h),
                                        coc_twin_on(b, mean), coc_twin_on(b, inverse));
        b->ops->layer_norm_tanh_backward(
            b, n, d, coc_twin_on(b, x), coc_twin_on(b, h), coc_twin_on(b, mean),
            coc_twin_on(b, inverse), coc_twin_on(b, gamma), coc_twin_on(b, dh), coc_twin_on(b, dx),
            coc_twin_on(b, dgamma), coc_twin_on(b, dbeta));
    }
    check_sums("h", h);
    check_sums("mean", mean);
    check_sums("inverse std", inverse);
    coc_twin_check("dx", dx, 5e-6, 2e-5); /* from means of rounded products */
    coc_twin_check("dgamma", dgamma, 5e-6, 2e-5);
    coc_twin_check("dbeta", dbeta, 5e-6, 2e-5);
    coc_twins_free();
}

static void layer_norms_equal_reference(void)
{
    check_layer_norm(3, 8);
    check_layer_norm(1, 1000);
    check_layer_norm(75, 512);
    check_layer_norm(300, 40);
}

static void products_equal_reference(void)
{
    for (int64_t n = 1; n < 3000; n = n * 9 + 4) {
        const coc_twin x = coc_twin_numbers(n, -1, 1), y = coc_twin_numbers(n, -1, 1),
                       out = coc_twin_numbers(n, -1, 1);

        for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
            b->ops->multiply(b, n, 0.3, coc_twin_on(b, x), coc_twin_on(b, y), coc_twin_on(b, out));
            b->ops->multiply(b, n, 1.25, coc_twin_on(b, x), NULL, coc_twin_on(b, x));
        }
        check_same("product", out);
        check_same("multiple", x);
        coc_twins_free();
    }
}

/* A sum of two has one rounding: the same bits. */
static void additions_equal_reference(void)
{
    for (int64_t n = 1; n < 3000; n = n * 9 + 4) {
        const coc_twin x = coc_twin_numbers(n, -1, 1), out = coc_twin_numbers(n, -1, 1),
                       wide = coc_twin_doubles(n, -1, 1), sums = coc_twin_doubles(n, -1, 1);

        for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
            b->ops->add(b, n, coc_twin_on(b, x), coc_twin_on(b, out));
            b->ops->add_sums(b, n, coc_twin_on(b, wide), coc_twin_on(b, sums));
        }
        coc_twin_check("addition", out, 0, 0);
        coc_twin_check("addition of sums", sums, 0, 0);
        coc_twins_free();
    }
}

int main(void)
{
    ref = coc_test_backend("ref", COC_FP32);
    for (int p = 0; p < 2; p++) {
        cuda = coc_test_backend("cuda", p == 0 ? COC_FP32 : COC_BF16);
        if (cuda == NULL) return COC_TEST_SKIPPED;
        fprintf(stderr, "%s\n", coc_precision_name(cuda->precision));
        coc_twins_begin(ref, cuda, 1);
        RUN(norms_equal_reference);
        RUN(groups_get_their_clips);
        RUN(squeezes_equal_reference);
        RUN(linears_equal_reference);
        RUN(layer_norms_equal_reference);
        RUN(products_equal_reference);
        RUN(additions_equal_reference);
        coc_backend_destroy(&cuda);
    }
    coc_backend_destroy(&ref);
    return coc_test_result();
}
