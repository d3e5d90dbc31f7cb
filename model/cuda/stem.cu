/* model/cuda/stem.cu - the first convolution, 3 x 3 with stride 2: planar features of one or two
 * channels to NHWC, and the gradient of its weights. It has no input gradient: features are given.
 *
 * A block has 8 x 32 outputs of 32 channels: 17 x 65 features a channel lie in shared memory, 9 KB
 * for two, read from global memory once but for a row and a column. A lane has one output channel
 * and patches of 4 x 4 outputs; the lanes of a warp read the same features, four at a time. So 18
 * multiply-adds an output go with 3.4 reads of shared memory, and the bytes of y (forward) or of
 * the two tensors behind its gradient (backward) decide. */
#include "model/cuda/depthwise.cuh"

namespace coc
{
namespace
{

enum { KERNEL = 3, TAPS = KERNEL * KERNEL, STRIDE = 2 };
enum { PATCH = 4, SEEN = (PATCH - 1) * STRIDE + KERNEL }; /* outputs, and inputs that they see */
enum { POSITIONS = 256, MOST_ROWS = 8 };

/* The shape, and what shared memory holds of a clip: channels x rows x pitch features. */
struct stem_shape {
    int in_h, in_w, in_c, out_h, out_w, out_c, pad;
    int rows, pitch;
    divider by_rows, by_pitch;
};

/* tile [clips][in_c][rows][pitch] = keep * x from input (row, col) on; 0 outside the image. */
__device__ __forceinline__ void fill_tile(const stem_shape &s, const tiling &t, int group, int row,
                                          int col, const float *x, const float *keep, float *tile)
{
    enum { BATCH = 4 }; /* loads on their way per thread */
    const int values = t.clips * s.in_c * s.rows * s.pitch;
    const int64_t first_plane = (int64_t)group * t.clips * s.in_c;

    for (int first = computed_anew((int)threadIdx.x); first < values; first += BATCH * BLOCK) {
        float value[BATCH], factor[BATCH];

#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            const int at = first + i * BLOCK, line = quotient(s.by_pitch, at);
            const int channel = quotient(s.by_rows, line);
            const int h = row + line - channel * s.rows, w = col + at - line * s.pitch;
            const int64_t plane = first_plane + channel;
            const bool inside = at < values && plane < t.n * s.in_c &&
                                (unsigned)h < (unsigned)s.in_h && (unsigned)w < (unsigned)s.in_w;

            value[i] = x[inside ? (plane * s.in_h + h) * s.in_w + w : 0];
            factor[i] = keep != NULL ? keep[inside ? plane : 0] : 1.0f;
            if (!inside) value[i] = factor[i] = 0.0f;
        }
#pragma unroll
        for (int i = 0; i < BATCH; i++)
            if (first + i * BLOCK < values) tile[first + i * BLOCK] = factor[i] * value[i];
    }
}

/* What a patch sees of one channel and line, from a 16-byte boundary on. */
__device__ __forceinline__ void load_line(const float *from, float (&in)[SEEN])
{
    const float4 a = *reinterpret_cast<const float4 *>(from);
    const float4 b = *reinterpret_cast<const float4 *>(from + 4);

    in[0] = a.x, in[1] = a.y, in[2] = a.z, in[3] = a.w;
    in[4] = b.x, in[5] = b.y, in[6] = b.z, in[7] = b.w;
    in[8] = from[8];
}

/* The features of a slot's first channel in shared memory. */
__device__ __forceinline__ const float *seen_by(const stem_shape &s, const float *tile,
                                                const slot_place<PATCH, PATCH> &at)
{
    return tile + (at.clip * s.in_c * s.rows + at.row * STRIDE) * s.pitch + at.col * STRIDE;
}

/* Whether a slot has a clip and an output in the image; row, col, clip: where. */
__device__ __forceinline__ bool find_patch(const stem_shape &s, const tiling &t,
                                           const block_place &place, int group,
                                           const slot_place<PATCH, PATCH> &at, int64_t *clip,
                                           int *row, int *col)
{
    *clip = (int64_t)group * t.clips + at.clip;
    *row = place.row + at.row;
    *col = place.col + at.col;
    return *clip < t.n && *row < s.out_h && *col < s.out_w;
}

/* ---- forward ---- */

/* sum += one channel's part. */
__device__ __forceinline__ void convolve(const float *from, int pitch, const float *weights,
                                         float (&sum)[PATCH][PATCH])
{
    float w[TAPS];

#pragma unroll
    for (int i = 0; i < TAPS; i++)
        w[i] = weights[i];
#pragma unroll
    for (int r = 0; r < SEEN; r++) {
        float in[SEEN];

        load_line(from + r * pitch, in);
#pragma unroll
        for (int h = 0; h < PATCH; h++) {
            const int row = r - h * STRIDE; /* of the kernel */

            if (row < 0 || row >= KERNEL) continue;
#pragma unroll
            for (int i = 0; i < PATCH * KERNEL; i++)
                sum[h][i % PATCH] +=
                    in[i % PATCH * STRIDE + i / PATCH] * w[row * KERNEL + i / PATCH];
        }
    }
}

/* y of a patch at output (row, col), and its sums. y: of the clip and the lane's channel. */
template <typename T>
__device__ __forceinline__ void store_patch(const stem_shape &s, int row, int col, bool valid,
                                            const float (&sum)[PATCH][PATCH], T *y, float *total,
                                            float *squares)
{
#pragma unroll
    for (int i = 0; i < PATCH * PATCH; i++) {
        const int h = row + i / PATCH, w = col + i % PATCH;
        T value;

        if (h >= s.out_h || w >= s.out_w) continue;
        store1(&value, sum[i / PATCH][i % PATCH]);
        if (valid) y[(h * s.out_w + w) * s.out_c] = value;
        *total += load1(&value);
        *squares += load1(&value) * load1(&value);
    }
}

/* All patches of a group, whose features lie in shared memory. */
template <typename T>
__device__ __forceinline__ void
convolve_group(const stem_shape &s, const tiling &t, const block_place &place, int group,
               const float *weights, const float *tile, T *y, float *kept)
{
    const int thread = computed_anew((int)threadIdx.x), lane = thread % LANES;
    const int channel = place.channel + lane;

    for (int slot = thread / LANES; slot < t.clips * t.slots; slot += WARPS) {
        const slot_place<PATCH, PATCH> at(t, slot);
        const float *seen = seen_by(s, tile, at), *w = weights + lane * s.in_c * TAPS;
        float sum[PATCH][PATCH] = {}, total = 0.0f, squares = 0.0f;
        int64_t clip;
        int row, col;

        if (find_patch(s, t, place, group, at, &clip, &row, &col)) {
            for (int c = 0; c < s.in_c; c++, seen += s.rows * s.pitch, w += TAPS)
                convolve(seen, s.pitch, w, sum);
            store_patch(s, row, col, channel < s.out_c, sum,
                        y + clip * s.out_h * s.out_w * s.out_c + channel, &total, &squares);
        }
        keep_slot_sums(kept, slot, total, squares);
    }
}

/* Shared memory: weights [LANES][in_c][TAPS], sums [slots][2][LANES], features. */
template <typename T>
__global__ void __launch_bounds__(BLOCK, 3)
    stem(stem_shape s, tiling t, const float *__restrict__ x, const float *__restrict__ keep,
         const float *__restrict__ w, T *__restrict__ y, double *__restrict__ partial)
{
    COC_SHARED(float, weights);
    float *const kept = weights + LANES * s.in_c * TAPS;
    float *const tile = kept + t.clips * t.slots * 2 * LANES;
    const block_place all(t, (int)blockIdx.x);

    load_weights(all, s.out_c, s.in_c * TAPS, w, weights);
    for (int group = all.first_group(t); group < all.end_group(t); group++) {
        const block_place place(t, computed_anew((int)blockIdx.x));

        fill_tile(s, t, group, place.row * STRIDE - s.pad, place.col * STRIDE - s.pad, x, keep,
                  tile);
        __syncthreads();
        convolve_group(s, t, place, group, weights, tile, y, kept);
        __syncthreads();
        if (partial != NULL) write_clip_sums(t, place, group, s.out_c, kept, partial);
    }
}

/* ---- backward ---- */

/* dy of a patch, 0 outside the image. from: of the lane's channel and the patch's first output. */
template <typename T>
__device__ __forceinline__ void form_patch(const stem_shape &s, const gradient_view<T> &g,
                                           int64_t clip, int row, int col, int c,
                                           float (&dy)[PATCH * PATCH])
{
    const former1 f = load_former1(g, clip, s.out_c, c);
    const int64_t from = ((clip * s.out_h + row) * s.out_w + col) * s.out_c + c;
    T x[PATCH * PATCH], dz[PATCH * PATCH];

#pragma unroll
    for (int i = 0; i < PATCH * PATCH; i++) {
        const bool inside = row + i / PATCH < s.out_h && col + i % PATCH < s.out_w;
        const int64_t at = from + (inside ? (i / PATCH * s.out_w + i % PATCH) * s.out_c : 0);

        x[i] = g.x[at];
        if (g.dz != NULL) dz[i] = g.dz[at];
    }
#pragma unroll
    for (int i = 0; i < PATCH * PATCH; i++) {
        const bool inside = row + i / PATCH < s.out_h && col + i % PATCH < s.out_w;
        const float given = g.dz != NULL ? load1(&dz[i]) : 0.0f;

        dy[i] = inside ? form_dx1<T>(f, g.norm.silu, load1(&x[i]), given) : 0.0f;
    }
}

/* dw [TAPS] of one channel += a patch's part. */
__device__ __forceinline__ void add_taps(const float *from, int pitch,
                                         const float (&dy)[PATCH * PATCH], float *dw)
{
#pragma unroll
    for (int r = 0; r < SEEN; r++) {
        float in[SEEN];

        load_line(from + r * pitch, in);
#pragma unroll
        for (int h = 0; h < PATCH; h++) {
            const int row = r - h * STRIDE; /* of the kernel */

            if (row < 0 || row >= KERNEL) continue;
#pragma unroll
            for (int i = 0; i < PATCH * KERNEL; i++)
                dw[row * KERNEL + i / PATCH] +=
                    in[i % PATCH * STRIDE + i / PATCH] * dy[h * PATCH + i % PATCH];
        }
    }
}

/* Shared memory: features, over which in the end dw of the warps is laid. partial [splits * tiles]
 * [out_c][C][TAPS]. */
template <typename T, int C>
__global__ void __launch_bounds__(BLOCK, 2)
    stem_gradient(stem_shape s, tiling t, const float *__restrict__ x,
                  const float *__restrict__ keep, gradient_view<T> dy, float *__restrict__ partial)
{
    COC_SHARED(float, tile);
    const block_place all(t, (int)blockIdx.x);
    const int lane = (int)threadIdx.x % LANES;
    const int channel = all.channel + lane < s.out_c ? all.channel + lane : 0;
    float dw[C * TAPS] = {};

    for (int group = all.first_group(t); group < all.end_group(t); group++) {
        const block_place place(t, computed_anew((int)blockIdx.x));

        fill_tile(s, t, group, place.row * STRIDE - s.pad, place.col * STRIDE - s.pad, x, keep,
                  tile);
        __syncthreads();
        for (int slot = computed_anew((int)threadIdx.x) / LANES; slot < t.clips * t.slots;
             slot += WARPS) {
            const slot_place<PATCH, PATCH> at(t, slot);
            float gradient[PATCH * PATCH];
            int64_t clip;
            int row, col;

            if (!find_patch(s, t, place, group, at, &clip, &row, &col)) continue;
            form_patch(s, dy, clip, row, col, channel, gradient);
#pragma unroll
            for (int c = 0; c < C; c++)
                add_taps(seen_by(s, tile, at) + c * s.rows * s.pitch, s.pitch, gradient,
                         dw + c * TAPS);
        }
        __syncthreads();
    }
    write_weights(t, all, s.out_c, dw, tile, partial);
}

/* ---- launches ---- */

struct plan {
    stem_shape s;
    tiling t;
    size_t bytes; /* of a group's features */
};

plan plan_of(const coc_conv *c, int64_t n, int blocks)
{
    plan p = {};
    size_t clip_bytes;

    p.t = tile_map(c->out_h, c->out_w, c->out_c, POSITIONS, MOST_ROWS, PATCH, PATCH);
    p.s = {c->in_h, c->in_w, c->in_c, c->out_h, c->out_w, c->out_c, c->pad, 0, 0, {}, {}};
    p.s.rows = (p.t.rows - 1) * STRIDE + KERNEL;
    p.s.pitch = (int)divide_up((p.t.cols - 1) * STRIDE + KERNEL, 4) * 4;
    p.s.by_rows = divide_by(p.s.rows);
    p.s.by_pitch = divide_by(p.s.pitch);
    clip_bytes = (size_t)c->in_c * p.s.rows * p.s.pitch * sizeof(float);
    share_clips(&p.t, n, POSITIONS, clip_bytes, blocks);
    p.bytes = p.t.clips * clip_bytes;
    return p;
}

template <typename T>
void forward(coc_backend *b, const coc_conv *s, int64_t n, const float *x, const float *keep,
             const float *w, stored *y, const int32_t *group, double *sums)
{
    const auto kernel = stem<T>;
    const plan p = plan_of(s, n, BLOCKS_FORWARD);
    const size_t shared =
        (size_t)(s->in_c * TAPS + 2 * p.t.clips * p.t.slots) * LANES * sizeof(float) + p.bytes;
    double *partial = NULL;

    if (sums != NULL) {
        const int64_t room = coc_cuda_sums_room(n, p.t.tiles, s->out_c);

        partial = (double *)coc_cuda_scratch(b, (size_t)room * sizeof(double));
        if (partial == NULL) return;
    }
    allow_shared(kernel, shared);
    COC_LAUNCH(kernel, grid_of(p.t), dim3(BLOCK), shared, coc_cuda_of(b)->stream, p.s, p.t, x, keep,
               w, (T *)y, partial);
    if (partial != NULL) coc_cuda_add_sums(b, n, p.t.tiles, s->out_c, partial, group, sums);
}

template <typename T, int C>
void backward(coc_backend *b, const coc_conv *s, int64_t n, const float *x, const float *keep,
              const coc_gradient *dy, float *dw)
{
    const auto kernel = stem_gradient<T, C>;
    const plan p = plan_of(s, n, BLOCKS_BACKWARD);
    const size_t dw_bytes = (size_t)WARPS * LANES * C * TAPS * sizeof(float);
    const size_t shared = p.bytes > dw_bytes ? p.bytes : dw_bytes;
    const int64_t rows = (int64_t)p.t.splits * p.t.tiles, weights = (int64_t)s->out_c * C * TAPS;
    const gradient_view<T> view = view_of<T>(dy);
    float *partial = (float *)coc_cuda_scratch(b, (size_t)(rows * weights) * sizeof(float));

    if (partial == NULL) return;
    allow_shared(kernel, shared);
    COC_LAUNCH(kernel, grid_of(p.t), dim3(BLOCK), shared, coc_cuda_of(b)->stream, p.s, p.t, x, keep,
               view, partial);
    coc_cuda_add_rows(b, rows, weights, partial, dw);
}

template <typename T>
void backward(coc_backend *b, const coc_conv *s, int64_t n, const float *x, const float *keep,
              const coc_gradient *dy, float *dw)
{
    if (s->in_c == 1)
        backward<T, 1>(b, s, n, x, keep, dy, dw);
    else
        backward<T, 2>(b, s, n, x, keep, dy, dw);
}

} // namespace
} // namespace coc

void coc_cuda_stem_forward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                           const real *keep, const real *w, stored *y, const int32_t *group,
                           double *sums)
{
    if (b->precision == COC_BF16)
        coc::forward<coc::bf16>(b, s, n, x, keep, w, y, group, sums);
    else
        coc::forward<float>(b, s, n, x, keep, w, y, group, sums);
    coc_cuda_launched(b, "first convolution");
}

void coc_cuda_stem_backward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                            const real *keep, const coc_gradient *dy, real *dw)
{
    if (b->precision == COC_BF16)
        coc::backward<coc::bf16>(b, s, n, x, keep, dy, dw);
    else
        coc::backward<float>(b, s, n, x, keep, dy, dw);
    coc_cuda_launched(b, "first convolution, backward");
}
