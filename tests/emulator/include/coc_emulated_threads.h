/* tests/emulator/include/coc_emulated_threads.h - threads, barriers and warps.
 *
 * Threads of a block are coroutines of the calling host thread (../fibers.cpp). They change places
 * at barriers and at operations of a warp, nowhere else. */
#ifndef COC_EMULATED_THREADS_H
#define COC_EMULATED_THREADS_H

#include <cstddef>
#include <cstring>
#include <functional>
#include <type_traits>

#include <cuda_runtime_api.h>

/* Of the thread whose turn it is. */
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
enum { warpSize = 32 };

/* Runs the body for every thread of the grid, in the order of the stream: at once, or when the
 * graph is launched where the stream is being captured. A wrong configuration is what
 * cudaGetLastError then says. */
void coc_emulator_launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                         const char *name, std::function<void()> body);

/* A kernel with its arguments as they are now: a recorded launch has them later. */
template <typename Kernel, typename... Arguments>
std::function<void()> coc_emulator_bind(Kernel kernel, Arguments... arguments)
{
    return [=] { kernel(arguments...); };
}

/* Anything else in the order of the stream; it may touch device memory. */
cudaError_t coc_emulator_enqueue(cudaStream_t stream, const std::function<void()> &work);

/* The block's dynamic shared memory, aligned to 128 bytes; bytes of 0xff when the block begins. */
void *coc_emulator_shared();

/* Ends the program: the kernel is wrong. */
[[noreturn]] void coc_emulator_fail(const char *text);

/* ---- barriers of the block; a thread that has ended counts as arrived */

void __syncthreads();
int __syncthreads_count(int predicate);
int __syncthreads_and(int predicate);
int __syncthreads_or(int predicate);

/* ---- operations of a warp */

enum coc_warp_operation {
    COC_WARP_SYNC,
    COC_WARP_SHUFFLE,
    COC_WARP_VOTE,
    COC_WARP_REDUCE,
    COC_WARP_MMA_BF16,
    COC_WARP_MMA_TF32,
    COC_WARP_LDMATRIX_X2,
    COC_WARP_LDMATRIX_X4,
    COC_WARP_LDMATRIX_X2_TRANS,
    COC_WARP_LDMATRIX_X4_TRANS,
};

/* The thread waits until all lanes of the mask are here; the last one computes for all, from and
 * into what `data` points to at each. */
void coc_emulator_warp(enum coc_warp_operation operation, unsigned mask, void *data);
int coc_emulator_lane();

inline void __syncwarp(unsigned mask = 0xffffffffu)
{
    coc_emulator_warp(COC_WARP_SYNC, mask, nullptr);
}

struct coc_warp_shuffle {
    unsigned long long value, result;
    int from; /* lane */
};

template <typename T> T coc_emulator_shuffle(unsigned mask, T value, int from)
{
    static_assert(sizeof(T) <= 8 && std::is_arithmetic<T>::value, "shuffles move numbers");
    coc_warp_shuffle s = {0, 0, from};

    memcpy(&s.value, &value, sizeof value);
    coc_emulator_warp(COC_WARP_SHUFFLE, mask, &s);
    memcpy(&value, &s.result, sizeof value);
    return value;
}

/* Lanes form segments of `width`, a power of two; a lane that is out of its own is oneself. */
template <typename T> T __shfl_sync(unsigned mask, T value, int lane, int width = 32)
{
    const int me = coc_emulator_lane();

    return coc_emulator_shuffle(mask, value, (me & ~(width - 1)) | (lane & (width - 1)));
}

template <typename T> T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32)
{
    const int me = coc_emulator_lane(), from = me ^ lanes;

    return coc_emulator_shuffle(mask, value, from <= (me | (width - 1)) ? from : me);
}

template <typename T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    const int me = coc_emulator_lane(), from = me + (int)delta;

    return coc_emulator_shuffle(mask, value, from <= (me | (width - 1)) ? from : me);
}

template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    const int me = coc_emulator_lane(), from = me - (int)delta;

    return coc_emulator_shuffle(mask, value, from >= (me & ~(width - 1)) ? from : me);
}

struct coc_warp_vote {
    unsigned ballot;
    int predicate;
};

inline unsigned __ballot_sync(unsigned mask, int predicate)
{
    coc_warp_vote v = {0, predicate};

    coc_emulator_warp(COC_WARP_VOTE, mask, &v);
    return v.ballot;
}

inline int __any_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) != 0;
}

inline int __all_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) == mask;
}

struct coc_warp_reduce {
    unsigned value, result;
    int kind; /* + sum, m M least and greatest of unsigned, i I of int */
};

inline unsigned coc_emulator_reduce(unsigned mask, unsigned value, int kind)
{
    coc_warp_reduce r = {value, 0, kind};

    coc_emulator_warp(COC_WARP_REDUCE, mask, &r);
    return r.result;
}

inline unsigned __reduce_add_sync(unsigned mask, unsigned value)
{
    return coc_emulator_reduce(mask, value, '+');
}
inline int __reduce_add_sync(unsigned mask, int value)
{
    return (int)coc_emulator_reduce(mask, (unsigned)value, '+');
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value)
{
    return coc_emulator_reduce(mask, value, 'm');
}
inline int __reduce_min_sync(unsigned mask, int value)
{
    return (int)coc_emulator_reduce(mask, (unsigned)value, 'i');
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value)
{
    return coc_emulator_reduce(mask, value, 'M');
}
inline int __reduce_max_sync(unsigned mask, int value)
{
    return (int)coc_emulator_reduce(mask, (unsigned)value, 'I');
}

/* Nothing is reordered here. */
inline void __threadfence()
{
}
inline void __threadfence_block()
{
}
inline void __threadfence_system()
{
}

[[noreturn]] inline void __trap()
{
    coc_emulator_fail("__trap");
}

#endif
