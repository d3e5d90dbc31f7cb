/* Mixing, padding and power spectra of the fast features. */
#include <math.h>
#include <string.h>

#include "preprocess/features_cpu.h"

void coc_mix_clip(const coc_mix *mix, float *wave)
{
    if (mix->noise != 0) {
        coc_rng_normal(&mix->noise_key, 0, COC_CLIP_SAMPLES, wave);
        for (int t = 0; t < COC_CLIP_SAMPLES; t++)
            wave[t] *= mix->noise;
    } else {
        memset(wave, 0, COC_CLIP_SAMPLES * sizeof *wave);
    }
    for (int s = 0; s < mix->stems; s++) {
        const int16_t *pcm = mix->pcm[s];
        const float gain = mix->gain[s];

        for (int t = 0; t < COC_CLIP_SAMPLES; t++)
            wave[t] += gain * (float)pcm[t];
    }
}

void coc_pad_zeros(const float *wave, float *padded)
{
    memset(padded, 0, COC_EDGE * sizeof *padded);
    memcpy(padded + COC_EDGE, wave, COC_CLIP_SAMPLES * sizeof *padded);
    memset(padded + COC_EDGE + COC_CLIP_SAMPLES, 0,
           (COC_PADDED_SAMPLES - COC_EDGE - COC_CLIP_SAMPLES) * sizeof *padded);
}

void coc_pad_mirrored(const float *wave, float *padded)
{
    float *end = padded + COC_EDGE + COC_CLIP_SAMPLES;

    coc_pad_zeros(wave, padded);
    for (int i = 0; i < COC_EDGE; i++) {
        padded[i] = wave[COC_EDGE - i];
        end[i] = wave[COC_CLIP_SAMPLES - 2 - i];
    }
}

coc_status coc_stft_create(coc_stft *stft)
{
    const double pi = acos(-1.0);

    for (int i = 0; i < COC_FFT_WINDOW; i++) /* periodic Hann */
        stft->window[i] = 0.5 - 0.5 * cos(2 * pi * i / COC_FFT_WINDOW);
    return coc_fft_create(&stft->fft);
}

void coc_stft_destroy(coc_stft *stft)
{
    coc_fft_destroy(&stft->fft);
}

/* The window stands at the start of the transform instead of its middle: powers do not know. Some
 * samples of a lane at a time, since gcc turns the plain transposing loop into slow gathers. */
static void window_frames(const double *window, const float *padded, double *x)
{
    enum { STEP = 4 };

    for (int i = 0; i < COC_FFT_WINDOW; i += STEP)
        for (int l = 0; l < COC_FFT_LANES; l++) {
            const float *sample = padded + l * COC_FFT_HOP + i;
            double product[STEP];

            for (int j = 0; j < STEP; j++)
                product[j] = window[i + j] * (double)sample[j];
            for (int j = 0; j < STEP; j++)
                x[(i + j) * COC_FFT_LANES + l] = product[j];
        }
    memset(x + COC_FFT_WINDOW * COC_FFT_LANES, 0,
           (COC_FFT_SUPPORT - COC_FFT_WINDOW) * COC_FFT_LANES * sizeof *x);
}

void coc_mirror_rows(float *power)
{
    float *first = power + COC_MARGIN * COC_ROW, *end = first + COC_BINS * COC_ROW;
    const int below = COC_POWER_ROWS - COC_MARGIN - COC_BINS;

    memset(end, 0, below * COC_ROW * sizeof *power);
    for (int i = 0; i < COC_MARGIN; i++) {
        memcpy(first - (i + 1) * COC_ROW, first + i * COC_ROW, COC_ROW * sizeof *power);
        memcpy(end + i * COC_ROW, end - (i + 1) * COC_ROW, COC_ROW * sizeof *power);
    }
}

void coc_stft_power(const coc_stft *stft, const float *padded, double *work, float *power)
{
    for (int t = 0; t < COC_FRAMES_USED; t += COC_FFT_LANES) {
        window_frames(stft->window, padded + t * COC_FFT_HOP, work);
        coc_fft_power(stft->fft, work, power + COC_MARGIN * COC_ROW + t, COC_ROW);
    }
    coc_mirror_rows(power);
}
