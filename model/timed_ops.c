/* Each function here starts a clock, passes its call on, and stops the clock: on an accelerator
 * when the call has been done. */
#include "model/timed_ops.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

/* The other backend, scratch and handles included, but for its table: the other table's operations
 * work on `base` as on their own. */
typedef struct {
    coc_backend base;
    const coc_ops *inner;
    coc_time time[COC_TIME_KINDS];
} timed_backend;

static timed_backend *timed(coc_backend *b)
{
    return (timed_backend *)(void *)b; /* base comes first */
}

static const coc_ops *inner(coc_backend *b)
{
    return timed(b)->inner;
}

static void add(coc_backend *b, coc_time_kind kind, double begin, double flop)
{
    /* a failure stays with the device, and is reported by the next finish */
    (void)b->device->wait(b->device, NULL);
    timed(b)->time[kind].seconds += coc_clock_seconds() - begin;
    timed(b)->time[kind].flop += flop;
}

/* in_c: input channels that an output sums over */
static double conv_flop(const coc_conv *s, int64_t n, int in_c)
{
    return 2.0 * (double)n * s->out_h * s->out_w * s->out_c * s->kernel * s->kernel * in_c;
}

static void timed_stem_forward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                               const real *keep, const real *w, real *y, const int32_t *group,
                               double *sums)
{
    const double begin = coc_clock_seconds();

    inner(b)->stem_forward(b, s, n, x, keep, w, y, group, sums);
    add(b, COC_TIME_STEM_FORWARD, begin, conv_flop(s, n, s->in_c));
}

static void timed_depthwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                                    const coc_norm *norm, const real *w, real *y,
                                    const int32_t *group, double *sums)
{
    const double begin = coc_clock_seconds();

    inner(b)->depthwise_forward(b, s, n, x, norm, w, y, group, sums);
    add(b, COC_TIME_DEPTHWISE_FORWARD, begin, conv_flop(s, n, 1));
}

static void timed_pointwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                                    const coc_norm *norm, const real *gate, const real *w, real *y,
                                    const int32_t *group, double *sums)
{
    const double begin = coc_clock_seconds();

    inner(b)->pointwise_forward(b, s, n, x, norm, gate, w, y, group, sums);
    add(b, COC_TIME_POINTWISE_FORWARD, begin, conv_flop(s, n, s->in_c));
}

static void timed_stem_backward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                                const real *keep, const coc_gradient *dy, real *dw)
{
    const double begin = coc_clock_seconds();

    inner(b)->stem_backward(b, s, n, x, keep, dy, dw);
    add(b, COC_TIME_STEM_BACKWARD, begin, conv_flop(s, n, s->in_c));
}

static void timed_depthwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                                     const coc_norm *norm, const coc_gradient *dy, const real *w,
                                     real *dz, bool accumulate, real *dw, double *sums)
{
    const double begin = coc_clock_seconds();

    inner(b)->depthwise_backward(b, s, n, x, norm, dy, w, dz, accumulate, dw, sums);
    add(b, COC_TIME_DEPTHWISE_BACKWARD, begin, 2 * conv_flop(s, n, 1));
}

static void timed_pointwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                                     const coc_norm *norm, const real *gate, const coc_gradient *dy,
                                     const real *w, real *dz, bool accumulate, real *dw,
                                     real *dgate)
{
    const double begin = coc_clock_seconds();

    inner(b)->pointwise_backward(b, s, n, x, norm, gate, dy, w, dz, accumulate, dw, dgate);
    add(b, COC_TIME_POINTWISE_BACKWARD, begin, 2 * conv_flop(s, n, s->in_c));
}

static void timed_norm_finish(coc_backend *b, int channels, int groups, const double *sums,
                              const double *positions, const real *gamma, const real *beta,
                              double eps, real *mean, real *inverse_std, real *scale, real *shift)
{
    const double begin = coc_clock_seconds();

    inner(b)->norm_finish(b, channels, groups, sums, positions, gamma, beta, eps, mean, inverse_std,
                          scale, shift);
    add(b, COC_TIME_NORM, begin, 0);
}

