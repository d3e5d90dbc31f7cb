/* train/loop.c - steps one after another; between two of them: log, validate, save, stop.
 *
 * All ranks are at the same step at every boundary, and what happens there follows from numbers
 * that they share (the step, the reduced stop flag), so they always do the same.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "train/measure.h"
#include "train/run.h"

enum { MEASURED_STEPS = 20, WARM_UP_STEPS = 4 };
static const double PLAIN_SECONDS = 20; /* between progress lines where there is no terminal */

typedef struct {
    coc_run run;
    coc_trainer *t;
    double began, measured_from;   /* clock: of the loop; after the warm-up steps */
    int64_t first;                 /* step at which this process began */
    double logged;                 /* clock of the line before */
    int64_t logged_step, skipped;  /* step of it; steps skipped since */
    double loss, accuracy, weight; /* of recent steps, for the progress line */
    double valid_loss;             /* of the last validation; NAN: none */
} loop;

static bool due(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

static bool is_last(const loop *l)
{
    return l->t->steps > 0 && l->t->step >= l->t->steps;
}

/* ---- length of the run ---------------------------------------------------------------------- */

static void begin_progress(const loop *l)
{
    if (l->t->steps > 0)
        coc_progress_begin("train", l->t->step, l->t->steps, PLAIN_SECONDS);
    else
        coc_progress_begin("measuring steps", l->t->step, l->first + MEASURED_STEPS, PLAIN_SECONDS);
}

/* After the first steps: rank 0's clock decides for all, so that all end at the same step. */
static coc_status fix_length(loop *l)
{
    const double now = coc_clock_seconds(), minutes = l->t->settings.train.minutes;
    char text[16];

    if (l->t->steps > 0) return COC_OK;
    if (l->t->step == l->first + WARM_UP_STEPS) l->measured_from = now;
    if (l->t->step < l->first + MEASURED_STEPS) return COC_OK;
    l->t->steps = coc_steps_in_time(l->t->step, minutes, now - l->began,
                                    (now - l->measured_from) / (MEASURED_STEPS - WARM_UP_STEPS));
    COC_TRY(coc_broadcast(coc_comm_over_host(l->t->comm), "number of steps", &l->t->steps, 1,
                          COC_INT64, 0));
    coc_loader_set_modes_from(l->t->loader, coc_modes_from(&l->t->settings.data, l->t->steps));
    coc_progress_end();
    coc_log_root("train.minutes: %g gives %" PRId64 " steps in all (%.3f s a step, %s left)",
                 minutes, l->t->steps, (now - l->measured_from) / (MEASURED_STEPS - WARM_UP_STEPS),
                 coc_format_duration(60 * minutes - (now - l->began), text));
    begin_progress(l);
    return COC_OK;
}

/* ---- what is said and written --------------------------------------------------------------- */

static void show_progress(loop *l, const coc_step_result *r)
{
    const double keep = 0.9; /* a mean over about ten steps: single ones jump */
    const double elapsed = coc_clock_seconds() - l->began;
    const double pairs = (double)((l->t->step - l->first) * l->t->settings.train.batch);

    l->loss = keep * l->loss + (1 - keep) * r->loss.loss;
    l->accuracy = keep * l->accuracy + (1 - keep) * r->loss.accuracy;
    l->weight = keep * l->weight + (1 - keep);
    coc_progress_update(l->t->step, "loss %.3f  accuracy %.1f %%  %.1f pairs/s",
                        l->loss / l->weight, 100 * l->accuracy / l->weight, pairs / elapsed);
}

/* Bytes that are in use on a GPU; 0 for the host, whose memory others use too. */
static coc_status device_memory(const coc_device *device, int64_t *bytes)
{
    int64_t left, all;

    *bytes = 0;
    if (device->side == COC_HOST) return COC_OK;
    COC_TRY(device->memory(device, &left, &all));
    *bytes = all - left;
    return COC_OK;
}

static coc_status log_step(loop *l, const coc_step_result *r)
{
    const double now = coc_clock_seconds();
    const int64_t pairs = (l->t->step - l->logged_step) * l->t->settings.train.batch;
    coc_runlog_record record = {.step = l->t->step,
                                .loss = r->loss.loss,
                                .accuracy = r->loss.accuracy,
                                .gradient_norm = r->gradient_norm,
                                .learning_rate = r->learning_rate,
                                .pairs_per_second = (double)pairs / (now - l->logged),
                                .columns = r->loss.columns,
                                .same_track = r->loss.same_track,
                                .skipped = l->skipped,
                                .kept = r->loss.kept,
                                .dropped = r->loss.dropped,
                                .blocks = r->loss.blocks,
                                .dense_blocks = r->loss.dense_blocks,
                                .host_bytes = coc_peak_memory(),
                                .wait = r->wait,
                                .load = r->load,
                                .features = r->features,
                                .encoder = r->encoder,
                                .contrast = r->contrast,
                                .communication = r->communication,
                                .optimizer = r->optimizer};

    if (l->run.log == NULL) return COC_OK;
    if (!due(l->t->step, l->t->settings.train.log_every) && !is_last(l)) return COC_OK;
    l->logged = now;
    l->logged_step = l->t->step;
    l->skipped = 0;
    COC_TRY(device_memory(l->t->backend->device, &record.device_bytes));
    return coc_runlog_step(l->run.log, &record);
}

/* ---- validation ----------------------------------------------------------------------------- */

static coc_status measure_embedded(loop *l, const coc_embedded *embedded)
{
    const coc_settings *s = &l->t->settings;
    const int64_t seen = s->loss.k > 0 ? s->loss.k : s->train.batch; /* as a row of training */
    const int64_t k = seen < embedded->n ? seen : embedded->n;
    const coc_measure_settings settings = {
        .k = &k, .ks = 1, .orders = s->eval.orders, .seed = (uint64_t)s->eval.seed};
    coc_accuracy a;

    COC_TRY(coc_measure(l->t->comm, l->t->backend, embedded, &settings, &a, NULL));
    l->valid_loss = a.loss;
    coc_log_root("step %" PRId64 ": validation loss %.3f, accuracy %.1f %% at K = %" PRId64
                 " (chance %.1f %%)",
                 l->t->step, a.loss, 100 * a.accuracy, a.k, 100 * a.chance);
    if (l->run.log == NULL) return COC_OK;
    return coc_runlog_validation(l->run.log, l->t->step, a.k, a.pairs, a.loss, a.accuracy);
}

static coc_status validate(loop *l)
{
    coc_trainer *t = l->t;
    const coc_embedder embedder = {.comm = t->comm,
                                   .backend = t->backend,
                                   .params = t->params,
                                   .encoder =
                                       t->viewer != NULL ? t->viewer : t->passes.place[0].encoder,
                                   .capacity = t->viewed,
                                   .clips = t->clips};
    coc_embedded embedded;
    coc_status status;

    COC_TRY(coc_embed_windows(&embedder, t->valid_sampler, t->settings.train.valid_pairs,
                              (uint64_t)t->settings.eval.seed, COC_MODE_BOTH, NULL, &embedded));
    status = measure_embedded(l, &embedded);
    coc_embedded_free(&embedded);
    return status;
}

/* ---- the loop ------------------------------------------------------------------------------- */

/* After a step: all that is due. */
static coc_status boundary(loop *l, bool stop)
{
    const coc_train_settings *s = &l->t->settings.train;
    const bool last = is_last(l);
    const bool valid = l->t->valid_sampler != NULL && (due(l->t->step, s->valid_every) || last);
    const bool save = due(l->t->step, s->checkpoint_every) || last || stop;

    if (!valid && !save) return COC_OK;
    COC_TRY(coc_run_measure(&l->run));
    if (valid) COC_TRY(validate(l));
    coc_replay_free(&l->t->replay, l->t->backend->device);
    COC_TRY(coc_run_save(&l->run, save, valid ? l->valid_loss : NAN));
    return coc_run_unmeasure(&l->run);
}

static coc_status train_all(loop *l)
{
    coc_step_result result;
    bool stop = false;

    while (!is_last(l) && !stop) {
        COC_TRY(coc_train_step(l->t, &result));
        COC_TRY(fix_length(l));
        l->skipped += result.skipped;
        if (!result.skipped) show_progress(l, &result);
        COC_TRY(log_step(l, &result));
        COC_TRY(coc_comm_any(l->t->comm, "stop flag", coc_stop_requested(), &stop));
        COC_TRY(boundary(l, stop));
    }
    if (is_last(l)) return COC_OK;
    return COC_FAIL(COC_ERR_STOPPED,
                    "stopped by a signal after step %" PRId64 ", which is saved in "
                    "%s/checkpoints/last.h5; start the same command again to go on",
                    l->t->step, l->t->run);
}

/* What each of several stores gives to training. */
static void say_sources(const coc_trainer *t)
{
    const int sources = coc_sampler_sources(t->sampler);

    for (int i = 0; i < sources && sources > 1; i++)
        coc_log_root("  %s: %" PRId64 " windows, %.1f %% of the pairs",
                     coc_store_source(t->store, i), coc_sampler_source_windows(t->sampler, i),
                     100 * coc_sampler_source_share(t->sampler, i));
}

static void say_memory(const char *where, const coc_memory_plan *plan)
{
    char parts[800];

    if (plan->parts == 0) return;
    coc_log_root("memory of a rank on the %s, GB: %.2f (%s)", where, 1e-9 * (double)plan->bytes,
                 coc_memory_plan_text(plan, parts, sizeof parts));
}

/* As `cocola plan` has it. */
static coc_status say_plan(const coc_trainer *t)
{
    coc_step_plan p;

    COC_TRY(coc_trainer_plan(t, &p));
    say_memory(t->backend->device->name, &p.memory);
    say_memory("host", &p.host);
    coc_log_root("work of a rank in a step: %.1f GFLOP, %.1f %% of it similarity and loss; %.2f MB "
                 "received",
                 1e-9 * p.flop, 100 * p.loss_flop / p.flop,
                 1e-6 * (p.gathered + p.scattered + p.gradients));
    return COC_OK;
}

static void say_what_begins(const loop *l)
{
    const coc_trainer *t = l->t;

    coc_log_root("training: %" PRId64 " windows of %" PRId64 " tracks, %" PRId64
                 " pairs a step on %d rank%s, %.2f million weights, %s, %s, loss in %s",
                 coc_sampler_windows(t->sampler), coc_sampler_tracks(t->sampler),
                 t->settings.train.batch, t->comm->size, t->comm->size > 1 ? "s" : "",
                 1e-6 * (double)t->params->weights, t->settings.model.backend,
                 coc_precision_name(t->settings.model.precision),
                 coc_loss_precision_name(t->backend->loss_precision));
    say_sources(t);
    if (t->parts.count > 1)
        coc_log_root("a step in %" PRId64 " parts of %" PRId64 " pairs; activations of %d are kept",
                     t->parts.count, t->parts.size, t->passes.places);
    if (t->settings.comm.nccl_memory != COC_NCCL_PLAIN && strcmp(t->comm->ops->name, "nccl") == 0)
        coc_log_root("comm.nccl_memory: %s has not been run on real "
                     "hardware yet; a rank that is late ends the job at once",
                     coc_nccl_memory_name(t->settings.comm.nccl_memory));
    if (t->settings.loss.screening != COC_SCREENING_OFF &&
        strcmp(t->settings.model.backend, "cpu") != 0)
        coc_log_warn("loss.screening: backend %s sums gradients over all columns; only cpu leaves "
                     "some out",
                     t->settings.model.backend);
    if (t->settings.train.batch > coc_sampler_windows(t->sampler))
        coc_log_warn("train.batch: %" PRId64 " pairs a step, but there are %" PRId64
                     " windows: a step sees windows twice and takes them for each other's "
                     "negatives; lower train.batch",
                     t->settings.train.batch, coc_sampler_windows(t->sampler));
    if (t->valid_sampler == NULL)
        coc_log_warn("%s has no validation split: no validation, no best checkpoints",
                     t->settings.data.train);
    if (t->steps == 0)
        coc_log_root("the first %d steps are measured to turn train.minutes into steps",
                     MEASURED_STEPS);
}

static coc_status run_loop(loop *l)
{
    char text[16];

    COC_TRY(coc_run_open(l->t, &l->run));
    if (is_last(l)) {
        coc_log_root("%s: the run is complete, %" PRId64 " steps are done", l->t->run, l->t->step);
        return COC_OK;
    }
    l->first = l->logged_step = l->t->step;
    say_what_begins(l);
    COC_TRY(say_plan(l->t));
    COC_TRY(coc_trainer_start_loader(l->t));
    begin_progress(l);
    l->logged = l->measured_from = coc_clock_seconds();
    COC_TRY(train_all(l));
    coc_progress_end();
    coc_log_root("done: %" PRId64 " steps in %s; the model is %s/checkpoints/last.h5", l->t->step,
                 coc_format_duration(coc_clock_seconds() - l->began, text), l->t->run);
    return COC_OK;
}

coc_status coc_train_loop(coc_trainer *trainer)
{
    loop l = {.t = trainer, .began = coc_clock_seconds(), .valid_loss = NAN};
    const coc_status status = run_loop(&l);

    coc_progress_end();
    coc_run_close(&l.run);
    return status;
}
