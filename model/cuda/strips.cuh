/* model/cuda/strips.cuh - how a block of threads passes over a tensor [n][P][C]: all threads but a
 * few at work for any number of channels, neighbours reading neighbours.
 *
 * A thread keeps eight channels, whose coefficients it loads once, and walks over positions. A
 * block has a chunk of at most 32 such vectors, all where there are no more, and as many rows of
 * them as it has threads for; then its rows are added up.
 */
#ifndef COC_MODEL_CUDA_STRIPS_CUH
#define COC_MODEL_CUDA_STRIPS_CUH

#include "base/cuda/kernel.cuh"

namespace coc
{

enum { STRIP_THREADS = 256, STRIP_VECTORS = 32 };

struct strips {
    int channels, vectors, rows; /* vectors of eight channels of a block, rows of those */
    int chunks;                  /* blocks that have all channels */
    int64_t positions, part;     /* of a clip, of a block */
};

/* steps: positions that a thread has, at most. */
inline strips strips_of(int channels, int64_t positions, int steps)
{
    strips s = {channels, channels / 8, 0, 0, positions, 0};

    s.chunks = (int)divide_up(s.vectors, STRIP_VECTORS);
    s.vectors = (int)divide_up(s.vectors, s.chunks);
    s.rows = STRIP_THREADS / s.vectors;
    s.part = (int64_t)s.rows * steps;
    return s;
}

inline int64_t parts_of(const strips &s)
{
    return divide_up(s.positions, s.part);
}

/* Grid: a block a chunk, part and clip. */
inline dim3 blocks_of(const strips &s, int64_t n)
{
    return dim3((unsigned)s.chunks, (unsigned)parts_of(s), (unsigned)n);
}

/* The place of a thread. */
struct strip_place {
    int64_t clip, first, end; /* positions first, first + rows .. below end */
    int row, vector, c;       /* row and vector in the block; first channel */
    bool inside;              /* has channels at all */
};

__device__ __forceinline__ strip_place place_of(const strips &s)
{
    const int thread = (int)threadIdx.x, row = thread / s.vectors, vector = thread % s.vectors;
    const int c = ((int)blockIdx.x * s.vectors + vector) * 8;
    const int64_t begin = (int64_t)blockIdx.y * s.part, end = begin + s.part;

    return {(int64_t)blockIdx.z,
            begin + row,
            end < s.positions ? end : s.positions,
            row,
            vector,
            c,
            row < s.rows && c < s.channels};
}

/* Sums over the block's rows of left [rows][width], in double and always in the same order: store
 * is called with the place in a row and its sum. more [STRIP_THREADS] is shared memory; all threads
 * call it, after a barrier. Where a row is short, several threads share a column. */
template <typename Store>
__device__ __forceinline__ void sum_of_rows(int rows, int width, const float *left, double *more,
                                            Store store)
{
    const int thread = (int)threadIdx.x;
    const int shares = width < STRIP_THREADS ? STRIP_THREADS / width : 1;
    const int share = thread / width;

    for (int k = shares > 1 ? thread % width : thread; k < width; k += STRIP_THREADS) {
        double sum = 0;

        if (share < shares || shares == 1) {
            for (int r = shares > 1 ? share : 0; r < rows; r += shares)
                sum += (double)left[r * width + k];
        }
        if (shares == 1)
            store(k, sum);
        else
            more[thread] = sum;
    }
    if (shares == 1) return;
    __syncthreads();
    if (thread < width) {
        double sum = 0;

        for (int other = 0; other < shares; other++)
            sum += more[other * width + thread];
        store(thread, sum);
    }
}

} // namespace coc

#endif
