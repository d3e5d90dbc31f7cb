/* model/cuda/depthwise.cuh - what the kernels of depthwise and first convolutions share: how the
 * work is cut into blocks, scalar forms of norm and gradient, sums that leave a block.
 *
 * A warp has 32 channels, one a lane, and a patch of positions at a time (a slot), so that taps,
 * borders and the end of the image are the same for all of its lanes. The values that patches
 * share lie in shared memory as float [position][32]: a lane reads its own bank. Numbers within a
 * clip fit an int; whole tensors do not. */
#ifndef COC_MODEL_CUDA_DEPTHWISE_CUH
#define COC_MODEL_CUDA_DEPTHWISE_CUH

#include "base/cuda/kernel.cuh"
#include "model/cuda/cuda.h"
#include "model/cuda/read.cuh"

namespace coc
{

enum {
    LANES = 32,           /* channels of a block */
    WARPS = 8,            /* of a block */
    BLOCK = LANES * WARPS /* threads */
};

/* The same number, which the compiler then knows nothing of: what follows from it is computed anew
 * and not kept in registers, which are scarcer than the few instructions. */
__device__ __forceinline__ int computed_anew(int number)
{
#ifndef COC_CUDA_EMULATED
    asm volatile("" : "+r"(number));
#endif
    return number;
}

__device__ __forceinline__ int64_t computed_anew(int64_t number)
{
#ifndef COC_CUDA_EMULATED
    asm volatile("" : "+l"(number));
#endif
    return number;
}

/* How positions, clips and channels are cut into blocks. A block has one tile of a clip's positions
 * and, for small maps, that tile of several clips at once; it takes group after group of clips, and
 * `splits` blocks share the groups of a tile. Tiles follow from the shape alone. */
struct tiling {
    int rows, cols;     /* of a tile: multiples of a slot's patch */
    int slots_x, slots; /* of a clip's tile: across, and in all */
    int tiles_x, tiles; /* of a clip: across, and in all */
    int clips;          /* of a group: a power of two, at most WARPS */
    int channel_blocks;
    int groups, splits;
    int64_t n;
};

/* Tiles of at most `positions`, of patches of patch_h x patch_w, over a map of h x w. */
inline tiling tile_map(int h, int w, int channels, int positions, int most_rows, int patch_h,
                       int patch_w)
{
    tiling t = {};
    int most_cols, across;

    t.rows = patch_h;
    while (t.rows < h && t.rows < most_rows)
        t.rows *= 2;
    most_cols = positions / t.rows;
    across = (int)divide_up(w, most_cols);
    t.cols = (int)divide_up(divide_up(w, across), patch_w) * patch_w;
    t.slots_x = t.cols / patch_w;
    t.slots = t.rows / patch_h * t.slots_x;
    t.tiles_x = (int)divide_up(w, t.cols);
    t.tiles = t.tiles_x * (int)divide_up(h, t.rows);
    t.clips = 1;
    t.channel_blocks = (int)divide_up(channels, LANES);
    return t;
}

/* Blocks of a kernel, about. A device has places for 264 to 450 of them at a time. Forward: several
 * times that many. Gradients of weights: each leaves a row to be added up. */
enum { BLOCKS_FORWARD = 4096, BLOCKS_BACKWARD = 1024 };

/* Clips for blocks of at most `positions`, whose share of shared memory a clip is clip_bytes, and
 * about `blocks` blocks for n clips. */
inline void share_clips(tiling *t, int64_t n, int positions, size_t clip_bytes, int blocks)
{
    enum { SHARED = 64 << 10 };
    const int64_t splits = blocks / ((int64_t)t->channel_blocks * t->tiles);

    while (t->clips < WARPS && t->clips < n && 2 * t->clips * t->rows * t->cols <= positions &&
           2 * (size_t)t->clips * clip_bytes <= SHARED)
        t->clips *= 2;
    t->n = n;
    t->groups = (int)divide_up(n, t->clips);
    t->splits = splits < 1 ? 1 : splits < t->groups ? (int)splits : t->groups;
}

inline dim3 grid_of(const tiling &t)
{
    return dim3((unsigned)((int64_t)t.channel_blocks * t.tiles * t.splits));
}

/* What a block works on: neighbours in the grid share positions, then tiles of a clip. */
struct block_place {
    int channel, tile, split; /* channel: its first */
    int row, col;             /* of the tile's first position */

