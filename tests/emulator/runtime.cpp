/* tests/emulator/runtime.cpp - devices, memory, copies and launches of the emulated runtime. */
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "emulator.h"

using namespace coc_emulator;

/* Of a processor of the H100, but few of them: so blocks outnumber them in small tests. */
enum {
    PROCESSORS = 4,
    THREADS_A_PROCESSOR = 2048,
    BLOCKS_A_PROCESSOR = 32,
    SHARED_A_PROCESSOR = 228 << 10,
    SHARED_DEFAULT = 48 << 10,
    SHARED_RESERVED = 1 << 10,
    REGISTERS = 64 << 10
};

static thread_local int chosen; /* device */

/* ---- devices --------------------------------------------------------------------------------- */

/* 90 for 9.0; written either way. */
static int capability()
{
    const char *text = getenv("COC_EMULATOR_CAPABILITY");

    if (text == nullptr || *text == '\0') return 90;
    const double number = strtod(text, nullptr);

    return (int)((number < 20.0 ? 10.0 * number : number) + 0.5);
}

static size_t shared_optin()
{
    switch (capability()) {
    case 80:
    case 87:
        return 163 << 10;
    case 86:
    case 89:
    case 120:
        return 99 << 10;
    default:
        return SHARED_A_PROCESSOR - SHARED_RESERVED;
    }
}

static int devices()
{
    return (int)number_from("COC_EMULATOR_DEVICES", 1);
}

