/* model/cuda/factor.cu - matrices as the products of the loss take them (loss.precision). */
#include "model/cuda/factor.cuh"

using namespace coc;

namespace
{

enum { THREADS = 256, MOST_BLOCKS = 4096 };

template <factor_kind KIND>
__global__ void __launch_bounds__(THREADS)
    make_factor(int64_t n, const float *__restrict__ x, float *__restrict__ high,
                typename rest_of<KIND>::type *__restrict__ rest)
{
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n;
         i += (int64_t)gridDim.x * THREADS)
        put_factor<KIND>(high, rest, i, x[i]);
}

template <factor_kind KIND>
void launch(coc_backend *b, int64_t n, const float *x, float *high, void *rest)
{
    const auto kernel = make_factor<KIND>;
    const int64_t blocks = divide_up(n, THREADS);

    COC_LAUNCH(kernel, dim3((unsigned)(blocks < MOST_BLOCKS ? blocks : (int64_t)MOST_BLOCKS)),
               dim3(THREADS), 0, coc_cuda_of(b)->stream, n, x, high,
               static_cast<typename rest_of<KIND>::type *>(rest));
}

} // namespace

size_t coc_cuda_rest_bytes(const coc_backend *b, int64_t n)
{
    const factor_kind kind = factor_kind_of(b);
    const size_t size = kind == SPLIT ? sizeof(float) : kind == HALF ? sizeof(bf16) : 0;

    return ((size_t)n * size + 255) / 256 * 256;
}

size_t coc_cuda_factor_bytes(const coc_backend *b, int64_t n)
{
    return (factor_kind_of(b) == SPLIT ? 2 : 1) * coc_cuda_rest_bytes(b, n);
}

coc_cuda_factor coc_cuda_factor_of(const coc_backend *b, const float *whole, const void *rest)
{
    const factor_kind kind = factor_kind_of(b);

    if (kind == PLAIN) return {whole, NULL};
    return kind == HALF ? coc_cuda_factor{rest, NULL} : coc_cuda_factor{whole, rest};
}

coc_cuda_factor coc_cuda_factor_make(coc_backend *b, int64_t n, const float *x, void *room)
{
    const factor_kind kind = factor_kind_of(b);
    float *high = static_cast<float *>(room);
    void *rest = static_cast<char *>(room) + (kind == SPLIT ? coc_cuda_rest_bytes(b, n) : 0);

    if (kind == PLAIN) return coc_cuda_factor_of(b, x, NULL);
    if (kind == SPLIT)
        launch<SPLIT>(b, n, x, high, rest);
    else
        launch<HALF>(b, n, x, NULL, rest);
    return coc_cuda_factor_of(b, high, rest);
}

coc_cuda_factor coc_cuda_factor_from(const coc_backend *b, coc_cuda_factor f, int64_t first)
{
    const int64_t size = (int64_t)(factor_kind_of(b) == HALF ? sizeof(bf16) : sizeof(float));

    f.high = static_cast<const char *>(f.high) + first * size;
    if (f.low != NULL) f.low = static_cast<const char *>(f.low) + first * size;
    return f;
}
