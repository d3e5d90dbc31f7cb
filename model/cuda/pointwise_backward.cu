/* model/cuda/pointwise_backward.cu - 1 x 1 convolution, backward, in three passes:
 *
 *     dY = the gradient at the raw output, formed and stored     (model/cuda/form.cuh)
 *     dz = dY W, and the gate's gradient from the tile in shared memory
 *     dw = dY' z, with z formed on the way in; rows are split among blocks, sums added in order
 *
 * So for float, and for bf16 where channels are too many for pointwise_joint.cu.
 *
 * Storing dY costs a write and saves forming it twice, from two tensors and seven coefficients a
 * channel: 5 passes over a tensor of the output's size instead of 4, and products that only load.
 */
#include "model/cuda/form.cuh"
#include "model/cuda/pointwise.cuh"

using namespace coc;

namespace
{

/* ---- the gradient at the input ---- */

/* partial [segment][I] = sum over the segment's rows of dz * v, v the activated x. */
template <typename T, int COLUMNS>
__device__ void sum_gate(const rows_product<T> &p, const T *x, const norm_view &norm,
                         const row_tile &t, int first, const float *c, float (*left)[COLUMNS],
                         float *partial)
{
    enum { STRIPS = TILE_THREADS / COLUMNS };
    const int column = (int)threadIdx.x % COLUMNS, strip = (int)threadIdx.x / COLUMNS;
    const int channel = first + column;

    for (int s = 0; s < t.segments; s++) {
        const int begin = s * t.segment_rows, end = begin + t.segment_rows;
        float sum = 0;

        if (channel < p.columns) {
            const int64_t clip = (t.first + begin) / p.tiles.positions;
            const int64_t at = (int64_t)norm.group[clip] * p.columns + channel;
            const float scale = norm.scale[at], shift = norm.shift[at];

            for (int row = begin + strip; row < end; row += STRIPS) {
                const float u = scale * load1(x + (t.first + row) * p.columns + channel) + shift;

                sum += c[row * SPILL_STRIDE + column] * (norm.silu ? silu<T>(u) : u);
            }
        }
        left[strip][column] = sum;
        __syncthreads();
        if (strip == 0 && channel < p.columns) {
            for (int i = 1; i < STRIPS; i++)
                sum += left[i][column];
            partial[(t.segment + s) * p.columns + channel] = sum;
        }
        __syncthreads();
    }
}

/* x and norm: those of what the convolution read; partial NULL: no gate. */
template <typename T, int COLUMNS>
__global__ void __launch_bounds__(TILE_THREADS, 2)
    input_gradient(rows_product<T> p, const T *x, norm_view norm, float *partial)
{
    COC_SHARED(unsigned char, memory);
    __shared__ float left[TILE_THREADS / COLUMNS][COLUMNS];
    const row_tile t = find_tile(p.tiles, blockIdx.x / p.column_tiles);
    const int first = (int)(blockIdx.x % p.column_tiles) * COLUMNS;
    float *c = (float *)memory;
    engine<T, COLUMNS, B_BY_ROW> e;

    multiply_rows(p, t, first, memory, e);
    e.spill(c, SPILL_STRIDE);
    __syncthreads();
    store_rows<T, COLUMNS>(p, t, first, c);
    if (p.accumulate) __syncthreads();
    if (partial != NULL) sum_gate<T, COLUMNS>(p, x, norm, t, first, c, left, partial);
}

template <typename T, int COLUMNS>
void launch_input(coc_backend *b, rows_product<T> p, const T *x, const norm_view &norm,
                  float *partial)
{
    const size_t bytes = tile_bytes<engine<T, COLUMNS, B_BY_ROW>>();
    const auto kernel = input_gradient<T, COLUMNS>;
    const norm_view view = norm;

    p.column_tiles = (int)divide_up(p.columns, COLUMNS);
    COC_LAUNCH(kernel, dim3((unsigned)(count_tiles(p.tiles) * p.column_tiles)), dim3(TILE_THREADS),
               bytes, coc_cuda_of(b)->stream, p, x, view, partial);
}

/* ---- the gradient of the weights ---- */

enum { SIDE = 64, DEPTH = 32, STRIDE = SIDE + 8 }; /* outputs x inputs of a block; rows at a time */
enum { ENOUGH_BLOCKS = 320, LEAST_ROWS = 256 };    /* two a multiprocessor; of a block */

template <typename T> struct weight_product {
    int64_t rows, per_split, positions;
    int in, out;
    const T *dy; /* [rows][out] */
    const T *x;  /* [rows][in] */
    norm_view norm;
    const float *gate;
    float *partial; /* [splits][out][in] */
};

/* 64 x 64 products of columns: both tiles lie [row][channel]. 8 warps of 16 x 32. */
template <typename T> struct outer;

template <> struct outer<bf16> {
    float acc[4][4];

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int k = 0; k < 4; k++)
                acc[j][k] = 0;
    }

    __device__ __forceinline__ void multiply(const bf16 *a, const bf16 *b)
    {
        const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
        const int row = warp / 2 * 16, column = warp % 2 * 32, matrix = lane / 8;

#pragma unroll
        for (int k = 0; k < DEPTH; k += 16) {
            uint32_t fa[4], fb[4];

            coc_ldmatrix_x4_trans(fa, a + (k + lane % 8 + matrix / 2 * 8) * STRIDE + row +
                                          matrix % 2 * 8);
#pragma unroll
            for (int j = 0; j < 4; j += 2) {
                coc_ldmatrix_x4_trans(fb, b + (k + lane % 8 + matrix % 2 * 8) * STRIDE + column +
                                              8 * j + matrix / 2 * 8);
                coc_mma_bf16_16816(acc[j], fa, fb);
                coc_mma_bf16_16816(acc[j + 1], fa, fb + 2);
            }
        }
    }

    template <typename PUT> __device__ __forceinline__ void each(PUT put) const
    {
        const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;

#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int k = 0; k < 4; k++)
                put(warp / 2 * 16 + lane / 4 + k / 2 * 8,
                    warp % 2 * 32 + 8 * j + lane % 4 * 2 + k % 2, acc[j][k]);
    }
};

