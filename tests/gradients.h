/* tests/gradients.h - gradients against central differences, in double. */
#ifndef COC_TESTS_GRADIENTS_H
#define COC_TESTS_GRADIENTS_H

#include <stdint.h>

/* out = offset + scale * (-1, 1) pseudo-random */
void coc_test_random_double(int64_t n, uint32_t seed, double scale, double offset, double *out);

enum { COC_TEST_PARTS = 24 };

/* Numbers to differentiate by, in named parts: name them all, then make the buffers. */
typedef struct {
    struct {
        const char *name;
        int64_t offset, count;
    } part[COC_TEST_PARTS];
    int parts;
    int64_t count;
    double *value, *grad; /* [count] */
} coc_test_numbers;

/* Returns the part's offset. */
int64_t coc_test_part(coc_test_numbers *all, const char *name, int64_t count);
/* value pseudo-random, grad zero. */
void coc_test_make_numbers(coc_test_numbers *all, uint32_t seed);
void coc_test_free_numbers(coc_test_numbers *all);

/* Each part's grad must be the differences of loss(context) with respect to value, within 1e-6 of
 * its norm; a part that changes nothing fails. */
void coc_test_gradients(const coc_test_numbers *all, double (*loss)(void *), void *context);

#endif
