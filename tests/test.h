/* tests/test.h - the whole of our test framework.
 *
 * A test function begins with a sentence that says what must hold, and so what would make it fail.
 * CHECK notes a failure and goes on; REQUIRE notes it and leaves the test function.
 *
 *     int main(void)
 *     {
 *         RUN(what_is_written_is_read_back);
 *         return coc_test_result();
 *     }
 */
#ifndef COC_TESTS_TEST_H
#define COC_TESTS_TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { COC_TEST_SKIPPED = 77 };

/* Note that a check failed. */
void coc_test_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) coc_test_fail(__FILE__, __LINE__, "%s", #condition);                     \
    } while (0)

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            coc_test_fail(__FILE__, __LINE__, "%s", #condition);                                   \
            return;                                                                                \
        }                                                                                          \
    } while (0)

/* A call must give COC_OK; otherwise its error text is shown and the test function is left. */
#define REQUIRE_OK(call)                                                                           \
    do {                                                                                           \
        if ((call) != COC_OK) {                                                                    \
            coc_test_fail(__FILE__, __LINE__, "%s: %s", #call, coc_error_text());                  \
            return;                                                                                \
        }                                                                                          \
    } while (0)

#define CHECK_NEAR(got, want, tolerance)                                                           \
    coc_test_near(__FILE__, __LINE__, #got, (double)(got), (double)(want), (double)(tolerance))
void coc_test_near(const char *file, int line, const char *what, double got, double want,
                   double tolerance);

/* |got - want| <= atol + rtol |want| for n values; a NaN fails. Reports how many differ and the
 * worst one. */
#define CHECK_CLOSE(got, want, n, rtol, atol)                                                      \
    coc_test_close(__FILE__, __LINE__, #got, got, want, n, rtol, atol)
void coc_test_close(const char *file, int line, const char *what, const float *got,
                    const float *want, int64_t n, double rtol, double atol);

/* ||got - want|| / ||want||, in double. */
double coc_test_relative_error(const float *got, const float *want, int64_t n);

#define RUN(test)                                                                                  \
    do {                                                                                           \
        coc_test_begin(#test);                                                                     \
        test();                                                                                    \
        coc_test_end();                                                                            \
    } while (0)
void coc_test_begin(const char *name);
/* That of the test that runs now. */
const char *coc_test_name(void);
void coc_test_end(void);
/* For main(): 0 when every check held. Prints a summary. */
int coc_test_result(void);

/* A fresh empty folder below the working folder, named after the test; emptied when it exists.
 * Borrowed until the next call. */
const char *coc_test_folder(const char *name);

/* Full path of a file with reference values: COCOLA_GOLDEN/<name>, else the source tree's
 * tests/golden/<name>; NULL when neither exists. Borrowed until the next call. */
const char *coc_golden_path(const char *name);

/* Read a data set of an HDF5 file as float, double or int32 values; *count gets the number of
 * values. NULL (and a failed check) when it is missing. Freed with free(). */
float *coc_golden_read(const char *file, const char *dataset, int64_t *count);
double *coc_golden_read_double(const char *file, const char *dataset, int64_t *count);
int32_t *coc_golden_read_int(const char *file, const char *dataset, int64_t *count);
/* Whether it holds an object of that name at its root. */
bool coc_golden_has(const char *file, const char *object);
/* A numeric attribute of an object in it ("." for the root); NAN when missing. */
double coc_golden_attribute(const char *file, const char *object, const char *name);

/* The same pseudo-random floats in (-1, 1) for the same seed, anywhere. */
void coc_test_random(float *values, int64_t n, uint32_t seed);

#endif
