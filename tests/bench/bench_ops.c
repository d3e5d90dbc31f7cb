/* Time of every operation of the encoder that touches all positions, forward and backward, one line
 * a layer, below that of a copy of the largest tensor, which is the roof:
 *
 *     bench_ops [BACKEND [WIDTH [DEPTH [CLIPS [THREADS [REPEATS]]]]]]     cpu 1 1 64 1 5
 *
 * BACKEND: ref, cpu, cuda, or cuda-bf16. The median over the repeats; thread CPU time on one
 * thread, so that a busy machine disturbs little, otherwise wall time; on an accelerator of ten
 * calls in a row, waited for together. GFLOP/s counts a product and a sum as two; GB/s counts every
 * tensor of the call as read or written once. Numbers are random: their values do not matter. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "model/ops.h"

enum { MOST_REPEATS = 101, ROW_OF_CALLS = 10 };

typedef struct {
    coc_backend *b;
    int64_t n;
    int repeats, threads;
    float *x, *y, *dz, *out, *small;
    double *sums;
    int32_t *group;
    coc_norm norm;
    double forward, backward, forward_flop, backward_flop; /* of the whole network */
} bench;

typedef enum { STEM, DEPTHWISE, EXPAND, PROJECT, HEAD, POOL, JOIN, COPY } layer_kind;
typedef enum { FORWARD, BACKWARD, SUMS } direction;

