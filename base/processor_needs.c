/* Compiled with the flags of the fast files (COCOLA_ARCH): what they may use. Data only, no code.
 */
#include "base/processor.h"

#ifdef __AVX2__
enum { AVX2 = COC_PROCESSOR_AVX2 };
#else
enum { AVX2 = 0 };
#endif
#ifdef __FMA__
enum { FMA = COC_PROCESSOR_FMA };
#else
enum { FMA = 0 };
#endif
#ifdef __BMI2__
enum { BMI2 = COC_PROCESSOR_BMI2 };
#else
enum { BMI2 = 0 };
#endif
#ifdef __AVX512F__
enum { AVX512F = COC_PROCESSOR_AVX512F };
#else
enum { AVX512F = 0 };
#endif
#ifdef __AVX512VL__
enum { AVX512VL = COC_PROCESSOR_AVX512VL };
#else
enum { AVX512VL = 0 };
#endif
#ifdef __AVX512BW__
enum { AVX512BW = COC_PROCESSOR_AVX512BW };
#else
enum { AVX512BW = 0 };
#endif
#ifdef __AVX512DQ__
enum { AVX512DQ = COC_PROCESSOR_AVX512DQ };
#else
enum { AVX512DQ = 0 };
#endif

const unsigned coc_processor_needs = AVX2 | FMA | BMI2 | AVX512F | AVX512VL | AVX512BW | AVX512DQ;
