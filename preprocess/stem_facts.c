#include "preprocess/stem_facts.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "preprocess/features.h"

/* Samples of a flat top: two may be equal by chance. */
enum { FLAT = 3 };

static int64_t flat_samples(const int16_t *pcm, int64_t count, int peak)
{
    int64_t flat = 0, run = 0;

    for (int64_t i = 0; i <= count; i++) {
        if (i < count && abs(pcm[i]) >= peak) {
            run++;
            continue;
        }
        if (run >= FLAT) flat += run;
        run = 0;
    }
    return flat;
}

coc_stem_facts coc_stem_facts_of(const coc_stem *stem, const int16_t *pcm)
{
    const int64_t count = stem->samples;
    coc_stem_facts f = {.level_db = -INFINITY};
    double audible = 0;
    int64_t sum = 0, parts = 0;
    int peak = 0;

    for (int64_t i = 0; i < count; i++) {
        peak = abs(pcm[i]) > peak ? abs(pcm[i]) : peak;
        sum += pcm[i];
    }
    for (int64_t i = 0; i < stem->levels; i++) {
        if ((double)stem->mean_square[i] <= COC_AUDIBLE) continue;
        audible += (double)stem->mean_square[i];
        parts++;
    }
    if (peak == 0 || count == 0) return f;
    f.peak = ldexp(peak, stem->exponent - 15);
    f.offset = (double)sum / (double)count / peak;
    f.clipped = (double)flat_samples(pcm, count, peak) / (double)count;
    f.active = (double)parts / (double)stem->levels;
    if (parts > 0) f.level_db = 10 * log10(audible / (double)parts);
    return f;
}

/* ---- likeness ------------------------------------------------------------------------------- */

/* Every fourth sample is enough to see an echo, and sixteen times less work. */
enum {
    STEP = 4,
    SEEN = 2 * COC_SAMPLE_RATE / STEP, /* 2 s */
    LAGS = COC_SAMPLE_RATE / 5 / STEP, /* 200 ms */
    ROOM = SEEN + 2 * LAGS,
    SEEN_LEVELS = 2 * COC_SAMPLE_RATE / COC_STORE_LEVEL_SAMPLES,
    LEVEL_LAGS = 2 /* 200 ms */
};
#define MOVE_TOGETHER 0.5 /* an echo of half a part moves two thirds together */

static double root(const coc_stem *s, int64_t i)
{
    return i >= 0 && i < s->levels ? sqrt((double)s->mean_square[i]) : 0;
}

/* Correlation of the two stems' levels, the second one later by `lag` parts. */
static double level_correlation(const coc_stem *a, const coc_stem *b, int64_t lag)
{
    const int64_t n = a->levels < b->levels ? a->levels : b->levels;
    double x = 0, y = 0, xx = 0, yy = 0, xy = 0, variance;

    for (int64_t i = 0; i < n; i++) {
        const double u = root(a, i), v = root(b, i + lag);

        x += u;
        y += v;
        xx += u * u;
        yy += v * v;
        xy += u * v;
    }
    variance = ((double)n * xx - x * x) * ((double)n * yy - y * y);
    return variance > 0 ? ((double)n * xy - x * y) / sqrt(variance) : 0;
}

static bool move_together(const coc_stem *a, const coc_stem *b)
{
    for (int64_t lag = -LEVEL_LAGS; lag <= LEVEL_LAGS; lag++)
        if (level_correlation(a, b, lag) > MOVE_TOGETHER) return true;
    return false;
}

/* Where both are loud: the part of 2 s with the largest product of their energies. */
static int64_t loudest_part(const coc_stem *a, const coc_stem *b)
{
    const int64_t n = a->levels < b->levels ? a->levels : b->levels;
    double best = -1, x = 0, y = 0;
    int64_t found = 0;

    for (int64_t i = 0; i < n; i++) {
        x += (double)a->mean_square[i];
        y += (double)b->mean_square[i];
        if (i >= SEEN_LEVELS) {
            x -= (double)a->mean_square[i - SEEN_LEVELS];
            y -= (double)b->mean_square[i - SEEN_LEVELS];
        }
        if (x * y <= best) continue;
        best = x * y;
        found = i >= SEEN_LEVELS ? i - SEEN_LEVELS + 1 : 0;
    }
    return found * COC_STORE_LEVEL_SAMPLES;
}

/* out [count] = means of STEP samples from `first` on; zeros outside the stem. */
static void thin(const coc_stem *stem, const int16_t *pcm, int64_t first, int count, float *out)
{
    for (int i = 0; i < count; i++) {
        float sum = 0;

        for (int64_t at = first + (int64_t)i * STEP; at < first + (int64_t)(i + 1) * STEP; at++)
            if (at >= 0 && at < stem->samples) sum += pcm[at];
        out[i] = sum;
    }
}

/* x [SEEN], y [ROOM], LAGS of which lie before x's place and LAGS behind. */
static double largest_correlation(const float *x, const float *y, int *lag)
{
    double best = 0, xx = 0, yy = 0;

    for (int i = 0; i < SEEN; i++) {
        xx += (double)x[i] * (double)x[i];
        yy += (double)y[i] * (double)y[i];
    }
    for (int l = 0; l <= 2 * LAGS; l++) {
        float sum = 0;
        double value;

        for (int i = 0; i < SEEN; i++)
            sum += x[i] * y[i + l];
        value = xx > 0 && yy > 0 ? (double)sum / sqrt(xx * yy) : 0;
        if (fabs(value) > fabs(best)) {
            best = value;
            *lag = l - LAGS;
        }
        if (l == 2 * LAGS) break;
        yy += (double)y[l + SEEN] * (double)y[l + SEEN] - (double)y[l] * (double)y[l];
    }
    return best;
}

coc_status coc_stem_likeness(const coc_stem *stem_a, const int16_t *a, const coc_stem *stem_b,
                             const int16_t *b, double *likeness, double *lag)
{
    const int64_t first = loudest_part(stem_a, stem_b);
    float *work;
    int found = 0;

    *likeness = *lag = 0;
    if (!move_together(stem_a, stem_b)) return COC_OK;
    COC_TRY(coc_alloc(SEEN + ROOM, sizeof *work, &work));
    thin(stem_a, a, first, SEEN, work);
    thin(stem_b, b, first - (int64_t)LAGS * STEP, ROOM, work + SEEN);
    *likeness = largest_correlation(work, work + SEEN, &found);
    *lag = (double)found * STEP / COC_SAMPLE_RATE;
    free(work);
    return COC_OK;
}
