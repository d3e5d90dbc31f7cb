#include "base/cuda/device.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Compute capability 8.0 is the first with bf16 tensor cores and asynchronous copies. */
enum { LEAST_MAJOR = 8, NEVER_CHOSEN = -1 };

/* Process-wide, as the device itself is. */
static struct {
    pthread_mutex_t lock;
    int index; /* chosen */
    bool open;
    coc_cuda_properties here;
    cudaStream_t main;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .index = NEVER_CHOSEN};

coc_status coc_cuda_check(cudaError_t error, const char *what)
{
    if (error == cudaSuccess) return COC_OK;
    return COC_FAIL(error == cudaErrorMemoryAllocation ? COC_ERR_MEMORY : COC_ERR_DEVICE,
                    "GPU: %s: %s", what, cudaGetErrorString(error));
}

cudaStream_t coc_cuda_stream(coc_stream *stream)
{
    return stream != NULL ? (cudaStream_t)(void *)stream : state.main;
}

coc_status coc_cuda_event(cudaEvent_t *event)
{
    *event = NULL;
    return coc_cuda_check(cudaEventCreateWithFlags(event, cudaEventDisableTiming),
                          "making an event");
}

/* ---- memory --------------------------------------------------------------------------------- */

static coc_status device_alloc(const coc_device *device, size_t bytes, void **memory)
{
    const cudaError_t error = cudaMalloc(memory, bytes > 0 ? bytes : 1);
    size_t left = 0, all = 0;

    (void)device;
    if (error == cudaSuccess) return COC_OK;
    *memory = NULL;
    (void)cudaGetLastError(); /* it is told here */
    if (error != cudaErrorMemoryAllocation) return coc_cuda_check(error, "taking memory");
    (void)cudaMemGetInfo(&left, &all);
    return COC_FAIL(
        COC_ERR_MEMORY,
        "GPU: no memory for %.1f MB: %.1f of %.1f MB are left; set train.micro_batch, or "
        "lower train.batch or the model's width",
        1e-6 * (double)bytes, 1e-6 * (double)left, 1e-6 * (double)all);
}

static coc_status device_enter(const coc_device *device)
{
    (void)device;
    return coc_cuda_check(cudaSetDevice(state.index), "using it");
}

static void device_release(const coc_device *device, void *memory)
{
    (void)device;
    if (memory != NULL) (void)cudaFree(memory);
}

static coc_status device_alloc_host(const coc_device *device, size_t bytes, void **memory)
{
    const cudaError_t error = cudaMallocHost(memory, bytes > 0 ? bytes : 1);

    (void)device;
    if (error == cudaSuccess) return COC_OK;
    *memory = NULL;
    (void)cudaGetLastError();
    return COC_FAIL(COC_ERR_MEMORY, "no pinned host memory for %.1f MB: %s", 1e-6 * (double)bytes,
                    cudaGetErrorString(error));
}

static void device_release_host(const coc_device *device, void *memory)
{
    (void)device;
    if (memory != NULL) (void)cudaFreeHost(memory);
}

static coc_status device_memory(const coc_device *device, int64_t *left, int64_t *all)
{
    size_t free_bytes = 0, total = 0;

    (void)device;
    COC_TRY(coc_cuda_check(cudaMemGetInfo(&free_bytes, &total), "asking for its memory"));
    *left = (int64_t)free_bytes;
    *all = (int64_t)total;
    return COC_OK;
}

/* ---- work in order -------------------------------------------------------------------------- */

static coc_status device_copy(const coc_device *device, void *to, const void *from, size_t bytes,
                              coc_stream *stream)
{
    (void)device;
    return coc_cuda_check(
        cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, coc_cuda_stream(stream)), "copying");
}

static coc_status device_copy_rows(const coc_device *device, void *to, size_t to_stride,
                                   const void *from, size_t from_stride, size_t bytes, int64_t rows,
                                   coc_stream *stream)
{
    (void)device;
    return coc_cuda_check(cudaMemcpy2DAsync(to, to_stride, from, from_stride, bytes, (size_t)rows,
                                            cudaMemcpyDefault, coc_cuda_stream(stream)),
                          "copying rows");
}

static coc_status device_zero(const coc_device *device, void *memory, size_t bytes,
                              coc_stream *stream)
{
    (void)device;
    return coc_cuda_check(cudaMemsetAsync(memory, 0, bytes, coc_cuda_stream(stream)),
                          "setting to zero");
}

static coc_status device_wait(const coc_device *device, coc_stream *stream)
{
    (void)device;
    return coc_cuda_check(cudaStreamSynchronize(coc_cuda_stream(stream)), "work on the stream");
}

