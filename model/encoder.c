/* model/encoder.c - creating an encoder: its network laid out in one arena. */
#include "model/encoder.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/encoder_plan.h"

static int64_t outputs(const coc_conv *c)
{
    return (int64_t)c->out_h * c->out_w * c->out_c;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The largest of everything that is shared by all layers; numbers of one clip. */
typedef struct {
    int64_t channels;                  /* of any norm */
    int64_t output, depthwise, expand; /* values of a gradient buffer */
    int norms;
} plan_sizes;

static void count_norm(plan_sizes *s, const coc_conv *conv)
{
    s->channels = larger(s->channels, conv->out_c);
    s->norms++;
}

static plan_sizes measure(const coc_network *network)
{
    plan_sizes s = {.output = outputs(&network->stem)};

    count_norm(&s, &network->stem);
    for (int i = 0; i < network->blocks; i++) {
        const coc_block *block = &network->block[i];

        if (block->has_expand) {
            count_norm(&s, &block->expand);
            s.expand = larger(s.expand, outputs(&block->expand));
        }
        count_norm(&s, &block->depthwise);
        count_norm(&s, &block->project);
        s.depthwise = larger(s.depthwise, outputs(&block->depthwise));
        s.output = larger(s.output, outputs(&block->project));
    }
    count_norm(&s, &network->head);
    return s;
}

static real *take(coc_encoder *e, int64_t count)
{
    return coc_arena_take(&e->arena, count, sizeof(real));
}

static stored *take_stored(coc_encoder *e, coc_encoder_part part, int64_t count)
{
    const size_t before = e->arena.used;
    stored *memory = coc_arena_take(&e->arena, count, e->stored_bytes);

    e->part[part] += (int64_t)(e->arena.used - before);
    return memory;
}

/* The next norm in the order of the forward pass: the one after `conv`. */
static coc_norm_layer *take_norm(coc_encoder *e, const coc_conv *conv, bool silu)
{
    coc_norm_layer *layer = &e->norm[e->norms];
    const int64_t count = (int64_t)e->groups * conv->out_c;

    *layer = (coc_norm_layer){.channels = conv->out_c,
                              .positions = (int64_t)conv->out_h * conv->out_w,
                              .mean = take(e, count),
                              .inverse_std = take(e, count),
                              .scale = take(e, count),
                              .shift = take(e, count)};
    if (e->values != NULL) layer->values = e->values + (int64_t)e->norms * e->groups;
    layer->read = (coc_norm){.mean = layer->mean,
                             .inverse_std = layer->inverse_std,
                             .scale = layer->scale,
                             .shift = layer->shift,
                             .silu = silu};
    e->norms++;
    return layer;
}

/* What a block needs besides its output. */
static void take_block(coc_encoder *e, const coc_block *block, coc_block_memory *m)
{
    const int64_t n = e->clips, channels = block->depthwise.out_c;

    m->expand_norm = NULL;
    m->expand = NULL;
    if (block->has_expand) {
        m->expand_norm = take_norm(e, &block->expand, true);
        m->expand = take_stored(e, COC_PART_EXPANDED, n * outputs(&block->expand));
    }
    m->depthwise_norm = take_norm(e, &block->depthwise, true);
    m->depthwise = take_stored(e, COC_PART_DEPTHWISE, n * outputs(&block->depthwise));
    m->pooled = take(e, n * channels);
    m->hidden = take(e, n * block->squeeze);
    m->gate = take(e, n * channels);
    m->project_norm = take_norm(e, &block->project, false);
    m->project = take_stored(e, COC_PART_PROJECTED, n * outputs(&block->project));
}

/* In training blocks follow each other. In evaluation each begins where the last one began, and
 * outputs alternate between two places, since a block's input must outlive its other parts. */
static void take_blocks(coc_encoder *e, const plan_sizes *sizes)
{
    stored *turn[2] = {NULL, NULL};
    size_t mark, top;

    for (int i = 0; i < 2 && !e->training; i++)
        turn[i] = take_stored(e, COC_PART_PROJECTED, e->clips * sizes->output);
    mark = top = e->arena.used;
    for (int i = 0; i < e->network->blocks; i++) {
        const coc_block *block = &e->network->block[i];

        if (!e->training) e->arena.used = mark;
        take_block(e, block, &e->block[i]);
        e->block[i].output =
            e->training ? take_stored(e, COC_PART_PROJECTED, e->clips * outputs(&block->project))
                        : turn[i % 2];
        if (e->arena.used > top) top = e->arena.used;
    }
    e->arena.used = top;
}

static void take_gradients(coc_encoder *e, const plan_sizes *sizes)
{
    const int64_t n = e->clips;

    if (e->lender != NULL) {
        e->d_output = e->lender->d_output;
        e->d_depthwise = e->lender->d_depthwise;
        e->d_expand = e->lender->d_expand;
        return;
    }
    e->d_output = take_stored(e, COC_PART_GRADIENTS, n * sizes->output);
    e->d_depthwise = take_stored(e, COC_PART_GRADIENTS, n * sizes->depthwise);
    e->d_expand = take_stored(e, COC_PART_GRADIENTS, n * sizes->expand);
}

static void take_training(coc_encoder *e, const plan_sizes *sizes)
{
    const int64_t n = e->clips, groups = e->groups;

    e->group = coc_arena_take(&e->arena, n, sizeof *e->group);
    e->owned = coc_arena_take(&e->arena, groups, sizeof *e->owned);
    e->values = coc_arena_take(&e->arena, sizes->norms * groups, sizeof *e->values);
    e->sums = coc_arena_take(&e->arena, groups * 2 * sizes->channels, sizeof *e->sums);
    take_gradients(e, sizes);
    e->d_gate = take(e, n * sizes->channels);
    e->d_pooled = take(e, n * sizes->channels);
    e->d_projected = take(e, n * e->network->embedding);
    e->mean_du = take(e, groups * sizes->channels);
    e->mean_dux = take(e, groups * sizes->channels);
}

/* Run twice: to count, and to place (base/device.h). */
static void layout(coc_encoder *e, const plan_sizes *sizes)
{
    const coc_network *network = e->network;
    const int64_t n = e->clips, head = network->head.out_c;

    e->norms = 0;
    e->no_group = coc_arena_take(&e->arena, n, sizeof *e->no_group);
    if (e->training) take_training(e, sizes);
    e->stem_norm = take_norm(e, &network->stem, true);
    e->stem = take_stored(e, COC_PART_ENDS, n * outputs(&network->stem));
    take_blocks(e, sizes);
    e->head_norm = take_norm(e, &network->head, true);
    e->head = take_stored(e, COC_PART_ENDS, n * outputs(&network->head));
    e->pooled = take(e, n * head);
    e->dropped = take(e, n * head);
    e->projected = take(e, n * network->embedding);
    e->row_mean = take(e, n);
    e->row_inverse_std = take(e, n);
}

static void describe(coc_encoder *e, const coc_network *network, int64_t clips, bool training,
                     size_t stored_bytes)
{
    e->network = network;
    e->clips = clips;
    e->training = training;
    e->stored_bytes = stored_bytes;
    /* a rank has a pair of each of its groups */
    e->groups = training ? (int)larger(clips / 2, 1) : 1;
}

coc_status coc_encoder_measure(const coc_network *network, int64_t clips, bool training,
                               size_t stored_bytes, int64_t part[COC_ENCODER_PARTS], int64_t *bytes)
{
    const plan_sizes sizes = measure(network);
    coc_encoder *e;

    COC_TRY(coc_alloc(1, sizeof *e, &e));
    describe(e, network, clips, training, stored_bytes);
    layout(e, &sizes); /* an arena without memory only counts */
    *bytes = (int64_t)e->arena.used;
    e->part[COC_PART_SMALL] = *bytes;
    for (int i = 0; i < COC_PART_SMALL; i++)
        e->part[COC_PART_SMALL] -= e->part[i];
    memcpy(part, e->part, sizeof e->part);
    free(e);
    return COC_OK;
}

static coc_status create(coc_backend *backend, const coc_network *network, int64_t clips,
                         bool training, const coc_encoder *lender, coc_encoder **encoder)
{
    const plan_sizes sizes = measure(network);
    coc_status status;
    coc_encoder *e;

    COC_TRY(coc_alloc(1, sizeof *e, encoder));
    e = *encoder;
    e->backend = backend;
    e->lender = lender;
    describe(e, network, clips, training, backend->stored_bytes);
    layout(e, &sizes);
    COC_TRY_GOTO(status, coc_arena_create(&e->arena, backend->device, e->arena.used), fail);
    layout(e, &sizes);
    COC_TRY_GOTO(status,
                 backend->device->zero(backend->device, e->no_group,
                                       (size_t)clips * sizeof *e->no_group, NULL),
                 fail);
    COC_TRY_GOTO(status,
                 coc_alloc((int64_t)e->norms * e->groups, sizeof *e->host_values, &e->host_values),
                 fail);
    return COC_OK;

fail:
    coc_encoder_destroy(encoder);
    return status;
}

coc_status coc_encoder_create(coc_backend *backend, const coc_network *network, int64_t clips,
                              bool training, coc_encoder **encoder)
{
    return create(backend, network, clips, training, NULL, encoder);
}

coc_status coc_encoder_create_beside(const coc_encoder *first, coc_encoder **encoder)
{
    return create(first->backend, first->network, first->clips, true, first, encoder);
}

void coc_encoder_destroy(coc_encoder **encoder)
{
    if (*encoder == NULL) return;
    coc_arena_destroy(&(*encoder)->arena);
    free((*encoder)->host_values);
    free(*encoder);
    *encoder = NULL;
}

size_t coc_encoder_bytes(const coc_encoder *encoder)
{
    return encoder->arena.bytes;
}

const stored *coc_encoder_block_output(const coc_encoder *encoder, int block)
{
    return encoder->block[block].output;
}

coc_source coc_block_source(coc_encoder *e, int i)
{
    if (i > 0) return (coc_source){e->block[i - 1].output, NULL};
    return (coc_source){e->stem, e->stem_norm};
}
