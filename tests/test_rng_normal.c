/* Bulk normal numbers of base/rng.h against their definition. */
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "tests/test.h"

enum { N = 80000 };

static const coc_rng_key key = {.seed = 0x123456789abcdefu,
                                .draw = COC_DRAW_NOISE,
                                .item = 7,
                                .step = 9,
                                .view = 1,
                                .layer = 3};
static float z[N];

/* Number i is Box-Muller, in double, on the words of its block; 2e-6 is a few roundings of the
 * largest ones (5.8). Wrong words would differ by about 1. */
static void are_box_muller_of_the_blocks(void)
{
    coc_rng_normal(&key, 0, N, z);
    for (uint32_t i = 0; i < N; i += 2) {
        uint32_t word[4];
        double radius, angle;

        coc_rng_block(&key, i / 4, word);
        radius = sqrt(-2 * log(((double)(word[i % 4] >> 8) + 1) * 0x1p-24));
        angle = 2 * acos(-1.0) * (double)(word[i % 4 + 1] >> 8) * 0x1p-24;
        CHECK_NEAR(z[i], radius * cos(angle), 2e-6);
        CHECK_NEAR(z[i + 1], radius * sin(angle), 2e-6);
    }
}

/* A range gives the same bits as the whole, wherever it begins and ends. */
static void do_not_depend_on_the_range(void)
{
    static const int64_t counts[] = {1, 3, 4, 5, 255, 256, 257, 1001};
    float part[1001];

    coc_rng_normal(&key, 0, N, z);
    for (uint32_t first = 0; first < 3000; first += 364)
        for (int i = 0; i < 8; i++) {
            coc_rng_normal(&key, first, counts[i], part);
            CHECK_CLOSE(part, z + first, counts[i], 0, 0);
        }
}

/* Nothing is written beyond the count. */
static void write_only_the_count(void)
{
    float part[8] = {9, 9, 9, 9, 9, 9, 9, 9};

    coc_rng_normal(&key, 0, 5, part);
    CHECK(part[4] != 9 && part[5] == 9 && part[6] == 9 && part[7] == 9);
    coc_rng_normal(&key, 0, 0, part + 5);
    CHECK(part[5] == 9);
}

/* Mean, variance and kurtosis are those of a normal distribution, within five standard errors. */
static void are_normal(void)
{
    double m1 = 0, m2 = 0, m4 = 0;

    coc_rng_normal(&key, 0, N, z);
    for (int i = 0; i < N; i++) {
        const double x = (double)z[i];

        m1 += x / N;
        m2 += x * x / N;
        m4 += x * x * x * x / N;
    }
    CHECK_NEAR(m1, 0, 5 / sqrt(N));
    CHECK_NEAR(m2, 1, 5 * sqrt(2.0 / N));
    CHECK_NEAR(m4, 3, 5 * sqrt(96.0 / N));
}

int main(void)
{
    RUN(are_box_muller_of_the_blocks);
    RUN(do_not_depend_on_the_range);
    RUN(write_only_the_count);
    RUN(are_normal);
    return coc_test_result();
}
