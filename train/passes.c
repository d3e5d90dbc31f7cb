#include "train/passes.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

/* ---- masks ---------------------------------------------------------------------------------- */

/* Dropout and stochastic-depth factors of this step, from counters: a clip's masks depend on its
 * pair, its view and the step, not on the rank that embeds it nor on how often. */
static void draw_masks(const coc_passes *p, const coc_batch *batch, coc_place *place)
{
    const coc_model_settings *m = &p->settings->model;
    const coc_ops *ops = p->backend->ops;
    const int64_t n = 2 * batch->pairs;
    coc_rng_key key = {.seed = (uint64_t)p->settings->train.seed};

    if (m->dropout > 0) {
        key.draw = COC_DRAW_DROPOUT;
        ops->draw_keep(p->backend, &key, p->now, batch->pair, batch->view, n,
                       p->network->head.out_c, m->dropout, place->dropout);
        place->input.dropout = place->dropout;
    }
    if (m->stochastic_depth <= 0) return;
    key.draw = COC_DRAW_DEPTH;
    for (int block = 0; block < p->network->blocks; block++) {
        key.layer = (uint16_t)block;
        ops->draw_keep(p->backend, &key, p->now, batch->pair, batch->view, n, 1,
                       m->stochastic_depth * block / p->network->blocks, place->depth + block * n);
    }
    place->input.depth = place->depth;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static coc_status copy(const coc_passes *p, void *to, const void *from, int64_t count, size_t size)
{
    const coc_device *device = p->backend->device;

    if (to == NULL || to == from) return COC_OK;
    return device->copy(device, to, from, (size_t)count * size, NULL);
}

/* What the loss knows of a part, beside that of the others. */
static coc_status take_rows(coc_passes *p, const coc_batch_part *part, const coc_batch *b)
{
    const int64_t n = part->pairs, at = part->row;

    if (p->parts->count == 1) {
        p->rows =
            (coc_similarity_batch){b->label,      b->row_track,    b->column_track, b->row_set,
                                   b->column_set, b->column_label, b->positive_set, b->anchor_set};
        return COC_OK;
    }
    COC_TRY(copy(p, p->label + at, b->label, n, sizeof *b->label));
    COC_TRY(copy(p, p->row_track + at, b->row_track, n, sizeof *b->row_track));
    COC_TRY(copy(p, p->column_track + at, b->column_track, n, sizeof *b->column_track));
    COC_TRY(copy(p, p->column_label + at, b->column_label, n, sizeof *b->column_label));
    if (b->row_set != NULL) COC_TRY(copy(p, p->row_set + at, b->row_set, n, sizeof *b->row_set));
    if (b->positive_set != NULL)
        COC_TRY(copy(p, p->positive_set + at, b->positive_set, n, sizeof *b->positive_set));
    p->rows =
        (coc_similarity_batch){.label = p->label,
                               .row_track = p->row_track,
                               .column_track = p->column_track,
                               .row_set = b->row_set != NULL ? p->row_set : NULL,
                               .column_set = b->column_set,
                               .column_label = p->column_label,
                               .positive_set = b->positive_set != NULL ? p->positive_set : NULL,
                               .anchor_set = b->anchor_set};
    return COC_OK;
}

/* Rows of a part, from the place to the batch; or, `back`, of gradients from there to the place. */
static coc_status copy_rows(const coc_passes *p, const coc_batch_part *part, const coc_place *place,
                            bool back)
{
    const int64_t d = p->network->embedding, count = part->pairs * d;

    for (int view = 0; view < 2; view++) {
        const int64_t at = (view * p->parts->rows + part->row) * d;

        COC_TRY(back ? copy(p, place->dh + view * count, p->dh + at, count, sizeof *p->dh)
                     : copy(p, p->h + at, place->h + view * count, count, sizeof *p->h));
    }
    return COC_OK;
}

/* ---- there and back ------------------------------------------------------------------------- */

static const coc_groups *groups_of(const coc_passes *p, const coc_batch_part *part)
{
    return part->size == p->parts->size ? p->groups : p->last_groups;
}

/* The place where part i is embedded first. */
static int place_of(const coc_passes *p, int64_t i)
{
    const int64_t before = p->parts->count - p->places;

    return i > before ? (int)(i - before) : 0;
}

/* The source may write over the oldest of its batches, which the device may still read. */
static coc_status next_part(coc_passes *p, const coc_batch **batch)
{
    double begin;

    COC_TRY(coc_comm_wait_device(p->comm, p->backend->device, NULL));
    begin = coc_clock_seconds();
    COC_TRY(p->source.next(p->source.from, batch));
    p->more.wait += coc_clock_seconds() - begin;
    p->more.load += (*batch)->load_seconds;
    p->more.features += (*batch)->feature_seconds;
    return COC_OK;
}

static coc_status embed(coc_passes *p, const coc_batch_part *part, const coc_batch *batch,
                        bool masks, bool again, coc_place *place)
{
    place->input = (coc_encoder_input){
        .n = 2 * batch->pairs, .x = batch->x, .keep = batch->keep, .again = again};
    if (masks) draw_masks(p, batch, place);
    return coc_encoder_forward(place->encoder, p->params, groups_of(p, part), &place->input,
                               place->h);
}

coc_status coc_passes_embed(coc_passes *p, const coc_batch *batch, bool masks,
                            coc_similarity *similarity)
{
    const real *h2 = p->h + p->parts->rows * p->network->embedding;

    for (int64_t i = 0; i < p->parts->count; i++) {
        const coc_batch_part part = coc_part_at(p->parts, i);
        coc_place *place = &p->place[place_of(p, i)];

        if (i > 0) COC_TRY(next_part(p, &batch));
        COC_TRY(embed(p, &part, batch, masks, false, place));
        if (p->look != NULL) COC_TRY(p->look(p->looking, batch, &part, place, groups_of(p, &part)));
        COC_TRY(copy_rows(p, &part, place, false));
        COC_TRY(take_rows(p, &part, batch));
        if (similarity != NULL)
            COC_TRY(coc_similarity_columns(similarity, p->params, &p->rows, h2, i));
        if (p->stat_tree != NULL) COC_TRY(coc_tree_add(p->stat_tree, i, p->params->stat));
    }
    return COC_OK;
}

static coc_status back(coc_passes *p, int64_t i, coc_place *place, coc_gradient_ready ready,
                       void *context)
{
    const coc_batch_part part = coc_part_at(p->parts, i);

    COC_TRY(copy_rows(p, &part, place, true));
    COC_TRY(coc_encoder_backward(place->encoder, p->params, groups_of(p, &part), &place->input,
                                 place->dh, ready, context));
    return p->grad_tree != NULL ? coc_tree_add(p->grad_tree, i, p->params->grad) : COC_OK;
}

/* Those that are kept first: after that the source may write over their features. */
coc_status coc_passes_back(coc_passes *p, coc_gradient_ready ready, void *context)
{
    const int64_t count = p->parts->count, again = count - p->places;

    for (int64_t i = again; i < count; i++) {
        const bool last = again == 0 && i == count - 1;

        COC_TRY(back(p, i, &p->place[place_of(p, i)], last ? ready : NULL, context));
    }
    for (int64_t i = 0; i < again; i++) {
        const coc_batch_part part = coc_part_at(p->parts, i);
        const coc_batch *batch;

        COC_TRY(next_part(p, &batch));
        COC_TRY(embed(p, &part, batch, true, true, &p->place[0]));
        COC_TRY(back(p, i, &p->place[0], i == again - 1 ? ready : NULL, context));
    }
    return COC_OK;
}

/* ---- making --------------------------------------------------------------------------------- */

static coc_status take(const coc_passes *p, int64_t count, real **out)
{
    return coc_device_alloc(p->backend->device, count, sizeof **out, out);
}

static coc_status create_place(const coc_passes *p, coc_place *place)
{
    const int64_t n = 2 * p->parts->most, d = p->network->embedding;

    COC_TRY(place == p->place ? coc_encoder_create(p->backend, p->network, n, true, &place->encoder)
                              : coc_encoder_create_beside(p->place[0].encoder, &place->encoder));
    COC_TRY(take(p, n * p->network->head.out_c, &place->dropout));
    COC_TRY(take(p, n * p->network->blocks, &place->depth));
    if (p->parts->count == 1) {
        place->h = p->h;
        place->dh = p->dh;
        return COC_OK;
    }
    COC_TRY(take(p, n * d, &place->h));
    return take(p, n * d, &place->dh);
}

static coc_status create_rows(coc_passes *p)
{
    const coc_device *device = p->backend->device;
    const int64_t rows = p->parts->rows;

    if (p->parts->count == 1) return COC_OK;
    COC_TRY(coc_device_alloc(device, rows, sizeof *p->label, &p->label));
    COC_TRY(coc_device_alloc(device, rows, sizeof *p->row_track, &p->row_track));
    COC_TRY(coc_device_alloc(device, rows, sizeof *p->column_track, &p->column_track));
    COC_TRY(coc_device_alloc(device, rows, sizeof *p->column_label, &p->column_label));
    COC_TRY(coc_device_alloc(device, rows, sizeof *p->positive_set, &p->positive_set));
    return coc_device_alloc(device, rows, sizeof *p->row_set, &p->row_set);
}

/* W has its gradient from the loss, which sums it itself. */
static coc_status create_trees(coc_passes *p, int places)
{
    const int64_t count = p->parts->count;

    if (!p->parts->leaves) return COC_OK;
    COC_TRY(
        coc_tree_create(p->backend, count, 0, p->params->runnings, COC_TREE_SUMS, &p->stat_tree));
    return coc_tree_create(p->backend, count, (count - places) % count, p->params->at.similarity,
                           COC_TREE_REALS, &p->grad_tree);
}

coc_status coc_passes_create(coc_passes *p, int places)
{
    const int64_t values = 2 * p->parts->rows * p->network->embedding;

    COC_TRY(coc_alloc(places, sizeof *p->place, &p->place));
    p->places = places;
    COC_TRY(take(p, values, &p->h));
    COC_TRY(take(p, values, &p->dh));
    for (int i = 0; i < places; i++)
        COC_TRY(create_place(p, &p->place[i]));
    COC_TRY(create_trees(p, places));
    return create_rows(p);
}

coc_status coc_passes_group(coc_passes *p)
{
    const coc_parts *parts = p->parts;
    const int64_t last = coc_part_at(parts, parts->count - 1).size;
    int64_t group = p->settings->model.bn_group;

    if (group == 0 || group > parts->batch) group = parts->batch;
    p->group_count = parts->batch / group;
    COC_TRY(coc_groups_create(p->comm, parts->size, group, &p->groups));
    if (last == parts->size) return COC_OK;
    return coc_groups_create(p->comm, last, group, &p->last_groups);
}

void coc_passes_destroy(coc_passes *p)
{
    const coc_device *device = p->backend != NULL ? p->backend->device : NULL;

    coc_groups_destroy(&p->groups);
    coc_groups_destroy(&p->last_groups);
    coc_tree_destroy(&p->stat_tree);
    coc_tree_destroy(&p->grad_tree);
    for (int i = 0; p->place != NULL && i < p->places; i++) {
        coc_place *place = &p->place[i];

        coc_encoder_destroy(&place->encoder);
        device->release(device, place->dropout);
        device->release(device, place->depth);
        if (place->h != p->h) device->release(device, place->h);
        if (place->dh != p->dh) device->release(device, place->dh);
    }
    free(p->place);
    p->place = NULL;
    if (device == NULL) return;
    device->release(device, p->h);
    device->release(device, p->dh);
    device->release(device, p->label);
    device->release(device, p->row_track);
    device->release(device, p->column_track);
    device->release(device, p->column_label);
    device->release(device, p->positive_set);
    device->release(device, p->row_set);
}

static int64_t tree_bytes(const coc_parts *parts, const coc_network *network, int places)
{
    const int64_t of_similarity = (int64_t)network->embedding * network->embedding;
    const int64_t weights = coc_params_weights(network) - of_similarity;

    if (!parts->leaves) return 0;
    return coc_tree_bytes(parts->count, 0, coc_params_runnings(network), COC_TREE_SUMS) +
           coc_tree_bytes(parts->count, (parts->count - places) % parts->count, weights,
                          COC_TREE_REALS);
}

int64_t coc_passes_bytes(const coc_parts *parts, const coc_network *network, int places)
{
    const int64_t clips = 2 * parts->most;
    const int64_t masks = clips * (network->head.out_c + network->blocks);
    const int64_t embeddings = 4 * parts->rows * network->embedding; /* h and dh */
    const int64_t own = parts->count > 1 ? 2 * clips * network->embedding : 0;
    const int64_t rows = parts->count > 1 ? parts->rows * 40 : 0; /* two labels, tracks, sets */

    return (embeddings + places * (masks + own)) * (int64_t)sizeof(real) + rows +
           tree_bytes(parts, network, places);
}
