#include <math.h>
#include <string.h>

#include "model/backends.h"
#include "model/ref.h"

void coc_ref_linear_forward(coc_backend *b, int64_t n, int in, int out, const real *x,
                            const real *w, const real *bias, real *y)
{
    double *row = coc_backend_scratch(b, (size_t)in * sizeof(double));

    if (row == NULL) return;
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < in; k++)
            row[k] = x[i * in + k];
        for (int o = 0; o < out; o++)
            y[i * out + o] =
                (real)(coc_ref_dot(in, row, w + (int64_t)o * in) + (bias != NULL ? bias[o] : 0));
    }
}

/* dx [n][in] = dy w, row by row. */
static void input_gradient(int64_t n, int in, int out, const real *w, const real *dy, double *row,
                           real *dx)
{
    for (int64_t i = 0; i < n; i++) {
        memset(row, 0, (size_t)in * sizeof *row);
        for (int o = 0; o < out; o++)
            for (int k = 0; k < in; k++)
                row[k] += (double)dy[i * out + o] * w[(int64_t)o * in + k];
        for (int k = 0; k < in; k++)
            dx[i * in + k] = (real)row[k];
    }
}

void coc_ref_linear_backward(coc_backend *b, int64_t n, int in, int out, const real *x,
                             const real *w, const real *dy, real *dx, real *dw, real *dbias)
{
    double *row = coc_backend_scratch(b, (size_t)in * sizeof(double));

    if (row == NULL) return;
    if (dx != NULL) input_gradient(n, in, out, w, dy, row, dx);
    for (int o = 0; o < out; o++) {
        double sum = 0;

        memset(row, 0, (size_t)in * sizeof *row);
        for (int64_t i = 0; i < n; i++) {
            const double g = dy[i * out + o];

            sum += g;
            for (int k = 0; k < in; k++)
                row[k] += g * x[i * in + k];
        }
        for (int k = 0; k < in; k++)
            dw[(int64_t)o * in + k] += (real)row[k];
        if (dbias != NULL) dbias[o] += (real)sum;
    }
}

void coc_ref_multiply(coc_backend *b, int64_t n, double factor, const real *x, const real *y,
                      real *out)
{
    (void)b;
    for (int64_t i = 0; i < n; i++)
        out[i] = (real)(factor * x[i] * (y != NULL ? y[i] : 1));
}

void coc_ref_add(coc_backend *b, int64_t n, const real *x, real *out)
{
    (void)b;
    for (int64_t i = 0; i < n; i++)
        out[i] += x[i];
}

void coc_ref_add_sums(coc_backend *b, int64_t n, const double *x, double *out)
{
    (void)b;
    for (int64_t i = 0; i < n; i++)
        out[i] += x[i];
}

void coc_ref_layer_norm_tanh_forward(coc_backend *b, int64_t n, int d, const real *x,
                                     const real *gamma, const real *beta, double eps, real *h,
                                     real *mean, real *inverse_std)
{
    (void)b;
    for (int64_t i = 0; i < n; i++, x += d, h += d) {
        double sum = 0, squares = 0, inverse;

        for (int k = 0; k < d; k++)
            sum += x[k];
        sum /= d;
        for (int k = 0; k < d; k++)
            squares += (x[k] - sum) * (x[k] - sum);
        inverse = 1.0 / sqrt(squares / d + eps);
        mean[i] = (real)sum;
        inverse_std[i] = (real)inverse;
        for (int k = 0; k < d; k++)
            h[k] = (real)tanh(gamma[k] * (x[k] - sum) * inverse + beta[k]);
    }
}

/* One row; dgamma, dbeta [d] += in double. */
static void layer_norm_tanh_backward_row(int d, const real *x, const real *h, double mean,
                                         double inverse_std, const real *gamma, const real *dh,
                                         real *dx, double *dgamma, double *dbeta)
{
    double mean_g = 0, mean_gx = 0;

    for (int k = 0; k < d; k++) {
        const double xhat = (x[k] - mean) * inverse_std;
        const double dt = dh[k] * (1.0 - (double)h[k] * h[k]);

        dgamma[k] += dt * xhat;
        dbeta[k] += dt;
        mean_g += dt * gamma[k] / d;
        mean_gx += dt * gamma[k] * xhat / d;
    }
    for (int k = 0; k < d; k++) {
        const double xhat = (x[k] - mean) * inverse_std;
        const double dt = dh[k] * (1.0 - (double)h[k] * h[k]);

        dx[k] = (real)(inverse_std * (dt * gamma[k] - mean_g - xhat * mean_gx));
    }
}

void coc_ref_layer_norm_tanh_backward(coc_backend *b, int64_t n, int d, const real *x,
                                      const real *h, const real *mean, const real *inverse_std,
                                      const real *gamma, const real *dh, real *dx, real *dgamma,
                                      real *dbeta)
{
    const size_t bytes = 2 * (size_t)d * sizeof(double);
    double *sums = coc_backend_scratch(b, bytes);

    if (sums == NULL) return;
    memset(sums, 0, bytes);
    for (int64_t i = 0; i < n; i++)
        layer_norm_tanh_backward_row(d, x + i * d, h + i * d, mean[i], inverse_std[i], gamma,
                                     dh + i * d, dx + i * d, sums, sums + d);
    for (int k = 0; k < d; k++) {
        dgamma[k] += (real)sums[k];
        dbeta[k] += (real)sums[d + k];
    }
}
