#include <math.h>

#include "model/ref.h"

double coc_ref_sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

double coc_ref_silu(double x)
{
    return x * coc_ref_sigmoid(x);
}

double coc_ref_silu_slope(double x)
{
    const double s = coc_ref_sigmoid(x);

    return s * (1.0 + x * (1.0 - s));
}

double coc_ref_dot(int64_t n, const double *a, const real *b)
{
    double sum[8] = {0}, rest = 0;
    int64_t i = 0;

    for (; i + 8 <= n; i += 8) /* eight sums: the compiler may not reorder one */
        for (int k = 0; k < 8; k++)
            sum[k] += a[i + k] * b[i + k];
    for (; i < n; i++)
        rest += a[i] * b[i];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7])) + rest;
}

void coc_ref_read(const coc_norm *norm, const real *gate, int64_t clip, int64_t positions,
                  int channels, const real *x, double *z)
{
    const int64_t at = norm != NULL ? (int64_t)norm->group[clip] * channels : 0;

    x += clip * positions * channels;
    for (int64_t p = 0; p < positions; p++)
        for (int c = 0; c < channels; c++) {
            double value = x[p * channels + c];

            if (norm != NULL) {
                value = norm->scale[at + c] * value + norm->shift[at + c];
                if (norm->silu) value = coc_ref_silu(value);
            }
            z[p * channels + c] = gate != NULL ? gate[clip * channels + c] * value : value;
        }
}

/* What a gradient dv at v = silu(u) or u is at u. */
static double slope(const coc_norm *norm, int64_t at, double x)
{
    return norm->silu ? coc_ref_silu_slope(norm->scale[at] * x + norm->shift[at]) : 1.0;
}

/* du of one value: `index` its place in x, `at` that of its group and channel in the norm, `own`
 * that of its clip and channel in gate and pooled. */
static double gradient_at_u(const coc_gradient *g, int64_t clip, int64_t own, int64_t at,
                            int64_t index)
{
    double dv = 0;

    if (g->dz != NULL) dv = g->dz[index];
    if (g->gate != NULL) dv *= g->gate[own];
    if (g->pooled != NULL) dv += g->pooled[own];
    if (g->clip != NULL) dv *= g->clip[clip];
    return dv * slope(g->norm, at, g->x[index]);
}

void coc_ref_form(const coc_gradient *g, int64_t clip, int64_t positions, int channels, double *dx)
{
    const coc_norm *norm = g->norm;
    const int64_t first = (int64_t)norm->group[clip] * channels;

    for (int64_t p = 0; p < positions; p++)
        for (int c = 0; c < channels; c++) {
            const int64_t at = first + c, index = (clip * positions + p) * channels + c;
            const double xhat = ((double)g->x[index] - norm->mean[at]) * norm->inverse_std[at];
            const double du = gradient_at_u(g, clip, clip * channels + c, at, index);

            dx[p * channels + c] = norm->scale[at] * (du - g->mean_du[at] - xhat * g->mean_dux[at]);
        }
}

void coc_ref_add_norm_sums(const coc_norm *norm, int64_t clip, int64_t positions, int channels,
                           const real *x, const real *dv, double *sums)
{
    const int64_t first = (int64_t)norm->group[clip] * channels;

    x += clip * positions * channels;
    for (int64_t p = 0; p < positions; p++)
        for (int c = 0; c < channels; c++) {
            const int64_t at = first + c;
            const double value = x[p * channels + c];
            const double du = dv[p * channels + c] * slope(norm, at, value);

            sums[c] += du;
            sums[channels + c] += du * (value - norm->mean[at]) * norm->inverse_std[at];
        }
}

void coc_ref_norm_backward_sums(coc_backend *b, int64_t n, int64_t positions, int channels,
                                const coc_gradient *g, double *sums)
{
    const coc_norm *norm = g->norm;

    (void)b;
    for (int64_t i = 0; i < n; i++) {
        const int64_t first = (int64_t)norm->group[i] * channels;

        for (int64_t p = 0; p < positions; p++)
            for (int c = 0; c < channels; c++) {
                const int64_t at = first + c, index = (i * positions + p) * channels + c;
                const double xhat = ((double)g->x[index] - norm->mean[at]) * norm->inverse_std[at];
                const double du = gradient_at_u(g, i, i * channels + c, at, index);

                sums[2 * first + c] += du;
                sums[2 * first + channels + c] += du * xhat;
            }
    }
}

