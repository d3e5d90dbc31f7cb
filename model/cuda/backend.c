/* model/cuda/backend.c - the table of the cuda backend, its handles and its working memory. */
#include <stdio.h>
#include <stdlib.h>

#include "base/cuda/device.h"
#include "base/memory.h"
#include "model/backends.h"
#include "model/cuda/cuda.h"

/* Working memory of cuBLAS: what it takes by itself on the newest devices. */
static const size_t blas_bytes = (size_t)32 << 20;

void coc_cuda_note(coc_backend *b, coc_status status, const char *operation, const char *text)
{
    coc_cuda *cuda = coc_cuda_of(b);

    if (cuda->failed[0] != '\0') return;
    snprintf(cuda->failed, sizeof cuda->failed, "%s%s", operation, text);
    b->status = status;
}

bool coc_cuda_recording(const coc_backend *b)
{
    enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;

    (void)cudaStreamIsCapturing(coc_cuda_of((coc_backend *)b)->stream, &status);
    return status != cudaStreamCaptureStatusNone;
}

void *coc_cuda_scratch(coc_backend *b, size_t bytes)
{
    void *memory;

    if (bytes <= b->scratch_bytes) return b->scratch;
    if (coc_cuda_recording(b)) { /* trying to allocate would spoil it */
        coc_cuda_note(b, COC_ERR_DEVICE, "",
                      "a recorded operation needs more working memory than when it was called");
        return NULL;
    }
    /* once, with room to spare: a step asks for many sizes, and what is given back stalls */
    memory = coc_backend_scratch(b, bytes + bytes / 4);
    if (memory == NULL) coc_cuda_note(b, COC_ERR_MEMORY, "", coc_error_text());
    return memory;
}

void coc_cuda_launched(coc_backend *b, const char *operation)
{
    const cudaError_t error = cudaGetLastError();
    char text[sizeof coc_cuda_of(b)->failed];

    if (error == cudaSuccess) return;
    snprintf(text, sizeof text, ": %s", cudaGetErrorString(error));
    coc_cuda_note(b, COC_ERR_DEVICE, operation, text);
}

coc_status coc_cuda_finish(coc_backend *b)
{
    coc_cuda *cuda = coc_cuda_of(b);
    const coc_status waited = b->device->wait(b->device, NULL), status = b->status;
    char text[sizeof cuda->failed];

    b->status = COC_OK;
    snprintf(text, sizeof text, "%s", cuda->failed);
    cuda->failed[0] = '\0';
    if (status != COC_OK) return COC_FAIL(status, "backend cuda: %s", text);
    return waited;
}

static coc_status check_blas(cublasStatus_t status, const char *what)
{
    if (status == CUBLAS_STATUS_SUCCESS) return COC_OK;
    return COC_FAIL(COC_ERR_DEVICE, "cuBLAS: %s: %s", what, cublasGetStatusString(status));
}

static coc_status open_blas(coc_backend *b)
{
    coc_cuda *cuda = coc_cuda_of(b);
    int version = 0;

    COC_TRY(check_blas(cublasCreate(&cuda->blas), "opening it"));
    COC_TRY(check_blas(cublasGetVersion(cuda->blas, &version), "its version"));
    if (version / 10000 != CUDART_VERSION / 1000)
        return COC_FAIL(COC_ERR_DEVICE,
                        "cuBLAS is of CUDA %d, this program was built for CUDA %d: start it with "
                        "the libraries that it was built with",
                        version / 10000, CUDART_VERSION / 1000);
    COC_TRY(b->device->alloc(b->device, blas_bytes, &cuda->blas_memory));
    COC_TRY(check_blas(cublasSetStream(cuda->blas, cuda->stream), "its stream"));
    return check_blas(cublasSetWorkspace(cuda->blas, cuda->blas_memory, blas_bytes),
                      "its working memory");
}

coc_status coc_cuda_open(coc_backend *b)
{
    coc_cuda *cuda;

    COC_TRY(coc_cuda_device(&b->device));
    COC_TRY(coc_alloc(1, sizeof *cuda, &cuda));
    b->impl = cuda;
    b->threads = 1;
    cuda->stream = coc_cuda_stream(NULL);
    cuda->processors = coc_cuda_here()->processors;
    cuda->shared_bytes = coc_cuda_here()->shared_bytes;
    COC_TRY(open_blas(b));
    return b->conv == COC_CONV_CUDNN ? coc_cudnn_open(b) : COC_OK;
}

void coc_cuda_destroy(coc_backend *b)
{
    coc_cuda *cuda = coc_cuda_of(b);

    if (cuda == NULL) return;
    coc_cudnn_close(b);
    if (cuda->blas != NULL) (void)cublasDestroy(cuda->blas);
    b->device->release(b->device, cuda->blas_memory);
    free(cuda);
    b->impl = NULL;
}

const coc_ops coc_cuda_ops = {
    .name = "cuda",
    .stem_forward = coc_cuda_stem_forward,
    .depthwise_forward = coc_cuda_depthwise_forward,
    .pointwise_forward = coc_cuda_pointwise_forward,
    .stem_backward = coc_cuda_stem_backward,
    .depthwise_backward = coc_cuda_depthwise_backward,
    .pointwise_backward = coc_cuda_pointwise_backward,
    .norm_finish = coc_cuda_norm_finish,
    .norm_collect = coc_cuda_norm_collect,
    .running_update = coc_cuda_running_update,
    .norm_fixed = coc_cuda_norm_fixed,
    .norm_backward_sums = coc_cuda_norm_backward_sums,
    .norm_backward_params = coc_cuda_norm_backward_params,
    .norm_backward_finish = coc_cuda_norm_backward_finish,
    .pool_forward = coc_cuda_pool_forward,
    .squeeze_forward = coc_cuda_squeeze_forward,
    .squeeze_backward = coc_cuda_squeeze_backward,
    .join_forward = coc_cuda_join_forward,
    .linear_forward = coc_cuda_linear_forward,
    .linear_backward = coc_cuda_linear_backward,
    .multiply = coc_cuda_multiply,
    .add = coc_cuda_add,
    .add_sums = coc_cuda_add_doubles,
    .layer_norm_tanh_forward = coc_cuda_layer_norm_tanh_forward,
    .layer_norm_tanh_backward = coc_cuda_layer_norm_tanh_backward,
    .contrast = coc_cuda_contrast,
    .tile_forward = coc_cuda_tile_forward,
    .tile_results = coc_cuda_tile_results,
    .tile_backward = coc_cuda_tile_backward,
    .clip_gradient = coc_cuda_clip_gradient,
    .adam = coc_cuda_adam,
    .draw_keep = coc_cuda_draw_keep,
    .finish = coc_cuda_finish,
    .destroy = coc_cuda_destroy,
};
