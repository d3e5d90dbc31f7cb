/* train/version.h - what this program was built from. */
#ifndef COC_TRAIN_VERSION_H
#define COC_TRAIN_VERSION_H

#include "base/libraries.h"

const char *coc_compiler(void);
/* Those of all folders. May be called before MPI is started; asks for no device. */
void coc_program_libraries(coc_libraries *list);

#endif
