/* train/report_read.c - runs as they lie on disk. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/log.h"
#include "base/memory.h"
#include "train/report.h"

static const int64_t file_limit = 1 << 26; /* bytes of a config or an evaluation */

/* ---- log ------------------------------------------------------------------------------------ */

/* A sum of what is finite; one value that is not makes the mean NAN, as the run has diverged. */
typedef struct {
    double sum;
    int64_t count;
} sum;

typedef struct {
    int64_t step, skipped;
    double loss, columns;
} line;

typedef struct {
    const char *path;
    line *lines;
    double *speeds;
    int64_t count, capacity, speed_capacity;
    coc_report_log *log;
} reader;

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static coc_status take_line(reader *r, const json_t *object)
{
    const json_t *memory = json_object_get(object, "memory");
    const char *kind = json_string_value(json_object_get(object, "kind"));

    if (kind == NULL || strcmp(kind, "train") != 0) return COC_OK;
    COC_TRY(coc_grow(&r->lines, &r->capacity, r->count + 1, sizeof *r->lines));
    COC_TRY(coc_grow(&r->speeds, &r->speed_capacity, r->count + 1, sizeof *r->speeds));
    r->lines[r->count] = (line){.step = json_integer_value(json_object_get(object, "step")),
                                .skipped = json_integer_value(json_object_get(object, "skipped")),
                                .loss = number(object, "loss"),
                                .columns = number(object, "columns")};
    r->log->step = r->lines[r->count].step;
    r->speeds[r->count++] = number(object, "pairs_per_second");
    r->log->host_bytes = fmax(r->log->host_bytes, number(memory, "host"));
    r->log->device_bytes = fmax(r->log->device_bytes, number(memory, "device"));
    return COC_OK;
}

static coc_status read_lines(reader *r, FILE *file)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t length;
    coc_status status = COC_OK;

    for (int64_t n = 1; status == COC_OK && (length = getline(&text, &room, file)) > 0; n++) {
        json_t *object;

        if (text[length - 1] != '\n') break; /* being written, or cut by a crash */
        object = json_loadb(text, (size_t)length, 0, NULL);
        if (!json_is_object(object))
            status = COC_FAIL(COC_ERR_INPUT, "%s:%" PRId64 ": no JSON object", r->path, n);
        else
            status = take_line(r, object);
        json_decref(object);
    }
    free(text);
    return status;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The first line includes the start: it counts only when it is the only one. */
static double median_speed(reader *r)
{
    double *speed = r->count > 1 ? r->speeds + 1 : r->speeds;
    const int64_t count = r->count > 1 ? r->count - 1 : r->count;

    if (count == 0) return NAN;
    qsort(speed, (size_t)count, sizeof *speed, by_value);
    return (speed[(count - 1) / 2] + speed[count / 2]) / 2;
}

static void summarize(reader *r, int64_t steps)
{
    coc_report_log *log = r->log;
    const int64_t last = steps > 0 ? steps : log->step;
    sum loss = {0}, columns = {0};

    for (int64_t i = 0; i < r->count; i++) {
        if (r->lines[i].skipped > 0 && isnan(r->lines[i].loss)) continue; /* left out of training */
        if (r->lines[i].step <= last - (last + 9) / 10 && i + 1 < r->count) continue;
        loss = (sum){loss.sum + r->lines[i].loss, loss.count + 1};
        columns = (sum){columns.sum + r->lines[i].columns, columns.count + 1};
    }
    log->loss = loss.count > 0 ? loss.sum / (double)loss.count : NAN;
    log->columns = columns.count > 0 ? columns.sum / (double)columns.count : NAN;
    log->pairs_per_second = median_speed(r);
}

