/* tests/emulator/runtime.cpp - memory, streams and recordings of the emulated CUDA runtime. */
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <sys/mman.h>
#include <vector>

#include "emulator.h"

struct coc_emulated_graph {
    std::vector<std::function<void()>> calls;
    std::set<coc_emulated_stream *>
        joined; /* streams beside the first, with work not joined back */
    bool broken = false;
};

struct coc_emulated_stream {
    coc_emulated_graph *graph = nullptr; /* being recorded */
    bool first = false;                  /* the one at which the recording began */
};

struct coc_emulated_event {
    coc_emulated_graph *graph = nullptr;
    coc_emulated_stream *stream = nullptr;
    std::chrono::steady_clock::time_point when;
};

namespace coc_emulator
{

std::recursive_mutex device;

static thread_local cudaError_t last_error = cudaSuccess;
static thread_local int capturing; /* streams that this thread records */

static cudaError_t note(cudaError_t error)
{
    if (error != cudaSuccess) last_error = error;
    return error;
}

static size_t number_from(const char *name, size_t otherwise)
{
    const char *text = getenv(name);

    return text != nullptr ? static_cast<size_t>(atoll(text)) : otherwise;
}

/* ---- memory: one region, which nobody but the device may touch ---- */

static const size_t page = 4096;

struct region {
    char *base;
    size_t bytes, used = 0;
    bool guarded;
    int users = 0;
    std::map<char *, size_t> taken; /* place -> bytes */

    region()
    {
        bytes = number_from("COC_EMULATOR_MEMORY", static_cast<size_t>(4) << 30) / page * page;
        guarded = number_from("COC_EMULATOR_PROTECT", 0) != 0;
        base =
            static_cast<char *>(mmap(nullptr, bytes, guarded ? PROT_NONE : PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    }
    /* The first gap that is large enough, and a page that is never touched behind it. */
    char *take(size_t size)
    {
        char *at = base;

        size = (size + page - 1) / page * page;
        for (const auto &[place, length] : taken) {
            if (place >= at + size) break;
            at = place + length + page;
        }
        if (at + size > base + bytes) return nullptr;
        taken[at] = size;
        used += size;
        return at;
    }
    bool holds(const void *p) const
    {
        return p >= base && p < base + bytes;
    }
    /* The bytes lie in one allocation, or outside of the region altogether. */
    bool fine(const void *p, size_t size) const
    {
        const char *at = static_cast<const char *>(p);

        if (!holds(p)) return true;
        auto after = taken.upper_bound(const_cast<char *>(at));
        if (after == taken.begin()) return false;
        --after;
        return at + size <= after->first + after->second;
    }
};

static region &memory()
{
    static region r;

    return r;
}

access::access()
{
    device.lock();
    region &r = memory();

    if (r.guarded && r.users++ == 0) mprotect(r.base, r.bytes, PROT_READ | PROT_WRITE);
}

access::~access()
{
    region &r = memory();

    if (r.guarded && --r.users == 0) mprotect(r.base, r.bytes, PROT_NONE);
    device.unlock();
}

} // namespace coc_emulator

using namespace coc_emulator;

/* ---- work in order ---- */

cudaError_t coc_emulator_enqueue(cudaStream_t stream, const std::function<void()> &work)
{
    if (stream != nullptr && stream->graph != nullptr) {
        stream->graph->calls.push_back(work);
        if (!stream->first) stream->graph->joined.insert(stream);
        return cudaSuccess;
    }
    access here;

    work();
    return cudaSuccess;
}

static std::vector<unsigned char> shared_memory;

void *coc_emulator_shared()
{
    const uintptr_t at = reinterpret_cast<uintptr_t>(shared_memory.data());

    return reinterpret_cast<void *>((at + 127) / 128 * 128);
}

void coc_emulator_launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                         const char *name, const std::function<void()> &body)
{
    const size_t threads = static_cast<size_t>(block.x) * block.y * block.z;

    if (threads == 0 || threads > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
        grid.y > 65535 || grid.z > 65535 || shared_bytes > (static_cast<size_t>(227) << 10)) {
        fprintf(stderr, "emulator: kernel %s: grid %u %u %u, block %zu, shared %zu\n", name, grid.x,
                grid.y, grid.z, threads, shared_bytes);
        note(cudaErrorInvalidValue);
        return;
    }
    coc_emulator_enqueue(stream, [=] {
        gridDim = grid;
        blockDim = block;
        for (unsigned z = 0; z < grid.z; z++)
            for (unsigned y = 0; y < grid.y; y++)
                for (unsigned x = 0; x < grid.x; x++) {
                    blockIdx = {x, y, z};
                    shared_memory.assign(shared_bytes + 128, 0xff);
                    run_block(block, name, body);
                }
    });
}

extern "C" {

/* ---- devices ---- */

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = static_cast<int>(number_from("COC_EMULATOR_DEVICES", 1));
    return *count > 0 ? cudaSuccess : note(cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int)
{
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *index)
{
    *index = 0;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int index)
{
    const int capability = static_cast<int>(number_from("COC_EMULATOR_CAPABILITY", 90));

    *p = {};
    snprintf(p->name, sizeof p->name, "emulated GPU");
    p->totalGlobalMem = memory().bytes;
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = 227 << 10;
    p->major = capability / 10;
    p->minor = capability % 10;
    p->multiProcessorCount = 4;
    p->l2CacheSize = 1 << 20;
    p->pciBusID = index;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = static_cast<int>(number_from("COC_EMULATOR_DRIVER", CUDART_VERSION));
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *free_bytes = memory().bytes - memory().used;
    *total = memory().bytes;
    return cudaSuccess;
}

/* ---- memory ---- */

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    *out = nullptr;
    if (capturing > 0) return note(cudaErrorStreamCaptureUnsupported);
    access here;

    *out = memory().take(bytes > 0 ? bytes : 1);
    if (*out == nullptr) return note(cudaErrorMemoryAllocation);
    memset(*out, 0xff, bytes);
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    if (p == nullptr) return cudaSuccess;
    if (capturing > 0) return note(cudaErrorStreamCaptureUnsupported);
    access here;
    const auto at = memory().taken.find(static_cast<char *>(p));

    if (at == memory().taken.end()) return note(cudaErrorInvalidValue);
    memory().used -= at->second;
    madvise(at->first, at->second, MADV_DONTNEED);
    memory().taken.erase(at);
    return cudaSuccess;
}

static std::map<char *, size_t> pinned;

cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    const std::lock_guard<std::recursive_mutex> lock(device);

