/* N ranks compute what one rank computes: loss, gradient and running statistics of a global batch
 * are those of one process that holds all of it, however pairs and batch-norm groups fall on ranks.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "comm/mpi_comm.h"
#include "model/encoder.h"
#include "model/similarity.h"
#include "tests/test.h"

enum { SIDE = 40, FEATURES = 2 * SIDE * SIDE, EMBEDDING = 32 };

static coc_comm *world;
static const char *backend_name;

/* The global batch; clips are numbered as slots: anchors 0 .. K - 1, positives K .. 2K - 1. */
typedef struct {
    int64_t pairs, group;
    coc_network network;
    float *x, *keep, *dropout, *depth; /* [2K][...], depth [blocks][2K] */
    int64_t label[64];
    uint64_t row_track[64], column_track[64];
    int32_t row_set[64], column_set[64];
} global_batch;

/* What one evaluation of it gives. */
typedef struct {
    coc_loss loss;
    int64_t weights, runnings;
    int64_t w; /* where W begins among the weights, to the end of which it goes */
    float *grad, *running;
} outcome;

static float *random_floats(int64_t n, uint32_t seed)
{
    float *values = calloc((size_t)n, sizeof *values);

    coc_test_random(values, n, seed);
    return values;
}

static float *random_keep(int64_t n, float kept, uint32_t seed)
{
    float *values = random_floats(n, seed);

    for (int64_t i = 0; i < n; i++)
        values[i] = values[i] < -0.7f ? 0 : kept;
    return values;
}

/* With several groups positives stand in other slots than their anchors. */
static coc_status batch_create(int64_t pairs, int64_t group, bool masks, global_batch *g)
{
    const coc_profile *profile;
    const bool dealt = group != 0 && group != pairs;

    memset(g, 0, sizeof *g);
    g->pairs = pairs;
    g->group = group;
    COC_TRY(coc_profile_find("cocola-hps", 2, &profile));
    COC_TRY(coc_network_build(profile, 0.35, 0.3, SIDE, SIDE, &g->network));
    g->network.embedding = EMBEDDING;
    g->x = random_floats(2 * pairs * FEATURES, 1);
    if (masks) {
        g->keep = random_keep(2 * pairs * 2, 1, 2);
        g->dropout = random_keep(2 * pairs * g->network.head.out_c, 1.1f, 3);
        g->depth = random_keep(2 * pairs * g->network.blocks, 1.2f, 4);
    }
    for (int64_t i = 0; i < pairs; i++) {
        g->label[i] = dealt ? (i + pairs / 2 + 1) % pairs : i;
        g->row_track[i] = (uint64_t)(100 + i / 2); /* two pairs a track */
        g->column_track[g->label[i]] = g->row_track[i];
        g->row_set[i] = g->column_set[g->label[i]] = (int32_t)(i % 2);
    }
    return COC_OK;
}

static void batch_destroy(global_batch *g)
{
    free(g->x);
    free(g->keep);
    free(g->dropout);
    free(g->depth);
}

/* rows [2n][size] of the local clips, out of all [2K][size]; NULL stays NULL. */
static float *local_rows(const global_batch *g, const float *all, int64_t first, int64_t n,
                         int64_t size)
{
    float *rows = all != NULL ? calloc((size_t)(2 * n * size), sizeof *rows) : NULL;

    if (rows == NULL) return NULL;
    for (int view = 0; view < 2; view++)
        memcpy(rows + view * n * size, all + (view * g->pairs + first) * size,
               (size_t)(n * size) * sizeof *rows);
    return rows;
}

static float *local_depth(const global_batch *g, int64_t first, int64_t n)
{
    float *rows =
        g->depth != NULL ? calloc((size_t)(2 * n * g->network.blocks), sizeof *rows) : NULL;

    for (int b = 0; b < g->network.blocks && rows != NULL; b++)
        for (int view = 0; view < 2; view++)
            memcpy(rows + (b * 2 + view) * n, g->depth + (b * 2 + view) * g->pairs + first,
                   (size_t)n * sizeof *rows);
    return rows;
}

