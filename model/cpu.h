/* model/cpu.h - the fast backend: what its files share. Private to the folder.
 *
 * Kernels work on vectors of COC_LANES floats (GCC's vector extension: AVX-512, AVX2, NEON, SSE).
 * Tensors are read into small blocks in the caches, which hold one vector of channels at a time:
 *
 *     block[channel / COC_LANES][row][channel % COC_LANES]
 *
 * so that a kernel meets neither strides nor the ends of rows: channels beyond the last are zero.
 * What each operation computes stands in model/ops.h. Work is divided over threads by clips.
 */
#ifndef COC_MODEL_CPU_H
#define COC_MODEL_CPU_H

#include <string.h>

#if defined(__SSE__)
#include <immintrin.h>
#endif

#include "model/backends.h"
#include "model/ops.h"

#if defined(__AVX512F__)
enum { COC_LANES = 16, COC_VECTOR_REGISTERS = 32 };
#elif defined(__AVX__)
enum { COC_LANES = 8, COC_VECTOR_REGISTERS = 16 };
#elif defined(__aarch64__)
enum { COC_LANES = 4, COC_VECTOR_REGISTERS = 32 };
#else
enum { COC_LANES = 4, COC_VECTOR_REGISTERS = 16 };
#endif

/* Kernels are written once for all tile sizes and become fast when their sizes are constants: they
 * are inlined always and unrolled fully. */
#define COC_KERNEL static inline __attribute__((always_inline))
#ifdef __clang__
#define COC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define COC_UNROLL _Pragma("GCC unroll 32")
#endif

/* Keeps a vector that is used several times in a register: compilers like to load it again for each
 * use, and loads are what is scarce then. */
#if defined(__x86_64__)
#define COC_IN_REGISTER(vector) __asm__("" : "+x"(vector))
#elif defined(__aarch64__)
#define COC_IN_REGISTER(vector) __asm__("" : "+w"(vector))
#else
#define COC_IN_REGISTER(vector) (void)(vector)
#endif

typedef float coc_vec __attribute__((vector_size(4 * COC_LANES)));
typedef int32_t coc_ivec __attribute__((vector_size(4 * COC_LANES)));
typedef float coc_vec_in_memory __attribute__((vector_size(4 * COC_LANES), aligned(4), may_alias));

COC_KERNEL coc_vec coc_load(const float *from)
{
    return *(const coc_vec_in_memory *)from;
}

COC_KERNEL void coc_store(float *to, coc_vec value)
{
    *(coc_vec_in_memory *)to = value;
}

/* The first `lanes` values, the others 0. Half a vector is the usual case: channels are multiples
 * of 8. */
COC_KERNEL coc_vec coc_load_some(const float *from, int lanes)
{
    coc_vec value = {0};

    if (lanes == COC_LANES) return coc_load(from);
    if (lanes == COC_LANES / 2)
        memcpy(&value, from, 2 * COC_LANES);
    else
        memcpy(&value, from, (size_t)lanes * sizeof(float));
    return value;
}

COC_KERNEL void coc_store_some(float *to, coc_vec value, int lanes)
{
    if (lanes == COC_LANES)
        coc_store(to, value);
    else if (lanes == COC_LANES / 2)
        memcpy(to, &value, 2 * COC_LANES);
    else
        memcpy(to, &value, (size_t)lanes * sizeof(float));
}

COC_KERNEL coc_vec coc_splat(float value)
{
    return value - (coc_vec){0};
}

/* The only operations that the vector extension has no operator for. A loop over the lanes would do
 * on paper, but compilers take it apart now and then. */
#if defined(__AVX512F__)
COC_KERNEL coc_vec coc_max(coc_vec a, coc_vec b)
{
    return (coc_vec)_mm512_max_ps((__m512)a, (__m512)b);
}

COC_KERNEL coc_vec coc_min(coc_vec a, coc_vec b)
{
    return (coc_vec)_mm512_min_ps((__m512)a, (__m512)b);
}
#elif defined(__AVX__)
COC_KERNEL coc_vec coc_max(coc_vec a, coc_vec b)
{
    return (coc_vec)_mm256_max_ps((__m256)a, (__m256)b);
}

COC_KERNEL coc_vec coc_min(coc_vec a, coc_vec b)
{
    return (coc_vec)_mm256_min_ps((__m256)a, (__m256)b);
}
#elif defined(__SSE__)
COC_KERNEL coc_vec coc_max(coc_vec a, coc_vec b)
{
    return (coc_vec)_mm_max_ps((__m128)a, (__m128)b);
}

COC_KERNEL coc_vec coc_min(coc_vec a, coc_vec b)
{
    return (coc_vec)_mm_min_ps((__m128)a, (__m128)b);
}
#else
COC_KERNEL coc_vec coc_max(coc_vec a, coc_vec b)
{
    for (int i = 0; i < COC_LANES; i++)
        a[i] = a[i] > b[i] ? a[i] : b[i];
    return a;
}

COC_KERNEL coc_vec coc_min(coc_vec a, coc_vec b)
{
    for (int i = 0; i < COC_LANES; i++)
        a[i] = a[i] < b[i] ? a[i] : b[i];
    return a;
}
#endif

