/* model/cuda/pointwise_forward.cu - 1 x 1 convolution: rows through norm, SiLU and gate, times
 * weights, with the sums of the output's own norm from the tile while it is in shared memory:
 * for float, and for bf16 where there are too many channels for pointwise_resident.cu. */
#include "model/cuda/pointwise.cuh"

using namespace coc;

namespace
{

/* Sums of float tensors are kept in double, of bf16 tensors in float over the rows of a tile. */
template <typename T> struct accumulator {
    typedef double type;
};
template <> struct accumulator<bf16> {
    typedef float type;
};

/* partial [segment][2][C]: a thread has a column and every few rows of a segment. */
template <typename T, int COLUMNS>
__device__ void sum_columns(const rows_product<T> &p, const row_tile &t, int first, const float *c,
                            double (*left)[2][COLUMNS], double *partial)
{
    typedef typename accumulator<T>::type sum_type;
    enum { STRIPS = TILE_THREADS / COLUMNS };
    const int column = (int)threadIdx.x % COLUMNS, strip = (int)threadIdx.x / COLUMNS;

    for (int s = 0; s < t.segments; s++) {
        const int begin = s * t.segment_rows, end = begin + t.segment_rows;
        sum_type sum = 0, squares = 0;

        for (int row = begin + strip; row < end; row += STRIPS) {
            const sum_type y = as_stored(c[row * SPILL_STRIDE + column], p.a);

            sum += y;
            squares += y * y;
        }
        left[strip][0][column] = (double)sum;
        left[strip][1][column] = (double)squares;
        __syncthreads();
        if (strip < 2 && first + column < p.columns) {
            double all = 0;

            for (int i = 0; i < STRIPS; i++)
                all += left[i][strip][column];
            partial[((t.segment + s) * 2 + strip) * p.columns + first + column] = all;
        }
        __syncthreads();
    }
}

template <typename T, int COLUMNS>
__global__ void __launch_bounds__(TILE_THREADS, 2) forward(rows_product<T> p, double *partial)
{
    COC_SHARED(unsigned char, memory);
    __shared__ double left[TILE_THREADS / COLUMNS][2][COLUMNS];
    const row_tile t = find_tile(p.tiles, blockIdx.x / p.column_tiles);
    const int first = (int)(blockIdx.x % p.column_tiles) * COLUMNS;
    float *c = (float *)memory;
    engine<T, COLUMNS, B_BY_COLUMN> e;

    multiply_rows(p, t, first, memory, e);
    e.spill(c, SPILL_STRIDE);
    __syncthreads();
    store_rows<T, COLUMNS>(p, t, first, c);
    if (partial != NULL) sum_columns<T, COLUMNS>(p, t, first, c, left, partial);
}

template <typename T, int COLUMNS> void launch(coc_backend *b, rows_product<T> p, double *partial)
{
    const size_t bytes = tile_bytes<engine<T, COLUMNS, B_BY_COLUMN>>();
    const auto kernel = forward<T, COLUMNS>;

    p.column_tiles = (int)divide_up(p.columns, COLUMNS);
    (void)cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               (int)bytes);
    COC_LAUNCH(kernel, dim3((unsigned)(count_tiles(p.tiles) * p.column_tiles)), dim3(TILE_THREADS),
               bytes, coc_cuda_of(b)->stream, p, partial);
}

template <typename T>
void convolve(coc_backend *b, const coc_conv *s, int64_t n, const stored *x, const coc_norm *norm,
              const real *gate, const real *w, stored *y, const int32_t *group, double *sums)
{
    const int64_t positions = (int64_t)s->out_h * s->out_w;
    const rows_product<T> p = {cut_rows(n, positions),
                               s->in_c,
                               s->out_c,
                               (const T *)x,
                               view_of(norm),
                               gate,
                               w,
                               (T *)y,
                               false,
                               0};
    const size_t room = (size_t)coc_cuda_sums_room(n, p.tiles.parts, s->out_c);
    double *partial = sums != NULL ? (double *)coc_cuda_scratch(b, room * sizeof(double)) : NULL;

    if (sums != NULL && partial == NULL) return;
    if (p.columns <= 32)
        launch<T, 32>(b, p, partial);
    else
        launch<T, 64>(b, p, partial);
    if (sums != NULL) coc_cuda_add_sums(b, n, p.tiles.parts, s->out_c, partial, group, sums);
}

} // namespace

void coc_cuda_pointwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                                const coc_norm *norm, const real *gate, const real *w, stored *y,
                                const int32_t *group, double *sums)
{
    if (b->precision != COC_BF16)
        convolve<float>(b, s, n, x, norm, gate, w, y, group, sums);
    else if (!pointwise_forward_resident(b, s, n, x, norm, gate, w, y, group, sums))
        convolve<bf16>(b, s, n, x, norm, gate, w, y, group, sums);
    coc_cuda_launched(b, "1 x 1 convolution");
}
