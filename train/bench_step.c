/* train/bench_step.c - `cocola bench step`: the very step of a training run (train/step.c) on
 * random features, without loader, channel modes, dropout and stochastic depth. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "model/timed_ops.h"
#include "preprocess/features.h"
#include "train/bench.h"
#include "train/cli.h"
#include "train/open_backend.h"
#include "train/trainer.h"

typedef struct {
    const char *profile;
    coc_backend_choice on;
    bool whole;
    double width, depth, crop;
    int64_t pairs, threads, steps, warmup;
} arguments;

typedef struct {
    arguments args;
    coc_trainer *trainer;
    coc_batch batch;
    double *seconds;                                    /* [steps] */
    double core;                                        /* processor time of the steps */
    double encoder, contrast, communication, optimizer; /* sums over the steps */
} bench;

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--width", "X", COC_OPTION_NUMBER, &a->width, false, 0.1, 8,
         "width of the encoder (default 1)"},
        {"--depth", "X", COC_OPTION_NUMBER, &a->depth, false, 0.1, 8,
         "depth of the encoder (default 1)"},
        {"--profile", "NAME", COC_OPTION_TEXT, &a->profile, false, 0, 0,
         "encoder profile (default cocola-hps)"},
        {"--crop", "SECONDS", COC_OPTION_NUMBER, &a->crop, false, 1, 5,
         "what is seen of a window (default 5, all of it)"},
        {"--pairs", "K", COC_OPTION_INT, &a->pairs, false, 1, 1000000,
         "pairs of a step, over all ranks (default 32)"},
        {"--threads", "N", COC_OPTION_INT, &a->threads, false, 1, 4096,
         "threads of a rank (default OMP_NUM_THREADS, or all processors)"},
        {"--backend", "NAME", COC_OPTION_TEXT, &a->on.backend, false, 0, 0, COC_BACKEND_HELP},
        {"--precision", "NAME", COC_OPTION_TEXT, &a->on.precision, false, 0, 0, COC_PRECISION_HELP},
        {"--conv", "NAME", COC_OPTION_TEXT, &a->on.conv, false, 0, 0, COC_CONV_HELP},
        {"--whole", NULL, COC_OPTION_FLAG, &a->whole, false, 0, 0,
         "time steps as training does them, without a clock around every operation; on a GPU that "
         "is one launch a step"},
        {"--steps", "N", COC_OPTION_INT, &a->steps, false, 1, 100000, "timed steps (default 10)"},
        {"--warmup", "N", COC_OPTION_INT, &a->warmup, false, 0, 100000,
         "steps before them (default 2)"},
    };
    const coc_cli cli = {
        .usage = "cocola bench step [options]",
        .purpose = "Time of a training step: forward, loss, backward, sum over ranks, Adam.\n"
                   "Features are random; no dropout, no stochastic depth. Runs on MPI ranks.",
        .details = "GFLOP/s counts the products and sums of convolutions and linear layers.\n\n"
                   "Examples:\n  cocola bench step --threads 2\n"
                   "  OMP_NUM_THREADS=1 mpirun -n 2 cocola bench step --width 0.35 --depth 0.6\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };

    return coc_cli_parse(&cli, argc, argv, done);
}

/* Decibels between -80 and 0 on the backend's device. */
static coc_status make_features(bench *b)
{
    const coc_trainer *t = b->trainer;
    const coc_device *device = t->backend->device;
    const int64_t floats = 2 * t->parts.rows * t->network.channels * COC_BANDS * t->seen.frames;
    coc_status status;
    float *host;

    COC_TRY(coc_alloc(floats, sizeof *host, &host));
    for (int64_t i = 0; i < floats; i++)
        host[i] = -80.0f * (float)((uint32_t)i * 2654435761u >> 8) * 0x1p-24f;
    status = coc_device_alloc(device, floats, sizeof *host, &b->batch.x);
    if (status == COC_OK)
        status = device->copy(device, b->batch.x, host, (size_t)floats * sizeof *host, NULL);
    if (status == COC_OK) status = device->wait(device, NULL);
    free(host);
    return status;
}

