/* Time of the loss alone: similarities of rows with columns, softmax, and both gradients.
 *
 *     bench_loss [BACKEND [ROWS [COLUMNS [D [REPEATS [PRECISION]]]]]]   cuda-bf16 512 131072 512 5
 * auto
 *
 * BACKEND: ref, cpu, cuda, or cuda-bf16. PRECISION: loss.precision. ROWS are the pairs of a rank,
 * COLUMNS those of all ranks. One line: rows, columns, d, median milliseconds, TFLOP/s of the three
 * products. Embeddings are random. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "model/ops.h"
#include "train/bench.h"

enum { MOST_REPEATS = 101 };

typedef struct {
    coc_backend *b;
    int64_t rows, columns;
    int d, repeats;
    float *a, *p, *da, *dp;
    int64_t *label;
    double *results;
} bench;

/* Embeddings lie in (-1, 1); a twentieth of it keeps logits near those of a trained model. */
static coc_status fill(const bench *k)
{
    const coc_device *device = k->b->device;
    const int64_t values = (k->rows + k->columns) * k->d;
    float *host;
    int64_t *label;

    COC_TRY(coc_alloc(values, sizeof *host, &host));
    COC_TRY(coc_alloc(k->rows, sizeof *label, &label));
    for (int64_t i = 0; i < values; i++)
        host[i] = 0.1f * ((float)((uint32_t)i * 2654435761u >> 8) * 0x1p-24f - 0.5f);
    for (int64_t i = 0; i < k->rows; i++)
        label[i] = i % k->columns;
    COC_TRY(device->copy(device, k->a, host, (size_t)values * sizeof *host, NULL));
    COC_TRY(device->copy(device, k->label, label, (size_t)k->rows * sizeof *label, NULL));
    COC_TRY(device->zero(device, k->dp, (size_t)(k->columns * k->d) * sizeof *k->dp, NULL));
    COC_TRY(device->zero(device, k->results, COC_CONTRAST_RESULTS * sizeof *k->results, NULL));
    COC_TRY(device->wait(device, NULL));
    free(host);
    free(label);
    return COC_OK;
}

static coc_status allocate(bench *k)
{
    const coc_device *device = k->b->device;
    const int64_t values = (k->rows + k->columns) * k->d;

    COC_TRY(coc_device_alloc(device, 2 * values, sizeof *k->a, &k->a));
    k->p = k->a + k->rows * k->d;
    k->da = k->a + values;
    k->dp = k->da + k->rows * k->d;
    COC_TRY(coc_device_alloc(device, k->rows, sizeof *k->label, &k->label));
    COC_TRY(coc_device_alloc(device, COC_CONTRAST_RESULTS, sizeof *k->results, &k->results));
    return fill(k);
}

static coc_status run(bench *k)
{
    const coc_contrast contrast = {.rows = k->rows,
                                   .columns = k->columns,
                                   .d = k->d,
                                   .a = k->a,
                                   .p = k->p,
                                   .label = k->label,
                                   .scale = 1.0 / (double)k->columns};
    const double flop = 6.0 * (double)k->rows * (double)k->columns * k->d;
    double seconds[MOST_REPEATS], median;

    for (int i = -1; i < k->repeats; i++) { /* the first one takes scratch memory */
        const double begin = coc_clock_seconds();

        k->b->ops->contrast(k->b, &contrast, k->da, k->dp, k->results);
        COC_TRY(k->b->ops->finish(k->b));
        if (i >= 0) seconds[i] = coc_clock_seconds() - begin;
    }
    median = coc_bench_quantile(seconds, k->repeats, 0.5);
    printf("loss %lld rows %lld columns d %d: %.4f ms %.2f TFLOP/s\n", (long long)k->rows,
           (long long)k->columns, k->d, 1e3 * median, 1e-12 * flop / median);
    return COC_OK;
}

static int64_t argument(int argc, char **argv, int i, int64_t otherwise)
{
    return argc > i ? strtoll(argv[i], NULL, 10) : otherwise;
}

static coc_status set_loss_precision(const char *name, coc_model_settings *settings)
{
    for (int i = COC_LOSS_AUTO; i <= COC_LOSS_BF16; i++) {
        settings->loss_precision = (coc_loss_precision)i;
        if (strcmp(coc_loss_precision_name(settings->loss_precision), name) == 0) return COC_OK;
    }
    return COC_FAIL(COC_ERR_USAGE,
                    "PRECISION: '%s' is unknown; known: auto, fp32, tf32, tf32x3, bf16", name);
}

static coc_status bench_all(int argc, char **argv, bench *k)
{
    const char *name = argc > 1 ? argv[1] : "cuda-bf16";
    const bool half = strcmp(name, "cuda-bf16") == 0;
    coc_model_settings settings = {.precision = half ? COC_BF16 : COC_FP32};

    k->rows = argument(argc, argv, 2, 512);
    k->columns = argument(argc, argv, 3, 131072);
    k->d = (int)argument(argc, argv, 4, 512);
    k->repeats = (int)argument(argc, argv, 5, 5);
    if (k->rows < 1 || k->columns < 1 || k->d < 1 || k->repeats < 1 || k->repeats > MOST_REPEATS)
        return COC_FAIL(COC_ERR_USAGE,
                        "usage: bench_loss [BACKEND [ROWS [COLUMNS [D [REPEATS [PRECISION]]]]]]");
    COC_TRY(set_loss_precision(argc > 6 ? argv[6] : "auto", &settings));
    snprintf(settings.backend, sizeof settings.backend, "%s", half ? "cuda" : name);
    COC_TRY(coc_backend_open(&settings, &k->b));
    COC_TRY(allocate(k));
    return run(k);
}

int main(int argc, char **argv)
{
    bench k = {0};
    const coc_status status = bench_all(argc, argv, &k);

    if (status != COC_OK) fprintf(stderr, "bench_loss: %s\n", coc_error_text());
    if (k.b != NULL) {
        k.b->device->release(k.b->device, k.a);
        k.b->device->release(k.b->device, k.label);
        k.b->device->release(k.b->device, k.results);
    }
    coc_backend_destroy(&k.b);
    return coc_exit_code(status);
}
