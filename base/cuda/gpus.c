#include "base/gpus.h"

#include <stdio.h>

#include "base/cuda/device.h"

/* Bytes that are left on a device, which has to be used for that; -1: it cannot be. The thread goes
 * on with the device that it had. */
static int64_t memory_left(int index)
{
    size_t left = 0, all = 0;
    int before;
    cudaError_t error = cudaGetDevice(&before);

    if (error == cudaSuccess) error = cudaSetDevice(index);
    if (error == cudaSuccess) {
        error = cudaMemGetInfo(&left, &all);
        (void)cudaSetDevice(before);
    }
    (void)cudaGetLastError();
    return error == cudaSuccess ? (int64_t)left : -1;
}

static void describe(int index, coc_gpu *gpu)
{
    coc_cuda_properties p;
    coc_status status = coc_cuda_describe(index, &p);

    *gpu = (coc_gpu){.index = index, .left = -1};
    if (status == COC_OK) {
        snprintf(gpu->name, sizeof gpu->name, "%s", p.name);
        gpu->major = p.major;
        gpu->minor = p.minor;
        gpu->processors = p.processors;
        gpu->memory = p.memory;
        status = coc_cuda_usable(&p);
    }
    if (status != COC_OK)
        snprintf(gpu->problem, sizeof gpu->problem, "%s", coc_error_text());
    else
        gpu->left = memory_left(index);
}

void coc_gpus_find(coc_gpus *gpus)
{
    const char *reason;
    const int count = coc_cuda_count(&reason);

    *gpus = (coc_gpus){.count = count < COC_GPUS ? count : COC_GPUS};
    if (count == 0) snprintf(gpus->reason, sizeof gpus->reason, "%s", reason);
    (void)cudaDriverGetVersion(&gpus->driver);
    (void)cudaRuntimeGetVersion(&gpus->runtime);
    for (int i = 0; i < gpus->count; i++)
        describe(i, &gpus->gpu[i]);
    coc_error_set(NULL, NULL); /* problems are part of the report */
}

void coc_gpus_libraries(coc_libraries *list)
{
    char built[32], here[32] = "";
    int version = 0;

    snprintf(built, sizeof built, "%d.%d", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    if (cudaRuntimeGetVersion(&version) == cudaSuccess)
        snprintf(here, sizeof here, "%d.%d", version / 1000, version % 1000 / 10);
    coc_libraries_add(list, "CUDA runtime", built, here);
}
