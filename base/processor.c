/* Compiled for any processor, so that it can say what is missing before the first instruction that
 * does not exist here. */
#include "base/processor.h"

#include <string.h>

#if defined(__x86_64__)
static unsigned features_here(void)
{
    unsigned bits = 0;

    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) bits |= COC_PROCESSOR_AVX2;
    if (__builtin_cpu_supports("fma")) bits |= COC_PROCESSOR_FMA;
    if (__builtin_cpu_supports("bmi2")) bits |= COC_PROCESSOR_BMI2;
    if (__builtin_cpu_supports("avx512f")) bits |= COC_PROCESSOR_AVX512F;
    if (__builtin_cpu_supports("avx512vl")) bits |= COC_PROCESSOR_AVX512VL;
    if (__builtin_cpu_supports("avx512bw")) bits |= COC_PROCESSOR_AVX512BW;
    if (__builtin_cpu_supports("avx512dq")) bits |= COC_PROCESSOR_AVX512DQ;
    return bits;
}
#else
/* Elsewhere nothing is compiled in that a processor could lack. */
static unsigned features_here(void)
{
    return ~0u;
}
#endif

coc_status coc_processor_check(void)
{
    static const char *const name[] = {"AVX2",     "FMA",      "BMI2",    "AVX512F",
                                       "AVX512VL", "AVX512BW", "AVX512DQ"};
    const unsigned missing = coc_processor_needs & ~features_here();
    char list[80] = "";

    if (missing == 0) return COC_OK;
    for (int i = 0; i < (int)(sizeof name / sizeof name[0]); i++)
        if (missing >> i & 1) {
            strncat(list, " ", sizeof list - 1 - strlen(list));
            strncat(list, name[i], sizeof list - 1 - strlen(list));
        }
    return COC_FAIL(COC_ERR_DEVICE,
                    "this processor lacks%s, for which the program was compiled; configure with "
                    "-DCOCOLA_ARCH=x86-64-v3 (or an empty value) and build again",
                    list);
}
