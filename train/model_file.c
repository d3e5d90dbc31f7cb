#include "train/model_file.h"

#include <stdio.h>

#include "base/memory.h"

static real *place_of(const coc_params *params, const coc_tensor *tensor, coc_part part)
{
    if (tensor->kind == COC_TENSOR_RUNNING) return params->running + tensor->offset;
    if (part == COC_PART_M) return params->m + tensor->offset;
    if (part == COC_PART_V) return params->v + tensor->offset;
    return params->value + tensor->offset;
}

coc_status coc_tensor_get(const coc_params *params, const coc_tensor *tensor, coc_part part,
                          float *values)
{
    const size_t bytes = (size_t)tensor->count * sizeof *values;

    COC_TRY(
        params->device->copy(params->device, values, place_of(params, tensor, part), bytes, NULL));
    return params->device->wait(params->device, NULL);
}

coc_status coc_tensor_set(coc_params *params, const coc_tensor *tensor, coc_part part,
                          const float *values)
{
    const size_t bytes = (size_t)tensor->count * sizeof *values;

    COC_TRY(
        params->device->copy(params->device, place_of(params, tensor, part), values, bytes, NULL));
    return params->device->wait(params->device, NULL);
}

coc_status coc_tensor_buffer(const coc_params *params, float **values)
{
    int64_t largest = 1;

    for (int i = 0; i < params->tensors; i++)
        if (params->tensor[i].count > largest) largest = params->tensor[i].count;
    return coc_alloc(largest, sizeof **values, values);
}

char *coc_shape_text(int dims, const int64_t *shape, char text[128])
{
    int used = snprintf(text, 128, "[");

    for (int i = 0; i < dims; i++)
        used += snprintf(text + used, (size_t)(128 - used), "%s%lld", i > 0 ? ", " : "",
                         (long long)shape[i]);
    snprintf(text + used, (size_t)(128 - used), "]");
    return text;
}
