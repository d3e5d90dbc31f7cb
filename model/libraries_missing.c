/* Stands in for model/cuda/libraries.c in a build without CUDA. */
#include "model/libraries.h"

void coc_cuda_libraries(coc_libraries *list)
{
    coc_libraries_add(list, "cuBLAS", NULL, NULL);
}
