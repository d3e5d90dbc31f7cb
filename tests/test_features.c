/* The fast features against the reference on made-up mixes, and what must not change them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "preprocess/features.h"
#include "tests/test.h"

enum { CLIPS = 6, STEMS = 3, MEL = COC_BANDS * COC_FRAMES, HPS = 2 * MEL };

static int16_t pcm[STEMS][COC_CLIP_SAMPLES];
static const int16_t *const stems[STEMS] = {pcm[0], pcm[1], pcm[2]};
static float wave[CLIPS][COC_CLIP_SAMPLES], other_wave[CLIPS][COC_CLIP_SAMPLES];
static float out[CLIPS * HPS], other[CLIPS * HPS];

/* Stems of three kinds: a gliding tone, decaying clicks, noise. */
static void make_stems(void)
{
    static float random[COC_CLIP_SAMPLES];

    coc_test_random(random, COC_CLIP_SAMPLES, 5);
    for (int t = 0; t < COC_CLIP_SAMPLES; t++) {
        const double s = (double)t / COC_SAMPLE_RATE;

        pcm[0][t] = (int16_t)(28000 * sin(2 * 3.141592653589793 * (200 * s + 90 * s * s)));
        pcm[1][t] = (int16_t)(20000 * exp(-(double)(t % 5000) / 60) * (t % 2 ? 1 : -1));
        pcm[2][t] = (int16_t)(15000 * (double)random[t]);
    }
}

/* Clip 0: all stems. 1: one stem with a small exponent. 2: noise alone. 3: two stems and noise.
 * 4: silence. 5: a tone a million times louder than what is added to it. */
static void make_mixes(coc_mix *mix)
{
    static const float gains[CLIPS][STEMS] = {
        {0x1p-15f, 0x1p-16f, 0x1p-18f}, {0x1p-25f}, {0},
        {0x1p-17f, 0x1p-15f},           {0},        {0x1p-15f, 0x1p-35f, 0x1p-35f}};
    static const int counts[CLIPS] = {3, 1, 0, 2, 0, 3};
    static const float noises[CLIPS] = {0, 0, 1e-3f, 1e-3f, 0, 0};

    for (int i = 0; i < CLIPS; i++)
        mix[i] = (coc_mix){.stems = counts[i],
                           .pcm = stems,
                           .gain = gains[i],
                           .noise = noises[i],
                           .noise_key = {.seed = 11, .draw = COC_DRAW_NOISE, .item = i}};
}

static coc_features *create(const char *backend, int threads)
{
    coc_features *features = NULL;

    CHECK(coc_features_create(backend, threads, &features) == COC_OK);
    return features;
}

static void mix_all(coc_features *features, float (*w)[COC_CLIP_SAMPLES])
{
    coc_mix mix[CLIPS];

    make_mixes(mix);
    CHECK(features->ops->mix(features, mix, CLIPS, w[0]) == COC_OK);
}

/* A mix is the sum of gain times sample plus keyed noise: the fast one differs from the reference
 * by roundings of the sum only. */
static void fast_mix_equals_the_reference(void)
{
    coc_features *ref = create("ref", 0), *cpu = create("cpu", 2);

    mix_all(ref, wave);
    mix_all(cpu, other_wave);
    CHECK_CLOSE(other_wave[0], wave[0], CLIPS * COC_CLIP_SAMPLES, 3e-7, 3e-7);
    CHECK_NEAR(other_wave[1][777], ldexp((double)pcm[0][777], -25), 0);
    CHECK(memcmp(other_wave[2], other_wave[3], sizeof wave[2]) != 0);
    coc_features_destroy(&ref);
    coc_features_destroy(&cpu);
}

/* Worst difference of values above the floor; those at it may differ by more. */
static void check_decibels(const float *got, const float *want, int64_t n, double tolerance)
{
    double worst = 0;

    for (int64_t i = 0; i < n; i++) {
        const double difference = fabs((double)got[i] - (double)want[i]);

        if (!(difference <= worst)) worst = difference; /* also a NaN */
    }
    CHECK_NEAR(worst, 0, tolerance);
}

/* The fast features of the same waveforms are the reference's. Both transform in double; single
 * precision begins at the powers, so 1e-4 dB is some 30 roundings of a power. */
static void fast_features_equal_the_reference(void)
{
    coc_features *ref = create("ref", 0), *cpu = create("cpu", 2);

    mix_all(cpu, wave);
    CHECK(coc_features_compute(ref, COC_FEATURES_HPS, wave[0], CLIPS, out) == COC_OK);
    CHECK(coc_features_compute(cpu, COC_FEATURES_HPS, wave[0], CLIPS, other) == COC_OK);
    for (int i = 0; i < CLIPS; i++)
        check_decibels(other + i * HPS, out + i * HPS, HPS, 1e-4);
    CHECK(coc_features_compute(ref, COC_FEATURES_MEL, wave[0], CLIPS, out) == COC_OK);
    CHECK(coc_features_compute(cpu, COC_FEATURES_MEL, wave[0], CLIPS, other) == COC_OK);
    for (int i = 0; i < CLIPS; i++)
        check_decibels(other + i * MEL, out + i * MEL, MEL, 1e-4);
    coc_features_destroy(&ref);
    coc_features_destroy(&cpu);
}

/* The bits of a clip's waveform and features do not depend on which clips are computed with it, in
 * which order, or on how many threads. */
