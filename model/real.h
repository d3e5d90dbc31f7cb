/* model/real.h - the number type of tensors. The model library is built twice: in float for use,
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

#endif
