/* train/cmd_export.c - `cocola export`: a checkpoint -> weights in the published format. */
#include "base/log.h"
#include "train/checkpoint.h"
#include "train/cli.h"
#include "train/commands.h"
#include "train/safetensors.h"

typedef struct {
    const char *in, *out;
} arguments;

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--in", "FILE", COC_OPTION_TEXT, &a->in, true, 0, 0, "a checkpoint (.h5)"},
        {"--out", "FILE", COC_OPTION_TEXT, &a->out, true, 0, 0,
         "the safetensors file to write; existing ones are replaced"},
    };
    const coc_cli cli = {
        .usage = "cocola export --in FILE.h5 --out WEIGHTS.safetensors",
        .purpose = "Writes a checkpoint's weights in the published format: all tensors under their "
                   "PyTorch\nnames, bit by bit the same numbers. Optimizer and settings stay "
                   "behind.",
        .details = "example:\n  cocola export --in run/checkpoints/last.h5 --out "
                   "cocola.safetensors\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };

    return coc_cli_parse(&cli, argc, argv, done);
}

static coc_status export_weights(const arguments *a)
{
    coc_model *model;
    coc_status status;

    COC_TRY(coc_model_open(a->in, coc_device_host(), &model));
    status = coc_safetensors_write(a->out, model->params);
    if (status == COC_OK)
        coc_log_root("%s: %d tensors of %s", a->out, model->params->tensors, a->in);
    coc_model_close(&model);
    return status;
}

coc_status coc_cmd_export(int argc, char **argv)
{
    arguments a = {0};
    bool done;
    const coc_status status = parse_arguments(argc, argv, &a, &done);

    return status != COC_OK || done ? status : export_weights(&a);
}