static void do_not_depend_on_batches_and_threads(void)
{
    coc_features *one = create("cpu", 1), *three = create("cpu", 3);
    coc_mix mix[CLIPS];

    make_mixes(mix);
    mix_all(three, wave);
    CHECK(coc_features_compute(three, COC_FEATURES_HPS, wave[0], CLIPS, out) == COC_OK);
    for (int i = CLIPS - 1; i >= 0; i--) {
        CHECK(one->ops->mix(one, mix + i, 1, other_wave[i]) == COC_OK);
        CHECK(coc_features_compute(one, COC_FEATURES_HPS, other_wave[i], 1, other + i * HPS) ==
              COC_OK);
    }
    CHECK(memcmp(wave, other_wave, sizeof wave) == 0);
    CHECK(memcmp(out, other, sizeof out) == 0);
    CHECK(coc_features_compute(three, COC_FEATURES_MEL, wave[0], CLIPS, out) == COC_OK);
    for (int i = 0; i < CLIPS; i++)
        CHECK(coc_features_compute(one, COC_FEATURES_MEL, wave[i], 1, other + i * MEL) == COC_OK);
    CHECK(memcmp(out, other, CLIPS * MEL * sizeof *out) == 0);
    coc_features_destroy(&one);
    coc_features_destroy(&three);
}

/* Silence is 0 dB everywhere in both channels, and -100 dB in log-mel. */
static void silence_has_no_level_of_its_own(const char *backend)
{
    coc_features *features = create(backend, 0);

    memset(wave[0], 0, sizeof wave[0]);
    CHECK(coc_features_compute(features, COC_FEATURES_HPS, wave[0], 1, out) == COC_OK);
    for (int i = 0; i < HPS; i++)
        CHECK(out[i] == 0);
    CHECK(coc_features_compute(features, COC_FEATURES_MEL, wave[0], 1, out) == COC_OK);
    for (int i = 0; i < MEL; i++)
        CHECK_NEAR(out[i], -100, 1e-5);
    coc_features_destroy(&features);
}

/* One click is percussive only: the harmonic channel has no power, so it is 0 dB everywhere, and
 * the percussive one lies in [-80, 0] with 0 where the click is. */
static void click_has_an_empty_harmonic_channel(const char *backend)
{
    coc_features *features = create(backend, 0);
    float loudest = -80;

    memset(wave[0], 0, sizeof wave[0]);
    wave[0][40000] = 0.5f;
    CHECK(coc_features_compute(features, COC_FEATURES_HPS, wave[0], 1, out) == COC_OK);
    for (int i = 0; i < MEL; i++)
        CHECK(out[i] == 0);
    for (int i = 0; i < MEL; i++) {
        const int frame = i % COC_FRAMES;

        CHECK(out[MEL + i] >= -80 && out[MEL + i] <= 0);
        if (frame < 248 || frame > 252) CHECK(out[MEL + i] == -80);
        if (out[MEL + i] > loudest) loudest = out[MEL + i];
    }
    CHECK(loudest == 0);
    coc_features_destroy(&features);
}

/* A constant is in no band but the lowest ones: the highest is 80 dB below the lowest, away from
 * the clip's ends, where the silence around it makes an edge. In log-mel there is no edge: the
 * clip is mirrored, so all frames are equal. */
static void constant_is_in_the_lowest_bands(const char *backend)
{
    coc_features *features = create(backend, 0);

    for (int t = 0; t < COC_CLIP_SAMPLES; t++)
        wave[0][t] = 0.25f;
    CHECK(coc_features_compute(features, COC_FEATURES_HPS, wave[0], 1, out) == COC_OK);
    CHECK(out[250] > -1 && out[(COC_BANDS - 1) * COC_FRAMES + 250] == -80);
    CHECK(coc_features_compute(features, COC_FEATURES_MEL, wave[0], 1, out) == COC_OK);
    for (int frame = 1; frame < COC_FRAMES; frame++)
        CHECK_NEAR(out[frame], out[0], 1e-4);
    coc_features_destroy(&features);
}

static void silence_and_single_sounds(void)
{
    /* Signals whose features are known must have them, on both backends. */
    for (int i = 0; i < 2; i++) {
        const char *backend = i == 0 ? "ref" : "cpu";

        silence_has_no_level_of_its_own(backend);
        click_has_an_empty_harmonic_channel(backend);
        constant_is_in_the_lowest_bands(backend);
    }
}

/* A backend that is not built in is refused by name, and nothing is left to destroy. */
static void unknown_backend_is_refused(void)
{
    coc_features *features = (coc_features *)out;

    CHECK(coc_features_create("gpu", 0, &features) == COC_ERR_SETTING);
    CHECK(features == NULL && strstr(coc_error_text(), "'gpu'") != NULL);
    coc_features_destroy(&features);
    CHECK(coc_feature_channels(COC_FEATURES_HPS) == 2);
    CHECK(coc_feature_channels(COC_FEATURES_MEL) == 1);
}

int main(void)
{
    make_stems();
    RUN(fast_mix_equals_the_reference);
    RUN(fast_features_equal_the_reference);
    RUN(do_not_depend_on_batches_and_threads);
    RUN(silence_and_single_sounds);
    RUN(unknown_backend_is_refused);
    return coc_test_result();
}
