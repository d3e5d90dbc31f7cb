#include "model/cpu_dense.h"

#include "model/cpu.h"
#include "model/cpu_sgemm.h"

/* Products below this many multiplications are done by one thread: waking others costs more. */
enum { SMALL = 1 << 16 };

static int threads_for(const coc_backend *b, int64_t multiplications)
{
    return multiplications < SMALL ? 1 : b->threads;
}

/* y [n][first .. end - 1], each column a row of w. */
static void linear_columns(int64_t n, int in, int out, const float *x, const float *w,
                           const float *bias, int64_t first, int64_t end, float *y)
{
    if (bias != NULL)
        for (int64_t i = 0; i < n; i++)
            memcpy(y + i * out + first, bias + first, (size_t)(end - first) * sizeof *y);
    coc_cpu_sgemm(false, true, n, end - first, in, x, in, w + first * in, in,
                  bias != NULL ? 1.0f : 0.0f, y + first, out);
}

void coc_cpu_linear_forward(coc_backend *b, int64_t n, int in, int out, const float *x,
                            const float *w, const float *bias, float *y)
{
    const int threads = threads_for(b, n * in * out);

#pragma omp parallel for schedule(static) num_threads(threads)
    for (int t = 0; t < threads; t++) {
        int64_t first, end;

        coc_cpu_share(out, threads, t, &first, &end);
        if (first < end) linear_columns(n, in, out, x, w, bias, first, end, y);
    }
}

/* dw [first .. end - 1][in] += dy' x, dbias [first .. end - 1] += sums of dy. */
static void weight_gradient(int64_t n, int in, int out, const float *x, const float *dy,
                            int64_t first, int64_t end, float *dw, float *dbias)
{
    for (int64_t o = first; o < end && dbias != NULL; o++) {
        double sum = 0;

        for (int64_t i = 0; i < n; i++)
            sum += (double)dy[i * out + o];
        dbias[o] += (float)sum;
    }
    coc_cpu_sgemm(true, false, end - first, in, n, dy + first, out, x, in, 1.0f, dw + first * in,
                  in);
}

void coc_cpu_linear_backward(coc_backend *b, int64_t n, int in, int out, const float *x,
                             const float *w, const float *dy, float *dx, float *dw, float *dbias)
{
    const int threads = threads_for(b, n * in * out);

#pragma omp parallel for schedule(static) num_threads(threads)
    for (int t = 0; t < threads; t++) {
        int64_t first, end;

        coc_cpu_share(out, threads, t, &first, &end);
        if (first < end) weight_gradient(n, in, out, x, dy, first, end, dw, dbias);
        coc_cpu_share(in, threads, t, &first, &end);
        if (dx == NULL || first == end) continue;
        coc_cpu_sgemm(false, false, n, end - first, out, dy, out, w + first, in, 0.0f, dx + first,
                      in);
    }
}

/* ---- squeeze and excitation: two small linear layers with elementwise work around them ---- */

/* out = silu(x), or out *= its slope. */
static void silu_rows(int64_t count, const float *x, bool slope, float *out)
{
    for (int64_t i = 0; i < count; i += COC_LANES) {
        const int lanes = count - i < COC_LANES ? (int)(count - i) : COC_LANES;
        const coc_vec u = coc_load_some(x + i, lanes), s = coc_sigmoid(u);

        coc_store_some(out + i,
                       slope ? coc_load_some(out + i, lanes) * coc_silu_slope(u, s) : u * s, lanes);
    }
}

static void sigmoid_rows(int64_t count, float *x)
{
    for (int64_t i = 0; i < count; i += COC_LANES) {
        const int lanes = count - i < COC_LANES ? (int)(count - i) : COC_LANES;

        coc_store_some(x + i, coc_sigmoid(coc_load_some(x + i, lanes)), lanes);
    }
}

void coc_cpu_squeeze_forward(coc_backend *b, int64_t n, int channels, int squeeze,
                             const float *pooled, const float *w1, const float *b1, const float *w2,
                             const float *b2, float *hidden, float *gate)
{
    float *active = coc_backend_scratch(b, (size_t)(n * squeeze) * sizeof *active);

    if (active == NULL) return;
    coc_cpu_linear_forward(b, n, channels, squeeze, pooled, w1, b1, hidden);
    silu_rows(n * squeeze, hidden, false, active);
    coc_cpu_linear_forward(b, n, squeeze, channels, active, w2, b2, gate);
    sigmoid_rows(n * channels, gate);
}

void coc_cpu_squeeze_backward(coc_backend *b, int64_t n, int channels, int squeeze,
                              const float *pooled, const float *hidden, const float *gate,
                              const float *dgate, const float *w1, const float *w2, double factor,
                              float *dpooled, float *dw1, float *db1, float *dw2, float *db2)
{
    const float scale = (float)factor;
    float *active = coc_backend_scratch(b, (size_t)(n * (2 * squeeze + channels)) * sizeof *active);
    float *dhidden, *du;

    if (active == NULL) return;
    dhidden = active + n * squeeze;
    du = dhidden + n * squeeze;
    silu_rows(n * squeeze, hidden, false, active);
    for (int64_t i = 0; i < n * channels; i++)
        du[i] = dgate[i] * gate[i] * (1.0f - gate[i]);
    coc_cpu_linear_backward(b, n, squeeze, channels, active, w2, du, dhidden, dw2, db2);
    silu_rows(n * squeeze, hidden, true, dhidden);
    coc_cpu_linear_backward(b, n, channels, squeeze, pooled, w1, dhidden, dpooled, dw1, db1);
    for (int64_t i = 0; i < n * channels; i++)
        dpooled[i] *= scale;
}
