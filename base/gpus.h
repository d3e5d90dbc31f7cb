/* base/gpus.h - which GPUs this process sees, for `cocola info`; nothing else asks. Stands in
 * builds without CUDA too: base/gpus_missing.c or base/cuda/gpus.c.
 */
#ifndef COC_BASE_GPUS_H
#define COC_BASE_GPUS_H

#include <stdint.h>

#include "base/libraries.h"

enum { COC_GPUS = 32, COC_GPU_NAME = 256 };

typedef struct {
    int index; /* as CUDA_VISIBLE_DEVICES leaves them */
    char name[COC_GPU_NAME];
    int major, minor;     /* compute capability */
    int processors;       /* streaming multiprocessors */
    int64_t memory, left; /* bytes; left -1: not known */
    char problem[256];    /* why the program cannot use it, or "" */
} coc_gpu;

typedef struct {
    int driver, runtime; /* newest CUDA that the driver knows, CUDA of the program: 1000 major + 10
                            minor; 0: none */
    char reason[256];    /* why count is 0 */
    coc_gpu gpu[COC_GPUS];
    int count;
} coc_gpus;

/* Takes some of each GPU's memory for as long as the process lives. Never fails: says why. */
void coc_gpus_find(coc_gpus *gpus);
void coc_gpus_libraries(coc_libraries *list);

#endif
