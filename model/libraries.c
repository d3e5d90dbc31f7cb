#include "model/libraries.h"

void coc_model_libraries(coc_libraries *list)
{
    coc_cuda_libraries(list);
    coc_cudnn_libraries(list);
}
