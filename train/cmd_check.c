/* train/cmd_check.c - `cocola check`: whether a store, a checkpoint, weights or a data set is
 * whole, and what is odd about it. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "preprocess/features.h"
#include "preprocess/manifest.h"
#include "preprocess/stem_read.h"
#include "preprocess/survey.h"
#include "train/check_output.h"
#include "train/checkpoint.h"
#include "train/cli.h"
#include "train/commands.h"
#include "train/model_file.h"

typedef struct {
    coc_words words;
    const char *path, *layout;
    int64_t threads, most;
    bool json;
} arguments;

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--layout", "NAME", COC_OPTION_TEXT, &a->layout, false, 0, 0,
         "PATH is a data set that lies on disk in this way (`cocola preprocess --help` has them): "
         "every file is read whole"},
        {"--threads", "N", COC_OPTION_INT, &a->threads, false, 1, 1024,
         "that read a store at once (default OMP_NUM_THREADS, or all cores)"},
        {"--most", "N", COC_OPTION_INT, &a->most, false, 1, 1e9,
         "lines of each kind of finding (default 20)"},
        {"--json", NULL, COC_OPTION_FLAG, &a->json, false, 0, 0,
         "one JSON object, with every stem of a store"},
    };
    const coc_cli cli = {
        .usage = "cocola check PATH [options]",
        .purpose = "Whether a store, a checkpoint, published weights (*.safetensors) or a data set "
                   "is whole.\nA store is read once as fast as the disk gives it: every hash, "
                   "levels, clipping, silent\nstems, stems that are another one's echo, tracks in "
                   "two splits.",
        .details = "examples:\n  cocola check store\n  cocola check runs/a/checkpoints/last.h5\n"
                   "  cocola check stems --layout folder\n\n"
                   "The exit code is 3 when something is damaged, cannot be read, or lies in two "
                   "splits.\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words = &a->words,
        .min_words = 1,
        .max_words = 1,
    };
    const coc_status status = coc_cli_parse(&cli, argc, argv, done);

    if (a->most == 0) a->most = 20;
    if (status == COC_OK && !*done) a->path = a->words.word[0];
    return status;
}

/* ---- a store -------------------------------------------------------------------------------- */

