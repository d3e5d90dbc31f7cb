/* A real transform of 1024 as a complex one of 512 (even samples real, odd ones imaginary), by
 * decimation in frequency: radix 4, 4, 4, then 8, in place. Row m of the work area holds the
 * complex value m of all lanes, real parts before imaginary parts; every step works on whole rows,
 * so it vectorises across frames without a shuffle. Parts are finished one after the other: each of
 * the four sub-transforms of 128 stays in the first-level cache. */
#include "preprocess/fft.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "preprocess/features.h"

enum { HALF = COC_FFT_SIZE / 2, LANES = COC_FFT_LANES, ROW = 2 * COC_FFT_LANES };

_Static_assert((int)COC_FFT_SUPPORT <= (int)HALF,
               "the first step takes the upper half of the rows as 0");
_Static_assert((int)COC_FFT_WORK >= (int)HALF * (int)ROW, "the transform is done in the work area");

typedef struct {
    double re, im;
} number;

typedef struct {
    number w[3]; /* exp(-2 pi j n / size) and its square and cube */
} turn;

struct coc_fft {
    turn of_512[128], of_128[32], of_32[8];
    number half_turn[HALF / 2 + 1]; /* exp(-2 pi j k / 1024) */
    int place[HALF];                /* row where frequency k of the complex transform ends up */
};

static number unit(double turns)
{
    const double angle = -2 * acos(-1.0) * turns;

    return (number){cos(angle), sin(angle)};
}

static void fill_turns(turn *turns, int size)
{
    for (int n = 0; n < size / 4; n++)
        for (int power = 1; power <= 3; power++)
            turns[n].w[power - 1] = unit((double)n * power / size);
}

coc_status coc_fft_create(coc_fft **fft)
{
    coc_fft *f;

    COC_TRY(coc_alloc(1, sizeof **fft, fft));
    f = *fft;
    fill_turns(f->of_512, 512);
    fill_turns(f->of_128, 128);
    fill_turns(f->of_32, 32);
    for (int k = 0; k <= HALF / 2; k++)
        f->half_turn[k] = unit((double)k / COC_FFT_SIZE);
    for (int k = 0; k < HALF; k++) /* the lowest digit of k chose the block at the first step */
        f->place[k] = k % 4 * 128 + k / 4 % 4 * 32 + k / 16 % 4 * 8 + k / 64;
    return COC_OK;
}

void coc_fft_destroy(coc_fft **fft)
{
    free(*fft);
    *fft = NULL;
}

const char *coc_fft_name(void)
{
    return "builtin";
}

/* The first step, where rows 256 .. 511 are zero and neither read nor expected to be set. */
static void first_step(const turn *turns, double *z)
{
    for (int n = 0; n < 128; n++) {
        double *a = z + n * ROW, *b = a + 128 * ROW, *c = b + 128 * ROW, *d = c + 128 * ROW;
        const number w1 = turns[n].w[0], w2 = turns[n].w[1], w3 = turns[n].w[2];

#pragma omp simd
        for (int l = 0; l < LANES; l++) {
            const double ar = a[l], ai = a[LANES + l], br = b[l], bi = b[LANES + l];
            const double pr = ar + bi, pi = ai - br; /* a - jb */
            const double mr = ar - br, mi = ai - bi;
            const double qr = ar - bi, qi = ai + br; /* a + jb */

            a[l] = ar + br;
            a[LANES + l] = ai + bi;
            b[l] = pr * w1.re - pi * w1.im;
            b[LANES + l] = pr * w1.im + pi * w1.re;
            c[l] = mr * w2.re - mi * w2.im;
            c[LANES + l] = mr * w2.im + mi * w2.re;
            d[l] = qr * w3.re - qi * w3.im;
            d[LANES + l] = qr * w3.im + qi * w3.re;
        }
    }
}

/* A step of radix 4 over `size` rows: block q of the result holds frequencies 4 k + q. */
static inline void step_of_4(int size, const turn *turns, double *z)
{
    const int quarter = size / 4 * ROW;

    for (int n = 0; n < size / 4; n++) {
        double *a = z + n * ROW, *b = a + quarter, *c = b + quarter, *d = c + quarter;
        const number w1 = turns[n].w[0], w2 = turns[n].w[1], w3 = turns[n].w[2];

#pragma omp simd
        for (int l = 0; l < LANES; l++) {
            const double sr = a[l] + c[l], si = a[LANES + l] + c[LANES + l];
            const double tr = a[l] - c[l], ti = a[LANES + l] - c[LANES + l];
            const double ur = b[l] + d[l], ui = b[LANES + l] + d[LANES + l];
            const double vr = b[l] - d[l], vi = b[LANES + l] - d[LANES + l];
            const double pr = tr + vi, pi = ti - vr; /* t - jv */
            const double mr = sr - ur, mi = si - ui;
            const double qr = tr - vi, qi = ti + vr; /* t + jv */

            a[l] = sr + ur;
            a[LANES + l] = si + ui;
            b[l] = pr * w1.re - pi * w1.im;
            b[LANES + l] = pr * w1.im + pi * w1.re;
            c[l] = mr * w2.re - mi * w2.im;
            c[LANES + l] = mr * w2.im + mi * w2.re;
            d[l] = qr * w3.re - qi * w3.im;
            d[LANES + l] = qr * w3.im + qi * w3.re;
        }
    }
}

