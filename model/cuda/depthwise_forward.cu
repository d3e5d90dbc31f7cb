/* model/cuda/depthwise_forward.cu - depthwise convolutions, forward.
 *
 * What counts is bytes: x and y once each. A block reads its tile of x and the halo with 16-byte
 * loads, several on their way per thread, applies norm and SiLU once a value and keeps the result
 * as float in shared memory; then every warp takes patches of outputs. A lane has one channel: its
 * weights and a patch's sums stay in registers, every value of shared memory is read once for all
 * outputs of the patch that it touches.
 *
 * Tiles. Stride 1: 256 outputs in patches of 16: with kernel 3 as 16 x 16, 41 KB, halo 1.27 (1.12
 * where the map is 16 high, since rows outside it are not read; neighbours' halos come from the
 * second-level cache). Stride 2: 64 outputs in patches of 8, as many inputs. Shared memory
 * and registers (80 for bf16) let three blocks be on a processor, so that while one computes others
 * load: 768 threads with 64 bytes each on their way. Maps of a few rows: several clips a block, at
 * most 64 KB. */
#include "model/cuda/depthwise.cuh"

namespace coc
{
namespace
{

enum { BATCH = 4 }; /* loads on their way per thread */

/* The shape, and what shared memory holds of a clip: in_rows x in_cols inputs. */
struct forward_shape {
    int in_h, in_w, out_h, out_w, channels, pad;
    int in_rows, in_cols;
    divider by_cols;
};

/* tile [clips][in_rows][in_cols][LANES] = v, 0 outside the image, from input (row, col) on. */
template <typename T>
__device__ __forceinline__ void fill_tile(const forward_shape &s, const tiling &t,
                                          const filler<8> &mine, int group, int channel, int row,
                                          int col, const T *x, const norm_view &norm, float *tile)
{
    const int positions = s.in_rows * s.in_cols, c = channel + mine.channel;
    const int64_t clip = (int64_t)group * t.clips + mine.clip;
    const bool valid = clip < t.n && c < s.channels;
    const T *from = valid ? x + clip * s.in_h * s.in_w * s.channels + c : x;
    const affine8 a = load_reader<T>(norm, valid ? clip : 0, s.channels, valid ? c : 0);

    tile += mine.clip * positions * LANES + mine.channel;
    for (int first = mine.first; first < positions; first += BATCH * mine.step) {
        vec8 raw[BATCH];
        bool inside[BATCH];

#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            const int p = first + i * mine.step, r = quotient(s.by_cols, p);
            const int h = row + r, w = col + p - r * s.in_cols;

            inside[i] = valid && p < positions && (unsigned)h < (unsigned)s.in_h &&
                        (unsigned)w < (unsigned)s.in_w;
            raw[i] = load8(from + (inside[i] ? (h * s.in_w + w) * s.channels : 0));
        }
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            const int p = first + i * mine.step;
            vec8 v = normalised(raw[i], a);

            if (p >= positions) break;
#pragma unroll
            for (int k = 0; k < 8; k++)
                v.v[k] = inside[i] ? value_at<T>(v.v[k], norm.silu) : 0.0f;
            store_shared(tile + p * LANES, v, p % 2 != 0);
        }
    }
}

/* sum [H][W] of a patch whose first input lies at `from`; `pitch` from row to row. */
template <int K, int S, int H, int W>
__device__ __forceinline__ void convolve(const float *from, int pitch, const float (&w)[K * K],
                                         float (&sum)[H][W])
{
#pragma unroll
    for (int r = 0; r < H * W; r++)
        sum[r / W][r % W] = 0.0f;
#pragma unroll
    for (int r = 0; r < (H - 1) * S + K; r++) {
        float in[(W - 1) * S + K];

#pragma unroll
        for (int c = 0; c < (W - 1) * S + K; c++)
            in[c] = from[c * LANES];
        from += pitch;
#pragma unroll
        for (int h = 0; h < H; h++) {
            const int row = r - h * S; /* of the kernel */

            if (row < 0 || row >= K) continue;
#pragma unroll
            for (int i = 0; i < W * K; i++)
                sum[h][i % W] += in[i % W * S + i / W] * w[row * K + i / W];
        }
    }
}

/* y of a patch at output (row, col), and its sums. y: of the clip and the lane's channel. */
template <typename T, int H, int W>
__device__ __forceinline__ void store_patch(const forward_shape &s, int row, int col, bool valid,
                                            const float (&sum)[H][W], T *y, float *total,
                                            float *squares)
{
#pragma unroll
    for (int h = 0; h < H; h++)
#pragma unroll
        for (int w = 0; w < W; w++) {
            T value;

            if (row + h >= s.out_h || col + w >= s.out_w) continue;
            store1(&value, sum[h][w]);
            if (valid) y[((row + h) * s.out_w + col + w) * s.channels] = value;
            *total += load1(&value);
            *squares += load1(&value) * load1(&value);
        }
}

