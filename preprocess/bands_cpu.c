/* Soft masks, mel bands and decibels of the fast features. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "preprocess/features_cpu.h"

/* With H = harm^2 and P = perc^2 the masks are H / (H + P) and P / (H + P). The smallest float,
 * added to both, makes them 0.5 where both are 0 and is lost in rounding elsewhere. */
void coc_mask_block(const float *power, float *harmonic, float *percussive)
{
    for (int k = 0; k < COC_BLOCK; k++) {
        const float *s = power + k * COC_ROW;
        float *h = harmonic + k * COC_ROW, *p = percussive + k * COC_ROW;

#pragma omp simd
        for (int t = 0; t < COC_FRAMES_USED; t++) {
            const float a = h[t] + FLT_MIN, b = p[t] + FLT_MIN, inverse = 1.0f / (a + b);

            h[t] = s[t] * (a * inverse * (a * inverse));
            p[t] = s[t] * (b * inverse * (b * inverse));
        }
    }
}

void coc_mel_table_fill(coc_mel_table *table, coc_mel_scale scale)
{
    double weight[COC_BANDS][COC_BINS];

    coc_mel_bank(scale, weight);
    memset(table, 0, sizeof *table);
    for (int bin = 0; bin < COC_BINS; bin++) {
        int band = 0;

        while (band < COC_BANDS - 2 && weight[band][bin] == 0)
            band++;
        table->first[bin] = band;
        table->weight[bin][0] = (float)weight[band][bin];
        table->weight[bin][1] = (float)weight[band + 1][bin];
    }
}

void coc_mel_add(const coc_mel_table *table, int bin, const float *power, float *bands)
{
    const int end = bin + COC_BLOCK < COC_BINS ? bin + COC_BLOCK : COC_BINS;

    for (; bin < end; bin++, power += COC_ROW) {
        const float w0 = table->weight[bin][0], w1 = table->weight[bin][1];
        float *a = bands + table->first[bin] * COC_ROW, *b = a + COC_ROW;

        if (w0 == 0 && w1 == 0) continue; /* below 60 Hz, above 7800 Hz */
#pragma omp simd
        for (int t = 0; t < COC_FRAMES_USED; t++) {
            a[t] += w0 * power[t];
            b[t] += w1 * power[t];
        }
    }
}

/* 10 log10(max(1e-10, x)), to 1e-5 dB: x = m 2^e with m in [sqrt 1/2, sqrt 2), and
 * ln m = 2 (s + s^3/3 + s^5/5 + ...) with s = (m - 1) / (m + 1), |s| < 0.172. */
static inline float decibels(float x)
{
    const int32_t root_half = 0x3f3504f3, exponent_one = 1 << 23; /* bits of floats */
    union {
        float value;
        int32_t bits;
    } u = {.value = x > 1e-10f ? x : 1e-10f};
    const int32_t exponent = (u.bits - root_half) >> 23;
    float s, q;

    u.bits -= exponent * exponent_one;
    s = (u.value - 1.0f) / (u.value + 1.0f);
    q = s * s;
    s *= 1.0f + q * (1.0f / 3 + q * (1.0f / 5 + q * (1.0f / 7 + q * (1.0f / 9))));
    return 3.01029996f * (float)exponent + 8.68588964f * s; /* 10 log10(2), 20 / ln 10 */
}

void coc_decibels_absolute(const float *bands, float *out)
{
    for (int b = 0; b < COC_BANDS; b++, bands += COC_ROW, out += COC_FRAMES) {
#pragma omp simd
        for (int t = 0; t < COC_FRAMES; t++)
            out[t] = decibels(bands[t]);
    }
}

static float largest(const float *bands)
{
    float peak[COC_FRAMES] = {0}, all = 0; /* of a frame, of all */

    for (int b = 0; b < COC_BANDS; b++, bands += COC_ROW)
        for (int t = 0; t < COC_FRAMES; t++)
            peak[t] = bands[t] > peak[t] ? bands[t] : peak[t];
    for (int t = 0; t < COC_FRAMES; t++)
        all = peak[t] > all ? peak[t] : all;
    return all;
}

void coc_decibels_relative(const float *bands, float *out)
{
    const float reference = decibels(largest(bands));

    for (int b = 0; b < COC_BANDS; b++, bands += COC_ROW, out += COC_FRAMES) {
#pragma omp simd
        for (int t = 0; t < COC_FRAMES; t++) {
            const float below = decibels(bands[t]) - reference;

            out[t] = below > -80.0f ? below : -80.0f;
        }
    }
}