    __device__ block_place(const tiling &t, int block)
    {
        const int index = block / t.channel_blocks;

        channel = block % t.channel_blocks * LANES;
        tile = index % t.tiles;
        split = index / t.tiles;
        row = tile / t.tiles_x * t.rows;
        col = tile % t.tiles_x * t.cols;
    }
    __device__ int first_group(const tiling &t) const
    {
        return (int)((int64_t)split * t.groups / t.splits);
    }
    __device__ int end_group(const tiling &t) const
    {
        return (int)((split + 1) * (int64_t)t.groups / t.splits);
    }
};

/* A slot of the group's: of which of its clips, and where its patch of H x W begins in the tile. */
template <int H, int W> struct slot_place {
    int clip, row, col;

    __device__ slot_place(const tiling &t, int slot)
    {
        const int rest = slot % t.slots;

        clip = slot / t.slots;
        row = rest / t.slots_x * H;
        col = rest % t.slots_x * W;
    }
};

/* The threads that fill the tiles in shared memory: each has one clip of the group, some channels
 * and every step-th position. */
template <int CHANNELS> struct filler {
    int clip, channel, first, step;

    __device__ filler(const tiling &t, int thread)
    {
        enum { ACROSS = LANES / CHANNELS };
        const int threads = BLOCK / t.clips, mine = thread % threads;

        clip = thread / threads;
        channel = mine % ACROSS * CHANNELS;
        first = mine / ACROSS;
        step = threads / ACROSS;
    }
};

/* Division of a number below 2^16 by d >= 2 as a multiplication. */
struct divider {
    unsigned d, magic;
};

inline divider divide_by(int d)
{
    return {(unsigned)d, (unsigned)(((1ull << 32) + (unsigned)d - 1) / (unsigned)d)};
}

__device__ __forceinline__ int quotient(divider d, int a)
{
    return (int)__umulhi((unsigned)a, d.magic);
}

/* Eight floats to shared memory, 32 bytes a lane. Lanes of two positions write their halves in
 * opposite order, so that eight lanes meet all 32 banks once. */
__device__ __forceinline__ void store_shared(float *to, const vec8 &x, bool upper_first)
{
    const float4 low = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
    const float4 high = make_float4(x.v[4], x.v[5], x.v[6], x.v[7]);

    *reinterpret_cast<float4 *>(to + (upper_first ? 4 : 0)) = upper_first ? high : low;
    *reinterpret_cast<float4 *>(to + (upper_first ? 0 : 4)) = upper_first ? low : high;
}

/* ---- norm and SiLU of single values ----
 *
 * For bf16 scale and shift come halved where there is a SiLU: with h = u / 2, t = tanh(h)
 *     silu(u) = h + h t,    silu'(u) = (1 + t) / 2 * (1 + h - h t),
 * one special-function instruction and few others. */

template <typename T> __device__ __forceinline__ float affine_factor(bool with_silu)
{
    return with_silu && sizeof(T) < sizeof(float) ? 0.5f : 1.0f;
}

template <typename T> __device__ __forceinline__ float value_at(float u, bool with_silu)
{
    if (!with_silu) return u;
    if (sizeof(T) < sizeof(float)) return u * quick_tanh(u) + u;
    return silu<float>(u);
}

template <typename T> __device__ __forceinline__ float slope_at(float u, bool with_silu)
{
    if (!with_silu) return 1.0f;
    if (sizeof(T) < sizeof(float)) {
        const float t = quick_tanh(u), s = 0.5f * t + 0.5f;

        return s * (u - u * t) + s;
    }
    return silu_slope<float>(u);
}

/* The norm that kernels read x through. No norm: scale 1, shift 0. */
template <typename T>
__device__ __forceinline__ affine8 load_reader(const norm_view &norm, int64_t clip, int channels,
                                               int c)
{
    const float factor = affine_factor<T>(norm.silu);
    affine8 a;

    if (norm.group != NULL) a = load_affine(norm, clip, channels, c);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        a.scale.v[i] = norm.group != NULL ? factor * a.scale.v[i] : 1.0f;
        a.shift.v[i] = norm.group != NULL ? factor * a.shift.v[i] : 0.0f;
    }
    return a;
}

/* The same of one channel. */
struct affine1 {
    float scale, shift;
};

template <typename T>
__device__ __forceinline__ affine1 load_reader1(const norm_view &norm, int64_t clip, int channels,
                                                int c)
{
    const float factor = affine_factor<T>(norm.silu);
    int64_t at;

    if (norm.group == NULL) return {1.0f, 0.0f};
    at = (int64_t)norm.group[clip] * channels + c;
    return {factor * norm.scale[at], factor * norm.shift[at]};
}

