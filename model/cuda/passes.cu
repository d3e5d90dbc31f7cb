/* model/cuda/passes.cu - what the fused convolutions do on the way in and on the way out, as passes
 * of their own: for convolutions by cuDNN, which reads and writes plain tensors. */
#include "model/cuda/form.cuh"
#include "model/cuda/strips.cuh"

using namespace coc;

namespace
{

enum { THREADS = 256 };

/* Positions of a thread: few where it only reads and writes, more where it adds up (pool.cu). */
enum { READ_STEPS = 8, SUM_STEPS = 32 };

/* ---- on the way in ---- */

/* z = gate * v of x. */
template <typename T>
__global__ void __launch_bounds__(STRIP_THREADS, 3)
    read_through(const T *__restrict__ x, norm_view norm, const float *gate, strips s,
                 T *__restrict__ z)
{
    const strip_place at = place_of(s);
    const bool normed = norm.scale != NULL, gated = gate != NULL;
    affine8 a = {};
    vec8 factor = {};

    if (!at.inside) return;
    if (normed) a = load_affine(norm, at.clip, s.channels, at.c);
    if (gated) factor = load8(gate + at.clip * s.channels + at.c);
#pragma unroll 4
    for (int64_t p = at.first; p < at.end; p += s.rows) {
        const int64_t i = (at.clip * s.positions + p) * s.channels + at.c;
        vec8 v = load8(x + i);

        if (normed) v = activated<T>(v, a, norm.silu);
        if (gated) v = times(v, factor);
        store8(z + i, v);
    }
}

template <typename T>
void launch_read(coc_backend *b, int64_t n, int64_t positions, int channels, const stored *x,
                 const coc_norm *norm, const real *gate, stored *z)
{
    const strips s = strips_of(channels, positions, READ_STEPS);
    const auto kernel = read_through<T>;

    COC_LAUNCH(kernel, blocks_of(s, n), dim3(STRIP_THREADS), 0, coc_cuda_of(b)->stream,
               (const T *)x, view_of(norm), gate, s, (T *)z);
}

/* z [n][P][padded] = keep * x [n][C][P], zeros beyond C. A thread has a position. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    read_channels(const float *__restrict__ x, const float *keep, int64_t positions, int channels,
                  int padded, T *__restrict__ z)
{
    const int64_t p = (int64_t)blockIdx.x * THREADS + threadIdx.x, clip = blockIdx.z;

    if (p >= positions) return;
    for (int first = 0; first < padded; first += 8) {
        vec8 v = {};

#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int64_t c = first + i;

            if (c >= channels) continue;
            v.v[i] = x[(clip * channels + c) * positions + p];
            if (keep != NULL) v.v[i] *= keep[clip * channels + c];
        }
        store8(z + (clip * positions + p) * padded + first, v);
    }
}

template <typename T>
void launch_channels(coc_backend *b, int64_t n, int64_t positions, int channels, int padded,
                     const real *x, const real *keep, stored *z)
{
    const auto kernel = read_channels<T>;

    COC_LAUNCH(kernel, dim3((unsigned)divide_up(positions, THREADS), 1, (unsigned)n), dim3(THREADS),
               0, coc_cuda_of(b)->stream, x, keep, positions, channels, padded, (T *)z);
}

/* ---- weights ---- */

/* to [O][taps][padded] from w [O][I][taps], zeros beyond I. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    put_weights(const float *w, int64_t count, int taps, int inputs, int padded, T *to)
{
    const int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    const int64_t input = at % padded, tap = at / padded % taps, output = at / padded / taps;

    if (at < count) store1(to + at, input < inputs ? w[(output * inputs + input) * taps + tap] : 0);
}

/* dw [O][I][taps] += from [O][taps][padded]. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    add_weights(const T *from, int64_t count, int taps, int inputs, int padded, float *dw)
{
    const int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    const int64_t tap = at % taps, input = at / taps % inputs, output = at / taps / inputs;

    if (at < count) dw[at] += load1(from + (output * taps + tap) * padded + input);
}

template <typename T>
void launch_put_weights(coc_backend *b, int outputs, int inputs, int taps, int padded,
                        const real *w, void *to)
{
    const int64_t count = (int64_t)outputs * taps * padded;
    const auto kernel = put_weights<T>;

    COC_LAUNCH(kernel, dim3((unsigned)divide_up(count, THREADS)), dim3(THREADS), 0,
               coc_cuda_of(b)->stream, w, count, taps, inputs, padded, (T *)to);
}

template <typename T>
void launch_add_weights(coc_backend *b, int outputs, int inputs, int taps, int padded,
                        const void *from, real *dw)
{
    const int64_t count = (int64_t)outputs * inputs * taps;
    const auto kernel = add_weights<T>;

    COC_LAUNCH(kernel, dim3((unsigned)divide_up(count, THREADS)), dim3(THREADS), 0,
               coc_cuda_of(b)->stream, (const T *)from, count, taps, inputs, padded, dw);
}

/* ---- on the way out ---- */

/* to += from, eight values a thread. */
template <typename T>
__global__ void __launch_bounds__(THREADS) add_values(const T *from, int64_t count, T *to)
{
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * 8;
    vec8 sum;

    if (at >= count) return;
    const vec8 old = load8(to + at), more = load8(from + at);

#pragma unroll
    for (int i = 0; i < 8; i++)
        sum.v[i] = old.v[i] + more.v[i];
    store8(to + at, sum);
}

template <typename T> void launch_add(coc_backend *b, int64_t count, const stored *from, stored *to)
{
    const auto kernel = add_values<T>;

    COC_LAUNCH(kernel, dim3((unsigned)divide_up(count, THREADS * 8)), dim3(THREADS), 0,
               coc_cuda_of(b)->stream, (const T *)from, count, (T *)to);
}

/* partial [clip][part][2][C]: sums of y and y^2. */
template <typename T>
__global__ void __launch_bounds__(STRIP_THREADS, 2)
    output_sums(const T *y, strips s, double *partial)
{
    __shared__ float left[STRIP_THREADS * 16]; /* [rows][2][8 vectors] */
    __shared__ double more[STRIP_THREADS];
    const strip_place at = place_of(s);
    const int width = 8 * s.vectors;
    vec8 sum = {}, squares = {};

    if (at.inside) {
#pragma unroll 4
        for (int64_t p = at.first; p < at.end; p += s.rows) {
            const vec8 v = load8(y + (at.clip * s.positions + p) * s.channels + at.c);

#pragma unroll
            for (int i = 0; i < 8; i++) {
                sum.v[i] += v.v[i];
                squares.v[i] += v.v[i] * v.v[i];
            }
        }
    }
    if (at.row < s.rows) {
        store8(left + at.row * 2 * width + 8 * at.vector, sum);
        store8(left + at.row * 2 * width + width + 8 * at.vector, squares);
    }
    __syncthreads();
    partial += (at.clip * gridDim.y + blockIdx.y) * 2 * s.channels;
    sum_of_rows(s.rows, 2 * width, left, more, [&](int k, double all) {
        const int which = k / width, c = (int)blockIdx.x * width + k % width;

        if (c < s.channels) partial[which * s.channels + c] = all;
    });
}

template <typename T>
void launch_output_sums(coc_backend *b, int64_t n, int64_t positions, int channels, const stored *y,
                        const int32_t *group, double *sums)
{
    const strips s = strips_of(channels, positions, SUM_STEPS);
    const int64_t parts = parts_of(s);
    const size_t room = (size_t)coc_cuda_sums_room(n, parts, channels);
    double *partial = (double *)coc_cuda_scratch(b, room * sizeof(double));
    const auto kernel = output_sums<T>;

    if (partial == NULL) return;
    COC_LAUNCH(kernel, blocks_of(s, n), dim3(STRIP_THREADS), 0, coc_cuda_of(b)->stream,
               (const T *)y, s, partial);
    coc_cuda_add_sums(b, n, parts, channels, partial, group, sums);
}

/* partial [clip][part][C]: sums of dz * v. */
template <typename T>
__global__ void __launch_bounds__(STRIP_THREADS, 3)
    gate_sums(const T *x, norm_view norm, const T *dz, strips s, float *partial)
{
    __shared__ float left[STRIP_THREADS * 8]; /* [rows][vectors][8] */
    __shared__ double more[STRIP_THREADS];
    const strip_place at = place_of(s);
    const int width = 8 * s.vectors;
    vec8 sum = {};

    if (at.inside) {
        const affine8 a = load_affine(norm, at.clip, s.channels, at.c);

#pragma unroll 2
        for (int64_t p = at.first; p < at.end; p += s.rows) {
            const int64_t i = (at.clip * s.positions + p) * s.channels + at.c;
            const vec8 v = activated<T>(load8(x + i), a, norm.silu), g = load8(dz + i);

#pragma unroll
            for (int k = 0; k < 8; k++)
                sum.v[k] += v.v[k] * g.v[k];
        }
    }
    if (at.row < s.rows) store8(left + at.row * width + 8 * at.vector, sum);
    __syncthreads();
    partial += (at.clip * gridDim.y + blockIdx.y) * s.channels;
    sum_of_rows(s.rows, width, left, more, [&](int k, double all) {
        const int c = (int)blockIdx.x * width + k;

        if (c < s.channels) partial[c] = (float)all;
    });
}

template <typename T>
void launch_gate_sums(coc_backend *b, int64_t n, int64_t positions, int channels, const stored *x,
                      const coc_norm *norm, const stored *dz, real *dgate)
{
    const strips s = strips_of(channels, positions, SUM_STEPS);
    const int64_t parts = parts_of(s);
    const auto kernel = gate_sums<T>;
    float *partial = dgate;

    if (parts > 1)
        partial = (float *)coc_cuda_scratch(b, (size_t)(n * parts * channels) * sizeof(float));
    if (partial == NULL) return;
    COC_LAUNCH(kernel, blocks_of(s, n), dim3(STRIP_THREADS), 0, coc_cuda_of(b)->stream,
               (const T *)x, view_of(norm), (const T *)dz, s, partial);
    if (parts > 1) coc_cuda_sum_parts(b, n, parts, channels, partial, false, dgate);
}

} // namespace