static coc_status device_done(const coc_device *device, coc_stream *stream, bool *done)
{
    const cudaError_t error = cudaStreamQuery(coc_cuda_stream(stream));

    (void)device;
    *done = error != cudaErrorNotReady;
    if (*done) return coc_cuda_check(error, "work on the stream");
    (void)cudaGetLastError(); /* no failure, and not to be taken for one of the next kernel */
    return COC_OK;
}

static coc_status device_stream_create(const coc_device *device, bool background,
                                       coc_stream **stream)
{
    cudaStream_t made = NULL;
    int least, greatest;

    (void)device;
    *stream = NULL;
    COC_TRY(coc_cuda_check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "priorities"));
    COC_TRY(coc_cuda_check(
        cudaStreamCreateWithPriority(&made, cudaStreamNonBlocking, background ? least : greatest),
        "making a stream"));
    *stream = (coc_stream *)(void *)made;
    return COC_OK;
}

static void device_stream_destroy(const coc_device *device, coc_stream *stream)
{
    (void)device;
    if (stream != NULL) (void)cudaStreamDestroy(coc_cuda_stream(stream));
}

static coc_status device_order(const coc_device *device, coc_stream *stream, coc_stream *first)
{
    cudaEvent_t event;
    cudaError_t error;

    (void)device;
    if (coc_cuda_stream(stream) == coc_cuda_stream(first)) return COC_OK;
    COC_TRY(coc_cuda_event(&event));
    error = cudaEventRecord(event, coc_cuda_stream(first));
    if (error == cudaSuccess) error = cudaStreamWaitEvent(coc_cuda_stream(stream), event, 0);
    (void)cudaEventDestroy(event); /* the runtime keeps it as long as it is waited for */
    return coc_cuda_check(error, "ordering streams");
}

static coc_status device_mark_create(const coc_device *device, coc_mark **mark)
{
    cudaEvent_t event;

    (void)device;
    *mark = NULL;
    COC_TRY(coc_cuda_event(&event));
    *mark = (coc_mark *)(void *)event;
    return COC_OK;
}

static void device_mark_destroy(const coc_device *device, coc_mark *mark)
{
    (void)device;
    if (mark != NULL) (void)cudaEventDestroy((cudaEvent_t)(void *)mark);
}

static coc_status device_mark_set(const coc_device *device, coc_mark *mark, coc_stream *stream)
{
    (void)device;
    return coc_cuda_check(cudaEventRecord((cudaEvent_t)(void *)mark, coc_cuda_stream(stream)),
                          "marking a stream");
}

static coc_status device_mark_wait(const coc_device *device, coc_mark *mark)
{
    (void)device;
    return coc_cuda_check(cudaEventSynchronize((cudaEvent_t)(void *)mark), "work up to a mark");
}

/* ---- recordings ----------------------------------------------------------------------------- */

static coc_status device_record(const coc_device *device, coc_stream *stream)
{
    (void)device;
    return coc_cuda_check(
        cudaStreamBeginCapture(coc_cuda_stream(stream), cudaStreamCaptureModeThreadLocal),
        "beginning a recording");
}

static coc_status device_recorded(const coc_device *device, coc_stream *stream, coc_graph **graph)
{
    cudaGraph_t recorded = NULL;
    cudaGraphExec_t exec = NULL;
    coc_status status;

    (void)device;
    *graph = NULL;
    COC_TRY(coc_cuda_check(cudaStreamEndCapture(coc_cuda_stream(stream), &recorded),
                           "ending a recording"));
    status = coc_cuda_check(cudaGraphInstantiate(&exec, recorded, 0), "preparing a recording");
    (void)cudaGraphDestroy(recorded);
    *graph = (coc_graph *)(void *)exec;
    return status;
}

static coc_status device_launch(const coc_device *device, coc_graph *graph, coc_stream *stream)
{
    (void)device;
    return coc_cuda_check(cudaGraphLaunch((cudaGraphExec_t)(void *)graph, coc_cuda_stream(stream)),
                          "launching a recording");
}

static void device_graph_destroy(const coc_device *device, coc_graph *graph)
{
    (void)device;
    if (graph != NULL) (void)cudaGraphExecDestroy((cudaGraphExec_t)(void *)graph);
}

static const coc_device cuda_device = {.name = "GPU",
                                       .side = COC_ACCELERATOR,
                                       .enter = device_enter,
                                       .alloc = device_alloc,
                                       .release = device_release,
                                       .copy = device_copy,
                                       .copy_rows = device_copy_rows,
                                       .zero = device_zero,
                                       .memory = device_memory,
                                       .wait = device_wait,
                                       .done = device_done,
                                       .alloc_host = device_alloc_host,
                                       .release_host = device_release_host,
                                       .stream_create = device_stream_create,
                                       .stream_destroy = device_stream_destroy,
                                       .order = device_order,
                                       .mark_create = device_mark_create,
                                       .mark_destroy = device_mark_destroy,
                                       .mark_set = device_mark_set,
                                       .mark_wait = device_mark_wait,
                                       .records = true,
                                       .record = device_record,
                                       .recorded = device_recorded,
                                       .launch = device_launch,
                                       .graph_destroy = device_graph_destroy};

