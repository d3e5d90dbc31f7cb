/* tests/emulator/include/cuda_bf16.h - bfloat16, rounded as the device does: to nearest, ties to
 * even. Without the real one's operators and implicit conversions: kernels name what they do. */
#ifndef COC_EMULATED_CUDA_BF16_H
#define COC_EMULATED_CUDA_BF16_H

#include <cuda_runtime.h>

struct __attribute__((may_alias)) __nv_bfloat16 {
    unsigned short bits;
};

struct __attribute__((aligned(4), may_alias)) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x)
{
    return x.bits;
}

inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits)
{
    return {bits};
}

inline __nv_bfloat16 __float2bfloat16(float x)
{
    const unsigned u = __float_as_uint(x);

    if ((u & 0x7fffffffu) > 0x7f800000u) return {0x7fff}; /* the device has one NaN */
    return {(unsigned short)((u + 0x7fffu + (u >> 16 & 1)) >> 16)};
}

inline __nv_bfloat16 __float2bfloat16_rn(float x)
{
    return __float2bfloat16(x);
}

inline float __bfloat162float(__nv_bfloat16 x)
{
    return __uint_as_float((unsigned)x.bits << 16);
}

inline __nv_bfloat162 __floats2bfloat162_rn(float low, float high)
{
    return {__float2bfloat16(low), __float2bfloat16(high)};
}

inline __nv_bfloat162 __float22bfloat162_rn(float2 x)
{
    return __floats2bfloat162_rn(x.x, x.y);
}

inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 low, __nv_bfloat16 high)
{
    return {low, high};
}

inline float2 __bfloat1622float2(__nv_bfloat162 x)
{
    return {__bfloat162float(x.x), __bfloat162float(x.y)};
}

inline float __low2float(__nv_bfloat162 x)
{
    return __bfloat162float(x.x);
}

inline float __high2float(__nv_bfloat162 x)
{
    return __bfloat162float(x.y);
}

#endif
