/* Medians of 31 powers along either axis, 16 neighbouring ones at once for a vector of columns. */
#include "preprocess/features_cpu.h"
#include "preprocess/median_network.h"

_Static_assert((int)COC_MEDIAN_WINDOWS == (int)COC_BLOCK &&
                   (int)COC_MARGIN == COC_MEDIAN_TAPS / 2 &&
                   (int)COC_MEDIAN_ROWS == COC_BLOCK + 2 * COC_MARGIN,
               "median_network.py and features_cpu.h must agree");

void coc_median_along_frequency(const float *power, float *out)
{
    const coc_float_bits *in = (const coc_float_bits *)(power - COC_MARGIN * COC_ROW);
    coc_float_bits *bits = (coc_float_bits *)out;

#pragma omp simd
    for (int t = 0; t < COC_FRAMES_USED; t++)
        coc_median_network(in + t, COC_ROW, bits + t, COC_ROW);
}

/* tile [frame][bin of the block], with mirrored frames before and after. */
static void transpose_block(const float *power, float *tile)
{
    for (int t = 0; t < COC_FRAMES; t++)
        for (int k = 0; k < COC_BLOCK; k++)
            tile[(COC_MARGIN + t) * COC_BLOCK + k] = power[k * COC_ROW + t];
    for (int i = 0; i < COC_MARGIN; i++)
        for (int k = 0; k < COC_BLOCK; k++) {
            tile[(COC_MARGIN - 1 - i) * COC_BLOCK + k] = power[k * COC_ROW + i];
            tile[(COC_MARGIN + COC_FRAMES + i) * COC_BLOCK + k] =
                power[k * COC_ROW + COC_FRAMES - 1 - i];
        }
}

void coc_median_along_time(const float *power, float *tile, float *out)
{
    float *medians = tile + COC_TILE_ROWS * COC_BLOCK;

    transpose_block(power, tile);
    for (int t = 0; t < COC_FRAMES; t += COC_MEDIAN_WINDOWS) {
        const coc_float_bits *in = (const coc_float_bits *)(tile + t * COC_BLOCK);
        coc_float_bits *bits = (coc_float_bits *)(medians + t * COC_BLOCK);

#pragma omp simd
        for (int k = 0; k < COC_BLOCK; k++)
            coc_median_network(in + k, COC_BLOCK, bits + k, COC_BLOCK);
    }
    for (int k = 0; k < COC_BLOCK; k++)
        for (int t = 0; t < COC_FRAMES_USED; t++)
            out[k * COC_ROW + t] = medians[t * COC_BLOCK + k];
}
