/* The features as plain loops in double: what the fast backends are compared with, and the text to
 * read for what is computed. Sources: librosa 0.10 (stft, decompose.hpss, feature.melspectrogram,
 * power_to_db) and torchaudio 2.2 (MelSpectrogram, AmplitudeToDB), see docs/features.md. */
#include <complex.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "preprocess/features_backends.h"
#include "preprocess/mel_bank.h"

enum { PADDING = COC_FFT_SIZE / 2, HALF_TAPS = COC_MEDIAN_TAPS / 2 };

typedef struct {
    double window[COC_FFT_SIZE]; /* zero outside the middle COC_FFT_WINDOW samples */
    double complex root[COC_FFT_SIZE];
    double slaney[COC_BANDS][COC_BINS], htk[COC_BANDS][COC_BINS];
    double padded[COC_CLIP_SAMPLES + 2 * PADDING];
    double magnitude[COC_BINS][COC_FRAMES];
    double harmonic[COC_BINS][COC_FRAMES], percussive[COC_BINS][COC_FRAMES]; /* medians */
    double power[COC_BINS][COC_FRAMES];
    double band[COC_BANDS][COC_FRAMES];
    float noise[COC_CLIP_SAMPLES];
} reference;

static coc_status ref_create(coc_features *features)
{
    const double pi = acos(-1.0);
    reference *r;

    features->device = coc_device_host();
    features->threads = 1;
    COC_TRY(coc_alloc(1, sizeof(reference), &features->impl));
    r = features->impl;
    for (int i = 0; i < COC_FFT_WINDOW; i++) /* periodic Hann */
        r->window[(COC_FFT_SIZE - COC_FFT_WINDOW) / 2 + i] =
            0.5 - 0.5 * cos(2 * pi * i / COC_FFT_WINDOW);
    for (int i = 0; i < COC_FFT_SIZE; i++)
        r->root[i] = cexp(-2 * pi * I * i / COC_FFT_SIZE);
    coc_mel_bank(COC_MEL_SLANEY, r->slaney);
    coc_mel_bank(COC_MEL_HTK, r->htk);
    return COC_OK;
}

static void ref_destroy(coc_features *features)
{
    free(features->impl);
}

static coc_status ref_mix(coc_features *features, const coc_mix *mixes, int64_t n, float *wave)
{
    reference *r = features->impl;

    for (int64_t i = 0; i < n; i++) {
        const coc_mix *mix = &mixes[i];

        memset(r->noise, 0, sizeof r->noise);
        if (mix->noise != 0) coc_rng_normal(&mix->noise_key, 0, COC_CLIP_SAMPLES, r->noise);
        for (int t = 0; t < COC_CLIP_SAMPLES; t++) {
            double sum = (double)mix->noise * r->noise[t];

            for (int s = 0; s < mix->stems; s++)
                sum += (double)mix->gain[s] * mix->pcm[s][t];
            wave[i * COC_CLIP_SAMPLES + t] = (float)sum;
        }
    }
    return COC_OK;
}

/* x [n] -> y [n], the discrete Fourier transform by halves; x is read at every step-th place, and
 * n * step = COC_FFT_SIZE. root[i] = exp(-2 pi j i / COC_FFT_SIZE). */
static void transform(int n, const double *x, int step, const double complex *root,
                      double complex *y)
{
    if (n == 1) {
        y[0] = x[0];
        return;
    }
    transform(n / 2, x, 2 * step, root, y);
    transform(n / 2, x + step, 2 * step, root, y + n / 2);
    for (int k = 0; k < n / 2; k++) {
        const double complex even = y[k], odd = root[k * step] * y[k + n / 2];

        y[k] = even + odd;
        y[k + n / 2] = even - odd;
    }
}

/* |X| of the frames of r->padded, into r->magnitude. */
static void spectrogram(reference *r)
{
    double frame[COC_FFT_SIZE];
    double complex spectrum[COC_FFT_SIZE];

    for (int t = 0; t < COC_FRAMES; t++) {
        for (int i = 0; i < COC_FFT_SIZE; i++)
            frame[i] = r->window[i] * r->padded[t * COC_FFT_HOP + i];
        transform(COC_FFT_SIZE, frame, 1, r->root, spectrum);
        for (int k = 0; k < COC_BINS; k++)
            r->magnitude[k][t] = cabs(spectrum[k]);
    }
}

/* Place of index i in 0 .. n - 1 when the edges mirror with the edge itself repeated:
 * d c b a | a b c d | d c b a [scipy.ndimage, mode "reflect"]. */
static int mirrored(int i, int n)
{
    if (i < 0) return -1 - i;
    return i < n ? i : 2 * n - 1 - i;
}

static double middle_of(double *value)
{
    for (int i = 1; i < COC_MEDIAN_TAPS; i++) {
        const double moving = value[i];
        int j = i;

        for (; j > 0 && value[j - 1] > moving; j--)
            value[j] = value[j - 1];
        value[j] = moving;
    }
    return value[HALF_TAPS];
}

