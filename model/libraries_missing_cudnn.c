/* Stands in for model/cuda/cudnn_libraries.c in a build without cuDNN. */
#include "model/libraries.h"

void coc_cudnn_libraries(coc_libraries *list)
{
    coc_libraries_add(list, "cuDNN", NULL, NULL);
}