static void timed_norm_collect(coc_backend *b, int channels, int groups, const double *sums,
                               const double *positions, const int32_t *owned, double *stat)
{
    const double begin = coc_clock_seconds();

    inner(b)->norm_collect(b, channels, groups, sums, positions, owned, stat);
    add(b, COC_TIME_NORM, begin, 0);
}

static void timed_running_update(coc_backend *b, int64_t n, const double *stat, double groups,
                                 double momentum, const coc_now *now, real *running)
{
    const double begin = coc_clock_seconds();

    inner(b)->running_update(b, n, stat, groups, momentum, now, running);
    add(b, COC_TIME_NORM, begin, 0);
}

static void timed_norm_fixed(coc_backend *b, int channels, const real *running_mean,
                             const real *running_variance, const real *gamma, const real *beta,
                             double eps, real *mean, real *inverse_std, real *scale, real *shift)
{
    const double begin = coc_clock_seconds();

    inner(b)->norm_fixed(b, channels, running_mean, running_variance, gamma, beta, eps, mean,
                         inverse_std, scale, shift);
    add(b, COC_TIME_NORM, begin, 0);
}

static void timed_norm_backward_sums(coc_backend *b, int64_t n, int64_t positions, int channels,
                                     const coc_gradient *g, double *sums)
{
    const double begin = coc_clock_seconds();

    inner(b)->norm_backward_sums(b, n, positions, channels, g, sums);
    add(b, COC_TIME_NORM, begin, 0);
}

static void timed_norm_backward_params(coc_backend *b, int channels, int groups, const double *sums,
                                       real *dgamma, real *dbeta)
{
    const double begin = coc_clock_seconds();

    inner(b)->norm_backward_params(b, channels, groups, sums, dgamma, dbeta);
    add(b, COC_TIME_NORM, begin, 0);
}

static void timed_norm_backward_finish(coc_backend *b, int channels, int groups, const double *sums,
                                       const double *positions, real *mean_du, real *mean_dux)
{
    const double begin = coc_clock_seconds();

    inner(b)->norm_backward_finish(b, channels, groups, sums, positions, mean_du, mean_dux);
    add(b, COC_TIME_NORM, begin, 0);
}

static void timed_pool_forward(coc_backend *b, int64_t n, int64_t positions, int channels,
                               const real *x, const coc_norm *norm, real *out)
{
    const double begin = coc_clock_seconds();

    inner(b)->pool_forward(b, n, positions, channels, x, norm, out);
    add(b, COC_TIME_GATE, begin, 0);
}

static void timed_squeeze_forward(coc_backend *b, int64_t n, int channels, int squeeze,
                                  const real *pooled, const real *w1, const real *b1,
                                  const real *w2, const real *b2, real *hidden, real *gate)
{
    const double begin = coc_clock_seconds();

    inner(b)->squeeze_forward(b, n, channels, squeeze, pooled, w1, b1, w2, b2, hidden, gate);
    add(b, COC_TIME_GATE, begin, 0);
}

static void timed_squeeze_backward(coc_backend *b, int64_t n, int channels, int squeeze,
                                   const real *pooled, const real *hidden, const real *gate,
                                   const real *dgate, const real *w1, const real *w2, double factor,
                                   real *dpooled, real *dw1, real *db1, real *dw2, real *db2)
{
    const double begin = coc_clock_seconds();

    inner(b)->squeeze_backward(b, n, channels, squeeze, pooled, hidden, gate, dgate, w1, w2, factor,
                               dpooled, dw1, db1, dw2, db2);
    add(b, COC_TIME_GATE, begin, 0);
}

static void timed_join_forward(coc_backend *b, int64_t n, int64_t positions, int channels,
                               const real *x, const coc_norm *norm, const real *clip,
                               const real *skip, real *out)
{
    const double begin = coc_clock_seconds();

    inner(b)->join_forward(b, n, positions, channels, x, norm, clip, skip, out);
    add(b, COC_TIME_GATE, begin, 0);
}