/* A bit a lane of a comparison. */
#if defined(__AVX512F__)
COC_KERNEL unsigned coc_lanes_true(coc_ivec is)
{
    return _mm512_test_epi32_mask((__m512i)is, (__m512i)is);
}
#elif defined(__AVX__)
COC_KERNEL unsigned coc_lanes_true(coc_ivec is)
{
    return (unsigned)_mm256_movemask_ps((__m256)is);
}
#elif defined(__SSE__)
COC_KERNEL unsigned coc_lanes_true(coc_ivec is)
{
    return (unsigned)_mm_movemask_ps((__m128)is);
}
#else
COC_KERNEL unsigned coc_lanes_true(coc_ivec is)
{
    unsigned bits = 0;

    for (int i = 0; i < COC_LANES; i++)
        bits |= is[i] != 0 ? 1u << i : 0;
    return bits;
}
#endif

/* Vectors that are worked on side by side: one alone would wait for its own results. */
enum { COC_ABREAST = 2 };

/* s = 1 / (1 + exp(-u)) to about 2 units in the last place, for `count` vectors. exp(-u) = 2^n
 * exp(r), |r| <= log(2) / 2; adding 1.5 * 2^23 rounds to the integer n and leaves it in the lowest
 * bits, from where it is shifted into the exponent. The polynomial is the minimax one of degree 6
 * (error 3e-9). A NaN is not kept: u * s and the slope below are NaN all the same. */
COC_KERNEL void coc_sigmoids(const int count, const coc_vec *u, coc_vec *s)
{
    static const float polynomial[] = {8.37903030918e-3f, 4.16647757082e-2f, 1.66663651883e-1f,
                                       5.00000043492e-1f, 1.00000004970f,    1.0f};
    coc_vec shifted[COC_ABREAST], r[COC_ABREAST], e[COC_ABREAST];

    COC_UNROLL
    for (int i = 0; i < count; i++)
        r[i] = coc_max(coc_min(-u[i], coc_splat(87.0f)), coc_splat(-87.0f));
    COC_UNROLL
    for (int i = 0; i < count; i++)
        shifted[i] = r[i] * 1.44269504f + 12582912.0f;
    COC_UNROLL
    for (int i = 0; i < count; i++) {
        const coc_vec n = shifted[i] - 12582912.0f;

        r[i] = (r[i] - n * 0.693145752f) - n * 1.42860677e-6f;
        e[i] = coc_splat(1.40613130881e-3f);
    }
    COC_UNROLL
    for (int k = 0; k < 6; k++)
        COC_UNROLL
    for (int i = 0; i < count; i++)
        e[i] = e[i] * r[i] + polynomial[k];
    COC_UNROLL
    for (int i = 0; i < count; i++)
        e[i] = (coc_vec)((coc_ivec)e[i] + (((coc_ivec)shifted[i]) << 23));
    COC_UNROLL
    for (int i = 0; i < count; i++)
        s[i] = 1.0f / (1.0f + e[i]);
}

COC_KERNEL coc_vec coc_sigmoid(coc_vec u)
{
    coc_vec s;

    coc_sigmoids(1, &u, &s);
    return s;
}

/* d silu(u) / du, given s = sigmoid(u) */
COC_KERNEL coc_vec coc_silu_slope(coc_vec u, coc_vec s)
{
    return s + (u * s) * (1.0f - s);
}

COC_KERNEL int coc_vectors(int channels)
{
    return (channels + COC_LANES - 1) / COC_LANES;
}

/* Lanes of vector number `vector` that hold channels. */
COC_KERNEL int coc_lanes_of(int channels, int vector)
{
    const int left = channels - vector * COC_LANES;

    return left < COC_LANES ? left : COC_LANES;
}

/* -- working memory: cpu_backend.c -- */

/* A piece of scratch: pieces of one operation are cut one after another from one block. */
typedef struct {
    char *memory; /* NULL while counting */
    size_t used;
} coc_cpu_scratch;

/* The next `count` elements, 64-byte aligned; NULL while counting. */
void *coc_cpu_take(coc_cpu_scratch *scratch, int64_t count, size_t size);
/* Get the memory that was counted; false without memory: the operation then does nothing, and
 * `finish` reports it. */
bool coc_cpu_scratch_begin(coc_backend *b, coc_cpu_scratch *scratch);

/* The clips of thread number `thread`: first .. end - 1 of n. */
void coc_cpu_share(int64_t n, int threads, int thread, int64_t *first, int64_t *end);

/* sums[groups][2][C] += per-clip sums [n][2][C], in the order of the clips. */
void coc_cpu_add_sums(int64_t n, int channels, const double *clip_sums, const int32_t *group,
                      double *sums);

/* -- reading through norm and gradient, cpu_read.c --
 *
 * Before the rows of a clip are read, what belongs to a channel is laid out as vectors, one after
 * another for each vector of channels: [vectors][COC_INPUT_ROWS or COC_GRADIENT_ROWS][COC_LANES].
 * Lanes without a channel are 0 and give 0. */

