/* train/bench_step.c - `cocola bench step`: the very step of a training run (train/step.c) on
 * random features, without loader, channel modes, dropout and stochastic depth. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "preprocess/features.h"
#include "train/bench.h"
#include "train/cli.h"
#include "train/timed_ops.h"
#include "train/trainer.h"

typedef struct {
    const char *backend, *profile;
    double width, depth;
    int64_t pairs, threads, steps, warmup;
} arguments;

typedef struct {
    arguments args;
    coc_trainer *trainer;
    coc_timed_backend timed;
    coc_backend *backend; /* the one that is timed */
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
        {"--pairs", "K", COC_OPTION_INT, &a->pairs, false, 1, 1000000,
         "pairs of a step, over all ranks (default 32)"},
        {"--threads", "N", COC_OPTION_INT, &a->threads, false, 1, 4096,
         "threads of a rank (default OMP_NUM_THREADS, or all processors)"},
        {"--backend", "NAME", COC_OPTION_TEXT, &a->backend, false, 0, 0, "cpu (default) or ref"},
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

static coc_status device_real(const coc_backend *backend, int64_t count, real **out)
{
    void *memory;

    COC_TRY(backend->device->alloc(backend->device, (size_t)count * sizeof(real), &memory));
    *out = memory;
    return COC_OK;
}

static coc_status make_batch(bench *b)
{
    const coc_trainer *t = b->trainer;
    const int64_t n = t->pairs;
    const int64_t floats = 2 * n * t->network.channels * COC_BANDS * COC_FRAMES;

    b->batch.pairs = n;
    COC_TRY(device_real(t->backend, floats, &b->batch.x));
    for (int64_t i = 0; i < floats; i++) /* in the range of decibels, -80 .. 0 */
        b->batch.x[i] = -80.0f * (float)((uint32_t)i * 2654435761u >> 8) * 0x1p-24f;
    COC_TRY(coc_alloc(n, sizeof *b->batch.label, &b->batch.label));
    COC_TRY(coc_alloc(n, sizeof *b->batch.row_track, &b->batch.row_track));
    COC_TRY(coc_alloc(n, sizeof *b->batch.column_track, &b->batch.column_track));
    for (int64_t i = 0; i < n; i++) {
        b->batch.label[i] = t->first + i;
        b->batch.row_track[i] = b->batch.column_track[i] = (uint64_t)(t->first + i);
    }
    return COC_OK;
}

/* What coc_trainer_create makes, less all that reads stores. */
static coc_status make_trainer(bench *b)
{
    const arguments *a = &b->args;
    coc_trainer *t = b->trainer;
    const coc_profile *profile;
    void *sum;

    if (a->pairs < t->comm->size)
        return COC_FAIL(COC_ERR_USAGE, "--pairs: %lld pairs for %d ranks; every rank needs one",
                        (long long)a->pairs, t->comm->size);
    coc_settings_default(&t->settings);
    t->settings.model.dropout = t->settings.model.stochastic_depth = 0;
    t->settings.train.batch = a->pairs;
    t->pairs = coc_share(a->pairs, t->comm->size, t->comm->rank, &t->first);
    COC_TRY(coc_profile_find(a->profile, 2, &profile));
    COC_TRY(coc_network_build(profile, a->width, a->depth, COC_BANDS, COC_FRAMES, &t->network));
    COC_TRY(coc_backend_create(a->backend, (int)a->threads, &b->backend));
    coc_timed_backend_init(&b->timed, b->backend);
    t->backend = &b->timed.base;
    COC_TRY(coc_params_create(&t->network, t->backend->device, &t->params));
    COC_TRY(coc_params_init(t->params, &t->settings.model, 1));
    COC_TRY(coc_encoder_create(t->backend, &t->network, 2 * t->pairs, true, &t->encoder));
    COC_TRY(device_real(t->backend, 2 * t->pairs * t->network.embedding, &t->h));
    COC_TRY(device_real(t->backend, 2 * t->pairs * t->network.embedding, &t->dh));
    COC_TRY(t->backend->device->alloc(t->backend->device, sizeof *t->sum, &sum));
    t->sum = sum;
    COC_TRY(coc_alloc(a->steps, sizeof *b->seconds, &b->seconds));
    return make_batch(b);
}

