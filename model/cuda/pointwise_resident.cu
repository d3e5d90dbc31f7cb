/* model/cuda/pointwise_resident.cu - 1 x 1 convolution, forward, in bf16, where the weights of a
 * block stay in shared memory: a block has `chunk` of the outputs and walks over tiles of rows.
 *
 * Rows that are read as they are go by cp.async straight to where ldmatrix takes them. Others
 * arrive raw, and go through norm, SiLU and gate into the tile while the next ones are on their
 * way. A tile's outputs are rounded in shared memory, leave from there 16 bytes at a time, and are
 * summed on the way as the next reader will see them, each thread its own columns in registers,
 * until a strip of tiles is done.
 *
 * Tiles have 64 rows, or 32 for clips of at most 32 positions. The large maps have few channels:
 * 30 to 60 KB a block, three blocks on a multiprocessor. What takes more than 99 KB (projections of
 * many channels) goes through pointwise_forward.cu, where weights are read a step at a time.
 */
#include "model/cuda/pointwise.cuh"
#include "model/cuda/tile_clips.cuh"

using namespace coc;

namespace
{

/* Tiles of a block, for which its weights are worth loading. */
enum { ENOUGH_TILES = 16 };

struct resident_product {
    const bf16 *x; /* [rows][in] */
    norm_view norm;
    const float *gate, *w;
    bf16 *y;
    double *sums; /* [clips][strips][2][out], or NULL */
    bool formed;  /* rows go through norm or gate */
    int in, out, chunk, chunks, splits;
    clip_tiles cut;
};

/* In bytes; strides in values, an odd number of 16 bytes. raw: not formed: the second buffer. */
struct resident_layout {
    int in_stride, out_stride, w, tile, raw, table, out, bytes;
};

resident_layout lay_out(const resident_product &p, int tile_rows, int columns)
{
    const int in16 = (p.in + 15) / 16 * 16;
    const int tile = tile_rows * (in16 + 8) * 2, stage = tile_rows * (columns + 8) * 2;
    const int left = CLIP_THREADS * 16 * 4; /* sums of all threads, in the place of outputs */
    resident_layout l = {};

    l.in_stride = in16 + 8;
    l.out_stride = columns + 8;
    l.tile = columns * l.in_stride * 2;
    l.raw = l.tile + tile;
    l.table = l.raw + (p.formed ? tile_rows * p.in * 2 : tile);
    l.out = l.table + (p.formed ? IN_TABLES * p.in * 4 : 0);
    l.bytes = l.out + (stage > left ? stage : left);
    return l;
}

/* BM rows by BN columns: BM / 16 warps along the rows, the others along the columns with 16 J each.
 */
template <int BM, int J> struct resident_block {
    enum { ROW_WARPS = BM / 16, COLUMN_WARPS = CLIP_WARPS / ROW_WARPS, BN = COLUMN_WARPS * 16 * J };
    const resident_product &p;
    const resident_layout &l;
    unsigned char *memory;
    int first, width;
    vec8 sum, squares;

    __device__ __forceinline__ resident_block(const resident_product &product,
                                              const resident_layout &layout, unsigned char *shared)
        : p(product), l(layout), memory(shared)
    {
        first = (int)(blockIdx.x % p.chunks) * p.chunk;
        width = min(p.chunk, p.out - first);
    }

    __device__ __forceinline__ bf16 *values(int at) const
    {
        return (bf16 *)(memory + at);
    }

    __device__ __forceinline__ float *table(int at) const
    {
        return (float *)(memory + at);
    }

    /* Rows of W of the chunk; zeros beyond its end, and in W and the tiles where the product over
     * the inputs goes on. */
    __device__ __forceinline__ void load_weights() const
    {
        const int vectors = (l.in_stride - 8) / 8;
        const vec8 zero = {{0, 0, 0, 0, 0, 0, 0, 0}};

        for (int i = (int)threadIdx.x; i < BN * vectors; i += CLIP_THREADS) {
            const int o = i / vectors, c = i % vectors * 8;

            store8(values(l.w) + o * l.in_stride + c,
                   o < width && c < p.in ? load8(p.w + (int64_t)(first + o) * p.in + c) : zero);
        }
        for (int row = (int)threadIdx.x; row < BM && p.in % 16 != 0; row += CLIP_THREADS) {
            store8(values(l.tile) + row * l.in_stride + p.in, zero);
            if (!p.formed) store8(values(l.raw) + row * l.in_stride + p.in, zero);
        }
    }

    /* A tile's rows set off: raw ones as they lie, others into tile or raw by turns. Rows beyond
     * the tile's keep what they have: nothing reads what comes of them. */
    __device__ __forceinline__ void request(const clip_tile &t, int buffer) const
    {
        const int whole = t.rows * p.in;
        const bf16 *from = p.x + t.first * p.in;
        bf16 *to = values(p.formed || buffer != 0 ? l.raw : l.tile);

        if (p.formed) {
#pragma unroll 1
            for (int i = (int)threadIdx.x * 8; i < whole; i += CLIP_THREADS * 8)
                coc_cp_async_16(to + i, from + i, true);
            return;
        }
        const column_thread mine(p.in, 8);

#pragma unroll 1
        for (int row = mine.row; row < t.rows; row += mine.step)
            coc_cp_async_16(to + row * l.in_stride + mine.column, from + row * p.in + mine.column,
                            true);
    }

    __device__ __forceinline__ void form(int rows) const
    {
        const column_thread mine(p.in, 4);
        const in_former former(table(l.table) + mine.column, p.in);

#pragma unroll 2
        for (int row = mine.row; row < rows; row += mine.step)
            store4(values(l.tile) + row * l.in_stride + mine.column,
                   former.gated(
                       former.form(p.norm.silu, load4(values(l.raw) + row * p.in + mine.column))));
    }

    /* Tile times W' to the place of outputs, rounded. */
    __device__ __forceinline__ void multiply(int buffer) const
    {
        const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
        const int row = warp % ROW_WARPS * 16, column = warp / ROW_WARPS * 16 * J;
        const bf16 *a =
            values(buffer != 0 ? l.raw : l.tile) + (row + lane % 16) * l.in_stride + lane / 16 * 8;
        const bf16 *b =
            values(l.w) + (column + lane % 8 + lane / 16 * 8) * l.in_stride + lane / 8 % 2 * 8;
        bf16 *to = values(l.out) + (row + lane / 4) * l.out_stride + column + lane % 4 * 2;
        float acc[2 * J][4] = {};

#pragma unroll 2
        for (int k = 0; k < l.in_stride - 8; k += 16) {
            uint32_t fa[4], fb[4];

            coc_ldmatrix_x4(fa, a + k);
#pragma unroll
            for (int j = 0; j < J; j++) {
                coc_ldmatrix_x4(fb, b + 16 * j * l.in_stride + k);
                coc_mma_bf16_16816(acc[2 * j], fa, fb);
                coc_mma_bf16_16816(acc[2 * j + 1], fa, fb + 2);
            }
        }
#pragma unroll
        for (int j = 0; j < 2 * J; j++) {
            *(uint32_t *)(to + 8 * j) = pack_bf16(acc[j][0], acc[j][1]);
            *(uint32_t *)(to + 8 * l.out_stride + 8 * j) = pack_bf16(acc[j][2], acc[j][3]);
        }
    }

    __device__ __forceinline__ void store(const clip_tile &t)
    {
        const column_thread mine(p.chunk, 8);
        const vec8 zero = {{0, 0, 0, 0, 0, 0, 0, 0}};

        if (t.begins) sum = squares = zero;
        if (mine.column >= width) return;
#pragma unroll 2
        for (int row = mine.row; row < t.rows; row += mine.step) {
            const bf16 *from = values(l.out) + row * l.out_stride + mine.column;
            const vec8 y = load8(from);

            *(uint4 *)(p.y + (t.first + row) * p.out + first + mine.column) = *(const uint4 *)from;
            sum = plus(sum, y);
            squares = plus(squares, times(y, y));
        }
    }

    /* A strip's sums leave the block, by way of the place of outputs. */
    __device__ __forceinline__ void leave_sums(const clip_tile &t) const
    {
        const column_thread mine(p.chunk, 8);
        float *left = table(l.out);

        __syncthreads();
        if (mine.row < mine.step) {
            store8(left + mine.row * 2 * p.chunk + mine.column, sum);
            store8(left + (mine.row * 2 + 1) * p.chunk + mine.column, squares);
        }
        __syncthreads();
        for (int c = (int)threadIdx.x; c < 2 * p.chunk; c += CLIP_THREADS) {
            const int which = c / p.chunk, channel = c % p.chunk;
            double all = 0;

            if (channel >= width) continue;
            for (int i = 0; i < mine.step; i++)
                all += (double)left[i * 2 * p.chunk + c];
            p.sums[(((int64_t)t.clip * p.cut.strips + t.strip) * 2 + which) * p.out + first +
                   channel] = all;
        }
    }
};

template <int BM, int J, int BLOCKS>
__global__ void __launch_bounds__(CLIP_THREADS, BLOCKS)
    resident_kernel(resident_product p, resident_layout l)
{
    COC_SHARED(unsigned char, memory);
    resident_block<BM, J> block(p, l, memory);
    const int64_t units = p.cut.units(), split = blockIdx.x / p.chunks;
    const int end = (int)((split + 1) * units / p.splits) * p.cut.tiles;
    int index = (int)(split * units / p.splits) * p.cut.tiles, loaded = -1, buffer = 0;

    block.request(find_clip_tile(p.cut, index), 0);
    coc_cp_async_commit();
    block.load_weights();
    for (; index < end; index++) {
        const clip_tile t = find_clip_tile(p.cut, index);

        if (p.formed && t.clip != loaded) {
            load_in_tables(p.norm, p.gate, p.in, t.clip, 0, p.in, p.in, block.table(l.table));
            loaded = t.clip;
        }
        coc_cp_async_wait<0>();
        __syncthreads();
        if (p.formed) {
            block.form(t.rows);
            __syncthreads();
        }
        if (index + 1 < end) block.request(find_clip_tile(p.cut, index + 1), 1 - buffer);
        coc_cp_async_commit();
        block.multiply(p.formed ? 0 : buffer);
        buffer = 1 - buffer;
        __syncthreads();
        block.store(t);
        if (p.sums != NULL && t.ends) block.leave_sums(t);
    }
}

template <int BM, int J, int BLOCKS> void launch(coc_backend *b, const resident_product &product)
{
    const auto kernel = resident_kernel<BM, J, BLOCKS>;
    const resident_product p = product;
    const resident_layout l = lay_out(p, BM, resident_block<BM, J>::BN);

    (void)cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               MOST_SHARED);
    COC_LAUNCH(kernel, dim3((unsigned)(p.splits * p.chunks)), dim3(CLIP_THREADS), l.bytes,
               coc_cuda_of(b)->stream, p, l);
}

