/* Compiled for any processor, so that it can say what is missing before the first instruction that
 * does not exist here. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "base/processor.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

void coc_processor_names(unsigned bits, char text[80])
{
    static const char *const name[] = {"AVX2",     "FMA",      "BMI2",    "AVX512F",
                                       "AVX512VL", "AVX512BW", "AVX512DQ"};

    text[0] = '\0';
    for (int i = 0; i < (int)(sizeof name / sizeof name[0]); i++)
        if (bits >> i & 1) {
            strncat(text, " ", 79 - strlen(text));
            strncat(text, name[i], 79 - strlen(text));
        }
}

coc_status coc_processor_check(void)
{
    const unsigned missing = coc_processor_needs & ~features_here();
    char list[80];

    if (missing == 0) return COC_OK;
    coc_processor_names(missing, list);
    return COC_FAIL(COC_ERR_DEVICE,
                    "this processor lacks%s, for which the program was compiled; configure with "
                    "-DCOCOLA_ARCH=x86-64-v3 (or an empty value) and build again",
                    list);
}

void coc_processor_describe(char *text, size_t bytes, int *threads)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];
    cpu_set_t set;

    snprintf(text, bytes, "not known");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        const char *value = strchr(line, ':');

        if (value == NULL || strncmp(line, "model name", 10) != 0) continue;
        snprintf(text, bytes, "%.*s", (int)strcspn(value + 2, "\n"), value + 2);
        break;
    }
    if (f != NULL) fclose(f);
    *threads = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                           : (int)sysconf(_SC_NPROCESSORS_ONLN);
}
