/* train/bench_features.c - `cocola bench features`: what a clip costs before the encoder. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "preprocess/features.h"
#include "train/bench.h"
#include "train/cli.h"
#include "train/open_backend.h"

enum { STEMS = 3 };

typedef struct {
    const char *backend;
    int64_t clips, threads, repeats;
} arguments;

typedef struct {
    arguments args;
    coc_features *features;
    int16_t *pcm; /* [STEMS][COC_CLIP_SAMPLES] */
    coc_mix *mixes;
    float *wave, *out;
    double *seconds;
} bench;

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--clips", "N", COC_OPTION_INT, &a->clips, false, 1, 65536,
         "clips computed at a time (default 64)"},
        {"--threads", "N", COC_OPTION_INT, &a->threads, false, 1, 4096,
         "threads (default OMP_NUM_THREADS, or all processors)"},
        {"--backend", "NAME", COC_OPTION_TEXT, &a->backend, false, 0, 0, COC_BACKEND_HELP},
        {"--repeats", "N", COC_OPTION_INT, &a->repeats, false, 1, 100000,
         "times that each is measured (default 10)"},
    };
    const coc_cli cli = {
        .usage = "cocola bench features [options]",
        .purpose = "Time from stems in memory to the encoder's input, for clips of 5 s:\n"
                   "mixing (3 stems, noise), HPS features, log-mel features.",
        .details = "\"core ms\" is processor time of all threads: what a clip costs on one core.\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };

    return coc_cli_parse(&cli, argc, argv, done);
}

/* Stems of white noise; every clip mixes the same three, with noise of its own. */
static coc_status prepare(bench *b, const int16_t **stems, const float *gain)
{
    const arguments *a = &b->args;
    const int64_t floats = COC_CLIP_SAMPLES + 2 * COC_BANDS * COC_FRAMES;
    coc_rng_key key = {.seed = 1, .draw = COC_DRAW_TEST};

    COC_TRY(coc_features_create(a->backend, (int)a->threads, &b->features));
    COC_TRY(coc_device_alloc(b->features->device, a->clips * floats, sizeof *b->wave, &b->wave));
    b->out = b->wave + a->clips * COC_CLIP_SAMPLES;
    COC_TRY(coc_alloc(STEMS * COC_CLIP_SAMPLES, sizeof *b->pcm, &b->pcm));
    COC_TRY(coc_alloc(a->clips, sizeof *b->mixes, &b->mixes));
    COC_TRY(coc_alloc(a->repeats, sizeof *b->seconds, &b->seconds));
    for (int s = 0; s < STEMS; s++) {
        stems[s] = b->pcm + s * COC_CLIP_SAMPLES;
        key.item = (uint32_t)s;
        for (uint32_t t = 0; t < COC_CLIP_SAMPLES; t++)
            b->pcm[s * COC_CLIP_SAMPLES + t] =
                (int16_t)(16000.0f * (coc_rng_uniform(&key, t) - 0.5f));
    }
    for (int64_t i = 0; i < a->clips; i++)
        b->mixes[i] =
            (coc_mix){.stems = STEMS,
                      .pcm = stems,
                      .gain = gain,
                      .noise = 1e-3f,
                      .noise_key = {.seed = 1, .draw = COC_DRAW_NOISE, .item = (uint32_t)i}};
    return COC_OK;
}

static coc_status mix(bench *b)
{
    return b->features->ops->mix(b->features, b->mixes, b->args.clips, b->wave);
}

static coc_status hps(bench *b)
{
    return b->features->ops->hps(b->features, b->wave, b->args.clips, b->out);
}

static coc_status mel(bench *b)
{
    return b->features->ops->mel(b->features, b->wave, b->args.clips, b->out);
}

/* Until it is done, on an accelerator too. */
static coc_status do_work(bench *b, coc_status (*work)(bench *))
{
    const coc_device *device = b->features->device;

    COC_TRY(work(b));
    return device->wait(device, b->features->stream);
}

static coc_status measure(bench *b, const char *name, coc_status (*work)(bench *))
{
    const arguments *a = &b->args;
    const double per_clip = 1e3 / (double)a->clips;
    double core, median;

    COC_TRY(do_work(b, work)); /* touches memory, fills caches */
    core = coc_core_seconds();
    for (int64_t i = 0; i < a->repeats; i++) {
        const double begin = coc_clock_seconds();

        COC_TRY(do_work(b, work));
        b->seconds[i] = coc_clock_seconds() - begin;
    }
    core = (coc_core_seconds() - core) / (double)a->repeats;
    median = coc_bench_quantile(b->seconds, a->repeats, 0.5);
    printf("%-18s %9.3f %9.3f %9.3f %9.3f %9.0f\n", name, per_clip * median,
           per_clip * coc_bench_quantile(b->seconds, a->repeats, 0.1),
           per_clip * coc_bench_quantile(b->seconds, a->repeats, 0.9), per_clip * core,
           (double)a->clips / median);
    return COC_OK;
}

static coc_status run(bench *b)
{
    const int16_t *stems[STEMS];
    const float gain[STEMS] = {0x1p-16f, 0x1p-17f, 0x1p-16f};

    COC_TRY(prepare(b, stems, gain));
    printf("%lld clips of 5 s at a time, %d threads, backend %s, median of %lld\n\n",
           (long long)b->args.clips, b->features->threads, b->features->ops->name,
           (long long)b->args.repeats);
    printf("%-18s %9s %9s %9s %9s %9s\n", "ms a clip", "median", "10 %", "90 %", "core ms",
           "clips/s");
    COC_TRY(measure(b, "mix of 3 stems", mix));
    COC_TRY(measure(b, "HPS features", hps));
    return measure(b, "log-mel features", mel);
}

coc_status coc_bench_features(int argc, char **argv)
{
    bench b = {.args = {.backend = "cpu", .clips = 64, .repeats = 10}};
    bool done;
    coc_status status = parse_arguments(argc, argv, &b.args, &done);

    if (done || status != COC_OK) return status;
    status = run(&b);
    if (b.features != NULL) b.features->device->release(b.features->device, b.wave);
    coc_features_destroy(&b.features);
    free(b.pcm);
    free(b.mixes);
    free(b.seconds);
    return status;
}
