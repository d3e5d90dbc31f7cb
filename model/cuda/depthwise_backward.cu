/* model/cuda/depthwise_backward.cu - depthwise convolutions, backward: dz, dw and the sums of the
 * input's norm from one read of everything.
 *
 * The work is cut by positions of the input. Both gradients are sums over the taps t of outputs
 * o = (i + pad - t) / stride that are whole,
 *     dv[i] = sum w[t] dy[o],    dw[t] = sum over i of v[i] dy[o],
 * so only dy needs a halo: it is formed on load and kept as float in shared memory. x and dz belong
 * to their position alone and stay in registers: a lane has one channel of a patch of 16 positions,
 * the weights and the sums dw of all its patches.
 *
 * Tiles are 256 positions of the input, two patches a warp: at stride 1 up to 55 KB of dy, at
 * stride 2 a quarter. 128 registers let two blocks be on a processor: 512 threads, each with four
 * positions of both tensors of dy on their way while it fills (64 bytes in bf16) and 16 values of x
 * that are asked for before the barrier. Kernel 5 at stride 1 is bound by arithmetic, 50
 * multiply-adds a position; the others by bytes. Kernel 5 has half as much on its way, for want of
 * registers, and in fp32 one block a processor. */
#include "model/cuda/depthwise.cuh"

namespace coc
{
namespace
{

enum { POSITIONS = 256, MOST_ROWS = 16 };

/* The shape, and what shared memory holds of a clip: dy_rows x dy_cols outputs. */
struct backward_shape {
    int in_h, in_w, out_h, out_w, channels, pad;
    int dy_rows, dy_cols;
    divider by_cols;
    bool accumulate;
};

/* Which outputs a run of inputs meets. Inputs are counted from i0, a multiple of the stride. With
 * j = i0 + pad = stride * base + ODD, tap t of input i0 + r is output base + (ODD + r - t) / S. */
template <int K, int S, int ODD> struct taps {
    enum { BEFORE = S == 1 ? K - 1 : (K - 1 - ODD) / 2 }; /* outputs before base */

    /* outputs that `count` inputs meet, count a multiple of the stride */
    __host__ __device__ static constexpr int outputs(int count)
    {
        return BEFORE + (ODD + count - 1) / S + 1;
    }
    /* tap of input r at output number o of those; may lie outside the kernel */
    __host__ __device__ static constexpr int tap(int r, int o)
    {
        return ODD + r - S * (o - BEFORE);
    }
};

/* Four channels (vec4), of which a thread loads and keeps less at once than of eight: it has six
 * factors a channel, and many positions on their way. */

/* tile [clips][dy_rows][dy_cols][LANES] = dy, 0 outside, from output (row, col) on. */
template <typename T, int BATCH>
__device__ __forceinline__ void fill_tile(const backward_shape &s, const tiling &t,
                                          const filler<4> &mine, int group, int channel, int row,
                                          int col, const gradient_view<T> &dy, float *tile)
{
    const int positions = s.dy_rows * s.dy_cols, c = channel + mine.channel;
    const int64_t clip = (int64_t)group * t.clips + mine.clip;
    const bool valid = clip < t.n && c < s.channels;
    const int64_t from = valid ? clip * s.out_h * s.out_w * s.channels + c : 0;
    former1 f[4];

#pragma unroll
    for (int k = 0; k < 4; k++)
        f[k] = load_former1(dy, valid ? clip : 0, s.channels, valid ? c + k : 0);
    tile += mine.clip * positions * LANES + mine.channel;
    for (int first = mine.first; first < positions; first += BATCH * mine.step) {
        vec4 x[BATCH], dz[BATCH];
        bool inside[BATCH];

#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            const int p = first + i * mine.step, r = quotient(s.by_cols, p);
            const int h = row + r, w = col + p - r * s.dy_cols;
            int64_t at;

            inside[i] = valid && p < positions && (unsigned)h < (unsigned)s.out_h &&
                        (unsigned)w < (unsigned)s.out_w;
            at = from + (inside[i] ? (h * s.out_w + w) * s.channels : 0);
            x[i] = load4(dy.x + at);
            dz[i] = dy.dz != NULL ? load4(dy.dz + at) : vec4{};
        }
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            const int p = first + i * mine.step;
            float dx[4];

            if (p >= positions) break;
#pragma unroll
            for (int k = 0; k < 4; k++)
                dx[k] = inside[i] ? form_dx1<T>(f[k], dy.norm.silu, x[i].v[k], dz[i].v[k]) : 0.0f;
            *reinterpret_cast<float4 *>(tile + p * LANES) = make_float4(dx[0], dx[1], dx[2], dx[3]);
        }
    }
}