/* A gradient at a raw tensor, of one channel of a clip, with all factors drawn together:
 *     dx = (factor dz + offset) silu'(u) + slope x + constant
 * slope x + constant = -scale (mean_du + xhat mean_dux). */
struct former1 {
    affine1 affine;
    float factor, offset, slope, constant;
};

template <typename T>
__device__ __forceinline__ former1 load_former1(const gradient_view<T> &g, int64_t clip,
                                                int channels, int c)
{
    const int64_t at = (int64_t)g.norm.group[clip] * channels + c, clip_at = clip * channels + c;
    const float scale = g.norm.scale[at], weight = g.clip != NULL ? g.clip[clip] * scale : scale;
    const float per_x = g.norm.inverse_std[at] * g.mean_dux[at];
    former1 f;

    f.affine = load_reader1<T>(g.norm, clip, channels, c);
    f.factor = g.gate != NULL ? weight * g.gate[clip_at] : weight;
    f.offset = g.pooled != NULL ? weight * g.pooled[clip_at] : 0.0f;
    f.slope = -scale * per_x;
    f.constant = scale * (g.norm.mean[at] * per_x - g.mean_du[at]);
    return f;
}

template <typename T>
__device__ __forceinline__ float form_dx1(const former1 &f, bool with_silu, float x, float dz)
{
    const float u = f.affine.scale * x + f.affine.shift;

    return (f.factor * dz + f.offset) * slope_at<T>(u, with_silu) + (f.slope * x + f.constant);
}

/* ---- sums that leave a block ---- */

/* A lane's two sums of a slot, kept in shared memory [slots][2][LANES] until all have theirs. */
__device__ __forceinline__ void keep_slot_sums(float *kept, int slot, float first, float second)
{
    float *to = kept + slot * 2 * LANES + threadIdx.x % LANES;

    to[0] = first;
    to[LANES] = second;
}

/* partial [n][tiles][2][channels] of the block's clips: their slots' sums in order, in double. */
__device__ __forceinline__ void write_clip_sums(const tiling &t, const block_place &place,
                                                int group, int channels, const float *kept,
                                                double *partial)
{
    for (int i = (int)threadIdx.x; i < t.clips * 2 * LANES; i += BLOCK) {
        const int which = i % (2 * LANES), c = place.channel + which % LANES;
        const int64_t clip = (int64_t)group * t.clips + i / (2 * LANES);
        const float *from = kept + i / (2 * LANES) * t.slots * 2 * LANES + which;
        double sum = 0;

        if (clip >= t.n || c >= channels) continue;
        for (int s = 0; s < t.slots; s++)
            sum += (double)from[s * 2 * LANES];
        partial[((clip * t.tiles + place.tile) * 2 + which / LANES) * channels + c] = sum;
    }
}

/* partial [splits * tiles][channels * weights]: every lane's dw[weights] summed over the warps of
 * the block, through shared memory [WARPS][LANES * weights]. */
template <int WEIGHTS>
__device__ __forceinline__ void write_weights(const tiling &t, const block_place &place,
                                              int channels, const float (&dw)[WEIGHTS],
                                              float *shared, float *partial)
{
    enum { COUNT = LANES * WEIGHTS };
    const int64_t row = (int64_t)place.split * t.tiles + place.tile;
    float *to = shared + threadIdx.x / LANES * COUNT + threadIdx.x % LANES * WEIGHTS;

    __syncthreads();
#pragma unroll
    for (int i = 0; i < WEIGHTS; i++)
        to[i] = dw[i];
    __syncthreads();
    partial += (row * channels + place.channel) * WEIGHTS;
    for (int i = (int)threadIdx.x; i < COUNT; i += BLOCK) {
        float sum = shared[i];

        if (i >= (channels - place.channel) * WEIGHTS) break;
        for (int warp = 1; warp < WARPS; warp++)
            sum += shared[warp * COUNT + i];
        partial[i] = sum;
    }
}

/* Weights [channels][count] of the block's channels to shared memory; zeros beyond the last. */
__device__ __forceinline__ void load_weights(const block_place &place, int channels, int count,
                                             const float *w, float *shared)
{
    const int given = (channels - place.channel) * count;

    w += (int64_t)place.channel * count;
    for (int i = (int)threadIdx.x; i < LANES * count; i += BLOCK)
        shared[i] = i < given ? w[i] : 0.0f;
}

/* Before a launch with more shared memory than every kernel may have. */
template <typename F> inline void allow_shared(F *kernel, size_t bytes)
{
    if (bytes > (size_t)48 << 10)
        cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}

} // namespace coc

#endif
