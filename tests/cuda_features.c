/* The features of backend `cuda` against the reference, and what must not change them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "preprocess/features.h"
#include "tests/test.h"

enum {
    CLIPS = 6,
    MANY = 35, /* more than the backend takes at a time */
    STEMS = 3,
    CROWD = 70, /* stems of a clip: more than are copied at a time */
    MEL = COC_BANDS * COC_FRAMES,
    HPS = 2 * MEL,
};

static int16_t pcm[STEMS][COC_CLIP_SAMPLES];
static const int16_t *const stems[STEMS] = {pcm[0], pcm[1], pcm[2]};
static float wave[CLIPS][COC_CLIP_SAMPLES];
static float want[CLIPS * HPS], got[MANY * HPS];
static coc_features *ref, *cuda;

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
    pcm[2][0] = INT16_MIN;
    pcm[2][COC_CLIP_SAMPLES - 1] = INT16_MAX;
}

/* Clip 0: all stems. 1: one stem with a small exponent. 2: noise alone. 3: two stems and noise.
 * 4: silence. 5: a tone a million times louder than what is added to it. */
static void make_mixes(coc_mix *mix)
{
    static const float gains[CLIPS][STEMS] = {
        {0x1p-15f, 0x1p-16f, 0x1p-18f}, {0x1p-25f}, {0},
        {0x1p-17f, 0x1p-15f},           {0},        {0x1p-15f, 0x1p-35f, 0x1p-35f}};
    static const int counts[CLIPS] = {3, 1, 0, 2, 0, 3};
    static const float noises[CLIPS] = {0, 0, 1e-3f, 1, 0, 0};

    for (int i = 0; i < CLIPS; i++)
        mix[i] = (coc_mix){.stems = counts[i],
                           .pcm = stems,
                           .gain = gains[i],
                           .noise = noises[i],
                           .noise_key = {.seed = UINT64_C(0x123456789abcdef0),
                                         .draw = COC_DRAW_NOISE,
                                         .item = (uint32_t)i,
                                         .step = 77,
                                         .view = 1,
                                         .layer = 300}};
}

/* Device memory for n floats, holding `values` where given. */
static float *on_device(int64_t n, const float *values)
{
    const coc_device *device = cuda->device;
    void *memory = NULL;

    if (device->alloc(device, (size_t)n * sizeof(float), &memory) != COC_OK ||
        (values != NULL &&
         device->copy(device, memory, values, (size_t)n * sizeof(float), cuda->stream) != COC_OK) ||
        device->wait(device, cuda->stream) != COC_OK) {
        printf("%s\n", coc_error_text());
        exit(1);
    }
    return memory;
}

/* To the host, once the stream has come so far; gives the device memory back. */
static void fetch(float *memory, int64_t n, float *values)
{
    const coc_device *device = cuda->device;

    CHECK(device->copy(device, values, memory, (size_t)n * sizeof(float), cuda->stream) == COC_OK);
    CHECK(device->wait(device, cuda->stream) == COC_OK);
    device->release(device, memory);
}

/* Features of n clips on the host by the GPU. */
static void compute(coc_feature_kind kind, const float *clips, int64_t n, float *out)
{
    const int64_t floats = kind == COC_FEATURES_HPS ? HPS : MEL;
    float *x = on_device(n * COC_CLIP_SAMPLES, clips), *y = on_device(n * floats, NULL);

    CHECK(coc_features_compute(cuda, kind, x, n, y) == COC_OK);
    fetch(y, n * floats, out);
    cuda->device->release(cuda->device, x);
}

/* Worst difference; a NaN fails. */
static void check_decibels(const float *a, const float *b, int64_t n, double tolerance)
{
    double worst = 0;

    for (int64_t i = 0; i < n; i++) {
        const double difference = fabs((double)a[i] - (double)b[i]);

        if (!(difference <= worst)) worst = difference;
    }
    CHECK_NEAR(worst, 0, tolerance);
}

/* A mix is the reference's but for roundings of the sum and of the noise. The stems may change as
 * soon as the call is over. */
