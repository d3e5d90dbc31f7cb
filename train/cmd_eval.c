/* train/cmd_eval.c - `cocola eval`: accuracy at K on held-out pairs. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/log.h"
#include "base/memory.h"
#include "train/checkpoint.h"
#include "train/cli.h"
#include "train/commands.h"
#include "train/evaluate.h"
#include "train/open_backend.h"
#include "train/same.h"

enum { MAX_K = 32, NOT_GIVEN = -1 };

typedef struct {
    const char *checkpoint, *store, *split, *k, *mode, *order, *format;
    coc_backend_choice on;
    int64_t orders, bootstrap, seed, batch;
    double overlap;
} arguments;

typedef struct {
    arguments args;
    coc_comm *comm;
    coc_backend *backend;
    coc_model *model;
    coc_store *store;
    coc_sampler *sampler;
    coc_encoder *encoder;
    coc_clips *clips;
    int64_t k[MAX_K];
    int ks;
    coc_mode modes[COC_MODES];
    int mode_count;
} evaluation;

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--checkpoint", "FILE", COC_OPTION_TEXT, &a->checkpoint, true, 0, 0,
         "checkpoint (.h5) or published weights (.safetensors)"},
        {"--store", "STORE", COC_OPTION_TEXT, &a->store, true, 0, 0,
         "store made by `cocola preprocess`"},
        {"--split", "NAME", COC_OPTION_TEXT, &a->split, false, 0, 0,
         "train, validation or test (default test)"},
        {"--k", "LIST", COC_OPTION_TEXT, &a->k, false, 0, 0,
         "pairs a batch, comma-separated (default 2,8,16,64)"},
        {"--mode", "MODE", COC_OPTION_TEXT, &a->mode, false, 0, 0,
         "both, harmonic, percussive or all (default both)"},
        {"--order", "ORDER", COC_OPTION_TEXT, &a->order, false, 0, 0,
         "shuffled: mean over many seeded orders (default); file: the published protocol, batches "
         "in file order, one pass"},
        {"--orders", "N", COC_OPTION_INT, &a->orders, false, 1, 100000,
         "shuffled orders to average over (default: eval.orders of the checkpoint's settings, or "
         "100)"},
        {"--bootstrap", "N", COC_OPTION_INT, &a->bootstrap, false, 0, 1000000,
         "resamplings over tracks for the 95 % interval (default: eval.bootstrap of the "
         "checkpoint's "
         "settings, or 1000)"},
        {"--overlap", "R", COC_OPTION_NUMBER, &a->overlap, false, 0, 0.9,
         "largest overlap of two windows of a track (default 0.5, as published)"},
        {"--batch", "CLIPS", COC_OPTION_INT, &a->batch, false, 2, 65536,
         "clips embedded at a time on a rank (default: eval.batch of the checkpoint's settings, or "
         "32)"},
        {"--seed", "N", COC_OPTION_INT, &a->seed, false, 0, 9007199254740992.0,
         "of the fixed pairs, orders and resamplings (default 1)"},
        {"--backend", "NAME", COC_OPTION_TEXT, &a->on.backend, false, 0, 0, COC_BACKEND_HELP},
        {"--precision", "NAME", COC_OPTION_TEXT, &a->on.precision, false, 0, 0, COC_PRECISION_HELP},
        {"--conv", "NAME", COC_OPTION_TEXT, &a->on.conv, false, 0, 0, COC_CONV_HELP},
        {"--format", "FORMAT", COC_OPTION_TEXT, &a->format, false, 0, 0, "table (default) or json"},
    };
    const coc_cli cli = {
        .usage = "cocola eval --checkpoint FILE --store STORE [options]",
        .purpose =
            "Accuracy at K: the share of pairs that a model finds among the K positives of a "
            "batch.\n"
            "Every window of the split gives one fixed pair of sub-mixes. Runs on MPI ranks.",
        .details = "Example:\n  mpirun -n 2 cocola eval --checkpoint run/checkpoints/last.h5 "
                   "--store store --k 2,8,16,64\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };

    return coc_cli_parse(&cli, argc, argv, done);
}

static coc_status parse_ks(evaluation *e)
{
    const char *text = e->args.k;

    while (e->ks < MAX_K) {
        char *end;
        const long long value = strtoll(text, &end, 10);

        if (end == text || value < 2 || value > 1000000 || (*end != ',' && *end != '\0'))
            return COC_FAIL(COC_ERR_USAGE,
                            "--k: '%s' is no comma-separated list of numbers >= 2, as 2,8,16,64",
                            e->args.k);
        e->k[e->ks++] = value;
        if (*end == '\0') return COC_OK;
        text = end + 1;
    }
    return COC_FAIL(COC_ERR_USAGE, "--k: more than %d numbers", MAX_K);
}

static coc_status check_words(const arguments *a, coc_split *split)
{
    if (strcmp(a->order, "shuffled") != 0 && strcmp(a->order, "file") != 0)
        return COC_FAIL(COC_ERR_USAGE, "--order: '%s' is unknown; known: shuffled, file", a->order);
    if (strcmp(a->format, "table") != 0 && strcmp(a->format, "json") != 0)
        return COC_FAIL(COC_ERR_USAGE, "--format: '%s' is unknown; known: table, json", a->format);
    if (strcmp(a->format, "json") == 0) {
        COC_TRY(coc_check_json_name(a->checkpoint));
        COC_TRY(coc_check_json_name(a->store));
    }
    return coc_split_parse(a->split, split);
}

/* What the command line leaves open is as the checkpoint's own run had it, or as usual. */
static coc_status fill_in(arguments *a, const coc_model *model)
{
    coc_settings there;

    coc_settings_default(&there);
    if (model->info.settings != NULL)
        COC_TRY(coc_settings_read_text(&there, model->info.settings, a->checkpoint));
    if (a->orders == NOT_GIVEN) a->orders = there.eval.orders;
    if (a->bootstrap == NOT_GIVEN) a->bootstrap = there.eval.bootstrap;
    if (a->batch == NOT_GIVEN) a->batch = there.eval.batch;
    return COC_OK;
}

