#define _DEFAULT_SOURCE /* madvise */
#include "base/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"

enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20 };

static coc_status host_alloc(const coc_device *device, size_t bytes, void **memory)
{
    const size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : ALIGNMENT;

    (void)device;
    *memory = NULL;
    bytes = (bytes + alignment - 1) / alignment * alignment;
    if (posix_memalign(memory, alignment, bytes > 0 ? bytes : alignment) != 0) {
        *memory = NULL;
        return COC_FAIL(COC_ERR_MEMORY,
                        "no memory for %.1f MB; set train.micro_batch, or lower train.batch or the "
                        "model's width",
                        1e-6 * (double)bytes);
    }
    /* a refusal only costs speed */
    if (bytes >= HUGE_PAGE) (void)madvise(*memory, bytes, MADV_HUGEPAGE);
    return COC_OK;
}

static coc_status host_enter(const coc_device *device)
{
    (void)device;
    return COC_OK;
}

static void host_release(const coc_device *device, void *memory)
{
    (void)device;
    free(memory);
}

static coc_status host_copy(const coc_device *device, void *to, const void *from, size_t bytes,
                            coc_stream *stream)
{
    (void)device;
    (void)stream;
    memcpy(to, from, bytes);
    return COC_OK;
}

static coc_status host_copy_rows(const coc_device *device, void *to, size_t to_stride,
                                 const void *from, size_t from_stride, size_t bytes, int64_t rows,
                                 coc_stream *stream)
{
    (void)device;
    (void)stream;
    for (int64_t i = 0; i < rows; i++)
        memcpy((char *)to + (size_t)i * to_stride, (const char *)from + (size_t)i * from_stride,
               bytes);
    return COC_OK;
}

static coc_status host_zero(const coc_device *device, void *memory, size_t bytes,
                            coc_stream *stream)
{
    (void)device;
    (void)stream;
    memset(memory, 0, bytes);
    return COC_OK;
}

/* A line "Name:   123 kB" of the system's table, in bytes; 0 when it has none. */
static int64_t meminfo(const char *name)
{
    FILE *f = fopen("/proc/meminfo", "r");
    const size_t length = strlen(name);
    long long kilobytes = 0;
    char line[128];

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, length) == 0 && sscanf(line + length, ": %lld", &kilobytes) == 1)
            break;
    if (f != NULL) fclose(f);
    return kilobytes * 1024;
}

static coc_status host_memory(const coc_device *device, int64_t *left, int64_t *all)
{
    (void)device;
    *left = meminfo("MemAvailable");
    *all = meminfo("MemTotal");
    return COC_OK;
}

static coc_status host_wait(const coc_device *device, coc_stream *stream)
{
    (void)device;
    (void)stream;
    return COC_OK;
}

static coc_status host_done(const coc_device *device, coc_stream *stream, bool *done)
{
    (void)device;
    (void)stream;
    *done = true;
    return COC_OK;
}

static coc_status host_stream_create(const coc_device *device, bool background, coc_stream **stream)
{
    (void)device;
    (void)background;
    *stream = NULL;
    return COC_OK;
}

static void host_stream_destroy(const coc_device *device, coc_stream *stream)
{
    (void)device;
    (void)stream;
}

static coc_status host_order(const coc_device *device, coc_stream *stream, coc_stream *first)
{
    (void)device;
    (void)stream;
    (void)first;
    return COC_OK;
}

static coc_status host_mark_create(const coc_device *device, coc_mark **mark)
{
    (void)device;
    *mark = NULL;
    return COC_OK;
}

static void host_mark_destroy(const coc_device *device, coc_mark *mark)
{
    (void)device;
    (void)mark;
}

static coc_status host_mark_set(const coc_device *device, coc_mark *mark, coc_stream *stream)
{
    (void)device;
    (void)mark;
    (void)stream;
    return COC_OK;
}

static coc_status host_mark_wait(const coc_device *device, coc_mark *mark)
{
    (void)device;
    (void)mark;
    return COC_OK;
}

const coc_device *coc_device_host(void)
{
    static const coc_device host = {.name = "host",
                                    .side = COC_HOST,
                                    .enter = host_enter,
                                    .alloc = host_alloc,
                                    .release = host_release,
                                    .copy = host_copy,
                                    .copy_rows = host_copy_rows,
                                    .zero = host_zero,
                                    .memory = host_memory,
                                    .wait = host_wait,
                                    .done = host_done,
                                    .alloc_host = host_alloc,
                                    .release_host = host_release,
                                    .stream_create = host_stream_create,
                                    .stream_destroy = host_stream_destroy,
                                    .order = host_order,
                                    .mark_create = host_mark_create,
                                    .mark_destroy = host_mark_destroy,
                                    .mark_set = host_mark_set,
                                    .mark_wait = host_mark_wait};

    return &host;
}

coc_status coc_device_alloc(const coc_device *device, int64_t count, size_t size, void *out_pointer)
{
    void *memory = NULL;
    const coc_status status = device->alloc(device, (size_t)count * size, &memory);

    memcpy(out_pointer, &memory, sizeof memory);
    return status;
}

coc_status coc_device_record(const coc_device *device, coc_stream *stream,
                             coc_status (*give)(void *), void *context, coc_graph **graph)
{
    coc_status status, ended;

    *graph = NULL;
    COC_TRY(device->record(device, stream));
    status = give(context);
    ended = device->recorded(device, stream, graph);
    if (status == COC_OK) status = ended;
    if (status == COC_OK) return COC_OK;
    if (*graph != NULL) device->graph_destroy(device, *graph);
    *graph = NULL;
    return status;
}

coc_status coc_arena_create(coc_arena *arena, const coc_device *device, size_t bytes)
{
    void *memory;

    *arena = (coc_arena){.device = device, .bytes = bytes};
    COC_TRY(device->alloc(device, bytes, &memory));
    arena->memory = memory;
    return COC_OK;
}

void coc_arena_destroy(coc_arena *arena)
{
    if (arena->memory != NULL) arena->device->release(arena->device, arena->memory);
    *arena = (coc_arena){0};
}

void *coc_arena_take(coc_arena *arena, int64_t count, size_t size)
{
    const size_t start = arena->used;
    const size_t bytes = ((size_t)count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;

    arena->used += bytes;
    if (arena->memory == NULL) return NULL;
    if (arena->used > arena->bytes) {
        coc_log_rank("internal error: an arena of %zu bytes was asked for %zu", arena->bytes,
                     arena->used);
        abort(); /* the two layout runs differ: no caller could go on */
    }
    return arena->memory + start;
}
