/* model/cuda/read.cuh - how kernels see a raw tensor (coc_norm) and form the gradient at one
 * (coc_gradient): model/ops.h has the formulas, ref_norm.c the specification. Eight channels of one
 * position at a time. */
#ifndef COC_MODEL_CUDA_READ_CUH
#define COC_MODEL_CUDA_READ_CUH

#include "base/cuda/kernel.cuh"
#include "model/cuda/cuda.h"

namespace coc
{

/* sigmoid: exact to float rounding for float storage; for bf16 one special-function instruction
 * with an error of 2^-11, below what the storage keeps. */
template <typename T> __device__ __forceinline__ float sigmoid(float u);

template <> __device__ __forceinline__ float sigmoid<float>(float u)
{
    return 1.0f / (1.0f + expf(-u));
}

__device__ __forceinline__ float quick_tanh(float x)
{
#ifdef COC_CUDA_EMULATED
    return tanhf(x);
#else
    float y;

    asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

template <> __device__ __forceinline__ float sigmoid<bf16>(float u)
{
    return 0.5f * quick_tanh(0.5f * u) + 0.5f;
}

template <typename T> __device__ __forceinline__ float silu(float u)
{
    return u * sigmoid<T>(u);
}

/* d silu(u) / du */
template <typename T> __device__ __forceinline__ float silu_slope(float u)
{
    const float s = sigmoid<T>(u);

    return s + u * s * (1.0f - s);
}

/* A coc_norm (or none) for kernels: passed by value. */
struct norm_view {
    const float *mean, *inverse_std, *scale, *shift; /* NULL: the tensor is read as it is */
    const int32_t *group;
    bool silu;
};

inline norm_view view_of(const coc_norm *norm)
{
    if (norm == NULL) return {NULL, NULL, NULL, NULL, NULL, false};
    return {norm->mean, norm->inverse_std, norm->scale, norm->shift, norm->group, norm->silu};
}

/* Scale and shift of eight channels from c on, of the group of a clip: loaded once for many
 * positions. */
struct affine8 {
    vec8 scale, shift;
};

__device__ __forceinline__ affine8 load_affine(const norm_view &norm, int64_t clip, int channels,
                                               int c)
{
    const int64_t at = (int64_t)norm.group[clip] * channels + c;

    return {load8(norm.scale + at), load8(norm.shift + at)};
}

/* u of eight channels: scale x + shift. */
__device__ __forceinline__ vec8 normalised(const vec8 &x, const affine8 &a)
{
    vec8 u;

#pragma unroll
    for (int i = 0; i < 8; i++)
        u.v[i] = a.scale.v[i] * x.v[i] + a.shift.v[i];
    return u;
}

/* v of eight channels: silu(u) or u. */
template <typename T>
__device__ __forceinline__ vec8 activated(const vec8 &x, const affine8 &a, bool with_silu)
{
    vec8 u = normalised(x, a);

    if (with_silu) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            u.v[i] = silu<T>(u.v[i]);
    }
    return u;
}

__device__ __forceinline__ vec8 times(const vec8 &x, const vec8 &y)
{
    vec8 z;

#pragma unroll
    for (int i = 0; i < 8; i++)
        z.v[i] = x.v[i] * y.v[i];
    return z;
}

/* A coc_gradient for kernels: passed by value. T is the storage type. */
template <typename T> struct gradient_view {
    const T *x;  /* [n][P][C] raw */
    const T *dz; /* [n][P][C], or NULL: 0 */
    norm_view norm;
    const float *gate, *pooled;      /* [n][C], or NULL: 1, 0 */
    const float *clip;               /* [n], or NULL: 1 */
    const float *mean_du, *mean_dux; /* [groups][C]; NULL where only du is wanted */
};

template <typename T> inline gradient_view<T> view_of(const coc_gradient *g)
{
    return {(const T *)g->x, (const T *)g->dz, view_of(g->norm), g->gate,
            g->pooled,       g->clip,          g->mean_du,       g->mean_dux};
}

/* What a gradient needs besides x and dz, for eight channels of a clip: loaded once for many
 * positions. dz enters as factor * dz + offset, with clip, gate and pooled in both. */
struct former8 {
    affine8 affine;
    vec8 mean, inverse_std, factor, offset, mean_du, mean_dux;
};

template <typename T>
__device__ __forceinline__ former8 load_former(const gradient_view<T> &g, int64_t clip,
                                               int channels, int c)
{
    const int64_t group_at = (int64_t)g.norm.group[clip] * channels + c;
    const int64_t clip_at = clip * channels + c;
    const float weight = g.clip != NULL ? g.clip[clip] : 1.0f;
    former8 f;

    f.affine = load_affine(g.norm, clip, channels, c);
    f.mean = load8(g.norm.mean + group_at);
    f.inverse_std = load8(g.norm.inverse_std + group_at);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        f.factor.v[i] = weight * (g.gate != NULL ? g.gate[clip_at + i] : 1.0f);
        f.offset.v[i] = weight * (g.pooled != NULL ? g.pooled[clip_at + i] : 0.0f);
        f.mean_du.v[i] = g.mean_du != NULL ? g.mean_du[group_at + i] : 0.0f;
        f.mean_dux.v[i] = g.mean_dux != NULL ? g.mean_dux[group_at + i] : 0.0f;
    }
    return f;
}

/* du of eight channels: the gradient before the norm; dz of zeros where there is none. */
template <typename T>
__device__ __forceinline__ vec8 form_du(const former8 &f, bool with_silu, const vec8 &x,
                                        const vec8 &dz)
{
    vec8 du;

#pragma unroll
    for (int i = 0; i < 8; i++) {
        const float dv = f.factor.v[i] * dz.v[i] + f.offset.v[i];
        const float u = f.affine.scale.v[i] * x.v[i] + f.affine.shift.v[i];

        du.v[i] = with_silu ? dv * silu_slope<T>(u) : dv;
    }
    return du;
}

/* xhat of eight channels. */
__device__ __forceinline__ vec8 form_xhat(const former8 &f, const vec8 &x)
{
    vec8 xhat;

#pragma unroll
    for (int i = 0; i < 8; i++)
        xhat.v[i] = (x.v[i] - f.mean.v[i]) * f.inverse_std.v[i];
    return xhat;
}

/* dx of eight channels: the gradient at the raw tensor. */
template <typename T>
__device__ __forceinline__ vec8 form_dx(const former8 &f, bool with_silu, const vec8 &x,
                                        const vec8 &dz)
{
    const vec8 du = form_du<T>(f, with_silu, x, dz), xhat = form_xhat(f, x);
    vec8 dx;

#pragma unroll
    for (int i = 0; i < 8; i++)
        dx.v[i] = f.affine.scale.v[i] * (du.v[i] - f.mean_du.v[i] - xhat.v[i] * f.mean_dux.v[i]);
    return dx;
}

} // namespace coc

#endif
