#include <math.h>

#include "model/cpu.h"
#include "model/cpu_dense.h"
#include "model/ref.h"

/* Values behind one partial sum; not a function of the threads, so neither is the sum. */
enum { CHUNK = 1 << 14 };

static double chunk_squares(int64_t n, const float *x)
{
    double sum[COC_LANES] = {0}, all = 0;
    int64_t i = 0;

    for (; i + COC_LANES <= n; i += COC_LANES)
        for (int k = 0; k < COC_LANES; k++)
            sum[k] += (double)x[i + k] * x[i + k];
    for (; i < n; i++)
        all += (double)x[i] * x[i];
    for (int k = 0; k < COC_LANES; k++)
        all += sum[k];
    return all;
}

void coc_cpu_clip_gradient(coc_backend *b, int64_t n, const float *x, double largest, coc_now *now)
{
    double sum = 0;
    const int64_t chunks = (n + CHUNK - 1) / CHUNK;
    double *part = coc_backend_scratch(b, (size_t)chunks * sizeof *part);

    if (part == NULL) return;
#pragma omp parallel for schedule(static) num_threads(b->threads)
    for (int64_t i = 0; i < chunks; i++)
        part[i] = chunk_squares(n - i * CHUNK < CHUNK ? n - i * CHUNK : CHUNK, x + i * CHUNK);
    for (int64_t i = 0; i < chunks; i++)
        sum += part[i];
    coc_ref_set_clip(sum, largest, now);
}

void coc_cpu_adam(coc_backend *b, int64_t n, const coc_adam *settings, const coc_now *now,
                  const float *grad, float *value, float *m, float *v)
{
    const double correction = sqrt(1 - pow(settings->beta2, (double)now->update));
    const float rate = (float)(settings->rate * now->learning_rate /
                               (1 - pow(settings->beta1, (double)now->update)));
    const float beta1 = (float)settings->beta1, rest1 = (float)(1 - settings->beta1);
    const float beta2 = (float)settings->beta2, rest2 = (float)(1 - settings->beta2);
    const float decay = (float)settings->weight_decay, clip = (float)now->clip_scale;
    const float correct = (float)(1 / correction), epsilon = (float)settings->epsilon;

    if (!isfinite(now->norm)) return;
#pragma omp parallel for simd schedule(static) num_threads(b->threads)
    for (int64_t i = 0; i < n; i++) {
        const float g = clip * grad[i] + decay * value[i];

        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * g * g;
        value[i] -= rate * m[i] / (sqrtf(v[i]) * correct + epsilon);
    }
}

void coc_cpu_add(coc_backend *b, int64_t n, const float *x, float *out)
{
#pragma omp parallel for simd schedule(static) num_threads(b->threads)
    for (int64_t i = 0; i < n; i++)
        out[i] += x[i];
}
