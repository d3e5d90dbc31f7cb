/* train/step.c - one training step. Read compute_gradient and update_weights first: they are the
 * algorithm; the rest of the file begins and ends a step, records it, and waits.
 *
 * The two only give work to the device's stream. On the host that work is done at once; on an
 * accelerator later, and train/replay.c records it once and launches it again in every step. So
 * nothing in them may depend on numbers of the step but through t->now. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "train/buckets.h"
#include "train/not_finite.h"
#include "train/replay.h"
#include "train/trainer.h"

/* Gradients are summed over ranks in pieces of at least so many weights: 1 MB. */
enum { BUCKET = 1 << 18 };

/* The clocks in r are the host's: on an accelerator they say how long giving out the work took. */
static coc_status compute_gradient(coc_trainer *t, const coc_batch *batch, coc_step_result *r)
{
    coc_passes *p = &t->passes;
    const int64_t half = t->parts.rows * t->network.embedding;
    const double begin = coc_clock_seconds();
    coc_buckets buckets = coc_buckets_begin(t->comm, t->settings.loss.reduction, t->params->grad,
                                            t->params->weights, BUCKET);
    double embedded, compared;
    coc_status status, sent;

    COC_TRY(t->backend->device->zero(t->backend->device, t->params->grad,
                                     (size_t)t->params->weights * sizeof(real), NULL));
    COC_TRY(coc_running_begin(t->params));
    COC_TRY(coc_passes_embed(p, batch, true, t->similarity));
    embedded = coc_clock_seconds();
    COC_TRY(coc_similarity_loss(t->similarity, t->params, p->h, p->h + half, &p->rows, p->dh,
                                p->dh + half, &r->communication));
    compared = coc_clock_seconds();
    r->contrast = compared - embedded - r->communication;
    status = coc_passes_back(p, coc_buckets_ready, &buckets);
    r->encoder = embedded - begin + coc_clock_seconds() - compared;
    if (status == COC_OK) status = coc_buckets_ready(&buckets, 0);
    compared = coc_clock_seconds();
    sent = coc_buckets_wait(&buckets);
    if (status == COC_OK) status = sent;
    r->communication += coc_clock_seconds() - compared;
    return status;
}

/* One step of Adam on the weights at offsets first <= i < end, with a share of the learning rate.
 */
static void adam(coc_trainer *t, double rate, int64_t first, int64_t end)
{
    const coc_params *p = t->params;
    const coc_adam settings = {.beta1 = 0.9,
                               .beta2 = 0.999,
                               .epsilon = 1e-8,
                               .weight_decay = t->settings.train.weight_decay,
                               .rate = rate};

    t->backend->ops->adam(t->backend, end - first, &settings, t->now, p->grad + first,
                          p->value + first, p->m + first, p->v + first);
}

static coc_status update_weights(coc_trainer *t)
{
    const coc_device *device = t->backend->device;
    const coc_params *p = t->params;
    const int64_t w = p->at.similarity; /* the last weights of the buffers */

    t->backend->ops->clip_gradient(t->backend, p->weights, p->grad, t->settings.train.clip, t->now);
    COC_TRY(coc_running_update(t->backend, t->params, t->passes.group_count, t->comm,
                               t->settings.loss.reduction, t->settings.model.bn_momentum, t->now));
    adam(t, 1, 0, w);
    adam(t, t->settings.train.similarity_rate, w, p->weights);
    return device->copy(device, t->host_now, t->now, sizeof *t->now, NULL);
}

/* What the step's work reads of the step, to the device. */
static coc_status begin_step(coc_trainer *t, const coc_batch *batch)
{
    const coc_device *device = t->backend->device;

    *t->host_now =
        (coc_now){.learning_rate = coc_learning_rate(&t->settings.train, t->step, t->steps),
                  .update = t->step + 1,
                  .draw_step = batch->step};
    return device->copy(device, t->now, t->host_now, sizeof *t->now, NULL);
}

/* After the device has been waited for. */
static coc_status end_step(coc_trainer *t, coc_step_result *r)
{
    r->gradient_norm = t->host_now->norm;
    r->learning_rate = t->host_now->learning_rate;
    r->skipped = false;
    if (!isfinite(r->gradient_norm) || !isfinite(r->loss.loss)) return coc_step_not_finite(t, r);
    t->skipped_in_a_row = 0;
    t->step++;
    return COC_OK;
}

/* For the device, which may wait for other ranks: under the watchdog. */
static coc_status wait_step(coc_trainer *t)
{
    COC_TRY(coc_comm_wait_device(t->comm, t->backend->device, NULL));
    return t->backend->ops->finish(t->backend);
}

/* A loss over other columns than were meant looks well and means something else. Batches of a
 * measurement say no number. */
static coc_status check_columns(const coc_trainer *t, double meant, const coc_loss *loss)
{
    const double masked = t->settings.loss.mask_same_track ? loss->same_track : 0;
    const double seen = loss->columns + masked;

    if (meant == 0 || fabs(seen - meant) <= 1e-9 * meant) return COC_OK;
    return COC_FAIL(COC_ERR_RANKS,
                    "step %lld: rows saw %.6f columns in the mean, %.6f were meant: ranks do not "
                    "share one batch; do all run the same program on the same store?",
                    (long long)t->step, seen, meant);
}

