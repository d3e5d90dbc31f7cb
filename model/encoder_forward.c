/* model/encoder_forward.c - features -> embeddings, in training and in evaluation mode.
 *
 * Every convolution writes its raw output and the sums of its norm; coc_norm_settle turns the sums
 * into a scale and a shift a channel; the next reader applies them. */
#include "model/encoder_plan.h"

typedef struct {
    coc_encoder *e;
    const coc_params *params;
    const coc_groups *groups; /* NULL: evaluation */
    const coc_encoder_input *input;
} pass;

static const coc_norm *read_through(const coc_norm_layer *layer)
{
    return layer != NULL ? &layer->read : NULL;
}

static coc_status forward_stem(const pass *p)
{
    coc_encoder *e = p->e;
    const coc_param_index *at = &p->params->at;
    double *sums;

    COC_TRY(coc_norm_sums(e, p->groups, e->stem_norm, &sums));
    e->backend->ops->stem_forward(e->backend, &e->network->stem, p->input->n, p->input->x,
                                  p->input->keep, p->params->value + at->stem, e->stem,
                                  e->stem_norm->read.group, sums);
    return coc_norm_settle(e, p->params, p->groups, e->stem_norm, &at->stem_norm);
}

static coc_status forward_expand(const pass *p, int i, coc_source *source)
{
    coc_encoder *e = p->e;
    coc_block_memory *m = &e->block[i];
    const coc_block_index *at = &p->params->at.block[i];
    double *sums;

    COC_TRY(coc_norm_sums(e, p->groups, m->expand_norm, &sums));
    e->backend->ops->pointwise_forward(e->backend, &e->network->block[i].expand, p->input->n,
                                       source->x, read_through(source->norm), NULL,
                                       p->params->value + at->expand, m->expand,
                                       m->expand_norm->read.group, sums);
    COC_TRY(coc_norm_settle(e, p->params, p->groups, m->expand_norm, &at->expand_norm));
    *source = (coc_source){m->expand, m->expand_norm};
    return COC_OK;
}

static coc_status forward_depthwise(const pass *p, int i, const coc_source *source)
{
    coc_encoder *e = p->e;
    coc_block_memory *m = &e->block[i];
    const coc_block_index *at = &p->params->at.block[i];
    double *sums;

    COC_TRY(coc_norm_sums(e, p->groups, m->depthwise_norm, &sums));
    e->backend->ops->depthwise_forward(e->backend, &e->network->block[i].depthwise, p->input->n,
                                       source->x, read_through(source->norm),
                                       p->params->value + at->depthwise, m->depthwise,
                                       m->depthwise_norm->read.group, sums);
    return coc_norm_settle(e, p->params, p->groups, m->depthwise_norm, &at->depthwise_norm);
}

/* Squeeze and excitation: gate = sigmoid(w2 silu(w1 mean(v) + b1) + b2). */
static void forward_gate(const pass *p, int i)
{
    coc_encoder *e = p->e;
    coc_block_memory *m = &e->block[i];
    const coc_block_index *at = &p->params->at.block[i];
    const real *value = p->params->value;

    e->backend->ops->pool_forward(e->backend, p->input->n, m->depthwise_norm->positions,
                                  m->depthwise_norm->channels, m->depthwise,
                                  &m->depthwise_norm->read, m->pooled);
    e->backend->ops->squeeze_forward(e->backend, p->input->n, m->depthwise_norm->channels,
                                     e->network->block[i].squeeze, m->pooled, value + at->reduce_w,
                                     value + at->reduce_b, value + at->widen_w, value + at->widen_b,
                                     m->hidden, m->gate);
}

static coc_status forward_project(const pass *p, int i)
{
    coc_encoder *e = p->e;
    coc_block_memory *m = &e->block[i];
    const coc_block_index *at = &p->params->at.block[i];
    double *sums;

    COC_TRY(coc_norm_sums(e, p->groups, m->project_norm, &sums));
    e->backend->ops->pointwise_forward(e->backend, &e->network->block[i].project, p->input->n,
                                       m->depthwise, &m->depthwise_norm->read, m->gate,
                                       p->params->value + at->project, m->project,
                                       m->project_norm->read.group, sums);
    return coc_norm_settle(e, p->params, p->groups, m->project_norm, &at->project_norm);
}

static coc_status forward_block(const pass *p, int i)
{
    coc_encoder *e = p->e;
    const coc_block *block = &e->network->block[i];
    coc_block_memory *m = &e->block[i];
    const int64_t n = p->input->n;
    const coc_source input = coc_block_source(e, i);
    coc_source source = input;

    if (block->has_expand) COC_TRY(forward_expand(p, i, &source));
    COC_TRY(forward_depthwise(p, i, &source));
    forward_gate(p, i);
    COC_TRY(forward_project(p, i));
    e->backend->ops->join_forward(
        e->backend, n, m->project_norm->positions, m->project_norm->channels, m->project,
        &m->project_norm->read,
        block->has_skip && p->input->depth != NULL ? p->input->depth + i * n : NULL,
        block->has_skip ? input.x : NULL, m->output);
    return COC_OK;
}

static coc_status forward_head(const pass *p, real *h)
{
    coc_encoder *e = p->e;
    const coc_network *network = e->network;
    const coc_param_index *at = &p->params->at;
    const coc_ops *ops = e->backend->ops;
    const real *value = p->params->value, *pooled = e->pooled;
    const int64_t n = p->input->n;
    double *sums;

    COC_TRY(coc_norm_sums(e, p->groups, e->head_norm, &sums));
    ops->pointwise_forward(e->backend, &network->head, n, e->block[network->blocks - 1].output,
                           NULL, NULL, value + at->head, e->head, e->head_norm->read.group, sums);
    COC_TRY(coc_norm_settle(e, p->params, p->groups, e->head_norm, &at->head_norm));
    ops->pool_forward(e->backend, n, e->head_norm->positions, e->head_norm->channels, e->head,
                      &e->head_norm->read, e->pooled);
    if (p->input->dropout != NULL) {
        ops->multiply(e->backend, n * network->head.out_c, 1, e->pooled, p->input->dropout,
                      e->dropped);
        pooled = e->dropped;
    }
    ops->linear_forward(e->backend, n, network->head.out_c, network->embedding, pooled,
                        value + at->projection_w, value + at->projection_b, e->projected);
    ops->layer_norm_tanh_forward(e->backend, n, network->embedding, e->projected,
                                 value + at->layer_norm_w, value + at->layer_norm_b,
                                 network->profile->layer_norm_eps, h, e->row_mean,
                                 e->row_inverse_std);
    return COC_OK;
}

static coc_status forward(const pass *p, real *h)
{
    COC_TRY(coc_norms_begin(p->e, p->groups, p->input->n));
    COC_TRY(forward_stem(p));
    for (int i = 0; i < p->e->network->blocks; i++)
        COC_TRY(forward_block(p, i));
    return forward_head(p, h);
}

coc_status coc_encoder_forward(coc_encoder *encoder, const coc_params *params,
                               const coc_groups *groups, const coc_encoder_input *input, real *h)
{
    encoder->h = h;
    encoder->stat = input->again ? NULL : params->stat;
    return forward(&(pass){encoder, params, groups, input}, h);
}

coc_status coc_encoder_embed(coc_encoder *encoder, const coc_params *params, int64_t n,
                             const real *x, const real *keep, real *h)
{
    const coc_encoder_input input = {.n = n, .x = x, .keep = keep};

    COC_TRY(forward(&(pass){encoder, params, NULL, &input}, h));
    return encoder->backend->ops->finish(encoder->backend);
}
