#include "train/step_time.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "preprocess/features.h"
#include "train/bench.h"
#include "train/made_batches.h"

/* Pairs of a large probe and, a quarter of them, of a small one; of the probe of the loss; clips of
 * that of features; how often each is measured, of which the least counts: what else runs only
 * adds. */
enum { PAIRS = 16, LOSS_PAIRS = 512, CLIPS = 8, REPEATS = 7 };

/* ---- probes --------------------------------------------------------------------------------- */

/* The trainer of a probe, and what it has taken [REPEATS]. */
typedef struct {
    coc_settings settings;
    coc_comm *comm;
    coc_trainer *trainer;
    coc_made_batches *batches;
    double embedding[REPEATS], step[REPEATS];
} probe;

static double time_on(const coc_backend *backend)
{
    return backend->device->side == COC_HOST ? coc_core_seconds() : coc_clock_seconds();
}

static void close_probe(probe *p)
{
    if (p->batches != NULL) coc_made_batches_destroy(&p->batches);
    if (p->trainer != NULL) coc_trainer_destroy(&p->trainer);
    if (p->comm != NULL) coc_comm_destroy(&p->comm);
}

static coc_status open_probe(const coc_settings *settings, int64_t pairs, probe *p)
{
    coc_trainer *t;

    *p = (probe){.settings = *settings};
    p->settings.train.batch = pairs;
    p->settings.train.micro_batch = p->settings.loss.k = p->settings.model.bn_group = 0;
    p->settings.model.graphs = false;
    COC_TRY(coc_comm_self(&p->comm));
    COC_TRY(coc_alloc(1, sizeof *t, &p->trainer));
    t = p->trainer;
    t->settings = p->settings;
    t->world = t->comm = p->comm;
    t->sharers = 1;
    COC_TRY(coc_backend_open(&t->settings.model, &t->backend));
    COC_TRY(coc_trainer_create_model(t));
    return coc_made_batches_create(t, &p->batches);
}

static coc_status time_step(probe *p, int64_t step, double *whole, double *embedding)
{
    coc_trainer *t = p->trainer;
    const coc_batch *batch;
    coc_step_result result;
    double begin;

    COC_TRY(coc_made_batches_begin(p->batches, step, &batch));
    begin = time_on(t->backend);
    COC_TRY(coc_train_on(t, batch, &result));
    *whole = time_on(t->backend) - begin;
    begin = time_on(t->backend);
    COC_TRY(coc_passes_embed(&t->passes, batch, true, NULL));
    COC_TRY(t->backend->ops->finish(t->backend));
    *embedding = time_on(t->backend) - begin;
    return COC_OK;
}

/* Least of a step and of its forward pass alone; the first step finds memory and is left out. */
static coc_status time_steps(const coc_settings *settings, int64_t pairs, double *step,
                             double *embedding, int *threads)
{
    probe p;
    coc_status status = open_probe(settings, pairs, &p);

    for (int i = -1; i < REPEATS && status == COC_OK; i++)
        status = time_step(&p, i + 1, &p.step[i < 0 ? 0 : i], &p.embedding[i < 0 ? 0 : i]);
    *step = coc_bench_quantile(p.step, REPEATS, 0);
    *embedding = coc_bench_quantile(p.embedding, REPEATS, 0);
    if (status == COC_OK)
        *threads = p.trainer->backend->device->side == COC_HOST ? p.trainer->backend->threads : 1;
    close_probe(&p);
    return status;
}

static coc_status measure_encoder(const coc_settings *s, coc_step_rates *r)
{
    const int64_t large = s->train.batch < PAIRS ? s->train.batch : PAIRS, small = (large + 3) / 4;
    const double more = 2 * (double)(large - small); /* clips */
    double step[2], embedding[2], whole;

    COC_TRY(time_steps(s, small, &step[0], &embedding[0], &r->threads));
    COC_TRY(time_steps(s, large, &step[1], &embedding[1], &r->threads));
    whole = fmax(0, step[1] - step[0]) / more;
    r->forward = fmax(0, embedding[1] - embedding[0]) / more;
    r->backward = fmax(0, whole - r->forward);
    r->step = fmax(0, step[1] - 2 * (double)large * whole);
    return COC_OK;
}

/* ---- the loss ------------------------------------------------------------------------------- */

