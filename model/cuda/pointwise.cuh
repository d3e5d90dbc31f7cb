/* model/cuda/pointwise.cuh - rows times weights: the product behind 1 x 1 convolutions forward and
 * their gradient at the input. A block makes TILE_ROWS x COLUMNS of it; column tiles of the same
 * rows are neighbours in the grid, so that rows are read from memory once and then from the second
 * cache. */
#ifndef COC_MODEL_CUDA_POINTWISE_CUH
#define COC_MODEL_CUDA_POINTWISE_CUH

#include "model/cuda/read.cuh"
#include "model/cuda/tile.cuh"

namespace coc
{

/* C = A W' (weights [columns][depth]) or A W (weights [depth][columns]), with A read through norm
 * and gate where there are any. */
template <typename T> struct rows_product {
    row_tiles tiles;
    int depth, columns; /* channels summed over; channels made */
    const T *a;         /* [rows][depth] */
    norm_view norm;
    const float *gate; /* [clips][depth] or NULL */
    const float *w;
    T *c; /* [rows][columns] */
    bool accumulate;
    int column_tiles;
};

enum { SPILL_STRIDE = 64 + 4 };
enum { SPILL_BYTES = TILE_ROWS * SPILL_STRIDE * 4 };

/* Eight values as they lie in memory: half the registers of floats for bf16. */
template <typename T> struct raw8 {
    typedef vec8 type;
};
template <> struct raw8<bf16> {
    typedef uint4 type;
};

__device__ __forceinline__ vec8 load_raw(const float *p)
{
    return load8(p);
}
__device__ __forceinline__ uint4 load_raw(const bf16 *p)
{
    return *reinterpret_cast<const uint4 *>(p);
}

__device__ __forceinline__ vec8 widen(const vec8 &x)
{
    return x;
}
__device__ __forceinline__ vec8 widen(const uint4 &w)
{
    return {{__uint_as_float(w.x << 16), __uint_as_float(w.x & 0xffff0000u),
             __uint_as_float(w.y << 16), __uint_as_float(w.y & 0xffff0000u),
             __uint_as_float(w.z << 16), __uint_as_float(w.z & 0xffff0000u),
             __uint_as_float(w.w << 16), __uint_as_float(w.w & 0xffff0000u)}};
}

/* Raw values on their way into shared memory. */
template <typename T, int DEPTH> struct row_loader {
    enum {
        VECTORS = DEPTH / 8,
        PASS = TILE_THREADS / VECTORS, /* rows at a time */
        PASSES = TILE_ROWS / PASS,
    };
    typename raw8<T>::type x[PASSES];

    __device__ __forceinline__ void load(const rows_product<T> &p, const row_tile &t, int k)
    {
        const int channel = k + (int)threadIdx.x % VECTORS * 8;

#pragma unroll
        for (int i = 0; i < PASSES; i++) {
            const int row = (int)threadIdx.x / VECTORS + PASS * i;

            x[i] = {};
            if (row < t.rows && channel < p.depth)
                x[i] = load_raw(p.a + (t.first + row) * p.depth + channel);
        }
    }

    /* Through norm, SiLU and gate; rows and channels beyond the ends stay 0. */
    template <typename ENGINE>
    __device__ __forceinline__ void put(const rows_product<T> &p, const row_tile &t, int k,
                                        void *memory, int buffer) const
    {
        const int at = (int)threadIdx.x % VECTORS * 8, channel = k + at;
        const bool formed = p.norm.scale != NULL || p.gate != NULL;
        int64_t loaded = -1;
        affine8 affine;
        vec8 gate;

#pragma unroll
        for (int i = 0; i < PASSES; i++) {
            const int row = (int)threadIdx.x / VECTORS + PASS * i;
            const int64_t clip = formed ? (t.first + row) / p.tiles.positions : 0;
            vec8 z;

            if (!formed || row >= t.rows || channel >= p.depth) {
                ENGINE::put_a(memory, buffer, row, at, x[i]);
                continue;
            }
            if (clip != loaded) {
                if (p.norm.scale != NULL) affine = load_affine(p.norm, clip, p.depth, channel);
                if (p.gate != NULL) gate = load8(p.gate + clip * p.depth + channel);
                loaded = clip;
            }
            z = widen(x[i]);
            if (p.norm.scale != NULL) z = activated<T>(z, affine, p.norm.silu);
            if (p.gate != NULL) z = times(z, gate);
            ENGINE::put_a(memory, buffer, row, at, z);
        }
    }
};

/* Weights of a column tile from global to shared memory, by vectors of eight along their rows. */
template <typename ENGINE, int COLUMNS, b_order ORDER>
__device__ __forceinline__ void load_weights(const float *w, int depth, int columns, int first,
                                             int k, void *memory, int buffer)
{
    enum { COUNT = COLUMNS * ENGINE::DEPTH / 8, VECTORS_K = ENGINE::DEPTH / 8 };

    for (int i = (int)threadIdx.x; i < COUNT; i += TILE_THREADS) {
        const int n = ORDER == B_BY_COLUMN ? i / VECTORS_K : i % (COLUMNS / 8) * 8;
        const int d = ORDER == B_BY_COLUMN ? i % VECTORS_K * 8 : i / (COLUMNS / 8);
        const bool inside = first + n < columns && k + d < depth;
        const int64_t at = ORDER == B_BY_COLUMN ? (int64_t)(first + n) * depth + k + d
                                                : (int64_t)(k + d) * columns + first + n;
        const vec8 zero = {{0, 0, 0, 0, 0, 0, 0, 0}};

        ENGINE::put_b(memory, buffer, n, d, inside ? load8(w + at) : zero);
    }
}

/* The whole inner product: while one buffer is multiplied, the next rows are on their way to
 * registers, and then go through norm, SiLU and gate into the other buffer. */
template <typename T, int COLUMNS, b_order ORDER>
__device__ __forceinline__ void multiply_rows(const rows_product<T> &p, const row_tile &t,
                                              int first, void *memory, engine<T, COLUMNS, ORDER> &e)
{
    typedef engine<T, COLUMNS, ORDER> ENGINE;
    row_loader<T, ENGINE::DEPTH> loader;
    int buffer = 0;

    e.clear();
    loader.load(p, t, 0);
    loader.template put<ENGINE>(p, t, 0, memory, 0);
    load_weights<ENGINE, COLUMNS, ORDER>(p.w, p.depth, p.columns, first, 0, memory, 0);
    for (int k = ENGINE::DEPTH; k < p.depth + ENGINE::DEPTH; k += ENGINE::DEPTH) {
        const bool more = k < p.depth;

        __syncthreads();
        if (more) loader.load(p, t, k);
        e.multiply(memory, buffer);
        buffer = 1 - buffer;
        if (!more) break;
        loader.template put<ENGINE>(p, t, k, memory, buffer);
        load_weights<ENGINE, COLUMNS, ORDER>(p.w, p.depth, p.columns, first, k, memory, buffer);
    }
    __syncthreads();
}

/* What T keeps of a value. */
__device__ __forceinline__ float as_stored(float x, const float *)
{
    return x;
}
__device__ __forceinline__ float as_stored(float x, const bf16 *)
{
    return __bfloat162float(__float2bfloat16(x));
}

/* c [rows][COLUMNS] in shared memory -> the tensor, 16 or 32 bytes a thread; where that adds, c
 * becomes the sum too. */
template <typename T, int COLUMNS>
__device__ __forceinline__ void store_rows(const rows_product<T> &p, const row_tile &t, int first,
                                           float *c)
{
    enum { VECTORS = COLUMNS / 8 };
    const int column = (int)threadIdx.x % VECTORS * 8;

    if (first + column >= p.columns) return;
    for (int row = (int)threadIdx.x / VECTORS; row < t.rows; row += TILE_THREADS / VECTORS) {
        T *to = p.c + (t.first + row) * p.columns + first + column;
        vec8 x = load8(c + row * SPILL_STRIDE + column);

        if (p.accumulate) {
            const vec8 there = load8(to);

#pragma unroll
            for (int i = 0; i < 8; i++)
                x.v[i] += there.v[i];
            store8(c + row * SPILL_STRIDE + column, x);
        }
        store8(to, x);
    }
}

/* The forward pass with weights kept in shared memory, where shape and precision are for it; else
 * false and nothing done (pointwise_resident.cu). Arguments: coc_ops.pointwise_forward. */
bool pointwise_forward_resident(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                                const coc_norm *norm, const real *gate, const real *w, stored *y,
                                const int32_t *group, double *sums);
/* The backward pass in one kernel, where the shape and the precision are for it; else false and
 * nothing done (pointwise_joint.cu). Arguments: coc_ops.pointwise_backward. */
bool pointwise_backward_jointly(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                                const coc_norm *norm, const real *gate, const coc_gradient *dy,
                                const real *w, stored *dz, bool accumulate, real *dw, real *dgate);

template <typename ENGINE> constexpr size_t tile_bytes()
{
    return (size_t)ENGINE::BYTES > (size_t)SPILL_BYTES ? (size_t)ENGINE::BYTES
                                                       : (size_t)SPILL_BYTES;
}

} // namespace coc

#endif
