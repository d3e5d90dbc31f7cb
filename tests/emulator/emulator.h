/* tests/emulator/emulator.h - inside of the emulator. */
#ifndef COC_TESTS_EMULATOR_H
#define COC_TESTS_EMULATOR_H

#include <cstddef>
#include <functional>
#include <mutex>
#include <string>

#include <cuda_runtime.h>

namespace coc_emulator
{

/* One user of the device at a time: static shared variables, threadIdx and device memory's
 * protection are the process's. */
extern std::recursive_mutex device;

/* fibers.cpp: run all threads of one block, under the mutex. */
void run_block(dim3 block, const char *kernel, const std::function<void()> &body);

/* Device memory may be touched while one of these lives. */
struct access {
    access();
    ~access();
};

/* End the program: a kernel is wrong. */
[[noreturn]] void fail(const std::string &text);

} // namespace coc_emulator

#endif