void coc_cuda_read(coc_backend *b, int64_t n, int64_t positions, int channels, const stored *x,
                   const coc_norm *norm, const real *gate, stored *z)
{
    if (b->precision == COC_BF16)
        launch_read<bf16>(b, n, positions, channels, x, norm, gate, z);
    else
        launch_read<float>(b, n, positions, channels, x, norm, gate, z);
    coc_cuda_launched(b, "reading through a norm");
}

void coc_cuda_read_channels(coc_backend *b, int64_t n, int64_t positions, int channels, int padded,
                            const real *x, const real *keep, stored *z)
{
    if (b->precision == COC_BF16)
        launch_channels<bf16>(b, n, positions, channels, padded, x, keep, z);
    else
        launch_channels<float>(b, n, positions, channels, padded, x, keep, z);
    coc_cuda_launched(b, "reading features");
}

void coc_cuda_form(coc_backend *b, int64_t n, int64_t positions, int channels,
                   const coc_gradient *g, stored *dx)
{
    if (b->precision == COC_BF16)
        form_gradient<bf16>(b, n, positions, channels, g, (bf16 *)dx);
    else
        form_gradient<float>(b, n, positions, channels, g, (float *)dx);
    coc_cuda_launched(b, "forming a gradient");
}

void coc_cuda_put_weights(coc_backend *b, int outputs, int inputs, int taps, int padded,
                          const real *w, void *to)
{
    if (b->precision == COC_BF16)
        launch_put_weights<bf16>(b, outputs, inputs, taps, padded, w, to);
    else
        launch_put_weights<float>(b, outputs, inputs, taps, padded, w, to);
    coc_cuda_launched(b, "laying out weights");
}

