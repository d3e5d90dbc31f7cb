/* Stands in for base/cuda/gpus.c in a build without CUDA. */
#include "base/gpus.h"

#include <stdio.h>

void coc_gpus_find(coc_gpus *gpus)
{
    *gpus = (coc_gpus){.count = 0};
    snprintf(gpus->reason, sizeof gpus->reason,
             "backend cuda is not built in; configure with -DCOCOLA_CUDA=ON");
}

void coc_gpus_libraries(coc_libraries *list)
{
    coc_libraries_add(list, "CUDA runtime", NULL, NULL);
}