static coc_status print_json(json_t *object)
{
    char *text =
        object != NULL ? json_dumps(object, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : NULL;

    json_decref(object);
    if (text == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for the JSON text");
    printf("%s\n", text);
    free(text);
    return COC_OK;
}

static coc_status say(const arguments *a, const coc_store *store, const coc_store_check *c)
{
    if (a->json)
        COC_TRY(print_json(coc_check_json(store, c)));
    else
        coc_check_print(store, c, (int)a->most);
    if (coc_check_is_good(store, c)) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT,
                    "%s: not as it must be: %" PRId64
                    " damaged stems, or tracks in two splits; see above",
                    coc_store_path(store), c->damaged);
}

static coc_status check_store(const arguments *a)
{
    coc_store_check check = {0};
    coc_store *store;
    coc_status status;

    COC_TRY(coc_store_open(a->path, &store));
    coc_stop_install();
    status = coc_store_check_all(store, (int)a->threads, &check);
    if (status == COC_OK) status = say(a, store, &check);
    coc_store_check_free(&check);
    coc_store_close(&store);
    return status;
}

/* ---- a model -------------------------------------------------------------------------------- */

/* The first tensor with a value that is not finite. */
static coc_status check_finite(const char *path, const coc_params *params)
{
    coc_status status = COC_OK;
    float *values;

    COC_TRY(coc_tensor_buffer(params, &values));
    for (int i = 0; i < params->tensors && status == COC_OK; i++) {
        const coc_tensor *t = &params->tensor[i];

        if (t->kind == COC_TENSOR_COUNTER) continue;
        status = coc_tensor_get(params, t, COC_PART_VALUE, values);
        for (int64_t j = 0; j < t->count && status == COC_OK; j++)
            if (!isfinite(values[j]))
                status = COC_FAIL(COC_ERR_INPUT,
                                  "%s: %s holds a value that is not finite (number %" PRId64
                                  "): the run had diverged; use an earlier checkpoint",
                                  path, t->name, j);
    }
    free(values);
    return status;
}

static coc_status say_model(const arguments *a, const coc_model *m)
{
    const coc_checkpoint_info *i = &m->info;
    char hash[17];

    snprintf(hash, sizeof hash, "%016" PRIx64, i->hash);
    if (a->json)
        return print_json(json_pack("{s:s, s:s, s:s, s:b, s:s, s:f, s:f, s:I, s:I, s:b}", "kind",
                                    "model", "path", a->path, "content_hash", hash, "good", true,
                                    "profile", i->profile, "width", i->width, "depth", i->depth,
                                    "step", (json_int_t)i->step, "weights",
                                    (json_int_t)m->params->weights, "optimizer", i->has_optimizer));
    printf("%s: whole (%s); %s, width %g, depth %g, %.2f million weights, step %" PRId64 "%s\n",
           a->path, hash, i->profile, i->width, i->depth, 1e-6 * (double)m->params->weights,
           i->step, i->has_optimizer ? ", a run can go on from it" : "");
    return COC_OK;
}

static coc_status check_model(const arguments *a)
{
    coc_model *model;
    coc_status status;

    COC_TRY(coc_model_open(a->path, coc_device_host(), &model));
    status = check_finite(a->path, model->params);
    if (status == COC_OK) status = say_model(a, model);
    coc_model_close(&model);
    return status;
}

/* ---- a data set ----------------------------------------------------------------------------- */

static coc_status read_track(const coc_survey *s, const coc_source_track *track, int64_t *bad)
{
    for (int64_t i = 0; i < track->stems; i++) {
        coc_audio audio;
        const coc_status status = coc_stem_read(s->root, &track->stem[i], COC_SAMPLE_RATE, &audio);

        if (status == COC_ERR_MEMORY) return status;
        if (status == COC_OK) {
            coc_audio_free(&audio);
            continue;
        }
        printf("  %s\n", coc_error_text());
        ++*bad;
    }
    return coc_stop_requested() ? COC_FAIL(COC_ERR_STOPPED, "stopped by a signal") : COC_OK;
}

static coc_status read_all(const coc_survey *s, int64_t *bad)
{
    coc_status status = COC_OK;

    coc_progress_begin("check", 0, s->list.tracks, 10);
    for (int64_t t = 0; t < s->list.tracks && status == COC_OK; t++) {
        status = read_track(s, &s->list.track[t], bad);
        coc_progress_update(t + 1, "tracks");
    }
    coc_progress_end();
    return status;
}

static coc_status check_data_set(const arguments *a)
{
    const coc_layout *layout;
    const coc_layout_options options = {0};
    coc_survey survey;
    coc_comm *comm;
    int64_t bad = 0;
    coc_status status;

    if (a->json)
        return COC_FAIL(COC_ERR_USAGE, "--json is of stores and models; preprocess the data set");
    COC_TRY(coc_layout_find(a->layout, &layout));
    COC_TRY(coc_comm_self(&comm));
    coc_stop_install();
    status = coc_survey_make(comm, layout, &options, a->path, &survey);
    if (status == COC_OK) status = read_all(&survey, &bad);
    if (status == COC_OK) {
        coc_summary_print(&survey.summary, stdout);
        printf("\n%s: %" PRId64 " stems cannot be read\n", a->path, bad);
        if (bad > 0)
            status = COC_FAIL(COC_ERR_INPUT, "%s: %" PRId64 " stems cannot be read; see above",
                              a->path, bad);
    }
    coc_survey_free(&survey);
    coc_comm_destroy(&comm);
    return status;
}

static coc_status check(const arguments *a)
{
    if (a->layout != NULL) return check_data_set(a);
    if (a->path[0] == '[' || coc_manifest_exists(a->path)) return check_store(a);
    if (!coc_is_folder(a->path)) return check_model(a);
    return COC_FAIL(COC_ERR_INPUT,
                    "%s: a folder without manifest.json: no finished store (`cocola preprocess` "
                    "again finishes one); of a data set, give --layout",
                    a->path);
}

coc_status coc_cmd_check(int argc, char **argv)
{
    arguments a = {0};
    bool done;
    coc_status status = parse_arguments(argc, argv, &a, &done);

    if (!done && status == COC_OK) status = check(&a);
    coc_words_free(&a.words);
    return status;
}