static coc_status time_loss(const coc_trainer *t, coc_similarity *similarity, real *h,
                            double *least)
{
    const int64_t half = LOSS_PAIRS * t->network.embedding;
    real *d_h = h + 2 * half;
    const coc_similarity_batch rows = {.label = (int64_t *)(void *)(h + 4 * half),
                                       .row_track = (uint64_t *)(void *)(h + 4 * half),
                                       .column_track = (uint64_t *)(void *)(h + 4 * half),
                                       .column_label = (int64_t *)(void *)(h + 4 * half)};
    double seconds[REPEATS];

    for (int i = -1; i < REPEATS; i++) {
        const double begin = time_on(t->backend);

        COC_TRY(coc_similarity_columns(similarity, t->params, &rows, h + half, 0));
        COC_TRY(
            coc_similarity_loss(similarity, t->params, h, h + half, &rows, d_h, d_h + half, NULL));
        COC_TRY(t->backend->ops->finish(t->backend));
        seconds[i < 0 ? 0 : i] = time_on(t->backend) - begin;
    }
    *least = coc_bench_quantile(seconds, REPEATS, 0);
    return COC_OK;
}

/* Embeddings, their gradients, and labels, which lie behind them. */
static coc_status make_rows(const coc_trainer *t, real **h)
{
    const int64_t values = 4 * LOSS_PAIRS * (int64_t)t->network.embedding;
    const size_t bytes = (size_t)values * sizeof **h;
    const coc_rng_key key = {.seed = 1, .draw = COC_DRAW_TEST};
    char *host;
    coc_status status;

    COC_TRY(coc_alloc((int64_t)bytes + LOSS_PAIRS * (int64_t)sizeof(int64_t), 1, &host));
    for (int64_t i = 0; i < values / 2; i++)
        ((real *)(void *)host)[i] = coc_rng_uniform(&key, (uint32_t)i) - 0.5f;
    for (int64_t i = 0; i < LOSS_PAIRS; i++)
        ((int64_t *)(void *)(host + bytes))[i] = i;
    status = coc_device_alloc(t->backend->device, values + 2 * LOSS_PAIRS, sizeof **h, h);
    if (status == COC_OK)
        status = t->backend->device->copy(t->backend->device, *h, host,
                                          bytes + LOSS_PAIRS * sizeof(int64_t), NULL);
    if (status == COC_OK) status = t->backend->device->wait(t->backend->device, NULL);
    free(host);
    return status;
}

/* The loss of a plan as one rank of so few pairs can time it: a ring needs more ranks, a tree
 * leaves; both are timed as a plain all-gather. */
static coc_loss_settings probed_loss(const coc_settings *s)
{
    coc_loss_settings loss = s->loss;

    loss.exchange = COC_EXCHANGE_ALL_GATHER;
    loss.reduction = COC_REDUCTION_FAST;
    loss.k = 0;
    return loss;
}

static coc_status measure_loss(const coc_settings *s, coc_step_rates *r)
{
    const coc_loss_settings loss = probed_loss(s);
    coc_similarity *similarity = NULL;
    coc_parts parts;
    coc_status status;
    real *h = NULL;
    double seconds = 0, d;
    probe p;

    COC_TRY_GOTO(status, open_probe(s, 2, &p), done);
    d = p.trainer->network.embedding;
    COC_TRY_GOTO(status, coc_parts_make(p.comm, LOSS_PAIRS, 0, &parts), done);
    COC_TRY_GOTO(status,
                 coc_similarity_create(p.trainer->backend, p.comm, &parts,
                                       p.trainer->network.embedding, &loss, &similarity),
                 done);
    COC_TRY_GOTO(status, make_rows(p.trainer, &h), done);
    status = time_loss(p.trainer, similarity, h, &seconds);
    r->loss_flop = seconds / (6 * LOSS_PAIRS * d *
                              (d + (loss.symmetric ? 2 : 1) * LOSS_PAIRS)); /* as count_work */

done:
    if (h != NULL) p.trainer->backend->device->release(p.trainer->backend->device, h);
    coc_similarity_destroy(&similarity);
    close_probe(&p);
    return status;
}

/* ---- clips ---------------------------------------------------------------------------------- */

static coc_status time_clips(coc_features *features, coc_feature_kind kind, const coc_mix *mixes,
                             float *wave, double *seconds)
{
    const bool host = features->device->side == COC_HOST;
    double all[REPEATS];

    for (int i = -1; i < REPEATS; i++) {
        const double begin = host ? coc_core_seconds() : coc_clock_seconds();

        COC_TRY(features->ops->mix(features, mixes, CLIPS, wave));
        COC_TRY(coc_features_compute(features, kind, wave, CLIPS, wave + CLIPS * COC_CLIP_SAMPLES));
        COC_TRY(features->device->wait(features->device, features->stream));
        all[i < 0 ? 0 : i] = (host ? coc_core_seconds() : coc_clock_seconds()) - begin;
    }
    *seconds = coc_bench_quantile(all, REPEATS, 0) / CLIPS;
    return COC_OK;
}