/* Every anchor's positive is its own, and every pair a track of its own. */
static coc_status make_labels(bench *b)
{
    const coc_trainer *t = b->trainer;
    const coc_device *device = t->backend->device;
    const size_t bytes = (size_t)t->parts.rows * sizeof(int64_t);
    int64_t *own;
    coc_status status;

    COC_TRY(coc_alloc(t->parts.rows, sizeof *own, &own));
    for (int64_t i = 0; i < t->parts.rows; i++)
        own[i] = coc_part_at(&t->parts, 0).first + i;
    status = device->copy(device, b->batch.label, own, bytes, NULL);
    if (status == COC_OK) status = device->copy(device, b->batch.row_track, own, bytes, NULL);
    if (status == COC_OK) status = device->copy(device, b->batch.column_track, own, bytes, NULL);
    if (status == COC_OK) status = device->wait(device, NULL);
    free(own);
    return status;
}

static coc_status make_batch(bench *b)
{
    const coc_trainer *t = b->trainer;
    const coc_device *device = t->backend->device;
    const int64_t n = t->parts.rows;

    b->batch.pairs = n;
    COC_TRY(coc_alloc(b->args.steps, sizeof *b->seconds, &b->seconds));
    COC_TRY(coc_device_alloc(device, n, sizeof *b->batch.label, &b->batch.label));
    COC_TRY(coc_device_alloc(device, n, sizeof *b->batch.row_track, &b->batch.row_track));
    COC_TRY(coc_device_alloc(device, n, sizeof *b->batch.column_track, &b->batch.column_track));
    COC_TRY(make_labels(b));
    return make_features(b);
}

/* What a rank can do by itself before the model is made. */
static coc_status prepare(bench *b)
{
    const arguments *a = &b->args;
    coc_settings *s = &b->trainer->settings;
    const coc_profile *profile;

    if (a->pairs < b->trainer->comm->size)
        return COC_FAIL(COC_ERR_USAGE, "--pairs: %lld pairs for %d ranks; every rank needs one",
                        (long long)a->pairs, b->trainer->comm->size);
    COC_TRY(coc_profile_find(a->profile, 0, &profile));
    coc_settings_default(s);
    snprintf(s->model.profile, sizeof s->model.profile, "%s", profile->name);
    s->data.features = profile->features;
    s->data.crop = a->crop;
    s->model.width = a->width;
    s->model.depth = a->depth;
    s->model.dropout = s->model.stochastic_depth = 0;
    s->model.bn_group = 0;
    s->train.batch = a->pairs;
    b->args.on.threads = (int)a->threads;
    COC_TRY(coc_backend_choice_set(&a->on, &s->model));
    COC_TRY(coc_backend_choose_device(a->on.backend, b->trainer->comm->local_rank,
                                      b->trainer->comm->local_size, false, &b->trainer->sharers));
    return a->whole ? coc_backend_open(&s->model, &b->trainer->backend)
                    : coc_timed_backend_open(&s->model, &b->trainer->backend);
}

static coc_status one_step(bench *b, coc_step_result *r)
{
    *r = (coc_step_result){0};
    if (b->args.whole) return coc_train_on(b->trainer, &b->batch, r);
    COC_TRY(coc_train_gradient(b->trainer, &b->batch, r));
    return coc_train_update(b->trainer, r);
}

static coc_status run_steps(bench *b)
{
    coc_step_result r;

    for (int64_t i = 0; i < b->args.warmup; i++)
        COC_TRY(one_step(b, &r));
    for (int k = 0; k < COC_TIME_KINDS && !b->args.whole; k++)
        coc_timed_backend_times(b->trainer->backend)[k] = (coc_time){0};
    b->core = coc_core_seconds();
    for (int64_t i = 0; i < b->args.steps; i++) {
        const double begin = coc_clock_seconds();

        COC_TRY(one_step(b, &r));
        b->seconds[i] = coc_clock_seconds() - begin;
        b->encoder += r.encoder;
        b->contrast += r.contrast;
        b->communication += r.communication;
        b->optimizer += r.optimizer;
    }
    b->core = coc_core_seconds() - b->core;
    return COC_OK;
}

