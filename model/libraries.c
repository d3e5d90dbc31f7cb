#include "model/libraries.h"

#include "model/cpu_sgemm.h"

void coc_model_libraries(coc_libraries *list)
{
    coc_libraries_add(list, "matrix product", coc_sgemm_name, NULL);
    coc_cuda_libraries(list);
    coc_cudnn_libraries(list);
}
