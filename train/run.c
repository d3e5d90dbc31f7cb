#include "train/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "train/model_file.h"

/* Where a run begins: rank 0 finds out, everybody gets to know. */
typedef struct {
    int64_t step, steps, batches, loaded; /* loaded: weights came from a file */
} start;

/* ---- going on ------------------------------------------------------------------------------- */

/* Differences are one to a line; an error is one line. */
static coc_status refuse_differences(const char *path, const char *differences)
{
    char text[1600];
    size_t n = 0;

    for (const char *c = differences; *c != '\0' && n + 3 < sizeof text; c++) {
        text[n++] = *c == '\n' ? ';' : *c;
        if (*c == '\n') text[n++] = ' ';
    }
    text[n] = '\0';
    return COC_FAIL(COC_ERR_SETTING,
                    "%s was written with other settings: %s; give the same ones, or another --out",
                    path, text);
}

static coc_status compare_settings(const char *path, const coc_checkpoint_info *info,
                                   const coc_settings *here, coc_settings *there)
{
    coc_status status = COC_OK;
    char *differences;

    if (info->settings == NULL)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: an imported model, no checkpoint of a run; name it as train.init",
                        path);
    coc_settings_default(there);
    COC_TRY(coc_settings_read_text(there, info->settings, path));
    differences = coc_settings_differences(there, here);
    if (differences == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory to compare settings");
    if (differences[0] != '\0') status = refuse_differences(path, differences);
    free(differences);
    return status;
}

/* How long the run is to be: a number of steps wins; a time that was turned into steps stays,
 * unless another time is asked for now, which then counts from here. */
static int64_t length_of(const coc_checkpoint_info *info, const coc_settings *there,
                         const coc_settings *here)
{
    if (here->train.steps > 0) return here->train.steps;
    if (there->train.steps > 0 || there->train.minutes != here->train.minutes) return 0;
    return info->steps;
}

static coc_status check_store(const char *path, const coc_trainer *t,
                              const coc_checkpoint_info *info)
{
    if (info->store == coc_store_hash(t->store)) return COC_OK;
    return COC_FAIL(COC_ERR_SETTING,
                    "%s was trained on another store, or data.train (%s) has changed since: its "
                    "samples would not be the next ones; use that store, or another --out with "
                    "train.init",
                    path, t->settings.data.train);
}

static coc_status go_on(coc_trainer *t, const coc_last *last, start *from)
{
    const coc_checkpoint_info *info = &last->info;
    coc_settings there;

    COC_TRY(compare_settings(last->path, info, &t->settings, &there));
    COC_TRY(check_store(last->path, t, info));
    COC_TRY(coc_checkpoint_read(last->path, t->params, true));
    *from = (start){.step = info->step,
                    .steps = length_of(info, &there, &t->settings),
                    .batches = t->params->batches,
                    .loaded = true};
    coc_log_root("going on from %s, step %lld%s", last->path, (long long)info->step,
                 info->ranks != t->comm->size ? ", on another number of ranks" : "");
    return COC_OK;
}

/* ---- beginning ------------------------------------------------------------------------------ */

static coc_status copy_weights(const coc_params *from, coc_params *to)
{
    coc_status status = COC_OK;
    float *values;

    COC_TRY(coc_tensor_buffer(from, &values));
    for (int i = 0; i < from->tensors && status == COC_OK; i++) {
        if (from->tensor[i].kind == COC_TENSOR_COUNTER) continue;
        status = coc_tensor_get(from, &from->tensor[i], COC_PART_VALUE, values);
        if (status == COC_OK) status = coc_tensor_set(to, &to->tensor[i], COC_PART_VALUE, values);
    }
    to->batches = from->batches;
    free(values);
    return status;
}

