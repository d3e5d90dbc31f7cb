#include "tests/test.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <hdf5.h>

#include "base/file.h"
#include "base/rng.h"

static int failures, failures_before, tests;
static const char *current = "?";

void coc_test_fail(const char *file, int line, const char *format, ...)
{
    const char *name = strrchr(file, '/');
    va_list arguments;

    failures++;
    if (failures - failures_before > 20) return; /* one broken loop must not fill the log */
    fprintf(stderr, "  %s:%d: %s: failed: ", name != NULL ? name + 1 : file, line, current);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

void coc_test_near(const char *file, int line, const char *what, double got, double want,
                   double tolerance)
{
    if (fabs(got - want) <= tolerance) return;
    coc_test_fail(file, line, "%s is %.12g, wanted %.12g within %g", what, got, want, tolerance);
}

void coc_test_close(const char *file, int line, const char *what, const float *got,
                    const float *want, int64_t n, double rtol, double atol)
{
    int64_t bad = 0, worst = 0;
    double worst_excess = -1;

    for (int64_t i = 0; i < n; i++) {
        const double difference = fabs((double)got[i] - (double)want[i]);
        const double allowed = atol + rtol * fabs((double)want[i]);

        if (difference <= allowed) continue; /* false for a NaN */
        bad++;
        if (!(difference - allowed <= worst_excess)) {
            worst_excess = difference - allowed;
            worst = i;
        }
    }
    if (bad > 0)
        coc_test_fail(file, line, "%s: %lld of %lld differ; worst at %lld: %.9g, wanted %.9g", what,
                      (long long)bad, (long long)n, (long long)worst, (double)got[worst],
                      (double)want[worst]);
}

double coc_test_relative_error(const float *got, const float *want, int64_t n)
{
    double difference = 0, norm = 0;

    for (int64_t i = 0; i < n; i++) {
        const double d = (double)got[i] - (double)want[i];

        difference += d * d;
        norm += (double)want[i] * (double)want[i];
    }
    return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

void coc_test_begin(const char *name)
{
    current = name;
    failures_before = failures;
}

const char *coc_test_name(void)
{
    return current;
}

void coc_test_end(void)
{
    tests++;
    fprintf(stderr, "%s %s\n", failures == failures_before ? "ok    " : "FAILED", current);
}

int coc_test_result(void)
{
    fprintf(stderr, "%d tests, %d failed checks\n", tests, failures);
    return failures != 0 || tests == 0;
}

const char *coc_test_folder(const char *name)
{
    static char path[256];

    snprintf(path, sizeof path, "scratch_%s", name);
    coc_remove_tree(path);
    if (mkdir(path, 0777) != 0) coc_test_fail(__FILE__, __LINE__, "cannot make %s", path);
    return path;
}

const char *coc_golden_path(const char *name)
{
    static char path[COC_PATH_BYTES];
    const char *folder = getenv("COCOLA_GOLDEN"), *source = getenv("COCOLA_SOURCE");

    if (folder != NULL) {
        snprintf(path, sizeof path, "%s/%s", folder, name);
        if (coc_file_exists(path)) return path;
    }
    snprintf(path, sizeof path, "%s/tests/golden/%s", source != NULL ? source : "..", name);
    return coc_file_exists(path) ? path : NULL;
}

static void *read_dataset(const char *file, const char *dataset, hid_t type, size_t size,
                          int64_t *count)
{
    const hid_t f = H5Fopen(file, H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t d = f >= 0 ? H5Dopen2(f, dataset, H5P_DEFAULT) : -1;
    void *values = NULL;

    *count = 0;
    if (d >= 0) {
        const hid_t s = H5Dget_space(d);
        const hssize_t n = H5Sget_simple_extent_npoints(s);

        H5Sclose(s);
        values = n > 0 ? malloc((size_t)n * size) : NULL;
        if (values != NULL && H5Dread(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0)
            *count = n;
        H5Dclose(d);
    }
    if (f >= 0) H5Fclose(f);
    if (*count == 0) {
        coc_test_fail(__FILE__, __LINE__, "%s: no data set %s", file, dataset);
        free(values);
        return NULL;
    }
    return values;
}

float *coc_golden_read(const char *file, const char *dataset, int64_t *count)
{
    return read_dataset(file, dataset, H5T_NATIVE_FLOAT, sizeof(float), count);
}

double *coc_golden_read_double(const char *file, const char *dataset, int64_t *count)
{
    return read_dataset(file, dataset, H5T_NATIVE_DOUBLE, sizeof(double), count);
}

int32_t *coc_golden_read_int(const char *file, const char *dataset, int64_t *count)
{
    return read_dataset(file, dataset, H5T_NATIVE_INT32, sizeof(int32_t), count);
}

bool coc_golden_has(const char *file, const char *object)
{
    const hid_t f = H5Fopen(file, H5F_ACC_RDONLY, H5P_DEFAULT);
    const bool has = f >= 0 && H5Lexists(f, object, H5P_DEFAULT) > 0;

    if (f >= 0) H5Fclose(f);
    return has;
}

double coc_golden_attribute(const char *file, const char *object, const char *name)
{
    double value = NAN;
    const hid_t f = H5Fopen(file, H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t a = f >= 0 ? H5Aopen_by_name(f, object, name, H5P_DEFAULT, H5P_DEFAULT) : -1;

    if (a >= 0) {
        if (H5Aread(a, H5T_NATIVE_DOUBLE, &value) < 0) value = NAN;
        H5Aclose(a);
    }
    if (f >= 0) H5Fclose(f);
    return value;
}

void coc_test_random(float *values, int64_t n, uint32_t seed)
{
    const coc_rng_key key = {.seed = seed, .draw = COC_DRAW_TEST};

    for (int64_t i = 0; i < n; i++)
        values[i] = 2.0f * coc_rng_uniform(&key, (uint32_t)i) - 1.0f;
}
