/* Clips a second through the encoder as eval and score use it.
 *
 *     bench_embed [BACKEND [WIDTH [DEPTH [CLIPS [REPEATS]]]]]     cuda-bf16 1 1 1024 5
 *
 * BACKEND: ref, cpu, cuda, or cuda-bf16. Two lines: from features that lie on the device, and from
 * int16 samples on the host (copy, HPS features, encoder, one after the other); median milliseconds
 * of CLIPS clips of 5 s, clips a second. Weights and samples are random. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "model/encoder.h"
#include "preprocess/features.h"
#include "train/bench.h"

enum { MOST_REPEATS = 101, CHANNELS = 2, KEPT_SAMPLES = 2 * COC_CLIP_SAMPLES };

typedef struct {
    coc_backend *b;
    coc_features *features;
    coc_network network;
    coc_params *params;
    coc_encoder *encoder;
    int64_t clips;
    int repeats;
    int16_t pcm[KEPT_SAMPLES]; /* every clip begins at another sample of it */
    coc_mix *mixes;
    const int16_t **stems;
    float *gains, *wave, *x, *h;
} bench;

static coc_status make_clips(bench *k)
{
    for (int i = 0; i < KEPT_SAMPLES; i++)
        k->pcm[i] = (int16_t)(((uint32_t)i * 2654435761u >> 17) - 16384);
    k->mixes = calloc((size_t)k->clips, sizeof *k->mixes);
    k->stems = calloc((size_t)k->clips, sizeof *k->stems);
    k->gains = calloc((size_t)k->clips, sizeof *k->gains);
    if (k->mixes == NULL || k->stems == NULL || k->gains == NULL)
        return COC_FAIL(COC_ERR_MEMORY, "no memory");
    for (int64_t i = 0; i < k->clips; i++) {
        k->stems[i] = k->pcm + i * 37 % COC_CLIP_SAMPLES;
        k->gains[i] = 0x1p-16f;
        k->mixes[i] = (coc_mix){.stems = 1, .pcm = &k->stems[i], .gain = &k->gains[i]};
    }
    return COC_OK;
}

static coc_status create(bench *k, const char *backend, double width, double depth)
{
    const bool half = strcmp(backend, "cuda-bf16") == 0;
    coc_model_settings settings = {.precision = half ? COC_BF16 : COC_FP32,
                                   .similarity_scale = 0.01};
    const coc_profile *profile;
    const coc_device *device;

    snprintf(settings.backend, sizeof settings.backend, "%s", half ? "cuda" : backend);
    COC_TRY(coc_profile_find("cocola-hps", CHANNELS, &profile));
    COC_TRY(coc_network_build(profile, width, depth, COC_BANDS, COC_FRAMES, &k->network));
    COC_TRY(coc_backend_open(&settings, &k->b));
    device = k->b->device;
    COC_TRY(coc_features_create(settings.backend, 0, &k->features));
    COC_TRY(coc_params_create(&k->network, device, false, &k->params));
    COC_TRY(coc_params_init(k->params, &settings, 1));
    COC_TRY(coc_encoder_create(k->b, &k->network, k->clips, false, &k->encoder));
    COC_TRY(coc_device_alloc(device, k->clips * COC_CLIP_SAMPLES, sizeof(float), &k->wave));
    COC_TRY(coc_device_alloc(device, k->clips * CHANNELS * COC_BANDS * COC_FRAMES, sizeof(float),
                             &k->x));
    COC_TRY(coc_device_alloc(device, k->clips * k->network.embedding, sizeof(float), &k->h));
    return make_clips(k);
}

static coc_status make_features(bench *k)
{
    COC_TRY(k->features->ops->mix(k->features, k->mixes, k->clips, k->wave));
    COC_TRY(k->features->ops->hps(k->features, k->wave, k->clips, k->x));
    return k->features->device->wait(k->features->device, k->features->stream);
}

static coc_status embed(bench *k)
{
    COC_TRY(coc_encoder_embed(k->encoder, k->params, k->clips, k->x, NULL, k->h));
    return k->b->ops->finish(k->b);
}

static coc_status both(bench *k)
{
    COC_TRY(make_features(k));
    return embed(k);
}

static coc_status measure(bench *k, const char *name, coc_status (*work)(bench *))
{
    double seconds[MOST_REPEATS], median;

    COC_TRY(work(k));
    for (int i = 0; i < k->repeats; i++) {
        const double begin = coc_clock_seconds();

        COC_TRY(work(k));
        seconds[i] = coc_clock_seconds() - begin;
    }
    median = coc_bench_quantile(seconds, k->repeats, 0.5);
    printf("%s: %lld clips %.4f ms %.1f clips/s\n", name, (long long)k->clips, 1e3 * median,
           (double)k->clips / median);
    fflush(stdout);
    return COC_OK;
}

static double argument(int argc, char **argv, int i, double otherwise)
{
    return argc > i ? strtod(argv[i], NULL) : otherwise;
}

static coc_status run(int argc, char **argv, bench *k)
{
    k->clips = (int64_t)argument(argc, argv, 4, 1024);
    k->repeats = (int)argument(argc, argv, 5, 5);
    if (k->clips < 1 || k->clips > 65536 || k->repeats < 1 || k->repeats > MOST_REPEATS)
        return COC_FAIL(COC_ERR_USAGE,
                        "usage: bench_embed [BACKEND [WIDTH [DEPTH [CLIPS [REPEATS]]]]]");
    COC_TRY(create(k, argc > 1 ? argv[1] : "cuda-bf16", argument(argc, argv, 2, 1),
                   argument(argc, argv, 3, 1)));
    COC_TRY(make_features(k));
    COC_TRY(measure(k, "embed from features", embed));
    return measure(k, "embed from samples", both);
}

static void release(bench *k)
{
    if (k->b != NULL) {
        k->b->device->release(k->b->device, k->wave);
        k->b->device->release(k->b->device, k->x);
        k->b->device->release(k->b->device, k->h);
    }
    coc_encoder_destroy(&k->encoder);
    coc_params_destroy(&k->params);
    coc_features_destroy(&k->features);
    coc_backend_destroy(&k->b);
    free(k->mixes);
    free(k->stems);
    free(k->gains);
}

int main(int argc, char **argv)
{
    static bench k;
    const coc_status status = run(argc, argv, &k);

    if (status != COC_OK) fprintf(stderr, "bench_embed: %s\n", coc_error_text());
    release(&k);
    return coc_exit_code(status);
}
