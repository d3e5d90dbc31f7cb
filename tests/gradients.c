#include "tests/gradients.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "tests/test.h"

/* Truncation is of order STEP^2 = 1e-10 and rounding 1e-16 / STEP = 1e-11, both times numbers of
 * order 1 to 100. */
static const double STEP = 1e-5, RTOL = 1e-6;

void coc_test_random_double(int64_t n, uint32_t seed, double scale, double offset, double *out)
{
    const coc_rng_key key = {.seed = seed, .draw = COC_DRAW_TEST};

    for (int64_t i = 0; i < n; i++)
        out[i] = offset + scale * (2.0 * (double)coc_rng_uniform(&key, (uint32_t)i) - 1.0);
}

int64_t coc_test_part(coc_test_numbers *all, const char *name, int64_t count)
{
    const int64_t offset = all->count;

    all->part[all->parts].name = name;
    all->part[all->parts].offset = offset;
    all->part[all->parts++].count = count;
    all->count += count;
    return offset;
}

void coc_test_make_numbers(coc_test_numbers *all, uint32_t seed)
{
    all->value = calloc((size_t)all->count, sizeof(double));
    all->grad = calloc((size_t)all->count, sizeof(double));
    coc_test_random_double(all->count, seed, 0.7, 0.1, all->value);
}

void coc_test_free_numbers(coc_test_numbers *all)
{
    free(all->value);
    free(all->grad);
}

void coc_test_gradients(const coc_test_numbers *all, double (*loss)(void *), void *context)
{
    for (int i = 0; i < all->parts; i++) {
        const int64_t first = all->part[i].offset;
        double wrong = 0, norm = 0;

        for (int64_t k = first; k < first + all->part[i].count; k++) {
            const double keep = all->value[k];
            double up, down, slope;

            all->value[k] = keep + STEP;
            up = loss(context);
            all->value[k] = keep - STEP;
            down = loss(context);
            all->value[k] = keep;
            slope = (up - down) / (2 * STEP);
            wrong += (all->grad[k] - slope) * (all->grad[k] - slope);
            norm += slope * slope;
        }
        if (!(sqrt(wrong) <= RTOL * sqrt(norm)) || norm == 0)
            coc_test_fail(__FILE__, __LINE__, "%s: gradient is off by %g of %g", all->part[i].name,
                          sqrt(wrong), sqrt(norm));
    }
}
