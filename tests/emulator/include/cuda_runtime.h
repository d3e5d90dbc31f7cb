/* tests/emulator/include/cuda_runtime.h - the device side of CUDA C++, for kernels compiled as C++.
 *
 * Threads of a block are coroutines that change places at barriers and warp operations only. */
#ifndef COC_EMULATED_CUDA_RUNTIME_H
#define COC_EMULATED_CUDA_RUNTIME_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#include "cuda_runtime_api.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__      static
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

#define COC_VECTOR2(name, type)                                                                    \
    struct __align__(2 * sizeof(type)) name                                                        \
    {                                                                                              \
        type x, y;                                                                                 \
    };                                                                                             \
    inline name make_##name(type x, type y)                                                        \
    {                                                                                              \
        return {x, y};                                                                             \
    }
#define COC_VECTOR4(name, type)                                                                    \
    struct __align__(4 * sizeof(type) > 16 ? 16 : 4 * sizeof(type)) name                           \
    {                                                                                              \
        type x, y, z, w;                                                                           \
    };                                                                                             \
    inline name make_##name(type x, type y, type z, type w)                                        \
    {                                                                                              \
        return {x, y, z, w};                                                                       \
    }
COC_VECTOR2(float2, float)
COC_VECTOR2(double2, double)
COC_VECTOR2(int2, int)
COC_VECTOR2(uint2, unsigned)
COC_VECTOR2(short2, short)
COC_VECTOR4(float4, float)
COC_VECTOR4(int4, int)
COC_VECTOR4(uint4, unsigned)
COC_VECTOR4(short4, short)
#undef COC_VECTOR2
#undef COC_VECTOR4

/* Of the thread that runs; written when threads change places. */
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
enum { warpSize = 32 };

/* Run the kernel's body for every thread, at once, or record it where the stream is captured. */
void coc_emulator_launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                         const char *name, const std::function<void()> &body);
/* The block's dynamic shared memory, all bytes 0xff at its start. */
void *coc_emulator_shared();
/* Do something in stream order: at once, or when a recorded graph is launched. */
cudaError_t coc_emulator_enqueue(cudaStream_t stream, const std::function<void()> &work);

void __syncthreads();
int __syncthreads_or(int predicate);
void __syncwarp(unsigned mask = 0xffffffffu);

/* All lanes of the warp leave `bytes` (at most 64); then each sees those of all: [32][64]. */
const unsigned char *coc_emulator_exchange(const void *mine, size_t bytes, const char *operation);

template <typename T> T coc_emulator_lane(T mine, int lane, const char *operation)
{
    const unsigned char *all = coc_emulator_exchange(&mine, sizeof mine, operation);
    T theirs;

    memcpy(&theirs, all + 64 * (lane & 31), sizeof theirs);
    return theirs;
}

inline int coc_emulator_lane_id()
{
    return (int)((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31);
}

template <typename T> T __shfl_sync(unsigned, T value, int lane, int = 32)
{
    return coc_emulator_lane(value, lane, "__shfl_sync");
}
template <typename T> T __shfl_xor_sync(unsigned, T value, int mask, int = 32)
{
    return coc_emulator_lane(value, coc_emulator_lane_id() ^ mask, "__shfl_xor_sync");
}
template <typename T> T __shfl_down_sync(unsigned, T value, unsigned delta, int = 32)
{
    const int me = coc_emulator_lane_id(), from = me + (int)delta;
    const T theirs = coc_emulator_lane(value, from < 32 ? from : me, "__shfl_down_sync");

    return theirs;
}
inline unsigned __ballot_sync(unsigned, int predicate)
{
    const unsigned char *all = coc_emulator_exchange(&predicate, sizeof predicate, "__ballot_sync");
    unsigned bits = 0;

    for (int lane = 0; lane < 32; lane++) {
        int theirs;

        memcpy(&theirs, all + 64 * lane, sizeof theirs);
        bits |= (unsigned)(theirs != 0) << lane;
    }
    return bits;
}

template <typename T> T __ldg(const T *p)
{
    return *p;
}
inline float __uint_as_float(unsigned u)
{
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}
inline unsigned __float_as_uint(float f)
{
    unsigned u;

    memcpy(&u, &f, sizeof u);
    return u;
}
inline int __float_as_int(float f)
{
    return (int)__float_as_uint(f);
}
inline float __int_as_float(int i)
{
    return __uint_as_float((unsigned)i);
}
inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((unsigned long long)a * b >> 32);
}
inline float __expf(float x)
{
    return std::exp(x);
}
inline float __fmul_rn(float a, float b)
{
    volatile float product = a * b; /* no contraction */

    return product;
}
inline float __fadd_rn(float a, float b)
{
    volatile float sum = a + b;

    return sum;
}
inline float rsqrtf(float x)
{
    return 1.0f / std::sqrt(x);
}
inline float exp10f(float x)
{
    return std::pow(10.0f, x);
}
inline void sincospif(float x, float *s, float *c)
{
    *s = (float)std::sin(3.14159265358979323846 * (double)x);
    *c = (float)std::cos(3.14159265358979323846 * (double)x);
}
inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

template <typename T> constexpr T min(T a, T b)
{
    return b < a ? b : a;
}
template <typename T> constexpr T max(T a, T b)
{
    return a < b ? b : a;
}

#endif
