/* tests/emulator/emulator.h - inside of the emulator.
 *
 *     fibers.cpp    the threads of a block as coroutines, barriers, turns
 *     warp.cpp      what lanes of a warp do together; asynchronous copies
 *     memory.cpp    device memory: allocations, margins, protection from the host
 *     streams.cpp   streams, events, recordings
 *     runtime.cpp   devices, memory, copies, launches: the rest of the runtime's functions
 *     cublas.cpp    products of matrices
 *     cudnn.cpp     single convolutions, as graphs
 *     nccl.cpp      collectives, over MPI; nccl_windows.cpp: memory that is registered
 */
#ifndef COC_TESTS_EMULATOR_H
#define COC_TESTS_EMULATOR_H

#include <cstddef>
#include <functional>
#include <mutex>
#include <vector>

#include <cuda_runtime.h>

namespace coc_emulator
{

/* What rights to memory are given by; other processors can have larger ones. */
#if defined(__x86_64__)
enum { PAGE = 4 << 10 };
#else
enum { PAGE = 64 << 10 };
#endif

/* One host thread at a time, for everything: static shared variables, threadIdx and the tables
 * behind the functions are the process's. */
extern std::recursive_mutex device;
typedef std::lock_guard<std::recursive_mutex> guard;

/* ---- fibers.cpp */

enum { LANES = 32, MOST_THREADS = 1024 };

/* Run the body for all threads of all blocks. Under the mutex and with access. */
struct grid {
    dim3 blocks, threads;
    const char *name;
    const std::function<void()> *body;
    std::function<void()> begin_block;
};
void run(const grid &g);

/* Of the thread whose turn it is: copies that are on their way to shared memory. */
struct async_copy {
    void *to;
    const void *from; /* NULL: zeros */
    int group;
};
struct async_copies {
    std::vector<async_copy> waiting;
    int groups; /* committed so far */
};
async_copies &copies_of_thread();

/* ---- warp.cpp: for the lanes of the mask, at the last one's arrival */

void complete(enum coc_warp_operation operation, unsigned mask, void *const *data);
const char *name_of(enum coc_warp_operation operation);

/* ---- memory.cpp */

/* A number from the environment. */
size_t number_from(const char *name, size_t otherwise);

void *take(size_t bytes); /* bytes of 0xff; NULL: there is no more */
bool give_back(void *memory);
size_t memory_size();
size_t memory_used();
bool device_address(const void *p); /* of an allocation or not */
/* Whether the bytes lie in one allocation. */
bool on_device(const void *p, size_t bytes);
/* Ends the program where something was written beyond the end of an allocation; `who` did it. */
void check_margins(const char *who);

/* Device memory may be touched while one of these lives, by the thread that made it. */
struct access {
    access();
    ~access();
    access(const access &) = delete;
    access &operator=(const access &) = delete;
};

/* The block's dynamic shared memory, of just so many bytes. */
void set_shared(size_t bytes);
void fill_shared();

/* ---- streams.cpp */

typedef std::function<void()> work;

/* Notes what cudaGetLastError will say. */
cudaError_t note(cudaError_t error);
/* In the order of the stream: at once, at its next wait (COC_EMULATOR_STREAMS=late), or where it is
 * being recorded, when the graph is launched. */
cudaError_t enqueue(cudaStream_t stream, work what);
bool recording(cudaStream_t stream);
bool streams_are_late();
/* All that the stream was given is done when this returns. */
void finish(cudaStream_t stream);
void finish_all();
/* The device does nothing any more: streams are never done, and who waits for one, or frees memory,
 * waits for ever. free_device lets those go on; what the device was given meanwhile is lost. Called
 * from any thread. */
void stop_device();
void free_device();
/* Not under the mutex. */
void wait_while_stopped();
/* Whether a call that allocates or waits is forbidden now, since a stream is being recorded; the
 * recording is then worth nothing. */
bool forbidden();
/* The same for whatever cannot be recorded on this stream. */
cudaError_t spoil(cudaStream_t stream, cudaError_t error);

} // namespace coc_emulator

#endif
