#include "tests/on_device.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "tests/test.h"

static void require(coc_status status)
{
    if (status != COC_OK) coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
}

coc_convolutions coc_test_conv(int argc, char **argv)
{
    const coc_convolutions conv =
        argc > 1 && strcmp(argv[1], "cudnn") == 0 ? COC_CONV_CUDNN : COC_CONV_OWN;

    fprintf(stderr, "convolutions: %s\n", coc_convolutions_name(conv));
    return conv;
}

static coc_backend *open_backend(const char *name, coc_model_settings settings)
{
    coc_backend *b;

    snprintf(settings.backend, sizeof settings.backend, "%s", name);
    if (coc_backend_open(&settings, &b) != COC_OK) fprintf(stderr, "%s\n", coc_error_text());
    return b;
}

coc_backend *coc_test_backend_with(const char *name, coc_precision precision, coc_convolutions conv)
{
    return open_backend(name,
                        (coc_model_settings){.threads = 1, .precision = precision, .conv = conv});
}

coc_backend *coc_test_backend(const char *name, coc_precision precision)
{
    return coc_test_backend_with(name, precision, COC_CONV_OWN);
}

coc_backend *coc_test_backend_named(const char *name)
{
    const bool half = strcmp(name, "cuda-bf16") == 0;

    return open_backend(half ? "cuda" : name,
                        (coc_model_settings){.precision = half ? COC_BF16 : COC_FP32});
}

bool coc_test_backend_opens(const char *name)
{
    coc_backend *b = coc_test_backend_named(name);
    const bool opens = b != NULL;

    coc_backend_destroy(&b);
    return opens;
}

void *coc_test_put(const coc_backend *b, const void *host, int64_t count, size_t size)
{
    void *memory = NULL;

    if (host == NULL) return NULL;
    require(b->device->alloc(b->device, (size_t)count * size, &memory));
    if (memory == NULL) exit(1);
    require(b->device->copy(b->device, memory, host, (size_t)count * size, NULL));
    require(b->device->wait(b->device, NULL));
    return memory;
}

