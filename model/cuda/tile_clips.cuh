/* model/cuda/tile_clips.cuh - tiles of rows of one clip each, walked over by blocks that keep their
 * weights in shared memory, and what such kernels share. */
#ifndef COC_MODEL_CUDA_TILE_CLIPS_CUH
#define COC_MODEL_CUDA_TILE_CLIPS_CUH

#include "model/cuda/read.cuh"

namespace coc
{

/* MOST_SHARED: what a block can have on the smallest devices, compute capability 8.6. */
enum { CLIP_THREADS = 256, CLIP_WARPS = 8, STRIP_TILES = 16, MOST_SHARED = 99 << 10 };

/* A tile is at most BM rows of one clip, so that its coefficients are those of one clip. `tiles` of
 * them are a strip, over which a block sums what leaves it as a sum over a clip's rows. */
struct clip_tiles {
    int64_t clips;
    int positions, rows, tiles, strips; /* rows: of a tile */

    __host__ __device__ int64_t units() const
    {
        return clips * strips;
    }
};

/* Equal tiles, strips of about as many tiles. */
inline clip_tiles cut_clips(int64_t clips, int positions, int most_rows)
{
    const int tiles = (int)divide_up(positions, most_rows);
    const int strips = (int)divide_up(tiles, STRIP_TILES);

    return {clips, positions, (int)divide_up(positions, tiles), (int)divide_up(tiles, strips),
            strips};
}

/* Blocks that share the strips, for each chunk of channels. `wanted` if it were only for what a
 * block loads and leaves behind; but as many as run at a time or a few times that (2, 3 or 4 on
 * each of 132 multiprocessors), so that all end together. Sums depend on it: it follows from the
 * shape, not from the device. */
inline int count_splits(const clip_tiles &cut, int64_t wanted, int chunks)
{
    enum { AT_ONCE = 2 * 132, MOST_ROUNDS = 6 };
    int64_t rounds = wanted * chunks / AT_ONCE, splits;

    if (rounds < 1) rounds = 1;
    if (rounds > MOST_ROUNDS) rounds = MOST_ROUNDS;
    splits = rounds * AT_ONCE / chunks;
    if (splits < 1) splits = 1;
    return (int)(splits < cut.units() ? splits : cut.units());
}

/* The rows of a block's tile number `index`. */
struct clip_tile {
    int clip, strip, rows;
    bool begins, ends; /* the strip */
    int64_t first;     /* row of the whole tensor */
};

__device__ __forceinline__ clip_tile find_clip_tile(const clip_tiles &p, int index)
{
    const int unit = index / p.tiles, tile = index - unit * p.tiles;
    const int clip = unit / p.strips, strip = unit - clip * p.strips;
    const int begin = (strip * p.tiles + tile) * p.rows;

    return {clip,
            strip,
            max(min(p.rows, p.positions - begin), 0),
            tile == 0,
            tile == p.tiles - 1,
            (int64_t)clip * p.positions + begin};
}

/* Threads over the vectors of a tile's rows: each keeps its channels, so that it loads their
 * coefficients once a tile, and has every step-th row. */
struct column_thread {
    int column, row, step;

    /* width, vector: values of a row, and of a thread */
    __device__ column_thread(int width, int vector)
    {
        const int vectors = width / vector;

        column = (int)threadIdx.x % vectors * vector;
        step = CLIP_THREADS / vectors;
        row = (int)threadIdx.x / vectors;
        if (row >= step) row = 1 << 20; /* has none */
    }
};

__device__ __forceinline__ vec8 plus(const vec8 &x, const vec8 &y)
{
    vec8 z;

#pragma unroll
    for (int i = 0; i < 8; i++)
        z.v[i] = x.v[i] + y.v[i];
    return z;
}

__device__ __forceinline__ void store4(bf16 *p, const vec4 &x)
{
    *reinterpret_cast<uint2 *>(p) =
        make_uint2(pack_bf16(x.v[0], x.v[1]), pack_bf16(x.v[2], x.v[3]));
}

/* Coefficients of what is read, of `width` channels from `first` on; rows of `stride`: scale and
 * shift of h = u / 2 where there is a SiLU (silu(u) = h + h tanh(h)), else of u; then the gate. */
enum { IN_TABLES = 3 };

__device__ __forceinline__ void load_in_tables(const norm_view &norm, const float *gate,
                                               int channels, int64_t clip, int first, int width,
                                               int stride, float *table)
{
    const float half = norm.silu ? 0.5f : 1.0f;

    for (int c = (int)threadIdx.x; c < width; c += CLIP_THREADS) {
        const bool affine = norm.scale != NULL;
        const int64_t at = affine ? (int64_t)norm.group[clip] * channels + first + c : 0;

        table[c] = affine ? half * norm.scale[at] : 1.0f;
        table[stride + c] = affine ? half * norm.shift[at] : 0.0f;
        table[2 * stride + c] = gate != NULL ? gate[clip * channels + first + c] : 1.0f;
    }
}

/* What is read, without its gate, of four channels. */
struct in_former {
    vec4 scale, shift, gate;

    __device__ __forceinline__ in_former(const float *table, int stride)
        : scale(load4(table)), shift(load4(table + stride)), gate(load4(table + 2 * stride))
    {
    }

    __device__ __forceinline__ vec4 form(bool with_silu, const vec4 &x) const
    {
        vec4 v;

#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float u = scale.v[i] * x.v[i] + shift.v[i];

            v.v[i] = with_silu ? u + u * quick_tanh(u) : u;
        }
        return v;
    }

    __device__ __forceinline__ vec4 gated(const vec4 &v) const
    {
        return {{gate.v[0] * v.v[0], gate.v[1] * v.v[1], gate.v[2] * v.v[2], gate.v[3] * v.v[3]}};
    }
};

} // namespace coc

#endif
