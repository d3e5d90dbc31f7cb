/* train/cmd_import.c - `cocola import`: published weights -> a checkpoint. */
#include <stdio.h>

#include "base/log.h"
#include "train/checkpoint.h"
#include "train/cli.h"
#include "train/commands.h"

typedef struct {
    const char *in, *out, *profile;
} arguments;

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--in", "FILE", COC_OPTION_TEXT, &a->in, true, 0, 0,
         "weights in safetensors format, under the published names"},
        {"--out", "FILE", COC_OPTION_TEXT, &a->out, true, 0, 0, "the checkpoint to write (.h5)"},
        {"--profile", "NAME", COC_OPTION_TEXT, &a->profile, false, 0, 0,
         "encoder profile, one of model.profile in `cocola help settings` (default: by the "
         "channels that "
         "the first layer takes)"},
    };
    const coc_cli cli = {
        .usage = "cocola import --in WEIGHTS.safetensors --out FILE.h5 [--profile NAME]",
        .purpose = "Makes a checkpoint of weights in the published format, bit by bit the same "
                   "numbers.\nWidth and depth follow from the layers' shapes.",
        .details = "example:\n  cocola import --in cocola.safetensors --out cocola.h5\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };

    return coc_cli_parse(&cli, argc, argv, done);
}

/* The profile that was asked for must take as many channels as the weights do. */
static coc_status choose_profile(const arguments *a, const coc_model *model,
                                 const coc_profile **profile)
{
    COC_TRY(coc_profile_find(a->profile, model->network.channels, profile));
    if ((*profile)->channels == model->network.channels) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT, "%s: its first layer takes %d channels, --profile %s has %d",
                    a->in, model->network.channels, (*profile)->name, (*profile)->channels);
}

static coc_status write_checkpoint(const arguments *a, coc_model *model)
{
    const coc_profile *profile;
    coc_checkpoint_info info = model->info;

    COC_TRY(choose_profile(a, model, &profile));
    snprintf(info.profile, sizeof info.profile, "%s", profile->name);
    COC_TRY(coc_checkpoint_write(a->out, model->params, NULL, &info));
    coc_log_root("%s: %d tensors, profile %s, width %g, depth %g", a->out, model->params->tensors,
                 info.profile, info.width, info.depth);
    return COC_OK;
}

static coc_status import(const arguments *a)
{
    coc_model *model;
    coc_status status;

    COC_TRY(coc_model_open_weights(a->in, coc_device_host(), &model));
    status = write_checkpoint(a, model);
    coc_model_close(&model);
    return status;
}

coc_status coc_cmd_import(int argc, char **argv)
{
    arguments a = {.profile = ""};
    bool done;
    const coc_status status = parse_arguments(argc, argv, &a, &done);

    return status != COC_OK || done ? status : import(&a);
}