static void mix_equals_the_reference(void)
{
    static float of_ref[CLIPS][COC_CLIP_SAMPLES];
    static int16_t kept[STEMS][COC_CLIP_SAMPLES];
    float *y = on_device(CLIPS * COC_CLIP_SAMPLES, NULL);
    coc_mix mix[CLIPS];

    make_mixes(mix);
    REQUIRE_OK(ref->ops->mix(ref, mix, CLIPS, of_ref[0]));
    memcpy(kept, pcm, sizeof pcm);
    REQUIRE_OK(cuda->ops->mix(cuda, mix, CLIPS, y));
    memset(pcm, 0x55, sizeof pcm);
    memset(mix, 0, sizeof mix);
    fetch(y, CLIPS * COC_CLIP_SAMPLES, wave[0]);
    memcpy(pcm, kept, sizeof pcm);
    CHECK_CLOSE(wave[0], of_ref[0], CLIPS * COC_CLIP_SAMPLES, 3e-7, 1e-6);
    CHECK_NEAR(wave[1][777], ldexp((double)pcm[0][777], -25), 0);
}

/* Clips of more stems than fit one copy, and more clips than fit one, are mixed in parts: the
 * result is the reference's, and the same bits as of every clip alone. */
static void many_stems_are_mixed_in_parts(void)
{
    enum { ALL = 4 * CLIPS };
    static const int compared[] = {5, 6, 7, 8, 9, 22};
    static const int16_t *crowd[CROWD];
    static float gain[CROWD], of_ref[COC_CLIP_SAMPLES], alone[COC_CLIP_SAMPLES];
    static float all[ALL][COC_CLIP_SAMPLES];
    float *y = on_device(ALL * COC_CLIP_SAMPLES, NULL);
    coc_mix mix[ALL];

    for (int s = 0; s < CROWD; s++) {
        crowd[s] = pcm[s % STEMS];
        gain[s] = ldexpf(1, -18 - s % 5);
    }
    for (int i = 0; i < 4; i++)
        make_mixes(mix + i * CLIPS);
    for (int i = 7; i < ALL; i += i == 7 ? 1 : 14) {
        mix[i] = (coc_mix){.stems = CROWD, .pcm = crowd, .gain = gain, .noise = 0.5f};
        mix[i].noise_key.item = (uint32_t)i;
    }
    REQUIRE_OK(cuda->ops->mix(cuda, mix, ALL, y));
    fetch(y, ALL * COC_CLIP_SAMPLES, all[0]);
    for (size_t c = 0; c < sizeof compared / sizeof compared[0]; c++) {
        const int i = compared[c];

        REQUIRE_OK(ref->ops->mix(ref, &mix[i], 1, of_ref));
        CHECK_CLOSE(all[i], of_ref, COC_CLIP_SAMPLES, 3e-7, 3e-6);
        y = on_device(COC_CLIP_SAMPLES, NULL);
        REQUIRE_OK(cuda->ops->mix(cuda, &mix[i], 1, y));
        fetch(y, COC_CLIP_SAMPLES, alone);
        CHECK(memcmp(alone, all[i], sizeof alone) == 0);
    }
}

/* More silent clips than one copy describes are silent. */
static void many_silent_clips(void)
{
    enum { SILENT = 150 };
    static coc_mix mix[SILENT];
    static float all[SILENT][COC_CLIP_SAMPLES];
    float *y = on_device(SILENT * COC_CLIP_SAMPLES, NULL);
    int sounds = 0;

    REQUIRE_OK(cuda->ops->mix(cuda, mix, SILENT, y));
    fetch(y, SILENT * COC_CLIP_SAMPLES, all[0]);
    for (int i = 0; i < SILENT; i++)
        for (int t = 0; t < COC_CLIP_SAMPLES; t++)
            sounds += !(all[i][t] == 0);
    CHECK(sounds == 0);
}

/* The features of the same waveforms are the reference's. Both transform in double; single
 * precision begins at the powers, so 1e-4 dB is some 30 roundings of a power. */
static void features_equal_the_reference(void)
{
    coc_mix mix[CLIPS];

    make_mixes(mix);
    REQUIRE_OK(ref->ops->mix(ref, mix, CLIPS, wave[0]));
    REQUIRE_OK(coc_features_compute(ref, COC_FEATURES_HPS, wave[0], CLIPS, want));
    compute(COC_FEATURES_HPS, wave[0], CLIPS, got);
    for (int i = 0; i < CLIPS; i++)
        check_decibels(got + i * HPS, want + i * HPS, HPS, 1e-4);
    REQUIRE_OK(coc_features_compute(ref, COC_FEATURES_MEL, wave[0], CLIPS, want));
    compute(COC_FEATURES_MEL, wave[0], CLIPS, got);
    for (int i = 0; i < CLIPS; i++)
        check_decibels(got + i * MEL, want + i * MEL, MEL, 1e-4);
}

