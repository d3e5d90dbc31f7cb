/* train/cmd_selftest_leak.c - `cocola selftest leak`: whether a batch tells pairs of noise apart.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "train/cli.h"
#include "train/commands.h"
#include "train/same.h"
#include "train/selftest_command.h"
#include "train/selftest_leak.h"

typedef struct {
    const char *config;
    coc_words set;
    int64_t steps;
    bool json;
} arguments;

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--config", "FILE", COC_OPTION_TEXT, &a->config, true, 0, 0,
         "settings (YAML) of the run that it is for; no store is needed"},
        {"--set", "KEY=VALUE", COC_OPTION_LIST, &a->set, false, 0, 0,
         "a setting that wins over the file, as model.bn_group=8; may be repeated"},
        {"--steps", "N", COC_OPTION_INT, &a->steps, false, 100, 1000000,
         "steps of each training, up to four times as many on few pairs (default 600)"},
        {"--json", NULL, COC_OPTION_FLAG, &a->json, false, 0, 0, "the same as one JSON object"},
    };
    const coc_cli cli = {
        .usage = "cocola selftest leak --config FILE [options]",
        .purpose =
            "Whether a batch of this configuration lets a model tell pairs apart that have nothing "
            "in\ncommon: a small encoder is trained on noise, and its loss compared with that of "
            "chance.\nRuns on MPI ranks.",
        .details = "A control that is known to leak is trained beside it: the result counts only "
                   "when that is found.\nEach suspect that the configuration has is tried alone. "
                   "A leak ends with exit code 6.\n\n"
                   "example:\n  cocola selftest leak --config configs/quickstart.yaml\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };

    return coc_cli_parse(&cli, argc, argv, done);
}

/* ---- what is printed ------------------------------------------------------------------------ */

static void print_header(void)
{
    printf("%-20s %6s %6s %9s %9s %9s %8s\n", "", "pairs", "groups", "chance", "loss", "below",
           "error");
}

static void print_result(const coc_selftest *test, const coc_leak_result *r)
{
    if (test->comm->rank != 0) return;
    if (r->tried)
        printf("%-20s %6lld %6lld %9.4f %9.4f %9.4f %8.4f  %s\n", r->name, (long long)r->pairs,
               (long long)r->groups, r->floor, r->loss, r->leak, r->error,
               coc_leak_found(r) ? "leaks" : "");
    else
        printf("%-20s not in this configuration\n", r->name);
    fflush(stdout);
}

static json_t *pack_result(const coc_leak_result *r)
{
    if (!r->tried) return json_pack("{s:s, s:b}", "name", r->name, "tried", 0);
    return json_pack("{s:s, s:b, s:I, s:I, s:f, s:f, s:f, s:f, s:b}", "name", r->name, "tried", 1,
                     "pairs", (json_int_t)r->pairs, "groups", (json_int_t)r->groups, "chance",
                     r->floor, "loss", r->loss, "below", r->leak, "error", r->error, "leaks",
                     coc_leak_found(r));
}

static coc_status print_json(const coc_leak *leak)
{
    json_t *list = json_array(), *root;
    char *text;

    for (int i = 0; i < COC_LEAK_ARMS; i++)
        json_array_append_new(list, pack_result(&leak->result[i]));
    root = json_pack("{s:s, s:i, s:I, s:o}", "version", COCOLA_VERSION, "ranks",
                     leak->test.comm->size, "steps", (json_int_t)leak->steps, "trained", list);
    text = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (text == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for the report");
    puts(text);
    free(text);
    return COC_OK;
}

static coc_status run(coc_leak *leak, bool json)
{
    const bool root = leak->test.comm->rank == 0;
    coc_status status = COC_OK;

    if (!json) leak->tell = print_result;
    if (root && !json) print_header();
    COC_TRY(coc_leak_run(leak));
    if (root && json) status = print_json(leak);
    fflush(stdout);
    COC_TRY(coc_comm_agree(leak->test.comm, "report", status));
    return coc_leak_judge(leak);
}

coc_status coc_selftest_leak(int argc, char **argv)
{
    arguments a = {.steps = 600};
    coc_leak leak = {.steps = 0};
    coc_selftest *test = &leak.test;
    bool done;
    coc_status status = parse_arguments(argc, argv, &a, &done);

    if (done) return status;
    coc_settings_default(&test->settings);
    if (status == COC_OK) status = coc_cli_settings(a.config, &a.set, &test->settings);
    coc_words_free(&a.set);
    leak.steps = a.steps;
    COC_TRY(coc_comm_start(&test->settings.comm, &test->comm));
    COC_TRY(coc_comm_agree(test->comm, "settings", status));
    COC_TRY(coc_same_settings(test->comm, &test->settings));
    COC_TRY(run(&leak, a.json));
    coc_comm_destroy(&test->comm);
    return COC_OK;
}
