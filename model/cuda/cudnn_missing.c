/* Stands in for model/cuda/cudnn_*.c in a build without cuDNN. */
#include "model/cuda/cuda.h"

coc_status coc_cudnn_open(coc_backend *b)
{
    (void)b;
    return COC_FAIL(COC_ERR_SETTING, "model.conv: cudnn is not built in; configure with "
                                     "-DCOCOLA_CUDNN=ON, or choose own");
}

void coc_cudnn_close(coc_backend *b)
{
    (void)b;
}