enum { COC_INPUT_SCALE, COC_INPUT_SHIFT, COC_INPUT_GATE, COC_INPUT_ROWS };
enum {
    COC_GRADIENT_SCALE,
    COC_GRADIENT_SHIFT,
    COC_GRADIENT_MEAN,
    COC_GRADIENT_INVERSE, /* inverse_std */
    COC_GRADIENT_FACTOR,  /* clip * gate */
    COC_GRADIENT_POOLED,  /* clip * pooled */
    COC_GRADIENT_SLOPE,   /* - scale * inverse_std * mean_dux */
    COC_GRADIENT_OFFSET,  /* - scale * mean_du */
    COC_GRADIENT_ROWS
};

/* norm, gate as in pointwise_forward. */
void coc_cpu_input_coefficients(const coc_norm *norm, const float *gate, int64_t clip, int channels,
                                float *out);
void coc_cpu_gradient_coefficients(const coc_gradient *g, int64_t clip, int channels, float *out);

/* How an input is seen: v = x, u or silu(u). */
typedef enum { COC_SEE_RAW, COC_SEE_NORMED, COC_SEE_SILU } coc_sight;

COC_KERNEL coc_sight coc_sight_of(const coc_norm *norm)
{
    if (norm == NULL) return COC_SEE_RAW;
    return norm->silu ? COC_SEE_SILU : COC_SEE_NORMED;
}

/* Coefficient `row` of a vector of channels. */
#define COC_COEFFICIENT(c, row) coc_load((c) + (row)*COC_LANES)

/* du of `count` neighbouring vectors, whose coefficients follow each other. */
COC_KERNEL void coc_gradient_at_u(const int count, const bool silu, const coc_vec *x,
                                  const coc_vec *dz, const float *coefficients, coc_vec *du)
{
    coc_vec u[COC_ABREAST], s[COC_ABREAST];

    if (silu) {
        COC_UNROLL
        for (int i = 0; i < count; i++) {
            const float *c = coefficients + i * COC_GRADIENT_ROWS * COC_LANES;

            u[i] = COC_COEFFICIENT(c, COC_GRADIENT_SCALE) * x[i] +
                   COC_COEFFICIENT(c, COC_GRADIENT_SHIFT);
        }
        coc_sigmoids(count, u, s);
    }
    COC_UNROLL
    for (int i = 0; i < count; i++) {
        const float *c = coefficients + i * COC_GRADIENT_ROWS * COC_LANES;

        du[i] = COC_COEFFICIENT(c, COC_GRADIENT_FACTOR) * dz[i] +
                COC_COEFFICIENT(c, COC_GRADIENT_POOLED);
        if (silu) du[i] *= coc_silu_slope(u[i], s[i]);
    }
}

/* Rows of x, x_stride floats apart, into out [vectors][stride][COC_LANES]. gated: z instead of v.
 * slope, if not NULL, is filled likewise with the derivative of v by u (not with gated). */
void coc_cpu_read_input(coc_sight sight, bool gated, int64_t rows, int channels, const float *x,
                        int64_t x_stride, const float *coefficients, float *out, float *slope,
                        int64_t stride);
/* Likewise dx at rows of the raw tensor g->x; `at` is the offset of the first value in x and dz. */
void coc_cpu_read_gradient(const coc_gradient *g, int64_t at, int64_t rows, int channels,
                           int64_t x_stride, const float *coefficients, float *out, int64_t stride);

/* -- the table's rows -- */

extern const coc_ops coc_cpu_ops;

/* Host device, threads. */
coc_status coc_cpu_open(coc_backend *b);
/* Of a backend that is asked for so many; 0: OMP_NUM_THREADS. */
int coc_cpu_threads(int asked);
size_t coc_cpu_loss_scratch(const coc_backend *b, const coc_contrast *shape, bool tile);

void coc_cpu_stem_forward(coc_backend *b, const coc_conv *s, int64_t n, const float *x,
                          const float *keep, const float *w, float *y, const int32_t *group,
                          double *sums);
void coc_cpu_stem_backward(coc_backend *b, const coc_conv *s, int64_t n, const float *x,
                           const float *keep, const coc_gradient *dy, float *dw);
void coc_cpu_depthwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const float *x,
                               const coc_norm *norm, const float *w, float *y, const int32_t *group,
                               double *sums);
void coc_cpu_depthwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const float *x,
                                const coc_norm *norm, const coc_gradient *dy, const float *w,
                                float *dz, bool accumulate, float *dw, double *sums);
void coc_cpu_pointwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const float *x,
                               const coc_norm *norm, const float *gate, const float *w, float *y,
                               const int32_t *group, double *sums);
void coc_cpu_pointwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const float *x,
                                const coc_norm *norm, const float *gate, const coc_gradient *dy,
                                const float *w, float *dz, bool accumulate, float *dw,
                                float *dgate);
void coc_cpu_norm_backward_sums(coc_backend *b, int64_t n, int64_t positions, int channels,
                                const coc_gradient *g, double *sums);

#endif