static double now(const bench *k)
{
    struct timespec t;

    if (k->threads != 1 || k->b->device->side != COC_HOST) return coc_clock_seconds();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void call_layer(const bench *k, layer_kind kind, direction way, const coc_conv *s)
{
    const coc_ops *ops = k->b->ops;
    const float *w = k->small;
    float *dw = k->small + (4 << 20);
    const float *gate = kind == PROJECT ? k->small : NULL;
    const coc_norm *norm = kind == PROJECT || kind == DEPTHWISE ? &k->norm : NULL;
    coc_norm out = k->norm;
    coc_gradient g = {.x = k->y,
                      .norm = &out,
                      .dz = kind == HEAD ? NULL : k->dz,
                      .gate = kind == DEPTHWISE ? k->small : NULL,
                      .pooled = kind == DEPTHWISE || kind == HEAD ? k->small : NULL,
                      .mean_du = k->small,
                      .mean_dux = k->small};

    out.silu = kind != PROJECT;
    if (way == SUMS) {
        ops->norm_backward_sums(k->b, k->n, (int64_t)s->out_h * s->out_w, s->out_c, &g, k->sums);
    } else if (kind == STEM && way == FORWARD) {
        ops->stem_forward(k->b, s, k->n, k->x, NULL, w, k->out, k->group, k->sums);
    } else if (kind == STEM) {
        ops->stem_backward(k->b, s, k->n, k->x, NULL, &g, dw);
    } else if (kind == DEPTHWISE && way == FORWARD) {
        ops->depthwise_forward(k->b, s, k->n, k->x, norm, w, k->out, k->group, k->sums);
    } else if (kind == DEPTHWISE) {
        ops->depthwise_backward(k->b, s, k->n, k->x, norm, &g, w, k->out, false, dw, k->sums);
    } else if (way == FORWARD) {
        ops->pointwise_forward(k->b, s, k->n, k->x, norm, gate, w, k->out, k->group, k->sums);
    } else {
        ops->pointwise_backward(k->b, s, k->n, k->x, norm, gate, &g, w, k->out, kind == EXPAND, dw,
                                gate != NULL ? k->small + (8 << 20) : NULL);
    }
}

/* What lies between convolutions, of the channels and positions that s gives out. */
static void call_between(const bench *k, layer_kind kind, const coc_conv *s)
{
    const coc_ops *ops = k->b->ops;
    const int64_t positions = (int64_t)s->out_h * s->out_w;
    coc_norm norm = k->norm;

    norm.silu = kind == POOL;
    if (kind == POOL)
        ops->pool_forward(k->b, k->n, positions, s->out_c, k->x, &norm, k->small);
    else if (kind == JOIN)
        ops->join_forward(k->b, k->n, positions, s->out_c, k->x, &norm, k->small, k->y, k->out);
    else if (k->b->device->copy(k->b->device, k->out, k->x,
                                (size_t)(k->n * positions * s->out_c) * k->b->stored_bytes,
                                NULL) != COC_OK)
        fprintf(stderr, "bench_ops: %s\n", coc_error_text());
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void call(const bench *k, layer_kind kind, direction way, const coc_conv *s)
{
    if (kind < POOL)
        call_layer(k, kind, way, s);
    else
        call_between(k, kind, s);
}

static double median(const bench *k, layer_kind kind, direction way, const coc_conv *s)
{
    const coc_device *device = k->b->device;
    const int calls = device->side == COC_HOST ? 1 : ROW_OF_CALLS;
    double seconds[MOST_REPEATS];

    call(k, kind, way, s);
    (void)device->wait(device, NULL); /* failures are reported at the end */
    for (int i = 0; i < k->repeats; i++) {
        const double begin = now(k);

        for (int j = 0; j < calls; j++)
            call(k, kind, way, s);
        (void)device->wait(device, NULL);
        seconds[i] = (now(k) - begin) / calls;
    }
    qsort(seconds, (size_t)k->repeats, sizeof *seconds, by_value);
    return seconds[k->repeats / 2];
}

static void layer(bench *k, const char *name, layer_kind kind, const coc_conv *s)
{
    const double bytes = 1e-9 * (double)k->b->stored_bytes;
    const double in = bytes * (double)k->n * s->in_h * s->in_w * s->in_c;
    const double out = bytes * (double)k->n * s->out_h * s->out_w * s->out_c;
    const double flop = 2 * out / (double)k->b->stored_bytes * s->kernel * s->kernel *
                        (kind == DEPTHWISE ? 1 : s->in_c);
    const double backward_flop = kind == STEM ? flop : 2 * flop;
    const double forward = median(k, kind, FORWARD, s), backward = median(k, kind, BACKWARD, s);
    const double sums = kind == EXPAND ? 0 : median(k, kind, SUMS, s);
    const double moved = kind == STEM ? in + 2 * out : in * (kind == EXPAND ? 3 : 2) + 2 * out;

    printf("%-9s %3d x %-3d %4d -> %-4d %d/%d %8.3f %6.1f %6.1f %8.3f %6.1f %6.1f %8.3f %6.1f\n",
           name, s->out_h, s->out_w, s->in_c, s->out_c, s->kernel, s->stride, 1e3 * forward,
           flop / forward, (in + out) / forward, 1e3 * backward, backward_flop / backward,
           moved / backward, 1e3 * sums, sums > 0 ? 2 * out / sums : 0);
    fflush(stdout);
    k->forward += forward;
    k->backward += backward + sums;
    k->forward_flop += flop;
    k->backward_flop += backward_flop;
}

/* A join reads the skip too. */
static void between(bench *k, const char *name, layer_kind kind, const coc_conv *s)
{
    const double bytes = 1e-9 * (double)k->b->stored_bytes;
    const double one = bytes * (double)k->n * s->out_h * s->out_w * s->out_c;
    const double moved = kind == POOL ? one : kind == JOIN ? 3 * one : 2 * one;
    const double seconds = median(k, kind, FORWARD, s);

    printf("%-9s %3d x %-3d %4d -> %-4d -/- %8.3f      - %6.1f        -      -      -        -     "
           " -\n",
           name, s->out_h, s->out_w, s->out_c, s->out_c, 1e3 * seconds, moved / seconds);
    fflush(stdout);
    if (kind != COPY) k->forward += seconds;
}

/* The largest tensor of the network. */
static const coc_conv *largest(const coc_network *net)
{
    const coc_conv *found = &net->stem;

    for (int i = 0; i < net->blocks; i++) {
        const coc_conv *s = net->block[i].has_expand ? &net->block[i].expand : &net->stem;

        if ((int64_t)s->out_h * s->out_w * s->out_c >
            (int64_t)found->out_h * found->out_w * found->out_c)
            found = s;
    }
    return found;
}

/* Random numbers; every tensor may be read as float or as bf16. */
static coc_status fill(const bench *k, float *to, int64_t count)
{
    enum { PIECE = 1 << 20 };
    const coc_device *device = k->b->device;
    float *host = malloc(PIECE * sizeof *host);
    coc_status status = host != NULL ? COC_OK : COC_FAIL(COC_ERR_MEMORY, "no memory");

    for (int64_t i = 0; i < PIECE && host != NULL; i++)
        host[i] = (float)((uint32_t)i * 2654435761u >> 8) * 0x1p-24f - 0.5f;
    for (int64_t at = 0; at < count && status == COC_OK; at += PIECE)
        status =
            device->copy(device, to + at, host,
                         sizeof *host * (size_t)(count - at < PIECE ? count - at : PIECE), NULL);
    if (status == COC_OK) status = device->wait(device, NULL);
    free(host);
    return status;
}

static coc_status allocate(bench *k, const coc_network *net)
{
    const coc_device *device = k->b->device;
    const int64_t small = 12 << 20;
    int64_t most = 0;

    for (int i = 0; i < net->blocks; i++) {
        const coc_conv *s = &net->block[i].depthwise;
        const int64_t size = k->n * s->in_h * s->in_w * s->in_c;

        most = size > most ? size : most;
    }
    COC_TRY(coc_device_alloc(device, 4 * most + small + (1 << 18), sizeof *k->x, &k->x));
    k->y = k->x + most;
    k->dz = k->y + most;
    k->out = k->dz + most;
    k->small = k->out + most;
    COC_TRY(fill(k, k->x, 4 * most + small));
    k->sums = (double *)(void *)(k->small + small);
    k->group = (int32_t *)(void *)(k->sums + (1 << 13));
    COC_TRY(device->zero(device, k->group, (size_t)k->n * sizeof *k->group, NULL));
    k->norm = (coc_norm){.mean = k->small,
                         .inverse_std = k->small,
                         .scale = k->small,
                         .shift = k->small,
                         .group = k->group,
                         .silu = true};
    return COC_OK;
}

static void run(bench *k, const coc_network *net)
{
    printf("%-9s %-9s %-12s %-3s %8s %6s %6s %8s %6s %6s %8s %6s\n", "layer", "output", "channels",
           "k/s", "fwd ms", "GF/s", "GB/s", "bwd ms", "GF/s", "GB/s", "sums ms", "GB/s");
    between(k, "copy", COPY, largest(net));
    layer(k, "stem", STEM, &net->stem);
    for (int i = 0; i < net->blocks; i++) {
        char name[24];

        snprintf(name, sizeof name, "%d.expand", i);
        if (net->block[i].has_expand) layer(k, name, EXPAND, &net->block[i].expand);
        snprintf(name, sizeof name, "%d.depth", i);
        layer(k, name, DEPTHWISE, &net->block[i].depthwise);
        snprintf(name, sizeof name, "%d.pool", i);
        between(k, name, POOL, &net->block[i].depthwise);
        snprintf(name, sizeof name, "%d.project", i);
        layer(k, name, PROJECT, &net->block[i].project);
        snprintf(name, sizeof name, "%d.join", i);
        between(k, name, JOIN, &net->block[i].project);
    }
    layer(k, "head", HEAD, &net->head);
    printf("forward %.3f s (%.1f GFLOP/s), backward with sums %.3f s (%.1f GFLOP/s), both %.3f s\n",
           k->forward, k->forward_flop / k->forward, k->backward, k->backward_flop / k->backward,
           k->forward + k->backward);
}

static double argument(int argc, char **argv, int i, double otherwise)
{
    return argc > i ? strtod(argv[i], NULL) : otherwise;
}

static coc_status open_backend(const char *name, bench *k)
{
    const bool half = strcmp(name, "cuda-bf16") == 0;
    coc_model_settings settings = {.threads = k->threads, .precision = half ? COC_BF16 : COC_FP32};

    snprintf(settings.backend, sizeof settings.backend, "%s", half ? "cuda" : name);
    return coc_backend_open(&settings, &k->b);
}

static coc_status bench_all(int argc, char **argv, bench *k)
{
    const coc_profile *profile;
    coc_network net;

    k->n = (int64_t)argument(argc, argv, 4, 64);
    k->threads = (int)argument(argc, argv, 5, 1);
    k->repeats = (int)argument(argc, argv, 6, 5);
    if (k->repeats < 1 || k->repeats > MOST_REPEATS || k->n < 1 || k->n > 4096)
        return COC_FAIL(COC_ERR_USAGE, "usage: bench_ops [BACKEND [WIDTH [DEPTH [CLIPS [THREADS "
                                       "[REPEATS]]]]]]");
    COC_TRY(coc_profile_find("cocola-hps", 2, &profile));
    COC_TRY(coc_network_build(profile, argument(argc, argv, 2, 1), argument(argc, argv, 3, 1), 64,
                              501, &net));
    COC_TRY(open_backend(argc > 1 ? argv[1] : "cpu", k));
    COC_TRY(allocate(k, &net));
    run(k, &net);
    k->b->device->release(k->b->device, k->x);
    return k->b->ops->finish(k->b);
}

int main(int argc, char **argv)
{
    bench k = {0};
    const coc_status status = bench_all(argc, argv, &k);

    if (status != COC_OK) fprintf(stderr, "bench_ops: %s\n", coc_error_text());
    coc_backend_destroy(&k.b);
    return coc_exit_code(status);
}