/* What every rank does for itself before the first collective. */
static coc_status prepare(evaluation *e)
{
    coc_settings settings;
    coc_split split;
    int64_t windows;

    COC_TRY(check_words(&e->args, &split));
    COC_TRY(parse_ks(e));
    COC_TRY(coc_backend_choice_open(&e->args.on, e->comm, &e->backend));
    COC_TRY(coc_model_open(e->args.checkpoint, e->backend->device, &e->model));
    COC_TRY(coc_mode_parse(e->args.mode, e->model->network.channels, e->modes, &e->mode_count));
    COC_TRY(coc_store_open(e->args.store, &e->store));
    COC_TRY(fill_in(&e->args, e->model));
    coc_settings_default(&settings);
    settings.data.features = e->model->info.features;
    settings.data.overlap = e->args.overlap;
    COC_TRY(
        coc_sampler_create(e->store, split, &settings.data, (uint64_t)e->args.seed, &e->sampler));
    windows = coc_sampler_windows(e->sampler);
    for (int i = 0; i < e->ks; i++)
        if (e->k[i] > windows)
            return COC_FAIL(COC_ERR_USAGE,
                            "--k: %" PRId64 " is more than the %" PRId64
                            " pairs of the %s split of %s; ask for a smaller K or a larger store",
                            e->k[i], windows, coc_split_name(split), e->args.store);
    COC_TRY(coc_encoder_create(e->backend, &e->model->network, e->args.batch, false, &e->encoder));
    return coc_clips_create(e->args.on.backend, e->model->info.features, COC_FRAMES, 0, &e->clips);
}

static void print_table_head(const evaluation *e, const coc_accuracy *a)
{
    printf("checkpoint  %s (%016" PRIx64 ", step %" PRId64 ")\n", e->args.checkpoint,
           e->model->info.hash, e->model->info.step);
    printf("pairs       %" PRId64 " of %" PRId64 " tracks, %s split of %s\n", a->pairs, a->tracks,
           e->args.split, e->args.store);
    if (strcmp(e->args.order, "file") == 0)
        printf("batches     in file order, one pass (the published protocol)\n\n");
    else
        printf("batches     full ones of %" PRId64 " shuffled orders\n\n", e->args.orders);
    printf("%-11s %6s  %10s  %15s  %8s  %7s  %18s\n", "mode", "K", "accuracy %", "95 % interval",
           "chance %", "loss", "same-track columns");
}

static void print_row(coc_mode mode, const coc_accuracy *a)
{
    char interval[32] = "-";

    if (isfinite(a->low))
        snprintf(interval, sizeof interval, "%.1f to %.1f", 100 * a->low, 100 * a->high);
    printf("%-11s %6" PRId64 "  %10.1f  %15s  %8.1f  %7.3f  %18.2f\n", coc_mode_name(mode), a->k,
           100 * a->accuracy, interval, 100 * a->chance, a->loss, a->same_track);
}

/* JSON has no NaN and no infinity (the loss of a model that diverged). */
static json_t *json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static coc_status add_json_row(json_t *rows, coc_mode mode, const coc_accuracy *a)
{
    json_t *row = json_pack(
        "{s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I}", "mode", coc_mode_name(mode), "k",
        (json_int_t)a->k, "accuracy", json_number(a->accuracy), "low", json_number(a->low), "high",
        json_number(a->high), "chance", json_number(a->chance), "loss", json_number(a->loss),
        "same_track_columns", json_number(a->same_track), "pairs", (json_int_t)a->pairs, "tracks",
        (json_int_t)a->tracks, "batches", (json_int_t)a->batches);

    if (json_array_append_new(rows, row) == 0) return COC_OK; /* fails for NULL, too */
    return COC_FAIL(COC_ERR_MEMORY, "no memory for the JSON result");
}

