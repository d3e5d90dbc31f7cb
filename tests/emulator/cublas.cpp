/* tests/emulator/cublas.cpp - products of matrices as cuBLAS has them. Sums are double. */
#include <algorithm>

#include <cublas_v2.h>
#include <cuda_bf16.h>

#include "emulator.h"

using namespace coc_emulator;

struct cublasContext {
    cudaStream_t stream;
};

namespace
{

/* A matrix as it is stored: element (i, j) at i + j * ld, or at j + i * ld where transposed. */
struct matrix {
    const char *data;
    size_t ld;
    bool transposed, bf16;

    float at(size_t i, size_t j) const
    {
        const size_t place = transposed ? j + i * ld : i + j * ld;

        if (bf16) return __bfloat162float(reinterpret_cast<const __nv_bfloat16 *>(data)[place]);
        return reinterpret_cast<const float *>(data)[place];
    }
};

struct product {
    size_t m, n, k;
    float alpha, beta;
    matrix a, b, c;
    bool tf32;
};

/* A float product on tensor cores sees 10 bits of the mantissa, rounded; what is not finite as it
 * is. */
float seen(float x, bool tf32)
{
    const bool finite = (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u;

    return tf32 && finite ? __uint_as_float((__float_as_uint(x) + 0x1000u) & 0xffffe000u) : x;
}

void store(const product &p, size_t i, size_t j, double sum)
{
    const double old = p.beta != 0.0f ? (double)p.beta * (double)p.c.at(i, j) : 0.0;
    const float value = (float)((double)p.alpha * sum + old);
    char *c = const_cast<char *>(p.c.data);

    if (p.c.bf16)
        reinterpret_cast<__nv_bfloat16 *>(c)[i + j * p.c.ld] = __float2bfloat16(value);
    else
        reinterpret_cast<float *>(c)[i + j * p.c.ld] = value;
}

/* Rows of a in tiles, each laid out once as [k][TILE]; then every column of b runs over it. */
enum { TILE = 32, TOGETHER = 4 };

void multiply_tile(const product &p, size_t first, const double (*a)[TILE],
                   const std::vector<double> &b)
{
    const size_t rows = std::min<size_t>(TILE, p.m - first);

    for (size_t j = 0; j < p.n; j += TOGETHER) {
        const size_t columns = std::min<size_t>(TOGETHER, p.n - j);
        double sum[TOGETHER][TILE] = {};

        for (size_t l = 0; l < p.k; l++)
            for (size_t c = 0; c < columns; c++) {
                const double factor = b[(j + c) * p.k + l];

                for (size_t i = 0; i < TILE; i++)
                    sum[c][i] += a[l][i] * factor;
            }
        for (size_t c = 0; c < columns; c++)
            for (size_t i = 0; i < rows; i++)
                store(p, first + i, j + c, sum[c][i]);
    }
}

void multiply(const product &p)
{
    const access here;
    std::vector<double> b(p.n * p.k), a(p.k * TILE);

    for (size_t j = 0; j < p.n; j++)
        for (size_t l = 0; l < p.k; l++)
            b[j * p.k + l] = seen(p.b.at(l, j), p.tf32);
    for (size_t first = 0; first < p.m; first += TILE) {
        for (size_t l = 0; l < p.k; l++)
            for (size_t i = 0; i < TILE; i++)
                a[l * TILE + i] = first + i < p.m ? seen(p.a.at(first + i, l), p.tf32) : 0.0;
        multiply_tile(p, first, reinterpret_cast<const double(*)[TILE]>(a.data()), b);
    }
    check_margins("a product");
}

/* All that is read and written lies in allocations. */
bool lies_on_device(const matrix &x, size_t rows, size_t columns)
{
    const size_t size = x.bf16 ? 2 : 4;

    if (x.transposed) std::swap(rows, columns);
    return rows == 0 || columns == 0 || on_device(x.data, ((columns - 1) * x.ld + rows) * size);
}

cublasStatus_t enqueue_product(cublasHandle_t handle, const product &p)
{
    const guard lock(device);

    if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (p.a.ld < std::max<size_t>(1, p.a.transposed ? p.k : p.m) ||
        p.b.ld < std::max<size_t>(1, p.b.transposed ? p.n : p.k) ||
        p.c.ld < std::max<size_t>(1, p.m))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (p.m == 0 || p.n == 0) return CUBLAS_STATUS_SUCCESS;
    if (!lies_on_device(p.a, p.m, p.k) || !lies_on_device(p.b, p.k, p.n) ||
        !lies_on_device(p.c, p.m, p.n))
        coc_emulator_fail("a matrix of a product does not lie in one allocation on the device");
    return enqueue(handle->stream, [=] { multiply(p); }) == cudaSuccess
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_EXECUTION_FAILED;
}

matrix matrix_of(const void *data, int ld, cublasOperation_t op, cudaDataType type)
{
    return {static_cast<const char *>(data), (size_t)ld, op != CUBLAS_OP_N, type == CUDA_R_16BF};
}

} // namespace

extern "C" {

cublasStatus_t cublasCreate(cublasHandle_t *handle)
{
    int count;

    *handle = nullptr;
    if (cudaGetDeviceCount(&count) != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = new cublasContext();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle)
{
    if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion(cublasHandle_t, int *version)
{
    *version = 130000;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetProperty(libraryPropertyType type, int *value)
{
    *value = type == MAJOR_VERSION   ? CUBLAS_VER_MAJOR
             : type == MINOR_VERSION ? CUBLAS_VER_MINOR
                                     : CUBLAS_VER_PATCH;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream)
{
    if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

/* Alignment is what the real one asks for. */
cublasStatus_t cublasSetWorkspace(cublasHandle_t, void *memory, size_t bytes)
{
    const guard lock(device);

    if (bytes > 0 && ((size_t)memory % 256 != 0 || !on_device(memory, bytes)))
        return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetPointerMode(cublasHandle_t, cublasPointerMode_t mode)
{
    return mode == CUBLAS_POINTER_MODE_HOST ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

const char *cublasGetStatusString(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
        return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
        return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "unknown status";
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                            int m, int n, int k, const void *alpha, const void *a,
                            cudaDataType a_type, int lda, const void *b, cudaDataType b_type,
                            int ldb, const void *beta, void *c, cudaDataType c_type, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t)
{
    const auto other = [](cudaDataType type) { return type != CUDA_R_32F && type != CUDA_R_16BF; };

    if (other(a_type) || other(c_type) || a_type != b_type ||
        (a_type == CUDA_R_32F && c_type != CUDA_R_32F) || compute == CUBLAS_COMPUTE_32F_FAST_16BF)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (m < 0 || n < 0 || k < 0 || lda < 1 || ldb < 1 || ldc < 1)
        return CUBLAS_STATUS_INVALID_VALUE;
    return enqueue_product(handle,
                           {(size_t)m, (size_t)n, (size_t)k, *static_cast<const float *>(alpha),
                            *static_cast<const float *>(beta), matrix_of(a, lda, op_a, a_type),
                            matrix_of(b, ldb, op_b, b_type), matrix_of(c, ldc, CUBLAS_OP_N, c_type),
                            compute == CUBLAS_COMPUTE_32F_FAST_TF32});
}

cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                           int m, int n, int k, const float *alpha, const float *a, int lda,
                           const float *b, int ldb, const float *beta, float *c, int ldc)
{
    return cublasGemmEx(handle, op_a, op_b, m, n, k, alpha, a, CUDA_R_32F, lda, b, CUDA_R_32F, ldb,
                        beta, c, CUDA_R_32F, ldc, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
}

cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t op_a,
                                         cublasOperation_t op_b, int m, int n, int k,
                                         const float *alpha, const float *a, int lda,
                                         long long a_stride, const float *b, int ldb,
                                         long long b_stride, const float *beta, float *c, int ldc,
                                         long long c_stride, int count)
{
    cublasStatus_t status = count < 0 ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS;

    for (long long i = 0; i < count && status == CUBLAS_STATUS_SUCCESS; i++)
        status = cublasSgemm(handle, op_a, op_b, m, n, k, alpha, a + i * a_stride, lda,
                             b + i * b_stride, ldb, beta, c + i * c_stride, ldc);
    return status;
}

} /* extern "C" */