template <> struct outer<float> {
    float acc[4][4];

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                acc[i][j] = 0;
    }

    __device__ __forceinline__ void multiply(const float *a, const float *b)
    {
        a += (int)threadIdx.x / 16 * 4;
        b += (int)threadIdx.x % 16 * 4;
#pragma unroll 4
        for (int k = 0; k < DEPTH; k++) {
            const float4 x = *(const float4 *)(a + k * STRIDE);
            const float4 y = *(const float4 *)(b + k * STRIDE);
            const float xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};

#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    acc[i][j] += xs[i] * ys[j];
        }
    }

    template <typename PUT> __device__ __forceinline__ void each(PUT put) const
    {
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                put((int)threadIdx.x / 16 * 4 + i, (int)threadIdx.x % 16 * 4 + j, acc[i][j]);
    }
};

/* A thread's eight inputs of a row, read through norm, SiLU and gate, whose coefficients it keeps
 * as long as the clip stays the same. */
template <typename T> struct input_reader {
    int64_t loaded;
    affine8 affine;
    vec8 gate;

    __device__ __forceinline__ vec8 read(const weight_product<T> &p, int64_t row, int channel,
                                         vec8 z)
    {
        const int64_t clip = row / p.positions;

        if (clip != loaded) {
            if (p.norm.scale != NULL) affine = load_affine(p.norm, clip, p.in, channel);
            if (p.gate != NULL) gate = load8(p.gate + clip * p.in + channel);
            loaded = clip;
        }
        if (p.norm.scale != NULL) z = activated<T>(z, affine, p.norm.silu);
        return p.gate != NULL ? times(z, gate) : z;
    }
};

__device__ __forceinline__ void store_raw(float *p, const vec8 &x)
{
    store8(p, x);
}
__device__ __forceinline__ void store_raw(bf16 *p, const uint4 &x)
{
    *reinterpret_cast<uint4 *>(p) = x;
}

/* grid: input tiles, output tiles, splits of the rows. The next rows are on their way to registers
 * while those in shared memory are multiplied. */
template <typename T>
__global__ void __launch_bounds__(TILE_THREADS, 2) weight_gradient(weight_product<T> p)
{
    __shared__ __align__(16) T tile[2][2][DEPTH * STRIDE]; /* buffer; dy, z */
    const int64_t begin = blockIdx.z * p.per_split, end = min(begin + p.per_split, p.rows);
    const int row = (int)threadIdx.x / (SIDE / 8), vector = (int)threadIdx.x % (SIDE / 8) * 8;
    const int o = (int)blockIdx.y * SIDE + vector, i = (int)blockIdx.x * SIDE + vector;
    const bool formed = p.norm.scale != NULL || p.gate != NULL;
    const vec8 zero = {{0, 0, 0, 0, 0, 0, 0, 0}};
    const typename raw8<T>::type none = {};
    input_reader<T> reader = {-1, {zero, zero}, zero};
    typename raw8<T>::type dy = none, x = none;
    outer<T> e;
    int buffer = 0;

    e.clear();
    for (int64_t at = begin - DEPTH; at < end; at += DEPTH) {
        const int64_t now = at + row, next = now + DEPTH;

        if (at >= begin) {
            T *to = &tile[buffer][0][row * STRIDE + vector];

            store_raw(to, dy);
            to += DEPTH * STRIDE;
            if (formed && now < end && i < p.in)
                store8(to, reader.read(p, now, i, widen(x)));
            else
                store_raw(to, x);
            __syncthreads(); /* one is enough: the other buffer was read before the last one */
        }
        dy = next < end && o < p.out ? load_raw(p.dy + next * p.out + o) : none;
        x = next < end && i < p.in ? load_raw(p.x + next * p.in + i) : none;
        if (at < begin) continue;
        e.multiply(tile[buffer][0], tile[buffer][1]);
        buffer = 1 - buffer;
    }
    e.each([&](int r, int c, float value) {
        const int64_t output = (int64_t)blockIdx.y * SIDE + r, input = blockIdx.x * SIDE + c;

        if (output < p.out && input < p.in)
            p.partial[(blockIdx.z * p.out + output) * p.in + input] = value;
    });
}

