/* base/cuda/philox.cuh - the random words of base/rng.h on the device. */
#ifndef COC_BASE_CUDA_PHILOX_CUH
#define COC_BASE_CUDA_PHILOX_CUH

#include <cuda_runtime.h>
#include <stdint.h>

namespace coc
{

/* Philox4x32-10 [Salmon et al. 2011]: the four words of a counter, equal to coc_rng_block with
 * key = { low, high half of the seed } and
 * counter = { block, item, step, draw << 24 | view << 16 | layer }. */
__device__ __forceinline__ uint4 philox(uint32_t key0, uint32_t key1, uint32_t block, uint32_t item,
                                        uint32_t step, uint32_t last)
{
    uint4 word = make_uint4(block, item, step, last);

#pragma unroll
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)word.x * 0xD2511F53u;
        const uint64_t b = (uint64_t)word.z * 0xCD9E8D57u;

        word = make_uint4((uint32_t)(b >> 32) ^ word.y ^ key0, (uint32_t)b,
                          (uint32_t)(a >> 32) ^ word.w ^ key1, (uint32_t)a);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return word;
}

} // namespace coc

#endif
