/* Features against the published feature code, run in float64.
 *
 *     golden_features [BACKEND]
 *
 * BACKEND: ref, cpu or cuda; otherwise those of the host. */
#include <math.h>
#include <stdlib.h>

#include <hdf5.h>

#include "preprocess/features.h"
#include "tests/test.h"

enum { MEL = COC_BANDS * COC_FRAMES, HPS = 2 * MEL };

static const char *golden;
static const char *backend;

/* A one-dimensional attribute with one value a clip. */
static bool read_errors(const char *dataset, double *value, int64_t clips)
{
    const hid_t file = H5Fopen(golden, H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t attribute = H5Aopen_by_name(file, dataset, "f32_error", H5P_DEFAULT, H5P_DEFAULT);
    const hid_t space = H5Aget_space(attribute);
    const bool good = H5Sget_simple_extent_npoints(space) == clips &&
                      H5Aread(attribute, H5T_NATIVE_DOUBLE, value) >= 0;

    H5Sclose(space);
    H5Aclose(attribute);
    H5Fclose(file);
    return good;
}

/* Features of all golden clips, which are given as one mix of one stem each. */
static float *compute(coc_feature_kind kind, int64_t *clips)
{
    const int64_t floats = kind == COC_FEATURES_HPS ? HPS : MEL;
    int64_t samples;
    int32_t *values = coc_golden_read_int(golden, "pcm", &samples);
    const float gain = 1.0f / 32768;
    float *wave = NULL, *there = NULL, *out;
    const coc_device *device;
    coc_features *features = NULL;

    *clips = samples / COC_CLIP_SAMPLES;
    out = malloc(*clips * floats * sizeof *out);
    if (coc_features_create(backend, 0, &features) != COC_OK) *clips = 0;
    if (*clips == 0) return out;
    device = features->device;
    CHECK(coc_device_alloc(device, samples, sizeof *wave, &wave) == COC_OK);
    CHECK(coc_device_alloc(device, *clips * floats, sizeof *there, &there) == COC_OK);
    for (int64_t i = 0; i < *clips; i++) {
        static int16_t pcm[COC_CLIP_SAMPLES];
        const int16_t *stem = pcm;
        const coc_mix mix = {.stems = 1, .pcm = &stem, .gain = &gain};

        for (int t = 0; t < COC_CLIP_SAMPLES; t++)
            pcm[t] = (int16_t)values[i * COC_CLIP_SAMPLES + t];
        CHECK(features->ops->mix(features, &mix, 1, wave + i * COC_CLIP_SAMPLES) == COC_OK);
        CHECK(device->wait(device, features->stream) == COC_OK); /* pcm is used again */
    }
    CHECK(coc_features_compute(features, kind, wave, *clips, there) == COC_OK);
    CHECK(device->copy(device, out, there, *clips * floats * sizeof *out, features->stream) ==
          COC_OK);
    CHECK(device->wait(device, features->stream) == COC_OK);
    device->release(device, wave);
    device->release(device, there);
    coc_features_destroy(&features);
    free(values);
    return out;
}

/* Compare one clip; values at the floor of -80 dB are cut off, and near it small differences
 * between double and float code decide, so these have a wider tolerance. */
static void check_clip(int64_t clip, const float *got, const float *want, int64_t n, double floor,
                       double tolerance, double tolerance_below)
{
    double worst = 0, worst_below = 0;

    for (int64_t i = 0; i < n; i++) {
        const double difference = fabs((double)got[i] - (double)want[i]);
        double *w = (double)want[i] > floor ? &worst : &worst_below;

        if (!(difference <= *w)) *w = difference; /* also a NaN */
    }
    printf("  %s clip %2lld: worst %.2e dB (tolerance %.2e), near the floor %.2e dB\n", backend,
           (long long)clip, worst, tolerance, worst_below);
    CHECK_NEAR(worst, 0, tolerance);
    CHECK_NEAR(worst_below, 0, tolerance_below);
}

/* Harmonic and percussive features are within 0.01 dB of the published ones (0.1 dB at the floor).
 */
static void hps_equals_the_published_features(void)
{
    int64_t clips, count;
    float *want = coc_golden_read(golden, "hps", &count), *got = compute(COC_FEATURES_HPS, &clips);

    CHECK(clips > 0 && count == clips * HPS);
    for (int64_t i = 0; i < clips && count == clips * HPS; i++)
        check_clip(i, got + i * HPS, want + i * HPS, HPS, -79.9, 1e-2, 1e-1);
    free(want);
    free(got);
}

/* Log-mel features are within 0.01 dB of the published ones, or within three times what the
 * published float32 code itself differs from them. */
static void log_mel_equals_the_published_features(void)
{
    int64_t clips, count;
    float *want = coc_golden_read(golden, "logmel", &count),
          *got = compute(COC_FEATURES_MEL, &clips);
    double error[64] = {0};

    CHECK(clips > 0 && clips <= 64 && count == clips * MEL);
    CHECK(read_errors("logmel", error, clips));
    for (int64_t i = 0; i < clips && count == clips * MEL; i++)
        check_clip(i, got + i * MEL, want + i * MEL, MEL, -1000, fmax(1e-2, 3 * error[i]), 0);
    free(want);
    free(got);
}

int main(int argc, char **argv)
{
    const char *const host[] = {"ref", "cpu", NULL}, *const only[] = {argv[1], NULL};
    static char path[4096];
    coc_features *features;

    if (coc_golden_path("features.h5") == NULL) return COC_TEST_SKIPPED;
    snprintf(path, sizeof path, "%s", coc_golden_path("features.h5"));
    golden = path;
    if (argc > 1 && coc_features_create(argv[1], 0, &features) != COC_OK) {
        printf("skipped: %s\n", coc_error_text());
        return COC_TEST_SKIPPED;
    }
    if (argc > 1) coc_features_destroy(&features);
    for (const char *const *b = argc > 1 ? only : host; *b != NULL; b++) {
        backend = *b;
        RUN(hps_equals_the_published_features);
        RUN(log_mel_equals_the_published_features);
    }
    return coc_test_result();
}
