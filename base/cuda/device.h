/* base/cuda/device.h - the GPU of this process as a coc_device (base/device.h).
 *
 * One device a process. Its main stream is what a NULL coc_stream stands for; it goes before the
 * work of background streams.
 */
#ifndef COC_BASE_CUDA_DEVICE_H
#define COC_BASE_CUDA_DEVICE_H

#include <cuda_runtime_api.h>

#include "base/device.h"

/* Pick the device by this rank's place among the ranks of its machine, before it is used; share:
 * several ranks may have the same. *sharers: ranks that have this one. Errors, each with what can
 * be done: COC_ERR_DEVICE (no driver, too old a driver, no device, too old a device),
 * COC_ERR_SETTING (more ranks than devices). */
coc_status coc_cuda_choose(int local_rank, int local_size, bool share, int *sharers);

/* The chosen device, or the first. Made at the first call, for the life of the process.
 * Errors: COC_ERR_DEVICE (too old a device or driver: coc_cuda_usable). */
coc_status coc_cuda_device(const coc_device **device);

/* What the runtime's functions take for a stream of that device; NULL: the main one. */
cudaStream_t coc_cuda_stream(coc_stream *stream);

/* An event that orders work and measures no time. The caller's; given back with cudaEventDestroy.
 * *event NULL after a failure. Errors: COC_ERR_DEVICE. */
coc_status coc_cuda_event(cudaEvent_t *event);

typedef struct {
    int index;
    char name[256];
    int major, minor;    /* compute capability */
    int processors;      /* streaming multiprocessors */
    size_t shared_bytes; /* most shared memory of a block */
    int64_t memory;      /* bytes */
    int driver, runtime; /* versions, 1000 major + 10 minor */
} coc_cuda_properties;

/* Of a device by index, without using it. Errors: COC_ERR_DEVICE. */
coc_status coc_cuda_describe(int index, coc_cuda_properties *properties);
/* COC_OK, or COC_ERR_DEVICE with the reason why the program cannot use such a device. */
coc_status coc_cuda_usable(const coc_cuda_properties *properties);
/* Devices that this process sees; 0 with *reason (borrowed) where there is none. */
int coc_cuda_count(const char **reason);
/* Of the device in use. */
const coc_cuda_properties *coc_cuda_here(void);

/* COC_OK, or COC_ERR_DEVICE (COC_ERR_MEMORY) with CUDA's own words. */
coc_status coc_cuda_check(cudaError_t error, const char *what);

#endif
