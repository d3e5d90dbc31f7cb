/* train/selftest_gradient.c - is the gradient the gradient of the loss, on all ranks, in parts?
 *
 * Weights are judged in three kinds, since rules that are wrong for one are often right for
 * another: the encoder's layers, norms (which sum over ranks twice, within and after), and the
 * similarity W (which the loss reads without the gather). Factors that are the same for all hide
 * under Adam; they show here. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/selftest.h"

typedef enum { KIND_ENCODER, KIND_NORMS, KIND_W, KINDS } weight_kind;
static const char *const kind_names[KINDS] = {"encoder", "norms", "W"};

/* Largest errors, of the norm. A wrong rule errs by 0.1 or more; what is right differs in the order
 * of sums: 1e-6 to 1e-5 in fp32, and in bf16 by rounding where a part ends. */
typedef struct {
    double gradient, running, difference;
} bounds;

static bounds bounds_of(const coc_settings *s)
{
    return s->model.precision == COC_BF16 ? (bounds){3e-2, 1e-2, 1e-1} : (bounds){1e-3, 1e-4, 2e-2};
}

/* What a step's gradient gives; all on the host. */
typedef struct {
    coc_loss loss;
    int64_t weights, runnings;
    real *gradient, *running;
    uint8_t *kind; /* [weights] */
} outcome;

static void outcome_free(outcome *o)
{
    free(o->gradient);
    free(o->running);
    free(o->kind);
    *o = (outcome){.weights = 0};
}

/* ---- kinds ---------------------------------------------------------------------------------- */

static void mark(uint8_t *kind, int64_t at, int64_t count, weight_kind k)
{
    memset(kind + at, k, (size_t)count);
}

static void mark_norm(uint8_t *kind, const coc_norm_index *at)
{
    mark(kind, at->gamma, at->channels, KIND_NORMS);
    mark(kind, at->beta, at->channels, KIND_NORMS);
}

static void mark_kinds(const coc_params *p, uint8_t *kind)
{
    const coc_param_index *at = &p->at;
    const int d = p->network->embedding;

    mark(kind, at->similarity, p->weights - at->similarity, KIND_W);
    mark_norm(kind, &at->stem_norm);
    mark_norm(kind, &at->head_norm);
    mark(kind, at->layer_norm_w, d, KIND_NORMS);
    mark(kind, at->layer_norm_b, d, KIND_NORMS);
    for (int i = 0; i < p->network->blocks; i++) {
        const coc_block_index *block = &at->block[i];

        if (p->network->block[i].has_expand) mark_norm(kind, &block->expand_norm);
        mark_norm(kind, &block->depthwise_norm);
        mark_norm(kind, &block->project_norm);
    }
}

/* ---- one gradient --------------------------------------------------------------------------- */

static coc_status fetch(const coc_trainer *t, outcome *o)
{
    const coc_params *p = t->params;

    COC_TRY(coc_alloc(p->weights, sizeof *o->gradient, &o->gradient));
    COC_TRY(coc_alloc(p->runnings, sizeof *o->running, &o->running));
    COC_TRY(coc_alloc(p->weights, sizeof *o->kind, &o->kind));
    o->weights = p->weights;
    o->runnings = p->runnings;
    mark_kinds(p, o->kind);
    COC_TRY(
        coc_selftest_fetch(t->backend, o->gradient, p->grad, p->weights * (int64_t)sizeof(real)));
    return coc_selftest_fetch(t->backend, o->running, p->running,
                              p->runnings * (int64_t)sizeof(real));
}

/* Loss and gradient of the first step. */
static coc_status gradient(const coc_selftest_model *m, coc_loss *loss)
{
    const coc_batch *batch;
    coc_step_result r = {0};

    COC_TRY(coc_made_batches_begin(m->batches, 0, &batch));
    COC_TRY(coc_train_gradient(m->trainer, batch, &r));
    *loss = r.loss;
    return COC_OK;
}

static coc_status evaluate_model(const coc_selftest_model *m, outcome *o)
{
    coc_trainer *t = m->trainer;

    COC_TRY(gradient(m, &o->loss));
    COC_TRY(coc_running_update(t->backend, t->params, t->passes.group_count, t->comm,
                               t->settings.loss.reduction, 1, NULL));
    COC_TRY(t->backend->ops->finish(t->backend));
    return fetch(t, o);
}

