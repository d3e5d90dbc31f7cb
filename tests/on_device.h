/* tests/on_device.h - arrays of a test on the device of a backend. A failure fails the test. */
#ifndef COC_TESTS_ON_DEVICE_H
#define COC_TESTS_ON_DEVICE_H

#include "model/ops.h"

/* The convolutions that a test of backend cuda is of: cuDNN's where its argument is "cudnn". */
coc_convolutions coc_test_conv(int argc, char **argv);

/* A backend of that name and precision, or NULL when this machine has no device for it, or it is
 * not built in: said on standard error. */
coc_backend *coc_test_backend(const char *name, coc_precision precision);
coc_backend *coc_test_backend_with(const char *name, coc_precision precision,
                                   coc_convolutions conv);

/* The same by the names that programs take (ref, cpu, cuda, or cuda-bf16), with as many threads as
 * OMP_NUM_THREADS says. */
coc_backend *coc_test_backend_named(const char *name);
/* Whether there is one; says why not. */
bool coc_test_backend_opens(const char *name);

/* A copy on the device; host NULL: NULL. Freed with coc_test_release. */
void *coc_test_put(const coc_backend *b, const void *host, int64_t count, size_t size);
/* The same as the backend stores activations. */
stored *coc_test_put_stored(const coc_backend *b, const float *host, int64_t count);
/* Back to the host, after all work. */
void coc_test_get(coc_backend *b, const void *from, int64_t count, size_t size, void *host);
void coc_test_get_stored(coc_backend *b, const stored *from, int64_t count, float *host);
void coc_test_release(const coc_backend *b, void *memory);

/* Values as the backend would keep them. */
void coc_test_round(const coc_backend *b, float *values, int64_t count);

/* The same numbers twice: for the reference, on the host, and for a backend, on its device. */
typedef enum {
    COC_TWIN_FLOATS,
    COC_TWIN_STORED, /* floats on the host, what the backend stores on the device */
    COC_TWIN_DOUBLES,
    COC_TWIN_OTHERS
} coc_twin_kind;
typedef struct {
    void *ref, *cuda;
    int64_t count;
    coc_twin_kind kind;
} coc_twin;

/* Twins from now on are of these two; random numbers follow from the seed. */
void coc_twins_begin(coc_backend *ref, coc_backend *cuda, uint32_t seed);
/* for (b = ref; b != NULL; b = coc_twin_next(b)): the reference, then the other, whose work is
 * waited for. A failure of either fails the test. */
coc_backend *coc_twin_next(coc_backend *b);
void coc_twins_finish(void);
/* The one of the backend's side. */
void *coc_twin_on(const coc_backend *b, coc_twin t);
coc_twin coc_twin_numbers(int64_t count, float low, float high);
/* An activation; both sides have the numbers that the device can store. */
coc_twin coc_twin_stored(int64_t count, float low, float high);
coc_twin coc_twin_doubles(int64_t count, double low, double high);
coc_twin coc_twin_copy(const void *from, int64_t count, size_t size);
/* The device's may differ from the host's by `error` of the norm, and nowhere by more than `worst`
 * of the largest. */
void coc_twin_check(const char *what, coc_twin t, double error, double worst);
/* What was seen of the error that a comparison allows, for a table: one line "test, what,
 * precision, relative error, bar", with tabs, at the end of the file that COCOLA_TEST_TABLE names;
 * without it nothing. coc_twin_check calls it. */
void coc_test_record(const char *what, coc_precision precision, double error, double bar);
/* All that were made. */
void coc_twins_free(void);

#endif
