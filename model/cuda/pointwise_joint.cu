/* model/cuda/pointwise_joint.cu - 1 x 1 convolution, backward, from one read of every tensor, in
 * bf16:
 *
 *     dY [rows][O] formed from y and dz, z [rows][I] from x, both into shared memory
 *     dW [O][I] += dY' z     accumulated in registers over all rows of a block
 *     dz [rows][I] = dY W    W stays in shared memory; the gate's gradient from the same tile
 *
 * A block needs all of O, since dz sums over it, and O x I accumulators. So a narrow output takes
 * any input, by chunks (projections: dY is formed once a chunk, from the second cache), and a
 * narrow input a wide output as long as the registers last (the expansions of the large maps, which
 * carry most bytes). What fits neither way goes through pointwise_backward.cu.
 *
 * Tiles have 64 rows, or 32 where channels are many: raw values of the next tile are on their way
 * (cp.async, 20 to 45 KB a block) while this one is formed, multiplied and stored, and two blocks
 * or more share a multiprocessor, with at most 96 KB of shared memory each. 256 threads with at
 * most 56 accumulators keep below 128 registers.
 */
#include "model/cuda/pointwise.cuh"
#include "model/cuda/pointwise_joint.cuh"

using namespace coc;

namespace
{

/* BM rows; WM warps along O, the others along I; a warp has MT x NT tiles of 16 x 8 of dW. */
template <int BM, int WM, int MT, int NT> struct joint_block {
    enum { WN = CLIP_WARPS / WM };
    const joint_product &p;
    const joint_layout &l;
    unsigned char *memory;
    int lane, warp, first, width; /* first, width: of the chunk */
    float acc[MT][NT][4];

    __device__ __forceinline__ joint_block(const joint_product &product, const joint_layout &layout,
                                           unsigned char *shared)
        : p(product), l(layout), memory(shared)
    {
        lane = (int)threadIdx.x % 32;
        warp = (int)threadIdx.x / 32;
        first = (int)(blockIdx.x % p.chunks) * p.chunk;
        width = min(p.chunk, p.in - first);
#pragma unroll
        for (int i = 0; i < MT; i++)
#pragma unroll
            for (int j = 0; j < NT; j++)
#pragma unroll
                for (int k = 0; k < 4; k++)
                    acc[i][j][k] = 0;
    }

    __device__ __forceinline__ bf16 *values(int at) const
    {
        return (bf16 *)(memory + at);
    }

    __device__ __forceinline__ float *table(int at) const
    {
        return (float *)(memory + at);
    }

    /* W of the chunk, with rows of zeros where the product over O goes on; zeros beside dY. */
    __device__ __forceinline__ void load_weights() const
    {
        const int vectors = p.chunk / 8, out16 = l.out_stride - 8;
        const vec8 zero = {{0, 0, 0, 0, 0, 0, 0, 0}};

        for (int i = (int)threadIdx.x; i < out16 * vectors; i += CLIP_THREADS) {
            const int o = i / vectors, c = i % vectors * 8;

            store8(values(l.w) + o * l.in_stride + c,
                   o < p.out && c < width ? load8(p.w + (int64_t)o * p.in + first + c) : zero);
        }
        for (int row = (int)threadIdx.x; row < BM && out16 > p.out; row += CLIP_THREADS)
            store8(values(l.dy) + row * l.out_stride + p.out, zero);
    }

    /* Raw values of a tile set off. What dz already holds is read last, after the next tile's has
     * set off: it has two buffers. */
    __device__ __forceinline__ void request(const clip_tile &t, int buffer) const
    {
        const int whole = t.rows * p.out;
        const int64_t at = t.first * p.out;
        const column_thread mine(p.chunk, 8);

#pragma unroll 1
        for (int i = (int)threadIdx.x * 8; i < whole; i += CLIP_THREADS * 8) {
            coc_cp_async_16(values(l.raw_y) + i, p.dy.x + at + i, true);
            if (p.dy.dz != NULL) coc_cp_async_16(values(l.raw_dz) + i, p.dy.dz + at + i, true);
        }
        if (mine.column >= width) return;
#pragma unroll 1
        for (int row = mine.row; row < t.rows; row += mine.step) {
            const int64_t from = (t.first + row) * p.in + first + mine.column;
            const int to = row * p.chunk + mine.column;

            coc_cp_async_16(values(l.raw_x) + to, p.x + from, true);
            if (p.accumulate)
                coc_cp_async_16(values(l.raw_there) + buffer * BM * p.chunk + to, p.dz + from,
                                true);
        }
    }

    /* Rows beyond the tile's are zeros in dY and z: they add nothing to dW. */
    __device__ __forceinline__ void form_dy(int rows) const
    {
        const column_thread mine(p.out, 4);
        const vec4 zero = {{0, 0, 0, 0}};
        const dy_former former(table(l.out_table) + mine.column, p.out);

#pragma unroll 1
        for (int row = mine.row; row < BM; row += mine.step) {
            const int from = row * p.out + mine.column;
            bf16 *to = values(l.dy) + row * l.out_stride + mine.column;

            if (row >= rows)
                store4(to, zero);
            else
                store4(to, former.form(p.dy.norm.silu, load4(values(l.raw_y) + from),
                                       p.dy.dz != NULL ? load4(values(l.raw_dz) + from) : zero));
        }
    }

    __device__ __forceinline__ void form_z(int rows) const
    {
        const column_thread mine(p.chunk, 4);
        const in_former former(table(l.in_table) + mine.column, p.chunk);

        if (mine.column >= width) return;
#pragma unroll 1
        for (int row = mine.row; row < BM; row += mine.step) {
            const int to = row * l.in_stride + mine.column;
            vec4 v = {{0, 0, 0, 0}}, z = v;

            if (row < rows) {
                v = former.form(p.norm.silu, load4(values(l.raw_x) + row * p.chunk + mine.column));
                z = former.gated(v);
            }
            store4(values(l.z) + to, z);
            if (p.dgate != NULL) store4(values(l.v) + to, v);
        }
    }

    /* acc += dY' z: both lie [row][channel], and are read transposed. */
    __device__ __forceinline__ void multiply_weights()
    {
        const int o = warp % WM * 16, c = warp / WM * 8, matrix = lane / 8;
        const bf16 *a = values(l.dy) + (lane % 8 + matrix / 2 * 8) * l.out_stride + matrix % 2 * 8;
        const bf16 *b = values(l.z) + lane * l.in_stride;

#pragma unroll 1
        for (int k = 0; k < BM; k += 32) {
            uint32_t fb[NT][4]; /* of 32 rows */

#pragma unroll
            for (int j = 0; j < NT; j++)
                if (c + j * WN * 8 < width)
                    coc_ldmatrix_x4_trans(fb[j], b + k * l.in_stride + c + j * WN * 8);
#pragma unroll
            for (int i = 0; i < MT; i++) {
                if (o + i * WM * 16 >= p.out) continue;
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    uint32_t fa[4];

                    coc_ldmatrix_x4_trans(fa, a + (k + 16 * half) * l.out_stride + o + i * WM * 16);
#pragma unroll
                    for (int j = 0; j < NT; j++)
                        if (c + j * WN * 8 < width)
                            coc_mma_bf16_16816(acc[i][j], fa, fb[j] + 2 * half);
                }
            }
        }
    }