coc_status coc_report_read_log(const char *path, int64_t steps, coc_report_log *log)
{
    reader r = {.path = path, .log = log};
    FILE *file = fopen(path, "r");
    coc_status status;

    *log = (coc_report_log){.host_bytes = NAN, .device_bytes = NAN};
    if (file == NULL) return COC_FAIL(COC_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    status = read_lines(&r, file);
    if (status == COC_OK) summarize(&r, steps);
    free(r.lines);
    free(r.speeds);
    fclose(file);
    return status;
}

/* ---- evaluation ----------------------------------------------------------------------------- */

static coc_status take_row(const char *path, const char *split, const json_t *object,
                           coc_report_run *run)
{
    const char *mode = json_string_value(json_object_get(object, "mode"));
    const json_int_t k = json_integer_value(json_object_get(object, "k"));
    coc_report_row *row;

    if (mode == NULL || k < 1)
        return COC_FAIL(COC_ERR_INPUT, "%s: a row has no mode or no k: not of `cocola eval`", path);
    row = realloc(run->row, (size_t)(run->rows + 1) * sizeof *row);
    if (row == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for %s", path);
    run->row = row;
    row = &run->row[run->rows++];
    *row = (coc_report_row){.k = k,
                            .accuracy = number(object, "accuracy"),
                            .low = number(object, "low"),
                            .high = number(object, "high"),
                            .loss = number(object, "loss")};
    snprintf(row->split, sizeof row->split, "%s", split);
    snprintf(row->mode, sizeof row->mode, "%s", mode);
    return COC_OK;
}

static coc_status take_evaluation(const char *path, const json_t *object, coc_report_run *run)
{
    const char *split = json_string_value(json_object_get(object, "split"));
    const json_t *rows = json_object_get(object, "rows");

    if (split == NULL || !json_is_array(rows))
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: no split or no rows: not made by `cocola eval --format json`", path);
    for (size_t i = 0; i < json_array_size(rows); i++)
        COC_TRY(take_row(path, split, json_array_get(rows, i), run));
    return COC_OK;
}

coc_status coc_report_read_rows(const char *path, coc_report_run *run)
{
    coc_status status = COC_OK;
    json_error_t error;
    json_t *root;
    char *text;
    size_t bytes;

    COC_TRY(coc_file_read(path, file_limit, &text, &bytes));
    root = json_loadb(text, bytes, 0, &error);
    free(text);
    if (root == NULL) return COC_FAIL(COC_ERR_INPUT, "%s:%d: %s", path, error.line, error.text);
    if (!json_is_array(root)) status = take_evaluation(path, root, run);
    for (size_t i = 0; i < json_array_size(root) && status == COC_OK; i++)
        status = take_evaluation(path, json_array_get(root, i), run);
    json_decref(root);
    return status;
}

/* ---- runs ----------------------------------------------------------------------------------- */

static coc_status read_settings(const char *folder, coc_settings *settings)
{
    char path[COC_PATH_BYTES];

    COC_TRY(coc_path_join(path, folder, "config.yaml"));
    coc_settings_default(settings);
    return coc_settings_read_file(settings, path);
}

static void name_run(const char *folder, char name[COC_PATH_BYTES])
{
    size_t length = strlen(folder), first;

    while (length > 1 && folder[length - 1] == '/')
        length--;
    for (first = length; first > 0 && folder[first - 1] != '/';)
        first--;
    snprintf(name, COC_PATH_BYTES, "%.*s", (int)(length - first), folder + first);
}

/* How many steps a run by time was to have, its folder does not say: it counts once evaluated. */
static bool is_finished(const coc_report_run *run, bool evaluated)
{
    const int64_t steps = run->settings.train.steps;

    return run->log.step > 0 && (steps > 0 ? run->log.step >= steps : evaluated);
}

coc_status coc_report_read_run(const char *folder, coc_report_run *run)
{
    char path[COC_PATH_BYTES];

    *run = (coc_report_run){0};
    name_run(folder, run->name);
    COC_TRY(read_settings(folder, &run->settings));
    run->k = run->settings.loss.k > 0 ? run->settings.loss.k : run->settings.train.batch;
    COC_TRY(coc_path_join(path, folder, "log.jsonl"));
    COC_TRY(coc_report_read_log(path, run->settings.train.steps, &run->log));
    COC_TRY(coc_path_join(path, folder, "control.json"));
    run->control = coc_file_exists(path);
    COC_TRY(coc_path_join(path, folder, "eval.json"));
    run->finished = is_finished(run, coc_file_exists(path));
    return coc_file_exists(path) ? coc_report_read_rows(path, run) : COC_OK;
}

static bool is_run(const char *folder)
{
    char config[COC_PATH_BYTES], log[COC_PATH_BYTES];

    return coc_path_join(config, folder, "config.yaml") == COC_OK &&
           coc_path_join(log, folder, "log.jsonl") == COC_OK && coc_file_exists(config) &&
           coc_file_exists(log);
}

/* A broken run is no reason to show nothing of the others. */
static coc_status add_run(coc_report *report, const char *folder)
{
    coc_report_run *run;
    coc_status status;

    COC_TRY(coc_grow(&report->run, &report->capacity, report->runs + 1, sizeof *report->run));
    run = &report->run[report->runs];
    status = coc_report_read_run(folder, run);
    if (status == COC_OK) {
        report->runs++;
        return COC_OK;
    }
    free(run->row);
    if (status == COC_ERR_MEMORY) return status;
    coc_log_warn("%s is left out: %s", folder, coc_error_text());
    report->left_out++;
    return COC_OK;
}

static coc_status add_runs(coc_report *report, const char *folder)
{
    coc_status status = COC_OK;
    coc_names names;

    if (is_run(folder)) return add_run(report, folder);
    COC_TRY(coc_list_folder(folder, &names));
    for (int64_t i = 0; i < names.count && status == COC_OK; i++) {
        char path[COC_PATH_BYTES];

        status = coc_path_join(path, folder, names.name[i]);
        if (status == COC_OK && is_run(path)) status = add_run(report, path);
    }
    coc_names_free(&names);
    return status;
}

coc_status coc_report_read(const char *folder, coc_report *report)
{
    *report = (coc_report){0};
    COC_TRY(add_runs(report, folder));
    if (report->runs > 0) return COC_OK;
    if (report->left_out > 0)
        return COC_FAIL(COC_ERR_INPUT, "%s: none of its runs can be read", folder);
    return COC_FAIL(COC_ERR_INPUT,
                    "%s: no runs: neither the folder nor one in it has config.yaml and log.jsonl, "
                    "as `cocola train` and `cocola sweep` leave them",
                    folder);
}

void coc_report_free(coc_report *report)
{
    for (int64_t i = 0; i < report->runs; i++)
        free(report->run[i].row);
    free(report->run);
    *report = (coc_report){0};
}