typedef struct {
    coc_backend *backend;
    coc_params *params;
    coc_encoder *encoder;
    coc_groups *groups;
    coc_similarity *similarity;
    coc_encoder_input input;
    float *x, *keep, *dropout, *depth, *h, *dh;
} model;

static void model_destroy(model *m)
{
    coc_similarity_destroy(&m->similarity);
    coc_groups_destroy(&m->groups);
    coc_encoder_destroy(&m->encoder);
    coc_params_destroy(&m->params);
    coc_backend_destroy(&m->backend);
    free(m->x);
    free(m->keep);
    free(m->dropout);
    free(m->depth);
    free(m->h);
    free(m->dh);
}

/* This rank's part of the batch on a communicator. */
static coc_status model_create(const global_batch *g, coc_comm *comm, model *m)
{
    coc_parts parts;
    const coc_model_settings settings = {.similarity_scale = 0.2};
    int64_t first;
    const int64_t n = coc_share(g->pairs, comm->size, comm->rank, &first);

    memset(m, 0, sizeof *m);
    COC_TRY(coc_backend_create(backend_name, 1, &m->backend));
    COC_TRY(coc_params_create(&g->network, m->backend->device, true, &m->params));
    COC_TRY(coc_params_init(m->params, &settings, 3));
    COC_TRY(coc_encoder_create(m->backend, &g->network, 2 * n, true, &m->encoder));
    COC_TRY(coc_groups_create(comm, g->pairs, g->group, &m->groups));
    m->x = local_rows(g, g->x, first, n, FEATURES);
    m->keep = local_rows(g, g->keep, first, n, 2);
    m->dropout = local_rows(g, g->dropout, first, n, g->network.head.out_c);
    m->depth = local_depth(g, first, n);
    m->h = calloc((size_t)(2 * n * EMBEDDING), sizeof *m->h);
    m->dh = calloc((size_t)(2 * n * EMBEDDING), sizeof *m->dh);
    m->input = (coc_encoder_input){2 * n, m->x, m->keep, m->dropout, m->depth, false};
    COC_TRY(coc_parts_make(comm, g->pairs, 0, &parts));
    return coc_similarity_create(m->backend, comm, &parts, EMBEDDING, NULL, &m->similarity);
}

static coc_status compute(const global_batch *g, coc_comm *comm, model *m, outcome *o)
{
    int64_t first;
    const int64_t n = coc_share(g->pairs, comm->size, comm->rank, &first);
    const coc_similarity_batch batch = {.label = g->label + first,
                                        .row_track = g->row_track + first,
                                        .column_track = g->column_track + first,
                                        .row_set = g->row_set + first,
                                        .column_set = g->column_set};
    coc_params *p = m->params;

    COC_TRY(coc_running_begin(p));
    COC_TRY(coc_encoder_forward(m->encoder, p, m->groups, &m->input, m->h));
    COC_TRY(coc_similarity_columns(m->similarity, p, &batch, m->h + n * EMBEDDING, 0));
    COC_TRY(coc_similarity_loss(m->similarity, p, m->h, m->h + n * EMBEDDING, &batch, m->dh,
                                m->dh + n * EMBEDDING, NULL));
    COC_TRY(coc_encoder_backward(m->encoder, p, m->groups, &m->input, m->dh, NULL, NULL));
    COC_TRY(coc_all_reduce(comm, "gradient", p->grad, p->weights, COC_FLOAT));
    COC_TRY(
        coc_running_update(m->backend, p, m->groups->total, comm, COC_REDUCTION_FAST, 0.1, NULL));
    COC_TRY(m->backend->ops->finish(m->backend));
    o->loss = coc_similarity_result(m->similarity);
    o->weights = p->weights;
    o->w = p->at.similarity;
    o->runnings = p->runnings;
    o->grad = calloc((size_t)p->weights, sizeof *o->grad);
    o->running = calloc((size_t)p->runnings, sizeof *o->running);
    memcpy(o->grad, p->grad, (size_t)p->weights * sizeof *o->grad);
    memcpy(o->running, p->running, (size_t)p->runnings * sizeof *o->running);
    return COC_OK;
}

