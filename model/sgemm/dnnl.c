#include <dnnl.h>

#include "model/cpu_sgemm.h"

/* Inside an OpenMP region the library uses the calling thread alone. */
static bool sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                  const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                  int64_t ldc)
{
    return dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1.0f, a, lda, b,
                      ldb, beta, c, ldc) == dnnl_success;
}

const coc_sgemm_function coc_sgemm = sgemm;
const char *const coc_sgemm_name = "dnnl";
