/* model/cuda/sums.cu - sums of what blocks leave behind, without atomics: every number is added in
 * an order that follows from the shapes alone, so two runs give the same bits. */
#include "base/cuda/kernel.cuh"
#include "model/cuda/cuda.h"

using coc::divide_up;

namespace
{

/* ---- out [rows][count] = or += the sum over p of x [rows][parts][count] ---- */

/* Neighbouring threads have neighbouring numbers; LANES of threads take turns at the parts of one,
 * and their sums are added as a tree. Parts are few or many: with few a lane has them all, with
 * many a chain of loads would wait for memory, one after another. Eight loads are on their way at a
 * time. */
template <typename In, typename Out, int COLUMNS, int LANES>
__global__ void __launch_bounds__(COLUMNS *LANES)
    sum_parts(int64_t numbers, int64_t parts, int64_t count, const In *x, bool accumulate, Out *out)
{
    __shared__ double left[LANES][COLUMNS];
    const int64_t at = (int64_t)blockIdx.x * COLUMNS + threadIdx.x;
    const int64_t row = at / count;
    const In *from = x + row * parts * count + (at - row * count);
    const int lane = (int)threadIdx.y;
    double sum = 0;

    if (at < numbers) {
#pragma unroll 8
        for (int64_t p = lane; p < parts; p += LANES)
            sum += (double)from[p * count];
    }
    if (LANES > 1) {
        left[lane][threadIdx.x] = sum;
        for (int half = LANES / 2; half > 0; half /= 2) {
            __syncthreads();
            if (lane < half) left[lane][threadIdx.x] += left[lane + half][threadIdx.x];
        }
        sum = left[0][threadIdx.x];
    }
    if (lane > 0 || at >= numbers) return;
    out[at] = accumulate ? out[at] + (Out)sum : (Out)sum;
}

template <typename In, typename Out, int COLUMNS, int LANES>
void launch_sum(cudaStream_t stream, int64_t rows, int64_t parts, int64_t count, const In *x,
                bool accumulate, Out *out)
{
    const auto kernel = sum_parts<In, Out, COLUMNS, LANES>;
    const int64_t numbers = rows * count;

    COC_LAUNCH(kernel, dim3((unsigned)divide_up(numbers, COLUMNS)), dim3(COLUMNS, LANES), 0, stream,
               numbers, parts, count, x, accumulate, out);
}

template <typename In, typename Out>
void sum_over_parts(coc_backend *b, int64_t rows, int64_t parts, int64_t count, const In *x,
                    bool accumulate, Out *out)
{
    const cudaStream_t stream = coc_cuda_of(b)->stream;

    if (parts < 16)
        launch_sum<In, Out, 256, 1>(stream, rows, parts, count, x, accumulate, out);
    else if (parts < 256)
        launch_sum<In, Out, 32, 8>(stream, rows, parts, count, x, accumulate, out);
    else
        launch_sum<In, Out, 32, 32>(stream, rows, parts, count, x, accumulate, out);
}

/* ---- sums [groups][width] += clip [n][width], by group ---- */

/* A block has 16 columns (128 bytes of a clip) of every SLOTS-th group. It first lists the clips of
 * a group, so that its 32 strips of threads can then take turns at them without looking for them,
 * loads independent of each other. */
enum { COLUMNS = 16, STRIPS = 32, THREADS = COLUMNS * STRIPS, WARPS = THREADS / 32, SLOTS = 32 };
enum { OWN = 4, LISTED = OWN * THREADS }; /* clips looked at at a time: of a thread, of a block */

/* Lists clips first .. first + LISTED - 1 of group g, in order; returns how many. *later: whether
 * this thread saw a clip of a group from `beyond` on. All threads of the block call it. */
__device__ int list_clips(int64_t first, int64_t n, const int32_t *group, int g, int beyond,
                          int32_t *list, int *of_warp, bool *later)
{
    const int thread = (int)threadIdx.x, warp = thread / 32;
    const unsigned below = (1u << (thread % 32)) - 1;
    int place = 0, mine = 0, all = 0;
    unsigned found = 0; /* a bit for each own clip */

#pragma unroll
    for (int k = 0; k < OWN; k++) {
        const int64_t i = first + OWN * thread + k;
        const int32_t its = i < n ? group[i] : -1;
        const unsigned of_lanes = __ballot_sync(0xffffffffu, its == g);

        *later = *later || its >= beyond;
        found |= (unsigned)(its == g) << k;
        place += __popc(of_lanes & below);
        mine += __popc(of_lanes);
    }
    __syncthreads(); /* the last list has been read */
    if (thread % 32 == 0) of_warp[warp] = mine;
    __syncthreads();
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
        place += w < warp ? of_warp[w] : 0;
        all += of_warp[w];
    }
#pragma unroll
    for (int k = 0; k < OWN; k++)
        if ((found >> k & 1) != 0) list[place++] = (int32_t)(first + OWN * thread + k);
    __syncthreads();
    return all;
}

