/* The sorting network of the medians against sorting, exactly, on both axes and up to the edges. */
#include <stdlib.h>
#include <string.h>

#include "base/device.h"
#include "preprocess/features_cpu.h"
#include "tests/test.h"

static float *power, *tile, *out;

static const float *bin_row(int bin)
{
    return power + (COC_MARGIN + bin) * COC_ROW;
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* d c b a | a b c d | d c b a */
static int mirrored(int i, int n)
{
    if (i < 0) return -1 - i;
    return i < n ? i : 2 * n - 1 - i;
}

static float sorted_median(int bin, int frame, bool along_time)
{
    float value[COC_MEDIAN_TAPS];

    for (int i = 0; i < COC_MEDIAN_TAPS; i++) {
        const int step = i - COC_MEDIAN_TAPS / 2;

        value[i] = along_time ? bin_row(bin)[mirrored(frame + step, COC_FRAMES)]
                              : bin_row(mirrored(bin + step, COC_BINS))[frame];
    }
    qsort(value, COC_MEDIAN_TAPS, sizeof *value, ascending);
    return value[COC_MEDIAN_TAPS / 2];
}

/* Set all powers to `of` a number in [0, 1), then compare every median of the blocks at the edges
 * and of some between with sorting. */
static void check_medians(float (*of)(float uniform), uint32_t seed)
{
    const coc_rng_key key = {.seed = seed, .draw = COC_DRAW_TEST};

    for (int k = 0; k < COC_BINS; k++)
        for (int t = 0; t < COC_ROW; t++)
            power[(COC_MARGIN + k) * COC_ROW + t] =
                of(coc_rng_uniform(&key, (uint32_t)(k * COC_ROW + t)));
    coc_mirror_rows(power);
    for (int first = 0; first < COC_BINS; first += first == 256 ? 240 : COC_BLOCK) {
        if (first > COC_BLOCK && first < 240) continue;
        for (int axis = 0; axis < 2; axis++) {
            if (axis == 0) coc_median_along_frequency(bin_row(first), out);
            if (axis == 1) coc_median_along_time(bin_row(first), tile, out);
            for (int k = 0; k < COC_BLOCK && first + k < COC_BINS; k++)
                for (int t = 0; t < COC_FRAMES; t++)
                    CHECK(out[k * COC_ROW + t] == sorted_median(first + k, t, axis == 1));
        }
    }
}

static float many_sizes(float uniform) /* 1e-37 .. 1, mostly small */
{
    float value = 1;

    for (int i = 0; i < (int)(uniform * 16); i++)
        value *= 0.005f;
    return value * (0.5f + uniform);
}

static float few_values(float uniform)
{
    return (float)(int)(uniform * 4) * 0.25f;
}

static float mostly_silent(float uniform)
{
    return uniform < 0.6f ? 0.0f : uniform * 1e-40f; /* also denormal numbers */
}

static float pure(float uniform)
{
    return uniform;
}

/* Medians of random powers are those of sorting. */
static void random_powers(void)
{
    check_medians(pure, 1);
}

/* Powers of 37 decades are ordered by the integers of their bits. */
static void powers_of_many_sizes(void)
{
    check_medians(many_sizes, 2);
}

/* Equal values, among them zeros and denormal numbers, do not confuse the network. */
static void equal_and_tiny_values(void)
{
    check_medians(few_values, 3);
    check_medians(mostly_silent, 4);
}

/* With 16 or more ones among 31 values the median is 1, else 0. Every count of ones is tried, in
 * each of the 16 windows, spread over them in 30 ways. */
static void zeros_and_ones(void)
{
    for (int ones = 0; ones <= COC_MEDIAN_TAPS; ones++) {
        for (int row = 0; row < COC_POWER_ROWS; row++)
            for (int t = 0; t < COC_ROW; t++)
                power[row * COC_ROW + t] = (float)((row * (1 + t % 30) + t) % 31 < ones);
        coc_median_along_frequency(bin_row(COC_MARGIN), out);
        for (int k = 0; k < COC_BLOCK; k++)
            for (int t = 0; t < COC_FRAMES; t++)
                CHECK(out[k * COC_ROW + t] == (ones > COC_MEDIAN_TAPS / 2 ? 1.0f : 0.0f));
    }
}

static float *take(int64_t floats)
{
    const coc_device *host = coc_device_host();
    void *memory = NULL;

    if (host->alloc(host, (size_t)floats * sizeof(float), &memory) != COC_OK) exit(1);
    memset(memory, 0, (size_t)floats * sizeof(float));
    return memory;
}

int main(void)
{
    power = take(COC_POWER_ROWS * COC_ROW);
    tile = take(2 * COC_TILE_ROWS * COC_BLOCK);
    out = take(COC_BLOCK * COC_ROW);
    RUN(random_powers);
    RUN(powers_of_many_sizes);
    RUN(equal_and_tiny_values);
    RUN(zeros_and_ones);
    coc_device_host()->release(coc_device_host(), power);
    coc_device_host()->release(coc_device_host(), tile);
    coc_device_host()->release(coc_device_host(), out);
    return coc_test_result();
}
