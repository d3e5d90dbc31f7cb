/* tests/emulator/fibers.cpp - the threads of a block as coroutines.
 *
 * A thread keeps its turn until it waits: at a barrier of the block, or at an operation of its
 * warp. Then the next one of the same warp has it; a warp goes as far as it can before another
 * begins. Which thread, and which warp, is next is a choice (COC_EMULATOR_ORDER): code that relies
 * on one order, for want of a barrier, fails in another.
 *
 * A coroutine has a stack of its own, kept for later threads and blocks. One is taken only where a
 * thread must wait: a kernel without barriers runs on a single one. A switch is a _setjmp and a
 * _longjmp, without a system call; their checked forms take another stack for a mistake.
 */
#undef _FORTIFY_SOURCE
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <ucontext.h>

#include "emulator.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COC_ADDRESS_SANITIZER
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(COC_ADDRESS_SANITIZER)
#include <sanitizer/common_interface_defs.h>
#else
/* The same without address sanitizer. */
static void __sanitizer_start_switch_fiber(void **, const void *, size_t)
{
}
static void __sanitizer_finish_switch_fiber(void *, const void **, size_t *)
{
}
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace coc_emulator
{

/* Pages are the machine's only when touched. The lowest one is never to be. */
enum { STACK = 256 << 10, NOBODY = -1 };
/* Tops of stacks differ by so much, or all would lie in the same few lines of the cache. */
enum { COLOUR = 192 };

struct fiber {
    jmp_buf place;
    ucontext_t context;
    const void *stack;
    size_t bytes;
    bool begun;
    void *fake; /* address sanitizer's */
};

struct thread {
    fiber *on; /* NULL: not begun, or ended */
    uint3 index;
    coc_warp_operation operation; /* where it waits in `meeting` */
    unsigned mask;
    void *data;
    async_copies copies;
};

/* Lanes as bits. A lane is in one of the four, or ended already. */
struct warp {
    unsigned runnable, at_barrier, meeting, ended;
};

enum order { FORWARD, REVERSE, SHUFFLED };

/* The block that runs. */
static struct {
    thread threads[MOST_THREADS];
    warp warps[MOST_THREADS / LANES];
    int count, left;     /* threads: all, not ended */
    int waiting, trues;  /* at the barrier: threads, those whose predicate holds */
    const char *barrier; /* its name: one literal each */
    int last_waiting, last_trues;
    unsigned runnable; /* warps with runnable lanes, as bits */
    int now, now_warp; /* whose turn it is */
    bool copying;      /* some thread has asynchronous copies */
    order turns;
    unsigned random;
    const grid *of;
} block = {};

static fiber host, *current = &host, *came_from;
static fiber *idle[MOST_THREADS];
static int idle_count;

std::recursive_mutex device;

[[noreturn]] static void fail_here(const std::string &text)
{
    fprintf(stderr, "emulator: ");
    if (block.of != nullptr)
        fprintf(stderr, "kernel %s, block (%u,%u,%u), thread (%u,%u,%u): ", block.of->name,
                blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    fprintf(stderr, "%s\n", text.c_str());
    abort();
}

/* ---- coroutines ------------------------------------------------------------------------------ */

/* Back on the stack of `self`: tells address sanitizer, and learns where the host's stack is. */
static void arrive_on(fiber *self)
{
    const void *stack = nullptr;
    size_t bytes = 0;

    __sanitizer_finish_switch_fiber(self->fake, &stack, &bytes);
    if (came_from != &host) return;
    host.stack = stack;
    host.bytes = bytes;
}

static __attribute__((noinline)) void change_to(fiber *to)
{
    fiber *self = current;

    came_from = self;
    current = to;
    __sanitizer_start_switch_fiber(&self->fake, to->stack, to->bytes);
    if (_setjmp(self->place) == 0) {
        if (to->begun) _longjmp(to->place, 1);
        to->begun = true;
        setcontext(&to->context);
    }
    arrive_on(current); /* self is not read here: it is this fiber that has come back */
}

static void live();

static fiber *make_fiber()
{
    static int made;
    fiber *f = new fiber();
    char *memory = static_cast<char *>(mmap(nullptr, PAGE + STACK, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));

    if (memory == MAP_FAILED || getcontext(&f->context) != 0)
        coc_emulator_fail("no memory for the stack of a thread");
    mprotect(memory, PAGE, PROT_NONE);
    f->stack = f->context.uc_stack.ss_sp = memory + PAGE;
    f->bytes = f->context.uc_stack.ss_size = STACK - (size_t)(made++ % 64) * COLOUR;
    f->context.uc_link = nullptr;
    makecontext(&f->context, live, 0);
    return f;
}

static fiber *take_fiber()
{
    return idle_count > 0 ? idle[--idle_count] : make_fiber();
}

/* ---- turns ----------------------------------------------------------------------------------- */

/* One of the bits that are set. */
static int choose(unsigned bits)
{
    if (block.turns == FORWARD) return __builtin_ctz(bits);
    if (block.turns == REVERSE) return 31 - __builtin_clz(bits);
    block.random = block.random * 1664525u + 1013904223u;

    const unsigned first = block.random >> 27;
    const unsigned turned = bits >> first | bits << (-first & 31);

    return (int)((first + (unsigned)__builtin_ctz(turned)) & 31);
}

static int choose_next()
{
    if (block.runnable == 0) return NOBODY;
    if ((block.runnable >> block.now_warp & 1) == 0) block.now_warp = choose(block.runnable);
    return block.now_warp * LANES + choose(block.warps[block.now_warp].runnable);
}

static void wake(int w, unsigned lanes)
{
    if (lanes == 0) return;
    block.warps[w].runnable |= lanes;
    block.runnable |= 1u << w;
}

/* The thread whose turn it is cannot go on. */
static void stop()
{
    warp &mine = block.warps[block.now / LANES];

    mine.runnable &= ~(1u << block.now % LANES);
    if (mine.runnable == 0) block.runnable &= ~(1u << block.now / LANES);
}

static void fail_of_deadlock()
{
    std::string text = "its threads wait for each other for ever:";
    char line[160];

    if (block.waiting > 0) {
        snprintf(line, sizeof line, " %d of %d at %s;", block.waiting, block.left, block.barrier);
        text += line;
    }
    for (int i = 0; i < block.count; i++) {
        const thread &t = block.threads[i];

        if ((block.warps[i / LANES].meeting >> i % LANES & 1) == 0) continue;
        snprintf(line, sizeof line, " thread %d at %s of lanes %08x, of which %08x are there;", i,
                 name_of(t.operation), t.mask, block.warps[i / LANES].meeting);
        text += line;
        break;
    }
    fail_here(text);
}

/* The thread waits: others have their turns until it has been woken and chosen. */
static void pass_turn()
{
    const int self = block.now, next = choose_next();

    if (next == NOBODY) fail_of_deadlock();
    if (next != self) {
        thread &t = block.threads[next];

        if (t.on == nullptr) t.on = take_fiber();
        block.now = next;
        change_to(t.on);
    }
    threadIdx = block.threads[block.now].index;
}

/* ---- barriers -------------------------------------------------------------------------------- */

static void release_barrier()
{
    if (block.waiting == 0 || block.waiting < block.left) return;
    block.last_waiting = block.waiting;
    block.last_trues = block.trues;
    block.waiting = block.trues = 0;
    for (int w = 0; w * LANES < block.count; w++) {
        wake(w, block.warps[w].at_barrier);
        block.warps[w].at_barrier = 0;
    }
    block.now_warp = choose(block.runnable);
}

static void wait_at_barrier(const char *name, int predicate)
{
    if (block.waiting > 0 && block.barrier != name)
        fail_here(std::string("is at ") + name + ", others of its block are at " + block.barrier);
    block.barrier = name;
    block.waiting++;
    block.trues += predicate != 0;
    block.warps[block.now / LANES].at_barrier |= 1u << block.now % LANES;
    stop();
    release_barrier();
    pass_turn();
}

/* ---- meetings of lanes ------------------------------------------------------------------------
 */

/* Lanes that meet must be there for the same; only a mere wait goes without those that ended. */
static void check_meeting(const warp &w, int first, unsigned me)
{
    const thread &mine = block.threads[block.now];
    char text[160];

    if ((mine.mask & me) == 0) fail_here("a lane's mask does not name itself");
    if (mine.operation != COC_WARP_SYNC && (w.ended & mine.mask) != 0) {
        snprintf(text, sizeof text, "%s of lanes %08x, of which %08x have ended or never were",
                 name_of(mine.operation), mine.mask, w.ended & mine.mask);
        fail_here(text);
    }
    for (unsigned others = w.meeting & mine.mask & ~me; others != 0; others &= others - 1) {
        const thread &other = block.threads[first + __builtin_ctz(others)];

        if ((other.mask & me) == 0) continue;
        if (other.operation == mine.operation && other.mask == mine.mask) return;
        snprintf(text, sizeof text, "%s of lanes %08x, but lane %d waits at %s of lanes %08x",
                 name_of(mine.operation), mine.mask, __builtin_ctz(others),
                 name_of(other.operation), other.mask);
        fail_here(text);
    }
}

/* Where all that the mask names are there, they go on. */
static void finish_meeting(int w, unsigned mask, coc_warp_operation operation)
{
    warp &here = block.warps[w];
    const unsigned lanes = mask & ~here.ended;
    void *data[LANES];

    if (lanes == 0 || (here.meeting & lanes) != lanes) return;
    for (unsigned left = lanes; left != 0; left &= left - 1)
        data[__builtin_ctz(left)] = block.threads[w * LANES + __builtin_ctz(left)].data;
    complete(operation, lanes, data);
    here.meeting &= ~lanes;
    wake(w, lanes);
    if (block.turns == SHUFFLED) block.now_warp = choose(block.runnable);
}

static void meet(coc_warp_operation operation, unsigned mask, void *data)
{
    const int w = block.now / LANES;
    const unsigned me = 1u << block.now % LANES;
    thread &mine = block.threads[block.now];

    mine.operation = operation;
    mine.mask = mask;
    mine.data = data;
    check_meeting(block.warps[w], w * LANES, me);
    block.warps[w].meeting |= me;
    stop();
    finish_meeting(w, mask, operation);
    pass_turn();
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* The thread whose turn it was has returned from the kernel. */
static void end_thread()
{
    const int w = block.now / LANES;
    const unsigned me = 1u << block.now % LANES;
    warp &here = block.warps[w];

    stop();
    block.threads[block.now].on = nullptr;
    here.ended |= me;
    block.left--;
    for (unsigned others = here.meeting; others != 0; others &= others - 1) {
        const thread &other = block.threads[w * LANES + __builtin_ctz(others)];

        if ((other.mask & me) == 0) continue;
        if (other.operation != COC_WARP_SYNC)
            fail_here(std::string("ends while a lane waits for it at ") + name_of(other.operation));
        finish_meeting(w, other.mask, other.operation);
        break;
    }
    release_barrier();
}

/* What a coroutine does for ever: one thread after another, for whoever gives it a turn. */
static void live()
{
    arrive_on(current);
    for (;;) {
        threadIdx = block.threads[block.now].index;
        (*block.of->body)();
        end_thread();

        const int next = choose_next();

        if (next == NOBODY && block.left > 0) fail_of_deadlock();
        block.now = next;
        if (next != NOBODY && block.threads[next].on == nullptr) {
            block.threads[next].on = current;
            continue;
        }
        idle[idle_count++] = current;
        change_to(next == NOBODY ? &host : block.threads[next].on);
    }
}

static void begin_threads()
{
    const dim3 size = block.of->threads;
    const int warps = (block.count + LANES - 1) / LANES;
    int i = 0;

    for (unsigned z = 0; z < size.z; z++)
        for (unsigned y = 0; y < size.y; y++)
            for (unsigned x = 0; x < size.x; x++)
                block.threads[i++].index = {x, y, z};
    for (int w = 0; w < warps; w++) {
        const int lanes = block.count - w * LANES;
        const unsigned living = lanes >= LANES ? 0xffffffffu : (1u << lanes) - 1;

        block.warps[w] = {living, 0, 0, ~living};
    }
    block.left = block.count;
    block.waiting = block.trues = 0;
    block.runnable = warps == LANES ? 0xffffffffu : (1u << warps) - 1;
    for (int t = 0; t < block.count && block.copying; t++) {
        block.threads[t].copies.waiting.clear();
        block.threads[t].copies.groups = 0;
    }
    block.copying = false;
}

static void run_block()
{
    block.of->begin_block();
    begin_threads();
    block.now_warp = choose(block.runnable);
    block.now = choose_next();
    block.threads[block.now].on = take_fiber();
    change_to(block.threads[block.now].on);
}

static order order_from_environment()
{
    const char *text = getenv("COC_EMULATOR_ORDER");

    if (text == nullptr || *text == '\0' || strcmp(text, "forward") == 0) return FORWARD;
    if (strcmp(text, "reverse") == 0) return REVERSE;
    if (strcmp(text, "shuffled") == 0) return SHUFFLED;
    coc_emulator_fail("COC_EMULATOR_ORDER is forward, reverse or shuffled");
}

/* Blocks have an order of the same kind: no block may rely on another's. */
void run(const grid &g)
{
    const unsigned long long x = g.blocks.x, y = g.blocks.y, count = x * y * g.blocks.z;
    unsigned long long stride = 1, at = 0;

    host.begun = true;
    block.of = &g;
    block.turns = order_from_environment();
    block.random = 12345;
    block.count = (int)(g.threads.x * g.threads.y * g.threads.z);
    gridDim = g.blocks;
    blockDim = g.threads;
    if (block.turns == REVERSE) stride = count - 1, at = count - 1;
    if (block.turns == SHUFFLED) stride = count % 7919 != 0 ? 7919 : 104729; /* primes */
    for (unsigned long long i = 0; i < count; i++) {
        blockIdx = {(unsigned)(at % x), (unsigned)(at / x % y), (unsigned)(at / x / y)};
        run_block();
        at = (at + stride) % count;
    }
    block.of = nullptr;
}

async_copies &copies_of_thread()
{
    block.copying = true;
    return block.threads[block.now].copies;
}

} // namespace coc_emulator

using namespace coc_emulator;

void coc_emulator_fail(const char *text)
{
    fail_here(text);
}

void __syncthreads()
{
    wait_at_barrier("__syncthreads", 0);
}

int __syncthreads_count(int predicate)
{
    wait_at_barrier("__syncthreads_count", predicate);
    return block.last_trues;
}

int __syncthreads_and(int predicate)
{
    wait_at_barrier("__syncthreads_and", predicate);
    return block.last_trues == block.last_waiting;
}

int __syncthreads_or(int predicate)
{
    wait_at_barrier("__syncthreads_or", predicate);
    return block.last_trues > 0;
}

void coc_emulator_warp(enum coc_warp_operation operation, unsigned mask, void *data)
{
    meet(operation, mask, data);
}

int coc_emulator_lane()
{
    return block.now % LANES;
}
