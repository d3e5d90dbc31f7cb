#include "model/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* ---- the table of tensors ---- */

/* Run twice: first with tensor == NULL to count, then to fill. */
typedef struct {
    coc_tensor *tensor;
    int tensors;
    int64_t weights, runnings;
} table;

typedef struct {
    int dims;
    int64_t size[4];
} shape;

static int64_t count_of(shape s)
{
    int64_t count = 1;

    for (int i = 0; i < s.dims; i++)
        count *= s.size[i];
    return count;
}

/* Adds a tensor named prefix + name and returns its offset. */
static int64_t add_tensor(table *t, const char *prefix, const char *name, coc_tensor_kind kind,
                          shape s)
{
    const int64_t count = count_of(s), whole = COC_TENSOR_ALIGNMENT;
    int64_t *used = kind == COC_TENSOR_WEIGHT ? &t->weights : &t->runnings;
    const int64_t offset = kind == COC_TENSOR_COUNTER ? 0 : *used;

    if (kind != COC_TENSOR_COUNTER) *used += (count + whole - 1) / whole * whole;
    if (t->tensor != NULL) {
        coc_tensor *tensor = &t->tensor[t->tensors];

        *tensor = (coc_tensor){.kind = kind, .dims = s.dims, .count = count, .offset = offset};
        memcpy(tensor->shape, s.size, sizeof tensor->shape);
        snprintf(tensor->name, sizeof tensor->name, "%s%s", prefix, name);
    }
    t->tensors++;
    return offset;
}

static int64_t add_weight(table *t, const char *prefix, const char *name, shape s)
{
    return add_tensor(t, prefix, name, COC_TENSOR_WEIGHT, s);
}

/* [O][I][k][k]; depthwise convolutions have I = 1. */
static int64_t add_conv(table *t, const char *prefix, const char *name, int out, int in, int kernel)
{
    return add_weight(t, prefix, name, (shape){4, {out, in, kernel, kernel}});
}

static coc_norm_index add_norm(table *t, const char *prefix, const char *name, int channels)
{
    const shape s = {1, {channels}};
    coc_norm_index index = {.channels = channels};
    char full[64];

    snprintf(full, sizeof full, "%s%s", prefix, name);
    index.gamma = add_weight(t, full, ".weight", s);
    index.beta = add_weight(t, full, ".bias", s);
    index.mean = add_tensor(t, full, ".running_mean", COC_TENSOR_RUNNING, s);
    index.variance = add_tensor(t, full, ".running_var", COC_TENSOR_RUNNING, s);
    (void)add_tensor(t, full, ".num_batches_tracked", COC_TENSOR_COUNTER, (shape){0});
    return index;
}

static coc_block_index add_block(table *t, const char *encoder, const coc_block *block, int number)
{
    const int channels = block->depthwise.out_c, squeeze = block->squeeze;
    coc_block_index at = {0};
    char prefix[64];

    snprintf(prefix, sizeof prefix, "%s_blocks.%d.", encoder, number);
    if (block->has_expand) {
        at.expand = add_conv(t, prefix, "_expand_conv.weight", channels, block->expand.in_c, 1);
        at.expand_norm = add_norm(t, prefix, "_bn0", channels);
    }
    at.depthwise =
        add_conv(t, prefix, "_depthwise_conv.weight", channels, 1, block->depthwise.kernel);
    at.depthwise_norm = add_norm(t, prefix, "_bn1", channels);
    at.reduce_w = add_conv(t, prefix, "_se_reduce.weight", squeeze, channels, 1);
    at.reduce_b = add_weight(t, prefix, "_se_reduce.bias", (shape){1, {squeeze}});
    at.widen_w = add_conv(t, prefix, "_se_expand.weight", channels, squeeze, 1);
    at.widen_b = add_weight(t, prefix, "_se_expand.bias", (shape){1, {channels}});
    at.project = add_conv(t, prefix, "_project_conv.weight", block->project.out_c, channels, 1);
    at.project_norm = add_norm(t, prefix, "_bn2", block->project.out_c);
    return at;
}

/* In the order of the forward pass. */
static void fill_table(const coc_network *network, table *t, coc_param_index *at)
{
    const coc_conv *stem = &network->stem, *head = &network->head;
    const char *encoder = network->profile->prefix;
    const int d = network->embedding;

    at->stem = add_conv(t, encoder, "_conv_stem.weight", stem->out_c, stem->in_c, stem->kernel);
    at->stem_norm = add_norm(t, encoder, "_bn0", stem->out_c);
    for (int i = 0; i < network->blocks; i++)
        at->block[i] = add_block(t, encoder, &network->block[i], i);
    at->head = add_conv(t, encoder, "_conv_head.weight", head->out_c, head->in_c, 1);
    at->head_norm = add_norm(t, encoder, "_bn1", head->out_c);
    at->projection_w = add_weight(t, "encoder.projection.", "weight", (shape){2, {d, head->out_c}});
    at->projection_b = add_weight(t, "encoder.projection.", "bias", (shape){1, {d}});
    at->layer_norm_w = add_weight(t, "layer_norm.", "weight", (shape){1, {d}});
    at->layer_norm_b = add_weight(t, "layer_norm.", "bias", (shape){1, {d}});
    at->similarity = add_weight(t, "similarity.", "w", (shape){2, {d, d}});
}

