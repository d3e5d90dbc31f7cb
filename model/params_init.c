#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "model/params.h"

/* Uniform in (-bound, bound), a function of the seed, the tensor's number and the element. */
static void draw_uniform(const coc_rng_key *key, int64_t count, double bound, real *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (real)(bound * (2.0 * coc_rng_uniform(key, (uint32_t)i) - 1.0));
}

/* W: normal numbers times `scale`, or `scale` times the identity. */
static void draw_similarity(const coc_rng_key *key, const coc_tensor *tensor,
                            const coc_model_settings *settings, real *out)
{
    const int64_t d = tensor->shape[0];
    float z[4];

    if (settings->similarity_init == COC_SIMILARITY_IDENTITY) {
        for (int64_t i = 0; i < d; i++)
            out[i * d + i] = (real)settings->similarity_scale;
        return;
    }
    for (int64_t i = 0; i < tensor->count; i += 4) {
        coc_rng_normal(key, (uint32_t)i, 4, z);
        for (int64_t k = i; k < tensor->count && k < i + 4; k++)
            out[k] = (real)(settings->similarity_scale * z[k - i]);
    }
}

/* Values behind one output of a convolution or linear layer. */
static int64_t fan_in(const coc_tensor *tensor)
{
    return tensor->count / tensor->shape[0];
}

static bool is_bias(const coc_tensor *tensor)
{
    const size_t length = strlen(tensor->name);

    return length > 5 && strcmp(tensor->name + length - 5, ".bias") == 0;
}

/* PyTorch draws weights from kaiming_uniform(a = sqrt 5), which is U(+-1/sqrt fan_in), and biases
 * from the same bound. Norms, the only ones whose weight is a vector, start as 1 and 0. A bias
 * follows its weight in the table. */
static void draw_tensor(const coc_params *params, int number, const coc_model_settings *settings,
                        uint64_t seed, real *values)
{
    const coc_tensor *tensor = &params->tensor[number];
    const coc_tensor *weight = is_bias(tensor) ? tensor - 1 : tensor;
    const coc_rng_key key = {.seed = seed, .draw = COC_DRAW_INIT, .item = (uint32_t)number};
    real *out = values + tensor->offset;

    if (tensor->offset == params->at.similarity) {
        draw_similarity(&key, tensor, settings, out);
        return;
    }
    if (weight->dims > 1) {
        draw_uniform(&key, tensor->count, 1.0 / sqrt((double)fan_in(weight)), out);
        return;
    }
    for (int64_t i = 0; i < tensor->count; i++)
        out[i] = tensor == weight ? 1 : 0;
}

coc_status coc_params_init(coc_params *params, const coc_model_settings *settings, uint64_t seed)
{
    const coc_device *device = params->device;
    coc_status status;
    real *values;

    COC_TRY(coc_alloc(params->weights, sizeof *values, &values));
    for (int i = 0; i < params->tensors; i++)
        if (params->tensor[i].kind == COC_TENSOR_WEIGHT)
            draw_tensor(params, i, settings, seed, values);
    status =
        device->copy(device, params->value, values, (size_t)params->weights * sizeof(real), NULL);
    if (status == COC_OK) status = device->wait(device, NULL);
    free(values);
    return status;
}
