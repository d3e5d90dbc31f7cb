#include "preprocess/mel_bank.h"

#include <math.h>

static const double lowest_hz = 60.0, highest_hz = 7800.0;

/* Slaney: 200/3 Hz a mel up to 1000 Hz = 15 mel, then 27 mel for every factor of 6.4. */
static const double slaney_hz_a_mel = 200.0 / 3.0, slaney_knee_hz = 1000.0, slaney_knee_mel = 15.0;

static double slaney_step(void)
{
    return log(6.4) / 27.0;
}

static double mel_of(coc_mel_scale scale, double hz)
{
    if (scale == COC_MEL_HTK) return 2595.0 * log10(1.0 + hz / 700.0);
    if (hz < slaney_knee_hz) return hz / slaney_hz_a_mel;
    return slaney_knee_mel + log(hz / slaney_knee_hz) / slaney_step();
}

static double hz_of(coc_mel_scale scale, double mel)
{
    if (scale == COC_MEL_HTK) return 700.0 * (pow(10.0, mel / 2595.0) - 1.0);
    if (mel < slaney_knee_mel) return mel * slaney_hz_a_mel;
    return slaney_knee_hz * exp(slaney_step() * (mel - slaney_knee_mel));
}

void coc_mel_bank(coc_mel_scale scale, double (*weight)[COC_BINS])
{
    const double low = mel_of(scale, lowest_hz), high = mel_of(scale, highest_hz);
    double corner[COC_BANDS + 2]; /* Hz */

    for (int i = 0; i < COC_BANDS + 2; i++)
        corner[i] = hz_of(scale, low + (high - low) * i / (COC_BANDS + 1));
    for (int band = 0; band < COC_BANDS; band++) {
        const double left = corner[band], top = corner[band + 1], right = corner[band + 2];
        const double height = scale == COC_MEL_SLANEY ? 2.0 / (right - left) : 1.0;

        for (int bin = 0; bin < COC_BINS; bin++) {
            const double hz = (double)bin * COC_SAMPLE_RATE / COC_FFT_SIZE;
            const double side = fmin((hz - left) / (top - left), (right - hz) / (right - top));

            weight[band][bin] = height * fmax(0.0, side);
        }
    }
}
