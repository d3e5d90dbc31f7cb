#include <math.h>

#include "model/ref.h"

void coc_ref_set_clip(double squares, double largest, coc_now *now)
{
    now->norm = sqrt(squares);
    now->clip_scale = largest > 0 && now->norm > largest ? largest / now->norm : 1;
}

void coc_ref_clip_gradient(coc_backend *b, int64_t n, const real *x, double largest, coc_now *now)
{
    double squares = 0;

    (void)b;
    for (int64_t i = 0; i < n; i++)
        squares += (double)x[i] * x[i];
    coc_ref_set_clip(squares, largest, now);
}

void coc_ref_adam(coc_backend *b, int64_t n, const coc_adam *settings, const coc_now *now,
                  const real *grad, real *value, real *m, real *v)
{
    const double beta1 = settings->beta1, beta2 = settings->beta2;
    const double rate = settings->rate * now->learning_rate / (1 - pow(beta1, (double)now->update));
    const double correction = sqrt(1 - pow(beta2, (double)now->update));

    (void)b;
    if (!isfinite(now->norm)) return;
    for (int64_t i = 0; i < n; i++) {
        const double g = now->clip_scale * grad[i] + settings->weight_decay * value[i];

        m[i] = (real)(beta1 * m[i] + (1 - beta1) * g);
        v[i] = (real)(beta2 * v[i] + (1 - beta2) * g * g);
        value[i] -= (real)(rate * m[i] / (sqrt(v[i]) / correction + settings->epsilon));
    }
}

void coc_ref_draw_keep(coc_backend *b, const coc_rng_key *key, const coc_now *now,
                       const uint32_t *pair, const uint8_t *view, int64_t n, int64_t count,
                       double drop, real *out)
{
    const real kept = (real)(1 / (1 - drop));

    (void)b;
    for (int64_t i = 0; i < n; i++) {
        coc_rng_key own = *key;

        own.item = pair[i];
        own.view = view[i];
        own.step = (uint32_t)now->draw_step;
        for (int64_t j = 0; j < count; j++)
            out[i * count + j] = coc_rng_uniform(&own, (uint32_t)j) < drop ? 0 : kept;
    }
}
