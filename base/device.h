/* base/device.h - where tensors live: memory and streams of the host or of an accelerator.
 *
 * Backends (model/ops.h, preprocess/features.h) and communicators (comm/comm.h) take their memory
 * from a coc_device and name the side of every pointer. On the host a stream is NULL and every call
 * has finished when it returns. On an accelerator calls are done in the order of their stream, some
 * time later: memory that one of them reads or writes stays as it is until `wait`, host memory too.
 *
 * Calls can be recorded once and launched many times (a graph): between record and recorded,
 * nothing given to the stream is done, nothing may be allocated or waited for, and host memory that
 * is copied from or to must come from alloc_host.
 */
#ifndef COC_BASE_DEVICE_H
#define COC_BASE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef enum { COC_HOST, COC_ACCELERATOR } coc_side;
typedef struct coc_stream coc_stream; /* opaque; NULL: the host, or the device's main stream */
typedef struct coc_graph coc_graph;   /* opaque: recorded calls */
typedef struct coc_mark coc_mark;     /* opaque: a place in the work of a stream; NULL: the host */
typedef struct coc_device coc_device;

struct coc_device {
    const char *name;
    coc_side side;
    /* Called by every thread that uses the device, but for the one that opened it. */
    coc_status (*enter)(const coc_device *device);
    /* Memory aligned to 64 bytes or more, not initialised. Errors: COC_ERR_MEMORY, COC_ERR_DEVICE.
     */
    coc_status (*alloc)(const coc_device *device, size_t bytes, void **memory);
    void (*release)(const coc_device *device, void *memory); /* takes NULL */
    /* Copies between any two sides of this device and the host, in stream order. */
    coc_status (*copy)(const coc_device *device, void *to, const void *from, size_t bytes,
                       coc_stream *stream);
    /* The same for `rows` rows of `bytes` each, whose beginnings lie to_stride and from_stride
     * bytes apart. */
    coc_status (*copy_rows)(const coc_device *device, void *to, size_t to_stride, const void *from,
                            size_t from_stride, size_t bytes, int64_t rows, coc_stream *stream);
    coc_status (*zero)(const coc_device *device, void *memory, size_t bytes, coc_stream *stream);
    /* Bytes that can still be had, and that there are in all; 0: not known. */
    coc_status (*memory)(const coc_device *device, int64_t *left, int64_t *all);
    /* Wait until the stream has done everything; reports what failed on it. */
    coc_status (*wait)(const coc_device *device, coc_stream *stream);
    /* Whether it has, without waiting. */
    coc_status (*done)(const coc_device *device, coc_stream *stream, bool *done);

    /* Host memory that the device copies from and to without a detour. Not initialised. */
    coc_status (*alloc_host)(const coc_device *device, size_t bytes, void **memory);
    void (*release_host)(const coc_device *device, void *memory); /* takes NULL */

    /* A stream beside the main one; the background one gives way to the main stream's work. On the
     * host: NULL. Errors: COC_ERR_DEVICE. */
    coc_status (*stream_create)(const coc_device *device, bool background, coc_stream **stream);
    void (*stream_destroy)(const coc_device *device, coc_stream *stream); /* takes NULL */
    /* What `stream` is given from now on is done after all that `first` has been given so far. */
    coc_status (*order)(const coc_device *device, coc_stream *stream, coc_stream *first);

    /* A mark stands after all that a stream had been given when it was last set. mark_wait waits
     * for that and for nothing after it, on any thread; it returns at once where the mark was never
     * set. Not set while the stream is recorded. Errors: COC_ERR_DEVICE. */
    coc_status (*mark_create)(const coc_device *device, coc_mark **mark);
    void (*mark_destroy)(const coc_device *device, coc_mark *mark); /* takes NULL */
    coc_status (*mark_set)(const coc_device *device, coc_mark *mark, coc_stream *stream);
    coc_status (*mark_wait)(const coc_device *device, coc_mark *mark);

    /* Whether the four below work; where not they are never called. */
    bool records;
    coc_status (*record)(const coc_device *device, coc_stream *stream);
    /* *graph NULL after a failure. */
    coc_status (*recorded)(const coc_device *device, coc_stream *stream, coc_graph **graph);
    coc_status (*launch)(const coc_device *device, coc_graph *graph, coc_stream *stream);
    void (*graph_destroy)(const coc_device *device, coc_graph *graph); /* takes NULL */
};

/* Memory for count elements of the given size, by device->alloc; *out NULL after a failure. The
 * caller gives it back with device->release. */
coc_status coc_device_alloc(const coc_device *device, int64_t count, size_t size,
                            void *out_pointer);

/* Record what `give` gives to the stream. The recording ends in any case: a stream that records can
 * do nothing else. *graph NULL after a failure. Errors: those of give, COC_ERR_DEVICE. */
coc_status coc_device_record(const coc_device *device, coc_stream *stream,
                             coc_status (*give)(void *context), void *context, coc_graph **graph);

/* The host. Big blocks ask for huge pages; pages are touched first by whoever writes them first. */
const coc_device *coc_device_host(void);

/* One allocation, cut into aligned pieces. The same layout function is run twice: first on an arena
 * without memory, which only counts, then on one that has what was counted:
 *
 *     coc_arena arena = {0};
 *     layout(&arena, net);                                   pieces are NULL, arena.used grows
 *     COC_TRY(coc_arena_create(&arena, device, arena.used));
 *     layout(&arena, net);                                   pieces are real
 */
typedef struct {
    const coc_device *device;
    char *memory; /* NULL while counting */
    size_t bytes, used;
} coc_arena;

coc_status coc_arena_create(coc_arena *arena, const coc_device *device, size_t bytes);
void coc_arena_destroy(coc_arena *arena);
/* The next piece, 64-byte aligned; NULL while counting. Taking more than was counted is a fault of
 * the program and ends in a message at once. */
void *coc_arena_take(coc_arena *arena, int64_t count, size_t size);

#endif
