/* model/encoder_backward.c - gradient at the embeddings -> gradients of all weights.
 *
 * The forward pass in reverse. A gradient at a raw tensor is never stored: a coc_gradient says how
 * its reader forms it from the gradient at the normalised form (model/ops.h), once the group means
 * of its batch norm are known (coc_norm_backward). What is stored passes through three buffers:
 *
 *     d_output      at a block's output; becomes, in place, the gradient at its input
 *     d_depthwise   at the gated depthwise output, which the projection read
 *     d_expand      at the expanded tensor, which the depthwise convolution read
 */
#include "model/encoder_plan.h"

typedef struct {
    coc_encoder *e;
    coc_params *params;
    const coc_groups *groups;
    const coc_encoder_input *input;
} pass;

static coc_status backward_head(const pass *p, const real *dh, const real *h)
{
    coc_encoder *e = p->e;
    const coc_network *network = e->network;
    const coc_param_index *at = &p->params->at;
    const coc_ops *ops = e->backend->ops;
    const real *value = p->params->value;
    real *grad = p->params->grad;
    const int64_t n = p->input->n;
    const int channels = network->head.out_c, d = network->embedding;
    coc_gradient g = {.x = e->head, .norm = &e->head_norm->read, .pooled = e->d_pooled};

    ops->layer_norm_tanh_backward(e->backend, n, d, e->projected, h, e->row_mean,
                                  e->row_inverse_std, value + at->layer_norm_w, dh, e->d_projected,
                                  grad + at->layer_norm_w, grad + at->layer_norm_b);
    ops->linear_backward(e->backend, n, channels, d,
                         p->input->dropout != NULL ? e->dropped : e->pooled,
                         value + at->projection_w, e->d_projected, e->d_pooled,
                         grad + at->projection_w, grad + at->projection_b);
    ops->multiply(e->backend, n * channels, 1.0 / (double)e->head_norm->positions, e->d_pooled,
                  p->input->dropout, e->d_pooled);
    COC_TRY(coc_norm_backward(e, p->params, p->groups, e->head_norm, &at->head_norm, n, false, &g));
    ops->pointwise_backward(e->backend, &network->head, n, e->block[network->blocks - 1].output,
                            NULL, NULL, &g, value + at->head, e->d_output, false, grad + at->head,
                            NULL);
    return COC_OK;
}

/* d_output -> d_depthwise and d_pooled: through the projection, the gate and what makes it. */
static coc_status backward_project(const pass *p, int i)
{
    coc_encoder *e = p->e;
    const coc_block *block = &e->network->block[i];
    const coc_block_memory *m = &e->block[i];
    const coc_block_index *at = &p->params->at.block[i];
    const coc_ops *ops = e->backend->ops;
    const real *value = p->params->value;
    real *grad = p->params->grad;
    const int64_t n = p->input->n;
    coc_gradient g = {.x = m->project, .norm = &m->project_norm->read, .dz = e->d_output};

    if (block->has_skip && p->input->depth != NULL) g.clip = p->input->depth + i * n;
    COC_TRY(coc_norm_backward(e, p->params, p->groups, m->project_norm, &at->project_norm, n, false,
                              &g));
    ops->pointwise_backward(e->backend, &block->project, n, m->depthwise, &m->depthwise_norm->read,
                            m->gate, &g, value + at->project, e->d_depthwise, false,
                            grad + at->project, e->d_gate);
    ops->squeeze_backward(e->backend, n, m->depthwise_norm->channels, block->squeeze, m->pooled,
                          m->hidden, m->gate, e->d_gate, value + at->reduce_w, value + at->widen_w,
                          1.0 / (double)m->depthwise_norm->positions, e->d_pooled,
                          grad + at->reduce_w, grad + at->reduce_b, grad + at->widen_w,
                          grad + at->widen_b);
    return COC_OK;
}

/* d_depthwise, d_pooled -> the gradient at what the depthwise convolution read, written to dz or
 * added to it, with the sums of that tensor's norm in e->sums if it has one. */
