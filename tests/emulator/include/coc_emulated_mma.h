/* tests/emulator/include/coc_emulated_mma.h - base/cuda/mma.cuh on the CPU: the same functions with
 * the fragment layouts of the PTX ISA, by exchange among the lanes of a warp, so that a wrong index
 * into a fragment gives a wrong product here too. */
#ifndef COC_EMULATED_MMA_H
#define COC_EMULATED_MMA_H

#include <cuda_runtime.h>

void coc_mma_bf16_16816(float d[4], const uint32_t a[4], const uint32_t b[2]);

/* `count` matrices of 8 x 8 16-bit values; lane l gives the address of row l % 8 of matrix l / 8.
 */
void coc_emulator_ldmatrix(uint32_t *r, int count, bool transposed, const void *row);

inline void coc_ldmatrix_x4(uint32_t r[4], const void *row)
{
    coc_emulator_ldmatrix(r, 4, false, row);
}
inline void coc_ldmatrix_x2(uint32_t r[2], const void *row)
{
    coc_emulator_ldmatrix(r, 2, false, row);
}
inline void coc_ldmatrix_x4_trans(uint32_t r[4], const void *row)
{
    coc_emulator_ldmatrix(r, 4, true, row);
}
inline void coc_ldmatrix_x2_trans(uint32_t r[2], const void *row)
{
    coc_emulator_ldmatrix(r, 2, true, row);
}

/* Asynchronous copies are done as late as they may be: at the wait that covers their group. */
void coc_cp_async_16(void *shared, const void *global, bool valid);
void coc_cp_async_commit();
void coc_emulator_cp_wait(int groups_left);

template <int N> inline void coc_cp_async_wait()
{
    coc_emulator_cp_wait(N);
}

#endif
