/* train/cmd_selftest.c - `cocola selftest`: whether these ranks compute what one rank would. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "train/cli.h"
#include "train/commands.h"
#include "train/same.h"
#include "train/selftest.h"
#include "train/selftest_command.h"
#include "train/version.h"

enum { MOST_CHECKS = 16 };

typedef struct {
    const char *config;
    coc_words set, only;
    bool json;
} arguments;

/* "  collectives   numbers of ...\n" of every check; the caller frees it. */
static char *describe_checks(void)
{
    const coc_selftest_check *c = coc_selftest_checks();
    char *text = coc_format("checks, in this order:\n");

    for (; c->name != NULL && text != NULL; c++) {
        char *longer = coc_format("%s  %-12s %s\n", text, c->name, c->compares);

        free(text);
        text = longer;
    }
    return text;
}

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--config", "FILE", COC_OPTION_TEXT, &a->config, true, 0, 0,
         "settings (YAML) of the run that it is for; no store is needed"},
        {"--set", "KEY=VALUE", COC_OPTION_LIST, &a->set, false, 0, 0,
         "a setting that wins over the file, as model.width=0.35; may be repeated"},
        {"--only", "CHECK", COC_OPTION_LIST, &a->only, false, 0, 0,
         "this check alone; may be repeated"},
        {"--json", NULL, COC_OPTION_FLAG, &a->json, false, 0, 0, "the same as one JSON object"},
    };
    char *checks = describe_checks();
    char *details = coc_format(
        "%s\nA line fails where its value is above its bound; then the exit code is 6.\n\n"
        "example:\n  mpirun -n 8 cocola selftest --config configs/cocola-hps.yaml\n\n"
        "`cocola selftest leak --help`: whether a batch tells pairs of noise apart.\n",
        checks != NULL ? checks : "");
    const coc_cli cli = {
        .usage = "cocola selftest [leak] --config FILE [options]",
        .purpose = "Whether these ranks, on these machines, compute what one rank would: minutes, "
                   "before a long\nrun. On a few pairs of random features, with the model and the "
                   "loss of the settings.\nRuns on MPI ranks: the same ones as the run.",
        .details = details,
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };
    const coc_status status = coc_cli_parse(&cli, argc, argv, done);

    free(checks);
    free(details);
    return status;
}

/* The checks that were asked for; chosen has room for all and an end. */
static coc_status choose(const coc_words *only, coc_selftest_check *chosen)
{
    const coc_selftest_check *all = coc_selftest_checks();
    const char *names[MOST_CHECKS], *nearest;
    int count = 0, taken = 0;

    for (; all[count].name != NULL && count < MOST_CHECKS - 1; count++)
        names[count] = all[count].name;
    for (int i = 0; i < count; i++) {
        bool wanted = only->count == 0;

        for (int k = 0; k < only->count; k++)
            wanted = wanted || strcmp(only->word[k], names[i]) == 0;
        if (wanted) chosen[taken++] = all[i];
    }
    chosen[taken] = (coc_selftest_check){NULL, NULL, NULL};
    for (int k = 0; k < only->count; k++) {
        bool known = false;

        for (int i = 0; i < count; i++)
            known = known || strcmp(only->word[k], names[i]) == 0;
        if (known) continue;
        nearest = coc_nearest_word(only->word[k], names, count);
        return COC_FAIL(COC_ERR_USAGE,
                        "--only: no check is called '%.80s'%s%s; see cocola selftest "
                        "--help",
                        only->word[k], nearest != NULL ? "; did you mean " : "",
                        nearest != NULL ? nearest : "");
    }
    return COC_OK;
}

/* ---- the table ------------------------------------------------------------------------------ */

static void print_header(const coc_selftest *test)
{
    const coc_settings *s = &test->settings;

    printf("ranks %d, backend %s, %s, width %g, depth %g\n\n", test->comm->size, s->model.backend,
           coc_precision_name(s->model.precision), s->model.width, s->model.depth);
    printf("%-12s %-19s %9s %9s        %s\n", "check", "of", "value", "bound", "");
}

static void print_line(const coc_selftest *test, const coc_selftest_line *l)
{
    if (test->comm->rank != 0) return;
    printf("%-12s %-19s %9.2g ", l->check, l->of, l->value);
    if (isnan(l->bound))
        printf("%9s        ", "");
    else
        printf("%9.2g %s ", l->bound, l->passed ? "ok    " : "FAILED");
    printf("%s\n", l->note);
    fflush(stdout);
}

/* ---- the object ----------------------------------------------------------------------------- */

static json_t *number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static coc_status print_json(const coc_selftest *test, double seconds)
{
    json_t *lines = json_array(), *root;
    bool passed = true;
    char *text;

    for (int64_t i = 0; i < test->lines; i++) {
        const coc_selftest_line *l = &test->line[i];

        passed = passed && l->passed;
        json_array_append_new(lines, json_pack("{s:s, s:s, s:o, s:o, s:b, s:s}", "check", l->check,
                                               "of", l->of, "value", number_or_null(l->value),
                                               "bound", number_or_null(l->bound), "passed",
                                               l->passed, "note", l->note));
    }
    root = json_pack("{s:s, s:i, s:s, s:s, s:b, s:f, s:o}", "version", COCOLA_VERSION, "ranks",
                     test->comm->size, "backend", test->settings.model.backend, "precision",
                     coc_precision_name(test->settings.model.precision), "passed", passed,
                     "seconds", seconds, "lines", lines);
    text = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (text == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for the report");
    puts(text);
    free(text);
    return COC_OK;
}

/* ---- the command ---------------------------------------------------------------------------- */

static coc_status run(coc_selftest *test, const coc_selftest_check *checks, bool json)
{
    const double begin = coc_clock_seconds();
    const bool root = test->comm->rank == 0;
    coc_status status = COC_OK;

    if (!json) test->tell = print_line;
    if (root && !json) print_header(test);
    COC_TRY(coc_selftest_run(test, checks));
    if (root && json)
        status = print_json(test, coc_clock_seconds() - begin);
    else if (root)
        printf("\n%.1f s\n", coc_clock_seconds() - begin);
    fflush(stdout);
    COC_TRY(coc_comm_agree(test->comm, "report", status));
    return coc_selftest_judge(test);
}

coc_status coc_cmd_selftest(int argc, char **argv)
{
    coc_selftest_check checks[MOST_CHECKS];
    arguments a = {0};
    coc_selftest test = {.line = NULL};
    bool done;
    coc_status status;

    if (argc > 1 && strcmp(argv[1], "leak") == 0) return coc_selftest_leak(argc - 1, argv + 1);
    status = parse_arguments(argc, argv, &a, &done);
    if (done) return status;
    coc_settings_default(&test.settings);
    if (status == COC_OK) status = choose(&a.only, checks);
    if (status == COC_OK) status = coc_cli_settings(a.config, &a.set, &test.settings);
    coc_words_free(&a.set);
    coc_words_free(&a.only);
    COC_TRY(coc_comm_start(&test.settings.comm, &test.comm));
    COC_TRY(coc_comm_agree(test.comm, "settings", status));
    COC_TRY(coc_same_program(test.comm, coc_program_text()));
    COC_TRY(coc_same_settings(test.comm, &test.settings));
    COC_TRY(coc_comm_self(&test.alone));
    COC_TRY(run(&test, checks, a.json));
    coc_selftest_free(&test);
    coc_comm_destroy(&test.alone);
    coc_comm_destroy(&test.comm);
    return COC_OK;
}