void coc_cuda_add_weights(coc_backend *b, int outputs, int inputs, int taps, int padded,
                          const void *from, real *dw)
{
    if (b->precision == COC_BF16)
        launch_add_weights<bf16>(b, outputs, inputs, taps, padded, from, dw);
    else
        launch_add_weights<float>(b, outputs, inputs, taps, padded, from, dw);
    coc_cuda_launched(b, "adding gradients of weights");
}

void coc_cuda_add_stored(coc_backend *b, int64_t count, const stored *from, stored *to)
{
    if (b->precision == COC_BF16)
        launch_add<bf16>(b, count, from, to);
    else
        launch_add<float>(b, count, from, to);
    coc_cuda_launched(b, "adding gradients");
}

void coc_cuda_output_sums(coc_backend *b, int64_t n, int64_t positions, int channels,
                          const stored *y, const int32_t *group, double *sums)
{
    if (b->precision == COC_BF16)
        launch_output_sums<bf16>(b, n, positions, channels, y, group, sums);
    else
        launch_output_sums<float>(b, n, positions, channels, y, group, sums);
    coc_cuda_launched(b, "sums of an output");
}

void coc_cuda_gate_sums(coc_backend *b, int64_t n, int64_t positions, int channels, const stored *x,
                        const coc_norm *norm, const stored *dz, real *dgate)
{
    if (b->precision == COC_BF16)
        launch_gate_sums<bf16>(b, n, positions, channels, x, norm, dz, dgate);
    else
        launch_gate_sums<float>(b, n, positions, channels, x, norm, dz, dgate);
    coc_cuda_launched(b, "gradient of a gate");
}
