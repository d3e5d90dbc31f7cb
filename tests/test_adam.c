/* Adam and random masks of every backend of the host. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/ops.h"
#include "tests/test.h"

static coc_backend *b;

/* Two updates of one weight, followed by hand: gradients 2 and -1, weight 1, rate 0.1.
 *   step 1: m = 0.2, v = 0.004; m / 0.1 = 2, v / 0.001 = 4; weight 1 - 0.1 * 2 / 2 = 0.9
 *   step 2: m = 0.08, v = 0.004996; m / 0.19 = 0.4210526, v / 0.001999 = 2.4992496;
 *           weight 0.9 - 0.1 * 0.4210526 / 1.5809016 = 0.8733662
 * A missing bias correction, or epsilon inside the root, fails. */
static void two_steps_by_hand(void)
{
    const coc_adam adam = {.beta1 = 0.9, .beta2 = 0.999, .rate = 1};
    coc_now now = {.learning_rate = 0.1, .clip_scale = 1, .update = 1};
    float grad = 2, value = 1, m = 0, v = 0;

    b->ops->adam(b, 1, &adam, &now, &grad, &value, &m, &v);
    CHECK_NEAR(value, 0.9, 1e-7);
    CHECK_NEAR(m, 0.2, 1e-7);
    CHECK_NEAR(v, 0.004, 1e-9);
    grad = -1;
    now.update = 2;
    b->ops->adam(b, 1, &adam, &now, &grad, &value, &m, &v);
    CHECK_NEAR(m, 0.08, 1e-7);
    CHECK_NEAR(v, 0.004996, 1e-9);
    CHECK_NEAR(value, 0.8733662, 2e-7);
}

/* Epsilon is added to the corrected root: with it as large as the root the first step halves. The
 * rate is a share of the learning rate. */
static void epsilon_beside_the_root(void)
{
    const coc_adam adam = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 2, .rate = 0.5};
    const coc_now now = {.learning_rate = 0.2, .clip_scale = 1, .update = 1};
    float grad = 2, value = 1, m = 0, v = 0;

    b->ops->adam(b, 1, &adam, &now, &grad, &value, &m, &v);
    CHECK_NEAR(value, 0.95, 1e-7);
}

/* Weight decay is added to the clipped gradient: 0.5 * 2 + 0.1 * 10 = 2 enters both moments. */
static void decay_and_clipping(void)
{
    const coc_adam adam = {.beta1 = 0.9, .beta2 = 0.999, .weight_decay = 0.1, .rate = 1};
    const coc_now now = {.learning_rate = 0.1, .clip_scale = 0.5, .update = 1};
    float grad = 2, value = 10, m = 0, v = 0;

    b->ops->adam(b, 1, &adam, &now, &grad, &value, &m, &v);
    CHECK_NEAR(m, 0.2, 1e-7);
    CHECK_NEAR(v, 0.004, 1e-9);
    CHECK_NEAR(value, 9.9, 1e-6);
    CHECK(grad == 2); /* read only */
}

/* Every element of a long buffer is updated, each from its own numbers: a vector loop's tail, or a
 * thread's share, that is left out fails. */
static void long_buffers(void)
{
    enum { N = 100003 };
    const coc_adam adam = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .rate = 1};
    const coc_now now = {.learning_rate = 0.01, .clip_scale = 1, .update = 3};
    float *x, *value, *m, *v;

    REQUIRE_OK(coc_alloc(4 * N, sizeof(float), &x));
    value = x + N;
    m = value + N;
    v = m + N;
    coc_test_random(x, 4 * N, 3);
    for (int i = 0; i < N; i++)
        v[i] *= v[i];
    for (int i = 0; i < N; i += 997) {
        const double g = x[i], new_m = 0.9 * m[i] + 0.1 * g, new_v = 0.999 * v[i] + 0.001 * g * g;
        const double want = value[i] - 0.01 * (new_m / (1 - 0.729)) /
                                           (sqrt(new_v / (1 - 0.999 * 0.999 * 0.999)) + 1e-8);
        float one_value = value[i], one_m = m[i], one_v = v[i];

        b->ops->adam(b, 1, &adam, &now, x + i, &one_value, &one_m, &one_v);
        CHECK_NEAR(one_value, want, 1e-6);
    }
    {
        const float last = value[N - 1], first = value[0];
        double changed = 0;

        b->ops->adam(b, N, &adam, &now, x, value, m, v);
        CHECK(value[0] != first && value[N - 1] != last);
        for (int i = 0; i < N; i++)
            changed += isfinite(value[i]);
        CHECK_NEAR(changed, N, 0);
    }
    free(x);
}

/* The norm is a double's (1e6 values of 1 + 1e-4; a float sum is off by 1e-5 of it), and clips to
 * the largest that is allowed; 0 allows any. */
static void norms_and_clipping(void)
{
    enum { N = 1000001 };
    const double norm = sqrt(N * ((double)1.0001f * 1.0001f));
    coc_now now = {.learning_rate = 7, .update = 3};
    float *x;

    REQUIRE_OK(coc_alloc(N, sizeof *x, &x));
    for (int i = 0; i < N; i++)
        x[i] = 1.0001f;
    b->ops->clip_gradient(b, N, x, 0, &now);
    CHECK_NEAR(now.norm, norm, 1e-9 * norm);
    CHECK(now.clip_scale == 1);
    b->ops->clip_gradient(b, N, x, 10, &now);
    CHECK_NEAR(now.clip_scale, 10 / norm, 1e-9);
    b->ops->clip_gradient(b, N, x, 1e6, &now);
    CHECK(now.clip_scale == 1);
    CHECK(now.learning_rate == 7 && now.update == 3); /* the host's own */
    free(x);
}

