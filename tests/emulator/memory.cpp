/* tests/emulator/memory.cpp - device memory, and the dynamic shared memory of a block.
 *
 * Device memory is a region of addresses of its own, of which only allocations have pages, so that
 * what is freed or lies elsewhere crashes. An allocation ends shortly before a page that has none;
 * the margin between, too short to be a page, is watched: by address sanitizer, or by its bytes.
 *
 * The host may not touch device memory. Where the processor has protection keys, a thread is
 * forbidden all of it at the cost of one instruction; elsewhere pages are taken away (slower, hence
 * only when asked for). COC_EMULATOR_PROTECT=0 leaves it open.
 */
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <sys/mman.h>

#include "emulator.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COC_ADDRESS_SANITIZER
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(COC_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
enum { MARGINS_ARE_POISON = 1 };
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes)   ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
enum { MARGINS_ARE_POISON = 0 };
#endif

#if !defined(__x86_64__) || !defined(PKEY_DISABLE_ACCESS)
/* The same names, of a machine without keys. */
#define PKEY_DISABLE_ACCESS 1
static int pkey_alloc(unsigned, unsigned)
{
    return -1;
}
static int pkey_set(int, unsigned)
{
    return -1;
}
static int pkey_mprotect(void *, size_t, int, int)
{
    return -1;
}
#endif

