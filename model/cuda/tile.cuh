/* model/cuda/tile.cuh - the inner product of a block of threads: C [ROWS][COLUMNS] += A B, from
 * shared memory, in the storage type T.
 *
 * ROWS = 128 rows by COLUMNS = 32 or 64 with 256 threads: a warp of the tensor-core engine has
 * 32 x COLUMNS / 2, that is at most 32 accumulators a thread, so two blocks fit on a multiprocessor
 * and one can load while the other multiplies. DEPTH values of the inner dimension are in shared
 * memory at a time, in two buffers. Rows of bf16 tiles are padded by 16 bytes: the eight rows that
 * ldmatrix reads together then lie in different banks.
 */
#ifndef COC_MODEL_CUDA_TILE_CUH
#define COC_MODEL_CUDA_TILE_CUH

#include "base/cuda/kernel.cuh"

namespace coc
{

enum { TILE_ROWS = 128, TILE_THREADS = 256, WARP = 32 };

/* How B is given: one row a column of C (weights [out][in], forward), or as it stands [k][n]. */
enum b_order { B_BY_COLUMN, B_BY_ROW };

template <typename T, int COLUMNS, b_order ORDER> struct engine;

template <int COLUMNS, b_order ORDER> struct engine<bf16, COLUMNS, ORDER> {
    enum {
        DEPTH = 32,
        A_STRIDE = DEPTH + 8,
        B_STRIDE = ORDER == B_BY_COLUMN ? DEPTH + 8 : COLUMNS + 8,
        A_SIZE = TILE_ROWS * A_STRIDE,
        B_SIZE = ORDER == B_BY_COLUMN ? COLUMNS * B_STRIDE : DEPTH * B_STRIDE,
        BYTES = 2 * (A_SIZE + B_SIZE) * 2, /* of both buffers */
        WARP_COLUMNS = COLUMNS / 2,
        PIECES = WARP_COLUMNS / 8,
    };

    float acc[2][PIECES][4];

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int j = 0; j < PIECES; j++)
#pragma unroll
                for (int k = 0; k < 4; k++)
                    acc[i][j][k] = 0;
    }

    static __device__ __forceinline__ bf16 *a_of(void *memory, int buffer)
    {
        return (bf16 *)memory + buffer * (A_SIZE + B_SIZE);
    }

    static __device__ __forceinline__ bf16 *b_of(void *memory, int buffer)
    {
        return a_of(memory, buffer) + A_SIZE;
    }

    static __device__ __forceinline__ void put_a(void *memory, int buffer, int row, int k,
                                                 const vec8 &x)
    {
        store8(a_of(memory, buffer) + row * A_STRIDE + k, x);
    }

    static __device__ __forceinline__ void put_a(void *memory, int buffer, int row, int k,
                                                 const uint4 &x)
    {
        *reinterpret_cast<uint4 *>(a_of(memory, buffer) + row * A_STRIDE + k) = x;
    }

    /* Eight values: of column n from k on, or of row k from n on. */
    static __device__ __forceinline__ void put_b(void *memory, int buffer, int n, int k,
                                                 const vec8 &x)
    {
        store8(b_of(memory, buffer) + (ORDER == B_BY_COLUMN ? n * B_STRIDE + k : k * B_STRIDE + n),
               x);
    }

    __device__ __forceinline__ void load_b(uint32_t r[4], const bf16 *b, int n, int k, int lane)
    {
        if (ORDER == B_BY_COLUMN)
            coc_ldmatrix_x4(r,
                            b + (n + lane % 8 + lane / 16 * 8) * B_STRIDE + k + lane / 8 % 2 * 8);
        else
            coc_ldmatrix_x4_trans(r, b + (k + lane % 8 + lane / 8 % 2 * 8) * B_STRIDE + n +
                                         lane / 16 * 8);
    }

    __device__ __forceinline__ void multiply(void *memory, int buffer)
    {
        const bf16 *a = a_of(memory, buffer), *b = b_of(memory, buffer);
        const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
        const int row = warp / 2 * 32, column = warp % 2 * WARP_COLUMNS;

#pragma unroll
        for (int k = 0; k < DEPTH; k += 16) {
            uint32_t fa[2][4];

#pragma unroll
            for (int i = 0; i < 2; i++)
                coc_ldmatrix_x4(fa[i],
                                a + (row + 16 * i + lane % 16) * A_STRIDE + k + lane / 16 * 8);
#pragma unroll
            for (int j = 0; j < PIECES; j += 2) {
                uint32_t fb[4];

                load_b(fb, b, column + 8 * j, k, lane);
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    coc_mma_bf16_16816(acc[i][j], fa[i], fb);
                    coc_mma_bf16_16816(acc[i][j + 1], fa[i], fb + 2);
                }
            }
        }
    }

    /* C -> c [TILE_ROWS][stride]. */
    __device__ __forceinline__ void spill(float *c, int stride) const
    {
        const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
        const int row = warp / 2 * 32 + lane / 4;
        const int column = warp % 2 * WARP_COLUMNS + lane % 4 * 2;

#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int j = 0; j < PIECES; j++)
#pragma unroll
                for (int k = 0; k < 4; k++)
                    c[(row + 16 * i + k / 2 * 8) * stride + column + 8 * j + k % 2] = acc[i][j][k];
    }
};

