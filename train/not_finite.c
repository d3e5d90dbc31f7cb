#include "train/not_finite.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"

/* Steps in a row that are skipped at most. Where one step in ten is bad, which is as much as a run
 * is worth going on with, ten in a row come once in 10^10 steps: then it is no longer chance. */
enum { MOST_IN_A_ROW = 10 };

enum { CHUNK = 1 << 20, TEXT = 640 }; /* bytes that are searched at a time; of a text */

/* Where a number stands in the order in which a step computes: the lowest that any rank has found
 * is the first. Tensors of the forward pass count on from FORWARD, gradients from GRADIENTS. */
enum {
    WEIGHTS,
    FEATURES,
    FORWARD,
    LOSS = 1 << 20,
    AT_EMBEDDINGS,
    GRADIENTS,
    SUM = 1 << 30,
    NOTHING
};

typedef struct {
    coc_trainer *t;
    char *chunk;            /* [CHUNK] of the tensor at hand */
    uint32_t *pair;         /* [2n] of the part at hand */
    uint32_t *row_pair;     /* [2][rows] of all embeddings of this rank */
    const coc_batch *batch; /* at hand */
    int32_t tensor;         /* of the forward pass, the next one */
    int32_t order;          /* of what was found */
    char text[TEXT];        /* what that is */
} search;

/* ---- numbers -------------------------------------------------------------------------------- */

static bool is_finite(const char *value, size_t size)
{
    uint16_t half;
    float single;
    double twice;

    switch (size) {
    case sizeof half: /* bf16: the upper half of a float */
        memcpy(&half, value, sizeof half);
        return (half & 0x7f80) != 0x7f80;
    case sizeof single:
        memcpy(&single, value, sizeof single);
        return isfinite(single);
    default:
        memcpy(&twice, value, sizeof twice);
        return isfinite(twice);
    }
}

static coc_status fetch(const search *s, void *to, const void *from, size_t bytes)
{
    const coc_device *device = s->t->backend->device;

    COC_TRY(device->copy(device, to, from, bytes, NULL));
    return device->wait(device, NULL);
}

/* *at: the first of `count` numbers on the device that is not finite, or -1. */
static coc_status find(const search *s, const void *values, size_t size, int64_t count, int64_t *at)
{
    const int64_t most = CHUNK / (int64_t)size;

    *at = -1;
    for (int64_t i = 0; i < count && *at < 0; i += most) {
        const int64_t here = count - i < most ? count - i : most;

        COC_TRY(fetch(s, s->chunk, (const char *)values + i * (int64_t)size, (size_t)here * size));
        for (int64_t j = 0; j < here && *at < 0; j++)
            if (!is_finite(s->chunk + j * (int64_t)size, size)) *at = i + j;
    }
    return COC_OK;
}

__attribute__((format(printf, 3, 4))) static void note(search *s, int32_t order, const char *format,
                                                       ...)
{
    va_list arguments;

    if (order >= s->order) return;
    s->order = order;
    va_start(arguments, format);
    vsnprintf(s->text, sizeof s->text, format, arguments);
    va_end(arguments);
}

/* The same with rank and host in front, and behind it the pair and what stands at its position. */
static void note_pair(search *s, int32_t order, const char *what, uint32_t pair, int view)
{
    const coc_trainer *t = s->t;
    char track[300] = "";
    coc_pair drawn;

    if (t->sampler != NULL) {
        coc_sampler_draw(t->sampler, t->step * t->settings.train.batch + pair, &drawn);
        snprintf(track, sizeof track, ", track %s from %.3f s",
                 coc_store_track(t->store, drawn.track)->name,
                 (double)drawn.first_sample / COC_SAMPLE_RATE);
    }
    note(s, order, "%s on rank %d (%s), %s of pair %" PRIu32 "%s", what, t->world->rank,
         t->world->host, view == 0 ? "anchor" : "positive", pair, track);
}

/* ---- weights and gradients ------------------------------------------------------------------ */

static coc_status look_at_weights(search *s)
{
    const coc_params *p = s->t->params;

    for (int i = 0; i < p->tensors; i++) {
        const coc_tensor *tensor = &p->tensor[i];
        int64_t at;

        if (tensor->kind != COC_TENSOR_WEIGHT) continue;
        COC_TRY(find(s, p->value + tensor->offset, sizeof *p->value, tensor->count, &at));
        if (at < 0) continue;
        note(s, WEIGHTS, "the weights %s", tensor->name);
        return COC_OK;
    }
    return COC_OK;
}