static coc_status measure_clips(const coc_settings *s, coc_step_rates *r)
{
    enum { STEMS = 3 };
    const float gain[STEMS] = {0x1p-16f, 0x1p-16f, 0x1p-16f};
    const coc_rng_key key = {.seed = 1, .draw = COC_DRAW_TEST};
    coc_features *features = NULL;
    coc_mix mixes[CLIPS];
    const int16_t *stems[STEMS];
    int16_t *pcm = NULL;
    float *wave = NULL;
    coc_status status;

    COC_TRY_GOTO(status, coc_features_create(s->model.backend, s->data.threads, &features), done);
    COC_TRY_GOTO(status, coc_alloc(COC_CLIP_SAMPLES, sizeof *pcm, &pcm), done);
    COC_TRY_GOTO(status,
                 coc_device_alloc(features->device,
                                  CLIPS * (COC_CLIP_SAMPLES + 2 * COC_BANDS * COC_FRAMES),
                                  sizeof *wave, &wave),
                 done);
    for (uint32_t i = 0; i < COC_CLIP_SAMPLES; i++)
        pcm[i] = (int16_t)(16000.0f * (coc_rng_uniform(&key, i) - 0.5f));
    for (int i = 0; i < STEMS; i++)
        stems[i] = pcm;
    for (int i = 0; i < CLIPS; i++)
        mixes[i] = (coc_mix){.stems = STEMS, .pcm = stems, .gain = gain};
    status = time_clips(features, s->data.features, mixes, wave, &r->clip);

done:
    if (features != NULL) features->device->release(features->device, wave);
    coc_features_destroy(&features);
    free(pcm);
    return status;
}

coc_status coc_step_rates_measure(const coc_settings *settings, coc_step_rates *r)
{
    *r = (coc_step_rates){.threads = 1};
    COC_TRY(measure_encoder(settings, r));
    COC_TRY(measure_loss(settings, r));
    return measure_clips(settings, r);
}

/* ---- from peak figures ---------------------------------------------------------------------- */

typedef struct {
    double flop, bytes; /* a second */
    double stored;      /* bytes of a number */
    coc_step_rates *rates;
} peaks;

/* A convolution reads its input and writes its output; backward reads both, the gradient at the
 * output twice (for the sums of the batch norm before it can be formed, with the output), and
 * writes that at the input; it multiplies twice as much. */
static void add_conv(const peaks *p, const coc_conv *c, double inputs)
{
    const double in = p->stored * c->in_h * c->in_w * c->in_c,
                 out = p->stored * c->out_h * c->out_w * c->out_c,
                 flop = 2.0 * c->out_h * c->out_w * c->out_c * c->kernel * c->kernel * inputs;

    p->rates->forward += fmax(flop / p->flop, (in + out) / p->bytes);
    p->rates->backward += fmax(2 * flop / p->flop, (2 * in + 4 * out) / p->bytes);
}

coc_step_rates coc_step_rates_of_peaks(const coc_step_plan *plan, double flop, double bytes,
                                       size_t stored_bytes)
{
    const coc_network *n = &plan->seen;
    coc_step_rates r = {.loss_flop = 1 / flop, .threads = 1};
    const peaks p = {flop, bytes, (double)stored_bytes, &r};

    add_conv(&p, &n->stem, n->stem.in_c);
    for (int i = 0; i < n->blocks; i++) {
        if (n->block[i].has_expand) add_conv(&p, &n->block[i].expand, n->block[i].expand.in_c);
        add_conv(&p, &n->block[i].depthwise, 1);
        add_conv(&p, &n->block[i].project, n->block[i].project.in_c);
    }
    add_conv(&p, &n->head, n->head.in_c);
    r.step = 7.0 * (double)plan->weights * sizeof(real) / bytes; /* Adam: reads 4, writes 3 */
    return r;
}

coc_step_time coc_step_time_of(const coc_step_plan *p, const coc_step_rates *r)
{
    const double clips = 2 * (double)p->parts.rows;

    return (coc_step_time){.encoder = clips * (r->forward * p->embeddings_of_clip + r->backward),
                           .loss = p->loss_flop * r->loss_flop,
                           .step = r->step,
                           .batches = clips * p->embeddings_of_clip * r->clip};
}