static coc_status backward_depthwise(const pass *p, int i, const coc_source *source, real *dz,
                                     bool accumulate)
{
    coc_encoder *e = p->e;
    const coc_block_memory *m = &e->block[i];
    const coc_block_index *at = &p->params->at.block[i];
    const int64_t n = p->input->n;
    double *sums = NULL;
    coc_gradient g = {.x = m->depthwise,
                      .norm = &m->depthwise_norm->read,
                      .dz = e->d_depthwise,
                      .gate = m->gate,
                      .pooled = e->d_pooled};

    COC_TRY(coc_norm_backward(e, p->params, p->groups, m->depthwise_norm, &at->depthwise_norm, n,
                              false, &g));
    if (source->norm != NULL) COC_TRY(coc_norm_sums(e, p->groups, source->norm, &sums));
    e->backend->ops->depthwise_backward(e->backend, &e->network->block[i].depthwise, n, source->x,
                                        source->norm != NULL ? &source->norm->read : NULL, &g,
                                        p->params->value + at->depthwise, dz, accumulate,
                                        p->params->grad + at->depthwise, sums);
    return COC_OK;
}

/* A block: d_output at its output -> d_output at its input. Where the block has a skip its
 * gradient is there already, and the branch's is added to it. */
static coc_status backward_block(const pass *p, int i)
{
    coc_encoder *e = p->e;
    const coc_block *block = &e->network->block[i];
    const coc_block_memory *m = &e->block[i];
    const coc_block_index *at = &p->params->at.block[i];
    const coc_source input = coc_block_source(e, i);
    const coc_source expanded = {m->expand, m->expand_norm};
    const int64_t n = p->input->n;
    coc_gradient g = {.x = m->expand, .dz = e->d_expand};

    COC_TRY(backward_project(p, i));
    if (!block->has_expand) return backward_depthwise(p, i, &input, e->d_output, block->has_skip);
    COC_TRY(backward_depthwise(p, i, &expanded, e->d_expand, false));
    g.norm = &m->expand_norm->read;
    COC_TRY(
        coc_norm_backward(e, p->params, p->groups, m->expand_norm, &at->expand_norm, n, true, &g));
    e->backend->ops->pointwise_backward(e->backend, &block->expand, n, input.x,
                                        input.norm != NULL ? &input.norm->read : NULL, NULL, &g,
                                        p->params->value + at->expand, e->d_output, block->has_skip,
                                        p->params->grad + at->expand, NULL);
    return COC_OK;
}

static coc_status backward_stem(const pass *p)
{
    coc_encoder *e = p->e;
    const coc_param_index *at = &p->params->at;
    /* only a depthwise convolution that read the stem through its norm has left the sums */
    const bool summed = !e->network->block[0].has_expand;
    coc_gradient g = {.x = e->stem, .norm = &e->stem_norm->read, .dz = e->d_output};

    COC_TRY(coc_norm_backward(e, p->params, p->groups, e->stem_norm, &at->stem_norm, p->input->n,
                              summed, &g));
    e->backend->ops->stem_backward(e->backend, &e->network->stem, p->input->n, p->input->x,
                                   p->input->keep, &g, p->params->grad + at->stem);
    return COC_OK;
}

static coc_status tell(coc_gradient_ready ready, void *context, int64_t first)
{
    return ready != NULL ? ready(context, first) : COC_OK;
}

coc_status coc_encoder_backward(coc_encoder *encoder, coc_params *params, const coc_groups *groups,
                                const coc_encoder_input *input, const real *dh,
                                coc_gradient_ready ready, void *context)
{
    const pass p = {encoder, params, groups, input};

    COC_TRY(backward_head(&p, dh, encoder->h));
    COC_TRY(tell(ready, context, params->at.head));
    for (int i = encoder->network->blocks - 1; i >= 0; i--) {
        const coc_block_index *at = &params->at.block[i];

        COC_TRY(backward_block(&p, i));
        COC_TRY(tell(ready, context,
                     encoder->network->block[i].has_expand ? at->expand : at->depthwise));
    }
    return backward_stem(&p);
}
