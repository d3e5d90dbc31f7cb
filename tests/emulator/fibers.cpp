/* tests/emulator/fibers.cpp - the threads of a block as coroutines.
 *
 * A thread runs until it waits: at a barrier of the block or at an operation of its warp. In which
 * order threads get their turn is a choice (COC_EMULATOR_ORDER): code that relies on one order, for
 * want of a barrier, fails in another. A switch is a _setjmp and a _longjmp, without a system call.
 */
#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#include <coc_emulated_mma.h>

#include "emulator.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define START_SWITCH(save, bottom, size)  __sanitizer_start_switch_fiber(save, bottom, size)
#define FINISH_SWITCH(save, bottom, size) __sanitizer_finish_switch_fiber(save, bottom, size)
#else
#define START_SWITCH(save, bottom, size)  (void)0
#define FINISH_SWITCH(save, bottom, size) (void)0
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace coc_emulator
{

enum { STACK = 128 << 10, SLOT = 64, LANES = 32 };
enum state { READY, AT_BARRIER, AT_WARP, DONE };

/* A copy that is on its way to shared memory. */
struct copy {
    void *to;
    const void *from;
    int group;
};

struct fiber {
    jmp_buf place;
    ucontext_t context;
    char *stack;
    bool begun;
    state waits;
    const char *operation; /* at which the thread waits */
    uint3 index;
    int number;       /* in its block */
    unsigned arrived; /* operations of the warp so far: picks one of two sets of slots, since a
                         fast lane may be at the next one while a slow one still reads */
    std::vector<copy> copies;
    int groups; /* of copies that have been committed */
    void *fake_stack;
};

static std::vector<fiber *> pool;
static jmp_buf scheduler;
static fiber *now;
static const std::function<void()> *work;
static const char *kernel_name;
static unsigned char slots[32][2][LANES][SLOT];
static int any_predicate[2], barrier_round;
#if defined(__SANITIZE_ADDRESS__)
static const void *main_bottom;
static size_t main_size;
static void *main_fake;
#endif

static void give_up_turn()
{
    fiber *self = now;

#if defined(__SANITIZE_ADDRESS__)
    START_SWITCH(&self->fake_stack, main_bottom, main_size);
#endif
    if (_setjmp(self->place) == 0) _longjmp(scheduler, 1);
#if defined(__SANITIZE_ADDRESS__)
    FINISH_SWITCH(self->fake_stack, &main_bottom, &main_size);
#endif
    threadIdx = self->index;
}

/* What a coroutine does for ever: one thread's work after another. */
static void live()
{
#if defined(__SANITIZE_ADDRESS__)
    FINISH_SWITCH(nullptr, &main_bottom, &main_size);
#endif
    for (;;) {
        threadIdx = now->index;
        (*work)();
        now->waits = DONE;
        give_up_turn();
    }
}

static void give_turn(fiber *f)
{
    now = f;
#if defined(__SANITIZE_ADDRESS__)
    START_SWITCH(&main_fake, f->stack, STACK);
#endif
    if (_setjmp(scheduler) == 0) {
        if (f->begun) _longjmp(f->place, 1);
        f->begun = true;
        setcontext(&f->context);
    }
#if defined(__SANITIZE_ADDRESS__)
    FINISH_SWITCH(main_fake, nullptr, nullptr);
#endif
}

static fiber *make_fiber()
{
    fiber *f = new fiber();

    f->stack = static_cast<char *>(mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK;
    f->context.uc_link = nullptr;
    makecontext(&f->context, live, 0);
    return f;
}

/* The order of turns: forward, reverse, or another one every round. */
static void order_turns(std::vector<int> &turn, unsigned round)
{
    static const char *const order = getenv("COC_EMULATOR_ORDER");
    const int n = static_cast<int>(turn.size());
    unsigned seed = 12345u + 7919u * round;

    for (int i = 0; i < n; i++)
        turn[static_cast<size_t>(i)] =
            order != nullptr && strcmp(order, "reverse") == 0 ? n - 1 - i : i;
    if (order == nullptr || strcmp(order, "shuffled") != 0) return;
    for (int i = n - 1; i > 0; i--) {
        seed = seed * 1664525u + 1013904223u;
        std::swap(turn[static_cast<size_t>(i)], turn[(seed >> 8) % static_cast<unsigned>(i + 1)]);
    }
}

/* Warps whose living lanes all wait at one operation go on. */
static bool release_warps(int threads)
{
    bool moved = false;

    for (int first = 0; first < threads; first += LANES) {
        const int end = first + LANES < threads ? first + LANES : threads;
        const char *operation = nullptr;
        bool all = true;

        for (int i = first; i < end; i++) {
            const fiber *f = pool[static_cast<size_t>(i)];

            if (f->waits == DONE) continue;
            all = all && f->waits == AT_WARP;
            if (f->waits != AT_WARP) continue;
            if (operation != nullptr && strcmp(operation, f->operation) != 0)
                fail(std::string("lanes of a warp are at ") + operation + " and " + f->operation);
            operation = f->operation;
        }
        if (!all || operation == nullptr) continue;
        for (int i = first; i < end; i++)
            if (pool[static_cast<size_t>(i)]->waits == AT_WARP)
                pool[static_cast<size_t>(i)]->waits = READY;
        moved = true;
    }
    return moved;
}

static bool release_barrier(int threads)
{
    bool some = false;

    for (int i = 0; i < threads; i++) {
        if (pool[static_cast<size_t>(i)]->waits == AT_WARP) return false;
        some = some || pool[static_cast<size_t>(i)]->waits == AT_BARRIER;
    }
    for (int i = 0; i < threads && some; i++)
        if (pool[static_cast<size_t>(i)]->waits == AT_BARRIER)
            pool[static_cast<size_t>(i)]->waits = READY;
    if (some) any_predicate[++barrier_round & 1] = 0;
    return some;
}

static void begin_threads(dim3 block)
{
    const int threads = static_cast<int>(block.x * block.y * block.z);

    while (static_cast<int>(pool.size()) < threads)
        pool.push_back(make_fiber());
    for (int i = 0; i < threads; i++) {
        fiber *f = pool[static_cast<size_t>(i)];
        const unsigned u = static_cast<unsigned>(i);

        f->waits = READY;
        f->number = i;
        f->index = {u % block.x, u / block.x % block.y, u / block.x / block.y};
        f->arrived = 0;
        f->copies.clear();
        f->groups = 0;
    }
    any_predicate[0] = any_predicate[1] = barrier_round = 0;
}

void run_block(dim3 block, const char *kernel, const std::function<void()> &body)
{
    const int threads = static_cast<int>(block.x * block.y * block.z);
    std::vector<int> turn(static_cast<size_t>(threads));
    bool left = true;

    work = &body;
    kernel_name = kernel;
    begin_threads(block);
    for (unsigned round = 0; left; round++) {
        left = false;
        order_turns(turn, round);
        for (const int i : turn) {
            fiber *f = pool[static_cast<size_t>(i)];

            if (f->waits == READY) give_turn(f);
            left = left || f->waits != DONE;
        }
        if (left && !release_warps(threads) && !release_barrier(threads))
            fail("its threads wait for each other for ever");
    }
}

void fail(const std::string &text)
{
    fprintf(stderr, "emulator: kernel %s: %s\n", kernel_name != nullptr ? kernel_name : "?",
            text.c_str());
    abort();
}

} // namespace coc_emulator

using namespace coc_emulator;

void __syncthreads()
{
    now->waits = AT_BARRIER;
    now->operation = "__syncthreads";
    give_up_turn();
}

int __syncthreads_or(int predicate)
{
    int *any = &any_predicate[barrier_round & 1];

    if (predicate) *any = 1;
    now->waits = AT_BARRIER;
    give_up_turn();
    return *any;
}

const unsigned char *coc_emulator_exchange(const void *mine, size_t bytes, const char *operation)
{
    const size_t warp = static_cast<size_t>(now->number / LANES);
    auto &set = slots[warp][now->arrived++ & 1];

    memcpy(set[now->number % LANES], mine, bytes);
    now->waits = AT_WARP;
    now->operation = operation;
    give_up_turn();
    return set[0];
}

void __syncwarp(unsigned)
{
    const int nothing = 0;

    coc_emulator_exchange(&nothing, sizeof nothing, "__syncwarp");
}

/* ---- tensor cores and asynchronous copies ---- */

static float bf16_half(uint32_t word, int half)
{
    return __uint_as_float(half ? word & 0xffff0000u : word << 16);
}

/* PTX ISA, fragments of mma.m16n8k16 for 16-bit types: lane = 4 * group + member. */
void coc_mma_bf16_16816(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const unsigned char *all = coc_emulator_exchange(mine, sizeof mine, "mma");
    const int group = coc_emulator_lane_id() / 4, member = coc_emulator_lane_id() % 4;
    uint32_t word[LANES][6];

    for (int lane = 0; lane < LANES; lane++)
        memcpy(word[lane], all + SLOT * lane, sizeof word[lane]);
    for (int i = 0; i < 4; i++) {
        const int row = group + 8 * (i / 2), column = 2 * member + i % 2;
        double sum = 0;

        for (int k = 0; k < 16; k++) {
            const int holder = k % 8 / 2;
            const uint32_t wa = word[4 * (row % 8) + holder][row / 8 + 2 * (k / 8)];
            const uint32_t wb = word[4 * column + holder][4 + k / 8];

            sum += static_cast<double>(bf16_half(wa, k % 2)) * bf16_half(wb, k % 2);
        }
        d[i] = static_cast<float>(d[i] + sum);
    }
}

void coc_emulator_ldmatrix(uint32_t *r, int count, bool transposed, const void *row)
{
    const unsigned char *all;
    const int lane = coc_emulator_lane_id();

    if (lane < 8 * count && reinterpret_cast<uintptr_t>(row) % 16 != 0)
        fail("ldmatrix of a row that is not aligned to 16 bytes");
    all = coc_emulator_exchange(&row, sizeof row, "ldmatrix");
    for (int m = 0; m < count; m++) {
        uint32_t word = 0;

        for (int half = 0; half < 2; half++) {
            const int line = transposed ? 2 * (lane % 4) + half : lane / 4;
            const int at = transposed ? lane / 4 : 2 * (lane % 4) + half;
            const unsigned short *from;

            memcpy(&from, all + SLOT * (8 * m + line), sizeof from);
            word |= static_cast<uint32_t>(from[at]) << (16 * half);
        }
        r[m] = word;
    }
}

void coc_cp_async_16(void *shared, const void *global, bool valid)
{
    if (reinterpret_cast<uintptr_t>(shared) % 16 != 0 ||
        (valid && reinterpret_cast<uintptr_t>(global) % 16 != 0))
        fail("cp.async of an address that is not aligned to 16 bytes");
    now->copies.push_back({shared, valid ? global : nullptr, now->groups});
}

void coc_cp_async_commit()
{
    now->groups++;
}

void coc_emulator_cp_wait(int groups_left)
{
    std::vector<copy> later;

    for (const copy &c : now->copies) {
        if (c.group >= now->groups - groups_left)
            later.push_back(c);
        else if (c.from != nullptr)
            memcpy(c.to, c.from, 16);
        else
            memset(c.to, 0, 16);
    }
    now->copies.swap(later);
}
