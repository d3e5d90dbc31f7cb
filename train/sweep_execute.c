/* train/sweep_execute.c - the runs of a sweep, one after another: train, evaluate, write down. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "train/sweep.h"

static const int64_t result_limit = 1 << 24; /* bytes of an evaluation */
static const double plain_seconds = 20;      /* between progress lines where there is no terminal */
static const double watch_seconds = 1;       /* between two looks into a log */

typedef struct {
    const coc_sweep *sweep;
    const coc_sweep_run *run;
    int64_t before, done; /* pairs: of runs that ended; of all, now */
    double looked;        /* clock */
    int64_t step;
    double loss;
    char folder[COC_PATH_BYTES], log[COC_PATH_BYTES], output[COC_PATH_BYTES];
} work;

/* ---- what is said --------------------------------------------------------------------------- */

static void watch(void *context)
{
    work *w = context;
    const double now = coc_clock_seconds();

    if (now - w->looked < watch_seconds) return;
    w->looked = now;
    coc_sweep_last_line(w->log, &w->step, &w->loss);
    w->done = w->before + w->step * w->run->settings.train.batch;
    if (w->step >= w->run->settings.train.steps)
        coc_progress_update(w->done, "pairs  %s: evaluation", w->run->name);
    else if (w->step == 0)
        coc_progress_update(w->done, "pairs  %s: beginning", w->run->name);
    else
        coc_progress_update(w->done, "pairs  %s: step %" PRId64 "/%" PRId64 ", loss %.3f",
                            w->run->name, w->step, w->run->settings.train.steps, w->loss);
}

/* ---- training ------------------------------------------------------------------------------- */

static coc_status write_settings(const work *w)
{
    char path[COC_PATH_BYTES];
    char *text = coc_settings_print(&w->run->settings, false);
    coc_status status;

    if (text == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for the settings");
    status = coc_path_join(path, w->folder, "config.yaml");
    if (status == COC_OK) status = coc_file_write(path, text, strlen(text));
    free(text);
    return status;
}

/* Marks a control run, for reports. */
static coc_status write_control(const work *w)
{
    char path[COC_PATH_BYTES];
    json_t *object = json_pack("{s:s, s:s}", "format", "cocola control run", "store",
                               w->run->settings.data.train);
    char *text = object != NULL ? json_dumps(object, JSON_INDENT(1)) : NULL;
    coc_status status;

    json_decref(object);
    if (text == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for a mark");
    status = coc_path_join(path, w->folder, "control.json");
    if (status == COC_OK) status = coc_file_write(path, text, strlen(text));
    free(text);
    return status;
}

static coc_status train(work *w)
{
    char config[COC_PATH_BYTES];
    const char *words[] = {"train", "--config", config, "--out", w->folder, NULL};
    const coc_child child = {.launch = w->sweep->launch,
                             .words = words,
                             .output = w->output,
                             .watch = watch,
                             .context = w};

    COC_TRY(coc_path_join(config, w->folder, "config.yaml"));
    COC_TRY(write_settings(w));
    if (w->run->control) COC_TRY(write_control(w));
    return coc_child_run(&child);
}

/* ---- evaluation ----------------------------------------------------------------------------- */

/* "2,8,64"; the caller frees it; NULL without memory. */
static char *list_text(const coc_numbers *numbers)
{
    char *text = coc_strdup("");

    for (int i = 0; i < numbers->count && text != NULL; i++) {
        char *longer = coc_format("%s%s%" PRId64, text, i > 0 ? "," : "", numbers->value[i]);

        free(text);
        text = longer;
    }
    return text;
}

/* What the evaluation of one split printed, added to the list. */
static coc_status take_result(const char *path, json_t *all)
{
    json_error_t error;
    json_t *object;
    char *text;
    size_t bytes;

    COC_TRY(coc_file_read(path, result_limit, &text, &bytes));
    object = json_loadb(text, bytes, 0, &error);
    free(text);
    if (object == NULL)
        return COC_FAIL(COC_ERR_INPUT,
                        "an evaluation printed no JSON (line %d: %s); does --launch print "
                        "something to standard output?",
                        error.line, error.text);
    if (json_array_append_new(all, object) == 0) return COC_OK;
    return COC_FAIL(COC_ERR_MEMORY, "no memory for an evaluation");
}

static coc_status evaluate_split(work *w, coc_split split, const char *eval_k, json_t *all)
{
    const coc_data_settings *d = &w->run->settings.data;
    const char *store = split == COC_VALIDATION && d->valid[0] != '\0' ? d->valid : d->train;
    const coc_model_settings *m = &w->run->settings.model;
    char model[COC_PATH_BYTES], result[COC_PATH_BYTES], temporary[COC_PATH_BYTES];
    const char *words[] = {"eval",
                           "--checkpoint",
                           model,
                           "--store",
                           store,
                           "--split",
                           coc_split_name(split),
                           "--k",
                           eval_k,
                           "--format",
                           "json",
                           "--backend",
                           m->backend,
                           "--precision",
                           coc_precision_name(m->precision),
                           NULL};
    const coc_child child = {.launch = w->sweep->launch,
                             .words = words,
                             .output = w->output,
                             .result = temporary,
                             .watch = watch,
                             .context = w};
    coc_status status;

    COC_TRY(coc_path_join(model, w->folder, "checkpoints/last.h5"));
    COC_TRY(coc_path_join(result, w->folder, "eval.json"));
    COC_TRY(coc_new_file_path(result, temporary));
    status = coc_child_run(&child);
    if (status == COC_OK) status = take_result(temporary, all);
    coc_file_discard(temporary);
    return status;
}

static bool same_value(const json_t *a, const json_t *b, const char *key)
{
    return json_equal(json_object_get(a, key), json_object_get(b, key));
}

static json_t *of_split(json_t *all, const json_t *wanted)
{
    for (size_t i = 0; i < json_array_size(all); i++)
        if (same_value(json_array_get(all, i), wanted, "split")) return json_array_get(all, i);
    return NULL;
}

static bool has_row(const json_t *rows, const json_t *wanted)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);

        if (same_value(row, wanted, "k") && same_value(row, wanted, "mode")) return true;
    }
    return false;
}

