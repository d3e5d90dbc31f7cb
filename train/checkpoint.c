/* train/checkpoint.c - what stands in a checkpoint, and under which names (docs/checkpoint.md). */
#include "train/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/checkpoint_hdf5.h"
#include "train/checkpoint_image.h"
#include "train/model_file.h"

static const char MODEL[] = "model", OPTIMIZER[] = "optimizer", OWN_RUNNING[] = "optimizer/running";

/* Groups of the optimizer with one row a weight. */
static const struct {
    const char *group;
    coc_part part;
} moments[] = {{"optimizer/m", COC_PART_M}, {"optimizer/v", COC_PART_V}};
enum { MOMENTS = 2 };

void coc_checkpoint_info_free(coc_checkpoint_info *info)
{
    free(info->settings);
    info->settings = NULL;
}

/* ---- writing -------------------------------------------------------------------------------- */

static coc_status put_info(coc_h5 *h5, const coc_checkpoint_info *info)
{
    char store[17];

    snprintf(store, sizeof store, "%016" PRIx64, info->store);
    COC_TRY(coc_h5_put_text(h5, "program", "cocola " COCOLA_VERSION));
    COC_TRY(coc_h5_put_int(h5, "schema", COC_CHECKPOINT_SCHEMA));
    COC_TRY(coc_h5_put_text(h5, "profile", info->profile));
    COC_TRY(coc_h5_put_double(h5, "width", info->width));
    COC_TRY(coc_h5_put_double(h5, "depth", info->depth));
    if (info->embedding > 0) COC_TRY(coc_h5_put_int(h5, "embedding", info->embedding));
    COC_TRY(coc_h5_put_text(h5, "features", coc_feature_name(info->features)));
    COC_TRY(coc_h5_put_int(h5, "step", info->step));
    COC_TRY(coc_h5_put_int(h5, "steps", info->steps));
    COC_TRY(coc_h5_put_int(h5, "position", info->position));
    COC_TRY(coc_h5_put_int(h5, "ranks", info->ranks));
    COC_TRY(coc_h5_put_text(h5, "store", store));
    COC_TRY(coc_h5_put_double(h5, "valid_loss", info->valid_loss));
    COC_TRY(coc_h5_put_int(h5, "bn_reestimated", info->bn_reestimated));
    if (info->settings == NULL) return COC_OK;
    return coc_h5_put_text(h5, "settings", info->settings);
}

/* A file with such a number could not be read again, and would take the place of one that can. */
static coc_status put_values(coc_h5 *h5, const char *group, const coc_tensor *tensor,
                             const float *values)
{
    for (int64_t i = 0; i < tensor->count; i++)
        if (!isfinite(values[i]))
            return COC_FAIL(COC_ERR_INPUT,
                            "%s: not written, since value %" PRId64
                            " of '%s/%s' is not finite: lower train.learning_rate, or set "
                            "train.clip",
                            h5->path, i, group, tensor->name);
    return coc_h5_put_tensor(h5, group, tensor, values);
}

static coc_status put_model(coc_h5 *h5, const coc_params *params, float *values)
{
    COC_TRY(coc_h5_put_group(h5, MODEL));
    for (int i = 0; i < params->tensors; i++) {
        const coc_tensor *tensor = &params->tensor[i];

        if (tensor->kind == COC_TENSOR_COUNTER) {
            COC_TRY(coc_h5_put_tensor(h5, MODEL, tensor, &params->batches));
            continue;
        }
        COC_TRY(coc_tensor_get(params, tensor, COC_PART_VALUE, values));
        COC_TRY(put_values(h5, MODEL, tensor, values));
    }
    return COC_OK;
}

static coc_status put_moment(coc_h5 *h5, int which, const coc_params *params, float *values)
{
    COC_TRY(coc_h5_put_group(h5, moments[which].group));
    for (int i = 0; i < params->tensors; i++) {
        if (params->tensor[i].kind != COC_TENSOR_WEIGHT) continue;
        COC_TRY(coc_tensor_get(params, &params->tensor[i], moments[which].part, values));
        COC_TRY(put_values(h5, moments[which].group, &params->tensor[i], values));
    }
    return COC_OK;
}

static coc_status put_running(coc_h5 *h5, const coc_params *params, const real *running,
                              float *values)
{
    COC_TRY(coc_h5_put_group(h5, OWN_RUNNING));
    for (int i = 0; i < params->tensors; i++) {
        const coc_tensor *tensor = &params->tensor[i];

        if (tensor->kind != COC_TENSOR_RUNNING) continue;
        if (running != NULL)
            memcpy(values, running + tensor->offset, (size_t)tensor->count * sizeof *values);
        else
            COC_TRY(coc_tensor_get(params, tensor, COC_PART_VALUE, values));
        COC_TRY(put_values(h5, OWN_RUNNING, tensor, values));
    }
    return COC_OK;
}

