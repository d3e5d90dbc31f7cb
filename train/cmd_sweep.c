/* train/cmd_sweep.c - `cocola sweep`: the same training at several K. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "preprocess/sampler.h"
#include "train/cli.h"
#include "train/commands.h"
#include "train/sweep.h"

typedef struct {
    const char *config, *k, *vary, *rule, *seeds, *eval_k, *splits;
    coc_words set;
    int64_t only;
    bool dry_run, list_jobs, quiet;
    coc_sweep sweep;
} arguments;

/* ---- command line --------------------------------------------------------------------------- */

enum { WHAT_OPTIONS = 11, HOW_OPTIONS = 8 };
static const double most_pairs = 9007199254740992.0;

/* What is swept over. */
static void describe_what(arguments *a, coc_option to[WHAT_OPTIONS])
{
    const coc_option options[WHAT_OPTIONS] = {
        {"--config", "FILE", COC_OPTION_TEXT, &a->config, true, 0, 0,
         "settings (YAML) that all runs share, as configs/*.yaml"},
        {"--k", "LIST", COC_OPTION_TEXT, &a->k, true, 0, 0,
         "the values of K, comma-separated, as 32,128,512"},
        {"--out", "DIR", COC_OPTION_TEXT, &a->sweep.out, true, 0, 0,
         "folder of the sweep, with one folder a run; made if missing, continued if it is there"},
        {"--set", "KEY=VALUE", COC_OPTION_LIST, &a->set, false, 0, 0,
         "a setting that wins over the file; may be repeated"},
        {"--vary", "WHAT", COC_OPTION_TEXT, &a->vary, false, 0, 0,
         "k: loss.k, the columns of a row, in a batch that stays (default); batch: train.batch, "
         "and the number of steps so that the samples stay"},
        {"--rate-rule", "RULE", COC_OPTION_TEXT, &a->rule, false, 0, 0,
         "how the learning rate follows K: constant (default), sqrt or linear"},
        {"--rate-at", "K", COC_OPTION_INT, &a->sweep.rate_at, false, 2, 1048576,
         "the K at which it is train.learning_rate (default: the K of the settings)"},
        {"--samples", "PAIRS", COC_OPTION_INT, &a->sweep.samples, false, 1, most_pairs,
         "pairs that every run sees (default: train.steps times train.batch)"},
        {"--seeds", "LIST", COC_OPTION_TEXT, &a->seeds, false, 0, 0,
         "values of train.seed, comma-separated: each K is trained with each (default: one, that "
         "of the settings)"},
        {"--eval-k", "LIST", COC_OPTION_TEXT, &a->eval_k, false, 0, 0,
         "the values of K that every run is evaluated at (default: of 2, 8, 16, 64 and --k those "
         "for which the splits have enough pairs)"},
        {"--splits", "LIST", COC_OPTION_TEXT, &a->splits, false, 0, 0,
         "that every run is evaluated on (default validation,test)"},
    };

    memcpy(to, options, sizeof options);
}

