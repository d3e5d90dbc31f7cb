/* train/selftest_resume.c - a run that was saved and goes on is the run that was not: to the bit,
 * on all ranks, through a real checkpoint. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "train/checkpoint.h"
#include "train/run.h"
#include "train/selftest.h"

enum { BEFORE = 2, AFTER = 2 }; /* steps */

static coc_status train_steps(const coc_selftest_model *m, int64_t end)
{
    while (m->trainer->step < end) {
        const coc_batch *batch;
        coc_step_result r = {0};

        COC_TRY(coc_made_batches_begin(m->batches, m->trainer->step, &batch));
        COC_TRY(coc_train_on(m->trainer, batch, &r));
    }
    return COC_OK;
}

/* ---- what a run consists of ----------------------------------------------------------------- */

/* values, moments, running statistics. */
static int64_t state_values(const coc_params *p)
{
    return 3 * p->weights + p->runnings;
}

static coc_status fetch_state(const coc_trainer *t, real *state)
{
    const coc_params *p = t->params;
    const int64_t bytes = p->weights * (int64_t)sizeof(real);

    COC_TRY(coc_selftest_fetch(t->backend, state, p->value, bytes));
    COC_TRY(coc_selftest_fetch(t->backend, state + p->weights, p->m, bytes));
    COC_TRY(coc_selftest_fetch(t->backend, state + 2 * p->weights, p->v, bytes));
    return coc_selftest_fetch(t->backend, state + 3 * p->weights, p->running,
                              p->runnings * (int64_t)sizeof(real));
}

/* The caller frees *state. */
static coc_status take_state(const coc_selftest *test, const coc_trainer *t, real **state)
{
    coc_status status = coc_alloc(state_values(t->params), sizeof **state, state);

    if (status == COC_OK) status = fetch_state(t, *state);
    return coc_comm_agree(test->comm, "weights of a self-test", status);
}

/* ---- the file ------------------------------------------------------------------------------- */

/* On rank 0, in the folder for temporary files. */
static void name_file(char path[COC_PATH_BYTES])
{
    const char *folder = getenv("TMPDIR");

    snprintf(path, COC_PATH_BYTES, "%s/cocola-selftest-%ld.h5",
             folder != NULL && folder[0] != '\0' ? folder : "/tmp", (long)getpid());
}

static coc_status write_file(const coc_trainer *t)
{
    coc_checkpoint_info info = {.width = t->network.width,
                                .depth = t->network.depth,
                                .features = t->settings.data.features,
                                .step = t->step,
                                .ranks = t->comm->size,
                                .valid_loss = NAN,
                                .has_optimizer = true};
    char path[COC_PATH_BYTES];

    snprintf(info.profile, sizeof info.profile, "%s", t->network.profile->name);
    name_file(path);
    return coc_checkpoint_write(path, t->params, NULL, &info);
}

static coc_status read_file(coc_trainer *t)
{
    char path[COC_PATH_BYTES];

    name_file(path);
    return coc_checkpoint_read(path, t->params, true);
}

static void remove_file(void)
{
    char path[COC_PATH_BYTES];

    name_file(path);
    unlink(path);
}

/* ---- two runs ------------------------------------------------------------------------------- */

/* Without a stop; the file is written on the way. */
static coc_status run_through(const coc_selftest *test, const coc_settings *settings, real **state)
{
    coc_selftest_model model;
    const bool root = test->comm->rank == 0;
    coc_status status = coc_selftest_open(test, settings, test->comm, &model);

    if (status == COC_OK) status = train_steps(&model, BEFORE);
    if (status == COC_OK)
        status = coc_comm_agree(test->comm, "saving", root ? write_file(model.trainer) : COC_OK);
    if (status == COC_OK) status = train_steps(&model, BEFORE + AFTER);
    if (status == COC_OK) status = take_state(test, model.trainer, state);
    coc_selftest_close(&model);
    return status;
}

/* From the file. */
static coc_status run_on(const coc_selftest *test, const coc_settings *settings, real **state,
                         int64_t *values)
{
    coc_selftest_model model;
    const bool root = test->comm->rank == 0;
    coc_status status = coc_selftest_open(test, settings, test->comm, &model);

    if (status == COC_OK)
        status = coc_comm_agree(test->comm, "reading", root ? read_file(model.trainer) : COC_OK);
    if (status == COC_OK) status = coc_run_share_weights(model.trainer);
    if (status == COC_OK) {
        model.trainer->step = BEFORE;
        status = train_steps(&model, BEFORE + AFTER);
    }
    if (status == COC_OK) {
        *values = state_values(model.trainer->params);
        status = take_state(test, model.trainer, state);
    }
    coc_selftest_close(&model);
    return status;
}

static int64_t different_bits(const real *a, const real *b, int64_t count)
{
    int64_t different = 0;

    for (int64_t i = 0; i < count; i++)
        different += memcmp(&a[i], &b[i], sizeof *a) != 0;
    return different;
}

/* Every rank updates its own copy of the weights: they stay equal only while all sums are. */
static coc_status compare_ranks(coc_selftest *test, const char *name, const real *own,
                                int64_t values)
{
    const size_t bytes = (size_t)values * sizeof *own;
    int64_t different;
    real *of_root;
    coc_status status = coc_alloc(values, sizeof *of_root, &of_root);

    COC_TRY(coc_comm_agree(test->comm, "weights of rank 0", status));
    memcpy(of_root, own, bytes);
    status = coc_broadcast(coc_comm_over_host(test->comm), "weights of rank 0", of_root,
                           (int64_t)bytes, COC_BYTE, 0);
    different = different_bits(own, of_root, values);
    free(of_root);
    COC_TRY(status);
    return coc_selftest_add(test, name, "ranks", (double)different, 0,
                            "of %lld numbers of a rank that are not those of rank 0",
                            (long long)values);
}

coc_status coc_selftest_resume(coc_selftest *test, const char *name)
{
    const coc_settings small =
        coc_selftest_small(&test->settings, test->comm->size, coc_selftest_groups(&test->settings));
    real *through = NULL, *resumed = NULL;
    int64_t values = 0;
    coc_status status = run_through(test, &small, &through);

    if (status == COC_OK) status = run_on(test, &small, &resumed, &values);
    if (test->comm->rank == 0) remove_file();
    if (status == COC_OK)
        status = coc_selftest_add(test, name, "bits",
                                  (double)different_bits(through, resumed, values), 0,
                                  "of %lld weights, moments and statistics that differ after %d "
                                  "steps, a checkpoint and %d more",
                                  (long long)values, BEFORE, AFTER);
    if (status == COC_OK) status = compare_ranks(test, name, through, values);
    free(through);
    free(resumed);
    return status;
}
