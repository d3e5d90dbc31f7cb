/* The fast features: clips on several threads, each with memory of its own from one arena. */
#include "preprocess/features_cpu.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "preprocess/features_backends.h"

typedef struct {
    float *padded;                /* [COC_PADDED_SAMPLES] */
    double *work;                 /* [COC_FFT_WORK] */
    float *power;                 /* [COC_POWER_ROWS][COC_ROW] */
    float *tile;                  /* [2][COC_TILE_ROWS][COC_BLOCK] */
    float *harmonic, *percussive; /* [COC_BLOCK][COC_ROW] */
    float *bands;                 /* [2][COC_BANDS][COC_ROW] */
} scratch;

typedef struct {
    coc_stft stft;
    coc_mel_table slaney, htk;
    coc_arena arena;
    scratch *scratch; /* [threads] */
} cpu_features;

static void lay_out(coc_arena *arena, scratch *s, int threads)
{
    for (int i = 0; i < threads; i++, s++) {
        s->padded = coc_arena_take(arena, COC_PADDED_SAMPLES, sizeof(float));
        s->work = coc_arena_take(arena, COC_FFT_WORK, sizeof(double));
        s->power = coc_arena_take(arena, COC_POWER_ROWS * COC_ROW, sizeof(float));
        s->tile = coc_arena_take(arena, 2 * COC_TILE_ROWS * COC_BLOCK, sizeof(float));
        s->harmonic = coc_arena_take(arena, COC_BLOCK * COC_ROW, sizeof(float));
        s->percussive = coc_arena_take(arena, COC_BLOCK * COC_ROW, sizeof(float));
        s->bands = coc_arena_take(arena, 2 * COC_BANDS * COC_ROW, sizeof(float));
    }
}

static coc_status cpu_create(coc_features *features)
{
    cpu_features *cpu;

    features->device = coc_device_host();
    if (features->threads < 1) features->threads = omp_get_max_threads();
    COC_TRY(coc_alloc(1, sizeof *cpu, &features->impl));
    cpu = features->impl;
    COC_TRY(coc_stft_create(&cpu->stft));
    coc_mel_table_fill(&cpu->slaney, COC_MEL_SLANEY);
    coc_mel_table_fill(&cpu->htk, COC_MEL_HTK);
    COC_TRY(coc_alloc(features->threads, sizeof *cpu->scratch, &cpu->scratch));
    lay_out(&cpu->arena, cpu->scratch, features->threads);
    COC_TRY(coc_arena_create(&cpu->arena, coc_device_host(), cpu->arena.used));
    /* zeroed, so that columns beyond the last frame never hold a NaN, which is slow */
    memset(cpu->arena.memory, 0, cpu->arena.bytes);
    lay_out(&cpu->arena, cpu->scratch, features->threads);
    return COC_OK;
}

static void cpu_destroy(coc_features *features)
{
    cpu_features *cpu = features->impl;

    if (cpu == NULL) return;
    coc_stft_destroy(&cpu->stft);
    coc_arena_destroy(&cpu->arena);
    free(cpu->scratch);
    free(cpu);
    features->impl = NULL;
}

static coc_status cpu_mix(coc_features *features, const coc_mix *mixes, int64_t n, float *wave)
{
#pragma omp parallel for schedule(dynamic, 1) num_threads(features->threads)
    for (int64_t i = 0; i < n; i++)
        coc_mix_clip(&mixes[i], wave + i * COC_CLIP_SAMPLES);
    return COC_OK;
}

static void hps_clip(const cpu_features *cpu, const scratch *s, const float *wave, float *out)
{
    float *harmonic_bands = s->bands, *percussive_bands = s->bands + COC_BANDS * COC_ROW;

    coc_pad_zeros(wave, s->padded);
    coc_stft_power(&cpu->stft, s->padded, s->work, s->power);
    memset(s->bands, 0, 2 * COC_BANDS * COC_ROW * sizeof *s->bands);
    for (int bin = 0; bin < COC_BINS; bin += COC_BLOCK) {
        const float *power = s->power + (COC_MARGIN + bin) * COC_ROW;

        coc_median_along_time(power, s->tile, s->harmonic);
        coc_median_along_frequency(power, s->percussive);
        coc_mask_block(power, s->harmonic, s->percussive);
        coc_mel_add(&cpu->slaney, bin, s->harmonic, harmonic_bands);
        coc_mel_add(&cpu->slaney, bin, s->percussive, percussive_bands);
    }
    coc_decibels_relative(harmonic_bands, out);
    coc_decibels_relative(percussive_bands, out + COC_BANDS * COC_FRAMES);
}

static coc_status cpu_hps(coc_features *features, const float *wave, int64_t n, float *out)
{
    const cpu_features *cpu = features->impl;

#pragma omp parallel for schedule(dynamic, 1) num_threads(features->threads)
    for (int64_t i = 0; i < n; i++)
        hps_clip(cpu, &cpu->scratch[omp_get_thread_num()], wave + i * COC_CLIP_SAMPLES,
                 out + i * 2 * COC_BANDS * COC_FRAMES);
    return COC_OK;
}

static void mel_clip(const cpu_features *cpu, const scratch *s, const float *wave, float *out)
{
    coc_pad_mirrored(wave, s->padded);
    coc_stft_power(&cpu->stft, s->padded, s->work, s->power);
    memset(s->bands, 0, COC_BANDS * COC_ROW * sizeof *s->bands);
    for (int bin = 0; bin < COC_BINS; bin += COC_BLOCK)
        coc_mel_add(&cpu->htk, bin, s->power + (COC_MARGIN + bin) * COC_ROW, s->bands);
    coc_decibels_absolute(s->bands, out);
}

static coc_status cpu_mel(coc_features *features, const float *wave, int64_t n, float *out)
{
    const cpu_features *cpu = features->impl;

#pragma omp parallel for schedule(dynamic, 1) num_threads(features->threads)
    for (int64_t i = 0; i < n; i++)
        mel_clip(cpu, &cpu->scratch[omp_get_thread_num()], wave + i * COC_CLIP_SAMPLES,
                 out + i * COC_BANDS * COC_FRAMES);
    return COC_OK;
}

const coc_feature_ops coc_features_cpu = {.name = "cpu",
                                          .chunk = COC_HOST_CHUNK,
                                          .bytes = coc_features_no_bytes,
                                          .create = cpu_create,
                                          .destroy = cpu_destroy,
                                          .mix = cpu_mix,
                                          .mix_feed = coc_features_mix_feed,
                                          .hps = cpu_hps,
                                          .mel = cpu_mel,
                                          .crop = coc_features_crop};
