#include <string.h>

#include "model/backends.h"
#include "model/ref.h"

void coc_ref_pool_forward(coc_backend *b, int64_t n, int64_t positions, int channels, const real *x,
                          const coc_norm *norm, real *out)
{
    double *v = coc_backend_scratch(b, (size_t)(positions * channels) * sizeof(double));

    if (v == NULL) return;
    for (int64_t i = 0; i < n; i++) {
        coc_ref_read(norm, NULL, i, positions, channels, x, v);
        for (int c = 0; c < channels; c++) {
            double sum = 0;

            for (int64_t p = 0; p < positions; p++)
                sum += v[p * channels + c];
            out[i * channels + c] = (real)(sum / (double)positions);
        }
    }
}

void coc_ref_squeeze_forward(coc_backend *b, int64_t n, int channels, int squeeze,
                             const real *pooled, const real *w1, const real *b1, const real *w2,
                             const real *b2, real *hidden, real *gate)
{
    double *active;

    coc_ref_linear_forward(b, n, channels, squeeze, pooled, w1, b1, hidden);
    active = coc_backend_scratch(b, (size_t)squeeze * sizeof *active);
    for (int64_t i = 0; i < n && active != NULL; i++) {
        for (int r = 0; r < squeeze; r++)
            active[r] = coc_ref_silu(hidden[i * squeeze + r]);
        for (int c = 0; c < channels; c++)
            gate[i * channels + c] = (real)coc_ref_sigmoid(
                b2[c] + coc_ref_dot(squeeze, active, w2 + (int64_t)c * squeeze));
    }
}

/* Sums of squeeze_backward over clips, in double: one block of scratch. */
typedef struct {
    double *w1, *b1, *w2, *b2; /* [R][C], [R], [C][R], [C] */
    double *active, *dhidden;  /* [R] of the present clip: silu(hidden), gradient at hidden */
    double *dpooled;           /* [C] */
} squeeze_sums;

static void squeeze_backward_clip(int channels, int squeeze, const real *pooled, const real *hidden,
                                  const real *gate, const real *dgate, const real *w1,
                                  const real *w2, const squeeze_sums *s)
{
    memset(s->dhidden, 0, (size_t)squeeze * sizeof(double));
    memset(s->dpooled, 0, (size_t)channels * sizeof(double));
    for (int r = 0; r < squeeze; r++)
        s->active[r] = coc_ref_silu(hidden[r]);
    for (int c = 0; c < channels; c++) {
        const double du = (double)dgate[c] * gate[c] * (1.0 - gate[c]);

        s->b2[c] += du;
        for (int r = 0; r < squeeze; r++) {
            s->w2[(int64_t)c * squeeze + r] += du * s->active[r];
            s->dhidden[r] += du * w2[(int64_t)c * squeeze + r];
        }
    }
    for (int r = 0; r < squeeze; r++) {
        const double du = s->dhidden[r] * coc_ref_silu_slope(hidden[r]);

        s->b1[r] += du;
        for (int c = 0; c < channels; c++) {
            s->w1[(int64_t)r * channels + c] += du * pooled[c];
            s->dpooled[c] += du * w1[(int64_t)r * channels + c];
        }
    }
}

static void add(int64_t count, const double *values, real *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] += (real)values[i];
}

void coc_ref_squeeze_backward(coc_backend *b, int64_t n, int channels, int squeeze,
                              const real *pooled, const real *hidden, const real *gate,
                              const real *dgate, const real *w1, const real *w2, double factor,
                              real *dpooled, real *dw1, real *db1, real *dw2, real *db2)
{
    const int64_t weights = (int64_t)channels * squeeze;
    const size_t bytes = (size_t)(2 * weights + 3 * squeeze + 2 * channels) * sizeof(double);
    squeeze_sums s = {.w1 = coc_backend_scratch(b, bytes)};

    if (s.w1 == NULL) return;
    memset(s.w1, 0, bytes);
    s.w2 = s.w1 + weights;
    s.b1 = s.w2 + weights;
    s.active = s.b1 + squeeze;
    s.dhidden = s.active + squeeze;
    s.b2 = s.dhidden + squeeze;
    s.dpooled = s.b2 + channels;
    for (int64_t i = 0; i < n; i++) {
        squeeze_backward_clip(channels, squeeze, pooled + i * channels, hidden + i * squeeze,
                              gate + i * channels, dgate + i * channels, w1, w2, &s);
        for (int c = 0; c < channels; c++)
            dpooled[i * channels + c] = (real)(factor * s.dpooled[c]);
    }
    add(weights, s.w1, dw1);
    add(squeeze, s.b1, db1);
    add(weights, s.w2, dw2);
    add(channels, s.b2, db2);
}

void coc_ref_join_forward(coc_backend *b, int64_t n, int64_t positions, int channels, const real *x,
                          const coc_norm *norm, const real *clip, const real *skip, real *out)
{
    (void)b;
    for (int64_t i = 0; i < n; i++) {
        const real *scale = norm->scale + (int64_t)norm->group[i] * channels;
        const real *shift = norm->shift + (int64_t)norm->group[i] * channels;
        const double factor = clip != NULL ? clip[i] : 1.0;

        for (int64_t p = 0; p < positions; p++)
            for (int c = 0; c < channels; c++) {
                const int64_t at = (i * positions + p) * channels + c;
                const double u = (double)scale[c] * x[at] + shift[c];

                out[at] = (real)(factor * u + (skip != NULL ? skip[at] : 0));
            }
    }
}
