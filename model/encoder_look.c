/* model/encoder_look.c - what a forward pass has left, tensor by tensor, for whoever searches it.
 */
#include <stdio.h>

#include "model/encoder_plan.h"

typedef struct {
    const coc_encoder *e;
    const coc_groups *groups;
    int64_t n;
    coc_encoder_look look;
    void *context;
    char prefix[64]; /* of layers */
} walk;

static coc_status show(const walk *w, const char *layer, const char *what, const void *values,
                       size_t size, int64_t count, int64_t clip)
{
    coc_encoder_tensor tensor = {.values = values, .size = size, .count = count, .clip = clip};

    snprintf(tensor.name, sizeof tensor.name, "%s%s: %s", w->prefix, layer, what);
    return w->look(w->context, &tensor);
}

static coc_status show_clips(const walk *w, const char *layer, const char *what, const real *values,
                             int64_t clip)
{
    return show(w, layer, what, values, sizeof *values, w->n * clip, clip);
}

/* What a convolution wrote, and what its batch norm makes of that. */
static coc_status show_conv(const walk *w, const char *layer, const stored *raw, const char *norm,
                            const coc_norm_layer *read)
{
    const int64_t clip = read->positions * read->channels;
    const int64_t values = (int64_t)w->groups->count * read->channels;

    COC_TRY(show(w, layer, "output", raw, w->e->stored_bytes, w->n * clip, clip));
    COC_TRY(show(w, norm, "scale", read->scale, sizeof *read->scale, values, 0));
    return show(w, norm, "shift", read->shift, sizeof *read->shift, values, 0);
}

static coc_status show_block(walk *w, int i)
{
    const coc_encoder *e = w->e;
    const coc_block_memory *m = &e->block[i];
    const int64_t output = m->project_norm->positions * m->project_norm->channels;

    snprintf(w->prefix, sizeof w->prefix, "%s_blocks.%d", e->network->profile->prefix, i);
    if (m->expand_norm != NULL)
        COC_TRY(show_conv(w, "._expand_conv", m->expand, "._bn0", m->expand_norm));
    COC_TRY(show_conv(w, "._depthwise_conv", m->depthwise, "._bn1", m->depthwise_norm));
    COC_TRY(show_clips(w, "._se_reduce", "input", m->pooled, m->depthwise_norm->channels));
    COC_TRY(show_clips(w, "._se_reduce", "output", m->hidden, e->network->block[i].squeeze));
    COC_TRY(show_clips(w, "._se_expand", "gate", m->gate, m->depthwise_norm->channels));
    COC_TRY(show_conv(w, "._project_conv", m->project, "._bn2", m->project_norm));
    return show(w, "", "output", m->output, e->stored_bytes, w->n * output, output);
}

coc_status coc_encoder_show(const coc_encoder *e, const coc_groups *groups, int64_t n,
                            coc_encoder_look look, void *context)
{
    const char *prefix = e->network->profile->prefix;
    walk w = {.e = e, .groups = groups, .n = n, .look = look, .context = context};

    snprintf(w.prefix, sizeof w.prefix, "%s", prefix);
    COC_TRY(show_conv(&w, "_conv_stem", e->stem, "_bn0", e->stem_norm));
    for (int i = 0; i < e->network->blocks; i++)
        COC_TRY(show_block(&w, i));
    snprintf(w.prefix, sizeof w.prefix, "%s", prefix);
    COC_TRY(show_conv(&w, "_conv_head", e->head, "_bn1", e->head_norm));
    w.prefix[0] = '\0';
    COC_TRY(show_clips(&w, "encoder.projection", "input", e->pooled, e->network->head.out_c));
    COC_TRY(show_clips(&w, "encoder.projection", "output", e->projected, e->network->embedding));
    return show_clips(&w, "layer_norm", "embedding", e->h, e->network->embedding);
}