/* To nearest, ties to even. */
static uint16_t half_of(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static float float_of(uint16_t half)
{
    const uint32_t u = (uint32_t)half << 16;
    float x;

    memcpy(&x, &u, sizeof x);
    return x;
}

stored *coc_test_put_stored(const coc_backend *b, const float *host, int64_t count)
{
    uint16_t *half;
    stored *memory;

    if (host == NULL || b->stored_bytes == sizeof *host)
        return coc_test_put(b, host, count, sizeof *host);
    half = malloc((size_t)count * sizeof *half);
    for (int64_t i = 0; i < count; i++)
        half[i] = half_of(host[i]);
    memory = coc_test_put(b, half, count, sizeof *half);
    free(half);
    return memory;
}

void coc_test_get(coc_backend *b, const void *from, int64_t count, size_t size, void *host)
{
    require(b->ops->finish(b));
    require(b->device->copy(b->device, host, from, (size_t)count * size, NULL));
    require(b->device->wait(b->device, NULL));
}

void coc_test_get_stored(coc_backend *b, const stored *from, int64_t count, float *host)
{
    uint16_t *half;

    if (b->stored_bytes == sizeof *host) {
        coc_test_get(b, from, count, sizeof *host, host);
        return;
    }
    half = malloc((size_t)count * sizeof *half);
    coc_test_get(b, from, count, sizeof *half, half);
    for (int64_t i = 0; i < count; i++)
        host[i] = float_of(half[i]);
    free(half);
}

void coc_test_release(const coc_backend *b, void *memory)
{
    b->device->release(b->device, memory);
}

void coc_test_round(const coc_backend *b, float *values, int64_t count)
{
    for (int64_t i = 0; i < count && b->stored_bytes != sizeof *values; i++)
        values[i] = float_of(half_of(values[i]));
}

/* ---- the same numbers on both sides ---- */

enum { MOST_TWINS = 64 };
static coc_twin twins[MOST_TWINS];
static int made;
static uint32_t seed;
static coc_backend *host_backend, *device_backend;

void coc_twins_begin(coc_backend *ref, coc_backend *cuda, uint32_t first_seed)
{
    host_backend = ref;
    device_backend = cuda;
    seed = first_seed;
}

void coc_twins_finish(void)
{
    require(host_backend->ops->finish(host_backend));
    require(device_backend->ops->finish(device_backend));
}

coc_backend *coc_twin_next(coc_backend *b)
{
    if (b == host_backend) return device_backend;
    coc_twins_finish();
    return NULL;
}

void *coc_twin_on(const coc_backend *b, coc_twin t)
{
    return b == host_backend ? t.ref : t.cuda;
}

static coc_twin add_twin(void *host, int64_t count, size_t size, coc_twin_kind kind)
{
    void *there = kind == COC_TWIN_STORED ? (void *)coc_test_put_stored(device_backend, host, count)
                                          : coc_test_put(device_backend, host, count, size);
    const coc_twin t = {host, there, count, kind};

    if (made == MOST_TWINS) abort();
    twins[made++] = t;
    return t;
}

static float *random_numbers(int64_t count, float low, float high)
{
    float *values = malloc((size_t)count * sizeof *values);

    coc_test_random(values, count, ++seed);
    for (int64_t i = 0; i < count; i++)
        values[i] = low + 0.5f * (values[i] + 1) * (high - low);
    return values;
}

coc_twin coc_twin_numbers(int64_t count, float low, float high)
{
    return add_twin(random_numbers(count, low, high), count, sizeof(float), COC_TWIN_FLOATS);
}

coc_twin coc_twin_stored(int64_t count, float low, float high)
{
    float *values = random_numbers(count, low, high);

    coc_test_round(device_backend, values, count);
    return add_twin(values, count, sizeof *values, COC_TWIN_STORED);
}

coc_twin coc_twin_doubles(int64_t count, double low, double high)
{
    const coc_twin from = coc_twin_numbers(count, (float)low, (float)high);
    double *values = malloc((size_t)count * sizeof *values);

    for (int64_t i = 0; i < count; i++)
        values[i] = ((float *)from.ref)[i];
    return add_twin(values, count, sizeof *values, COC_TWIN_DOUBLES);
}

coc_twin coc_twin_copy(const void *from, int64_t count, size_t size)
{
    void *values = malloc((size_t)count * size);

    memcpy(values, from, (size_t)count * size);
    return add_twin(values, count, size, COC_TWIN_OTHERS);
}

void coc_twins_free(void)
{
    while (made > 0) {
        made--;
        free(twins[made].ref);
        coc_test_release(device_backend, twins[made].cuda);
    }
}

void coc_test_record(const char *what, coc_precision precision, double error, double bar)
{
    const char *path = getenv("COCOLA_TEST_TABLE");
    FILE *file = path != NULL ? fopen(path, "a") : NULL;

    if (path == NULL) return;
    if (file == NULL || fprintf(file, "%s\t%s\t%s\t%.3g\t%.3g\n", coc_test_name(), what,
                                coc_precision_name(precision), error, bar) < 0)
        coc_test_fail(__FILE__, __LINE__, "%s: cannot be written", path);
    if (file != NULL) fclose(file);
}

void coc_twin_check(const char *what, coc_twin t, double error, double worst)
{
    const size_t size = t.kind == COC_TWIN_DOUBLES ? sizeof(double) : sizeof(float);
    void *got = malloc((size_t)t.count * size);
    double squares = 0, norm = 0, most = 0, off = 0;

    if (t.kind == COC_TWIN_STORED)
        coc_test_get_stored(device_backend, t.cuda, t.count, got);
    else
        coc_test_get(device_backend, t.cuda, t.count, size, got);
    for (int64_t i = 0; i < t.count; i++) {
        const double a =
            t.kind == COC_TWIN_DOUBLES ? ((double *)got)[i] : (double)((float *)got)[i];
        const double b =
            t.kind == COC_TWIN_DOUBLES ? ((double *)t.ref)[i] : (double)((float *)t.ref)[i];

        squares += (a - b) * (a - b);
        norm += b * b;
        most = fmax(most, fabs(b));
        if (!(fabs(a - b) <= off)) off = isnan(a) ? INFINITY : fabs(a - b);
    }
    coc_test_record(what, device_backend->precision, sqrt(squares / (norm > 0 ? norm : 1)), error);
    if (!(sqrt(squares) <= error * sqrt(norm) + 1e-30) || !(off <= worst * most + 1e-30))
        coc_test_fail(__FILE__, __LINE__, "%s: relative error %.3g, worst %.3g of %.3g", what,
                      sqrt(squares / (norm > 0 ? norm : 1)), off, most);
    free(got);
}