/* Backward finishes gradients from the end. order: of the last tensor; where: "" or " on ..." */
static coc_status look_at_gradients(search *s, int32_t order, const char *what, const char *where)
{
    const coc_params *p = s->t->params;

    for (int i = p->tensors - 1; i >= 0; i--) {
        const coc_tensor *tensor = &p->tensor[i];
        int64_t at;

        if (tensor->kind != COC_TENSOR_WEIGHT) continue;
        COC_TRY(find(s, p->grad + tensor->offset, sizeof *p->grad, tensor->count, &at));
        if (at < 0) continue;
        note(s, order + p->tensors - 1 - i, "%s %s%s", what, tensor->name, where);
        return COC_OK;
    }
    return COC_OK;
}

/* ---- the forward pass ----------------------------------------------------------------------- */

static coc_status look_at_tensor(void *context, const coc_encoder_tensor *tensor)
{
    search *s = context;
    const int32_t order = FORWARD + s->tensor++;
    int64_t at;

    if (order >= s->order) return COC_OK; /* another part had one earlier */
    COC_TRY(find(s, tensor->values, tensor->size, tensor->count, &at));
    if (at < 0) return COC_OK;
    if (tensor->clip > 0) {
        const int64_t clip = at / tensor->clip;

        note_pair(s, order, tensor->name, s->pair[clip], clip >= s->batch->pairs);
        return COC_OK;
    }
    note(s, order, "%s on rank %d (%s), of a batch-norm group", tensor->name, s->t->world->rank,
         s->t->world->host);
    return COC_OK;
}

/* Which pairs the part is of, for its tensors and for the gradient at its embeddings. */
static coc_status take_pairs(search *s, const coc_batch *batch, const coc_batch_part *part)
{
    const int64_t n = batch->pairs, rows = s->t->parts.rows;

    s->batch = batch;
    COC_TRY(fetch(s, s->pair, batch->pair, (size_t)(2 * n) * sizeof *s->pair));
    for (int view = 0; view < 2; view++)
        memcpy(s->row_pair + view * rows + part->row, s->pair + view * n,
               (size_t)n * sizeof *s->pair);
    return COC_OK;
}

static coc_status look_at_part(void *context, const coc_batch *batch, const coc_batch_part *part,
                               const coc_place *place, const coc_groups *groups)
{
    search *s = context;
    const coc_trainer *t = s->t;
    const int64_t clip = (int64_t)t->seen.channels * t->seen.bands * t->seen.frames;
    int64_t at;

    COC_TRY(coc_comm_wait_device(t->comm, t->backend->device, NULL));
    COC_TRY(take_pairs(s, batch, part));
    COC_TRY(find(s, batch->x, sizeof *batch->x, 2 * batch->pairs * clip, &at));
    if (at >= 0)
        note_pair(s, FEATURES, "the features", s->pair[at / clip], at / clip >= batch->pairs);
    s->tensor = 0;
    return coc_encoder_show(place->encoder, groups, 2 * batch->pairs, look_at_tensor, s);
}

/* ---- the step once more --------------------------------------------------------------------- */

static coc_status wait(const search *s)
{
    COC_TRY(coc_comm_wait_device(s->t->comm, s->t->backend->device, NULL));
    return s->t->backend->ops->finish(s->t->backend);
}

static coc_status look_at_loss(search *s)
{
    const coc_passes *p = &s->t->passes;
    const int64_t rows = p->parts->rows, d = p->network->embedding;
    const double loss = coc_similarity_result(s->t->similarity).loss;
    int64_t at;

    if (!isfinite(loss)) note(s, LOSS, "the loss, of embeddings and weights that are finite");
    COC_TRY(find(s, p->dh, sizeof *p->dh, 2 * rows * d, &at));
    if (at >= 0)
        note_pair(s, AT_EMBEDDINGS, "the gradient at the embedding", s->row_pair[at / d],
                  at / d >= rows);
    return COC_OK;
}

/* As compute_gradient of train/step.c, but for the sum over ranks, which comes last. */
static coc_status repeat_step(search *s)
{
    coc_trainer *t = s->t;
    coc_passes *p = &t->passes;
    const coc_device *device = t->backend->device;
    const int64_t half = t->parts.rows * t->network.embedding;
    const coc_batch *batch;
    char where[96];

    COC_TRY(coc_loader_next(t->loader, &batch));
    COC_TRY(device->zero(device, t->params->grad, (size_t)t->params->weights * sizeof(real), NULL));
    COC_TRY(coc_running_begin(t->params));
    COC_TRY(coc_passes_embed(p, batch, true, t->similarity));
    COC_TRY(coc_similarity_loss(t->similarity, t->params, p->h, p->h + half, &p->rows, p->dh,
                                p->dh + half, NULL));
    COC_TRY(wait(s));
    COC_TRY(look_at_loss(s));
    COC_TRY(coc_passes_back(p, NULL, NULL));
    COC_TRY(wait(s));
    snprintf(where, sizeof where, " on rank %d (%s)", t->world->rank, t->world->host);
    COC_TRY(look_at_gradients(s, GRADIENTS, "the gradient of", where));
    COC_TRY(coc_all_reduce(t->comm, "sum of gradients", t->params->grad, t->params->weights,
                           COC_REAL_TYPE));
    COC_TRY(wait(s));
    return look_at_gradients(s, SUM - t->params->tensors, "the sum over ranks of the gradient of",
                             "");
}