/* A warp's patch of H x W inputs: where it lies, and which of its positions are in the image. */
struct patch {
    int64_t at;         /* at: of its first position and the lane's channel, in x and dz */
    int clip, row, col; /* row, col: of its first position */
    const float *dy;    /* in shared memory: the first output that it meets */
    bool any;

    template <int S, int H, int W>
    __device__ __forceinline__ static patch of(const backward_shape &s, const tiling &t,
                                               const block_place &place, int group, int slot,
                                               const float *tile, int c)
    {
        const slot_place<H, W> in(t, slot);
        patch p;

        p.clip = group * t.clips + in.clip;
        p.row = place.row + in.row;
        p.col = place.col + in.col;
        p.at = (((int64_t)p.clip * s.in_h + p.row) * s.in_w + p.col) * s.channels + c;
        p.dy = tile + ((in.clip * s.dy_rows + in.row / S) * s.dy_cols + in.col / S) * LANES +
               threadIdx.x % LANES;
        p.any = slot < t.clips * t.slots && p.clip < t.n && p.row < s.in_h && p.col < s.in_w;
        return p;
    }
    __device__ __forceinline__ bool inside(const backward_shape &s, int h, int w) const
    {
        return row + h < s.in_h && col + w < s.in_w;
    }
};

/* x of a patch as it is stored; anything outside the image. */
template <typename T, int H, int W>
__device__ __forceinline__ void load_patch(const backward_shape &s, const patch &p, const T *x,
                                           T (&raw)[H * W])
{
    if (!p.any) return;
#pragma unroll
    for (int i = 0; i < H * W; i++)
        raw[i] =
            x[p.at + (p.inside(s, i / W, i % W) ? ((i / W) * s.in_w + i % W) * s.channels : 0)];
}

/* dv of a patch, dw += */
template <int K, int S, int ODD, int H, int W>
__device__ __forceinline__ void add_taps(const float *dy, int pitch, const float (&w)[K * K],
                                         const float (&v)[H * W], float (&dv)[H * W],
                                         float (&dw)[K * K])
{
    using tap = taps<K, S, ODD>;

#pragma unroll
    for (int i = 0; i < H * W; i++)
        dv[i] = 0.0f;
#pragma unroll
    for (int r = 0; r < tap::outputs(H); r++) {
        float row[tap::outputs(W)];

#pragma unroll
        for (int c = 0; c < tap::outputs(W); c++)
            row[c] = dy[c * LANES];
        dy += pitch;
#pragma unroll
        for (int i = 0; i < H * tap::outputs(W) * W; i++) {
            const int h = i / (tap::outputs(W) * W), c = i / W % tap::outputs(W);
            const int kh = tap::tap(h, r), kw = tap::tap(i % W, c), at = h * W + i % W;

            if (kh < 0 || kh >= K || kw < 0 || kw >= K) continue;
            dv[at] += row[c] * w[kh * K + kw];
            dw[kh * K + kw] += row[c] * v[at];
        }
    }
}

/* dz of a patch from dv, and the sums of the input's norm from dz as stored. x is read again: it
 * was read a moment ago, and registers are scarcer. */
template <typename T, int H, int W>
__device__ __forceinline__ void store_patch(const backward_shape &s, const patch &p,
                                            const norm_view &norm, int c, const float (&dv)[H * W],
                                            const T *x, T *dz, float *sum_du, float *sum_dux)
{
    const affine1 a = load_reader1<T>(norm, p.clip, s.channels, c);
    const bool sums = norm.group != NULL;
    int64_t first = p.at;
    const int64_t at = sums ? (int64_t)norm.group[p.clip] * s.channels + c : 0;
    const float mean = sums ? norm.mean[at] : 0.0f, inverse = sums ? norm.inverse_std[at] : 0.0f;

#pragma unroll
    for (int i = 0; i < H * W; i++) {
        if (i % 8 == 0)
            first = computed_anew(first); /* eight values of x are enough on their way */
        const int64_t to = first + ((i / W) * s.in_w + i % W) * s.channels;
        T value;

        if (!p.inside(s, i / W, i % W)) continue;
        store1(&value, s.accumulate ? load1(dz + to) + dv[i] : dv[i]);
        dz[to] = value;
        if (sums) {
            const float raw = load1(x + to);
            const float du = load1(&value) * slope_at<T>(a.scale * raw + a.shift, norm.silu);

            *sum_du += du;
            *sum_dux += du * ((raw - mean) * inverse);
        }
    }
}