struct resident_choice {
    int tile_rows, columns;
    void (*launch)(coc_backend *b, const resident_product &p);
};

const resident_choice choices[] = {
    {64, 32, launch<64, 1, 3>},  {64, 64, launch<64, 2, 3>}, {64, 96, launch<64, 3, 2>},
    {64, 128, launch<64, 4, 2>}, {32, 64, launch<32, 1, 2>}, {32, 128, launch<32, 2, 2>},
};

/* The one that reads rows least often; of those with tiles of the better size; of those the
 * narrowest. */
const resident_choice *choose(const resident_product &p, int tile_rows)
{
    const resident_choice *best = NULL;
    int64_t least = 0;

    for (const resident_choice &c : choices) {
        const int64_t cost = 2 * divide_up(p.out, c.columns) + (c.tile_rows != tile_rows);

        if (lay_out(p, c.tile_rows, c.columns).bytes > MOST_SHARED) continue;
        if (best != NULL && cost >= least) continue;
        best = &c;
        least = cost;
    }
    return best;
}

} // namespace

bool coc::pointwise_forward_resident(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                                     const coc_norm *norm, const real *gate, const real *w,
                                     stored *y, const int32_t *group, double *sums)
{
    const int positions = s->out_h * s->out_w;
    resident_product p = {};
    const resident_choice *choice;

    p.x = (const bf16 *)x;
    p.norm = view_of(norm);
    p.gate = gate;
    p.w = w;
    p.y = (bf16 *)y;
    p.formed = norm != NULL || gate != NULL;
    p.in = s->in_c;
    p.out = s->out_c;
    choice = b->precision == COC_BF16 ? choose(p, positions <= 32 ? 32 : 64) : NULL;
    if (choice == NULL) return false;
    p.cut = cut_clips(n, positions, choice->tile_rows);
    p.chunks = (int)divide_up(p.out, choice->columns);
    p.chunk = (int)divide_up(p.out / 8, p.chunks) * 8;
    p.splits = count_splits(p.cut, p.cut.units() * p.cut.tiles / ENOUGH_TILES, p.chunks);
    if (sums != NULL) {
        const int64_t room = coc_cuda_sums_room(n, p.cut.strips, p.out);

        p.sums = (double *)coc_cuda_scratch(b, (size_t)room * sizeof(double));
        if (p.sums == NULL) return true;
    }
    choice->launch(b, p);
    if (sums != NULL) coc_cuda_add_sums(b, n, p.cut.strips, p.out, p.sums, group, sums);
    return true;
}
