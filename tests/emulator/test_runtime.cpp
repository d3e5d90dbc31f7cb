/* tests/emulator/test_runtime.cpp - memory, streams, recordings and products of the emulator. */
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <cublas_v2.h>
#include <cuda_bf16.h>

#include "test_emulator.h"

int failures;

void check(bool right, const char *what, const char *file, int line)
{
    if (right) return;
    if (failures++ < 40) printf("%s:%d: not so: %s\n", file, line, what);
}

bool ends(const char *text, const std::function<void()> &work)
{
    int ends_of_pipe[2], status = 0;
    std::string said;
    char piece[512];
    ssize_t n;

    fflush(stdout);
    if (pipe(ends_of_pipe) != 0) return false;
    const pid_t child = fork();

    if (child == 0) {
        dup2(ends_of_pipe[1], STDERR_FILENO);
        work();
        _exit(0);
    }
    close(ends_of_pipe[1]);
    while ((n = read(ends_of_pipe[0], piece, sizeof piece)) > 0)
        said.append(piece, (size_t)n);
    close(ends_of_pipe[0]);
    waitpid(child, &status, 0);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0) && said.find(text) != std::string::npos;
}

void set_order(const char *order)
{
    setenv("COC_EMULATOR_ORDER", order, 1);
}

namespace
{

__global__ void add(float *y, float x)
{
    y[threadIdx.x] += x;
}

__global__ void copy(float *to, const float *from)
{
    to[threadIdx.x] = from[threadIdx.x];
}

/* ---- memory ---------------------------------------------------------------------------------- */

void test_memory()
{
    size_t left, all, before;
    void *p, *q, *r;

    CHECK(cudaMemGetInfo(&before, &all) == cudaSuccess && all == 67108864 && before <= all);
    CHECK(cudaMalloc(&p, all + 1) == cudaErrorMemoryAllocation && p == nullptr);
    CHECK(cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess);
    CHECK(cudaMalloc(&p, all / 2) == cudaSuccess && (size_t)p % 256 == 0);
    CHECK(cudaMalloc(&q, all / 2 - 256) == cudaSuccess);
    CHECK(cudaMalloc(&r, 512) == cudaErrorMemoryAllocation);
    CHECK(cudaMemGetInfo(&left, &all) == cudaSuccess && left < 512);
    CHECK(cudaFree(p) == cudaSuccess && cudaFree(p) == cudaErrorInvalidValue);
    CHECK(cudaFree(q) == cudaSuccess && cudaFree(nullptr) == cudaSuccess);
    CHECK(cudaMemGetInfo(&left, &all) == cudaSuccess && left == before);
    cudaGetLastError();

    device_array<float> x(100), y(100);

    x.receive();
    for (int i = 0; i < 100; i++)
        CHECK(std::isnan(x.host[i]));
    CHECK(cudaMemset(x.at, 0, 400) == cudaSuccess);
    CHECK(cudaMemset(x.at, 0, 401) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy(y.at, x.at, 400, cudaMemcpyDeviceToDevice) == cudaSuccess);
    CHECK(cudaMemcpy(y.at + 1, x.at, 400, cudaMemcpyDefault) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy(y.at, x.at, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidMemcpyDirection);
    CHECK(cudaMemcpy2DAsync(y.at + 1, 40, x.host.data(), 80, 8, 5, cudaMemcpyDefault, 0) ==
          cudaSuccess);
    y.receive();
    CHECK(y.host[0] == 0.0f && std::isnan(y.host[1]) && y.host[3] == 0.0f && y.host[41] != 0.0f);
    cudaGetLastError();
}

void test_protection()
{
    device_array<float> x(100);
    float *host;

    CHECK_ENDS("", x.at[3] = 1.0f);
    CHECK_ENDS("", memcpy(x.host.data(), x.at, 4));
    LAUNCH(add, 1, 100, 0, x.at, 1.0f);
    CHECK_ENDS("", x.at[3] = 1.0f);
    std::thread other([&] { CHECK_ENDS("", x.at[3] = 1.0f); });
    other.join();
    CHECK(cudaMallocHost(&host, 40) == cudaSuccess);
    host[9] = 1.0f;
    CHECK(cudaFreeHost(host) == cudaSuccess);
}

void test_devices()
{
    struct cudaDeviceProp p;
    int value;

    CHECK(cudaGetDeviceCount(&value) == cudaSuccess && value == 1);
    CHECK(cudaSetDevice(0) == cudaSuccess && cudaSetDevice(1) == cudaErrorInvalidDevice);
    for (const char *text : {"8.6", "86"}) {
        setenv("COC_EMULATOR_CAPABILITY", text, 1);
        CHECK(cudaGetDeviceProperties(&p, 0) == cudaSuccess && p.major == 8 && p.minor == 6);
        CHECK(p.sharedMemPerBlockOptin == 99 << 10);
    }
    unsetenv("COC_EMULATOR_CAPABILITY");
    CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess &&
          value == 9);
    setenv("COC_EMULATOR_DEVICES", "0", 1);
    CHECK(cudaGetDeviceCount(&value) == cudaErrorNoDevice && value == 0);
    unsetenv("COC_EMULATOR_DEVICES");
    CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&value, add, 256, 100 << 10) ==
              cudaSuccess &&
          value == 2);
    CHECK(cudaFuncSetAttribute(add, cudaFuncAttributeMaxDynamicSharedMemorySize, 1 << 20) ==
          cudaErrorInvalidValue);
    CHECK(std::string(cudaGetErrorName(cudaErrorNoDevice)) == "cudaErrorNoDevice");
    cudaGetLastError();
}