/* ---- choosing ------------------------------------------------------------------------------- */

int coc_cuda_count(const char **reason)
{
    int count = 0, driver = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);

    (void)cudaGetLastError();
    (void)cudaDriverGetVersion(&driver); /* 0 without one, which cudaGetDeviceCount calls too old */
    *reason = driver == 0            ? "no NVIDIA driver is loaded"
              : error != cudaSuccess ? cudaGetErrorString(error)
                                     : "no device is visible";
    return error == cudaSuccess ? count : 0;
}

coc_status coc_cuda_describe(int index, coc_cuda_properties *p)
{
    struct cudaDeviceProp found;

    *p = (coc_cuda_properties){.index = index};
    COC_TRY(coc_cuda_check(cudaGetDeviceProperties(&found, index), "asking what it is"));
    snprintf(p->name, sizeof p->name, "%s", found.name);
    p->major = found.major;
    p->minor = found.minor;
    p->processors = found.multiProcessorCount;
    p->shared_bytes = found.sharedMemPerBlockOptin;
    p->memory = (int64_t)found.totalGlobalMem;
    (void)cudaDriverGetVersion(&p->driver);
    (void)cudaRuntimeGetVersion(&p->runtime);
    return COC_OK;
}

/* Slurm can show each task a device of its own, which is then number 0 of one everywhere. */
static bool task_sees_its_own(int count)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");

    return count == 1 && getenv("SLURM_LOCALID") != NULL && visible != NULL &&
           strchr(visible, ',') == NULL;
}

static coc_status count_devices(int *count)
{
    const char *reason;

    *count = coc_cuda_count(&reason);
    if (*count > 0) return COC_OK;
    return COC_FAIL(COC_ERR_DEVICE,
                    "no GPU can be used: %s; check nvidia-smi and CUDA_VISIBLE_DEVICES, or choose "
                    "the backend cpu",
                    reason);
}

coc_status coc_cuda_choose(int local_rank, int local_size, bool share, int *sharers)
{
    bool own;
    int count;

    COC_TRY(count_devices(&count));
    own = task_sees_its_own(count);
    if (local_size > count && !share && !own)
        return COC_FAIL(COC_ERR_SETTING,
                        "%d ranks on this machine, but %d GPU%s: start fewer ranks, or let them "
                        "share with comm.share_gpu: true",
                        local_size, count, count > 1 ? "s" : "");
    pthread_mutex_lock(&state.lock);
    if (!state.open) state.index = local_rank % count;
    pthread_mutex_unlock(&state.lock);
    *sharers = own ? 1 : (local_size - local_rank % count + count - 1) / count;
    return COC_OK;
}

coc_status coc_cuda_usable(const coc_cuda_properties *p)
{
    if (p->driver < p->runtime / 1000 * 1000)
        return COC_FAIL(COC_ERR_DEVICE,
                        "the GPU's driver is made for CUDA %d.%d, this program for %d.%d: a newer "
                        "driver is needed",
                        p->driver / 1000, p->driver % 1000 / 10, p->runtime / 1000,
                        p->runtime % 1000 / 10);
    if (p->major < LEAST_MAJOR)
        return COC_FAIL(
            COC_ERR_DEVICE,
            "GPU %d (%s) has compute capability %d.%d; 8.0 is the least: choose another "
            "with CUDA_VISIBLE_DEVICES, or the backend cpu",
            p->index, p->name, p->major, p->minor);
    return COC_OK;
}

static coc_status open_device(void)
{
    int count, least, greatest;

    COC_TRY(count_devices(&count));
    if (state.index == NEVER_CHOSEN) state.index = 0;
    COC_TRY(coc_cuda_describe(state.index, &state.here));
    COC_TRY(coc_cuda_usable(&state.here));
    COC_TRY(coc_cuda_check(cudaSetDevice(state.index), "using it"));
    COC_TRY(coc_cuda_check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "priorities"));
    return coc_cuda_check(
        cudaStreamCreateWithPriority(&state.main, cudaStreamNonBlocking, greatest),
        "making the main stream");
}

coc_status coc_cuda_device(const coc_device **device)
{
    coc_status status;

    *device = &cuda_device;
    pthread_mutex_lock(&state.lock);
    status = state.open ? COC_OK : open_device();
    state.open = status == COC_OK;
    pthread_mutex_unlock(&state.lock);
    return status;
}

const coc_cuda_properties *coc_cuda_here(void)
{
    return &state.here;
}