    /* dY W into the place of z. A warp has 16 rows and 32 columns at a time, or 16 where the
     * accumulators of dW leave few registers. */
    __device__ __forceinline__ void multiply_inputs() const
    {
        enum {
            ROW_WARPS = BM / 16,
            SHARES = CLIP_WARPS / ROW_WARPS,
            PAIRS = MT * NT < 14 ? 2 : 1,
            COLUMNS = 16 * PAIRS
        };
        const int row = warp % ROW_WARPS * 16;
        const bf16 *a = values(l.dy) + (row + lane % 16) * l.out_stride + lane / 16 * 8;
        const bf16 *b = values(l.w) + lane % 16 * l.in_stride + lane / 16 * 8;
        bf16 *to = values(l.z) + (row + lane / 4) * l.in_stride + lane % 4 * 2;

#pragma unroll 1
        for (int c = warp / ROW_WARPS * COLUMNS; c < width; c += SHARES * COLUMNS) {
            float sum[2 * PAIRS][4] = {};

#pragma unroll 2
            for (int k = 0; k < l.out_stride - 8; k += 16) {
                uint32_t fa[4], fb[4];

                coc_ldmatrix_x4(fa, a + k);
#pragma unroll
                for (int j = 0; j < PAIRS; j++) {
                    if (c + 16 * j >= width) break;
                    coc_ldmatrix_x4_trans(fb, b + k * l.in_stride + c + 16 * j);
                    coc_mma_bf16_16816(sum[2 * j], fa, fb);
                    coc_mma_bf16_16816(sum[2 * j + 1], fa, fb + 2);
                }
            }
#pragma unroll
            for (int j = 0; j < 2 * PAIRS; j++) {
                if (c + 8 * j >= width) break;
                *(uint32_t *)(to + c + 8 * j) = pack_bf16(sum[j][0], sum[j][1]);
                *(uint32_t *)(to + 8 * l.in_stride + c + 8 * j) = pack_bf16(sum[j][2], sum[j][3]);
            }
        }
    }

