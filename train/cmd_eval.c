/* train/cmd_eval.c - `cocola eval`: accuracy at K and ranks on held-out pairs. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/checkpoint.h"
#include "train/cli.h"
#include "train/commands.h"
#include "train/eval_output.h"
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
    bool json, file_order;
    json_t *accuracies, *retrievals; /* arrays */
    coc_retrieval retrieval[COC_MODES];
} evaluation;

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--checkpoint", "FILE", COC_OPTION_TEXT, &a->checkpoint, true, 0, 0,
         "checkpoint (.h5) or published weights (.safetensors)"},
        {"--store", "STORE", COC_OPTION_TEXT, &a->store, true, 0, 0,
         "store made by `cocola preprocess`, or several: \"[A, B]\""},
        {"--split", "NAME", COC_OPTION_TEXT, &a->split, false, 0, 0,
         "train, validation or test (default test)"},
        {"--k", "LIST", COC_OPTION_TEXT, &a->k, false, 0, 0,
         "pairs a batch, comma-separated; all: every pair of the split (default 2,8,16,64)"},
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
            "And the rank of every pair among all of the split: median, recall at 1, 5 and 10, "
            "mean\nreciprocal rank. "
            "Every window of the split gives one fixed pair of sub-mixes. Runs on MPI\nranks.",
        .details = "Example:\n  mpirun -n 2 cocola eval --checkpoint run/checkpoints/last.h5 "
                   "--store store --k 2,16,all\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };

    return coc_cli_parse(&cli, argc, argv, done);
}

/* One item of --k; *end is set behind it. 0: it is none. windows: what `all` stands for. */
static int64_t parse_k(const char *text, int64_t windows, const char **end)
{
    static const char all[] = "all";
    char *behind;
    long long value;

    if (strncmp(text, all, sizeof all - 1) == 0) {
        *end = text + sizeof all - 1;
        return windows;
    }
    value = strtoll(text, &behind, 10);
    *end = behind;
    return behind > text && value >= 2 && value <= INT32_MAX ? value : 0;
}

/* Twice: before the store is opened to refuse what is no list (windows: any number), then to know
 * what `all` is. */
static coc_status parse_ks(evaluation *e, int64_t windows)
{
    const char *text = e->args.k;

    for (e->ks = 0; e->ks < MAX_K; text++) {
        const int64_t value = parse_k(text, windows, &text);

        if (value == 0 || (*text != ',' && *text != '\0'))
            return COC_FAIL(COC_ERR_USAGE,
                            "--k: '%s' is no comma-separated list of numbers >= 2 or the word "
                            "all, as 2,8,16,all",
                            e->args.k);
        e->k[e->ks++] = value;
        if (*text == '\0') return COC_OK;
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
    COC_TRY(parse_ks(e, INT32_MAX));
    e->json = strcmp(e->args.format, "json") == 0;
    e->file_order = strcmp(e->args.order, "file") == 0;
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
    COC_TRY(parse_ks(e, windows));
    for (int i = 0; i < e->ks; i++)
        if (e->k[i] > windows)
            return COC_FAIL(COC_ERR_USAGE,
                            "--k: %" PRId64 " is more than the %" PRId64
                            " pairs of the %s split of %s; ask for a smaller K or a larger store",
                            e->k[i], windows, coc_split_name(split), e->args.store);
    COC_TRY(coc_encoder_create(e->backend, &e->model->network, e->args.batch, false, &e->encoder));
    return coc_clips_create(e->args.on.backend, e->model->info.features, COC_FRAMES, 0, &e->clips);
}

static coc_eval_subject subject_of(const evaluation *e)
{
    return (coc_eval_subject){.checkpoint = e->args.checkpoint,
                              .profile = e->model->info.profile,
                              .store = e->args.store,
                              .split = e->args.split,
                              .checkpoint_hash = e->model->info.hash,
                              .store_hash = coc_store_hash(e->store),
                              .step = e->model->info.step,
                              .file_order = e->file_order,
                              .orders = e->args.orders,
                              .seed = e->args.seed};
}

/* Rank 0: what mode number m of those asked for gave. */
static coc_status show_mode(evaluation *e, int m, const coc_accuracy *accuracy)
{
    const coc_mode mode = e->modes[m];
    const coc_eval_subject subject = subject_of(e);

    if (m == 0 && !e->json) coc_eval_print_head(&subject, accuracy[0].pairs, accuracy[0].tracks);
    for (int i = 0; i < e->ks; i++) {
        if (e->json)
            COC_TRY(coc_eval_add_accuracy(e->accuracies, mode, &accuracy[i]));
        else
            coc_eval_print_accuracy(mode, &accuracy[i]);
    }
    fflush(stdout);
    return e->json ? coc_eval_add_retrieval(e->retrievals, mode, &e->retrieval[m]) : COC_OK;
}

static coc_status run_mode(evaluation *e, int m)
{
    const char *name = coc_mode_name(e->modes[m]);
    const coc_embedder embedder = {e->comm,    e->backend,    e->model->params,
                                   e->encoder, e->args.batch, e->clips};
    const coc_measure_settings settings = {.k = e->k,
                                           .ks = e->ks,
                                           .orders = e->args.orders,
                                           .file_order = e->file_order,
                                           .bootstrap = e->args.bootstrap,
                                           .seed = (uint64_t)e->args.seed,
                                           .progress = name};
    coc_accuracy accuracy[MAX_K] = {0};
    coc_embedded embedded;
    coc_status status;

    COC_TRY(coc_embed_windows(&embedder, e->sampler, 0, (uint64_t)e->args.seed, e->modes[m], name,
                              &embedded));
    status = coc_measure(e->comm, e->backend, &embedded, &settings, accuracy, &e->retrieval[m]);
    coc_embedded_free(&embedded);
    if (status == COC_OK && e->comm->rank == 0) status = show_mode(e, m, accuracy);
    return status;
}

/* Rank 0: what can only be shown when all modes are done. */
static coc_status show_end(const evaluation *e)
{
    const coc_eval_subject subject = subject_of(e);

    if (e->json) return coc_eval_print_json(&subject, e->accuracies, e->retrievals);
    coc_eval_print_retrieval_head(e->retrieval[0].pairs);
    for (int m = 0; m < e->mode_count; m++)
        coc_eval_print_retrieval(e->modes[m], &e->retrieval[m]);
    return COC_OK;
}

static coc_status run(evaluation *e)
{
    coc_status status = coc_comm_agree(e->comm, "opening model and store", prepare(e));

    if (status == COC_OK)
        status = coc_same_content(e->comm, e->args.checkpoint, e->model->info.hash);
    if (status == COC_OK) status = coc_same_store(e->comm, e->store);
    e->accuracies = json_array();
    e->retrievals = json_array();
    for (int m = 0; m < e->mode_count && status == COC_OK; m++)
        status = run_mode(e, m);
    if (status == COC_OK && e->comm->rank == 0) status = show_end(e);
    return status;
}

static void release(evaluation *e)
{
    json_decref(e->accuracies);
    json_decref(e->retrievals);
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