/* Plain float products: a thread has 8 rows by COLUMNS / 16 columns. Tiles lie [k][row], so that a
 * thread's rows are neighbours. */
template <int COLUMNS, b_order ORDER> struct engine<float, COLUMNS, ORDER> {
    enum {
        DEPTH = 16,
        A_STRIDE = TILE_ROWS + 4,
        B_STRIDE = COLUMNS + 4,
        A_SIZE = DEPTH * A_STRIDE,
        B_SIZE = DEPTH * B_STRIDE,
        BYTES = 2 * (A_SIZE + B_SIZE) * 4,
        OWN = COLUMNS / 16,
    };

    float acc[8][OWN];

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
            for (int j = 0; j < OWN; j++)
                acc[i][j] = 0;
    }

    static __device__ __forceinline__ float *a_of(void *memory, int buffer)
    {
        return (float *)memory + buffer * (A_SIZE + B_SIZE);
    }

    static __device__ __forceinline__ float *b_of(void *memory, int buffer)
    {
        return a_of(memory, buffer) + A_SIZE;
    }

    static __device__ __forceinline__ void put_a(void *memory, int buffer, int row, int k,
                                                 const vec8 &x)
    {
        float *a = a_of(memory, buffer) + k * A_STRIDE + row;

#pragma unroll
        for (int i = 0; i < 8; i++)
            a[i * A_STRIDE] = x.v[i];
    }

    static __device__ __forceinline__ void put_b(void *memory, int buffer, int n, int k,
                                                 const vec8 &x)
    {
        float *b = b_of(memory, buffer) + k * B_STRIDE + n;

#pragma unroll
        for (int i = 0; i < 8; i++)
            b[ORDER == B_BY_COLUMN ? i * B_STRIDE : i] = x.v[i];
    }

    __device__ __forceinline__ void multiply(void *memory, int buffer)
    {
        const float *a = a_of(memory, buffer) + (int)threadIdx.x / 16 * 8;
        const float *b = b_of(memory, buffer) + (int)threadIdx.x % 16 * OWN;

#pragma unroll 4
        for (int k = 0; k < DEPTH; k++) {
            const vec8 rows = load8(a + k * A_STRIDE);
            float columns[OWN];

#pragma unroll
            for (int j = 0; j < OWN; j++)
                columns[j] = b[k * B_STRIDE + j];
#pragma unroll
            for (int i = 0; i < 8; i++)
#pragma unroll
                for (int j = 0; j < OWN; j++)
                    acc[i][j] += rows.v[i] * columns[j];
        }
    }

    __device__ __forceinline__ void spill(float *c, int stride) const
    {
        const int row = (int)threadIdx.x / 16 * 8, column = (int)threadIdx.x % 16 * OWN;

#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
            for (int j = 0; j < OWN; j++)
                c[(row + i) * stride + column + j] = acc[i][j];
    }
};

/* Which rows a tile has. A clip of many positions is cut into parts; of clips with few, a tile has
 * several whole ones. So sums over a clip's rows are sums over whole parts of tiles: segments. */
struct row_tiles {
    int64_t clips, positions, parts, per_tile; /* parts of a clip; clips of a tile */
};

inline row_tiles cut_rows(int64_t clips, int64_t positions)
{
    if (positions >= TILE_ROWS) return {clips, positions, divide_up(positions, TILE_ROWS), 1};
    return {clips, positions, 1, TILE_ROWS / positions};
}

inline int64_t count_tiles(const row_tiles &t)
{
    return t.parts > 1 ? t.clips * t.parts : divide_up(t.clips, t.per_tile);
}

struct row_tile {
    int64_t first;   /* row */
    int rows;        /* used of TILE_ROWS */
    int64_t segment; /* number of the first segment */
    int segments, segment_rows;
};

__device__ __forceinline__ row_tile find_tile(const row_tiles &t, int64_t tile)
{
    if (t.parts > 1) {
        const int64_t part = tile % t.parts, left = t.positions - part * TILE_ROWS;
        const int rows = left < TILE_ROWS ? (int)left : (int)TILE_ROWS;

        return {tile / t.parts * t.positions + part * TILE_ROWS, rows, tile, 1, rows};
    }
    {
        const int64_t clip = tile * t.per_tile, left = t.clips - clip;
        const int clips = (int)(left < t.per_tile ? left : t.per_tile);

        return {clip * t.positions, (int)(clips * t.positions), clip, clips, (int)t.positions};
    }
}

} // namespace coc

#endif