/* ---- streams --------------------------------------------------------------------------------- */

struct two_streams {
    cudaStream_t a, b;
    cudaEvent_t event;

    two_streams()
    {
        cudaStreamCreateWithPriority(&a, cudaStreamNonBlocking, -5);
        cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking);
        cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    }
    ~two_streams()
    {
        cudaStreamDestroy(a), cudaStreamDestroy(b), cudaEventDestroy(event);
    }
    two_streams(const two_streams &) = delete;
    two_streams &operator=(const two_streams &) = delete;
    void order(cudaStream_t first, cudaStream_t then)
    {
        CHECK(cudaEventRecord(event, first) == cudaSuccess);
        CHECK(cudaStreamWaitEvent(then, event, 0) == cudaSuccess);
    }
};

/* Late streams: what is not waited for has not happened. */
void test_late_streams()
{
    two_streams s;
    device_array<float> x(8), y(8);
    float *host;

    cudaMallocHost(&host, 32);
    setenv("COC_EMULATOR_STREAMS", "late", 1);
    for (const bool ordered : {false, true}) {
        cudaMemset(x.at, 0, 32), cudaMemset(y.at, 0, 32);
        cudaDeviceSynchronize();
        host[0] = -1.0f;
        LAUNCH_ON(s.a, add, 1, 8, 0, x.at, 2.0f);
        if (ordered) s.order(s.a, s.b);
        LAUNCH_ON(s.b, copy, 1, 8, 0, y.at, x.at);
        cudaMemcpyAsync(host, y.at, 32, cudaMemcpyDeviceToHost, s.b);
        CHECK(host[0] == -1.0f);
        while (cudaStreamQuery(s.b) == cudaErrorNotReady)
            continue;
        CHECK(host[0] == (ordered ? 2.0f : 0.0f));
        CHECK(cudaStreamSynchronize(s.a) == cudaSuccess);
    }
    x.host.assign(8, 5.0f); /* pageable memory is read when it is given, pinned memory later */
    host[0] = 5.0f;
    cudaMemcpyAsync(x.at, x.host.data(), 32, cudaMemcpyHostToDevice, s.a);
    cudaMemcpyAsync(y.at, host, 4, cudaMemcpyHostToDevice, s.a);
    x.host.assign(8, 6.0f), host[0] = 6.0f;
    cudaStreamSynchronize(s.a);
    x.receive(), y.receive();
    CHECK(x.host[0] == 5.0f && y.host[0] == 6.0f);
    unsetenv("COC_EMULATOR_STREAMS");
    cudaFreeHost(host);
    cudaGetLastError();
}

void test_events()
{
    cudaEvent_t begin, end;
    float ms = -1.0f;

    cudaEventCreate(&begin), cudaEventCreate(&end);
    cudaEventRecord(begin, 0), cudaEventRecord(end, 0);
    CHECK(cudaEventSynchronize(end) == cudaSuccess && cudaEventQuery(begin) == cudaSuccess);
    CHECK(cudaEventElapsedTime(&ms, begin, end) == cudaSuccess && ms >= 0.0f);
    cudaEventDestroy(begin), cudaEventDestroy(end);
}

