/* tests/emulator/cublas.cpp - the matrix product of cuBLAS: plain loops, summed in double. */
#include <cublas_v2.h>
#include <vector>

#include "emulator.h"

struct coc_emulated_blas {
    cudaStream_t stream = nullptr;
};

/* A product's operands, column-major as cuBLAS has them. */
struct product {
    bool ta, tb;
    int m, n, k, lda, ldb, ldc;
    float alpha, beta;
    const float *a, *b;
    float *c;
};

static void multiply(const product &p)
{
    std::vector<double> column(static_cast<size_t>(p.m));

    for (int j = 0; j < p.n; j++) {
        for (auto &value : column)
            value = 0;
        for (int l = 0; l < p.k; l++) {
            const size_t sl = static_cast<size_t>(l), sj = static_cast<size_t>(j);
            const double b = p.tb ? p.b[sl * static_cast<size_t>(p.ldb) + sj]
                                  : p.b[sj * static_cast<size_t>(p.ldb) + sl];

            for (int i = 0; i < p.m; i++) {
                const size_t si = static_cast<size_t>(i), lda = static_cast<size_t>(p.lda);

                column[si] +=
                    b * static_cast<double>(p.ta ? p.a[si * lda + sl] : p.a[sl * lda + si]);
            }
        }
        for (int i = 0; i < p.m; i++) {
            float *c = p.c + static_cast<size_t>(j) * static_cast<size_t>(p.ldc) + i;

            *c = static_cast<float>(p.alpha * column[static_cast<size_t>(i)] +
                                    (p.beta != 0 ? static_cast<double>(p.beta) * *c : 0.0));
        }
    }
}

extern "C" {

cublasStatus_t cublasCreate(cublasHandle_t *handle)
{
    *handle = new coc_emulated_blas();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t, void *, size_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion(cublasHandle_t, int *version)
{
    *version = 130000;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                            int m, int n, int k, const void *alpha, const void *a, cudaDataType,
                            int lda, const void *b, cudaDataType, int ldb, const void *beta,
                            void *c, cudaDataType, int ldc, cublasComputeType_t, cublasGemmAlgo_t)
{
    const product p = {op_a == CUBLAS_OP_T,
                       op_b == CUBLAS_OP_T,
                       m,
                       n,
                       k,
                       lda,
                       ldb,
                       ldc,
                       *static_cast<const float *>(alpha),
                       *static_cast<const float *>(beta),
                       static_cast<const float *>(a),
                       static_cast<const float *>(b),
                       static_cast<float *>(c)};

    if (m < 0 || n < 0 || k < 0 || lda < (p.ta ? k : m) || ldb < (p.tb ? n : k) || ldc < m)
        return CUBLAS_STATUS_INVALID_VALUE;
    coc_emulator_enqueue(handle->stream, [=] { multiply(p); });
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasGetStatusString(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS ? "success" : "invalid value";
}

} /* extern "C" */