    /* The tile of dz to memory. The gate's sums of a thread's columns and rows stay in its own
     * place in shared memory while the strip lasts: registers are scarce. */
    __device__ __forceinline__ void store(const clip_tile &t, int buffer) const
    {
        const column_thread mine(p.chunk, 8);
        float *left = table(l.left) + mine.row * p.chunk + mine.column;
        vec8 sum = {{0, 0, 0, 0, 0, 0, 0, 0}};

        if (mine.column >= width || mine.row >= mine.step) return;
        if (p.dgate != NULL && !t.begins) sum = load8(left);
#pragma unroll 1
        for (int row = mine.row; row < t.rows; row += mine.step) {
            const int at = row * l.in_stride + mine.column;
            vec8 x = load8(values(l.z) + at);

            if (p.accumulate)
                x = plus(x,
                         load8(values(l.raw_there) + (buffer * BM + row) * p.chunk + mine.column));
            store8(p.dz + (t.first + row) * p.in + first + mine.column, x);
            if (p.dgate != NULL) sum = plus(sum, times(x, load8(values(l.v) + at)));
        }
        if (p.dgate != NULL) store8(left, sum);
    }

    /* A strip's sums leave the block. */
    __device__ __forceinline__ void leave_gate(const clip_tile &t) const
    {
        const int rows = column_thread(p.chunk, 8).step;

        __syncthreads();
        for (int c = (int)threadIdx.x; c < width; c += CLIP_THREADS) {
            float all = 0;

            for (int i = 0; i < rows; i++)
                all += table(l.left)[i * p.chunk + c];
            p.dgate[((int64_t)t.clip * p.cut.strips + t.strip) * p.in + first + c] = all;
        }
    }

    __device__ __forceinline__ void leave_weights() const
    {
        const int o = warp % WM * 16 + lane / 4, c = warp / WM * 8 + lane % 4 * 2;
        float *to = p.dw + (int64_t)(blockIdx.x / p.chunks) * p.out * p.in + first;

#pragma unroll
        for (int i = 0; i < MT; i++)
#pragma unroll
            for (int j = 0; j < NT; j++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int output = o + i * WM * 16 + 8 * half, input = c + j * WN * 8;

                    if (output < p.out && input < width)
                        *(float2 *)(to + (int64_t)output * p.in + input) =
                            make_float2(acc[i][j][2 * half], acc[i][j][2 * half + 1]);
                }
    }
};

template <int BM, int WM, int MT, int NT, int BLOCKS>
__global__ void __launch_bounds__(CLIP_THREADS, BLOCKS)
    joint_kernel(joint_product p, joint_layout l)
{
    COC_SHARED(unsigned char, memory);
    joint_block<BM, WM, MT, NT> block(p, l, memory);
    const int64_t units = p.cut.units(), split = blockIdx.x / p.chunks;
    const int end = (int)((split + 1) * units / p.splits) * p.cut.tiles;
    int index = (int)(split * units / p.splits) * p.cut.tiles, loaded = -1;

    block.request(find_clip_tile(p.cut, index), index % 2);
    coc_cp_async_commit();
    block.load_weights();
    for (; index < end; index++) {
        const clip_tile t = find_clip_tile(p.cut, index);

        if (t.clip != loaded) {
            load_out_tables(p, t.clip, block.table(l.out_table));
            load_in_tables(p.norm, p.gate, p.in, t.clip, block.first, block.width, p.chunk,
                           block.table(l.in_table));
            loaded = t.clip;
        }
        coc_cp_async_wait<0>();
        __syncthreads();
        block.form_dy(t.rows);
        block.form_z(t.rows);
        __syncthreads();
        if (index + 1 < end) block.request(find_clip_tile(p.cut, index + 1), (index + 1) % 2);
        coc_cp_async_commit();
        block.multiply_weights();
        __syncthreads();
        block.multiply_inputs();
        __syncthreads();
        block.store(t, index % 2);
        if (p.dgate != NULL && t.ends) block.leave_gate(t);
    }
    block.leave_weights();
}