extern "C" {

cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer)
{
    if (device < 0 || device >= devices() || peer < 0 || peer >= devices())
        return note(cudaErrorInvalidDevice);
    *can = device != peer && number_from("COC_EMULATOR_PEERS", 1) != 0;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = devices();
    return *count > 0 ? cudaSuccess : note(cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int index)
{
    if (devices() == 0) return note(cudaErrorNoDevice);
    if (index < 0 || index >= devices()) return note(cudaErrorInvalidDevice);
    chosen = index;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *index)
{
    *index = chosen;
    return devices() > 0 ? cudaSuccess : note(cudaErrorNoDevice);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int index)
{
    const guard lock(device);

    *p = {};
    if (index < 0 || index >= devices()) return note(cudaErrorInvalidDevice);
    snprintf(p->name, sizeof p->name, "emulated GPU");
    p->totalGlobalMem = memory_size();
    p->sharedMemPerBlock = SHARED_DEFAULT;
    p->sharedMemPerBlockOptin = shared_optin();
    p->sharedMemPerMultiprocessor = SHARED_A_PROCESSOR;
    p->reservedSharedMemPerBlock = SHARED_RESERVED;
    p->regsPerBlock = p->regsPerMultiprocessor = REGISTERS;
    p->warpSize = warpSize;
    p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = MOST_THREADS;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 0x7fffffff;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->maxThreadsPerMultiProcessor = THREADS_A_PROCESSOR;
    p->totalConstMem = 64 << 10;
    p->major = capability() / 10;
    p->minor = capability() % 10;
    p->multiProcessorCount = PROCESSORS;
    p->concurrentKernels = p->unifiedAddressing = p->streamPrioritiesSupported = 1;
    p->asyncEngineCount = 1;
    p->memoryBusWidth = 512;
    p->l2CacheSize = 1 << 20;
    p->pciBusID = index + 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int index)
{
    struct cudaDeviceProp p;

    *value = 0;
    if (cudaGetDeviceProperties(&p, index) != cudaSuccess) return cudaErrorInvalidDevice;
    const std::map<int, int> values = {
        {cudaDevAttrMaxThreadsPerBlock, p.maxThreadsPerBlock},
        {cudaDevAttrMaxSharedMemoryPerBlock, (int)p.sharedMemPerBlock},
        {cudaDevAttrWarpSize, p.warpSize},
        {cudaDevAttrMaxRegistersPerBlock, p.regsPerBlock},
        {cudaDevAttrMultiProcessorCount, p.multiProcessorCount},
        {cudaDevAttrConcurrentKernels, p.concurrentKernels},
        {cudaDevAttrPciBusId, p.pciBusID},
        {cudaDevAttrPciDeviceId, p.pciDeviceID},
        {cudaDevAttrPciDomainId, p.pciDomainID},
        {cudaDevAttrL2CacheSize, p.l2CacheSize},
        {cudaDevAttrMaxThreadsPerMultiProcessor, p.maxThreadsPerMultiProcessor},
        {cudaDevAttrUnifiedAddressing, p.unifiedAddressing},
        {cudaDevAttrComputeCapabilityMajor, p.major},
        {cudaDevAttrComputeCapabilityMinor, p.minor},
        {cudaDevAttrStreamPrioritiesSupported, p.streamPrioritiesSupported},
        {cudaDevAttrMaxSharedMemoryPerMultiprocessor, (int)p.sharedMemPerMultiprocessor},
        {cudaDevAttrMaxRegistersPerMultiprocessor, p.regsPerMultiprocessor},
        {cudaDevAttrMaxSharedMemoryPerBlockOptin, (int)p.sharedMemPerBlockOptin}};
    const auto found = values.find(attribute);

    if (found == values.end()) return note(cudaErrorInvalidValue);
    *value = found->second;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = (int)number_from("COC_EMULATOR_DRIVER", CUDART_VERSION);
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    const guard lock(device);

    *total = memory_size();
    *free_bytes = *total - memory_used();
    return cudaSuccess;
}

/* Allocations stay: nothing of the program may rely on them after it. */
cudaError_t cudaDeviceReset(void)
{
    return cudaDeviceSynchronize();
}

/* ---- memory ---------------------------------------------------------------------------------- */

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    const guard lock(device);

    *memory = nullptr;
    if (devices() == 0) return note(cudaErrorNoDevice);
    if (forbidden()) return note(cudaErrorStreamCaptureUnsupported);
    if (bytes == 0) return cudaSuccess;
    *memory = take(bytes);
    return *memory != nullptr ? cudaSuccess : note(cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void *memory)
{
    wait_while_stopped();
    const guard lock(device);

    if (memory == nullptr) return cudaSuccess;
    if (forbidden()) return note(cudaErrorStreamCaptureUnsupported);
    finish_all();
    return give_back(memory) ? cudaSuccess : note(cudaErrorInvalidValue);
}

/* Host memory that does not move: what a recording may copy from and to. */
struct pinned {
    size_t bytes;
    bool ours; /* allocated here, not registered */
};

static std::map<const char *, pinned> &all_pinned()
{
    static std::map<const char *, pinned> all;

    return all;
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned)
{
    const guard lock(device);

    *memory = nullptr;
    if (devices() == 0) return note(cudaErrorNoDevice);
    if (forbidden()) return note(cudaErrorStreamCaptureUnsupported);
    if (bytes == 0) return cudaSuccess;
    *memory = malloc(bytes);
    if (*memory == nullptr) return note(cudaErrorMemoryAllocation);
    memset(*memory, 0xff, bytes);
    all_pinned()[static_cast<char *>(*memory)] = {bytes, true};
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes)
{
    return cudaHostAlloc(memory, bytes, cudaHostAllocDefault);
}

/* Of memory that is ours, or registered. */
static cudaError_t release_pinned(void *memory, bool ours, cudaError_t otherwise)
{
    wait_while_stopped();
    const guard lock(device);

    if (forbidden()) return note(cudaErrorStreamCaptureUnsupported);
    const auto at = all_pinned().find(static_cast<char *>(memory));

    if (at == all_pinned().end() || at->second.ours != ours) return note(otherwise);
    finish_all();
    all_pinned().erase(at);
    if (ours) free(memory);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *memory)
{
    return memory != nullptr ? release_pinned(memory, true, cudaErrorInvalidValue) : cudaSuccess;
}

cudaError_t cudaHostRegister(void *memory, size_t bytes, unsigned)
{
    const guard lock(device);

    if (memory == nullptr || bytes == 0) return note(cudaErrorInvalidValue);
    if (!all_pinned().insert({static_cast<char *>(memory), {bytes, false}}).second)
        return note(cudaErrorHostMemoryAlreadyRegistered);
    return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *memory)
{
    return release_pinned(memory, false, cudaErrorHostMemoryNotRegistered);
}

/* ---- copies ---------------------------------------------------------------------------------- */

enum place { ON_DEVICE, PINNED, PAGEABLE, NOWHERE };

/* Where a range lies; NOWHERE where it leaves its allocation. */
static place place_of(const void *p, size_t bytes)
{
    const char *at = static_cast<const char *>(p);
    auto after = all_pinned().upper_bound(at);

    if (p == nullptr) return NOWHERE;
    if (device_address(p)) return on_device(p, bytes) ? ON_DEVICE : NOWHERE;
    if (after == all_pinned().begin()) return PAGEABLE;
    --after;
    if (at >= after->first + after->second.bytes) return PAGEABLE;
    return bytes <= (size_t)(after->first + after->second.bytes - at) ? PINNED : NOWHERE;
}

static bool kind_fits(enum cudaMemcpyKind kind, bool to_device, bool from_device)
{
    switch (kind) {
    case cudaMemcpyHostToHost:
        return !to_device && !from_device;
    case cudaMemcpyHostToDevice:
        return to_device && !from_device;
    case cudaMemcpyDeviceToHost:
        return !to_device && from_device;
    case cudaMemcpyDeviceToDevice:
        return to_device && from_device;
    case cudaMemcpyDefault:
        return true;
    }
    return false;
}

struct rows {
    char *to;
    const char *from;
    size_t to_pitch, from_pitch, width, height;
};

static void copy_rows(const rows &r)
{
    const access here;

    for (size_t i = 0; i < r.height; i++)
        memmove(r.to + i * r.to_pitch, r.from + i * r.from_pitch, r.width);
}

/* Of pageable memory that is read the runtime keeps a copy, so the caller may change it at once. */
static cudaError_t enqueue_staged(rows r, cudaStream_t stream)
{
    const auto stage = std::make_shared<std::vector<char>>(r.width * r.height);

    copy_rows({stage->data(), r.from, r.width, r.from_pitch, r.width, r.height});
    r.from_pitch = r.width;
    return enqueue(stream, [=]() mutable {
        r.from = stage->data();
        copy_rows(r);
    });
}

static cudaError_t enqueue_rows(const rows &r, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    const guard lock(device);

    if (r.width == 0 || r.height == 0) return cudaSuccess;
    if (r.width > r.to_pitch || r.width > r.from_pitch) return note(cudaErrorInvalidPitchValue);
    const place to = place_of(r.to, (r.height - 1) * r.to_pitch + r.width);
    const place from = place_of(r.from, (r.height - 1) * r.from_pitch + r.width);

    if (to == NOWHERE || from == NOWHERE) return note(cudaErrorInvalidValue);
    if (!kind_fits(kind, to == ON_DEVICE, from == ON_DEVICE))
        return note(cudaErrorInvalidMemcpyDirection);
    if (recording(stream) && (to == PAGEABLE || from == PAGEABLE))
        return spoil(stream, cudaErrorStreamCaptureUnsupported);
    if (from == PAGEABLE && streams_are_late()) return enqueue_staged(r, stream);
    const cudaError_t error = enqueue(stream, [=] { copy_rows(r); });

    if (to == PAGEABLE) finish(stream); /* the runtime returns when such a copy is done */
    return error;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    return enqueue_rows(
        {static_cast<char *>(to), static_cast<const char *>(from), bytes, bytes, bytes, 1}, kind,
        stream);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream)
{
    return enqueue_rows({static_cast<char *>(to), static_cast<const char *>(from), to_pitch,
                         from_pitch, width, height},
                        kind, stream);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    const guard lock(device);

    if (forbidden()) return note(cudaErrorStreamCaptureUnsupported);
    const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);

    finish(nullptr);
    return error;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream)
{
    const guard lock(device);

    if (bytes == 0) return cudaSuccess;
    if (place_of(memory, bytes) != ON_DEVICE) return note(cudaErrorInvalidValue);
    return enqueue(stream, [=] {
        const access here;

        memset(memory, value, bytes);
    });
}

