/* Gradients of the whole encoder and loss against finite differences, in double precision on the
 * reference backend: small networks, several batch-norm groups, all masks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/encoder.h"
#include "model/similarity.h"
#include "tests/test.h"

enum { PAIRS = 4, CLIPS = 2 * PAIRS, SIDE = 32, EMBEDDING = 20 };

typedef struct {
    coc_network network;
    coc_comm *comm;
    coc_backend *backend;
    coc_params *params;
    coc_encoder *encoder;
    coc_groups *groups;
    coc_similarity *similarity;
    coc_encoder_input input;
    real *x, *keep, *dropout, *depth, *h, *dh;
} model;

static double *random_doubles(int64_t n, uint32_t seed)
{
    double *values = calloc((size_t)n, sizeof *values);
    float *drawn = calloc((size_t)n, sizeof *drawn);

    coc_test_random(drawn, n, seed);
    for (int64_t i = 0; i < n; i++)
        values[i] = drawn[i];
    free(drawn);
    return values;
}

/* 0 or 1 / (1 - p), about a fifth of them 0. */
static double *random_keep(int64_t n, double kept, uint32_t seed)
{
    double *values = random_doubles(n, seed);

    for (int64_t i = 0; i < n; i++)
        values[i] = values[i] < -0.6 ? 0 : kept;
    return values;
}

static coc_status model_create(double width, double depth, int64_t group, model *m)
{
    coc_parts parts;
    const coc_model_settings settings = {.similarity_scale = 0.3};
    const coc_profile *profile;

    memset(m, 0, sizeof *m);
    COC_TRY(coc_profile_find("cocola-hps", 2, &profile));
    COC_TRY(coc_network_build(profile, width, depth, SIDE, SIDE, &m->network));
    m->network.embedding = EMBEDDING;
    COC_TRY(coc_comm_self(&m->comm));
    COC_TRY(coc_backend_create("ref", 1, &m->backend));
    COC_TRY(coc_params_create(&m->network, m->backend->device, true, &m->params));
    COC_TRY(coc_params_init(m->params, &settings, 7));
    COC_TRY(coc_encoder_create(m->backend, &m->network, CLIPS, true, &m->encoder));
    COC_TRY(coc_groups_create(m->comm, PAIRS, group, &m->groups));
    m->x = random_doubles((int64_t)CLIPS * 2 * SIDE * SIDE, 1);
    m->keep = random_keep(CLIPS * 2, 1, 2);
    m->dropout = random_keep((int64_t)CLIPS * m->network.head.out_c, 1.25, 3);
    m->depth = random_keep((int64_t)CLIPS * m->network.blocks, 1.25, 4);
    m->h = random_doubles(CLIPS * EMBEDDING, 5);
    m->dh = random_doubles(CLIPS * EMBEDDING, 6);
    m->input = (coc_encoder_input){
        .n = CLIPS, .x = m->x, .keep = m->keep, .dropout = m->dropout, .depth = m->depth};
    COC_TRY(coc_parts_make(m->comm, PAIRS, 0, &parts));
    return coc_similarity_create(m->backend, m->comm, &parts, EMBEDDING, NULL, &m->similarity);
}

static void model_destroy(model *m)
{
    coc_similarity_destroy(&m->similarity);
    coc_groups_destroy(&m->groups);
    coc_encoder_destroy(&m->encoder);
    coc_params_destroy(&m->params);
    coc_backend_destroy(&m->backend);
    coc_comm_destroy(&m->comm);
    free(m->x);
    free(m->keep);
    free(m->dropout);
    free(m->depth);
    free(m->h);
    free(m->dh);
}

