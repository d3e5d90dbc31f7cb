#include "model/cuda/cuda.h"

#include <stdio.h>

/* cuBLAS is column-major: what is row-major [m][n] here is its transpose there, so c' = b' a'. */
void coc_cuda_product(coc_backend *b, bool transpose_a, bool transpose_b, int64_t m, int64_t n,
                      int64_t k, const float *a, const float *bb, float beta, float *c,
                      bool reduced)
{
    coc_cuda *cuda = coc_cuda_of(b);
    const float one = 1;
    const cublasStatus_t status = cublasGemmEx(
        cuda->blas, transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
        transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, (int)n, (int)m, (int)k, &one, bb, CUDA_R_32F,
        (int)(transpose_b ? k : n), a, CUDA_R_32F, (int)(transpose_a ? m : k), &beta, c, CUDA_R_32F,
        (int)n, reduced ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);

    if (status == CUBLAS_STATUS_SUCCESS || cuda->failed[0] != '\0') return;
    snprintf(cuda->failed, sizeof cuda->failed, "matrix product %lld x %lld x %lld: %s",
             (long long)m, (long long)n, (long long)k, cublasGetStatusString(status));
    b->status = COC_ERR_DEVICE;
}
