/* train/version.h - what this program was built from. */
#ifndef COC_TRAIN_VERSION_H
#define COC_TRAIN_VERSION_H

#include "base/libraries.h"

const char *coc_compiler(void);
/* Those of all folders. May be called before MPI is started; asks for no device. */
void coc_program_libraries(coc_libraries *list);

/* What ranks must have in common to compute alike (coc_same_program): version, revision, compiler,
 * and the libraries that have a part in results; a line "name: version" each. Lives as long as the
 * program. */
const char *coc_program_text(void);

#endif