template <typename T> int64_t count_splits(const weight_product<T> &p)
{
    const int64_t tiles = divide_up(p.out, SIDE) * divide_up(p.in, SIDE);
    const int64_t wanted = divide_up(ENOUGH_BLOCKS, tiles), most = divide_up(p.rows, LEAST_ROWS);

    return wanted < most ? wanted : most;
}

template <typename T>
void launch_weights(coc_backend *b, weight_product<T> p, int64_t splits, real *dw)
{
    const auto kernel = weight_gradient<T>;

    p.per_split = divide_up(divide_up(p.rows, splits), DEPTH) * DEPTH;
    splits = divide_up(p.rows, p.per_split);
    COC_LAUNCH(
        kernel,
        dim3((unsigned)divide_up(p.in, SIDE), (unsigned)divide_up(p.out, SIDE), (unsigned)splits),
        dim3(TILE_THREADS), 0, coc_cuda_of(b)->stream, p);
    coc_cuda_sum_parts(b, 1, splits, (int64_t)p.out * p.in, p.partial, true, dw);
}

/* ---- all three ---- */

template <typename T>
void convolve_backward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                       const coc_norm *norm, const real *gate, const coc_gradient *dy,
                       const real *w, stored *dz, bool accumulate, real *dw, real *dgate)
{
    const int64_t positions = (int64_t)s->out_h * s->out_w, rows = n * positions;
    const row_tiles tiles = cut_rows(n, positions);
    weight_product<T> weights = {
        rows, 0, positions, s->in_c, s->out_c, NULL, (const T *)x, view_of(norm), gate, NULL};
    const int64_t splits = count_splits(weights);
    const size_t formed = (size_t)divide_up(rows * s->out_c * (int64_t)sizeof(T), 256) * 256;
    const size_t gates = dgate != NULL ? (size_t)(n * tiles.parts * s->in_c) : 0;
    char *memory = (char *)coc_cuda_scratch(
        b, formed + (gates + (size_t)(splits * s->out_c * s->in_c)) * sizeof(float));
    float *partial = (float *)(memory + formed);

    if (memory == NULL) return;
    form_gradient<T>(b, n, positions, s->out_c, dy, (T *)memory);
    const rows_product<T> p = {tiles, s->out_c, s->in_c, (const T *)memory, view_of(NULL),
                               NULL,  w,        (T *)dz, accumulate,        0};

    if (p.columns <= 32)
        launch_input<T, 32>(b, p, (const T *)x, view_of(norm), dgate != NULL ? partial : NULL);
    else
        launch_input<T, 64>(b, p, (const T *)x, view_of(norm), dgate != NULL ? partial : NULL);
    if (dgate != NULL) coc_cuda_sum_parts(b, n, tiles.parts, s->in_c, partial, false, dgate);
    weights.dy = (const T *)memory;
    weights.partial = partial + gates;
    launch_weights(b, weights, splits, dw);
}

} // namespace

void coc_cuda_pointwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                                 const coc_norm *norm, const real *gate, const coc_gradient *dy,
                                 const real *w, stored *dz, bool accumulate, real *dw, real *dgate)
{
    if (b->precision != COC_BF16)
        convolve_backward<float>(b, s, n, x, norm, gate, dy, w, dz, accumulate, dw, dgate);
    else if (!pointwise_backward_jointly(b, s, n, x, norm, gate, dy, w, dz, accumulate, dw, dgate))
        convolve_backward<bf16>(b, s, n, x, norm, gate, dy, w, dz, accumulate, dw, dgate);
    coc_cuda_launched(b, "1 x 1 convolution, backward");
}
