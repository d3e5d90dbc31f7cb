/* preprocess/fft.h against the defining sum. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/device.h"
#include "preprocess/features.h"
#include "preprocess/fft.h"
#include "tests/test.h"

enum { LANES = COC_FFT_LANES, STRIDE = COC_FFT_LANES + 3 };

static coc_fft *fft;
static double *work;
static float power[COC_BINS * STRIDE];

/* Samples of every lane, of sizes from 1e-6 to 10, the first half of the transform at most. */
static void fill(double *x, uint32_t seed)
{
    static float value[COC_FFT_SUPPORT * LANES];

    coc_test_random(value, COC_FFT_SUPPORT * LANES, seed);
    for (int i = 0; i < COC_FFT_SUPPORT; i++)
        for (int l = 0; l < LANES; l++)
            x[i * LANES + l] = (double)value[i * LANES + l] * pow(10.0, 1 - l);
}

/* Every bin of every lane is |DFT|^2 of that lane, to the rounding of the float it is stored in
 * plus that of a double transform, which is relative to the largest bin. */
static void equals_the_defining_sum(void)
{
    static double x[COC_FFT_SUPPORT * LANES];
    const double pi = acos(-1.0);

    fill(x, 1);
    memcpy(work, x, sizeof x);
    coc_fft_power(fft, work, power, STRIDE);
    for (int l = 0; l < LANES; l++)
        for (int k = 0; k < COC_BINS; k++) {
            const double size = pow(10.0, 2 * (1 - l)); /* about that of the largest power */
            double re = 0, im = 0;

            for (int i = 0; i < COC_FFT_SUPPORT; i++) {
                const double angle = 2 * pi * (i * k % COC_FFT_SIZE) / COC_FFT_SIZE;

                re += x[i * LANES + l] * cos(angle);
                im -= x[i * LANES + l] * sin(angle);
            }
            CHECK_NEAR(power[k * STRIDE + l], re * re + im * im,
                       1e-7 * (re * re + im * im) + 1e-11 * size);
        }
}

/* A silent lane beside loud ones has exactly no power: nothing leaks from frame to frame. */
static void silence_beside_sound_stays_silent(void)
{
    fill(work, 2);
    for (int i = 0; i < COC_FFT_SUPPORT; i++)
        work[i * LANES + 3] = 0;
    coc_fft_power(fft, work, power, STRIDE);
    for (int k = 0; k < COC_BINS; k++)
        CHECK(power[k * STRIDE + 3] == 0);
}

/* What stood in the work area behind the samples, and between rows of the result, is not read or
 * written. */
static void reads_only_samples_and_writes_only_powers(void)
{
    static float again[COC_BINS * STRIDE];

    fill(work, 3);
    for (int i = COC_FFT_SUPPORT * LANES; i < COC_FFT_WORK; i++)
        work[i] = NAN;
    coc_fft_power(fft, work, power, STRIDE);
    for (int i = 0; i < COC_BINS * STRIDE; i++)
        again[i] = -1;
    fill(work, 3);
    for (int i = COC_FFT_SUPPORT * LANES; i < COC_FFT_WORK; i++)
        work[i] = 0;
    coc_fft_power(fft, work, again, STRIDE);
    for (int k = 0; k < COC_BINS; k++) {
        CHECK_CLOSE(power + k * STRIDE, again + k * STRIDE, LANES, 0, 0);
        for (int l = LANES; l < STRIDE; l++)
            CHECK(again[k * STRIDE + l] == -1);
    }
}

int main(void)
{
    const coc_device *host = coc_device_host();
    void *memory;

    if (host->alloc(host, COC_FFT_WORK * sizeof(double), &memory) != COC_OK ||
        coc_fft_create(&fft) != COC_OK)
        return 1;
    work = memory;
    RUN(equals_the_defining_sum);
    RUN(silence_beside_sound_stays_silent);
    RUN(reads_only_samples_and_writes_only_powers);
    coc_fft_destroy(&fft);
    host->release(host, memory);
    return coc_test_result();
}