namespace coc_emulator
{

enum { ALIGNMENT = 256, MARGIN = 0xfe };

size_t number_from(const char *name, size_t otherwise)
{
    const char *text = getenv(name);

    return text != nullptr && *text != '\0' ? (size_t)strtoull(text, nullptr, 10) : otherwise;
}

static size_t up_to(size_t multiple, size_t n)
{
    return (n + multiple - 1) / multiple * multiple;
}

struct allocation {
    char *pages;
    size_t page_bytes, bytes;
};

static struct {
    char *base;
    size_t room, limit, used;
    int key;                            /* of protection, or -1 */
    bool by_pages;                      /* protected without a key */
    int users;                          /* that may touch it; all of one host thread */
    std::map<char *, allocation> taken; /* by what the program was given */
} region = {nullptr, 0, 0, 0, -1, false, 0, {}};

/* Addresses are cheap: four times as many as there may be memory leave gaps enough. */
static void open_region()
{
    const size_t protect = number_from("COC_EMULATOR_PROTECT", 2); /* 2: if it is cheap */

    if (region.base != nullptr) return;
    region.limit = number_from("COC_EMULATOR_MEMORY", (size_t)4 << 30);
    region.room = up_to(PAGE, 4 * region.limit + ((size_t)1 << 30));
    region.base = static_cast<char *>(
        mmap(nullptr, region.room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (region.base == MAP_FAILED) coc_emulator_fail("no addresses for the device's memory");
    if (protect != 0) region.key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
    region.by_pages = protect == 1 && region.key < 0;
}

static void set_pages(const allocation &a, bool open)
{
    const int rights = open ? PROT_READ | PROT_WRITE : PROT_NONE;
    const int wrong = region.key >= 0 ? pkey_mprotect(a.pages, a.page_bytes, rights, region.key)
                                      : mprotect(a.pages, a.page_bytes, rights);

    if (wrong != 0) coc_emulator_fail("the pages of an allocation cannot be changed");
}

access::access()
{
    device.lock();
    open_region();
    if (region.users++ > 0) return;
    if (region.key >= 0) pkey_set(region.key, 0);
    for (auto i = region.taken.begin(); region.by_pages && i != region.taken.end(); ++i)
        set_pages(i->second, true);
}

access::~access()
{
    if (--region.users == 0) {
        if (region.key >= 0) pkey_set(region.key, PKEY_DISABLE_ACCESS);
        for (auto i = region.taken.begin(); region.by_pages && i != region.taken.end(); ++i)
            set_pages(i->second, false);
    }
    device.unlock();
}

size_t memory_size()
{
    open_region();
    return region.limit;
}

size_t memory_used()
{
    return region.used;
}

/* The first gap of so many bytes, with a page to spare on both sides. */
static char *find_gap(size_t bytes)
{
    char *at = region.base + PAGE;

    for (const auto &[place, a] : region.taken) {
        if (a.pages >= at + bytes + PAGE) break;
        at = a.pages + a.page_bytes + PAGE;
    }
    return at + bytes + PAGE <= region.base + region.room ? at : nullptr;
}

void *take(size_t bytes)
{
    const access here;
    const size_t whole = up_to(ALIGNMENT, bytes > 0 ? bytes : 1);
    allocation a = {nullptr, up_to(PAGE, whole), bytes};

    if (whole > region.limit - region.used) return nullptr;
    a.pages = find_gap(a.page_bytes);
    if (a.pages == nullptr) return nullptr;
    set_pages(a, true);

    char *place = a.pages + (a.page_bytes - whole);

    ASAN_UNPOISON_MEMORY_REGION(a.pages, a.page_bytes);
    memset(a.pages, MARGIN, (size_t)(place - a.pages));
    memset(place, 0xff, bytes);
    memset(place + bytes, MARGIN, whole - bytes);
    ASAN_POISON_MEMORY_REGION(a.pages, (size_t)(place - a.pages));
    ASAN_POISON_MEMORY_REGION(place + bytes, whole - bytes);
    region.taken[place] = a;
    region.used += whole;
    return place;
}

static bool is_margin(const char *from, const char *to)
{
    while (from < to && (unsigned char)*from == MARGIN)
        from++;
    return from == to;
}

static void check_allocation(const char *place, const allocation &a, const char *who)
{
    char text[300];

    if (MARGINS_ARE_POISON || is_margin(place + a.bytes, a.pages + a.page_bytes)) return;
    snprintf(text, sizeof text, "%s wrote beyond the end of %zu bytes of device memory", who,
             a.bytes);
    coc_emulator_fail(text);
}

void check_margins(const char *who)
{
    for (const auto &[place, a] : region.taken)
        check_allocation(place, a, who);
}

bool give_back(void *memory)
{
    const access here;
    const auto at = region.taken.find(static_cast<char *>(memory));

    if (at == region.taken.end()) return false;
    const allocation a = at->second;

    check_allocation(at->first, a, "someone");
    if (!MARGINS_ARE_POISON && !is_margin(a.pages, at->first))
        coc_emulator_fail("something wrote before the beginning of device memory");
    region.used -= up_to(ALIGNMENT, a.bytes > 0 ? a.bytes : 1);
    region.taken.erase(at);
    ASAN_UNPOISON_MEMORY_REGION(a.pages, a.page_bytes);
    madvise(a.pages, a.page_bytes, MADV_DONTNEED);
    set_pages(a, false);
    return true;
}

bool device_address(const void *p)
{
    return p >= region.base && p < region.base + region.room && region.base != nullptr;
}

bool on_device(const void *p, size_t bytes)
{
    const guard lock(device);
    const char *at = static_cast<const char *>(p);
    auto after = region.taken.upper_bound(const_cast<char *>(at));

    if (after == region.taken.begin()) return false;
    --after;
    return at <= after->first + after->second.bytes &&
           bytes <= (size_t)(after->first + after->second.bytes - at);
}

/* ---- dynamic shared memory: it too ends shortly before a page that has none --------------------
 */

enum { MOST_SHARED = 228 << 10, SHARED_ALIGNMENT = 128 };

static char *shared_room, *shared;
static size_t shared_bytes;

void set_shared(size_t bytes)
{
    if (shared_room == nullptr) {
        shared_room = static_cast<char *>(mmap(nullptr, MOST_SHARED + PAGE, PROT_NONE,
                                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        if (shared_room == MAP_FAILED ||
            mprotect(shared_room, MOST_SHARED, PROT_READ | PROT_WRITE) != 0)
            coc_emulator_fail("no pages for shared memory");
    }
    shared = shared_room + (MOST_SHARED - up_to(SHARED_ALIGNMENT, bytes));
    shared_bytes = bytes;
    ASAN_POISON_MEMORY_REGION(shared_room, MOST_SHARED);
    ASAN_UNPOISON_MEMORY_REGION(shared, bytes);
}

void fill_shared()
{
    memset(shared, 0xff, shared_bytes);
}

} // namespace coc_emulator

void *coc_emulator_shared()
{
    return coc_emulator::shared;
}
