/* Parts of features, whose beginnings the feed on the device says. */
#include "base/cuda/kernel.cuh"
#include "preprocess/cuda/features_cuda.h"

namespace
{

enum { THREADS = 128 };

/* A block copies a row: a band of a channel of a clip. */
__global__ void __launch_bounds__(THREADS)
    crop_rows(const coc_feed_clip *__restrict__ clip, int rows, int frames,
              const float *__restrict__ whole, float *__restrict__ out)
{
    const int64_t row = blockIdx.x;
    const float *const from = whole + row * COC_FRAMES + clip[row / rows].first_frame;

    for (int t = (int)threadIdx.x; t < frames; t += THREADS)
        out[row * frames + t] = from[t];
}

} // namespace

void coc_cuda_crop(const coc_feed *feed, int64_t first, int64_t n, int rows, int frames,
                   const float *whole, float *out, cudaStream_t stream)
{
    COC_LAUNCH(crop_rows, (unsigned)(n * rows), THREADS, 0, stream, feed->clip + first, rows,
               frames, whole, out);
}
