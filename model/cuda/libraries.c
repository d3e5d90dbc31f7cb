#include "model/libraries.h"

#include <cublas_v2.h>

void coc_cuda_libraries(coc_libraries *list)
{
    static const libraryPropertyType parts[] = {MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL};
    int here[3] = {-1, 0, 0};

    for (int i = 0; i < 3; i++)
        if (cublasGetProperty(parts[i], &here[i]) != CUBLAS_STATUS_SUCCESS) here[0] = -1;
    coc_libraries_add_numbers(list, "cuBLAS",
                              (int[]){CUBLAS_VER_MAJOR, CUBLAS_VER_MINOR, CUBLAS_VER_PATCH}, here);
}
