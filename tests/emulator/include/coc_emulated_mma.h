/* tests/emulator/include/coc_emulated_mma.h - base/cuda/mma.cuh on the CPU: the same functions with
 * the fragment layouts of the PTX ISA, by exchange among the lanes of a warp, so that a wrong index
 * into a fragment gives a wrong product here too. */
#ifndef COC_EMULATED_MMA_H
#define COC_EMULATED_MMA_H

#include <cuda_runtime.h>

struct coc_warp_mma {
    float *d;
    const uint32_t *a, *b;
};

/* d += a b: a 16 x 16 row-major, b 16 x 8 column-major, bf16; d 16 x 8 float. */
inline void coc_mma_bf16_16816(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    coc_warp_mma m = {d, a, b};

    coc_emulator_warp(COC_WARP_MMA_BF16, 0xffffffffu, &m);
}

/* The same for a 16 x 8, b 8 x 8 of TF32: floats of which the 10 upper bits of the mantissa count.
 */
inline void coc_mma_tf32_1688(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    coc_warp_mma m = {d, a, b};

    coc_emulator_warp(COC_WARP_MMA_TF32, 0xffffffffu, &m);
}

struct coc_warp_ldmatrix {
    uint32_t *r;
    const void *row;
};

/* Four (two) 8 x 8 matrices of 16-bit values; lane l gives the address of row l % 8 of matrix l
 * / 8.
 */
inline void coc_ldmatrix_x4(uint32_t r[4], const void *shared_row)
{
    coc_warp_ldmatrix m = {r, shared_row};

    coc_emulator_warp(COC_WARP_LDMATRIX_X4, 0xffffffffu, &m);
}

inline void coc_ldmatrix_x2(uint32_t r[2], const void *shared_row)
{
    coc_warp_ldmatrix m = {r, shared_row};

    coc_emulator_warp(COC_WARP_LDMATRIX_X2, 0xffffffffu, &m);
}

inline void coc_ldmatrix_x4_trans(uint32_t r[4], const void *shared_row)
{
    coc_warp_ldmatrix m = {r, shared_row};

    coc_emulator_warp(COC_WARP_LDMATRIX_X4_TRANS, 0xffffffffu, &m);
}

inline void coc_ldmatrix_x2_trans(uint32_t r[2], const void *shared_row)
{
    coc_warp_ldmatrix m = {r, shared_row};

    coc_emulator_warp(COC_WARP_LDMATRIX_X2_TRANS, 0xffffffffu, &m);
}

/* Until the wait that covers the copy, what it writes is bytes of 0xff: neither what was there
 * before nor what is to come can be relied on. */
void coc_cp_async_16(void *shared, const void *global, bool valid);
void coc_cp_async_commit();
void coc_emulator_cp_async_wait(int groups_left);

template <int N> inline void coc_cp_async_wait()
{
    coc_emulator_cp_async_wait(N);
}

#endif