static coc_status put_all(coc_h5 *h5, const coc_params *params, const real *running,
                          const coc_checkpoint_info *info, float *values)
{
    COC_TRY(put_info(h5, info));
    COC_TRY(put_model(h5, params, values));
    if (!info->has_optimizer) return COC_OK;
    COC_TRY(coc_h5_put_group(h5, OPTIMIZER));
    for (int which = 0; which < MOMENTS; which++)
        COC_TRY(put_moment(h5, which, params, values));
    return put_running(h5, params, running, values);
}

int64_t coc_checkpoint_writing_bytes(int64_t weights)
{
    const int64_t image = 3 * weights * (int64_t)sizeof(float); /* values and both moments */

    return 3 * image; /* HDF5 grows its own by doubling, and hands out a copy */
}

coc_status coc_checkpoint_write(const char *path, const coc_params *params, const real *running,
                                coc_checkpoint_info *info)
{
    coc_h5 h5 = {.file = -1};
    char *bytes = NULL;
    float *values = NULL;
    size_t count;
    coc_status status;

    COC_TRY_GOTO(status, coc_tensor_buffer(params, &values), end);
    COC_TRY_GOTO(status, coc_h5_create(path, &h5), end);
    COC_TRY_GOTO(status, put_all(&h5, params, running, info, values), end);
    COC_TRY_GOTO(status, coc_h5_finish(&h5, &bytes, &count), end);
    coc_h5_close(&h5); /* its memory, before the bytes go out */
    status = coc_image_write(path, bytes, count, &info->hash);
end:
    coc_h5_close(&h5);
    free(bytes);
    free(values);
    return status;
}

/* ---- reading -------------------------------------------------------------------------------- */

static coc_status get_word(const coc_h5 *h5, const char *name, char *word, size_t room)
{
    char *text;

    COC_TRY(coc_h5_get_text(h5, name, &text));
    snprintf(word, room, "%s", text);
    free(text);
    return COC_OK;
}

static coc_status get_features(const coc_h5 *h5, coc_feature_kind *features)
{
    char word[32];

    COC_TRY(get_word(h5, "features", word, sizeof word));
    for (int i = 0; i < COC_FEATURE_KINDS; i++) {
        *features = (coc_feature_kind)i;
        if (strcmp(word, coc_feature_name(*features)) == 0) return COC_OK;
    }
    return COC_FAIL(COC_ERR_INPUT, "%s: made of features '%s', which this program does not know",
                    h5->path, word);
}

static coc_status check_info(const coc_h5 *h5, const coc_checkpoint_info *info)
{
    const coc_profile *profile;

    if (coc_profile_find(info->profile, 0, &profile) != COC_OK || info->profile[0] == '\0')
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: made with the encoder profile '%s', which this program does not know",
                        h5->path, info->profile);
    if (profile->features != info->features)
        return COC_FAIL(COC_ERR_INPUT, "%s: profile %s does not fit features '%s'", h5->path,
                        info->profile, coc_feature_name(info->features));
    if (!(info->width > 0 && info->width <= 8) || !(info->depth > 0 && info->depth <= 8))
        return COC_FAIL(COC_ERR_INPUT, "%s: width %g and depth %g are out of range (0 to 8)",
                        h5->path, info->width, info->depth);
    if (info->embedding < 0 || info->embedding > 8192)
        return COC_FAIL(COC_ERR_INPUT, "%s: embeddings of %lld numbers (8 to 8192)", h5->path,
                        (long long)info->embedding);
    if (info->step < 0 || info->position < 0 || info->steps < 0)
        return COC_FAIL(COC_ERR_INPUT, "%s: a negative step or position", h5->path);
    return COC_OK;
}

static coc_status get_info(const coc_h5 *h5, coc_checkpoint_info *info)
{
    char store[32];

    COC_TRY(get_word(h5, "profile", info->profile, sizeof info->profile));
    COC_TRY(coc_h5_get_double(h5, "width", &info->width));
    COC_TRY(coc_h5_get_double(h5, "depth", &info->depth));
    if (coc_h5_has_attribute(h5, "embedding"))
        COC_TRY(coc_h5_get_int(h5, "embedding", &info->embedding));
    COC_TRY(get_features(h5, &info->features));
    COC_TRY(coc_h5_get_int(h5, "step", &info->step));
    COC_TRY(coc_h5_get_int(h5, "steps", &info->steps));
    COC_TRY(coc_h5_get_int(h5, "position", &info->position));
    COC_TRY(coc_h5_get_int(h5, "ranks", &info->ranks));
    COC_TRY(get_word(h5, "store", store, sizeof store));
    info->store = strtoull(store, NULL, 16);
    COC_TRY(coc_h5_get_double(h5, "valid_loss", &info->valid_loss));
    COC_TRY(coc_h5_get_int(h5, "bn_reestimated", &info->bn_reestimated));
    info->has_optimizer = coc_h5_has_group(h5, OPTIMIZER);
    if (coc_h5_has_attribute(h5, "settings"))
        COC_TRY(coc_h5_get_text(h5, "settings", &info->settings));
    return check_info(h5, info);
}