static void run_on(const global_batch *g, coc_comm *comm, outcome *o)
{
    model m;

    memset(o, 0, sizeof *o);
    REQUIRE_OK(model_create(g, comm, &m));
    REQUIRE_OK(compute(g, comm, &m, o));
    model_destroy(&m);
}

static void compare(const outcome *one, const outcome *many)
{
    const double loss = fabs(many->loss.loss - one->loss.loss) / one->loss.loss;
    const double grad = coc_test_relative_error(many->grad, one->grad, one->weights);
    const double of_w =
        coc_test_relative_error(many->grad + one->w, one->grad + one->w, one->weights - one->w);
    const double running = coc_test_relative_error(many->running, one->running, one->runnings);

    if (world->rank == 0)
        fprintf(stderr,
                "  loss %.1e, gradient %.1e, of W alone %.1e, running statistics %.1e apart\n",
                loss, grad, of_w, running);
    CHECK(loss <= 1e-5);
    CHECK(grad <= 1e-5);
    CHECK(of_w <= 1e-5);
    CHECK(running <= 1e-5);
    CHECK_NEAR(many->loss.accuracy, one->loss.accuracy, 1e-12);
    CHECK_NEAR(many->loss.columns, one->loss.columns, 1e-12);
    CHECK_NEAR(many->loss.same_track, one->loss.same_track, 1e-12);
}

static void check_case(int64_t pairs, int64_t group, bool masks)
{
    coc_comm *self = NULL;
    global_batch g;
    outcome one, many;

    if (pairs < world->size) return; /* every rank needs a pair */
    REQUIRE_OK(coc_comm_self(&self));
    REQUIRE_OK(batch_create(pairs, group, masks, &g));
    run_on(&g, self, &one);
    run_on(&g, world, &many);
    if (one.grad != NULL && many.grad != NULL) compare(&one, &many);
    free(one.grad);
    free(one.running);
    free(many.grad);
    free(many.running);
    batch_destroy(&g);
    coc_comm_destroy(&self);
}

/* One batch-norm group over all ranks, shares equal or not. */
static void one_group(void)
{
    check_case(8, 0, false);
    check_case(7, 0, true);
    check_case(4, 4, true);
    check_case(11, 0, true); /* uneven on two to eight ranks */
}

/* Groups that lie on one rank, end inside a share, or span several; positives are dealt. */
static void several_groups(void)
{
    check_case(8, 2, true);
    check_case(9, 3, true);
    check_case(8, 4, false);
    check_case(6, 1, true);
}

/* Every group of the run is owned by exactly one rank, and a rank's clips lie in its groups. */
static void groups_are_owned_once(void)
{
    for (int64_t size = 1; size <= 12; size++) {
        coc_groups *groups = NULL;
        int64_t sums[2] = {0, 0};

        if (12 % size != 0) continue;
        REQUIRE_OK(coc_groups_create(world, 12, size, &groups));
        CHECK(groups->total == 12 / size);
        for (int i = 0; i < groups->count; i++) {
            CHECK(groups->clips[i] == 2 * size);
            sums[0] += groups->owned[i];
        }
        sums[1] = 2 * coc_share(12, world->size, world->rank, NULL);
        for (int64_t i = 0; i < sums[1]; i++)
            CHECK(groups->of_clip[i] >= 0 && groups->of_clip[i] < groups->count);
        REQUIRE_OK(coc_all_reduce(world, "owned groups", sums, 2, COC_INT64));
        CHECK(sums[0] == groups->total && sums[1] == 24);
        coc_groups_destroy(&groups);
    }
}