/* Tones are smooth along time, clicks along frequency. */
static void medians(reference *r)
{
    double along_time[COC_MEDIAN_TAPS], along_frequency[COC_MEDIAN_TAPS];

    for (int k = 0; k < COC_BINS; k++)
        for (int t = 0; t < COC_FRAMES; t++) {
            for (int i = 0; i < COC_MEDIAN_TAPS; i++) {
                along_time[i] = r->magnitude[k][mirrored(t + i - HALF_TAPS, COC_FRAMES)];
                along_frequency[i] = r->magnitude[mirrored(k + i - HALF_TAPS, COC_BINS)][t];
            }
            r->harmonic[k][t] = middle_of(along_time);
            r->percussive[k][t] = middle_of(along_frequency);
        }
}

/* r->power = (S M)^2 with the soft mask M of `wanted` against `other` [librosa.util.softmask, power
 * 2, margin 1]. */
static void masked_power(reference *r, double (*wanted)[COC_FRAMES], double (*other)[COC_FRAMES])
{
    for (int k = 0; k < COC_BINS; k++)
        for (int t = 0; t < COC_FRAMES; t++) {
            const double z = fmax(wanted[k][t], other[k][t]);
            double mask = 0.5;

            if (z >= (double)FLT_MIN) {
                const double a = wanted[k][t] / z, b = other[k][t] / z;

                mask = a * a / (a * a + b * b);
            }
            r->power[k][t] = r->magnitude[k][t] * mask * (r->magnitude[k][t] * mask);
        }
}

/* r->band = weight r->power */
static void sum_bands(reference *r, double (*weight)[COC_BINS])
{
    memset(r->band, 0, sizeof r->band);
    for (int b = 0; b < COC_BANDS; b++)
        for (int k = 0; k < COC_BINS; k++)
            for (int t = 0; t < COC_FRAMES; t++)
                r->band[b][t] += weight[b][k] * r->power[k][t];
}

/* out [COC_BANDS][COC_FRAMES]: dB below the loudest value, at most 80 [librosa.power_to_db with ref
 * = max]. */
static void relative_decibels(const reference *r, float *out)
{
    double loudest = 1e-10;

    for (int b = 0; b < COC_BANDS; b++)
        for (int t = 0; t < COC_FRAMES; t++)
            loudest = fmax(loudest, r->band[b][t]);
    for (int b = 0; b < COC_BANDS; b++)
        for (int t = 0; t < COC_FRAMES; t++) {
            const double db = 10 * log10(fmax(1e-10, r->band[b][t])) - 10 * log10(loudest);

            *out++ = (float)fmax(db, -80.0);
        }
}

static coc_status ref_hps(coc_features *features, const float *wave, int64_t n, float *out)
{
    const int64_t channel = COC_BANDS * COC_FRAMES;
    reference *r = features->impl;

    for (int64_t i = 0; i < n; i++, wave += COC_CLIP_SAMPLES, out += 2 * channel) {
        memset(r->padded, 0, sizeof r->padded); /* silence before and after */
        for (int t = 0; t < COC_CLIP_SAMPLES; t++)
            r->padded[PADDING + t] = wave[t];
        spectrogram(r);
        medians(r);
        masked_power(r, r->harmonic, r->percussive);
        sum_bands(r, r->slaney);
        relative_decibels(r, out);
        masked_power(r, r->percussive, r->harmonic);
        sum_bands(r, r->slaney);
        relative_decibels(r, out + channel);
    }
    return COC_OK;
}

static coc_status ref_mel(coc_features *features, const float *wave, int64_t n, float *out)
{
    reference *r = features->impl;

    for (int64_t i = 0; i < n; i++, wave += COC_CLIP_SAMPLES) {
        for (int t = -PADDING; t < COC_CLIP_SAMPLES + PADDING; t++) {
            /* mirrored at the first and the last sample, which are not repeated */
            const int inside = t < 0 ? -t : t;
            const int last = COC_CLIP_SAMPLES - 1;

            r->padded[PADDING + t] = wave[inside <= last ? inside : 2 * last - inside];
        }
        spectrogram(r);
        for (int k = 0; k < COC_BINS; k++)
            for (int t = 0; t < COC_FRAMES; t++)
                r->power[k][t] = r->magnitude[k][t] * r->magnitude[k][t];
        sum_bands(r, r->htk);
        for (int b = 0; b < COC_BANDS; b++)
            for (int t = 0; t < COC_FRAMES; t++)
                *out++ = (float)(10 * log10(fmax(1e-10, r->band[b][t])));
    }
    return COC_OK;
}

const coc_feature_ops coc_features_ref = {.name = "ref",
                                          .chunk = COC_HOST_CHUNK,
                                          .bytes = coc_features_no_bytes,
                                          .create = ref_create,
                                          .destroy = ref_destroy,
                                          .mix = ref_mix,
                                          .mix_feed = coc_features_mix_feed,
                                          .hps = ref_hps,
                                          .mel = ref_mel,
                                          .crop = coc_features_crop};
