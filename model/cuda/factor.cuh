/* model/cuda/factor.cuh - how a number is rounded that goes into a product of the loss. */
#ifndef COC_MODEL_CUDA_FACTOR_CUH
#define COC_MODEL_CUDA_FACTOR_CUH

#include "base/cuda/kernel.cuh"
#include "model/cuda/cuda.h"

namespace coc
{

/* PLAIN: not at all, by us. SPLIT: a number of 11 bits, and what it lacks as another such (of 24
 * bits 22 remain, and the sign of the second for one more). HALF: bf16. */
enum factor_kind { PLAIN, SPLIT, HALF };

inline factor_kind factor_kind_of(const coc_backend *b)
{
    return b->loss_precision == COC_LOSS_TF32X3 ? SPLIT
           : b->loss_precision == COC_LOSS_BF16 ? HALF
                                                : PLAIN;
}

/* To the nearest number that tensor cores read whole, whichever way they cut what they read. What
 * is not finite stays so. */
__device__ __forceinline__ float nearest_tf32(float x)
{
    const uint32_t bits = __float_as_uint(x);

    return (bits & 0x7f800000u) == 0x7f800000u ? x
                                               : __uint_as_float((bits + 0x1000u) & 0xffffe000u);
}

/* Of what lies beside the floats. */
template <factor_kind KIND> struct rest_of {
    typedef float type;
};
template <> struct rest_of<HALF> {
    typedef bf16 type;
};

/* x to place i of a factor: PLAIN and SPLIT write whole, SPLIT and HALF write rest. */
template <factor_kind KIND>
__device__ __forceinline__ void put_factor(float *whole, typename rest_of<KIND>::type *rest,
                                           int64_t i, float x)
{
    if constexpr (KIND == PLAIN) {
        whole[i] = x;
    } else if constexpr (KIND == SPLIT) {
        const float high = nearest_tf32(x);

        whole[i] = high;
        rest[i] = nearest_tf32(x - high);
    } else {
        rest[i] = __float2bfloat16(x);
    }
}

} // namespace coc

#endif