static coc_status print_json(const evaluation *e, json_t *rows)
{
    char hash[17], store[17];
    json_t *root;
    char *text;

    snprintf(hash, sizeof hash, "%016" PRIx64, e->model->info.hash);
    snprintf(store, sizeof store, "%016" PRIx64, coc_store_hash(e->store));
    root = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:O}", "checkpoint",
                     e->args.checkpoint, "checkpoint_hash", hash, "profile", e->model->info.profile,
                     "store", e->args.store, "store_hash", store, "split", e->args.split, "order",
                     e->args.order, "orders",
                     (json_int_t)(strcmp(e->args.order, "file") == 0 ? 1 : e->args.orders), "seed",
                     (json_int_t)e->args.seed, "rows", rows);
    text = root != NULL ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    if (text != NULL) puts(text);
    free(text);
    json_decref(root);
    return text != NULL ? COC_OK : COC_FAIL(COC_ERR_MEMORY, "no memory for the JSON result");
}

static coc_status run_mode(evaluation *e, coc_mode mode, bool first, json_t *rows)
{
    const bool json = strcmp(e->args.format, "json") == 0;
    const coc_embedder embedder = {e->comm,    e->backend,    e->model->params,
                                   e->encoder, e->args.batch, e->clips};
    coc_embedded embedded;
    coc_status status = COC_OK;

    COC_TRY(coc_embed_windows(&embedder, e->sampler, 0, (uint64_t)e->args.seed, mode,
                              coc_mode_name(mode), &embedded));
    for (int i = 0; i < e->ks && status == COC_OK; i++) {
        const coc_accuracy_settings settings = {.k = e->k[i],
                                                .orders = e->args.orders,
                                                .file_order = strcmp(e->args.order, "file") == 0,
                                                .bootstrap = e->args.bootstrap,
                                                .seed = (uint64_t)e->args.seed};
        coc_accuracy accuracy;

        status = coc_accuracy_at(e->comm, e->backend, &embedded, &settings, &accuracy);
        if (status != COC_OK || e->comm->rank != 0) continue;
        if (json) {
            status = add_json_row(rows, mode, &accuracy);
            continue;
        }
        if (first && i == 0) print_table_head(e, &accuracy);
        print_row(mode, &accuracy);
        fflush(stdout);
    }
    coc_embedded_free(&embedded);
    return status;
}

static coc_status run(evaluation *e)
{
    json_t *rows = json_array();
    coc_status status = coc_comm_agree(e->comm, "opening model and store", prepare(e));

    if (status == COC_OK)
        status = coc_same_content(e->comm, e->args.checkpoint, e->model->info.hash);
    if (status == COC_OK)
        status = coc_same_content(e->comm, e->args.store, coc_store_hash(e->store));
    for (int m = 0; m < e->mode_count && status == COC_OK; m++)
        status = run_mode(e, e->modes[m], m == 0, rows);
    if (status == COC_OK && e->comm->rank == 0 && strcmp(e->args.format, "json") == 0)
        status = print_json(e, rows);
    json_decref(rows);
    return status;
}

static void release(evaluation *e)
{
    coc_clips_destroy(&e->clips);
    coc_encoder_destroy(&e->encoder);
    coc_sampler_destroy(&e->sampler);
    coc_store_close(&e->store);
    coc_model_close(&e->model);
    coc_backend_destroy(&e->backend);
    coc_comm_destroy(&e->comm);
}

coc_status coc_cmd_eval(int argc, char **argv)
{
    evaluation e = {.args = {.split = "test",
                             .k = "2,8,16,64",
                             .mode = "both",
                             .order = "shuffled",
                             .format = "table",
                             .on = {.backend = "cpu", .precision = "fp32", .conv = "own"},
                             .orders = NOT_GIVEN,
                             .bootstrap = NOT_GIVEN,
                             .seed = 1,
                             .batch = NOT_GIVEN,
                             .overlap = 0.5}};
    coc_settings settings;
    bool done;
    coc_status status = parse_arguments(argc, argv, &e.args, &done);

    if (done) return status;
    coc_settings_default(&settings);
    COC_TRY(coc_comm_start(&settings.comm, &e.comm));
    COC_TRY(coc_comm_agree(e.comm, "command line", status));
    COC_TRY(run(&e));
    release(&e);
    return COC_OK;
}
