/* train/sweep_file.c - what a sweep leaves in its folder, and where its runs stand. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "train/report.h"
#include "train/sweep.h"

enum { SCHEMA = 1, TAIL_BYTES = 16384 };
static const char file_format[] = "cocola sweep";
static const int64_t file_limit = 1 << 24;

/* ---- sweep.json ----------------------------------------------------------------------------- */

static json_t *list_of(const coc_numbers *numbers)
{
    json_t *list = json_array();

    for (int i = 0; i < numbers->count; i++)
        json_array_append_new(list, json_integer(numbers->value[i]));
    return list;
}

static json_t *splits_of(const coc_sweep *sweep)
{
    json_t *list = json_array();

    for (int i = 0; i < COC_SPLITS; i++)
        if (sweep->split[i]) json_array_append_new(list, json_string(coc_split_name(i)));
    return list;
}

/* NULL without memory. The first six must stay as they are as long as the folder is used. */
static json_t *describe(const coc_sweep *sweep)
{
    const coc_train_settings *t = &sweep->base.train;
    char *settings = coc_settings_print(&sweep->base, false);
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:I, s:s, s:I, s:o, s:o, s:o, s:o, s:s}", "vary",
                  coc_vary_name(sweep->vary), "rate_rule", coc_rate_rule_name(sweep->rule),
                  "rate_at", (json_int_t)sweep->rate_at, "samples",
                  (json_int_t)(sweep->samples > 0 ? sweep->samples : t->steps * t->batch),
                  "control_store", sweep->control != NULL ? sweep->control : "", "control_samples",
                  (json_int_t)sweep->control_samples, "k", list_of(&sweep->k), "seeds",
                  list_of(&sweep->seeds), "eval_k", list_of(&sweep->eval_k), "splits",
                  splits_of(sweep), "settings", settings != NULL ? settings : "");

    if (settings == NULL) {
        json_decref(object);
        object = NULL;
    }
    free(settings);
    if (object == NULL) return NULL;
    json_object_set_new(object, "format", json_string(file_format));
    json_object_set_new(object, "schema", json_integer(SCHEMA));
    return object;
}

static coc_status refuse(const char *path, const char *difference)
{
    return COC_FAIL(COC_ERR_SETTING,
                    "%s is of another sweep: %.*s; give the same, or another --out", path,
                    (int)strcspn(difference, "\n"), difference);
}

static coc_status compare_settings(const char *path, const json_t *there, const coc_sweep *sweep)
{
    const char *text = json_string_value(json_object_get(there, "settings"));
    coc_status status = COC_OK;
    coc_settings settings;
    char *differences;

    if (text == NULL) return COC_FAIL(COC_ERR_INPUT, "%s: has no settings", path);
    coc_settings_default(&settings);
    COC_TRY(coc_settings_read_text(&settings, text, path));
    settings.train.seed = sweep->base.train.seed; /* runs have their own */
    differences = coc_settings_differences(&settings, &sweep->base);
    if (differences == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory to compare settings");
    if (differences[0] != '\0') status = refuse(path, differences);
    free(differences);
    return status;
}

/* A control store may be named later, not changed. */
static bool may_differ(const char *key, const json_t *there)
{
    return strncmp(key, "control_", 8) == 0 &&
           (json_integer_value(there) == 0 && json_string_length(there) == 0);
}

/* here: what will be written; it takes over the store of controls when none is given now. */
static coc_status compare(const char *path, const json_t *there, json_t *here,
                          const coc_sweep *sweep)
{
    static const char *const keys[] = {"vary",    "rate_rule",     "rate_at",
                                       "samples", "control_store", "control_samples"};
    const char *format = json_string_value(json_object_get(there, "format"));

    if (format == NULL || strcmp(format, file_format) != 0 ||
        json_integer_value(json_object_get(there, "schema")) != SCHEMA)
        return COC_FAIL(COC_ERR_INPUT, "%s: not a sweep of this version (schema %d)", path, SCHEMA);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const json_t *a = json_object_get(there, keys[i]), *b = json_object_get(here, keys[i]);
        char *x, *y, difference[512];

        if (json_equal(a, b) || may_differ(keys[i], a)) continue;
        if (strncmp(keys[i], "control_", 8) == 0 && sweep->control == NULL) {
            (void)json_object_set(here, keys[i], (json_t *)a); /* it stays the folder's */
            continue;
        }
        x = json_dumps(a, JSON_ENCODE_ANY);
        y = json_dumps(b, JSON_ENCODE_ANY);
        snprintf(difference, sizeof difference, "%s: %s there, %s here", keys[i],
                 x != NULL ? x : "?", y != NULL ? y : "?");
        free(x);
        free(y);
        return refuse(path, difference);
    }
    return compare_settings(path, there, sweep);
}

static coc_status compare_file(const char *path, json_t *here, const coc_sweep *sweep)
{
    json_error_t error;
    coc_status status;
    json_t *there;
    char *text;
    size_t bytes;

    COC_TRY(coc_file_read(path, file_limit, &text, &bytes));
    there = json_loadb(text, bytes, 0, &error);
    free(text);
    if (there == NULL) return COC_FAIL(COC_ERR_INPUT, "%s:%d: %s", path, error.line, error.text);
    status = compare(path, there, here, sweep);
    json_decref(there);
    return status;
}