static coc_status evaluate(const coc_selftest *test, const coc_settings *settings, coc_comm *comm,
                           outcome *o)
{
    coc_selftest_model model;
    coc_status status = coc_selftest_open(test, settings, comm, &model);

    if (status == COC_OK) status = evaluate_model(&model, o);
    coc_selftest_close(&model);
    return status;
}

/* ---- comparing ------------------------------------------------------------------------------ */

typedef struct {
    double got, want, both, apart; /* sums of squares; of products; of squared differences */
} sums;

static void add_to(sums *s, double got, double want)
{
    s->got += got * got;
    s->want += want * want;
    s->both += got * want;
    s->apart += (got - want) * (got - want);
}

static coc_status compare_kind(coc_selftest *test, const char *name, weight_kind kind,
                               const outcome *got, const outcome *want, double bound)
{
    sums s = {0};

    for (int64_t i = 0; i < want->weights; i++)
        if (want->kind[i] == kind) add_to(&s, (double)got->gradient[i], (double)want->gradient[i]);
    return coc_selftest_add(test, name, kind_names[kind], sqrt(s.apart / s.want), bound,
                            "norm %.4f times what it should be, cosine %.4f", sqrt(s.got / s.want),
                            s.both / sqrt(s.got * s.want));
}

static coc_status compare(coc_selftest *test, const char *name, const outcome *got,
                          const outcome *want)
{
    const bounds b = bounds_of(&test->settings);
    const double loss = fabs(got->loss.loss / want->loss.loss - 1);
    sums s = {0};

    for (weight_kind k = 0; k < KINDS; k++)
        COC_TRY(compare_kind(test, name, k, got, want, b.gradient));
    for (int64_t i = 0; i < want->runnings; i++)
        add_to(&s, (double)got->running[i], (double)want->running[i]);
    COC_TRY(coc_selftest_add(test, name, "running statistics", sqrt(s.apart / s.want), b.running,
                             "mean over groups"));
    return coc_selftest_add(test, name, "loss", loss, b.running, "%.6f, should be %.6f",
                            got->loss.loss, want->loss.loss);
}

/* ---- all ranks beside one ------------------------------------------------------------------- */

static coc_status compare_columns(coc_selftest *test, const char *name, const outcome *many,
                                  const outcome *one)
{
    return coc_selftest_add(test, name, "columns", fabs(many->loss.columns - one->loss.columns),
                            1e-9, "a row sees %.3f, with one rank %.3f", many->loss.columns,
                            one->loss.columns);
}

coc_status coc_selftest_ranks(coc_selftest *test, const char *name)
{
    const coc_settings small =
        coc_selftest_small(&test->settings, test->comm->size, coc_selftest_groups(&test->settings));
    coc_settings at_once = small; /* all columns, however the run exchanges them */
    outcome many = {.weights = 0}, one = {.weights = 0};
    coc_status status = evaluate(test, &small, test->comm, &many);

    at_once.loss.exchange = COC_EXCHANGE_ALL_GATHER;
    if (status == COC_OK)
        status = coc_comm_agree(test->comm, "one rank alone",
                                evaluate(test, &at_once, test->alone, &one));
    if (status == COC_OK) status = compare(test, name, &many, &one);
    if (status == COC_OK) status = compare_columns(test, name, &many, &one);
    outcome_free(&many);
    outcome_free(&one);
    return status;
}

/* ---- parts beside the whole ----------------------------------------------------------------- */