cudaError_t cudaMemset(void *memory, int value, size_t bytes)
{
    const guard lock(device);

    if (forbidden()) return note(cudaErrorStreamCaptureUnsupported);
    return cudaMemsetAsync(memory, value, bytes, nullptr);
}

/* ---- kernels --------------------------------------------------------------------------------- */

cudaError_t cudaFuncSetAttribute(const void *, enum cudaFuncAttribute attribute, int value)
{
    if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize &&
        (value < 0 || (size_t)value > shared_optin()))
        return note(cudaErrorInvalidValue);
    return cudaSuccess;
}

/* As if registers were never what limits. */
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *, int threads,
                                                          size_t shared_bytes)
{
    const int by_shared = (int)(SHARED_A_PROCESSOR / (shared_bytes + SHARED_RESERVED));

    *blocks = 0;
    if (threads < 1 || threads > MOST_THREADS) return note(cudaErrorInvalidValue);
    *blocks = min(min(THREADS_A_PROCESSOR / threads, by_shared), (int)BLOCKS_A_PROCESSOR);
    return cudaSuccess;
}

} /* extern "C" */

static bool configuration_fits(dim3 grid, dim3 threads)
{
    const unsigned long long count = (unsigned long long)threads.x * threads.y * threads.z;

    return count > 0 && count <= MOST_THREADS && threads.x <= MOST_THREADS &&
           threads.y <= MOST_THREADS && threads.z <= 64 && grid.x > 0 && grid.x <= 0x7fffffff &&
           grid.y > 0 && grid.y <= 65535 && grid.z > 0 && grid.z <= 65535;
}