/* Transform of 4 values of one lane, results in natural order. */
static inline void transform_4(number *a, number *b, number *c, number *d)
{
    const number s = {a->re + c->re, a->im + c->im}, t = {a->re - c->re, a->im - c->im};
    const number u = {b->re + d->re, b->im + d->im}, v = {b->re - d->re, b->im - d->im};

    *a = (number){s.re + u.re, s.im + u.im};
    *b = (number){t.re + v.im, t.im - v.re};
    *c = (number){s.re - u.re, s.im - u.im};
    *d = (number){t.re - v.im, t.im + v.re};
}

/* The last step: 8 rows, results in natural order. */
static inline void transform_8(double *z)
{
    const double h = 0.70710678118654752440; /* both parts of exp(-j pi / 4), up to their signs */

#pragma omp simd
    for (int l = 0; l < LANES; l++) {
        double *x = z + l, *y = z + LANES + l;
        number a = {x[0] + x[4 * ROW], y[0] + y[4 * ROW]};
        number b = {x[ROW] + x[5 * ROW], y[ROW] + y[5 * ROW]};
        number c = {x[2 * ROW] + x[6 * ROW], y[2 * ROW] + y[6 * ROW]};
        number d = {x[3 * ROW] + x[7 * ROW], y[3 * ROW] + y[7 * ROW]};
        const number f0 = {x[ROW] - x[5 * ROW], y[ROW] - y[5 * ROW]};
        const number g0 = {x[2 * ROW] - x[6 * ROW], y[2 * ROW] - y[6 * ROW]};
        const number h0 = {x[3 * ROW] - x[7 * ROW], y[3 * ROW] - y[7 * ROW]};
        number e = {x[0] - x[4 * ROW], y[0] - y[4 * ROW]};
        number f = {h * (f0.re + f0.im), h * (f0.im - f0.re)};
        number g = {g0.im, -g0.re};
        number i = {h * (h0.im - h0.re), -h * (h0.re + h0.im)};

        transform_4(&a, &b, &c, &d); /* even frequencies */
        transform_4(&e, &f, &g, &i); /* odd ones */
        x[0] = a.re, y[0] = a.im, x[ROW] = e.re, y[ROW] = e.im;
        x[2 * ROW] = b.re, y[2 * ROW] = b.im, x[3 * ROW] = f.re, y[3 * ROW] = f.im;
        x[4 * ROW] = c.re, y[4 * ROW] = c.im, x[5 * ROW] = g.re, y[5 * ROW] = g.im;
        x[6 * ROW] = d.re, y[6 * ROW] = d.im, x[7 * ROW] = i.re, y[7 * ROW] = i.im;
    }
}

/* From the complex transform Z of 512 to the real one of 1024: with E = (Z[k] + conj Z[-k]) / 2 and
 * O = (Z[k] - conj Z[-k]) / 2j, X[k] = E + w O and X[512 - k] = conj(E - w O). Twice E and O are
 * formed, so the powers are four times too large. */
static void powers(const coc_fft *fft, const double *z, float *power, int64_t stride)
{
    for (int k = 0; k <= HALF / 2; k++) {
        const double *a = z + fft->place[k] * ROW, *b = z + fft->place[(HALF - k) % HALF] * ROW;
        float *low = power + k * stride, *high = power + (HALF - k) * stride;
        const number w = fft->half_turn[k];

#pragma omp simd
        for (int l = 0; l < LANES; l++) {
            const double er = a[l] + b[l], ei = a[LANES + l] - b[LANES + l];
            const double or = a[LANES + l] + b[LANES + l], oi = b[l] - a[l];
            const double tr = or *w.re - oi * w.im, ti = or *w.im + oi * w.re;
            const double pr = er + tr, pi = ei + ti, qr = er - tr, qi = ei - ti;

            low[l] = (float)(0.25 * (pr * pr + pi * pi));
            high[l] = (float)(0.25 * (qr * qr + qi * qi));
        }
    }
}

void coc_fft_power(const coc_fft *fft, double *work, float *power, int64_t stride)
{
    first_step(fft->of_512, work);
    for (int i = 0; i < HALF; i += 128) {
        step_of_4(128, fft->of_128, work + i * ROW);
        for (int j = i; j < i + 128; j += 32) {
            step_of_4(32, fft->of_32, work + j * ROW);
            for (int m = j; m < j + 32; m += 8)
                transform_8(work + m * ROW);
        }
    }
    powers(fft, work, power, stride);
}