/* Embeddings of the second time lie in the first place, those of the first time in the batch's. */
static coc_status compare_embeddings(coc_selftest *test, const char *name, const coc_trainer *t)
{
    const coc_passes *p = &t->passes;
    const coc_batch_part part = coc_part_at(&t->parts, t->parts.count - p->places - 1);
    const int64_t count = part.pairs * t->network.embedding;
    const int64_t bytes = count * (int64_t)sizeof(real);
    real *first = NULL, *second = NULL;
    int64_t different = 0;
    coc_status status;

    COC_TRY_GOTO(status, coc_alloc(count, sizeof *first, &first), done);
    COC_TRY_GOTO(status, coc_alloc(count, sizeof *second, &second), done);
    for (int view = 0; view < 2; view++) {
        const int64_t at = (view * t->parts.rows + part.row) * t->network.embedding;

        COC_TRY_GOTO(status, coc_selftest_fetch(t->backend, first, p->h + at, bytes), done);
        COC_TRY_GOTO(status,
                     coc_selftest_fetch(t->backend, second, p->place[0].h + view * count, bytes),
                     done);
        for (int64_t i = 0; i < count; i++)
            different += memcmp(&first[i], &second[i], sizeof *first) != 0;
    }
    status = coc_selftest_add(test, name, "embeddings", (double)different, 0,
                              "numbers that the second time gave other bits");

done:
    free(first);
    free(second);
    return status;
}

static coc_status evaluate_parts(coc_selftest *test, const char *name, const coc_settings *s,
                                 outcome *o)
{
    coc_selftest_model model;
    coc_status status = coc_selftest_open(test, s, test->comm, &model);

    if (status == COC_OK) status = evaluate_model(&model, o);
    if (status == COC_OK) status = compare_embeddings(test, name, model.trainer);
    coc_selftest_close(&model);
    return status;
}

coc_status coc_selftest_passes(coc_selftest *test, const char *name)
{
    const coc_settings whole = coc_selftest_small(&test->settings, test->comm->size, 3);
    coc_settings parts = whole;
    outcome two = {.weights = 0}, one = {.weights = 0};
    coc_status status;

    parts.train.micro_batch = parts.model.bn_group;
    parts.train.keep_activations = 1; /* the others are embedded twice */
    status = evaluate_parts(test, name, &parts, &two);
    if (status == COC_OK) status = evaluate(test, &whole, test->comm, &one);
    if (status == COC_OK) status = compare(test, name, &two, &one);
    outcome_free(&two);
    outcome_free(&one);
    return status;
}

/* ---- the fixed tree beside one rank --------------------------------------------------------- */

/* Two leaves a rank, of two batch-norm groups each; one of a rank's is embedded twice. */
static coc_settings tree_settings(const coc_selftest *test)
{
    coc_settings s = coc_selftest_small(&test->settings, test->comm->size, 3);

    s.loss.reduction = COC_REDUCTION_FIXED_TREE;
    s.loss.exchange = COC_EXCHANGE_ALL_GATHER;
    snprintf(s.comm.backend, sizeof s.comm.backend, "mpi");
    s.model.bn_group = 1;
    s.train.micro_batch = 2;
    s.train.batch = 4 * (int64_t)test->comm->size;
    s.train.keep_activations = 1;
    s.loss.k = 0;
    return s;
}

static coc_status compare_bits(coc_selftest *test, const char *name, const char *of, int64_t n,
                               const void *many, const void *one, size_t size)
{
    const char *a = many, *b = one;
    int64_t different = 0;

    for (int64_t i = 0; i < n; i++, a += size, b += size)
        different += memcmp(a, b, size) != 0;
    return coc_selftest_add(test, name, of, (double)different, 0,
                            "numbers that have other bits on one rank");
}

coc_status coc_selftest_tree(coc_selftest *test, const char *name)
{
    const int ranks = test->comm->size;
    const coc_settings s = tree_settings(test);
    outcome many = {.weights = 0}, one = {.weights = 0};
    coc_status status;

    if ((ranks & (ranks - 1)) != 0)
        return coc_selftest_add(test, name, "ranks", ranks, NAN,
                                "no power of two: they have no fixed tree");
    status = evaluate(test, &s, test->comm, &many);
    if (status == COC_OK)
        status =
            coc_comm_agree(test->comm, "one rank alone", evaluate(test, &s, test->alone, &one));
    if (status == COC_OK)
        status = compare_bits(test, name, "gradient", one.weights, many.gradient, one.gradient,
                              sizeof *one.gradient);
    if (status == COC_OK)
        status = compare_bits(test, name, "running statistics", one.runnings, many.running,
                              one.running, sizeof *one.running);
    if (status == COC_OK)
        status = compare_bits(test, name, "loss", 1, &many.loss.loss, &one.loss.loss,
                              sizeof one.loss.loss);
    outcome_free(&many);
    outcome_free(&one);
    return status;
}

