/* loss.reduction fixed-tree: a run gives the same bits on any number of ranks: losses, gradients,
 * weights, moments and running statistics, with dropout, stochastic depth, noise and channel modes
 * on, with several batch-norm groups; fast does not. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "tests/small_run.h"
#include "tests/test.h"
#include "train/selftest.h"
#include "train/trainer.h"

static coc_comm *world, *alone;
static char folder[64];
static const char *device; /* a backend of a device that is tested instead; NULL: none */

enum { BATCH = 8, STEPS = 20 }; /* 8 leaves of a pair, which is a batch-norm group */

static coc_settings settings_of(const char *backend, coc_reduction reduction)
{
    coc_settings s = coc_test_settings(folder, BATCH, 1);

    snprintf(s.model.backend, sizeof s.model.backend, "%s", backend);
    s.data.crop = 1;
    s.model.depth = 0.1;
    s.model.threads = s.data.threads = 1;
    s.loss.reduction = reduction;
    s.train.micro_batch = reduction == COC_REDUCTION_FIXED_TREE ? 1 : 0;
    s.train.keep_activations = 100;
    s.train.steps = STEPS;
    return s;
}

/* ---- what a run leaves ----------------------------------------------------------------------- */

/* Hashes of bits. */
typedef struct {
    uint64_t losses, gradient, value, m, v, running;
} traces;

static void add_loss(traces *t, const coc_step_result *r)
{
    const double numbers[4] = {r->loss.loss, r->loss.accuracy, r->loss.columns, r->gradient_norm};
    uint64_t link[2] = {t->losses, coc_hash(numbers, sizeof numbers)};

    t->losses = coc_hash(link, sizeof link);
}

static coc_status hash_of(const coc_trainer *t, const real *from, int64_t count, uint64_t *hash)
{
    const int64_t bytes = count * (int64_t)sizeof *from;
    real *host = NULL;
    coc_status status;

    COC_TRY(coc_alloc(count, sizeof *host, &host));
    status = coc_selftest_fetch(t->backend, host, from, bytes);
    if (status == COC_OK) *hash = coc_hash(host, (size_t)bytes);
    free(host);
    return status;
}

static coc_status take_traces(const coc_trainer *t, traces *out)
{
    const coc_params *p = t->params;

    COC_TRY(hash_of(t, p->grad, p->weights, &out->gradient));
    COC_TRY(hash_of(t, p->value, p->weights, &out->value));
    COC_TRY(hash_of(t, p->m, p->weights, &out->m));
    COC_TRY(hash_of(t, p->v, p->weights, &out->v));
    return hash_of(t, p->running, p->runnings, &out->running);
}

static coc_status train(const coc_settings *settings, coc_comm *comm, int steps, traces *out)
{
    coc_trainer *t = NULL;
    coc_status status;

    *out = (traces){0};
    COC_TRY_GOTO(status, coc_trainer_create(settings, comm, folder, &t), done);
    COC_TRY_GOTO(status, coc_trainer_start_loader(t), done);
    for (int s = 0; s < steps; s++) {
        coc_step_result r;

        COC_TRY_GOTO(status, coc_train_step(t, &r), done);
        add_loss(out, &r);
    }
    COC_TRY_GOTO(status, coc_reestimate_running(t, BATCH), done);
    COC_TRY_GOTO(status, take_traces(t, out), done);
done:
    coc_trainer_destroy(&t);
    return status;
}

/* Of rank 0 alone, on all ranks. */
static coc_status train_alone(const coc_settings *settings, int steps, traces *out)
{
    const coc_status status = world->rank == 0 ? train(settings, alone, steps, out) : COC_OK;

    COC_TRY(coc_comm_agree(world, "one rank alone", status));
    return coc_broadcast(world, "traces", out, sizeof *out, COC_BYTE, 0);
}

static void check_same(const traces *a, const traces *b)
{
    CHECK(a->losses == b->losses);
    CHECK(a->gradient == b->gradient);
    CHECK(a->value == b->value);
    CHECK(a->m == b->m);
    CHECK(a->v == b->v);
    CHECK(a->running == b->running);
}

/* ---- what must hold -------------------------------------------------------------------------- */

/* After 20 steps on all ranks, and on one alone; how many activations are kept, and so the order in
 * which leaves go back, changes nothing either. */
static void weights_do_not_depend_on_ranks(void)
{
    coc_settings settings = settings_of("cpu", COC_REDUCTION_FIXED_TREE);
    traces all, one;

    if ((world->size & (world->size - 1)) != 0) return;
    REQUIRE_OK(train(&settings, world, STEPS, &all));
    settings.train.keep_activations = 6;
    settings.data.prefetch = 2;
    REQUIRE_OK(train_alone(&settings, STEPS, &one));
    check_same(&all, &one);
}

/* The specification, with two groups a leaf, columns by group and mode, and clipping. */
static void ref_and_other_losses(void)
{
    coc_settings settings = settings_of("ref", COC_REDUCTION_FIXED_TREE);
    traces all, one;

    if ((world->size & (world->size - 1)) != 0) return;
    settings.train.batch = 2 * (world->size > 2 ? world->size : 2);
    settings.train.micro_batch = 2;
    settings.train.keep_activations = 1;
    settings.loss.k = 4;
    settings.loss.negatives = COC_NEGATIVES_SAME_MODE;
    settings.loss.mask_same_track = true;
    settings.train.clip = 0.1;
    REQUIRE_OK(train(&settings, world, 1, &all));
    REQUIRE_OK(train_alone(&settings, 1, &one));
    check_same(&all, &one);
}

