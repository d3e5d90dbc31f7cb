/* model/cuda/pointwise_joint.cuh - how the one-pass backward of 1 x 1 convolutions cuts its work,
 * and what a block has in shared memory. */
#ifndef COC_MODEL_CUDA_POINTWISE_JOINT_CUH
#define COC_MODEL_CUDA_POINTWISE_JOINT_CUH

#include "model/cuda/tile_clips.cuh"

namespace coc
{

/* A block has a fixed range of strips and `chunk` of the inputs. All of it follows from the shape
 * alone. */
struct joint_product {
    gradient_view<bf16> dy;
    const bf16 *x; /* [rows][in] */
    norm_view norm;
    const float *gate, *w;
    bf16 *dz;
    bool accumulate;
    float *dw;    /* [splits][out][in] */
    float *dgate; /* [clips][strips][in], or NULL */
    int in, out, chunk, chunks, splits;
    clip_tiles cut;
};

/* Where things lie in shared memory, in bytes from its begin. Rows of bf16 that ldmatrix reads are
 * padded to an odd number of 16 bytes: eight of them lie in different banks. */
struct joint_layout {
    int out_stride, in_stride;                  /* of dY; of W, Z and V, in values */
    int raw_y, raw_dz, raw_x, raw_there;        /* as they come from memory, rows not padded */
    int dy, z, v, w, out_table, in_table, left; /* v: only with a gate */
    int bytes;
};

enum { OUT_TABLES = 6 };

inline joint_layout lay_out(const joint_product &p, int tile_rows)
{
    const int out16 = (p.out + 15) / 16 * 16, in16 = (p.chunk + 15) / 16 * 16;
    joint_layout l = {};
    int at = 0;
    const auto take = [&at](int bytes) {
        const int here = at;

        at += (bytes + 15) / 16 * 16;
        return here;
    };

    l.out_stride = out16 + 8;
    l.in_stride = in16 + 8;
    l.raw_y = take(tile_rows * p.out * 2);
    l.raw_dz = take(p.dy.dz != NULL ? tile_rows * p.out * 2 : 0);
    l.raw_x = take(tile_rows * p.chunk * 2);
    l.raw_there = take(p.accumulate ? 2 * tile_rows * p.chunk * 2 : 0);
    l.dy = take(tile_rows * l.out_stride * 2);
    l.z = take(tile_rows * l.in_stride * 2);
    l.v = take(p.dgate != NULL ? tile_rows * l.in_stride * 2 : 0);
    l.w = take(out16 * l.in_stride * 2);
    l.out_table = take(OUT_TABLES * p.out * 4);
    l.in_table = take(IN_TABLES * p.chunk * 4);
    l.left = take(p.dgate != NULL ? CLIP_THREADS * 8 * 4 : 0);
    l.bytes = at;
    return l;
}

/* ---- coefficients of a clip ----
 *
 * With SiLU, h = u / 2, t = tanh(h):  silu(u) = h + h t,  2 silu'(u) = (1 + t) (1 + h - h t). What
 * does not change within a clip is multiplied out:
 *
 *     dY = (factor dz + offset) 2 silu'(u) + slope y + constant     tables 2 to 5; 0, 1: h of y
 */

__device__ __forceinline__ void load_out_tables(const joint_product &p, int64_t clip, float *table)
{
    const gradient_view<bf16> &g = p.dy;
    const float weight = g.clip != NULL ? g.clip[clip] : 1.0f, half = g.norm.silu ? 0.5f : 1.0f;

    for (int c = (int)threadIdx.x; c < p.out; c += CLIP_THREADS) {
        const int64_t at = (int64_t)g.norm.group[clip] * p.out + c, own = clip * p.out + c;
        const float scale = g.norm.scale[at], spread = g.norm.inverse_std[at] * g.mean_dux[at];

        table[c] = half * scale;
        table[p.out + c] = half * g.norm.shift[at];
        table[2 * p.out + c] = half * scale * weight * (g.gate != NULL ? g.gate[own] : 1.0f);
        table[3 * p.out + c] = half * scale * weight * (g.pooled != NULL ? g.pooled[own] : 0.0f);
        table[4 * p.out + c] = -scale * spread;
        table[5 * p.out + c] = scale * (g.norm.mean[at] * spread - g.mean_du[at]);
    }
}

/* dY of four channels from four of y and dz, with their coefficients. */
struct dy_former {
    vec4 scale, shift, factor, offset, slope, constant;

    __device__ __forceinline__ dy_former(const float *table, int channels)
        : scale(load4(table)), shift(load4(table + channels)), factor(load4(table + 2 * channels)),
          offset(load4(table + 3 * channels)), slope(load4(table + 4 * channels)),
          constant(load4(table + 5 * channels))
    {
    }

    __device__ __forceinline__ vec4 form(bool with_silu, const vec4 &y, const vec4 &dz) const
    {
        vec4 dy;

#pragma unroll
        for (int i = 0; i < 4; i++) {
            float du = factor.v[i] * dz.v[i] + offset.v[i];

            if (with_silu) {
                const float h = scale.v[i] * y.v[i] + shift.v[i], t = quick_tanh(h);

                du *= (1.0f + t) * (1.0f + (h - h * t));
            }
            dy.v[i] = du + (slope.v[i] * y.v[i] + constant.v[i]);
        }
        return dy;
    }
};

} // namespace coc

#endif
