/* tests/emulator/test_emulator.h - what the emulator's own tests share. */
#ifndef COC_TESTS_TEST_EMULATOR_H
#define COC_TESTS_TEST_EMULATOR_H

#include <functional>
#include <string>
#include <vector>

#include <cuda_runtime.h>

extern int failures;
void check(bool right, const char *what, const char *file, int line);
/* Does the work, in a process of its own, end it with this text in its last words? */
bool ends(const char *text, const std::function<void()> &work);
void set_order(const char *order);
static const char *const orders[] = {"forward", "reverse", "shuffled"};

#define CHECK(right) check(right, #right, __FILE__, __LINE__)
#define CHECK_ENDS(text, ...)                                                                      \
    check(ends(text, [&] { __VA_ARGS__; }), text " <- " #__VA_ARGS__, __FILE__, __LINE__)
/* As COC_LAUNCH of base/cuda/kernel.cuh, on the stream 0. */
#define LAUNCH(kernel, grid, block, shared, ...)                                                   \
    LAUNCH_ON(0, kernel, grid, block, shared, __VA_ARGS__)
#define LAUNCH_ON(stream, kernel, grid, block, shared, ...)                                        \
    launch(grid, block, shared, stream, #kernel, kernel, __VA_ARGS__)

template <typename... Given, typename... Taken>
void launch(dim3 grid, dim3 block, size_t shared, cudaStream_t stream, const char *name,
            void (*kernel)(Taken...), Given... values)
{
    coc_emulator_launch(grid, block, shared, stream, name, coc_emulator_bind(kernel, values...));
}

/* An array on the device, and the host's copy. */
template <typename T> struct device_array {
    std::vector<T> host;
    T *at;

    explicit device_array(size_t count) : host(count), at(nullptr)
    {
        CHECK(cudaMalloc(&at, bytes()) == cudaSuccess);
    }
    ~device_array()
    {
        cudaFree(at);
    }
    device_array(const device_array &) = delete;
    device_array &operator=(const device_array &) = delete;
    size_t bytes() const
    {
        return host.size() * sizeof(T);
    }
    T *send()
    {
        CHECK(cudaMemcpy(at, host.data(), bytes(), cudaMemcpyHostToDevice) == cudaSuccess);
        return at;
    }
    void receive()
    {
        CHECK(cudaMemcpy(host.data(), at, bytes(), cudaMemcpyDeviceToHost) == cudaSuccess);
    }
};

void test_runtime();

#endif