/* Else the test above could not fail. */
static void fast_depends_on_ranks(void)
{
    const coc_settings settings = settings_of("cpu", COC_REDUCTION_FAST);
    traces all, one;

    if (world->size == 1) return;
    REQUIRE_OK(train(&settings, world, 1, &all));
    REQUIRE_OK(train_alone(&settings, 1, &one));
    CHECK(all.losses != one.losses && all.gradient != one.gradient && all.value != one.value);
}

/* The tree is another order of the same sums: the gradient of fast within rounding. */
static void gradient_is_that_of_fast(void)
{
    coc_settings settings = settings_of("cpu", COC_REDUCTION_FIXED_TREE);
    coc_trainer *t[2] = {NULL, NULL};
    coc_step_result r[2];

    if ((world->size & (world->size - 1)) != 0) return;
    for (int i = 0; i < 2; i++) {
        const coc_batch *batch;

        REQUIRE_OK(coc_trainer_create(&settings, world, folder, &t[i]));
        REQUIRE_OK(coc_trainer_start_loader(t[i]));
        REQUIRE_OK(coc_loader_next(t[i]->loader, &batch));
        REQUIRE_OK(coc_train_gradient(t[i], batch, &r[i]));
        settings.loss.reduction = COC_REDUCTION_FAST;
        settings.train.micro_batch = 0;
    }
    CHECK_NEAR(r[0].loss.loss / r[1].loss.loss, 1, 1e-6);
    CHECK_NEAR(r[0].loss.accuracy, r[1].loss.accuracy, 1e-12);
    CHECK(coc_test_relative_error(t[0]->params->grad, t[1]->params->grad, t[0]->params->weights) <
          1e-5);
    for (int i = 0; i < 2; i++)
        coc_trainer_destroy(&t[i]);
}

static void check_refused(const coc_settings *settings, const char *word)
{
    coc_trainer *t = NULL;
    const coc_status status = coc_trainer_create(settings, world, folder, &t);

    CHECK(status == (world->rank == 0 ? COC_ERR_SETTING : COC_ERR_ELSEWHERE));
    CHECK(t == NULL);
    if (world->rank == 0) CHECK(strstr(coc_error_text(), word) != NULL);
}

/* Leaves of unequal size, no power of two of them, more ranks than leaves or ranks that do not
 * divide them: refused in one line. */
static void what_has_no_tree_is_refused(void)
{
    coc_settings settings = settings_of("cpu", COC_REDUCTION_FIXED_TREE);

    settings.train.micro_batch = 3;
    check_refused(&settings, "a batch of 8 pairs in parts of 3");
    settings.train.batch = 6;
    settings.train.micro_batch = 1;
    check_refused(&settings, "a batch of 6 pairs in parts of 1");
    settings = settings_of("cpu", COC_REDUCTION_FIXED_TREE);
    settings.train.micro_batch = 0;
    settings.model.bn_group = 0;
    if (world->size > 1) check_refused(&settings, "fixed-tree has 1 micro-batch of 8 pairs");
    settings = settings_of("cpu", COC_REDUCTION_FIXED_TREE);
    if (world->size == 3) check_refused(&settings, "8 micro-batches of 1 pairs, which 3 ranks");
}

/* Kernels sum without regard to how many ranks there are: two steps show it, the emulator has no
 * time for more. */
static void device_does_not_depend_on_ranks(void)
{
    coc_settings settings = settings_of(device, COC_REDUCTION_FIXED_TREE);
    traces all, one;

    settings.train.batch = 4;
    settings.train.steps = 2;
    settings.comm.share_gpu = true;
    REQUIRE_OK(train(&settings, world, 2, &all));
    settings.train.keep_activations = 3;
    REQUIRE_OK(train_alone(&settings, 2, &one));
    check_same(&all, &one);
}

static int run_all(void)
{
    char name[32];

    snprintf(name, sizeof name, "ranks_tree_%s%d", device != NULL ? device : "", world->size);
    snprintf(folder, sizeof folder, "scratch_%s", name);
    if (world->rank == 0) coc_test_folder(name);
    if (coc_comm_agree(world, "the store",
                       world->rank == 0 ? coc_test_store(folder, alone) : COC_OK) != COC_OK) {
        fprintf(stderr, "%s\n", coc_error_text());
        return 1;
    }
    if (device != NULL) {
        coc_backend *found;

        if (coc_backend_create(device, 1, &found) != COC_OK) return COC_TEST_SKIPPED;
        coc_backend_destroy(&found);
        RUN(device_does_not_depend_on_ranks);
        return coc_test_result();
    }
    RUN(weights_do_not_depend_on_ranks);
    RUN(ref_and_other_losses);
    RUN(fast_depends_on_ranks);
    RUN(gradient_is_that_of_fast);
    RUN(what_has_no_tree_is_refused);
    return coc_test_result();
}

/* ranks_tree [BACKEND] */
int main(int count, char **words)
{
    if (count > 1) device = words[1];
    return coc_test_on_ranks(&world, &alone, run_all);
}
