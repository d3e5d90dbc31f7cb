/* model/real.h - the number types of tensors. The model library is built twice: in float for use,
 * and in double (ref backend alone) as the yardstick of tests; see model/CMakeLists.txt. */
#ifndef COC_MODEL_REAL_H
#define COC_MODEL_REAL_H

#include "comm/comm.h"

#ifdef COC_REAL_IS_DOUBLE
typedef double real;
#define COC_REAL_TYPE COC_DOUBLE
#else
typedef float real;
#define COC_REAL_TYPE COC_FLOAT
#endif

/* An activation, or the gradient at one, as a backend stores it: coc_backend.stored_bytes each,
 * which is a real, or half of one where model.precision is bf16. Only a backend may look into such
 * memory; the name says which tensors these are, C does not check it. */
typedef real stored;

#endif
