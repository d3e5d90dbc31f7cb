#include "model/cuda/cuda.h"

#include <stdio.h>

/* A product as row-major C has it. */
typedef struct {
    bool transpose_a, transpose_b;
    int64_t m, n, k;
    cudaDataType type; /* of the factors */
    cublasComputeType_t compute;
} product;

/* cuBLAS is column-major: what is row-major [m][n] here is its transpose there, so c' = b' a'. */
static void multiply(coc_backend *b, const product *p, const void *a, const void *bb, float beta,
                     float *c)
{
    coc_cuda *cuda = coc_cuda_of(b);
    const float one = 1;
    const cublasStatus_t status =
        cublasGemmEx(cuda->blas, p->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                     p->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, (int)p->n, (int)p->m, (int)p->k,
                     &one, bb, p->type, (int)(p->transpose_b ? p->k : p->n), a, p->type,
                     (int)(p->transpose_a ? p->m : p->k), &beta, c, CUDA_R_32F, (int)p->n,
                     p->compute, CUBLAS_GEMM_DEFAULT);

    if (status == CUBLAS_STATUS_SUCCESS || cuda->failed[0] != '\0') return;
    snprintf(cuda->failed, sizeof cuda->failed, "matrix product %lld x %lld x %lld: %s",
             (long long)p->m, (long long)p->n, (long long)p->k, cublasGetStatusString(status));
    b->status = COC_ERR_DEVICE;
}

void coc_cuda_product(coc_backend *b, bool transpose_a, bool transpose_b, int64_t m, int64_t n,
                      int64_t k, const float *a, const float *bb, float beta, float *c,
                      bool reduced)
{
    const product p = {transpose_a,
                       transpose_b,
                       m,
                       n,
                       k,
                       CUDA_R_32F,
                       reduced ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F};

    multiply(b, &p, a, bb, beta, c);
}

void coc_cuda_factor_product(coc_backend *b, bool transpose_a, bool transpose_b, int64_t m,
                             int64_t n, int64_t k, coc_cuda_factor a, coc_cuda_factor bb,
                             float beta, float *c)
{
    const coc_loss_precision precision = b->loss_precision;
    const bool tensor_floats = precision == COC_LOSS_TF32 || precision == COC_LOSS_TF32X3;
    const product p = {transpose_a,
                       transpose_b,
                       m,
                       n,
                       k,
                       precision == COC_LOSS_BF16 ? CUDA_R_16BF : CUDA_R_32F,
                       tensor_floats ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F};

    if (a.low == NULL) {
        multiply(b, &p, a.high, bb.high, beta, c);
        return;
    }
    /* the small ones first: each is rounded at the size of its own sum. low x low is below the
     * rounding of a float. */
    multiply(b, &p, a.low, bb.high, beta, c);
    multiply(b, &p, a.high, bb.low, 1, c);
    multiply(b, &p, a.high, bb.high, 1, c);
}