/* How, and what else. */
static void describe_how(arguments *a, coc_option to[HOW_OPTIONS])
{
    const coc_option options[HOW_OPTIONS] = {
        {"--leak", "STORE", COC_OPTION_TEXT, &a->sweep.control, false, 0, 0,
         "a store whose stems have nothing to do with each other (scripts/noise_stems.py): every "
         "run is made once more on it, as a control; what it learns is a leak"},
        {"--leak-samples", "PAIRS", COC_OPTION_INT, &a->sweep.control_samples, false, 1, most_pairs,
         "pairs that control runs see (default: as many as the others)"},
        {"--launch", "WORDS", COC_OPTION_TEXT, &a->sweep.launch, false, 0, 0,
         "what starts the ranks of a run, as \"mpirun -n 2\" (default: one rank)"},
        {"--only", "N", COC_OPTION_INT, &a->only, false, 1, 2 * COC_SWEEP_VALUES * COC_SWEEP_VALUES,
         "do run number N of --dry-run's table and no other, as in an array of jobs"},
        {"--dry-run", NULL, COC_OPTION_FLAG, &a->dry_run, false, 0, 0,
         "print the table of runs; nothing is run or written"},
        {"--list-jobs", NULL, COC_OPTION_FLAG, &a->list_jobs, false, 0, 0,
         "print one command a run that is not done, for a batch system; nothing is run or written"},
        {"--pairs-per-second", "R", COC_OPTION_NUMBER, &a->sweep.pairs_per_second, false, 1e-6,
         1e12,
         "for the times of --dry-run where no run has been begun (`cocola bench step` tells)"},
        {"--quiet", NULL, COC_OPTION_FLAG, &a->quiet, false, 0, 0, "warnings and errors only"},
    };

    memcpy(to, options, sizeof options);
}

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    coc_option options[WHAT_OPTIONS + HOW_OPTIONS];
    const coc_cli cli = {
        .usage = "cocola sweep --config FILE --k LIST --out DIR [options]",
        .purpose =
            "The same training at several K: the same samples, steps and evaluation, one run a K "
            "and seed.\nStart it once: each run is a process of its own, with ranks of its own by "
            "--launch.",
        .details =
            "Runs are DIR/k<K>-s<seed>, with config.yaml, log.jsonl, output.txt and eval.json; "
            "`cocola report DIR`\nshows them. Started again, it skips what is done and goes on "
            "with what is not. A run that fails is named,\nand the others go on. SIGTERM, SIGINT "
            "and SIGUSR1 save the run and end with exit code 75.\n\nexample:\n"
            "  cocola sweep --config configs/cocola-hps.yaml --set data.train=STORE "
            "--set train.batch=2048\n      --k 32,128,512,2048 --samples 2048000 --seeds 1,2,3 "
            "--launch \"mpirun -n 2\" --out SWEEP\n",
        .options = options,
        .option_count = WHAT_OPTIONS + HOW_OPTIONS,
    };

    describe_what(a, options);
    describe_how(a, options + WHAT_OPTIONS);
    return coc_cli_parse(&cli, argc, argv, done);
}

/* ---- from words to a sweep ------------------------------------------------------------------ */

