/* train/cmd_score.c - `cocola score`: how well pairs of sound files go together. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/log.h"
#include "base/memory.h"
#include "train/cli.h"
#include "train/commands.h"
#include "train/open_backend.h"
#include "train/score.h"

typedef struct {
    const char *checkpoint, *pairs, *mode, *format;
    coc_backend_choice on;
    double window, hop;
    int64_t batch;
    bool keep_going;
    coc_words files;
} arguments;

typedef struct scoring scoring;

/* A way to print rows. */
typedef struct {
    const char *name;
    void (*begin)(const scoring *s);
    coc_status (*row)(const scoring *s, const coc_score_pair *pair, const coc_score_row *row);
} format;

struct scoring {
    arguments args;
    const format *format;
    coc_backend *backend;
    coc_model *model;
    coc_scorer *scorer;
    coc_score_settings settings;
    coc_pair_list list;
    int64_t failed;
    bool progress;
};

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--checkpoint", "FILE", COC_OPTION_TEXT, &a->checkpoint, true, 0, 0,
         "checkpoint (.h5) or published weights (.safetensors)"},
        {"--pairs", "FILE", COC_OPTION_TEXT, &a->pairs, false, 0, 0,
         "CSV file with the columns context and output instead of two files; other columns are "
         "allowed, names as seen from the working folder"},
        {"--mode", "MODE", COC_OPTION_TEXT, &a->mode, false, 0, 0,
         "both, harmonic, percussive or all (default all)"},
        {"--format", "FORMAT", COC_OPTION_TEXT, &a->format, false, 0, 0,
         "table (default), jsonl or csv"},
        {"--window", "SECONDS", COC_OPTION_NUMBER, &a->window, false, 0.1, 5,
         "length of a window (default 5, what the encoder sees; shorter ones are padded)"},
        {"--hop", "SECONDS", COC_OPTION_NUMBER, &a->hop, false, 0.01, 3600,
         "from one window to the next (default 2.5)"},
        {"--keep-going", NULL, COC_OPTION_FLAG, &a->keep_going, false, 0, 0,
         "a file that cannot be read gives a row with an error (and exit code 3 at the end) "
         "instead of ending at once"},
        {"--batch", "CLIPS", COC_OPTION_INT, &a->batch, false, 2, 65536,
         "clips embedded at a time (default 32)"},
        {"--backend", "NAME", COC_OPTION_TEXT, &a->on.backend, false, 0, 0, COC_BACKEND_HELP},
        {"--precision", "NAME", COC_OPTION_TEXT, &a->on.precision, false, 0, 0, COC_PRECISION_HELP},
        {"--conv", "NAME", COC_OPTION_TEXT, &a->on.conv, false, 0, 0, COC_CONV_HELP},
    };
    const coc_cli cli = {
        .usage = "cocola score --checkpoint FILE (CONTEXT OUTPUT | --pairs FILE.csv) [options]",
        .purpose =
            "COCOLA Scores: how well an output goes with a context, by a trained model. Any\n"
            "format, rate and number of channels that libsndfile reads. Scores of one model are\n"
            "comparable with each other, not with another model's.",
        .details =
            "A score is the mean over windows. Of files of unequal length the common part counts,\n"
            "less than 5 s is padded with zeros; both is said in the row. docs/score.md tells "
            "more.\n\n"
            "examples:\n"
            "  cocola score --checkpoint run/checkpoints/last.h5 mix.wav bass.wav\n"
            "  cocola score --checkpoint cocola.h5 --pairs pairs.csv --format jsonl\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words = &a->files,
        .min_words = 0,
        .max_words = 2,
    };

    return coc_cli_parse(&cli, argc, argv, done);
}

/* ---- rows ----------------------------------------------------------------------------------- */

static bool is_unequal(const coc_score_row *row)
{
    return row->context_seconds != row->output_seconds;
}

/* What a reader of the numbers must know. */
static const char *note_of(const coc_score_row *row, char text[160])
{
    int n = 0;

    text[0] = '\0';
    if (row->error == NULL && is_unequal(row))
        n = snprintf(text, 160, "common part: %.2f s of %.2f and %.2f s", row->seconds,
                     row->context_seconds, row->output_seconds);
    if (row->error == NULL && row->padded)
        snprintf(text + n, (size_t)(160 - n), "%spadded to 5 s", n > 0 ? "; " : "");
    return row->error != NULL ? row->error : text;
}

static void begin_table(const scoring *s)
{
    const coc_checkpoint_info *info = &s->model->info;

    printf("checkpoint  %s (%016" PRIx64 ", %s)\nwindows     %g s, hop %g s\n\n",
           s->args.checkpoint, info->hash, info->profile, s->settings.window, s->settings.hop);
    for (int m = 0; m < s->settings.mode_count; m++)
        printf("%10s  ", coc_mode_name(s->settings.modes[m]));
    printf("%7s  context | output\n", "windows");
}