/* ---- buffers ---- */

static coc_status make_buffer(const coc_device *device, int64_t count, real **out)
{
    void *memory;

    COC_TRY(device->alloc(device, (size_t)count * sizeof(real), &memory));
    *out = memory;
    return device->zero(device, memory, (size_t)count * sizeof(real), NULL);
}

static coc_status make_buffers(coc_params *p, bool training)
{
    void *stat;

    COC_TRY(make_buffer(p->device, p->weights, &p->value));
    COC_TRY(make_buffer(p->device, p->runnings, &p->running));
    if (!training) return COC_OK;
    COC_TRY(make_buffer(p->device, p->weights, &p->grad));
    COC_TRY(make_buffer(p->device, p->weights, &p->m));
    COC_TRY(make_buffer(p->device, p->weights, &p->v));
    COC_TRY(p->device->alloc(p->device, (size_t)p->runnings * sizeof *p->stat, &stat));
    p->stat = stat;
    return COC_OK;
}

/* A norm that is not there has no channels. */
static void start_variance(const coc_norm_index *norm, real *running)
{
    for (int c = 0; c < norm->channels; c++)
        running[norm->variance + c] = 1;
}

/* Running means 0, variances 1. */
static coc_status reset_running(coc_params *p)
{
    const size_t bytes = (size_t)p->runnings * sizeof(real);
    coc_status status;
    real *running;

    COC_TRY(coc_alloc(p->runnings, sizeof *running, &running));
    start_variance(&p->at.stem_norm, running);
    for (int i = 0; i < p->network->blocks; i++) {
        start_variance(&p->at.block[i].expand_norm, running);
        start_variance(&p->at.block[i].depthwise_norm, running);
        start_variance(&p->at.block[i].project_norm, running);
    }
    start_variance(&p->at.head_norm, running);
    status = p->device->copy(p->device, p->running, running, bytes, NULL);
    if (status == COC_OK) status = p->device->wait(p->device, NULL);
    free(running);
    return status;
}

int64_t coc_params_weights(const coc_network *network)
{
    coc_param_index at;
    table t = {0};

    fill_table(network, &t, &at);
    return t.weights;
}

int64_t coc_params_runnings(const coc_network *network)
{
    coc_param_index at;
    table t = {0};

    fill_table(network, &t, &at);
    return t.runnings;
}

coc_status coc_params_create(const coc_network *network, const coc_device *device, bool training,
                             coc_params **params)
{
    table t = {0};
    coc_param_index at = {0};
    coc_status status;
    coc_params *p;

    fill_table(network, &t, &at);
    COC_TRY(coc_alloc(1, sizeof *p, params));
    p = *params;
    p->network = network;
    p->device = device;
    COC_TRY_GOTO(status, coc_alloc(t.tensors, sizeof *p->tensor, &p->tensor), fail);
    t = (table){.tensor = p->tensor};
    fill_table(network, &t, &p->at);
    p->tensors = t.tensors;
    p->weights = t.weights;
    p->runnings = t.runnings;
    COC_TRY_GOTO(status, make_buffers(p, training), fail);
    COC_TRY_GOTO(status, reset_running(p), fail);
    return COC_OK;

fail:
    coc_params_destroy(params);
    return status;
}

static void release_grad(coc_params *p)
{
    if (p->grad_of != NULL)
        p->grad_of->ops->release(p->grad_of, p->grad);
    else
        p->device->release(p->device, p->grad);
}

coc_status coc_params_share_grad(coc_params *p, coc_comm *comm)
{
    const size_t bytes = (size_t)p->weights * sizeof *p->grad;
    void *memory;

    COC_TRY(comm->ops->alloc(comm, bytes, &memory));
    release_grad(p);
    p->grad = memory;
    p->grad_of = comm;
    return p->device->zero(p->device, memory, bytes, NULL);
}

void coc_params_destroy(coc_params **params)
{
    coc_params *p = *params;

    if (p == NULL) return;
    p->device->release(p->device, p->value);
    release_grad(p);
    p->device->release(p->device, p->m);
    p->device->release(p->device, p->v);
    p->device->release(p->device, p->running);
    p->device->release(p->device, p->stat);
    free(p->tensor);
    free(p);
    *params = NULL;
}

const coc_tensor *coc_params_find(const coc_params *params, const char *name)
{
    for (int i = 0; i < params->tensors; i++)
        if (strcmp(params->tensor[i].name, name) == 0) return &params->tensor[i];
    return NULL;
}