static void timed_linear_forward(coc_backend *b, int64_t n, int in, int out, const real *x,
                                 const real *w, const real *bias, real *y)
{
    const double begin = coc_clock_seconds();

    inner(b)->linear_forward(b, n, in, out, x, w, bias, y);
    add(b, COC_TIME_DENSE, begin, 2.0 * (double)n * in * out);
}

static void timed_linear_backward(coc_backend *b, int64_t n, int in, int out, const real *x,
                                  const real *w, const real *dy, real *dx, real *dw, real *dbias)
{
    const double begin = coc_clock_seconds();

    inner(b)->linear_backward(b, n, in, out, x, w, dy, dx, dw, dbias);
    add(b, COC_TIME_DENSE, begin, (dx != NULL ? 4.0 : 2.0) * (double)n * in * out);
}

static void timed_multiply(coc_backend *b, int64_t n, double factor, const real *x, const real *y,
                           real *out)
{
    const double begin = coc_clock_seconds();

    inner(b)->multiply(b, n, factor, x, y, out);
    add(b, COC_TIME_DENSE, begin, 0);
}

static void timed_add(coc_backend *b, int64_t n, const real *x, real *out)
{
    const double begin = coc_clock_seconds();

    inner(b)->add(b, n, x, out);
    add(b, COC_TIME_DENSE, begin, 0);
}

static void timed_add_sums(coc_backend *b, int64_t n, const double *x, double *out)
{
    const double begin = coc_clock_seconds();

    inner(b)->add_sums(b, n, x, out);
    add(b, COC_TIME_DENSE, begin, 0);
}

static void timed_layer_norm_tanh_forward(coc_backend *b, int64_t n, int d, const real *x,
                                          const real *gamma, const real *beta, double eps, real *h,
                                          real *mean, real *inverse_std)
{
    const double begin = coc_clock_seconds();

    inner(b)->layer_norm_tanh_forward(b, n, d, x, gamma, beta, eps, h, mean, inverse_std);
    add(b, COC_TIME_DENSE, begin, 0);
}

static void timed_layer_norm_tanh_backward(coc_backend *b, int64_t n, int d, const real *x,
                                           const real *h, const real *mean, const real *inverse_std,
                                           const real *gamma, const real *dh, real *dx,
                                           real *dgamma, real *dbeta)
{
    const double begin = coc_clock_seconds();

    inner(b)->layer_norm_tanh_backward(b, n, d, x, h, mean, inverse_std, gamma, dh, dx, dgamma,
                                       dbeta);
    add(b, COC_TIME_DENSE, begin, 0);
}

static void timed_contrast(coc_backend *b, const coc_contrast *c, real *da, real *dp,
                           double *results)
{
    const double begin = coc_clock_seconds();

    inner(b)->contrast(b, c, da, dp, results);
    add(b, COC_TIME_CONTRAST, begin,
        (da != NULL ? 6.0 : 2.0) * (double)c->rows * (double)c->columns * c->d);
}

/* Of one product of the tile's rows with its columns. */
static double tile_flop(const coc_contrast *c)
{
    return 2.0 * (double)c->rows * (double)c->columns * c->d;
}

static void timed_tile_forward(coc_backend *b, const coc_contrast *c, coc_contrast_row *row)
{
    const double begin = coc_clock_seconds();

    inner(b)->tile_forward(b, c, row);
    add(b, COC_TIME_CONTRAST, begin, tile_flop(c));
}

static void timed_tile_results(coc_backend *b, const coc_contrast *c, const coc_contrast_row *row,
                               double *results)
{
    const double begin = coc_clock_seconds();

    inner(b)->tile_results(b, c, row, results);
    add(b, COC_TIME_CONTRAST, begin, 0);
}

static void timed_tile_backward(coc_backend *b, const coc_contrast *c, const coc_contrast_row *row,
                                real *da, real *dp)
{
    const double begin = coc_clock_seconds();

    inner(b)->tile_backward(b, c, row, da, dp);
    add(b, COC_TIME_CONTRAST, begin, 3 * tile_flop(c));
}