static coc_status table_row(const scoring *s, const coc_score_pair *pair, const coc_score_row *row)
{
    char text[160];
    const char *note = note_of(row, text);

    for (int m = 0; m < s->settings.mode_count; m++)
        if (row->error == NULL)
            printf("%10.3f  ", row->score[s->settings.modes[m]]);
        else
            printf("%10s  ", "-");
    printf("%7" PRId64 "  %s | %s%s%s%s\n", row->windows, pair->context, pair->output,
           note[0] != '\0' ? "  (" : "", note, note[0] != '\0' ? ")" : "");
    return COC_OK;
}

/* In quotes where the text needs them. */
static void print_csv_text(const char *text)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, stdout);
        return;
    }
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"') putchar('"');
        putchar(*text);
    }
    putchar('"');
}

static void begin_csv(const scoring *s)
{
    (void)s;
    puts("context,output,both,harmonic,percussive,windows,seconds,note,checkpoint,profile,features,"
         "window,hop");
}

static coc_status csv_row(const scoring *s, const coc_score_pair *pair, const coc_score_row *row)
{
    char text[160];

    print_csv_text(pair->context);
    putchar(',');
    print_csv_text(pair->output);
    for (int m = 0; m < COC_MODES; m++)
        if (isfinite(row->score[m]))
            printf(",%.6f", row->score[m]);
        else
            putchar(',');
    printf(",%" PRId64 ",%.4f,", row->windows, row->seconds);
    print_csv_text(note_of(row, text));
    printf(",%016" PRIx64 ",%s,%s,%g,%g\n", s->model->info.hash, s->model->info.profile,
           coc_feature_name(s->model->info.features), s->settings.window, s->settings.hop);
    return COC_OK;
}

/* How the numbers came about: enough to tell whether two rows may be compared. */
static json_t *protocol_of(const scoring *s)
{
    const coc_checkpoint_info *info = &s->model->info;
    char hash[17];

    snprintf(hash, sizeof hash, "%016" PRIx64, info->hash);
    return json_pack("{s:s, s:s, s:f, s:f, s:I, s:{s:s, s:i, s:i, s:i, s:i, s:i, s:i}, s:f, s:f}",
                     "checkpoint", hash, "profile", info->profile, "width", info->width, "depth",
                     info->depth, "step", (json_int_t)info->step, "features", "kind",
                     coc_feature_name(s->model->info.features), "sample_rate", COC_SAMPLE_RATE,
                     "samples", COC_CLIP_SAMPLES, "fft", COC_FFT_SIZE, "fft_window", COC_FFT_WINDOW,
                     "fft_hop", COC_FFT_HOP, "bands", COC_BANDS, "window", s->settings.window,
                     "hop", s->settings.hop);
}

/* A score, or null where there is none. */
static json_t *json_score(const coc_score_row *row, coc_mode mode)
{
    return isfinite(row->score[mode]) ? json_real(row->score[mode]) : json_null();
}

/* NULL when a text is not UTF-8, or without memory. */
static json_t *object_of(const scoring *s, const coc_score_pair *pair, const coc_score_row *row)
{
    char text[160];

    return json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:I, s:f, s:f, s:f, s:b, s:s, s:o}", "context", pair->context,
        "output", pair->output, coc_mode_name(COC_MODE_BOTH), json_score(row, COC_MODE_BOTH),
        coc_mode_name(COC_MODE_HARMONIC), json_score(row, COC_MODE_HARMONIC),
        coc_mode_name(COC_MODE_PERCUSSIVE), json_score(row, COC_MODE_PERCUSSIVE), "windows",
        (json_int_t)row->windows, "seconds", row->seconds, "context_seconds", row->context_seconds,
        "output_seconds", row->output_seconds, "padded", (int)row->padded,
        row->error != NULL ? "error" : "note", note_of(row, text), "protocol", protocol_of(s));
}

static void begin_jsonl(const scoring *s)
{
    (void)s;
}

static coc_status jsonl_row(const scoring *s, const coc_score_pair *pair, const coc_score_row *row)
{
    json_t *object = object_of(s, pair, row);
    char *line = object != NULL ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;

    json_decref(object);
    if (line == NULL)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s | %s: the row cannot be written as JSON (a text that is not UTF-8, or "
                        "no memory); use --format csv",
                        pair->context, pair->output);
    puts(line);
    free(line);
    return COC_OK;
}

static const format formats[] = {{"table", begin_table, table_row},
                                 {"jsonl", begin_jsonl, jsonl_row},
                                 {"csv", begin_csv, csv_row}};

