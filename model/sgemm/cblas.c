#include <cblas.h>

#include "model/cpu_sgemm.h"

/* No side of our matrices comes near 2^31. */
static bool sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                  const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                  int64_t ldc)
{
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
                transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1.0f, a, (int)lda,
                b, (int)ldb, beta, c, (int)ldc);
    return true;
}

const coc_sgemm_function coc_sgemm = sgemm;
const char *const coc_sgemm_name = "cblas";