/* One group over all ranks costs one reduction a norm and pass, not one a layer's part. */
static void one_reduction_a_norm(void)
{
    global_batch g;
    outcome o = {.weights = 0};
    coc_where_count *count;
    uint64_t norms = 2;
    model m;

    if (world->size == 1 || world->size > 4) return; /* nothing is shared; there are four pairs */
    backend_name = "ref";
    REQUIRE_OK(batch_create(4, 0, false, &g));
    REQUIRE_OK(model_create(&g, world, &m));
    for (int i = 0; i < g.network.blocks; i++)
        norms += g.network.block[i].has_expand ? 3 : 2;
    REQUIRE(m.groups->count == 1 && m.groups->comm[0] != NULL);
    count = &((coc_mpi_comm *)m.groups->comm[0]->impl)->count;
    count->started = 0;
    REQUIRE_OK(compute(&g, world, &m, &o));
    CHECK(count->started == 2 * norms);
    free(o.grad);
    free(o.running);
    model_destroy(&m);
    batch_destroy(&g);
}

static float *gathered;

static coc_status note_columns(coc_comm *comm, const char *what, const void *send, void *recv,
                               const int64_t *counts, coc_type type, coc_stream *stream,
                               coc_request **request)
{
    if (strcmp(what, "columns of the similarity") == 0) gathered = recv;
    return world->ops->start_all_gather(comm, what, send, recv, counts, type, stream, request);
}

static coc_status swap_columns(coc_comm *comm, coc_request **request)
{
    if (*request == NULL) return COC_OK;
    COC_TRY(world->ops->wait(comm, request));
    for (int64_t i = 0; gathered != NULL && i < 2 * EMBEDDING; i++) {
        const float first = gathered[i];

        gathered[i] = gathered[2 * EMBEDDING + i];
        gathered[2 * EMBEDDING + i] = first;
    }
    gathered = NULL;
    return COC_OK;
}

/* Columns of two ranks that change places in the all-gather, each of them right in itself, are
 * refused in the first step: loss and gradient would be finite and wrong. */
static void columns_in_wrong_order_are_refused(void)
{
    coc_comm_ops ops = *world->ops;
    coc_comm wrong = *world;
    outcome o = {.weights = 0};
    global_batch g;
    model m;

    if (world->size < 2) return;
    ops.start_all_gather = note_columns;
    ops.wait = swap_columns;
    wrong.ops = &ops;
    backend_name = "ref";
    REQUIRE_OK(batch_create(2 * world->size, 0, false, &g));
    REQUIRE_OK(model_create(&g, &wrong, &m));
    CHECK(compute(&g, &wrong, &m, &o) == COC_ERR_RANKS);
    CHECK(strstr(coc_error_text(), "at the place of rank 0 stands the part of rank 1") != NULL);
    free(o.grad);
    free(o.running);
    model_destroy(&m);
    batch_destroy(&g);
}

/* A batch that is no multiple of the group, or smaller than the ranks, is refused on all ranks. */
static void impossible_groups_are_refused(void)
{
    coc_groups *groups = NULL;

    CHECK(coc_groups_create(world, 12, 5, &groups) == COC_ERR_SETTING);
    CHECK(groups == NULL && strstr(coc_error_text(), "model.bn_group") != NULL);
    if (world->size < 2) return;
    CHECK(coc_groups_create(world, world->size - 1, 0, &groups) == COC_ERR_SETTING);
    CHECK(groups == NULL && strstr(coc_error_text(), "train.batch") != NULL);
}

int main(void)
{
    const coc_comm_settings settings = {.backend = "mpi", .deadline = 60};
    int result;

    if (coc_comm_start(&settings, &world) != COC_OK) {
        fprintf(stderr, "%s\n", coc_error_text());
        return 1;
    }
    RUN(groups_are_owned_once);
    RUN(impossible_groups_are_refused);
    RUN(one_reduction_a_norm);
    RUN(columns_in_wrong_order_are_refused);
    for (const char *const *b = coc_backend_names(); *b != NULL; b++) {
        if (strcmp(*b, "cuda") == 0) continue; /* host memory here: tests/cuda_model.c */
        backend_name = *b;
        RUN(one_group);
        RUN(several_groups);
    }
    result = coc_test_result();
    coc_comm_destroy(&world);
    coc_comm_finish();
    return result;
}