/* Rows of K that were evaluated in the same way and not now. */
static void keep_rows(json_t *now, const json_t *before)
{
    static const char *const same[] = {"store_hash", "order", "orders", "seed"};
    const json_t *old = json_object_get(before, "rows");
    json_t *rows = json_object_get(now, "rows");

    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        if (!same_value(now, before, same[i])) return;
    for (size_t i = 0; i < json_array_size(old); i++)
        if (!has_row(rows, json_array_get(old, i)))
            (void)json_array_append(rows, json_array_get(old, i));
}

/* What an evaluation of before says of the same model stays: other splits, and other K of these. A
 * file that cannot be read is replaced. */
static void keep_others(const char *path, json_t *all)
{
    json_t *before = json_load_file(path, 0, NULL);

    for (size_t i = 0; i < json_array_size(before); i++) {
        json_t *old = json_array_get(before, i), *now = of_split(all, old);

        if (!same_value(old, json_array_get(all, 0), "checkpoint_hash")) continue;
        if (now != NULL)
            keep_rows(now, old);
        else
            (void)json_array_append(all, old);
    }
    json_decref(before);
}

static coc_status evaluate(work *w)
{
    char path[COC_PATH_BYTES], *text = NULL;
    char *eval_k = list_text(&w->sweep->eval_k);
    json_t *all = json_array();
    coc_status status = COC_OK;

    if (eval_k == NULL || all == NULL) status = COC_FAIL(COC_ERR_MEMORY, "no memory to evaluate");
    for (int split = 0; split < COC_SPLITS && status == COC_OK; split++)
        if (w->sweep->split[split]) status = evaluate_split(w, split, eval_k, all);
    if (status == COC_OK) status = coc_path_join(path, w->folder, "eval.json");
    if (status == COC_OK) keep_others(path, all);
    if (status == COC_OK) text = json_dumps(all, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    if (status == COC_OK)
        status = text != NULL ? coc_file_write(path, text, strlen(text))
                              : COC_FAIL(COC_ERR_MEMORY, "no memory for %s", path);
    free(text);
    free(eval_k);
    json_decref(all);
    return status;
}

/* ---- one run, all runs ---------------------------------------------------------------------- */

static coc_status run_locked(work *w)
{
    COC_TRY(train(w));
    return w->run->control ? COC_OK : evaluate(w);
}

static coc_status execute_run(work *w)
{
    coc_lock lock;
    coc_status status;

    COC_TRY(coc_path_join(w->folder, w->sweep->out, w->run->name));
    COC_TRY(coc_path_join(w->log, w->folder, "log.jsonl"));
    COC_TRY(coc_path_join(w->output, w->folder, "output.txt"));
    COC_TRY(coc_make_folders(w->folder));
    COC_TRY(coc_lock_take(w->folder, ".sweep.lock", "cocola sweep", &lock));
    w->looked = 0;
    status = run_locked(w);
    coc_lock_release(&lock);
    return status;
}

/* What has been done, and what there is to do, in pairs. */
static void count_pairs(const coc_sweep *sweep, const coc_sweep_plan *plan, int only, int64_t *done,
                        int64_t *all)
{
    *done = *all = 0;
    for (int i = 0; i < plan->count; i++) {
        const coc_train_settings *t = &plan->run[i].settings.train;
        const int64_t step = coc_sweep_look(sweep, &plan->run[i]).step;

        if (only > 0 && i + 1 != only) continue;
        *done += (step < t->steps ? step : t->steps) * t->batch;
        *all += t->steps * t->batch;
    }
}

typedef struct {
    int failed, skipped, done;
    coc_status first; /* of the failures */
    char names[512];
} outcome;

static void note_failure(outcome *o, const coc_sweep_run *run, coc_status status)
{
    const size_t used = strlen(o->names);

    coc_log_warn("%s failed: %s", run->name, coc_error_text());
    if (o->failed++ == 0) o->first = status;
    snprintf(o->names + used, sizeof o->names - used, "%s%s", used > 0 ? ", " : "", run->name);
}

static coc_status execute_all(work *w, const coc_sweep_plan *plan, int only, outcome *o)
{
    for (int i = 0; i < plan->count; i++) {
        const coc_train_settings *t = &plan->run[i].settings.train;
        coc_status status = COC_OK;

        if (only > 0 && i + 1 != only) continue;
        w->run = &plan->run[i];
        if (coc_stop_requested())
            return COC_FAIL(COC_ERR_STOPPED,
                            "stopped by a signal before %s; start the same "
                            "command again to go on",
                            w->run->name);
        if (coc_sweep_look(w->sweep, w->run).done)
            o->skipped++;
        else
            status = execute_run(w);
        if (status == COC_ERR_STOPPED)
            return COC_FAIL(COC_ERR_STOPPED,
                            "stopped by a signal in %s; start the same command again to go on",
                            w->run->name);
        if (status != COC_OK) note_failure(o, w->run, status);
        w->before += t->steps * t->batch;
    }
    return COC_OK;
}

coc_status coc_sweep_execute(const coc_sweep *sweep, const coc_sweep_plan *plan, int only)
{
    work w = {.sweep = sweep};
    outcome o = {0};
    int64_t done, all;
    coc_status status;

    coc_stop_install();
    count_pairs(sweep, plan, only, &done, &all);
    coc_progress_begin("sweep", done, all, plain_seconds);
    status = execute_all(&w, plan, only, &o);
    coc_progress_end();
    if (status != COC_OK) return status;
    if (o.skipped > 0) coc_log_root("%d of the runs had been done before", o.skipped);
    if (o.failed == 0) return COC_OK;
    return COC_FAIL(o.first, "%d of %d runs failed: %s; the same command begins with these again",
                    o.failed, only > 0 ? 1 : plan->count, o.names);
}
