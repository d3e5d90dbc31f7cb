/* model/libraries.h - what the model's operations are built on, for `cocola info`. */
#ifndef COC_MODEL_LIBRARIES_H
#define COC_MODEL_LIBRARIES_H

#include "base/libraries.h"

void coc_model_libraries(coc_libraries *list);
/* parts of it, of CMake's choice */
void coc_cuda_libraries(coc_libraries *list);
void coc_cudnn_libraries(coc_libraries *list);

#endif