/* Under a launcher every copy would do the whole sweep. */
static coc_status refuse_copies(void)
{
    static const struct {
        const char *size, *rank;
    } launchers[] = {{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
                     {"PMI_SIZE", "PMI_RANK"},
                     {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}};

    for (size_t i = 0; i < sizeof launchers / sizeof launchers[0]; i++) {
        const char *size = getenv(launchers[i].size), *rank = getenv(launchers[i].rank);

        if (size == NULL || atoi(size) < 2) continue;
        if (rank != NULL && atoi(rank) > 0) {
            coc_sleep_seconds(1); /* a launcher ends all when one ends: the first one speaks */
            return COC_ERR_ELSEWHERE;
        }
        return COC_FAIL(COC_ERR_USAGE,
                        "a sweep starts the ranks of its runs itself: start it once, with "
                        "--launch \"mpirun -n %s\"",
                        size);
    }
    return COC_OK;
}

static coc_status parse_splits(arguments *a)
{
    char text[256], *rest = NULL;

    snprintf(text, sizeof text, "%s", a->splits);
    for (char *word = strtok_r(text, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        coc_split split;

        COC_TRY(coc_split_parse(word, &split));
        a->sweep.split[split] = true;
    }
    return COC_OK;
}

static coc_status parse_words(arguments *a)
{
    coc_sweep *s = &a->sweep;

    for (s->vary = 0; strcmp(a->vary, coc_vary_name(s->vary)) != 0; s->vary++)
        if (s->vary + 1 == COC_VARIES)
            return COC_FAIL(COC_ERR_USAGE, "--vary: '%.80s' is unknown; known: k, batch", a->vary);
    for (s->rule = 0; strcmp(a->rule, coc_rate_rule_name(s->rule)) != 0; s->rule++)
        if (s->rule + 1 == COC_RATE_RULES)
            return COC_FAIL(COC_ERR_USAGE,
                            "--rate-rule: '%.80s' is unknown; known: constant, sqrt, linear",
                            a->rule);
    if (s->control_samples > 0 && s->control == NULL)
        return COC_FAIL(COC_ERR_USAGE, "--leak-samples goes with --leak STORE");
    COC_TRY(coc_numbers_parse("--k", a->k, 2, &s->k));
    if (a->seeds != NULL) COC_TRY(coc_numbers_parse("--seeds", a->seeds, 0, &s->seeds));
    if (a->eval_k != NULL) COC_TRY(coc_numbers_parse("--eval-k", a->eval_k, 2, &s->eval_k));
    if (s->eval_k.count > COC_SWEEP_EVAL_KS)
        return COC_FAIL(COC_ERR_USAGE, "--eval-k: more than %d numbers", COC_SWEEP_EVAL_KS);
    return parse_splits(a);
}

static coc_status read_settings(arguments *a)
{
    coc_settings *base = &a->sweep.base;

    coc_settings_default(base);
    COC_TRY(coc_settings_read_file(base, a->config));
    for (int i = 0; i < a->set.count; i++)
        COC_TRY(coc_settings_set(base, a->set.word[i]));
    return COC_OK;
}

/* ---- evaluation that is possible ------------------------------------------------------------ */

static coc_status count_windows(const char *name, coc_split split,
                                const coc_data_settings *settings, int64_t *windows)
{
    coc_sampler *sampler = NULL;
    coc_store *store;
    coc_status status;

    COC_TRY(coc_store_open(name, &store));
    status = coc_sampler_create(store, split, settings, 1, &sampler);
    if (status == COC_OK) *windows = coc_sampler_windows(sampler);
    coc_sampler_destroy(&sampler);
    coc_store_close(&store);
    return status;
}

/* A model that sees the same noise often enough can learn it by heart: that is no leak. */
static coc_status check_control(const coc_sweep_plan *plan)
{
    const coc_settings *s = &plan->run[plan->count - 1].settings;
    int64_t windows, pairs = s->train.steps * s->train.batch;

    if (!plan->run[plan->count - 1].control) return COC_OK;
    COC_TRY(count_windows(s->data.train, COC_TRAIN, &s->data, &windows));
    if (pairs > windows)
        coc_log_warn("control runs see the %" PRId64
                     " windows of %s %.1f times: what they learn by "
                     "heart looks like a leak; give a smaller --leak-samples, or a larger store",
                     windows, s->data.train, (double)pairs / (double)windows);
    return COC_OK;
}

static void add_number(coc_numbers *numbers, int64_t value, int64_t most)
{
    if (value > most || numbers->count == COC_SWEEP_EVAL_KS) return;
    for (int i = 0; i < numbers->count; i++)
        if (numbers->value[i] == value) return;
    numbers->value[numbers->count++] = value;
}

/* What could not be evaluated is refused before the training, not after it. */
static coc_status settle_evaluation(coc_sweep *sweep)
{
    static const int64_t usual[] = {2, 8, 16, 64};
    const coc_data_settings *d = &sweep->base.data;
    int64_t fewest = INT64_MAX, windows = 0;
    coc_settings usual_settings; /* `cocola eval` has windows of its own */

    coc_settings_default(&usual_settings);
    for (int split = 0; split < COC_SPLITS; split++) {
        if (!sweep->split[split]) continue;
        COC_TRY(count_windows(split == COC_VALIDATION && d->valid[0] != '\0' ? d->valid : d->train,
                              split, &usual_settings.data, &windows));
        if (windows < fewest) fewest = windows;
        for (int i = 0; i < sweep->eval_k.count; i++)
            if (sweep->eval_k.value[i] > windows)
                return COC_FAIL(COC_ERR_USAGE,
                                "--eval-k: %" PRId64 " is more than the %" PRId64
                                " pairs of the %s split; ask for a smaller K or a larger store",
                                sweep->eval_k.value[i], windows, coc_split_name(split));
    }
    if (sweep->eval_k.count > 0) return COC_OK;
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++)
        add_number(&sweep->eval_k, usual[i], fewest);
    for (int i = 0; i < sweep->k.count; i++)
        add_number(&sweep->eval_k, sweep->k.value[i], fewest);
    if (sweep->eval_k.count > 0) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT, "the splits have fewer than 2 pairs to evaluate with");
}

/* ---- tables --------------------------------------------------------------------------------- */

static void print_run(const arguments *a, const coc_sweep_plan *plan, int number, double *total)
{
    const coc_sweep_run *run = &plan->run[number];
    const coc_sweep_state state = coc_sweep_look(&a->sweep, run);
    const coc_train_settings *t = &run->settings.train;
    const double left = coc_sweep_time_left(&a->sweep, plan, run);
    char time[16] = "-", where[48] = "new";

    *total += left;
    if (isfinite(left)) coc_format_duration(left, time);
    if (state.step > 0) snprintf(where, sizeof where, "step %" PRId64, state.step);
    if (state.step >= t->steps) snprintf(where, sizeof where, "not evaluated");
    if (state.done) snprintf(where, sizeof where, "done");
    printf("%4d  %-24s %8" PRId64 " %8" PRId64 " %9" PRId64 "  %13.4g  %9s  %s\n", number + 1,
           run->name, run->k, t->batch, t->steps, t->learning_rate, time, where);
}

