/* tests/emulator/include/cuda_bf16.h - bfloat16 as the device rounds it: to nearest, ties to even.
 */
#ifndef COC_EMULATED_CUDA_BF16_H
#define COC_EMULATED_CUDA_BF16_H

#include <cuda_runtime.h>

struct __nv_bfloat16 {
    unsigned short bits;
};

inline __nv_bfloat16 __float2bfloat16(float x)
{
    const unsigned u = __float_as_uint(x);

    if ((u & 0x7fffffffu) > 0x7f800000u) return {0x7fff}; /* not a number */
    return {(unsigned short)((u + 0x7fffu + (u >> 16 & 1)) >> 16)};
}

inline float __bfloat162float(__nv_bfloat16 x)
{
    return __uint_as_float((unsigned)x.bits << 16);
}

inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x)
{
    return x.bits;
}

inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits)
{
    return {bits};
}

#endif