/* The file, checked and opened, and its description. */
static coc_status open_file(const char *path, coc_h5 *h5, coc_checkpoint_info *info)
{
    coc_status status;
    size_t count;
    char *bytes;

    *info = (coc_checkpoint_info){.valid_loss = NAN};
    *h5 = (coc_h5){.file = -1, .path = path};
    COC_TRY(coc_image_read(path, &bytes, &count, &info->hash));
    status = coc_h5_open(path, bytes, count, h5);
    free(bytes);
    if (status == COC_OK) status = get_info(h5, info);
    if (status != COC_OK) coc_h5_close(h5);
    return status;
}

coc_status coc_checkpoint_read_info(const char *path, coc_checkpoint_info *info)
{
    coc_h5 h5;

    COC_TRY(open_file(path, &h5, info));
    coc_h5_close(&h5);
    return COC_OK;
}

static coc_status get_counter(const coc_h5 *h5, const coc_tensor *tensor, bool first,
                              coc_params *params)
{
    int64_t batches;

    COC_TRY(coc_h5_get_tensor(h5, MODEL, tensor, &batches));
    if (!first && batches != params->batches)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: tensor '%s' is %" PRId64 ", another norm's is %" PRId64
                        ": one model has one number of batches",
                        h5->path, tensor->name, batches, params->batches);
    params->batches = batches;
    return COC_OK;
}

static coc_status get_values(const coc_h5 *h5, const char *group, const coc_tensor *tensor,
                             coc_part part, coc_params *params, float *values)
{
    COC_TRY(coc_h5_get_tensor(h5, group, tensor, values));
    for (int64_t i = 0; i < tensor->count; i++)
        if (!isfinite(values[i]))
            return COC_FAIL(COC_ERR_INPUT, "%s: '%s/%s': value %" PRId64 " is not finite", h5->path,
                            group, tensor->name, i);
    return coc_tensor_set(params, tensor, part, values);
}

static coc_status get_model(const coc_h5 *h5, coc_params *params, float *values)
{
    bool first = true;

    COC_TRY(coc_h5_check_names(h5, MODEL, params));
    for (int i = 0; i < params->tensors; i++) {
        const coc_tensor *tensor = &params->tensor[i];

        if (tensor->kind != COC_TENSOR_COUNTER) {
            COC_TRY(get_values(h5, MODEL, tensor, COC_PART_VALUE, params, values));
            continue;
        }
        COC_TRY(get_counter(h5, tensor, first, params));
        first = false;
    }
    return COC_OK;
}

static coc_status get_optimizer(const coc_h5 *h5, coc_params *params, float *values)
{
    for (int i = 0; i < params->tensors; i++) {
        const coc_tensor *tensor = &params->tensor[i];

        if (tensor->kind == COC_TENSOR_RUNNING)
            COC_TRY(get_values(h5, OWN_RUNNING, tensor, COC_PART_VALUE, params, values));
        for (int which = 0; which < MOMENTS && tensor->kind == COC_TENSOR_WEIGHT; which++)
            COC_TRY(
                get_values(h5, moments[which].group, tensor, moments[which].part, params, values));
    }
    return COC_OK;
}

static coc_status check_network(const coc_h5 *h5, const coc_checkpoint_info *info,
                                const coc_network *network)
{
    if (strcmp(info->profile, network->profile->name) == 0) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT, "%s: a model of profile %s (features %s); %s is needed here",
                    h5->path, info->profile, coc_feature_name(info->features),
                    network->profile->name);
}

static coc_status get_all(const coc_h5 *h5, coc_params *params, bool with_optimizer)
{
    coc_status status;
    float *values;

    if (with_optimizer && !coc_h5_has_group(h5, OPTIMIZER))
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: holds no optimizer, so no run can go on from it; begin a new run with "
                        "--set train.init=FILE",
                        h5->path);
    COC_TRY(coc_tensor_buffer(params, &values));
    status = get_model(h5, params, values);
    if (status == COC_OK && with_optimizer) status = get_optimizer(h5, params, values);
    free(values);
    return status;
}

coc_status coc_checkpoint_read(const char *path, coc_params *params, bool with_optimizer)
{
    coc_checkpoint_info info;
    coc_status status;
    coc_h5 h5;

    status = open_file(path, &h5, &info);
    if (status == COC_OK) status = check_network(&h5, &info, params->network);
    if (status == COC_OK) status = get_all(&h5, params, with_optimizer);
    coc_h5_close(&h5);
    coc_checkpoint_info_free(&info);
    return status;
}