/* Coefficients of one channel from its mean and (biased) variance. */
static void set_coefficients(double mean, double variance, double gamma, double beta, double eps,
                             int64_t at, real *means, real *inverse_std, real *scale, real *shift)
{
    const double inverse = 1.0 / sqrt(variance + eps);

    means[at] = (real)mean;
    inverse_std[at] = (real)inverse;
    scale[at] = (real)(gamma * inverse);
    shift[at] = (real)(beta - mean * gamma * inverse);
}

/* The mean of squares less the square of the mean, which rounding can take below 0. */
static double variance_of(double sum, double squares, double count)
{
    const double mean = sum / count, variance = squares / count - mean * mean;

    return variance > 0 ? variance : 0;
}

void coc_ref_norm_finish(coc_backend *b, int channels, int groups, const double *sums,
                         const double *positions, const real *gamma, const real *beta, double eps,
                         real *mean, real *inverse_std, real *scale, real *shift)
{
    (void)b;
    for (int g = 0; g < groups; g++)
        for (int c = 0; c < channels; c++) {
            const double *sum = sums + (int64_t)g * 2 * channels;

            set_coefficients(
                sum[c] / positions[g], variance_of(sum[c], sum[channels + c], positions[g]),
                gamma[c], beta[c], eps, (int64_t)g * channels + c, mean, inverse_std, scale, shift);
        }
}

void coc_ref_norm_collect(coc_backend *b, int channels, int groups, const double *sums,
                          const double *positions, const int32_t *owned, double *stat)
{
    (void)b;
    for (int g = 0; g < groups; g++) {
        const double *sum = sums + (int64_t)g * 2 * channels;
        const double count = positions[g];
        const double unbias = count > 1 ? count / (count - 1) : 1;

        if (owned[g] == 0) continue;
        for (int c = 0; c < channels; c++) {
            stat[c] += sum[c] / count;
            stat[channels + c] += unbias * variance_of(sum[c], sum[channels + c], count);
        }
    }
}

void coc_ref_running_update(coc_backend *b, int64_t n, const double *stat, double groups,
                            double momentum, const coc_now *now, real *running)
{
    (void)b;
    if (now != NULL && !isfinite(now->norm)) return;
    for (int64_t i = 0; i < n; i++)
        running[i] = (real)((1 - momentum) * running[i] + momentum * stat[i] / groups);
}

void coc_ref_norm_fixed(coc_backend *b, int channels, const real *running_mean,
                        const real *running_variance, const real *gamma, const real *beta,
                        double eps, real *mean, real *inverse_std, real *scale, real *shift)
{
    (void)b;
    for (int c = 0; c < channels; c++)
        set_coefficients(running_mean[c], running_variance[c], gamma[c], beta[c], eps, c, mean,
                         inverse_std, scale, shift);
}

void coc_ref_norm_backward_params(coc_backend *b, int channels, int groups, const double *sums,
                                  real *dgamma, real *dbeta)
{
    (void)b;
    for (int c = 0; c < channels; c++) {
        double du = 0, dux = 0;

        for (int g = 0; g < groups; g++) {
            du += sums[(int64_t)g * 2 * channels + c];
            dux += sums[((int64_t)g * 2 + 1) * channels + c];
        }
        dbeta[c] += (real)du;
        dgamma[c] += (real)dux;
    }
}

void coc_ref_norm_backward_finish(coc_backend *b, int channels, int groups, const double *sums,
                                  const double *positions, real *mean_du, real *mean_dux)
{
    (void)b;
    for (int g = 0; g < groups; g++)
        for (int c = 0; c < channels; c++) {
            const double *sum = sums + (int64_t)g * 2 * channels;

            mean_du[(int64_t)g * channels + c] = (real)(sum[c] / positions[g]);
            mean_dux[(int64_t)g * channels + c] = (real)(sum[channels + c] / positions[g]);
        }
}