static void print_kinds(const bench *b)
{
    const double steps = (double)b->args.steps;
    double flop = 0, seconds = 0;

    printf("\n%-24s %9s %9s\n", "mean of rank 0", "ms", "GFLOP/s");
    for (int k = 0; k < COC_TIME_KINDS; k++) {
        const coc_time *t = &coc_timed_backend_times(b->trainer->backend)[k];

        printf("%-24s %9.1f", coc_time_name(k), 1e3 * t->seconds / steps);
        if (t->flop > 0) printf(" %9.1f", 1e-9 * t->flop / t->seconds);
        printf("\n");
        seconds += t->seconds;
        flop += t->flop;
    }
    printf("%-24s %9.1f %9.1f\n", "all operations", 1e3 * seconds / steps, 1e-9 * flop / seconds);
    printf("\n%-24s %9.1f\n%-24s %9.1f\n%-24s %9.1f\n%-24s %9.1f\n", "encoder",
           1e3 * b->encoder / steps, "similarity and loss", 1e3 * b->contrast / steps,
           "communication", 1e3 * b->communication / steps, "optimizer",
           1e3 * b->optimizer / steps);
}

static void print_result(bench *b, double megabytes)
{
    const arguments *a = &b->args;
    const coc_trainer *t = b->trainer;
    const double median = coc_bench_quantile(b->seconds, a->steps, 0.5);

    printf("encoder   %s, width %g, depth %g: %.2f million weights\n", t->network.profile->name,
           a->width, a->depth, 1e-6 * (double)t->params->weights);
    printf("batch     %lld pairs on %d ranks of %d threads, backend %s, %s\n", (long long)a->pairs,
           t->comm->size, t->backend->threads, a->on.backend, a->on.precision);
    printf("step      median %.3f s, 10 %% %.3f, 90 %% %.3f, least %.3f, of %lld\n", median,
           coc_bench_quantile(b->seconds, a->steps, 0.1),
           coc_bench_quantile(b->seconds, a->steps, 0.9), b->seconds[0], (long long)a->steps);
    printf("core time %.3f s a step of rank 0, all its threads\n", b->core / (double)a->steps);
    printf("speed     %.1f pairs/s, %.1f clips/s\n", (double)a->pairs / median,
           2 * (double)a->pairs / median);
    printf("memory    %.0f MB of a rank at most\n", megabytes);
    if (!a->whole) print_kinds(b);
}

static void release(bench *b)
{
    if (b->trainer->backend != NULL) {
        const coc_device *device = b->trainer->backend->device;

        device->release(device, b->batch.x);
        device->release(device, b->batch.label);
        device->release(device, b->batch.row_track);
        device->release(device, b->batch.column_track);
    }
    free(b->seconds);
    coc_trainer_destroy(&b->trainer);
}

static coc_status largest_memory(coc_comm *comm, double *megabytes)
{
    coc_status status;
    double *all;

    *megabytes = 0;
    COC_TRY(coc_alloc(comm->size, sizeof *all, &all));
    all[comm->rank] = coc_peak_megabytes();
    status = coc_all_reduce(coc_comm_over_host(comm), "memory of the ranks", all, comm->size,
                            COC_DOUBLE);
    for (int r = 0; r < comm->size; r++)
        *megabytes = all[r] > *megabytes ? all[r] : *megabytes;
    free(all);
    return status;
}

static coc_status run(bench *b, coc_comm *comm)
{
    double megabytes;

    COC_TRY(coc_comm_agree(comm, "settings", prepare(b)));
    COC_TRY(coc_trainer_create_model(b->trainer));
    COC_TRY(coc_comm_agree(comm, "making a batch", make_batch(b)));
    COC_TRY(run_steps(b));
    COC_TRY(largest_memory(comm, &megabytes));
    if (comm->rank == 0) print_result(b, megabytes);
    return COC_OK;
}

coc_status coc_bench_step(int argc, char **argv)
{
    bench b = {.args = {.on = {.backend = "cpu", .precision = "fp32", .conv = "own"},
                        .profile = "cocola-hps",
                        .width = 1,
                        .depth = 1,
                        .crop = 5,
                        .pairs = 32,
                        .steps = 10,
                        .warmup = 2}};
    coc_settings settings;
    coc_comm *comm;
    bool done;
    coc_status status = parse_arguments(argc, argv, &b.args, &done);

    if (done) return status;
    coc_settings_default(&settings);
    COC_TRY(coc_comm_start(&settings.comm, &comm));
    COC_TRY(coc_comm_agree(comm, "command line", status));
    COC_TRY(coc_alloc(1, sizeof *b.trainer, &b.trainer));
    b.trainer->world = b.trainer->comm = comm;
    status = run(&b, comm);
    release(&b);
    coc_comm_destroy(&comm);
    return status;
}