/* Same layers, whatever width and depth are called: those round to shapes. */
static coc_status same_shapes(const char *path, const coc_params *a, const coc_params *b)
{
    bool same = a->tensors == b->tensors && a->weights == b->weights;
    int i = 0;

    for (; i < a->tensors && same; i++)
        same = strcmp(a->tensor[i].name, b->tensor[i].name) == 0 &&
               memcmp(a->tensor[i].shape, b->tensor[i].shape, sizeof a->tensor[i].shape) == 0;
    if (same) return COC_OK;
    return COC_FAIL(COC_ERR_SETTING,
                    "train.init: %s is a model of profile %s, width %g, depth %g; these settings "
                    "ask for %s, width %g, depth %g",
                    path, a->network->profile->name, a->network->width, a->network->depth,
                    b->network->profile->name, b->network->width, b->network->depth);
}

static coc_status begin_with(coc_trainer *t, const char *path, start *from)
{
    coc_model *model;
    coc_status status;

    COC_TRY(coc_model_open(path, t->backend->device, &model));
    status = same_shapes(path, model->params, t->params);
    if (status == COC_OK) status = copy_weights(model->params, t->params);
    coc_model_close(&model);
    if (status != COC_OK) return status;
    from->batches = t->params->batches;
    from->loaded = true;
    coc_log_root("beginning with the weights of %s", path);
    return COC_OK;
}

/* Rank 0: nobody else works in the folder from here on, and what killed jobs left goes. */
static coc_status take_folder(coc_run *run)
{
    const char *folder = run->trainer->run;
    char path[COC_PATH_BYTES];

    COC_TRY(coc_path_join(path, folder, "checkpoints"));
    COC_TRY(coc_lock_take(folder, ".train.lock", "cocola train", &run->lock));
    coc_sweep_partials(folder);
    coc_sweep_partials(path);
    return COC_OK;
}

/* Weights from where they are to come from. */
static coc_status load_weights(coc_run *run, start *from)
{
    coc_trainer *t = run->trainer;
    coc_last last;
    coc_status status;

    status = coc_checkpoint_folder_open(t->run, t->settings.train.keep, &run->best, &last);
    if (status == COC_OK && last.found)
        status = go_on(t, &last, from);
    else if (status == COC_OK && t->settings.train.init[0] != '\0')
        status = begin_with(t, t->settings.train.init, from);
    coc_last_free(&last);
    return status;
}

/* Rank 0: weights, then the folder, which a refused run does not leave behind. */
static coc_status prepare(coc_run *run, start *from)
{
    coc_trainer *t = run->trainer;
    const bool there = coc_is_folder(t->run);
    char path[COC_PATH_BYTES];

    *from = (start){.steps = t->settings.train.steps};
    if (there) COC_TRY(take_folder(run));
    COC_TRY(load_weights(run, from));
    COC_TRY(coc_path_join(path, t->run, "checkpoints"));
    COC_TRY(coc_make_folders(path));
    return there ? COC_OK : take_folder(run);
}

coc_status coc_run_share_weights(const coc_trainer *t)
{
    const coc_params *p = t->params;

    COC_TRY(coc_broadcast(t->comm, "weights", p->value, p->weights, COC_REAL_TYPE, 0));
    COC_TRY(coc_broadcast(t->comm, "first moments", p->m, p->weights, COC_REAL_TYPE, 0));
    COC_TRY(coc_broadcast(t->comm, "second moments", p->v, p->weights, COC_REAL_TYPE, 0));
    return coc_broadcast(t->comm, "running statistics", p->running, p->runnings, COC_REAL_TYPE, 0);
}

static coc_status share_start(coc_trainer *t, start *from)
{
    COC_TRY(coc_broadcast(coc_comm_over_host(t->comm), "where the run begins", from,
                          sizeof *from / sizeof(int64_t), COC_INT64, 0));
    t->step = from->step;
    t->steps = from->steps;
    if (!from->loaded) return COC_OK; /* every rank drew the same weights */
    t->params->batches = from->batches;
    return coc_run_share_weights(t);
}

