#include <cudnn.h>

#include "model/libraries.h"

void coc_cudnn_libraries(coc_libraries *list)
{
    const int here = (int)cudnnGetVersion();

    coc_libraries_add_numbers(list, "cuDNN", (int[]){CUDNN_MAJOR, CUDNN_MINOR, CUDNN_PATCHLEVEL},
                              (int[]){here / 10000, here / 100 % 100, here % 100});
}