/* ---- finite differences --------------------------------------------------------------------- */

/* Share of the loss by which it is to change to either side, if the gradient is right: far above
 * the loss's rounding (1e-6), and little enough for the next terms to stay below the bound. */
static const double wanted_change = 5e-3;

typedef struct {
    const coc_selftest_model *model;
    const outcome *at;
    weight_kind kind;
    double norm;   /* of the gradient of that kind */
    real *value;   /* [weights] host, as they are */
    real *changed; /* [weights] host */
} direction;

/* Loss at the weights + distance * gradient / norm; and what the gradient says that it changes by.
 * Weights are floats, which do not take a change that is small beside them: what they took counts.
 */
static coc_status loss_at(const direction *d, double distance, double *loss, double *said)
{
    const coc_trainer *t = d->model->trainer;
    const int64_t n = d->at->weights;
    coc_loss l;

    *said = 0;
    for (int64_t i = 0; i < n; i++) {
        const double g = d->at->kind[i] == d->kind ? (double)d->at->gradient[i] : 0;

        d->changed[i] = (real)((double)d->value[i] + distance * g / d->norm);
        *said += g * ((double)d->changed[i] - (double)d->value[i]);
    }
    COC_TRY(coc_selftest_send(t->backend, t->params->value, d->changed, n * (int64_t)sizeof(real)));
    COC_TRY(gradient(d->model, &l));
    *loss = l.loss;
    return COC_OK;
}

/* Slope of the loss there, and as the gradient says: central differences at two distances, whose
 * errors of second order cancel. */
static coc_status slope(const direction *d, double distance, double *found, double *said)
{
    static const double places[4] = {1, -1, 2, -2}, weights[4] = {8, -8, -1, 1};

    *found = *said = 0;
    for (int i = 0; i < 4; i++) {
        double loss, change;

        COC_TRY(loss_at(d, places[i] * distance, &loss, &change));
        *found += weights[i] * loss / (12 * distance);
        *said += weights[i] * change / (12 * distance);
    }
    return COC_OK;
}

static coc_status differ_along(coc_selftest *test, const char *name, direction *d)
{
    const double bound = bounds_of(&test->settings).difference;
    double found, said;

    d->norm = 0;
    for (int64_t i = 0; i < d->at->weights; i++)
        if (d->at->kind[i] == d->kind)
            d->norm += (double)d->at->gradient[i] * (double)d->at->gradient[i];
    d->norm = sqrt(d->norm);
    COC_TRY(slope(d, wanted_change * d->at->loss.loss / d->norm, &found, &said));
    return coc_selftest_add(test, name, kind_names[d->kind], fabs(found / said - 1), bound,
                            "slope of the loss %.5g, should be %.5g", found, said);
}

static coc_status differ(coc_selftest *test, const char *name, const coc_selftest_model *model,
                         outcome *o)
{
    const coc_trainer *t = model->trainer;
    const int64_t n = t->params->weights;
    direction d = {.model = model, .at = o};
    coc_status status;

    COC_TRY(evaluate_model(model, o));
    COC_TRY_GOTO(status, coc_alloc(n, sizeof *d.value, &d.value), done);
    COC_TRY_GOTO(status, coc_alloc(n, sizeof *d.changed, &d.changed), done);
    COC_TRY_GOTO(
        status,
        coc_selftest_fetch(t->backend, d.value, t->params->value, n * (int64_t)sizeof(real)), done);
    for (d.kind = 0; d.kind < KINDS && status == COC_OK; d.kind++)
        status = differ_along(test, name, &d);

done:
    free(d.value);
    free(d.changed);
    return status;
}

coc_status coc_selftest_differences(coc_selftest *test, const char *name)
{
    const coc_settings small =
        coc_selftest_small(&test->settings, test->comm->size, coc_selftest_groups(&test->settings));
    coc_selftest_model model;
    outcome o = {.weights = 0};
    coc_status status = coc_selftest_open(test, &small, test->comm, &model);

    if (status == COC_OK) status = differ(test, name, &model, &o);
    outcome_free(&o);
    coc_selftest_close(&model);
    return status;
}