    *out = malloc(bytes > 0 ? bytes : 1);
    if (*out == nullptr) return note(cudaErrorMemoryAllocation);
    memset(*out, 0xff, bytes);
    pinned[static_cast<char *>(*out)] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p)
{
    const std::lock_guard<std::recursive_mutex> lock(device);

    pinned.erase(static_cast<char *>(p));
    free(p);
    return cudaSuccess;
}

/* While a stream is recorded only memory that stays may be copied from and to. */
static bool may_record(const void *p)
{
    const char *at = static_cast<const char *>(p);

    if (memory().holds(p)) return true;
    for (const auto &[place, bytes] : pinned)
        if (at >= place && at < place + bytes) return true;
    return false;
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind, cudaStream_t stream)
{
    if (width == 0 || height == 0) return cudaSuccess;
    if (!memory().fine(to, (height - 1) * to_pitch + width) ||
        !memory().fine(from, (height - 1) * from_pitch + width))
        return note(cudaErrorInvalidValue);
    if (stream != nullptr && stream->graph != nullptr && (!may_record(to) || !may_record(from))) {
        stream->graph->broken = true;
        return note(cudaErrorStreamCaptureUnsupported);
    }
    return coc_emulator_enqueue(stream, [=] {
        for (size_t i = 0; i < height; i++)
            memmove(static_cast<char *>(to) + i * to_pitch,
                    static_cast<const char *>(from) + i * from_pitch, width);
    });
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream)
{
    if (!memory().fine(p, bytes)) return note(cudaErrorInvalidValue);
    return coc_emulator_enqueue(stream, [=] { memset(p, value, bytes); });
}

/* ---- streams and events ---- */

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned, int)
{
    *stream = new coc_emulated_stream();
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (stream == nullptr || stream->graph == nullptr) return last_error;
    stream->graph->broken = true;
    return note(cudaErrorStreamCaptureUnsupported);
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    return cudaStreamSynchronize(stream);
}

cudaError_t cudaDeviceSynchronize(void)
{
    return capturing > 0 ? note(cudaErrorStreamCaptureUnsupported) : last_error;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    if (event->graph == nullptr) return cudaSuccess;
    if (stream->graph == nullptr) {
        stream->graph = event->graph;
        stream->graph->joined.insert(stream);
    } else if (stream->first) {
        stream->graph->joined.erase(event->stream);
    }
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = new coc_emulated_event();
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    event->graph = stream != nullptr ? stream->graph : nullptr;
    event->stream = stream;
    event->when = std::chrono::steady_clock::now();
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t)
{
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t)
{
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end)
{
    *milliseconds = std::chrono::duration<float, std::milli>(end->when - begin->when).count();
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

/* ---- recordings ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    if (stream == nullptr || stream->graph != nullptr)
        return note(cudaErrorStreamCaptureUnsupported);
    stream->graph = new coc_emulated_graph();
    stream->first = true;
    capturing++;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    coc_emulated_graph *recorded = stream->graph;
    cudaError_t error = cudaSuccess;

    *graph = nullptr;
    if (recorded == nullptr) return note(cudaErrorInvalidValue);
    stream->graph = nullptr;
    stream->first = false;
    capturing--;
    if (!recorded->joined.empty()) error = cudaErrorStreamCaptureUnjoined;
    if (recorded->broken) error = cudaErrorStreamCaptureInvalidated;
    for (coc_emulated_stream *other : recorded->joined)
        other->graph = nullptr;
    if (error != cudaSuccess)
        delete recorded;
    else
        *graph = recorded;
    return note(error);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = new coc_emulated_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t)
{
    access here;

    for (const auto &call : exec->calls)
        call();
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

/* ---- the rest ---- */

cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int)
{
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t error = last_error;

    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorNoDevice:
        return "no CUDA-capable device is detected";
    case cudaErrorInsufficientDriver:
        return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorStreamCaptureUnsupported:
        return "operation not permitted when stream is capturing";
    default:
        return "invalid argument or state";
    }
}

const char *cudaGetErrorName(cudaError_t error)
{
    return cudaGetErrorString(error);
}

} /* extern "C" */