static coc_status find_format(scoring *s)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (strcmp(s->args.format, formats[i].name) == 0) s->format = &formats[i];
    if (s->format != NULL) return COC_OK;
    return COC_FAIL(COC_ERR_USAGE, "--format: '%s' is unknown; known: table, jsonl, csv",
                    s->args.format);
}

/* ---- the command ---------------------------------------------------------------------------- */

static coc_status print_row(void *context, int64_t index, const coc_score_row *row)
{
    scoring *s = context;
    coc_status status;

    if (index == 0) s->format->begin(s); /* nothing is printed before there is something to print */
    status = s->format->row(s, &s->list.pair[index], row);
    if (status == COC_OK && fflush(stdout) != 0)
        status = COC_FAIL(COC_ERR_IO, "standard output cannot be written: %s", strerror(errno));
    s->failed += row->error != NULL;
    if (s->progress) coc_progress_update(index + 1, "pairs");
    return status;
}

static coc_status check_readable(const scoring *s, const char *path, int64_t index)
{
    if (access(path, R_OK) == 0) return COC_OK;
    if (s->args.pairs == NULL)
        return COC_FAIL(COC_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    return COC_FAIL(COC_ERR_IO, "%s:%" PRId64 ": %s: cannot be read: %s", s->args.pairs,
                    s->list.line[index], path, strerror(errno));
}

/* What can be known of a file before an hour's work is found now, not after. */
static coc_status check_file(const scoring *s, const char *path, int64_t index)
{
    if (!s->args.keep_going) COC_TRY(check_readable(s, path, index));
    return strcmp(s->format->name, "jsonl") == 0 ? coc_check_json_name(path) : COC_OK;
}

/* The pairs. */
static coc_status collect_pairs(scoring *s)
{
    const coc_words *files = &s->args.files;
    const bool two = files->count == 2;

    if ((s->args.pairs != NULL) == (files->count > 0) || (files->count > 0 && !two))
        return COC_FAIL(COC_ERR_USAGE,
                        "name two files, CONTEXT and OUTPUT, or a list of them with --pairs; see "
                        "cocola score --help");
    if (two) {
        COC_TRY(coc_grow(&s->list.pair, &s->list.capacity, 1, sizeof *s->list.pair));
        s->list.pair[s->list.n++] = (coc_score_pair){files->word[0], files->word[1]};
    } else {
        COC_TRY(coc_pair_list_read(s->args.pairs, &s->list));
    }
    for (int64_t i = 0; i < s->list.n; i++) {
        COC_TRY(check_file(s, s->list.pair[i].context, i));
        COC_TRY(check_file(s, s->list.pair[i].output, i));
    }
    return COC_OK;
}

static coc_status prepare(scoring *s)
{
    coc_score_settings *settings = &s->settings;

    COC_TRY(find_format(s));
    COC_TRY(collect_pairs(s));
    COC_TRY(coc_backend_choice_open(&s->args.on, NULL, &s->backend));
    COC_TRY(coc_model_open(s->args.checkpoint, s->backend->device, &s->model));
    *settings = (coc_score_settings){.backend = s->args.on.backend,
                                     .window = s->args.window,
                                     .hop = s->args.hop,
                                     .batch = s->args.batch,
                                     .keep_going = s->args.keep_going};
    COC_TRY(coc_mode_parse(s->args.mode, s->model->network.channels, settings->modes,
                           &settings->mode_count));
    return coc_scorer_create(s->model, s->backend, settings, &s->scorer);
}

static coc_status score(scoring *s)
{
    coc_status status;

    COC_TRY(prepare(s));
    /* rows on a terminal show how far it is themselves */
    s->progress = s->list.n > 1 && isatty(STDOUT_FILENO) == 0;
    if (s->progress) coc_progress_begin("score", 0, s->list.n, 10);
    status = coc_scorer_run(s->scorer, s->list.pair, s->list.n, print_row, s);
    coc_progress_end();
    if (status != COC_OK || s->failed == 0) return status;
    return COC_FAIL(COC_ERR_INPUT,
                    "%" PRId64 " of %" PRId64 " pairs could not be scored; their "
                    "rows say why",
                    s->failed, s->list.n);
}

coc_status coc_cmd_score(int argc, char **argv)
{
    scoring s = {.args = {.mode = "all",
                          .format = "table",
                          .on = {.backend = "cpu", .precision = "fp32", .conv = "own"},
                          .window = 5,
                          .hop = 2.5,
                          .batch = 32}};
    bool done;
    coc_status status = parse_arguments(argc, argv, &s.args, &done);

    if (status == COC_OK && !done) status = score(&s);
    coc_scorer_destroy(&s.scorer);
    coc_model_close(&s.model);
    coc_backend_destroy(&s.backend);
    coc_pair_list_free(&s.list);
    coc_words_free(&s.args.files);
    return status;
}