/* Where the norm is not finite nothing is changed: not even one weight may become NAN. */
static void nothing_after_divergence(void)
{
    const coc_adam adam = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .rate = 1};
    coc_now now = {.learning_rate = 0.1, .update = 1};
    float grad[3] = {1, NAN, 2}, value[3] = {1, 2, 3}, m[3] = {0}, v[3] = {0};

    b->ops->clip_gradient(b, 3, grad, 1, &now);
    CHECK(!isfinite(now.norm));
    b->ops->adam(b, 3, &adam, &now, grad, value, m, v);
    CHECK(value[0] == 1 && value[1] == 2 && value[2] == 3 && m[0] == 0 && v[2] == 0);
}

/* ---- masks ---- */

enum { ROWS = 200, COUNT = 500 };
static uint32_t pair[ROWS];
static uint8_t view[ROWS];
static float mask[ROWS * COUNT], other[ROWS * COUNT];

static void draw(double drop, uint32_t step, float *out)
{
    const coc_rng_key key = {.seed = 9, .draw = COC_DRAW_DROPOUT};
    const coc_now now = {.draw_step = step};

    for (int i = 0; i < ROWS; i++) {
        pair[i] = (uint32_t)(i / 2 + 1000);
        view[i] = (uint8_t)(i % 2);
    }
    b->ops->draw_keep(b, &key, &now, pair, view, ROWS, COUNT, drop, out);
}

/* Values are 0 or 1 / (1 - drop), zeros as frequent as asked (within 5 standard errors). */
static void masks_have_the_rate(void)
{
    const double drop = 0.1, n = ROWS * COUNT;
    double zeros = 0;

    draw(drop, 1, mask);
    for (int i = 0; i < ROWS * COUNT; i++) {
        CHECK(mask[i] == 0 || mask[i] == (float)(1 / 0.9));
        zeros += mask[i] == 0;
    }
    CHECK_NEAR(zeros / n, drop, 5 * sqrt(drop * (1 - drop) / n));
    draw(0, 1, mask);
    for (int i = 0; i < ROWS * COUNT; i++)
        CHECK(mask[i] == 1);
}

/* A mask depends on pair, view, element and step, not on the place in the batch: any part drawn
 * alone is the same, and rows and steps differ. */
static void masks_depend_on_the_pair(void)
{
    const coc_rng_key key = {.seed = 9, .draw = COC_DRAW_DROPOUT};
    const coc_now now = {.draw_step = 1};
    int same_view = 0, same_pair = 0, same_step = 0;

    draw(0.5, 1, mask);
    b->ops->draw_keep(b, &key, &now, pair + 77, view + 77, 3, COUNT, 0.5, other);
    CHECK(memcmp(other, mask + 77 * COUNT, 3 * COUNT * sizeof(float)) == 0);
    draw(0.5, 2, other);
    for (int i = 0; i < COUNT; i++) {
        same_view += mask[i] == mask[COUNT + i];
        same_pair += mask[i] == mask[2 * COUNT + i];
        same_step += mask[i] == other[i];
    }
    CHECK_NEAR(same_view, COUNT / 2.0, 5 * sqrt(COUNT) / 2); /* independent coins */
    CHECK_NEAR(same_pair, COUNT / 2.0, 5 * sqrt(COUNT) / 2);
    CHECK_NEAR(same_step, COUNT / 2.0, 5 * sqrt(COUNT) / 2);
}

/* An element is dropped when the uniform number of its own key is below the rate: the key's meaning
 * is part of a seed. */
static void masks_follow_the_key(void)
{
    const coc_rng_key key = {.seed = 9, .draw = COC_DRAW_DROPOUT, .step = 1};

    draw(0.3, 1, mask);
    for (int i = 0; i < ROWS; i += 7)
        for (uint32_t j = 0; j < COUNT; j += 3) {
            coc_rng_key own = key;

            own.item = pair[i];
            own.view = view[i];
            CHECK((mask[i * COUNT + (int)j] == 0) == (coc_rng_uniform(&own, j) < 0.3));
        }
}

int main(void)
{
    for (int i = 0; coc_backend_names()[i] != NULL; i++) {
        if (strcmp(coc_backend_names()[i], "cuda") == 0) continue; /* tests/cuda_dense.c */
        fprintf(stderr, "backend %s\n", coc_backend_names()[i]);
        if (coc_backend_create(coc_backend_names()[i], 2, &b) != COC_OK) return 1;
        RUN(two_steps_by_hand);
        RUN(epsilon_beside_the_root);
        RUN(decay_and_clipping);
        RUN(long_buffers);
        RUN(norms_and_clipping);
        RUN(nothing_after_divergence);
        RUN(masks_have_the_rate);
        RUN(masks_depend_on_the_pair);
        RUN(masks_follow_the_key);
        if (b->ops->finish(b) != COC_OK) return 1;
        coc_backend_destroy(&b);
    }
    return coc_test_result();
}