/* All patches of a group: its clips' tiles lie in shared memory. */
template <typename T, int K, int S, int H, int W>
__device__ __forceinline__ void
convolve_group(const forward_shape &s, const tiling &t, const block_place &place, int group,
               const float *tile, const float *weights, T *y, float *kept)
{
    const int thread = computed_anew((int)threadIdx.x), lane = thread % LANES;
    const int pitch = s.in_cols * LANES;
    const bool valid = place.channel + lane < s.channels;
    float w[K * K];

#pragma unroll
    for (int i = 0; i < K * K; i++)
        w[i] = weights[lane * K * K + i];
    for (int slot = thread / LANES; slot < t.clips * t.slots; slot += WARPS) {
        const slot_place<H, W> at(t, slot);
        const int64_t clip = (int64_t)group * t.clips + at.clip;
        const int row = place.row + at.row, col = place.col + at.col;
        float sum[H][W], total = 0.0f, squares = 0.0f;

        if (clip < t.n && row < s.out_h && col < s.out_w) {
            convolve<K, S>(
                tile + ((at.clip * s.in_rows + at.row * S) * s.in_cols + at.col * S) * LANES + lane,
                pitch, w, sum);
            store_patch(s, row, col, valid, sum,
                        y + clip * s.out_h * s.out_w * s.channels + place.channel + lane, &total,
                        &squares);
        }
        keep_slot_sums(kept, slot, total, squares);
    }
}

/* Shared memory: weights [LANES][K][K], sums [slots][2][LANES], tiles of x. */
template <typename T, int K, int S, int H, int W>
__global__ void __launch_bounds__(BLOCK, sizeof(T) < sizeof(float) ? 3 : 2)
    depthwise(forward_shape s, tiling t, const T *__restrict__ x, norm_view norm,
              const float *__restrict__ w, T *__restrict__ y, double *__restrict__ partial)
{
    COC_SHARED(float, weights);
    float *const kept = weights + LANES * K * K, *const tile = kept + t.clips * t.slots * 2 * LANES;
    const block_place all(t, (int)blockIdx.x);

    load_weights(all, s.channels, K * K, w, weights);
    for (int group = all.first_group(t); group < all.end_group(t); group++) {
        const block_place place(t, computed_anew((int)blockIdx.x));
        const filler<8> mine(t, computed_anew((int)threadIdx.x));

        fill_tile<T>(s, t, mine, group, place.channel, place.row * S - s.pad, place.col * S - s.pad,
                     x, norm, tile);
        __syncthreads();
        convolve_group<T, K, S, H, W>(s, t, place, group, tile, weights, y, kept);
        __syncthreads();
        if (partial != NULL) write_clip_sums(t, place, group, s.channels, kept, partial);
    }
}

template <typename T> struct forward_call {
    coc_backend *b;
    const coc_conv *s;
    int64_t n;
    const T *x;
    norm_view norm;
    const float *w;
    T *y;
    const int32_t *group;
    double *sums;
};

template <typename T, int K, int S, int H, int W> void launch(const forward_call<T> &call)
{
    enum { POSITIONS = S == 1 ? 256 : 64, MOST_ROWS = S == 1 ? 16 : 8 };
    const coc_conv &c = *call.s;
    const auto kernel = depthwise<T, K, S, H, W>;
    tiling t = tile_map(c.out_h, c.out_w, c.out_c, POSITIONS, MOST_ROWS, H, W);
    const int in_rows = (t.rows - 1) * S + K, in_cols = (t.cols - 1) * S + K;
    const forward_shape s = {c.in_h, c.in_w,  c.out_h, c.out_w,           c.out_c,
                             c.pad,  in_rows, in_cols, divide_by(in_cols)};
    const size_t clip_bytes = (size_t)in_rows * in_cols * LANES * sizeof(float);
    double *partial = NULL;
    size_t shared;

    share_clips(&t, call.n, POSITIONS, clip_bytes, BLOCKS_FORWARD);
    shared = (size_t)(K * K + 2 * t.clips * t.slots) * LANES * sizeof(float) + t.clips * clip_bytes;
    if (call.sums != NULL) {
        const int64_t room = coc_cuda_sums_room(call.n, t.tiles, c.out_c);

        partial = (double *)coc_cuda_scratch(call.b, (size_t)room * sizeof(double));
        if (partial == NULL) return;
    }
    allow_shared(kernel, shared);
    COC_LAUNCH(kernel, grid_of(t), dim3(BLOCK), shared, coc_cuda_of(call.b)->stream, s, t, call.x,
               call.norm, call.w, call.y, partial);
    if (partial != NULL)
        coc_cuda_add_sums(call.b, call.n, t.tiles, c.out_c, partial, call.group, call.sums);
}

/* Patches of 16 (stride 2: 8) outputs that suit the map's height; with kernel 5 those that take
 * fewer registers. */
template <typename T, int K> void choose(const forward_call<T> &call)
{
    if (call.s->stride == 2)
        launch<T, K, 2, 2, 4>(call);
    else if constexpr (K == 5)
        launch<T, K, 1, 2, 8>(call);
    else if (call.s->out_h <= 2)
        launch<T, K, 1, 2, 8>(call);
    else
        launch<T, K, 1, 4, 4>(call);
}

template <typename T>
void forward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x, const coc_norm *norm,
             const float *w, stored *y, const int32_t *group, double *sums)
{
    const forward_call<T> call = {b, s, n, (const T *)x, view_of(norm), w, (T *)y, group, sums};

    if (s->kernel == 3)
        choose<T, 3>(call);
    else
        choose<T, 5>(call);
}

} // namespace
} // namespace coc

void coc_cuda_depthwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                                const coc_norm *norm, const real *w, stored *y,
                                const int32_t *group, double *sums)
{
    if (b->precision == COC_BF16)
        coc::forward<coc::bf16>(b, s, n, x, norm, w, y, group, sums);
    else
        coc::forward<float>(b, s, n, x, norm, w, y, group, sums);
    coc_cuda_launched(b, "depthwise_forward");
}