/* Rank 0: what is written while the run goes on. */
static coc_status open_files(coc_run *run)
{
    coc_trainer *t = run->trainer;
    char path[COC_PATH_BYTES];

    run->settings = coc_settings_print(&t->settings, false);
    if (run->settings == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for the settings");
    COC_TRY(coc_path_join(path, t->run, "config.yaml"));
    COC_TRY(coc_file_write(path, run->settings, strlen(run->settings)));
    return coc_runlog_open(t->run, t->step, &run->log);
}

coc_status coc_run_open(coc_trainer *t, coc_run *run)
{
    const bool root = t->comm->rank == 0;
    start from = {0};
    coc_status status;

    *run = (coc_run){.trainer = t};
    status = root ? prepare(run, &from) : COC_OK;
    COC_TRY(coc_comm_agree(t->comm, "opening the run", status));
    COC_TRY(share_start(t, &from));
    status = coc_alloc(t->params->runnings, sizeof *run->own_running, &run->own_running);
    if (status == COC_OK && root) status = open_files(run);
    return coc_comm_agree(t->comm, "opening the log", status);
}

void coc_run_close(coc_run *run)
{
    coc_runlog_close(&run->log);
    coc_lock_release(&run->lock);
    coc_best_free(&run->best);
    free(run->settings);
    free(run->own_running);
    *run = (coc_run){0};
}

/* ---- saving --------------------------------------------------------------------------------- */

static coc_status copy_running(coc_run *run, real *to, const real *from)
{
    const coc_device *device = run->trainer->backend->device;

    COC_TRY(device->copy(device, to, from, (size_t)run->trainer->params->runnings * sizeof(real),
                         NULL));
    return device->wait(device, NULL);
}

coc_status coc_run_measure(coc_run *run)
{
    coc_trainer *t = run->trainer;

    if (t->settings.eval.bn_reestimate == 0 || run->measured) return COC_OK;
    COC_TRY(copy_running(run, run->own_running, t->params->running));
    run->own_batches = t->params->batches;
    run->measured = true;
    COC_TRY(coc_reestimate_running(t, t->settings.eval.bn_reestimate));
    t->params->batches = run->own_batches;
    return COC_OK;
}

coc_status coc_run_unmeasure(coc_run *run)
{
    if (!run->measured) return COC_OK;
    run->measured = false;
    return copy_running(run, run->trainer->params->running, run->own_running);
}

/* 0 where it is the published one, so that checkpoints of that model stay what they were. */
static int64_t embedding_of(const coc_network *network)
{
    return network->embedding != network->profile->embedding ? network->embedding : 0;
}

static coc_checkpoint_info describe(const coc_run *run, double valid_loss)
{
    const coc_trainer *t = run->trainer;
    coc_checkpoint_info info = {.width = t->network.width,
                                .depth = t->network.depth,
                                .embedding = embedding_of(&t->network),
                                .features = t->settings.data.features,
                                .step = t->step,
                                .steps = t->steps,
                                .position = t->step * t->settings.train.batch,
                                .ranks = t->comm->size,
                                .store = coc_store_hash(t->store),
                                .valid_loss = valid_loss,
                                .bn_reestimated =
                                    run->measured ? t->settings.eval.bn_reestimate : 0,
                                .has_optimizer = true,
                                .settings = run->settings};

    snprintf(info.profile, sizeof info.profile, "%s", t->network.profile->name);
    return info;
}

static coc_status save(coc_run *run, bool last, double valid_loss)
{
    coc_checkpoint_info info = describe(run, valid_loss);
    const real *own = run->measured ? run->own_running : NULL;
    char path[COC_PATH_BYTES];

    if (coc_best_wants(&run->best, valid_loss)) {
        COC_TRY(coc_best_path(&run->best, info.step, path));
        COC_TRY(coc_checkpoint_write(path, run->trainer->params, own, &info));
        COC_TRY(coc_best_add(&run->best, info.step, valid_loss));
    }
    if (!last) return COC_OK;
    COC_TRY(coc_path_join(path, run->trainer->run, "checkpoints/last.h5"));
    return coc_checkpoint_write(path, run->trainer->params, own, &info);
}

coc_status coc_run_save(coc_run *run, bool last, double valid_loss)
{
    const bool root = run->trainer->comm->rank == 0;

    return coc_comm_agree(run->trainer->comm, "saving",
                          root ? save(run, last, valid_loss) : COC_OK);
}
