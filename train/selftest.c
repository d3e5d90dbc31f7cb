#include "train/selftest.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const coc_selftest_check checks[] = {
    {"collectives", "numbers of known sums and places, of even, uneven and empty shares",
     coc_selftest_collectives},
    {"links", "time between neighbours, and the slowest beside the median of its kind",
     coc_selftest_links},
    {"ranks", "gradient and running statistics of all ranks with those of one rank alone",
     coc_selftest_ranks},
    {"differences", "gradient with finite differences of the loss, along the gradient",
     coc_selftest_differences},
    {"passes", "gradient of a batch that is embedded in parts, twice, with that of the whole",
     coc_selftest_passes},
    {"tree", "bits of a step with loss.reduction: fixed-tree with those of one rank alone",
     coc_selftest_tree},
    {"resume", "weights after a checkpoint was written, read and trained on, bit for bit",
     coc_selftest_resume},
    {NULL, NULL, NULL},
};

const coc_selftest_check *coc_selftest_checks(void)
{
    return checks;
}

coc_status coc_selftest_run(coc_selftest *test, const coc_selftest_check *check)
{
    for (; check->name != NULL; check++)
        COC_TRY(check->run(test, check->name));
    return COC_OK;
}

/* ---- lines ---------------------------------------------------------------------------------- */

static bool larger(double a, double b)
{
    return isnan(a) ? !isnan(b) : a > b;
}

/* The rank of the largest value. */
static coc_status find_worst(const coc_selftest *test, double value, int *worst)
{
    const int size = test->comm->size;
    double *all;
    coc_status status;

    *worst = 0;
    COC_TRY(coc_alloc(size, sizeof *all, &all));
    status = coc_gather_each(test->comm, "self-test", &value, sizeof value, all);
    for (int r = 1; r < size && status == COC_OK; r++)
        if (larger(all[r], all[*worst])) *worst = r;
    free(all);
    return status;
}

coc_status coc_selftest_add(coc_selftest *test, const char *check, const char *of, double value,
                            double bound, const char *note_format, ...)
{
    coc_selftest_line line = {.check = check, .value = value, .bound = bound};
    va_list arguments;
    int worst;

    va_start(arguments, note_format);
    vsnprintf(line.note, sizeof line.note, note_format, arguments);
    va_end(arguments);
    snprintf(line.of, sizeof line.of, "%s", of);
    COC_TRY(find_worst(test, value, &worst));
    COC_TRY(coc_broadcast(coc_comm_over_host(test->comm), "value of a self-test", &line.value, 1,
                          COC_DOUBLE, worst));
    COC_TRY(coc_broadcast(coc_comm_over_host(test->comm), "note of a self-test", line.note,
                          sizeof line.note, COC_BYTE, worst));
    line.passed = isnan(bound) || line.value <= bound; /* a value that is NAN has not */
    COC_TRY(coc_grow(&test->line, &test->capacity, test->lines + 1, sizeof *test->line));
    test->line[test->lines++] = line;
    if (test->tell != NULL) test->tell(test, &line);
    return COC_OK;
}

static coc_status refuse(const coc_selftest *test)
{
    char names[600] = "";
    size_t used = 0;
    int64_t failed = 0;

    for (int64_t i = 0; i < test->lines; i++) {
        const coc_selftest_line *l = &test->line[i];

        if (l->passed) continue;
        if (used < sizeof names - 1)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s of %s",
                                     failed > 0 ? ", " : "", l->check, l->of);
        failed++;
    }
    if (failed == 0) return COC_OK;
    return COC_FAIL(COC_ERR_RANKS,
                    "self-test: %lld of %lld checks failed: %s; do not trust a run with this "
                    "configuration on these machines",
                    (long long)failed, (long long)test->lines, names);
}

coc_status coc_selftest_judge(const coc_selftest *test)
{
    const coc_status status = refuse(test); /* the same on all ranks, and said by one */

    return status == COC_OK || test->comm->rank == 0 ? status : COC_ERR_ELSEWHERE;
}

void coc_selftest_free(coc_selftest *test)
{
    free(test->line);
    test->line = NULL;
    test->lines = test->capacity = 0;
}

/* ---- models --------------------------------------------------------------------------------- */

/* Frames of features that a self-test sees: as little as training may see, since what it looks for
 * does not depend on the length. */
static const double seconds = 1;

int coc_selftest_groups(const coc_settings *run)
{
    return run->model.bn_group > 0 && run->model.bn_group < run->train.batch ? 3 : 1;
}

coc_settings coc_selftest_small(const coc_settings *run, int ranks, int groups)
{
    coc_settings s = *run;
    const int64_t size = groups == 1 ? 2 * ranks + 1 : ranks + 1;
    const bool columns = run->loss.k > 0 && run->loss.k < run->train.batch;

    s.data.crop = fmin(run->data.crop, seconds);
    s.data.both_first = 0;
    s.model.bn_group = groups == 1 ? 0 : size;
    s.train.batch = groups * size;
    s.train.micro_batch = 0;
    s.loss.reduction = COC_REDUCTION_FAST; /* any shares */
    s.loss.k = columns && groups > 1 ? size : 0;
    s.train.steps = 0; /* the rate after the warm-up stays */
    s.train.warmup = 0;
    return s;
}

static coc_status open_backend(const coc_selftest *test, coc_trainer *t)
{
    const coc_model_settings *m = &t->settings.model;

    COC_TRY(coc_backend_choose_device(m->backend, test->comm->local_rank, test->comm->local_size,
                                      t->settings.comm.share_gpu, &t->sharers));
    return coc_backend_open(m, &t->backend);
}

coc_status coc_selftest_open(const coc_selftest *test, const coc_settings *settings, coc_comm *comm,
                             coc_selftest_model *model)
{
    coc_status status;

    *model = (coc_selftest_model){NULL, NULL};
    status = coc_alloc(1, sizeof *model->trainer, &model->trainer);
    if (status == COC_OK) {
        model->trainer->settings = *settings;
        model->trainer->world = model->trainer->comm = comm;
        status = open_backend(test, model->trainer);
    }
    COC_TRY(coc_comm_agree(comm, "opening the self-test", status));
    COC_TRY(coc_trainer_create_model(model->trainer));
    status = coc_made_batches_create(model->trainer, &model->batches);
    return coc_comm_agree(comm, "making batches", status);
}

void coc_selftest_close(coc_selftest_model *model)
{
    coc_made_batches_destroy(&model->batches);
    coc_trainer_destroy(&model->trainer);
}

static coc_status copy(const coc_backend *backend, void *to, const void *from, int64_t bytes)
{
    const coc_device *device = backend->device;

    COC_TRY(device->copy(device, to, from, (size_t)bytes, NULL));
    return device->wait(device, NULL);
}

coc_status coc_selftest_fetch(const coc_backend *backend, void *host, const void *from,
                              int64_t bytes)
{
    return copy(backend, host, from, bytes);
}

coc_status coc_selftest_send(const coc_backend *backend, void *to, const void *host, int64_t bytes)
{
    return copy(backend, to, host, bytes);
}