coc_status coc_train_gradient(coc_trainer *t, const coc_batch *batch, coc_step_result *r)
{
    const double columns =
        batch->columns; /* the loader may write over the first of several parts */
    double begin;

    COC_TRY(begin_step(t, batch));
    COC_TRY(compute_gradient(t, batch, r));
    begin = coc_clock_seconds();
    COC_TRY(wait_step(t));
    r->encoder += coc_clock_seconds() - begin;
    r->loss = coc_similarity_result(t->similarity);
    return check_columns(t, columns, &r->loss);
}

coc_status coc_train_update(coc_trainer *t, coc_step_result *r)
{
    const double begin = coc_clock_seconds();

    COC_TRY(update_weights(t));
    COC_TRY(wait_step(t));
    r->optimizer = coc_clock_seconds() - begin;
    return end_step(t, r);
}

/* The whole step's work, for the recording. */
static coc_status compute_step(void *context, const coc_batch *batch)
{
    coc_trainer *t = context;
    coc_step_result unused;

    COC_TRY(compute_gradient(t, batch, &unused));
    return update_weights(t);
}

/* A step as one launch of recorded work. */
static coc_status replay_step(coc_trainer *t, const coc_batch *batch, coc_step_result *r)
{
    const double columns = batch->columns;
    const double begin = coc_clock_seconds();
    bool again;

    COC_TRY(begin_step(t, batch));
    COC_TRY(coc_replay(&t->replay, t->backend, batch, compute_step, t, &again));
    if (again) { /* what the calls count on the host when they are made */
        coc_similarity_again(t->similarity);
        t->params->batches++;
    }
    COC_TRY(wait_step(t));
    r->encoder = coc_clock_seconds() - begin; /* parts cannot be told apart */
    r->loss = coc_similarity_result(t->similarity);
    COC_TRY(check_columns(t, columns, &r->loss));
    return end_step(t, r);
}

/* The first step finds out how much working memory there must be. */
static bool can_replay(const coc_trainer *t)
{
    return t->settings.model.graphs && t->parts.count == 1 && t->replay.warm &&
           t->backend->device->records && t->comm->ops->on_stream &&
           !coc_similarity_checks(t->similarity);
}

coc_status coc_train_on(coc_trainer *t, const coc_batch *batch, coc_step_result *r)
{
    if (can_replay(t)) return replay_step(t, batch, r);
    COC_TRY(coc_train_gradient(t, batch, r));
    COC_TRY(coc_train_update(t, r));
    t->replay.warm = true;
    return COC_OK;
}

coc_status coc_train_step(coc_trainer *t, coc_step_result *r)
{
    const double begin = coc_clock_seconds();
    const coc_batch *batch;

    memset(r, 0, sizeof *r);
    t->comm->step = t->step;
    COC_TRY(coc_loader_next(t->loader, &batch));
    r->wait = coc_clock_seconds() - begin;
    r->load = batch->load_seconds;
    r->features = batch->feature_seconds;
    t->passes.more = (coc_part_seconds){.wait = 0};
    COC_TRY(coc_train_on(t, batch, r));
    r->wait += t->passes.more.wait;
    r->load += t->passes.more.load;
    r->features += t->passes.more.features;
    r->encoder -= t->passes.more.wait;
    return COC_OK;
}

coc_status coc_reestimate_running(coc_trainer *t, int64_t clips)
{
    const int64_t batch = 2 * t->settings.train.batch;
    const int64_t rounds = (clips + batch - 1) / batch;
    const bool modes = t->step > coc_modes_from(&t->settings.data, t->steps);
    /* the same clips every time: positions from 0, with the modes of the last step */
    const coc_loader_needs needs = {.parts = &t->parts,
                                    .held = 1,
                                    .groups = t->passes.group_count,
                                    .modes_from = modes ? 0 : INT64_MAX};
    coc_settings settings = t->settings;
    coc_loader *loader = NULL;
    coc_status status = COC_OK;

    settings.data.prefetch = 0;
    settings.model.graphs = false; /* few batches: not worth page-locked memory of its own */
    COC_TRY(coc_loader_create(&settings, t->sampler, &needs, &loader));
    t->passes.source = coc_loader_source(loader);
    for (int64_t i = 0; i < rounds && status == COC_OK; i++) {
        const coc_batch *b;

        COC_TRY_GOTO(status, coc_loader_next(loader, &b), done);
        COC_TRY_GOTO(status, coc_running_begin(t->params), done);
        COC_TRY_GOTO(status, coc_passes_embed(&t->passes, b, false, NULL), done);
        /* momentum 1, 1/2, 1/3, ... makes the running value the mean over the rounds */
        COC_TRY_GOTO(status,
                     coc_running_update(t->backend, t->params, t->passes.group_count, t->comm,
                                        settings.loss.reduction, 1.0 / (double)(i + 1), NULL),
                     done);
        COC_TRY_GOTO(status, wait_step(t), done); /* b is used again */
    }

done:
    t->passes.source = coc_loader_source(t->loader);
    coc_loader_destroy(&loader);
    return status;
}
