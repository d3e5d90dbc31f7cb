/* preprocess/libraries.h - what reading sounds and computing features is built on, for `cocola
 * info`. */
#ifndef COC_PREPROCESS_LIBRARIES_H
#define COC_PREPROCESS_LIBRARIES_H

#include "base/libraries.h"

void coc_preprocess_libraries(coc_libraries *list);
void coc_render_libraries(coc_libraries *list); /* a part of it, of CMake's choice */

#endif
