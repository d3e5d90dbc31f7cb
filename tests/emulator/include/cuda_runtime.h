/* tests/emulator/include/cuda_runtime.h - CUDA C++ for kernels that are compiled as C++: words of
 * the language, and what the headers beside this one give. */
#ifndef COC_EMULATED_CUDA_RUNTIME_H
#define COC_EMULATED_CUDA_RUNTIME_H

#include <cstdint>
#include <cstdio>

#include <cuda_runtime_api.h>

/* Static shared memory is the process's: blocks run one after another, under a lock. */
#define __global__
#define __device__
#define __host__
#define __constant__    static
#define __shared__      static
#define __forceinline__ inline
#define __noinline__    __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

#include <coc_emulated_threads.h>

#include <coc_emulated_math.h>

#define COC_MAKE(one, type)                                                                        \
    inline one##2 make_##one##2(type x, type y)                                                    \
    {                                                                                              \
        return {x, y};                                                                             \
    }                                                                                              \
    inline one##3 make_##one##3(type x, type y, type z)                                            \
    {                                                                                              \
        return {x, y, z};                                                                          \
    }                                                                                              \
    inline one##4 make_##one##4(type x, type y, type z, type w)                                    \
    {                                                                                              \
        return {x, y, z, w};                                                                       \
    }

COC_MAKE(char, signed char)
COC_MAKE(uchar, unsigned char)
COC_MAKE(short, short)
COC_MAKE(ushort, unsigned short)
COC_MAKE(int, int)
COC_MAKE(uint, unsigned)
COC_MAKE(longlong, long long)
COC_MAKE(ulonglong, unsigned long long)
COC_MAKE(float, float)
COC_MAKE(double, double)
#undef COC_MAKE

/* The real header takes kernels of any type here. */
template <typename T>
cudaError_t cudaFuncSetAttribute(T *kernel, enum cudaFuncAttribute attribute, int value)
{
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), attribute, value);
}

template <typename T>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, T *kernel, int threads,
                                                          size_t shared_bytes)
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(
        blocks, reinterpret_cast<const void *>(kernel), threads, shared_bytes);
}

template <typename T> cudaError_t cudaMalloc(T **memory, size_t bytes)
{
    return cudaMalloc(reinterpret_cast<void **>(memory), bytes);
}

template <typename T> cudaError_t cudaMallocHost(T **memory, size_t bytes)
{
    return cudaMallocHost(reinterpret_cast<void **>(memory), bytes);
}

#endif
