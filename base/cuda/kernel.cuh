/* base/cuda/kernel.cuh - what every kernel file begins with: launches, vectors of eight values,
 * storage types.
 *
 * The same files are compiled by nvcc for GPUs and, for tests without one, by a C++ compiler
 * against tests/emulator. So kernels are launched by COC_LAUNCH, take dynamic shared memory by
 * COC_SHARED, and reach tensor cores and asynchronous copies through base/cuda/mma.cuh alone.
 *
 *     const auto kernel = add<float, 4>;      a name without commas for the macro
 *     COC_LAUNCH(kernel, grid, block, shared_bytes, stream, n, x, y);
 *
 * No atomics on floating-point numbers anywhere: every sum has a fixed order.
 */
#ifndef COC_BASE_CUDA_KERNEL_CUH
#define COC_BASE_CUDA_KERNEL_CUH

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#ifdef COC_CUDA_EMULATED
#include <coc_emulated_mma.h>
#define COC_LAUNCH(kernel, grid, block, shared, stream, ...)                                       \
    coc_emulator_launch(grid, block, shared, stream, #kernel,                                      \
                        coc_emulator_bind(kernel, __VA_ARGS__))
#define COC_SHARED(type, name) type *name = (type *)coc_emulator_shared()
#else
#include "base/cuda/mma.cuh"
#define COC_LAUNCH(kernel, grid, block, shared, stream, ...)                                       \
    kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)
#define COC_SHARED(type, name)                                                                     \
    extern __shared__ __align__(128) unsigned char coc_shared_memory[];                            \
    type *name = (type *)coc_shared_memory
#endif

namespace coc
{

typedef __nv_bfloat16 bf16;

/* Channels are multiples of eight everywhere (round_filters), so tensors are read eight at a time:
 * 16 bytes of bf16, 32 of float. Addresses are aligned to the vector. */
struct vec8 {
    float v[8];
};

__device__ __forceinline__ vec8 load8(const float *p)
{
    const float4 a = *reinterpret_cast<const float4 *>(p);
    const float4 b = *reinterpret_cast<const float4 *>(p + 4);

    return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

/* The two halves of a word are bf16: the upper 16 bits of a float. */
__device__ __forceinline__ vec8 load8(const bf16 *p)
{
    const uint4 w = *reinterpret_cast<const uint4 *>(p);

    return {{__uint_as_float(w.x << 16), __uint_as_float(w.x & 0xffff0000u),
             __uint_as_float(w.y << 16), __uint_as_float(w.y & 0xffff0000u),
             __uint_as_float(w.z << 16), __uint_as_float(w.z & 0xffff0000u),
             __uint_as_float(w.w << 16), __uint_as_float(w.w & 0xffff0000u)}};
}

/* Four of them. */
struct vec4 {
    float v[4];
};

__device__ __forceinline__ vec4 load4(const float *p)
{
    const float4 a = *reinterpret_cast<const float4 *>(p);

    return {{a.x, a.y, a.z, a.w}};
}

__device__ __forceinline__ vec4 load4(const bf16 *p)
{
    const uint2 w = *reinterpret_cast<const uint2 *>(p);

    return {{__uint_as_float(w.x << 16), __uint_as_float(w.x & 0xffff0000u),
             __uint_as_float(w.y << 16), __uint_as_float(w.y & 0xffff0000u)}};
}

__device__ __forceinline__ void store8(float *p, const vec8 &x)
{
    *reinterpret_cast<float4 *>(p) = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
    *reinterpret_cast<float4 *>(p + 4) = make_float4(x.v[4], x.v[5], x.v[6], x.v[7]);
}

__device__ __forceinline__ uint32_t pack_bf16(float low, float high)
{
    return (uint32_t)__bfloat16_as_ushort(__float2bfloat16(low)) |
           (uint32_t)__bfloat16_as_ushort(__float2bfloat16(high)) << 16;
}

__device__ __forceinline__ void store8(bf16 *p, const vec8 &x)
{
    *reinterpret_cast<uint4 *>(p) =
        make_uint4(pack_bf16(x.v[0], x.v[1]), pack_bf16(x.v[2], x.v[3]), pack_bf16(x.v[4], x.v[5]),
                   pack_bf16(x.v[6], x.v[7]));
}

__device__ __forceinline__ float load1(const float *p)
{
    return *p;
}

__device__ __forceinline__ float load1(const bf16 *p)
{
    return __bfloat162float(*p);
}

__device__ __forceinline__ void store1(float *p, float x)
{
    *p = x;
}

__device__ __forceinline__ void store1(bf16 *p, float x)
{
    *p = __float2bfloat16(x);
}

__host__ __device__ __forceinline__ int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

} // namespace coc

#endif