void coc_emulator_launch(dim3 blocks, dim3 threads, size_t shared_bytes, cudaStream_t stream,
                         const char *name, std::function<void()> body)
{
    if (devices() == 0) return (void)note(cudaErrorNoDevice);
    if (!configuration_fits(blocks, threads)) return (void)note(cudaErrorInvalidConfiguration);
    if (shared_bytes > shared_optin()) return (void)note(cudaErrorInvalidValue);
    enqueue(stream, [=] {
        const access here;

        set_shared(shared_bytes);
        run({blocks, threads, name, &body, fill_shared});
        check_margins(name);
    });
}

/* ---- what errors are called ------------------------------------------------------------------ */

#define COC_ERROR(name, text)                                                                      \
    {                                                                                              \
        name, #name, text                                                                          \
    }

static const struct {
    cudaError_t error;
    const char *name, *text;
} errors[] = {
    COC_ERROR(cudaSuccess, "no error"),
    COC_ERROR(cudaErrorInvalidValue, "invalid argument"),
    COC_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    COC_ERROR(cudaErrorInitializationError, "initialization error"),
    COC_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    COC_ERROR(cudaErrorInvalidPitchValue, "invalid pitch argument"),
    COC_ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    COC_ERROR(cudaErrorInsufficientDriver,
              "CUDA driver version is insufficient for CUDA runtime version"),
    COC_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    COC_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    COC_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    COC_ERROR(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    COC_ERROR(cudaErrorNotReady, "device not ready"),
    COC_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    COC_ERROR(cudaErrorHostMemoryAlreadyRegistered,
              "part or all of the requested memory range is already mapped"),
    COC_ERROR(cudaErrorHostMemoryNotRegistered,
              "pointer does not correspond to a registered memory region"),
    COC_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    COC_ERROR(cudaErrorNotSupported, "operation not supported"),
    COC_ERROR(cudaErrorStreamCaptureUnsupported,
              "operation not permitted when stream is capturing"),
    COC_ERROR(cudaErrorStreamCaptureInvalidated,
              "operation failed due to a previous error during capture"),
    COC_ERROR(cudaErrorStreamCaptureMerge,
              "operation would result in a merge of separate capture sequences"),
    COC_ERROR(cudaErrorStreamCaptureUnmatched,
              "capture was not ended in the same stream as it began"),
    COC_ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    COC_ERROR(cudaErrorStreamCaptureIsolation,
              "dependency created on uncaptured work in another stream"),
    COC_ERROR(cudaErrorStreamCaptureImplicit,
              "operation would make the legacy stream depend on a capturing blocking stream"),
    COC_ERROR(cudaErrorCapturedEvent,
              "operation not permitted on an event last recorded in a capturing stream"),
    COC_ERROR(cudaErrorStreamCaptureWrongThread,
              "attempt to terminate a thread-local capture sequence from another thread"),
};

extern "C" const char *cudaGetErrorString(cudaError_t error)
{
    for (const auto &known : errors)
        if (known.error == error) return known.text;
    return "unknown error";
}

extern "C" const char *cudaGetErrorName(cudaError_t error)
{
    for (const auto &known : errors)
        if (known.error == error) return known.name;
    return "cudaErrorUnknown";
}