/* The bits of a clip's features do not depend on which clips are computed with it, nor on how many
 * or in which order. */
static void bits_do_not_depend_on_the_batch(void)
{
    static float many[MANY][COC_CLIP_SAMPLES], one[HPS];

    for (int i = 0; i < MANY; i++)
        memcpy(many[i], wave[i % CLIPS], sizeof many[i]);
    for (int kind = 0; kind < 2; kind++) {
        const coc_feature_kind k = kind == 0 ? COC_FEATURES_HPS : COC_FEATURES_MEL;
        const int64_t floats = kind == 0 ? HPS : MEL;

        compute(k, many[0], MANY, got);
        for (int i = MANY - 1; i >= MANY - 4; i--) {
            compute(k, wave[i % CLIPS], 1, one);
            CHECK(memcmp(one, got + i * floats, (size_t)floats * sizeof *one) == 0);
            CHECK(memcmp(one, got + i % CLIPS * floats, (size_t)floats * sizeof *one) == 0);
        }
    }
}

/* Silence is 0 dB everywhere in both channels, and -100 dB in log-mel. */
static void silence_has_no_level_of_its_own(void)
{
    int others = 0;

    memset(wave[0], 0, sizeof wave[0]);
    compute(COC_FEATURES_HPS, wave[0], 1, got);
    for (int i = 0; i < HPS; i++)
        others += !(got[i] == 0);
    CHECK(others == 0);
    compute(COC_FEATURES_MEL, wave[0], 1, got);
    for (int i = 0; i < MEL; i++)
        CHECK_NEAR(got[i], -100, 1e-5);
}

/* One click is percussive only: the harmonic channel has no power, so it is 0 dB everywhere, and
 * the percussive one lies in [-80, 0] with 0 where the click is. */
static void click_has_an_empty_harmonic_channel(void)
{
    float loudest = -80;

    memset(wave[0], 0, sizeof wave[0]);
    wave[0][40000] = 0.5f;
    compute(COC_FEATURES_HPS, wave[0], 1, got);
    for (int i = 0; i < MEL; i++)
        CHECK(got[i] == 0);
    for (int i = 0; i < MEL; i++) {
        const int frame = i % COC_FRAMES;

        CHECK(got[MEL + i] >= -80 && got[MEL + i] <= 0);
        if (frame < 248 || frame > 252) CHECK(got[MEL + i] == -80);
        if (got[MEL + i] > loudest) loudest = got[MEL + i];
    }
    CHECK(loudest == 0);
}

/* Waveform, features and result follow one another on the stream without a wait between them. */
static void whole_path_needs_no_wait(void)
{
    coc_mix mix[CLIPS];
    float *x = on_device(CLIPS * COC_CLIP_SAMPLES, NULL), *y = on_device(CLIPS * HPS, NULL);

    make_mixes(mix);
    REQUIRE_OK(ref->ops->mix(ref, mix, CLIPS, wave[0]));
    REQUIRE_OK(coc_features_compute(ref, COC_FEATURES_HPS, wave[0], CLIPS, want));
    for (int i = 0; i < 3; i++) {
        REQUIRE_OK(cuda->ops->mix(cuda, mix, CLIPS, x));
        REQUIRE_OK(coc_features_compute(cuda, COC_FEATURES_HPS, x, CLIPS, y));
    }
    fetch(y, CLIPS * HPS, got);
    cuda->device->release(cuda->device, x);
    /* Waveforms differ by roundings, which show where masks compare very small powers. */
    CHECK(coc_test_relative_error(got, want, CLIPS * HPS) < 1e-4);
}

int main(void)
{
    if (coc_features_create("cuda", 2, &cuda) != COC_OK) {
        printf("skipped: %s\n", coc_error_text());
        return COC_TEST_SKIPPED;
    }
    if (coc_features_create("ref", 0, &ref) != COC_OK) return 1;
    make_stems();
    RUN(mix_equals_the_reference);
    RUN(many_stems_are_mixed_in_parts);
    RUN(many_silent_clips);
    RUN(features_equal_the_reference);
    RUN(bits_do_not_depend_on_the_batch);
    RUN(silence_has_no_level_of_its_own);
    RUN(click_has_an_empty_harmonic_channel);
    RUN(whole_path_needs_no_wait);
    coc_features_destroy(&ref);
    coc_features_destroy(&cuda);
    return coc_test_result();
}