static void print_table(const arguments *a, const coc_sweep_plan *plan)
{
    double total = 0;
    char time[16];

    printf("%4s  %-24s %8s %8s %9s  %13s  %9s  %s\n", "run", "name", "K", "batch", "steps",
           "learning rate", "time left", "state");
    for (int i = 0; i < plan->count; i++)
        print_run(a, plan, i, &total);
    if (isfinite(total))
        printf("\ntraining that is left: %s, at the speed of runs that were begun, or as given\n",
               coc_format_duration(total, time));
    else
        printf("\ntimes are known once a run has been begun, or with --pairs-per-second\n");
}

/* One word for a shell. */
static void print_quoted(const char *word)
{
    putchar('\'');
    for (; *word != '\0'; word++) {
        if (*word == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*word);
    }
    putchar('\'');
}

/* The same command line for each run that is not done. */
static coc_status print_jobs(const arguments *a, const coc_sweep_plan *plan, int argc, char **argv)
{
    char program[COC_PATH_BYTES];
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);

    if (n < 0) return COC_FAIL(COC_ERR_IO, "/proc/self/exe: cannot be read: %s", strerror(errno));
    program[n] = '\0';
    for (int run = 0; run < plan->count; run++) {
        if (coc_sweep_look(&a->sweep, &plan->run[run]).done) continue;
        print_quoted(program);
        for (int i = 0; i < argc; i++) {
            if (strcmp(argv[i], "--list-jobs") == 0) continue;
            putchar(' ');
            print_quoted(argv[i]);
        }
        printf(" --only %d\n", run + 1);
    }
    return COC_OK;
}

/* ---- the command ---------------------------------------------------------------------------- */

static coc_status run_plan(arguments *a, coc_sweep_plan *plan, int argc, char **argv)
{
    if (a->only > plan->count)
        return COC_FAIL(COC_ERR_USAGE, "--only: %" PRId64 " is more than the %d runs of the sweep",
                        a->only, plan->count);
    /* a plan may be made where the store is not */
    if (!(a->list_jobs || a->dry_run) || coc_is_folder(a->sweep.base.data.train))
        COC_TRY(settle_evaluation(&a->sweep));
    if (a->list_jobs) return print_jobs(a, plan, argc, argv);
    if (a->dry_run) {
        coc_sweep_measure(&a->sweep, plan);
        print_table(a, plan);
        return COC_OK;
    }
    COC_TRY(check_control(plan));
    COC_TRY(coc_sweep_take_folder(&a->sweep));
    COC_TRY(coc_sweep_execute(&a->sweep, plan, (int)a->only));
    coc_log_root("done; cocola report %s shows the runs", a->sweep.out);
    return COC_OK;
}

static coc_status sweep(arguments *a, int argc, char **argv)
{
    coc_sweep_plan plan;
    coc_status status;

    COC_TRY(refuse_copies());
    if (a->dry_run && a->list_jobs)
        return COC_FAIL(COC_ERR_USAGE, "--dry-run and --list-jobs: one of them");
    if (a->list_jobs && a->only > 0)
        return COC_FAIL(COC_ERR_USAGE, "--list-jobs and --only: one of them");
    COC_TRY(parse_words(a));
    COC_TRY(read_settings(a));
    COC_TRY(coc_sweep_make_plan(&a->sweep, &plan));
    status = run_plan(a, &plan, argc, argv);
    free(plan.run);
    return status;
}

coc_status coc_cmd_sweep(int argc, char **argv)
{
    arguments a = {
        .vary = "k", .rule = "constant", .splits = "validation,test", .sweep = {.launch = NULL}};
    bool done;
    coc_status status = parse_arguments(argc, argv, &a, &done);

    coc_log_set_quiet(a.quiet);
    if (status == COC_OK && !done) status = sweep(&a, argc, argv);
    coc_words_free(&a.set);
    return status;
}
