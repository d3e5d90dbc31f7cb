/* train/step.c - one training step. Read coc_train_gradient and coc_train_update first: they are
 * the algorithm; the rest of the file draws masks and sends gradients while backward goes on. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "train/trainer.h"

/* Gradients are summed over ranks in pieces of at least this many weights (1 MB), started as soon
 * as backward has finished them. */
enum { BUCKET = 1 << 18, MAX_BUCKETS = 128 };

typedef struct {
    coc_trainer *trainer;
    int64_t unsent; /* gradients at offsets >= unsent are on their way */
    int count;
    coc_request *request[MAX_BUCKETS];
} bucket_list;

static coc_status send_bucket(void *context, int64_t first)
{
    bucket_list *list = context;
    coc_trainer *t = list->trainer;

    if (t->comm->size == 1) return COC_OK;
    if (first > 0 && list->unsent - first < BUCKET) return COC_OK;
    if (first > 0 && list->count == MAX_BUCKETS - 1)
        return COC_OK; /* the last takes all the rest */
    COC_TRY(t->comm->ops->start_all_reduce(t->comm, "sum of gradients", t->params->grad + first,
                                           list->unsent - first, COC_REAL_TYPE, NULL,
                                           &list->request[list->count]));
    list->count++;
    list->unsent = first;
    return COC_OK;
}

static coc_status wait_buckets(bucket_list *list)
{
    coc_status status = COC_OK;

    for (int i = 0; i < list->count; i++) {
        const coc_status one =
            list->trainer->comm->ops->wait(list->trainer->comm, &list->request[i]);

        if (status == COC_OK) status = one;
    }
    return status;
}

/* Dropout and stochastic-depth factors of this step, from counters: a clip's masks depend on its
 * pair, its view and the step, not on the rank that embeds it. */
static void draw_masks(coc_trainer *t, const coc_batch *batch, coc_encoder_input *input)
{
    const coc_model_settings *m = &t->settings.model;
    const int64_t n = 2 * batch->pairs;
    coc_rng_key key = {.seed = (uint64_t)t->settings.train.seed, .step = (uint32_t)batch->step};

    if (m->dropout > 0) {
        key.draw = COC_DRAW_DROPOUT;
        t->backend->ops->draw_keep(t->backend, &key, batch->pair, batch->view, n,
                                   t->network.head.out_c, m->dropout, t->dropout);
        input->dropout = t->dropout;
    }
    if (m->stochastic_depth <= 0) return;
    key.draw = COC_DRAW_DEPTH;
    for (int block = 0; block < t->network.blocks; block++) {
        key.layer = (uint16_t)block;
        t->backend->ops->draw_keep(t->backend, &key, batch->pair, batch->view, n, 1,
                                   m->stochastic_depth * block / t->network.blocks,
                                   t->depth + block * n);
    }
    input->depth = t->depth;
}

coc_status coc_train_gradient(coc_trainer *t, const coc_batch *batch, coc_step_result *r)
{
    const int64_t n = batch->pairs, d = t->network.embedding;
    const double begin = coc_clock_seconds();
    bucket_list buckets = {.trainer = t, .unsent = t->params->weights};
    coc_encoder_input input = {.n = 2 * n, .x = batch->x, .keep = batch->keep};
    const coc_similarity_batch rows = {batch->label, batch->row_track, batch->column_track,
                                       batch->row_set, batch->column_set};
    double embedded, compared;
    coc_status status, sent;

    draw_masks(t, batch, &input);
    COC_TRY(t->backend->device->zero(t->backend->device, t->params->grad,
                                     (size_t)t->params->weights * sizeof(real), NULL));
    COC_TRY(coc_encoder_forward(t->encoder, t->params, t->groups, &input, t->h));
    embedded = coc_clock_seconds();
    COC_TRY(coc_similarity_loss(t->similarity, t->params, t->h, t->h + n * d, &rows, t->dh,
                                t->dh + n * d, &r->loss, &r->communication));
    compared = coc_clock_seconds();
    r->contrast = compared - embedded - r->communication;
    /* one rank sends nothing, so backward need not wait after each block */
    status = coc_encoder_backward(t->encoder, t->params, t->groups, &input, t->dh,
                                  t->comm->size > 1 ? send_bucket : NULL, &buckets);
    r->encoder = embedded - begin + coc_clock_seconds() - compared;
    if (status == COC_OK) status = send_bucket(&buckets, 0);
    compared = coc_clock_seconds();
    sent = wait_buckets(&buckets);
    if (status == COC_OK) status = sent;
    r->communication += coc_clock_seconds() - compared;
    return status;
}