coc_status coc_sweep_take_folder(const coc_sweep *sweep)
{
    char path[COC_PATH_BYTES], *text;
    coc_status status = COC_OK;
    json_t *here;

    COC_TRY(coc_path_join(path, sweep->out, "sweep.json"));
    here = describe(sweep);
    if (here == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for %s", path);
    if (coc_file_exists(path)) status = compare_file(path, here, sweep);
    if (status == COC_OK) status = coc_make_folders(sweep->out);
    text = json_dumps(here, JSON_INDENT(1));
    if (status == COC_OK)
        status = text != NULL ? coc_file_write(path, text, strlen(text))
                              : COC_FAIL(COC_ERR_MEMORY, "no memory for %s", path);
    free(text);
    json_decref(here);
    return status;
}

/* ---- where a run stands --------------------------------------------------------------------- */

void coc_sweep_last_line(const char *path, int64_t *step, double *loss)
{
    char tail[TAIL_BYTES + 1];
    FILE *file = fopen(path, "r");
    size_t bytes, end;

    *step = 0;
    *loss = NAN;
    if (file == NULL) return;
    if (fseek(file, -(long)TAIL_BYTES, SEEK_END) != 0) rewind(file);
    bytes = fread(tail, 1, TAIL_BYTES, file);
    fclose(file);
    for (end = bytes; end > 0 && *step == 0;) { /* lines from the last one on */
        size_t first;
        json_t *line, *number;

        while (end > 0 && tail[end - 1] != '\n')
            end--;
        for (first = end > 0 ? end - 1 : 0; first > 0 && tail[first - 1] != '\n';)
            first--;
        line = json_loadb(tail + first, end - first, 0, NULL);
        number = json_object_get(line, "loss");
        if (json_object_get(line, "pairs_per_second") != NULL) { /* of training */
            *step = json_integer_value(json_object_get(line, "step"));
            if (json_is_number(number)) *loss = json_number_value(number);
        }
        json_decref(line);
        end = first;
    }
}

/* Whether the evaluation has all that is wanted now. */
static bool is_evaluated(const coc_sweep *sweep, const char *path)
{
    coc_report_run rows = {0};
    bool all = coc_file_exists(path) && coc_report_read_rows(path, &rows) == COC_OK;

    for (int split = 0; split < COC_SPLITS && all; split++)
        for (int i = 0; i < sweep->eval_k.count && all && sweep->split[split]; i++) {
            bool found = false;

            for (int64_t r = 0; r < rows.rows && !found; r++)
                found = rows.row[r].k == sweep->eval_k.value[i] &&
                        strcmp(rows.row[r].split, coc_split_name(split)) == 0;
            all = found;
        }
    free(rows.row);
    return all;
}

coc_sweep_state coc_sweep_look(const coc_sweep *sweep, const coc_sweep_run *run)
{
    char folder[COC_PATH_BYTES], path[COC_PATH_BYTES];
    coc_sweep_state state = {0};
    double loss;

    if (coc_path_join(folder, sweep->out, run->name) != COC_OK) return state;
    if (coc_path_join(path, folder, "log.jsonl") != COC_OK) return state;
    coc_sweep_last_line(path, &state.step, &loss);
    if (coc_path_join(path, folder, run->control ? "control.json" : "eval.json") != COC_OK)
        return state;
    state.done = state.step >= run->settings.train.steps &&
                 (run->control ? coc_file_exists(path) : is_evaluated(sweep, path));
    return state;
}

/* Pairs a second of a run; NAN when its log does not tell. */
static double speed_of(const coc_sweep *sweep, const coc_sweep_run *run)
{
    char folder[COC_PATH_BYTES], path[COC_PATH_BYTES];
    coc_report_log log;

    if (coc_path_join(folder, sweep->out, run->name) != COC_OK ||
        coc_path_join(path, folder, "log.jsonl") != COC_OK || !coc_file_exists(path) ||
        coc_report_read_log(path, 0, &log) != COC_OK)
        return NAN;
    return log.pairs_per_second;
}

void coc_sweep_measure(const coc_sweep *sweep, coc_sweep_plan *plan)
{
    for (int i = 0; i < plan->count; i++)
        plan->run[i].speed = speed_of(sweep, &plan->run[i]);
}

double coc_sweep_time_left(const coc_sweep *sweep, const coc_sweep_plan *plan,
                           const coc_sweep_run *run)
{
    const coc_sweep_state state = coc_sweep_look(sweep, run);
    const int64_t left = run->settings.train.steps - state.step;
    double same = 0, any = 0, speed = sweep->pairs_per_second;
    int sames = 0, anys = 0;

    if (left <= 0) return 0;
    for (int i = 0; i < plan->count; i++) {
        const double at = plan->run[i].speed;

        if (isnan(at)) continue;
        any += at;
        anys++;
        if (plan->run[i].k != run->k) continue;
        same += at;
        sames++;
    }
    if (sames > 0)
        speed = same / sames;
    else if (anys > 0)
        speed = any / anys;
    return speed > 0 ? (double)(left * run->settings.train.batch) / speed : NAN;
}