/* ---- which kernel, and how the work is cut ---- */

template <int BM, int WM, int MT, int NT, int BLOCKS>
void launch(coc_backend *b, const joint_product &product)
{
    const auto kernel = joint_kernel<BM, WM, MT, NT, BLOCKS>;
    const joint_product p = product;
    const joint_layout l = lay_out(p, BM);

    (void)cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               MOST_SHARED);
    COC_LAUNCH(kernel, dim3((unsigned)(p.splits * p.chunks)), dim3(CLIP_THREADS), l.bytes,
               coc_cuda_of(b)->stream, p, l);
}

/* What a kernel can take: outputs, and inputs of a block. */
struct joint_choice {
    int out, chunk, tile_rows;
    bool whole; /* all inputs must be one chunk */
    void (*launch)(coc_backend *b, const joint_product &p);
};

/* Narrow outputs first: their kernels form dY again for each chunk of inputs, which costs least
 * where dY has few channels. Then narrow inputs. */
const joint_choice choices[] = {
    {16, 64, 64, false, launch<64, 1, 1, 1, 3>},  {32, 144, 64, false, launch<64, 1, 2, 3, 2>},
    {48, 128, 64, false, launch<64, 1, 3, 2, 2>}, {80, 128, 32, false, launch<32, 1, 5, 2, 2>},
    {112, 96, 32, false, launch<32, 2, 4, 3, 2>}, {192, 64, 32, false, launch<32, 1, 12, 1, 2>},
    {128, 16, 64, true, launch<64, 8, 1, 2, 3>},  {256, 24, 64, true, launch<64, 8, 2, 3, 2>},
    {256, 40, 32, true, launch<32, 8, 2, 5, 2>},
};

/* The first that takes the shape: where there are more inputs than outputs one of the first kind,
 * else of the second. */
const joint_choice *choose(int in, int out)
{
    for (const joint_choice &c : choices)
        if (out <= c.out && (c.whole ? in <= c.chunk : in >= out)) return &c;
    return NULL;
}

/* What a block leaves behind, and is read again, should be at most a tenth or so of what it reads
 * and writes. */
int64_t wanted_splits(const joint_product &p)
{
    return p.cut.clips * p.cut.positions / (20 * (int64_t)p.in * p.out / (p.in + p.out));
}

} // namespace

bool coc::pointwise_backward_jointly(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                                     const coc_norm *norm, const real *gate, const coc_gradient *dy,
                                     const real *w, stored *dz, bool accumulate, real *dw,
                                     real *dgate)
{
    const joint_choice *choice = choose(s->in_c, s->out_c);
    const int64_t weights = (int64_t)s->in_c * s->out_c;
    joint_product p = {};
    size_t gates;

    if (choice == NULL || b->precision != COC_BF16) return false;
    p.dy = view_of<bf16>(dy);
    p.x = (const bf16 *)x;
    p.norm = view_of(norm);
    p.gate = gate;
    p.w = w;
    p.dz = (bf16 *)dz;
    p.accumulate = accumulate;
    p.in = s->in_c;
    p.out = s->out_c;
    p.cut = cut_clips(n, s->out_h * s->out_w, choice->tile_rows);
    p.chunks = (int)divide_up(p.in, choice->chunk);
    p.chunk = (int)divide_up(p.in / 8, p.chunks) * 8;
    p.splits = count_splits(p.cut, wanted_splits(p), p.chunks);
    p.dgate = dgate;
    if (lay_out(p, choice->tile_rows).bytes > MOST_SHARED) return false;
    gates = dgate != NULL ? (size_t)(n * p.cut.strips * s->in_c) : 0;
    p.dw = (float *)coc_cuda_scratch(b, (gates + (size_t)(p.splits * weights)) * sizeof(float));
    if (p.dw == NULL) return true;
    p.dgate = dgate != NULL ? p.dw + p.splits * weights : NULL;
    choice->launch(b, p);
    if (dgate != NULL) coc_cuda_sum_parts(b, n, p.cut.strips, s->in_c, p.dgate, false, dgate);
    coc_cuda_sum_parts(b, 1, p.splits, weights, p.dw, true, dw);
    return true;
}