static void timed_clip_gradient(coc_backend *b, int64_t n, const real *x, double largest,
                                coc_now *now)
{
    const double begin = coc_clock_seconds();

    inner(b)->clip_gradient(b, n, x, largest, now);
    add(b, COC_TIME_UPDATE, begin, 0);
}

static void timed_adam(coc_backend *b, int64_t n, const coc_adam *settings, const coc_now *now,
                       const real *grad, real *value, real *m, real *v)
{
    const double begin = coc_clock_seconds();

    inner(b)->adam(b, n, settings, now, grad, value, m, v);
    add(b, COC_TIME_UPDATE, begin, 0);
}

static void timed_draw_keep(coc_backend *b, const coc_rng_key *key, const coc_now *now,
                            const uint32_t *pair, const uint8_t *view, int64_t n, int64_t count,
                            double drop, real *out)
{
    const double begin = coc_clock_seconds();

    inner(b)->draw_keep(b, key, now, pair, view, n, count, drop, out);
    add(b, COC_TIME_DENSE, begin, 0);
}

static coc_status pass_finish(coc_backend *b)
{
    return inner(b)->finish(b);
}

static void pass_destroy(coc_backend *b)
{
    inner(b)->destroy(b);
}

static const coc_ops timed_ops = {
    .name = "timed",
    .stem_forward = timed_stem_forward,
    .depthwise_forward = timed_depthwise_forward,
    .pointwise_forward = timed_pointwise_forward,
    .stem_backward = timed_stem_backward,
    .depthwise_backward = timed_depthwise_backward,
    .pointwise_backward = timed_pointwise_backward,
    .norm_finish = timed_norm_finish,
    .norm_collect = timed_norm_collect,
    .running_update = timed_running_update,
    .norm_fixed = timed_norm_fixed,
    .norm_backward_sums = timed_norm_backward_sums,
    .norm_backward_params = timed_norm_backward_params,
    .norm_backward_finish = timed_norm_backward_finish,
    .pool_forward = timed_pool_forward,
    .squeeze_forward = timed_squeeze_forward,
    .squeeze_backward = timed_squeeze_backward,
    .join_forward = timed_join_forward,
    .linear_forward = timed_linear_forward,
    .linear_backward = timed_linear_backward,
    .multiply = timed_multiply,
    .add = timed_add,
    .add_sums = timed_add_sums,
    .layer_norm_tanh_forward = timed_layer_norm_tanh_forward,
    .layer_norm_tanh_backward = timed_layer_norm_tanh_backward,
    .contrast = timed_contrast,
    .tile_forward = timed_tile_forward,
    .tile_results = timed_tile_results,
    .tile_backward = timed_tile_backward,
    .clip_gradient = timed_clip_gradient,
    .adam = timed_adam,
    .draw_keep = timed_draw_keep,
    .finish = pass_finish,
    .destroy = pass_destroy,
};

coc_status coc_timed_backend_open(const coc_model_settings *settings, coc_backend **backend)
{
    coc_backend *plain;
    timed_backend *t;
    coc_status status;

    *backend = NULL;
    COC_TRY(coc_backend_open(settings, &plain));
    status = coc_alloc(1, sizeof *t, &t);
    if (status != COC_OK) {
        coc_backend_destroy(&plain);
        return status;
    }
    t->base = *plain;
    t->base.ops = &timed_ops;
    t->inner = plain->ops;
    free(plain);
    *backend = &t->base;
    return COC_OK;
}

coc_time *coc_timed_backend_times(coc_backend *backend)
{
    return timed(backend)->time;
}

const char *coc_time_name(coc_time_kind kind)
{
    static const char *const name[COC_TIME_KINDS] = {
        "stem, forward",          "depthwise, forward", "1 x 1, forward", "stem, backward",
        "depthwise, backward",    "1 x 1, backward",    "batch norm",     "gate and join",
        "projection, similarity", "contrast",           "norm and Adam"};

    return name[kind];
}