/* The loss as a function of all weights; positives stand in other slots than their anchors. */
static double loss_of(model *m)
{
    static const int64_t label[PAIRS] = {2, 0, 3, 1};
    static const uint64_t track[PAIRS] = {11, 12, 13, 14};
    const coc_similarity_batch batch = {.label = label, .row_track = track, .column_track = track};
    const double *h2 = m->h + PAIRS * EMBEDDING;

    if (coc_running_begin(m->params) != COC_OK ||
        coc_encoder_forward(m->encoder, m->params, m->groups, &m->input, m->h) != COC_OK ||
        coc_similarity_columns(m->similarity, m->params, &batch, h2, 0) != COC_OK ||
        coc_similarity_loss(m->similarity, m->params, m->h, h2, &batch, m->dh,
                            m->dh + PAIRS * EMBEDDING, NULL) != COC_OK ||
        m->backend->ops->finish(m->backend) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    return coc_similarity_result(m->similarity).loss;
}

static double loss_at(model *m, const double *base, const double *direction, double step)
{
    for (int64_t i = 0; i < m->params->weights; i++)
        m->params->value[i] = base[i] + step * direction[i];
    return loss_of(m);
}

/* d loss / d step along a direction: the error is of order step^2. */
static double slope_along(model *m, const double *base, const double *direction, double step)
{
    return (loss_at(m, base, direction, step) - loss_at(m, base, direction, -step)) / (2 * step);
}

static void check_direction(model *m, const double *base, const double *grad,
                            const double *direction, const char *what)
{
    double want = 0, scale = 0, got;

    for (int64_t i = 0; i < m->params->weights; i++) {
        want += grad[i] * direction[i];
        scale += fabs(grad[i] * direction[i]);
    }
    got = slope_along(m, base, direction, 1e-6);
    /* rounding of the loss (1e-15 of about 10) over the step: below 1e-7; curvature: below 1e-7 of
     * the scale */
    if (!(fabs(got - want) <= 1e-6 * scale + 1e-7))
        coc_test_fail(__FILE__, __LINE__, "%s: slope %.12g, gradient %.12g (scale %g)", what, got,
                      want, scale);
}

/* One random direction in every tensor, all tensors at once, and single weights. */
static void check_directions(model *m)
{
    const int64_t weights = m->params->weights;
    const size_t bytes = (size_t)weights * sizeof(double);
    double *base = malloc(bytes), *grad = malloc(bytes), *random = random_doubles(weights, 8),
           *direction = calloc((size_t)weights, sizeof *direction);

    memcpy(base, m->params->value, bytes);
    memset(m->params->grad, 0, bytes);
    loss_of(m);
    REQUIRE_OK(
        coc_encoder_backward(m->encoder, m->params, m->groups, &m->input, m->dh, NULL, NULL));
    memcpy(grad, m->params->grad, bytes);
    check_direction(m, base, grad, random, "all weights");
    for (int i = 0; i < m->params->tensors; i++) {
        const coc_tensor *t = &m->params->tensor[i];
        const int64_t one = t->offset + t->count * 5 / 7;

        if (t->kind != COC_TENSOR_WEIGHT) continue;
        memset(direction, 0, bytes);
        memcpy(direction + t->offset, random + t->offset, (size_t)t->count * sizeof(double));
        check_direction(m, base, grad, direction, t->name);
        if (i % 9 != 0) continue;
        memset(direction, 0, bytes);
        direction[one] = 1;
        check_direction(m, base, grad, direction, t->name);
    }
    free(base);
    free(grad);
    free(random);
    free(direction);
}

/* Gradients are those of finite differences with two batch-norm groups. */
static void gradients_with_two_groups(void)
{
    model m;

    REQUIRE_OK(model_create(0.35, 0.3, 2, &m));
    CHECK(m.groups->count == 2);
    check_directions(&m);
    model_destroy(&m);
}

/* The same in a narrower and deeper network, with one group. */
static void gradients_with_one_group(void)
{
    model m;

    REQUIRE_OK(model_create(0.1, 0.4, 0, &m));
    CHECK(m.groups->count == 1);
    check_directions(&m);
    model_destroy(&m);
}

typedef struct {
    const model *m;
    double *seen; /* the gradient as it was when each weight was called final */
    int64_t from; /* what has been called final */
    int calls;
} reports;

static coc_status note_ready(void *context, int64_t first)
{
    reports *r = context;

    CHECK(first > 0 && first < r->from);
    memcpy(r->seen + first, r->m->params->grad + first, (size_t)(r->from - first) * sizeof(double));
    r->from = first;
    r->calls++;
    return COC_OK;
}

/* Backward reports weights from the end towards the beginning, and what it has called final does
 * not change any more: gradients are sent to other ranks while it goes on. */
static void reported_gradients_are_final(void)
{
    model m;
    reports r = {.m = &m};

    REQUIRE_OK(model_create(0.35, 0.3, 2, &m));
    r.seen = calloc((size_t)m.params->weights, sizeof *r.seen);
    r.from = m.params->weights;
    memset(m.params->grad, 0, (size_t)m.params->weights * sizeof(double));
    loss_of(&m);
    REQUIRE_OK(coc_encoder_backward(m.encoder, m.params, m.groups, &m.input, m.dh, note_ready, &r));
    CHECK(r.calls == m.network.blocks + 1);
    CHECK(memcmp(r.seen + r.from, m.params->grad + r.from,
                 (size_t)(m.params->weights - r.from) * sizeof(double)) == 0);
    free(r.seen);
    model_destroy(&m);
}

static coc_status refuse(void *context, int64_t first)
{
    (void)context, (void)first;
    return COC_FAIL(COC_ERR_RANKS, "refused");
}

/* A failure of the callback ends backward with that failure. */
static void failures_of_the_callback_are_passed_on(void)
{
    model m;

    REQUIRE_OK(model_create(0.1, 0.1, 2, &m));
    loss_of(&m);
    CHECK(coc_encoder_backward(m.encoder, m.params, m.groups, &m.input, m.dh, refuse, NULL) ==
          COC_ERR_RANKS);
    model_destroy(&m);
}

/* Re-estimation: with momenta 1 and 1/2 the running statistics are the mean over two batches, and
 * evaluation on them then depends on them alone. */
static void running_statistics_are_the_mean_over_batches(void)
{
    model m;
    double *first, *second;
    size_t bytes;

    REQUIRE_OK(model_create(0.1, 0.1, 2, &m));
    bytes = (size_t)m.params->runnings * sizeof(double);
    first = malloc(bytes);
    second = malloc(bytes);
    loss_of(&m);
    REQUIRE_OK(coc_running_update(m.backend, m.params, m.groups->total, m.comm, COC_REDUCTION_FAST,
                                  1, NULL));
    memcpy(first, m.params->running, bytes);
    for (int64_t i = 0; i < (int64_t)CLIPS * 2 * SIDE * SIDE; i++)
        m.x[i] = 2 * m.x[i] + 0.5;
    loss_of(&m);
    REQUIRE_OK(coc_running_update(m.backend, m.params, m.groups->total, m.comm, COC_REDUCTION_FAST,
                                  0.5, NULL));
    memcpy(second, m.params->running, bytes);
    REQUIRE_OK(coc_running_update(m.backend, m.params, m.groups->total, m.comm, COC_REDUCTION_FAST,
                                  1, NULL));
    for (int64_t i = 0; i < m.params->runnings; i++)
        CHECK_NEAR(second[i], 0.5 * (first[i] + m.params->running[i]),
                   1e-12 * (1 + fabs(second[i])));
    CHECK(m.params->batches == 3);
    free(first);
    free(second);
    model_destroy(&m);
}

/* A batch that the encoder was not made for is refused, not written past its memory. */
static void too_many_clips_are_refused(void)
{
    model m;

    REQUIRE_OK(model_create(0.1, 0.1, 2, &m));
    m.input.n = CLIPS + 1;
    CHECK(coc_encoder_forward(m.encoder, m.params, m.groups, &m.input, m.h) == COC_ERR_INTERNAL);
    model_destroy(&m);
}

int main(void)
{
    RUN(gradients_with_two_groups);
    RUN(gradients_with_one_group);
    RUN(reported_gradients_are_final);
    RUN(failures_of_the_callback_are_passed_on);
    RUN(running_statistics_are_the_mean_over_batches);
    RUN(too_many_clips_are_refused);
    return coc_test_result();
}
