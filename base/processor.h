/* base/processor.h - does this processor have what the fast files were compiled for? */
#ifndef COC_BASE_PROCESSOR_H
#define COC_BASE_PROCESSOR_H

#include <stddef.h>

#include "base/status.h"

enum {
    COC_PROCESSOR_AVX2 = 1,
    COC_PROCESSOR_FMA = 2,
    COC_PROCESSOR_BMI2 = 4,
    COC_PROCESSOR_AVX512F = 8,
    COC_PROCESSOR_AVX512VL = 16,
    COC_PROCESSOR_AVX512BW = 32,
    COC_PROCESSOR_AVX512DQ = 64,
};

/* What the compiler was allowed to use for the fast files, as bits of the above. */
extern const unsigned coc_processor_needs;

/* Before anything fast runs: one line in place of an illegal instruction. Errors: COC_ERR_DEVICE.
 */
coc_status coc_processor_check(void);

/* " AVX2 FMA": names of bits of the above, each after a space. */
void coc_processor_names(unsigned bits, char text[80]);
/* What the system calls this processor, and how many of its threads this process may use. */
void coc_processor_describe(char *text, size_t bytes, int *threads);

#endif
