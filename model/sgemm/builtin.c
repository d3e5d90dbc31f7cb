#include "model/cpu_sgemm.h"

static bool sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                  const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                  int64_t ldc)
{
    coc_cpu_sgemm(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
    return true;
}

const coc_sgemm_function coc_sgemm = sgemm;
const char *const coc_sgemm_name = "builtin";
