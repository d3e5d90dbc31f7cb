/* train/model_open.c - a model for use, from whatever file it lies in. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "preprocess/features.h"
#include "train/checkpoint.h"
#include "train/safetensors.h"

static bool is_safetensors(const char *path)
{
    const size_t length = strlen(path), ending = sizeof ".safetensors" - 1;

    return length > ending && strcmp(path + length - ending, ".safetensors") == 0;
}

/* What a file of weights alone says of itself. */
static coc_status describe_weights(const char *path, coc_checkpoint_info *info)
{
    const coc_profile *profile;

    *info = (coc_checkpoint_info){.valid_loss = NAN};
    COC_TRY(coc_safetensors_identify(path, &profile, &info->width, &info->depth, &info->embedding));
    if (info->embedding == profile->embedding) info->embedding = 0;
    snprintf(info->profile, sizeof info->profile, "%s", profile->name);
    info->features = profile->features;
    return coc_hash_file(path, &info->hash);
}

static coc_status fill(const char *path, bool weights_alone, const coc_device *device, coc_model *m)
{
    const coc_profile *profile;

    COC_TRY(weights_alone ? describe_weights(path, &m->info)
                          : coc_checkpoint_read_info(path, &m->info));
    COC_TRY(coc_profile_find(m->info.profile, 0, &profile));
    COC_TRY(coc_network_build(profile, m->info.width, m->info.depth, COC_BANDS, COC_FRAMES,
                              &m->network));
    if (m->info.embedding > 0) m->network.embedding = (int)m->info.embedding;
    COC_TRY(coc_params_create(&m->network, device, false, &m->params));
    return weights_alone ? coc_safetensors_read(path, m->params)
                         : coc_checkpoint_read(path, m->params, false);
}

static coc_status open_model(const char *path, bool weights_alone, const coc_device *device,
                             coc_model **model)
{
    coc_status status;

    *model = NULL;
    COC_TRY(coc_alloc(1, sizeof **model, model));
    status = fill(path, weights_alone, device, *model);
    if (status != COC_OK) coc_model_close(model);
    return status;
}

coc_status coc_model_open(const char *path, const coc_device *device, coc_model **model)
{
    return open_model(path, is_safetensors(path), device, model);
}

coc_status coc_model_open_weights(const char *path, const coc_device *device, coc_model **model)
{
    return open_model(path, true, device, model);
}

void coc_model_close(coc_model **model)
{
    if (*model == NULL) return;
    coc_params_destroy(&(*model)->params);
    coc_checkpoint_info_free(&(*model)->info);
    free(*model);
    *model = NULL;
}
