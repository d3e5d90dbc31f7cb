/* train/cmd_train.c - `cocola train`: store -> checkpoints and log, on MPI ranks. */
#include <stdio.h>

#include "base/log.h"
#include "train/cli.h"
#include "train/commands.h"
#include "train/same.h"
#include "train/trainer.h"
#include "train/version.h"

typedef struct {
    const char *config, *out, *backend, *precision;
    coc_words set;
    bool quiet;
} arguments;

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--config", "FILE", COC_OPTION_TEXT, &a->config, true, 0, 0,
         "settings (YAML), as configs/*.yaml; `cocola help settings` explains them"},
        {"--set", "KEY=VALUE", COC_OPTION_LIST, &a->set, false, 0, 0,
         "a setting that wins over the file, as train.batch=64; may be repeated"},
        {"--out", "RUN", COC_OPTION_TEXT, &a->out, true, 0, 0,
         "folder for checkpoints, log.jsonl and config.yaml; made if missing"},
        {"--backend", "NAME", COC_OPTION_TEXT, &a->backend, false, 0, 0,
         "cpu, cuda or ref: short for --set model.backend=NAME"},
        {"--precision", "NAME", COC_OPTION_TEXT, &a->precision, false, 0, 0,
         "fp32 or bf16: short for --set model.precision=NAME"},
        {"--quiet", NULL, COC_OPTION_FLAG, &a->quiet, false, 0, 0, "warnings and errors only"},
    };
    const coc_cli cli = {
        .usage = "cocola train --config FILE --out RUN [options]",
        .purpose = "Trains an encoder on a store. Runs on MPI ranks. When RUN holds a checkpoint "
                   "of the same\nsettings, training goes on from it; SIGTERM and SIGINT save and "
                   "end with exit code 75.",
        .details = "example:\n"
                   "  mpirun -n 2 cocola train --config configs/quickstart.yaml "
                   "--set data.train=STORE --out RUN\n"
                   "\nRUN/checkpoints/last.h5 is the model, RUN/checkpoints/best-*.h5 those of the "
                   "lowest validation loss.\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };

    return coc_cli_parse(&cli, argc, argv, done);
}

/* An option that is short for a setting. */
static coc_status set_short(const char *key, const char *value, coc_settings *settings)
{
    char assignment[128];

    if (value == NULL) return COC_OK;
    (void)!snprintf(assignment, sizeof assignment, "%s=%s", key, value);
    return coc_settings_set(settings, assignment);
}

static coc_status read_settings(const arguments *a, coc_settings *settings)
{
    COC_TRY(coc_cli_settings(a->config, &a->set, settings));
    COC_TRY(set_short("model.backend", a->backend, settings));
    return set_short("model.precision", a->precision, settings);
}

static coc_status train(const coc_settings *settings, coc_comm *comm, const char *run)
{
    coc_trainer *trainer;
    coc_status status;

    coc_stop_install();
    COC_TRY(coc_trainer_create(settings, comm, run, &trainer));
    status = coc_train_loop(trainer);
    if (status == COC_OK || status == COC_ERR_STOPPED) coc_trainer_destroy(&trainer);
    return status; /* after a fault other ranks may wait: the process ends at once */
}

coc_status coc_cmd_train(int argc, char **argv)
{
    arguments a = {0};
    coc_settings settings;
    coc_comm *comm;
    bool done;
    coc_status status = parse_arguments(argc, argv, &a, &done);

    if (done) return status;
    coc_settings_default(&settings);
    if (status == COC_OK) status = read_settings(&a, &settings);
    coc_words_free(&a.set);
    coc_log_set_quiet(a.quiet);
    COC_TRY(coc_comm_start(&settings.comm, &comm));
    COC_TRY(coc_comm_agree(comm, "settings", status));
    COC_TRY(coc_same_program(comm, coc_program_text()));
    COC_TRY(coc_same_settings(comm, &settings));
    status = train(&settings, comm, a.out);
    if (status != COC_OK && status != COC_ERR_STOPPED) return status;
    coc_comm_destroy(&comm);
    return status;
}