/* ---- recordings ------------------------------------------------------------------------------ */

void test_recording()
{
    two_streams s;
    device_array<float> x(8), y(8);
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    enum cudaStreamCaptureStatus status;

    cudaMemset(x.at, 0, 32), cudaMemset(y.at, 0, 32);
    CHECK(cudaStreamBeginCapture(s.a, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK(cudaStreamIsCapturing(s.a, &status) == cudaSuccess &&
          status == cudaStreamCaptureStatusActive);
    LAUNCH_ON(s.a, add, 1, 8, 0, x.at, 1.0f);
    s.order(s.a, s.b);
    LAUNCH_ON(s.b, copy, 1, 8, 0, y.at, x.at);
    s.order(s.b, s.a);
    CHECK(cudaMemsetAsync(x.at + 1, 0, 4, s.a) == cudaSuccess);
    CHECK(cudaStreamEndCapture(s.a, &graph) == cudaSuccess);
    CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    x.receive();
    CHECK(x.host[0] == 0.0f); /* nothing has been done yet */
    for (int i = 1; i < 4; i++) {
        CHECK(cudaGraphLaunch(exec, s.a) == cudaSuccess);
        CHECK(cudaStreamSynchronize(s.a) == cudaSuccess);
        x.receive(), y.receive();
        CHECK(x.host[0] == (float)i && y.host[0] == (float)i);
        CHECK(x.host[1] == 0.0f && y.host[1] == 1.0f);
    }
    CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
}

/* The error of the call, and that the recording is lost. */
void check_spoils(const two_streams &s, cudaError_t expected,
                  const std::function<cudaError_t()> &call)
{
    cudaGraph_t graph;

    CHECK(cudaStreamBeginCapture(s.a, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK(call() == expected);
    CHECK(cudaStreamEndCapture(s.a, &graph) == cudaErrorStreamCaptureInvalidated &&
          graph == nullptr);
    cudaGetLastError();
}

void test_wrong_recordings()
{
    two_streams s;
    device_array<float> x(8);
    cudaGraph_t graph;
    void *p;
    const cudaError_t unsupported = cudaErrorStreamCaptureUnsupported;

    check_spoils(s, unsupported, [&] { return cudaMalloc(&p, 4); });
    check_spoils(s, unsupported, [&] { return cudaFree(x.at); });
    check_spoils(s, unsupported, [&] { return cudaStreamSynchronize(s.a); });
    check_spoils(s, unsupported, [&] { return cudaDeviceSynchronize(); });
    check_spoils(s, unsupported, [&] {
        return cudaMemcpyAsync(x.host.data(), x.at, 4, cudaMemcpyDeviceToHost, s.a);
    });
    check_spoils(s, cudaErrorStreamCaptureIsolation, [&] {
        cudaEventRecord(s.event, s.b);
        return cudaStreamWaitEvent(s.a, s.event, 0);
    });
    cudaStreamBeginCapture(s.a, cudaStreamCaptureModeThreadLocal);
    s.order(s.a, s.b);
    LAUNCH_ON(s.b, add, 1, 8, 0, x.at, 1.0f);
    CHECK(cudaStreamEndCapture(s.a, &graph) == cudaErrorStreamCaptureUnjoined && graph == nullptr);
    CHECK(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal) == unsupported);
    cudaStreamBeginCapture(s.a, cudaStreamCaptureModeThreadLocal);
    std::thread other(
        [&] { CHECK(cudaMalloc(&p, 4) == cudaSuccess && cudaFree(p) == cudaSuccess); });
    other.join();
    CHECK(cudaStreamEndCapture(s.a, &graph) == cudaSuccess);
    cudaGraphDestroy(graph);
    cudaGetLastError();
}

/* ---- several host threads -------------------------------------------------------------------- */

__global__ void sums(const float *x, float *y)
{
    __shared__ float all[64];

    all[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    for (unsigned i = 0; i < 64; i++)
        y[threadIdx.x] = i == 0 ? all[0] : y[threadIdx.x] + all[i];
}

void test_host_threads()
{
    std::vector<std::thread> hosts;

    for (int host = 0; host < 4; host++)
        hosts.emplace_back([host] {
            device_array<float> x(64), y(64);

            x.host.assign(64, (float)host);
            for (int i = 0; i < 50; i++) {
                LAUNCH(sums, 1, 64, 0, x.send(), y.at);
                y.receive();
                CHECK(y.host[7] == 64.0f * (float)host);
            }
        });
    for (std::thread &t : hosts)
        t.join();
}

/* ---- products -------------------------------------------------------------------------------- */

template <typename T> float number(T x)
{
    return (float)x;
}
template <> float number(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}
void assign(float &x, int value)
{
    x = (float)value;
}
void assign(__nv_bfloat16 &x, int value)
{
    x = __float2bfloat16((float)value);
}

/* c [m][n], columns apart by ld, is compared with plain loops; whole numbers, so exactly. */
template <typename T>
void check_product(cublasHandle_t handle, cudaDataType type, bool ta, bool tb, float beta)
{
    const int m = 37, n = 29, k = 53, lda = 60, ldb = 70, ldc = 40;
    const float alpha = 2.0f;
    device_array<T> a(60 * 60), b(70 * 60);
    device_array<float> c(ldc * n);

    for (size_t i = 0; i < a.host.size(); i++)
        assign(a.host[i], (int)(i * 37 % 19) - 9);
    for (size_t i = 0; i < b.host.size(); i++)
        assign(b.host[i], (int)(i * 53 % 17) - 8);
    for (size_t i = 0; i < c.host.size(); i++)
        c.host[i] = (float)(i % 5);
    CHECK(cublasGemmEx(handle, ta ? CUBLAS_OP_T : CUBLAS_OP_N, tb ? CUBLAS_OP_T : CUBLAS_OP_N, m, n,
                       k, &alpha, a.send(), type, lda, b.send(), type, ldb, &beta, c.send(),
                       CUDA_R_32F, ldc, CUBLAS_COMPUTE_32F,
                       CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS);
    c.receive();
    for (int i = 0; i < ldc * n; i++) {
        const int row = i % ldc, column = i / ldc;
        float sum = 0.0f;

        for (int l = 0; l < k && row < m; l++)
            sum += number(a.host[(size_t)(ta ? l + row * lda : row + l * lda)]) *
                   number(b.host[(size_t)(tb ? column + l * ldb : l + column * ldb)]);
        const float old = (float)(i % 5);
        CHECK(c.host[(size_t)i] == (row < m ? alpha * sum + beta * old : old));
    }
}

void test_products()
{
    cublasHandle_t handle;
    const float one = 1.0f, none = 0.0f;
    device_array<float> a(6), b(6), c(8);

    CHECK(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS);
    for (int i = 0; i < 4; i++) {
        check_product<float>(handle, CUDA_R_32F, i % 2 != 0, i / 2 != 0, 0.0f);
        check_product<float>(handle, CUDA_R_32F, i % 2 != 0, i / 2 != 0, 1.0f);
        check_product<__nv_bfloat16>(handle, CUDA_R_16BF, i % 2 != 0, i / 2 != 0, 0.0f);
    }
    a.host = {1, 2, 3, 4, 5, 6}, b.host = {1, 2, 3, 4, 5, 6};
    CHECK(cublasSgemmStridedBatched(handle, CUBLAS_OP_N, CUBLAS_OP_N, 1, 2, 1, &one, a.send(), 1, 3,
                                    b.send(), 1, 2, &none, c.at, 1, 4, 2) == CUBLAS_STATUS_SUCCESS);
    c.receive();
    CHECK(c.host[0] == 1 && c.host[1] == 2 && c.host[4] == 12 && c.host[5] == 16);
    CHECK(std::isnan(c.host[2])); /* beta 0 does not read, and the rest is not written */
    CHECK(cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 4, 1, 1, &one, a.at, 1, b.at, 1, &none,
                      c.at, 4) == CUBLAS_STATUS_INVALID_VALUE);
    CHECK_ENDS("product", cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 4, 2, 2, &one, a.at, 4,
                                      b.at, 2, &none, c.at, 4));
    cublasDestroy(handle);
}

} // namespace

void test_runtime()
{
    set_order("forward");
    test_memory();
    test_protection();
    test_devices();
    test_late_streams();
    test_events();
    test_recording();
    test_wrong_recordings();
    test_host_threads();
    test_products();
}
