/* model/cpu_depthwise.h - what the two directions of depthwise convolutions share. Private to the
 * fast backend.
 *
 * A clip is worked on in groups of channels, from its first row to its last. The rows that a kernel
 * spans are kept in rings in the second cache, read and activated once, with columns of zeros on
 * both sides: kernels never meet an edge of the image. Kernel sizes 3 and 5 and strides 1 and 2
 * exist; coc_cpu_has_depthwise says whether a shape is one of them.
 */
#ifndef COC_MODEL_CPU_DEPTHWISE_H
#define COC_MODEL_CPU_DEPTHWISE_H

#include "model/cpu.h"

enum {
    COC_MOST_KERNEL = 5,
    COC_TILE = 8,             /* outputs along a row that one kernel call sums in registers */
    COC_FLUSH_POSITIONS = 256 /* float sums are added to double ones at least so often */
};

/* Rows of a group of channels: [slots][vectors][width][COC_LANES], row r in slot r % slots. */
typedef struct {
    float *memory;
    int slots, vectors, width;
} coc_cpu_ring;

COC_KERNEL float *coc_ring_row(const coc_cpu_ring *ring, int row, int vector)
{
    return ring->memory +
           ((int64_t)(row % ring->slots) * ring->vectors + vector) * ring->width * COC_LANES;
}

COC_KERNEL int64_t coc_ring_size(const coc_cpu_ring *ring)
{
    return (int64_t)ring->slots * ring->vectors * ring->width * COC_LANES;
}

/* The next number of columns >= width for which vectors do not fall on the same sets of a cache. */
int coc_cpu_ring_width(int width);
/* Vectors of a group when a vector needs `floats` floats of rings and all may have `budget`: groups
 * are of nearly equal size, and do not share cache lines of a tensor where that can be. */
int coc_cpu_ring_vectors(int channels, int64_t floats, int64_t budget);

bool coc_cpu_has_depthwise(const coc_conv *s);

/* w [C][k][k] -> [vectors][k * k][COC_LANES]; thread number `thread` of `threads` does its share.
 */
void coc_cpu_pack_depthwise(int channels, int taps, const float *w, int threads, int thread,
                            float *packed);

#endif
