/* comm/libraries.h - what the collectives are built on, for `cocola info`. */
#ifndef COC_COMM_LIBRARIES_H
#define COC_COMM_LIBRARIES_H

#include "base/libraries.h"

/* May be called before MPI is started. */
void coc_comm_libraries(coc_libraries *list);
void coc_nccl_libraries(coc_libraries *list); /* a part of it, of CMake's choice */

#endif
