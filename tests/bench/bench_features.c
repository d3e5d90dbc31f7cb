/* Milliseconds a clip of every part of the fast features, on one thread.
 *
 *     bench_features [repetitions]
 *
 * Thread CPU time, medians; a busy machine still disturbs it through shared caches. */
#define _GNU_SOURCE /* CLOCK_THREAD_CPUTIME_ID under strict C */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/device.h"
#include "preprocess/features_cpu.h"

enum { STEMS = 3, MAX_REPETITIONS = 1000 };

typedef struct {
    coc_stft stft;
    coc_mel_table slaney;
    int16_t pcm[STEMS][COC_CLIP_SAMPLES];
    float wave[COC_CLIP_SAMPLES];
    float *padded, *power, *tile, *harmonic, *percussive, *bands, *out;
    double *work;
    coc_features *features;
} bench;

static void mix(bench *b)
{
    const int16_t *pcm[STEMS] = {b->pcm[0], b->pcm[1], b->pcm[2]};
    const float gain[STEMS] = {0x1p-16f, 0x1p-17f, 0x1p-16f};
    const coc_mix clip = {.stems = STEMS, .pcm = pcm, .gain = gain};

    coc_mix_clip(&clip, b->wave);
}

static void noise(bench *b)
{
    const coc_rng_key key = {.seed = 1, .draw = COC_DRAW_NOISE};

    coc_rng_normal(&key, 0, COC_CLIP_SAMPLES, b->out);
}

static void stft(bench *b)
{
    coc_pad_zeros(b->wave, b->padded);
    coc_stft_power(&b->stft, b->padded, b->work, b->power);
}

static void fft_alone(bench *b)
{
    for (int t = 0; t < COC_FRAMES_USED; t += COC_FFT_LANES) {
        memset(b->work, 0, COC_FFT_SUPPORT * COC_FFT_LANES * sizeof *b->work);
        coc_fft_power(b->stft.fft, b->work, b->out, COC_FFT_LANES);
    }
}

static const float *block(const bench *b, int bin)
{
    return b->power + (COC_MARGIN + bin) * COC_ROW;
}

static void medians_along_time(bench *b)
{
    for (int bin = 0; bin < COC_BINS; bin += COC_BLOCK)
        coc_median_along_time(block(b, bin), b->tile, b->harmonic);
}

static void medians_along_frequency(bench *b)
{
    for (int bin = 0; bin < COC_BINS; bin += COC_BLOCK)
        coc_median_along_frequency(block(b, bin), b->percussive);
}

/* In place: the medians are set anew, or they would shrink to denormal numbers, which are slow. */
static void masks(bench *b)
{
    for (int bin = 0; bin < COC_BINS; bin += COC_BLOCK) {
        memcpy(b->harmonic, block(b, bin), COC_BLOCK * COC_ROW * sizeof(float));
        memcpy(b->percussive, block(b, bin), COC_BLOCK * COC_ROW * sizeof(float));
        coc_mask_block(block(b, bin), b->harmonic, b->percussive);
    }
}

static void bands(bench *b)
{
    memset(b->bands, 0, 2 * COC_BANDS * COC_ROW * sizeof *b->bands);
    for (int bin = 0; bin < COC_BINS; bin += COC_BLOCK) {
        coc_mel_add(&b->slaney, bin, b->harmonic, b->bands);
        coc_mel_add(&b->slaney, bin, b->percussive, b->bands + COC_BANDS * COC_ROW);
    }
}

static void decibels(bench *b)
{
    coc_decibels_relative(b->bands, b->out);
    coc_decibels_relative(b->bands + COC_BANDS * COC_ROW, b->out);
}

static void all_hps(bench *b)
{
    if (coc_features_compute(b->features, COC_FEATURES_HPS, b->wave, 1, b->out) != COC_OK) abort();
}

static void all_mel(bench *b)
{
    if (coc_features_compute(b->features, COC_FEATURES_MEL, b->wave, 1, b->out) != COC_OK) abort();
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void report(const char *name, void (*part)(bench *), bench *b, int repetitions)
{
    static double seconds[MAX_REPETITIONS];

    part(b);
    for (int i = 0; i < repetitions; i++) {
        const double begin = now();

        part(b);
        seconds[i] = now() - begin;
    }
    qsort(seconds, (size_t)repetitions, sizeof *seconds, ascending);
    printf("%-28s %8.3f  (10 %%: %.3f, 90 %%: %.3f)\n", name, 1e3 * seconds[repetitions / 2],
           1e3 * seconds[repetitions / 10], 1e3 * seconds[repetitions * 9 / 10]);
}

static void *take(int64_t count, size_t size)
{
    const coc_device *host = coc_device_host();
    void *memory = NULL;

    if (host->alloc(host, (size_t)count * size, &memory) != COC_OK) abort();
    memset(memory, 0, (size_t)count * size);
    return memory;
}

static void prepare(bench *b)
{
    static float random[COC_CLIP_SAMPLES];
    coc_rng_key key = {.seed = 2, .draw = COC_DRAW_TEST};

    for (key.item = 0; key.item < STEMS; key.item++) {
        coc_rng_normal(&key, 0, COC_CLIP_SAMPLES, random);
        for (int t = 0; t < COC_CLIP_SAMPLES; t++)
            b->pcm[key.item][t] = (int16_t)(4000 * random[t]);
    }
    if (coc_stft_create(&b->stft) != COC_OK ||
        coc_features_create("cpu", 1, &b->features) != COC_OK)
        abort();
    coc_mel_table_fill(&b->slaney, COC_MEL_SLANEY);
    b->padded = take(COC_PADDED_SAMPLES, sizeof(float));
    b->work = take(COC_FFT_WORK, sizeof(double));
    b->power = take(COC_POWER_ROWS * COC_ROW, sizeof(float));
    b->tile = take(2 * COC_TILE_ROWS * COC_BLOCK, sizeof(float));
    b->harmonic = take(COC_BLOCK * COC_ROW, sizeof(float));
    b->percussive = take(COC_BLOCK * COC_ROW, sizeof(float));
    b->bands = take(2 * COC_BANDS * COC_ROW, sizeof(float));
    b->out = take(2 * COC_BANDS * COC_FRAMES + COC_CLIP_SAMPLES, sizeof(float));
}

int main(int count, char **argument)
{
    static const struct {
        const char *name;
        void (*part)(bench *);
    } parts[] = {{"mix of 3 stems", mix},
                 {"noise", noise},
                 {"STFT", stft},
                 {"  of it transforms", fft_alone},
                 {"medians along time", medians_along_time},
                 {"medians along frequency", medians_along_frequency},
                 {"masks", masks},
                 {"mel bands", bands},
                 {"decibels", decibels},
                 {"HPS, all of it", all_hps},
                 {"log-mel, all of it", all_mel}};
    static bench b;
    int repetitions = count > 1 ? atoi(argument[1]) : 100;

    if (repetitions < 1) repetitions = 1;
    if (repetitions > MAX_REPETITIONS) repetitions = MAX_REPETITIONS;
    prepare(&b);
    printf("FFT: %s; ms a clip, median of %d\n", coc_fft_name(), repetitions);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        report(parts[i].name, parts[i].part, &b, repetitions);
    return 0;
}