static coc_status gradient_norm(coc_trainer *t, double *norm)
{
    const coc_device *device = t->backend->device;

    COC_TRY(device->zero(device, t->sum, sizeof *t->sum, NULL));
    t->backend->ops->sum_squares(t->backend, t->params->weights, t->params->grad, t->sum);
    COC_TRY(t->backend->ops->finish(t->backend));
    COC_TRY(device->copy(device, norm, t->sum, sizeof *norm, NULL));
    COC_TRY(device->wait(device, NULL));
    *norm = sqrt(*norm);
    return COC_OK;
}

/* One step of Adam on the weights at offsets first <= i < end. */
static void update_weights(coc_trainer *t, coc_adam *adam, double rate, int64_t first, int64_t end)
{
    const coc_params *p = t->params;

    adam->learning_rate = rate;
    t->backend->ops->adam(t->backend, end - first, adam, p->grad + first, p->value + first,
                          p->m + first, p->v + first);
}

coc_status coc_train_update(coc_trainer *t, coc_step_result *r)
{
    const coc_train_settings *s = &t->settings.train;
    const int64_t w = t->params->at.similarity; /* the last weights of the buffers */
    const double begin = coc_clock_seconds();
    coc_adam adam = {.beta1 = 0.9,
                     .beta2 = 0.999,
                     .epsilon = 1e-8,
                     .weight_decay = s->weight_decay,
                     .clip_scale = 1,
                     .step = t->step + 1};

    COC_TRY(coc_encoder_update_running(t->encoder, t->params, t->groups, t->comm,
                                       t->settings.model.bn_momentum));
    COC_TRY(gradient_norm(t, &r->gradient_norm));
    if (!isfinite(r->gradient_norm) || !isfinite(r->loss.loss))
        return COC_FAIL(COC_ERR_INPUT,
                        "step %lld: loss %g, gradient norm %g: training has diverged; lower "
                        "train.learning_rate, or set train.clip",
                        (long long)t->step, r->loss.loss, r->gradient_norm);
    if (s->clip > 0 && r->gradient_norm > s->clip) adam.clip_scale = s->clip / r->gradient_norm;
    r->learning_rate = coc_learning_rate(s, t->step, t->steps);
    update_weights(t, &adam, r->learning_rate, 0, w);
    update_weights(t, &adam, r->learning_rate * s->similarity_rate, w, t->params->weights);
    COC_TRY(t->backend->ops->finish(t->backend));
    r->optimizer = coc_clock_seconds() - begin;
    t->step++;
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
    COC_TRY(coc_train_gradient(t, batch, r));
    return coc_train_update(t, r);
}

coc_status coc_reestimate_running(coc_trainer *t, int64_t clips)
{
    const int64_t batch = 2 * t->settings.train.batch;
    const int64_t rounds = (clips + batch - 1) / batch;
    const bool modes = t->step > coc_modes_from(&t->settings.data, t->steps);
    coc_settings settings = t->settings;
    coc_loader *loader = NULL;
    coc_status status = COC_OK;

    settings.data.prefetch = 0;
    /* the same clips every time: positions from 0, with the modes of the last step */
    COC_TRY(coc_loader_create(&settings, t->sampler, t->first, t->pairs, t->groups->total, 0,
                              modes ? 0 : INT64_MAX, &loader));
    for (int64_t i = 0; i < rounds && status == COC_OK; i++) {
        const coc_batch *b;

        COC_TRY_GOTO(status, coc_loader_next(loader, &b), done);
        COC_TRY_GOTO(status,
                     coc_encoder_forward(
                         t->encoder, t->params, t->groups,
                         &(coc_encoder_input){.n = 2 * b->pairs, .x = b->x, .keep = b->keep}, t->h),
                     done);
        /* momentum 1, 1/2, 1/3, ... makes the running value the mean over the rounds */
        COC_TRY_GOTO(status,
                     coc_encoder_update_running(t->encoder, t->params, t->groups, t->comm,
                                                1.0 / (double)(i + 1)),
                     done);
    }

done:
    coc_loader_destroy(&loader);
    return status;
}