/* All patches of a group: its clips' tiles of dy lie in shared memory, the first patch's x in raw.
 */
template <typename T, int K, int S, int ODD, int H, int W>
__device__ __forceinline__ void
backward_group(const backward_shape &s, const tiling &t, const block_place &place, int group,
               const T *x, const norm_view &norm, const float *weights, const float *tile,
               T (&raw)[H * W], T *dz, float (&dw)[K * K], float *kept)
{
    const int thread = computed_anew((int)threadIdx.x), lane = thread % LANES;
    const bool valid = place.channel + lane < s.channels;
    const int c = valid ? place.channel + lane : 0;

    for (int slot = thread / LANES; slot < t.clips * t.slots; slot += WARPS) {
        const patch p = patch::of<S, H, W>(s, t, place, group, slot, tile, c);
        float sum_du = 0.0f, sum_dux = 0.0f;

        if (slot >= WARPS) load_patch<T, H, W>(s, p, x, raw);
        if (p.any) {
            const affine1 a = load_reader1<T>(norm, p.clip, s.channels, c);
            float v[H * W], dv[H * W], w[K * K];

#pragma unroll
            for (int i = 0; i < H * W; i++)
                v[i] = p.inside(s, i / W, i % W)
                           ? value_at<T>(a.scale * load1(&raw[i]) + a.shift, norm.silu)
                           : 0.0f;
#pragma unroll
            for (int i = 0; i < K * K; i++)
                w[i] = weights[lane * K * K + i];
            add_taps<K, S, ODD, H, W>(p.dy, s.dy_cols * LANES, w, v, dv, dw);
            if (valid) store_patch<T, H, W>(s, p, norm, c, dv, x, dz, &sum_du, &sum_dux);
        }
        keep_slot_sums(kept, slot, sum_du, sum_dux);
    }
}

/* Shared memory: weights [LANES][K][K], sums [slots][2][LANES], tiles of dy, over which in the end
 * dw of the warps is laid. */
template <typename T, int K, int S, int ODD, int H, int W>
__global__ void __launch_bounds__(BLOCK, K == 5 && sizeof(T) == sizeof(float) ? 1 : 2)
    depthwise(backward_shape s, tiling t, const T *__restrict__ x, norm_view norm,
              gradient_view<T> dy, const float *__restrict__ w, T *dz,
              double *__restrict__ partial_sums, float *__restrict__ partial_dw)
{
    /* positions of dy on their way per thread; fewer where dw takes 25 registers */
    enum { BATCH = (K == 5 ? 4 : 8) / sizeof(T) };
    COC_SHARED(float, weights);
    float *const kept = weights + LANES * K * K, *const tile = kept + t.clips * t.slots * 2 * LANES;
    const block_place all(t, (int)blockIdx.x);
    float dw[K * K] = {};

    load_weights(all, s.channels, K * K, w, weights);
    for (int group = all.first_group(t); group < all.end_group(t); group++) {
        const block_place place(t, computed_anew((int)blockIdx.x));
        const int thread = computed_anew((int)threadIdx.x), lane = thread % LANES;
        const int c = place.channel + lane < s.channels ? place.channel + lane : 0;
        T raw[H * W];

        fill_tile<T, BATCH>(s, t, filler<4>(t, thread), group, place.channel,
                            (place.row + s.pad - ODD) / S - taps<K, S, ODD>::BEFORE,
                            (place.col + s.pad - ODD) / S - taps<K, S, ODD>::BEFORE, dy, tile);
        load_patch<T, H, W>(s, patch::of<S, H, W>(s, t, place, group, thread / LANES, tile, c), x,
                            raw);
        __syncthreads();
        backward_group<T, K, S, ODD, H, W>(s, t, place, group, x, norm, weights, tile, raw, dz, dw,
                                           kept);
        __syncthreads();
        if (partial_sums != NULL) write_clip_sums(t, place, group, s.channels, kept, partial_sums);
    }
    write_weights(t, all, s.channels, dw, tile, partial_dw);
}

