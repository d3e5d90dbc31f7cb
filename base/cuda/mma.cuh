/* base/cuda/mma.cuh - tensor cores, matrix loads from shared memory and asynchronous copies, sm_80
 * and later; tests/emulator has the same functions in C++. Fragment layouts: PTX ISA, mma.m16n8k16
 * and ldmatrix. */
#ifndef COC_BASE_CUDA_MMA_CUH
#define COC_BASE_CUDA_MMA_CUH

#include <stdint.h>

/* d += a b: a 16 x 16 row-major, b 16 x 8 column-major, bf16; d 16 x 8 float. */
static __device__ __forceinline__ void coc_mma_bf16_16816(float d[4], const uint32_t a[4],
                                                          const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ __forceinline__ uint32_t coc_shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* Four (two) 8 x 8 matrices of 16-bit values; lane l gives the address of row l % 8 of matrix l
 * / 8.
 */
static __device__ __forceinline__ void coc_ldmatrix_x4(uint32_t r[4], const void *shared_row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(coc_shared_address(shared_row))
                 : "memory");
}

static __device__ __forceinline__ void coc_ldmatrix_x2(uint32_t r[2], const void *shared_row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];\n"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(coc_shared_address(shared_row))
                 : "memory");
}

static __device__ __forceinline__ void coc_ldmatrix_x4_trans(uint32_t r[4], const void *shared_row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(coc_shared_address(shared_row))
                 : "memory");
}

static __device__ __forceinline__ void coc_ldmatrix_x2_trans(uint32_t r[2], const void *shared_row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];\n"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(coc_shared_address(shared_row))
                 : "memory");
}

/* 16 bytes from global to shared memory, both aligned to 16; zeros where not valid. Done after the
 * commit and the wait that cover it. */
static __device__ __forceinline__ void coc_cp_async_16(void *shared, const void *global, bool valid)
{
    const int bytes = valid ? 16 : 0;

    asm volatile(
        "cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(coc_shared_address(shared)),
        "l"(global), "r"(bytes)
        : "memory");
}

static __device__ __forceinline__ void coc_cp_async_commit()
{
    asm volatile("cp.async.commit_group;\n" ::: "memory");
}

/* Until at most N groups are still on their way. */
template <int N> static __device__ __forceinline__ void coc_cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory");
}

#endif