static coc_status one_step(bench *b, coc_step_result *r)
{
    coc_trainer *t = b->trainer;
    const coc_adam adam = {.learning_rate = 1e-3,
                           .beta1 = 0.9,
                           .beta2 = 0.999,
                           .epsilon = 1e-8,
                           .clip_scale = 1,
                           .step = ++t->step};
    double begin;

    *r = (coc_step_result){0};
    COC_TRY(coc_train_gradient(t, &b->batch, r));
    begin = coc_clock_seconds();
    COC_TRY(coc_encoder_update_running(t->encoder, t->params, t->groups, t->comm,
                                       t->settings.model.bn_momentum));
    *t->sum = 0;
    t->backend->ops->sum_squares(t->backend, t->params->weights, t->params->grad, t->sum);
    t->backend->ops->adam(t->backend, t->params->weights, &adam, t->params->grad, t->params->value,
                          t->params->m, t->params->v);
    COC_TRY(t->backend->ops->finish(t->backend));
    r->optimizer = coc_clock_seconds() - begin;
    return COC_OK;
}

static coc_status run_steps(bench *b)
{
    coc_step_result r;

    for (int64_t i = 0; i < b->args.warmup; i++)
        COC_TRY(one_step(b, &r));
    for (int k = 0; k < COC_TIME_KINDS; k++)
        b->timed.time[k] = (coc_time){0};
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
        const coc_time *t = &b->timed.time[k];

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
    printf("batch     %lld pairs on %d ranks of %d threads, backend %s\n", (long long)a->pairs,
           t->comm->size, t->backend->threads, b->backend->ops->name);
    printf("step      median %.3f s, 10 %% %.3f, 90 %% %.3f, least %.3f, of %lld\n", median,
           coc_bench_quantile(b->seconds, a->steps, 0.1),
           coc_bench_quantile(b->seconds, a->steps, 0.9), b->seconds[0], (long long)a->steps);
    printf("core time %.3f s a step of rank 0, all its threads\n", b->core / (double)a->steps);
    printf("speed     %.1f pairs/s\n", (double)a->pairs / median);
    printf("memory    %.0f MB of a rank at most\n", megabytes);
    print_kinds(b);
}

static void release(bench *b)
{
    if (b->trainer != NULL && b->trainer->backend != NULL)
        b->trainer->backend->device->release(b->trainer->backend->device, b->batch.x);
    free(b->batch.label);
    free(b->batch.row_track);
    free(b->batch.column_track);
    free(b->seconds);
    if (b->backend != NULL) {
        const coc_device *device = b->backend->device;

        device->release(device, b->trainer->h);
        device->release(device, b->trainer->dh);
        device->release(device, b->trainer->sum);
        coc_timed_backend_finish(&b->timed);
        b->trainer->backend = NULL; /* it is part of this bench */
    }
    coc_trainer_destroy(&b->trainer);
    coc_backend_destroy(&b->backend);
}

static coc_status run(bench *b, coc_comm *comm)
{
    coc_trainer *t = b->trainer;
    coc_request *request = NULL;
    double largest = 0, mine;
    double *all;

    COC_TRY(coc_comm_agree(comm, "making the model", make_trainer(b)));
    COC_TRY(coc_groups_create(comm, b->args.pairs, b->args.pairs, &t->groups));
    COC_TRY(coc_similarity_create(t->backend, comm, b->args.pairs, t->network.embedding,
                                  &t->similarity));
    COC_TRY(run_steps(b));
    mine = coc_peak_megabytes();
    COC_TRY(coc_alloc(comm->size, sizeof *all, &all));
    all[comm->rank] = mine;
    if (comm->ops->start_all_reduce(comm, "memory of the ranks", all, comm->size, COC_DOUBLE, NULL,
                                    &request) == COC_OK &&
        comm->ops->wait(comm, &request) == COC_OK)
        for (int r = 0; r < comm->size; r++)
            largest = all[r] > largest ? all[r] : largest;
    free(all);
    if (comm->rank == 0) print_result(b, largest);
    return COC_OK;
}

coc_status coc_bench_step(int argc, char **argv)
{
    bench b = {.args = {.backend = "cpu",
                        .profile = "cocola-hps",
                        .width = 1,
                        .depth = 1,
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
    b.trainer->comm = comm;
    status = run(&b, comm);
    release(&b);
    coc_comm_destroy(&comm);
    return status;
}