/* The loader makes the batches of the step again. What is recorded has its memory. */
static coc_status begin_loader(coc_trainer *t)
{
    coc_replay_free(&t->replay, t->backend->device);
    coc_loader_destroy(&t->loader);
    return coc_trainer_start_loader(t);
}

static coc_status look_again(search *s)
{
    coc_passes *p = &s->t->passes;
    coc_status status;

    COC_TRY(look_at_weights(s));
    p->look = look_at_part;
    p->looking = s;
    status = repeat_step(s);
    p->look = NULL;
    return status;
}

/* The first that any rank has found, to all of them. */
static coc_status share(search *s)
{
    coc_comm *comm = s->t->comm;
    int32_t *all;
    int first = 0;
    coc_status status;

    COC_TRY(coc_alloc(comm->size, sizeof *all, &all));
    status = coc_gather_each(comm, "what is not finite", &s->order, sizeof s->order, all);
    for (int r = 1; r < comm->size && status == COC_OK; r++)
        if (all[r] < all[first]) first = r;
    if (status == COC_OK) s->order = all[first];
    free(all);
    COC_TRY(status);
    return coc_broadcast(coc_comm_over_host(comm), "what is not finite", s->text, TEXT, COC_BYTE,
                         first);
}

static coc_status alloc_search(search *s)
{
    COC_TRY(coc_alloc(CHUNK, 1, &s->chunk));
    COC_TRY(coc_alloc(2 * s->t->parts.most, sizeof *s->pair, &s->pair));
    COC_TRY(coc_alloc(2 * s->t->parts.rows, sizeof *s->row_pair, &s->row_pair));
    return begin_loader(s->t);
}

static coc_status search_step(search *s)
{
    coc_status status = coc_comm_agree(s->t->comm, "a second look at the step", alloc_search(s));

    if (status == COC_OK) status = look_again(s);
    if (status == COC_OK) status = share(s);
    free(s->chunk);
    free(s->pair);
    free(s->row_pair);
    return status;
}

/* ---- what then ------------------------------------------------------------------------------ */

static const char *advice(const coc_trainer *t, int32_t order)
{
    if (order == WEIGHTS)
        return "begin anew, with another train.init, or go on from a checkpoint of before";
    if (order == FEATURES)
        return t->settings.train.on_nan == COC_NAN_STOP
                   ? "look at that window's audio; train.on_nan: skip leaves such steps out"
                   : "look at that window's audio";
    if (order == NOTHING)
        return "memory or the processor of a machine may be faulty: compare with `cocola selftest`";
    return "lower train.learning_rate, or set train.clip";
}

/* Weights and running statistics are as before the step; what the host counted goes back. */
static coc_status skip(coc_trainer *t, coc_step_result *r, const char *line)
{
    coc_log_warn("%s; the step is skipped", line);
    r->skipped = true;
    t->params->batches--;
    t->step++;
    return begin_loader(t);
}

/* The sign of a NaN means nothing. */
static const char *say(double value, char text[16])
{
    snprintf(text, 16, "%g", isnan(value) ? fabs(value) : value);
    return text;
}

coc_status coc_step_not_finite(coc_trainer *t, coc_step_result *r)
{
    search s = {.t = t, .order = NOTHING, .text = "nothing in a second look at the same step"};
    const bool updated = isfinite(r->gradient_norm); /* the loss alone is not finite */
    const bool may_skip = t->settings.train.on_nan == COC_NAN_SKIP && !updated;
    char line[TEXT + 160], loss[16], norm[16];

    if (t->loader == NULL)
        return COC_FAIL(COC_ERR_INPUT, "step %" PRId64 ": loss %s, gradient norm %s", t->step,
                        say(r->loss.loss, loss), say(r->gradient_norm, norm));
    COC_TRY(search_step(&s));
    snprintf(line, sizeof line, "step %" PRId64 ": loss %s, gradient norm %s; first not finite: %s",
             t->step, say(r->loss.loss, loss), say(r->gradient_norm, norm), s.text);
    t->skipped_in_a_row++;
    if (may_skip && s.order != WEIGHTS && t->skipped_in_a_row < MOST_IN_A_ROW)
        return skip(t, r, line);
    if (may_skip && s.order != WEIGHTS)
        return COC_FAIL(COC_ERR_INPUT, "%s; %d steps in a row are not (train.on_nan: skip); %s",
                        line, MOST_IN_A_ROW, advice(t, s.order));
    return COC_FAIL(COC_ERR_INPUT, "%s; %s", line, advice(t, s.order));
}