__global__ void __launch_bounds__(THREADS)
    add_groups(int64_t n, int width, const double *clip, const int32_t *group, double *sums)
{
    __shared__ double left[STRIPS][COLUMNS];
    __shared__ int32_t list[LISTED];
    __shared__ int of_warp[WARPS];
    const int column = (int)threadIdx.x % COLUMNS, strip = (int)threadIdx.x / COLUMNS;
    const int c = (int)blockIdx.x * COLUMNS + column;
    bool later = true;

    for (int g = (int)blockIdx.y; __syncthreads_or(later); g += (int)gridDim.y) {
        double sum = 0;

        later = false;
        for (int64_t first = 0; first < n; first += LISTED) {
            const int count =
                list_clips(first, n, group, g, g + (int)gridDim.y, list, of_warp, &later);

            if (c >= width) continue;
#pragma unroll 8
            for (int i = strip; i < count; i += STRIPS)
                sum += clip[(int64_t)list[i] * width + c];
        }
        left[strip][column] = sum;
        for (int half = STRIPS / 2; half > 0; half /= 2) {
            __syncthreads();
            if (strip < half) left[strip][column] += left[strip + half][column];
        }
        /* a sum of no clips may lie beyond the last group */
        if (strip == 0 && c < width && left[0][column] != 0)
            sums[(int64_t)g * width + c] += left[0][column];
    }
}

} // namespace

int64_t coc_cuda_sums_room(int64_t n, int64_t parts, int channels)
{
    return n * (parts > 1 ? parts + 1 : 1) * 2 * channels;
}

void coc_cuda_add_sums(coc_backend *b, int64_t n, int64_t parts, int channels, double *partial,
                       const int32_t *group, double *sums)
{
    const int width = 2 * channels;
    const unsigned slots = n < SLOTS ? (unsigned)n : (unsigned)SLOTS;
    double *clip = partial;

    if (parts > 1) {
        clip = partial + n * parts * width;
        sum_over_parts(b, n, parts, width, (const double *)partial, false, clip);
    }
    COC_LAUNCH(add_groups, dim3((unsigned)divide_up(width, COLUMNS), slots), dim3(THREADS), 0,
               coc_cuda_of(b)->stream, n, width, (const double *)clip, group, sums);
    coc_cuda_launched(b, "sums of groups");
}

void coc_cuda_sum_parts(coc_backend *b, int64_t rows, int64_t parts, int64_t count,
                        const float *partial, bool accumulate, float *out)
{
    sum_over_parts(b, rows, parts, count, partial, accumulate, out);
    coc_cuda_launched(b, "sums of parts");
}

void coc_cuda_add_rows(coc_backend *b, int64_t rows, int64_t count, const float *x, float *out)
{
    sum_over_parts(b, 1, rows, count, x, true, out);
    coc_cuda_launched(b, "sums of rows");
}