template <typename T> struct backward_call {
    coc_backend *b;
    const coc_conv *s;
    int64_t n;
    const T *x;
    norm_view norm;
    gradient_view<T> dy;
    const float *w;
    T *dz;
    bool accumulate;
    float *dw;
    double *sums;
};

template <typename T, int K, int S, int ODD, int H, int W> void launch(const backward_call<T> &call)
{
    const coc_conv &c = *call.s;
    const auto kernel = depthwise<T, K, S, ODD, H, W>;
    tiling t = tile_map(c.in_h, c.in_w, c.in_c, POSITIONS, MOST_ROWS, H, W);
    const int rows = taps<K, S, ODD>::outputs(t.rows), cols = taps<K, S, ODD>::outputs(t.cols);
    const backward_shape s = {c.in_h, c.in_w, c.out_h, c.out_w,         c.in_c,
                              c.pad,  rows,   cols,    divide_by(cols), call.accumulate};
    const size_t clip_bytes = (size_t)rows * cols * LANES * sizeof(float);
    const size_t dw_bytes = (size_t)WARPS * LANES * K * K * sizeof(float);
    const int64_t weights = (int64_t)c.in_c * K * K;
    int64_t room = 0;
    double *partial;
    size_t shared;

    share_clips(&t, call.n, POSITIONS, clip_bytes, BLOCKS_BACKWARD);
    shared = t.clips * clip_bytes > dw_bytes ? t.clips * clip_bytes : dw_bytes;
    shared += (size_t)(K * K + 2 * t.clips * t.slots) * LANES * sizeof(float);
    if (call.sums != NULL) room = coc_cuda_sums_room(call.n, t.tiles, c.in_c);
    partial = (double *)coc_cuda_scratch(
        call.b,
        (size_t)room * sizeof(double) + (size_t)(t.splits * t.tiles * weights) * sizeof(float));
    if (partial == NULL) return;
    allow_shared(kernel, shared);
    COC_LAUNCH(kernel, grid_of(t), dim3(BLOCK), shared, coc_cuda_of(call.b)->stream, s, t, call.x,
               call.norm, call.dy, call.w, call.dz, call.sums != NULL ? partial : NULL,
               (float *)(partial + room));
    coc_cuda_add_rows(call.b, (int64_t)t.splits * t.tiles, weights, (float *)(partial + room),
                      call.dw);
    if (call.sums != NULL)
        coc_cuda_add_sums(call.b, call.n, t.tiles, c.in_c, partial, call.norm.group, call.sums);
}

/* Patches of 16 inputs that suit the map's height; with kernel 5 those that take fewer registers.
 */
template <typename T, int K, int S, int ODD> void choose_patch(const backward_call<T> &call)
{
    if constexpr (K == 5)
        launch<T, K, S, ODD, 2, 8>(call);
    else if (call.s->in_h <= 2)
        launch<T, K, S, ODD, 2, 8>(call);
    else
        launch<T, K, S, ODD, 4, 4>(call);
}

template <typename T, int K> void choose(const backward_call<T> &call)
{
    if (call.s->stride == 1)
        choose_patch<T, K, 1, 0>(call);
    else if (call.s->pad % 2 == 0)
        choose_patch<T, K, 2, 0>(call);
    else
        choose_patch<T, K, 2, 1>(call);
}

template <typename T>
void backward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x, const coc_norm *norm,
              const coc_gradient *dy, const float *w, stored *dz, bool accumulate, float *dw,
              double *sums)
{
    const backward_call<T> call = {
        b, s, n, (const T *)x, view_of(norm), view_of<T>(dy), w, (T *)dz, accumulate, dw, sums};

    if (s->kernel == 3)
        choose<T, 3>(call);
    else
        choose<T, 5>(call);
}

} // namespace
} // namespace coc

void coc_cuda_depthwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                                 const coc_norm *norm, const coc_gradient *dy, const real *w,
                                 stored *dz, bool accumulate, real *dw, double *sums)
{
    if (b->precision == COC_BF16)
        coc::backward<coc::bf16>(b, s, n, x, norm, dy, w, dz, accumulate, dw, sums);
    else
        coc::backward<float>(b, s, n, x, norm, dy, w, dz, accumulate, dw, sums);
    coc_cuda_launched(b, "depthwise_backward");
}
