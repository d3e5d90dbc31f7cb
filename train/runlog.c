#include "train/runlog.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"

struct coc_runlog {
    FILE *file;
    char path[COC_PATH_BYTES];
};

/* The step of a line; false when it is no line of ours, or was cut. */
static bool line_step(const char *line, size_t length, int64_t *step)
{
    json_t *object, *number;

    if (length == 0 || line[length - 1] != '\n') return false;
    object = json_loadb(line, length, 0, NULL);
    number = json_object_get(object, "step");
    *step = json_is_integer(number) ? json_integer_value(number) : -1;
    json_decref(object);
    return *step >= 0;
}

/* Bytes of the lines up to and with `step`. *broken gets the number of a line that cannot be read,
 * or 0. Steps only grow in a log, so the first later one ends it. */
static off_t bytes_to_keep(FILE *file, int64_t step, int64_t *broken)
{
    off_t kept = 0;
    char *line = NULL;
    size_t room = 0;
    ssize_t length;

    *broken = 0;
    for (int64_t number = 1; (length = getline(&line, &room, file)) > 0; number++) {
        int64_t at;

        if (!line_step(line, (size_t)length, &at)) {
            *broken = number;
            break;
        }
        if (at > step) break;
        kept += (off_t)length;
    }
    free(line);
    return kept;
}

static coc_status cut_back(const char *path, int64_t step)
{
    FILE *file = fopen(path, "r+");
    int64_t broken;
    off_t kept;
    bool good;

    if (file == NULL && errno == ENOENT) return COC_OK;
    if (file == NULL)
        return COC_FAIL(COC_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    kept = bytes_to_keep(file, step, &broken);
    if (broken > 0)
        coc_log_warn("%s: line %lld was not written to its end; the log goes on from there", path,
                     (long long)broken);
    good = !ferror(file) && ftruncate(fileno(file), kept) == 0;
    if (!good)
        (void)!COC_FAIL(COC_ERR_IO, "%s: cannot be cut back to step %lld: %s", path,
                        (long long)step, strerror(errno));
    fclose(file);
    return good ? COC_OK : COC_ERR_IO;
}

coc_status coc_runlog_open(const char *run, int64_t step, coc_runlog **log)
{
    char path[COC_PATH_BYTES];
    coc_runlog *l;

    *log = NULL;
    COC_TRY(coc_path_join(path, run, "log.jsonl"));
    COC_TRY(cut_back(path, step));
    COC_TRY(coc_alloc(1, sizeof *l, &l));
    memcpy(l->path, path, sizeof path);
    l->file = fopen(path, "a");
    if (l->file == NULL) {
        free(l);
        return COC_FAIL(COC_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    }
    *log = l;
    return COC_OK;
}

/* JSON has no NaN and no infinity: a diverged run shows null. */
static json_t *real_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *begin_line(const char *kind, int64_t step)
{
    char text[32] = "";
    const time_t now = time(NULL);
    struct tm utc;

    if (gmtime_r(&now, &utc) != NULL) strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return json_pack("{s:s, s:I, s:s}", "kind", kind, "step", (json_int_t)step, "time", text);
}

/* Takes over the object. */
static coc_status write_line(coc_runlog *log, json_t *object)
{
    char *line = object != NULL ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    bool good;

    json_decref(object);
    if (line == NULL) return COC_FAIL(COC_ERR_MEMORY, "%s: no memory for a line", log->path);
    good = fprintf(log->file, "%s\n", line) > 0 && fflush(log->file) == 0;
    free(line);
    if (!good) return COC_FAIL(COC_ERR_IO, "%s: cannot be written: %s", log->path, strerror(errno));
    return COC_OK;
}

static json_t *screening(const coc_runlog_record *r)
{
    json_t *object = json_object();

    json_object_set_new(object, "kept", real_or_null(r->kept));
    json_object_set_new(object, "left_out", real_or_null(r->dropped));
    json_object_set_new(object, "blocks", json_integer((json_int_t)r->blocks));
    json_object_set_new(object, "dense_blocks", json_integer((json_int_t)r->dense_blocks));
    return object;
}

coc_status coc_runlog_step(coc_runlog *log, const coc_runlog_record *record)
{
    const coc_runlog_record *r = record;
    json_t *line = begin_line("train", r->step), *seconds = json_object();
    json_t *memory = json_object();

    json_object_set_new(line, "loss", real_or_null(r->loss));
    json_object_set_new(line, "accuracy", real_or_null(r->accuracy));
    json_object_set_new(line, "gradient_norm", real_or_null(r->gradient_norm));
    json_object_set_new(line, "learning_rate", real_or_null(r->learning_rate));
    json_object_set_new(line, "pairs_per_second", real_or_null(r->pairs_per_second));
    json_object_set_new(line, "columns", real_or_null(r->columns));
    json_object_set_new(line, "same_track", real_or_null(r->same_track));
    json_object_set_new(line, "skipped", json_integer(r->skipped));
    if (r->blocks > 0) json_object_set_new(line, "screening", screening(r));
    json_object_set_new(memory, "host", json_integer(r->host_bytes));
    json_object_set_new(memory, "device", json_integer(r->device_bytes));
    json_object_set_new(line, "memory", memory);
    json_object_set_new(seconds, "wait", real_or_null(r->wait));
    json_object_set_new(seconds, "load", real_or_null(r->load));
    json_object_set_new(seconds, "features", real_or_null(r->features));
    json_object_set_new(seconds, "encoder", real_or_null(r->encoder));
    json_object_set_new(seconds, "loss", real_or_null(r->contrast));
    json_object_set_new(seconds, "communication", real_or_null(r->communication));
    json_object_set_new(seconds, "optimizer", real_or_null(r->optimizer));
    json_object_set_new(line, "seconds", seconds);
    return write_line(log, line);
}

coc_status coc_runlog_validation(coc_runlog *log, int64_t step, int64_t k, int64_t pairs,
                                 double loss, double accuracy)
{
    json_t *line = begin_line("validation", step);

    json_object_set_new(line, "k", json_integer(k));
    json_object_set_new(line, "pairs", json_integer(pairs));
    json_object_set_new(line, "loss", real_or_null(loss));
    json_object_set_new(line, "accuracy", real_or_null(accuracy));
    return write_line(log, line);
}

void coc_runlog_close(coc_runlog **log)
{
    if (*log == NULL) return;
    fclose((*log)->file);
    free(*log);
    *log = NULL;
}
