/* model/cuda/form.cuh - the gradient at a raw tensor, formed and stored: where several products
 * read it. */
#ifndef COC_MODEL_CUDA_FORM_CUH
#define COC_MODEL_CUDA_FORM_CUH

#include "model/cuda/read.cuh"

namespace coc
{

enum { FORM_VECTORS = 8, FORM_ROWS = 32, FORM_PART = 256 };

/* A thread has eight channels of every 32nd position of a part, whose coefficients it loads once.
 */
template <typename T>
__global__ void __launch_bounds__(FORM_VECTORS *FORM_ROWS)
    form_kernel(gradient_view<T> g, int64_t positions, int channels, T *dx)
{
    const int64_t clip = blockIdx.z, first = (int64_t)blockIdx.y * FORM_PART;
    const int64_t end = min(first + FORM_PART, positions);
    const int c = (int)(blockIdx.x * FORM_VECTORS + threadIdx.x) * 8;
    const vec8 zero = {{0, 0, 0, 0, 0, 0, 0, 0}};

    if (c >= channels) return;
    const former8 f = load_former(g, clip, channels, c);

    for (int64_t p = first + threadIdx.y; p < end; p += FORM_ROWS) {
        const int64_t at = (clip * positions + p) * channels + c;

        store8(dx + at,
               form_dx<T>(f, g.norm.silu, load8(g.x + at), g.dz != NULL ? load8(g.dz + at) : zero));
    }
}

template <typename T>
void form_gradient(coc_backend *b, int64_t n, int64_t positions, int channels,
                   const coc_gradient *g, T *dx)
{
    const auto kernel = form_kernel<T>;
    const gradient_view<T> view = view_of<T>(g);

    COC_LAUNCH(kernel,
               dim3((unsigned)divide_up(channels, FORM_VECTORS * 8),
                    (unsigned)divide_up(positions, FORM_PART), (unsigned)n),
               dim3(FORM_VECTORS, FORM_ROWS), 0, coc_cuda_of(b)->stream, view, positions, channels,
               dx);
}

} // namespace coc

#endif
