/* comm/staged.c - the `staged` row: tensors on a device, moved through pinned host memory by a
 * communicator of the host. Works with any MPI, and where several ranks share a device; the host
 * waits for the device at the start of every collective, and so cannot record one.
 *
 * One process alone needs no detour: its row copies on the device and waits for nobody. */
#include <stdlib.h>

#include "base/memory.h"
#include "comm/device_comm.h"

/* A started collective; what coc_request stands for here. */
typedef struct staged {
    struct staged *next; /* among the idle ones */
    coc_request *inner;
    /* The stream may still read the memory when the collective is over: the request is used again
     * for the same stream only, which writes there later. */
    coc_stream *stream;
    char *memory; /* pinned */
    size_t room;
    void *to; /* on the device; gets `bytes` from the memory, `from` bytes behind its beginning */
    size_t from, bytes;
} staged;

typedef struct staged_comm {
    coc_comm_ops ops; /* the row, with the side of the device */
    struct staged_comm *parent;
    coc_comm *comm; /* whose impl this is */
    coc_comm *host; /* borrowed, or of a subgroup its own */
    bool owns_host;
    const coc_device *device;
    staged *idle; /* finished requests, with their memory */
} staged_comm;

static staged_comm *state_of(const coc_comm *comm)
{
    return comm->impl;
}

/* The host's communicator, which is to speak of the step that the loop has set on the outermost. */
static coc_comm *host_of(coc_comm *comm)
{
    const staged_comm *s = state_of(comm), *top = s;

    while (top->parent != NULL)
        top = top->parent;
    top->host->step = top->comm->step;
    s->host->deadline = comm->deadline;
    return s->host;
}

/* ---- requests ------------------------------------------------------------------------------- */

static coc_status copy(const coc_device *device, void *to, const void *from, size_t bytes,
                       coc_stream *stream)
{
    return bytes > 0 && to != from ? device->copy(device, to, from, bytes, stream) : COC_OK;
}

/* One of the same stream; of those rather one that has room. */
static staged *find_idle(staged_comm *s, size_t bytes, coc_stream *stream)
{
    staged **best = NULL, *found;

    for (staged **r = &s->idle; *r != NULL; r = &(*r)->next) {
        if ((*r)->stream != stream) continue;
        if (best == NULL || (*best)->room < bytes) best = r;
    }
    if (best == NULL) return NULL;
    found = *best;
    *best = found->next;
    return found;
}

static void give_back(staged_comm *s, staged *r)
{
    r->next = s->idle;
    s->idle = r;
}

static coc_status make_room(const coc_device *device, staged *r, size_t bytes)
{
    void *memory;

    if (bytes <= r->room) return COC_OK;
    COC_TRY(device->wait(device, r->stream)); /* it may be read from */
    device->release_host(device, r->memory);
    r->memory = NULL;
    r->room = 0;
    COC_TRY(device->alloc_host(device, bytes, &memory));
    r->memory = memory;
    r->room = bytes;
    return COC_OK;
}

/* A request with `bytes` of memory. */
static coc_status take_request(staged_comm *s, size_t bytes, coc_stream *stream, staged **request)
{
    staged *r = find_idle(s, bytes, stream);
    coc_status status;

    *request = NULL;
    if (r == NULL) {
        COC_TRY(coc_alloc(1, sizeof *r, &r));
        r->stream = stream;
    }
    status = make_room(s->device, r, bytes);
    if (status != COC_OK) {
        give_back(s, r);
        return status;
    }
    *request = r;
    return COC_OK;
}

/* Take `bytes` of the device's to the memory, at `at`; the host may read them when this is over,
 * and write: what the stream read there before, it has read, also where nothing is fetched. */
static coc_status fetch(staged_comm *s, staged *r, size_t at, const void *send, size_t bytes)
{
    coc_status status;

    status = copy(s->device, r->memory + at, send, bytes, r->stream);
    if (status == COC_OK) status = s->device->wait(s->device, r->stream);
    if (status != COC_OK) give_back(s, r);
    return status;
}

/* The end of every start, with what the host's said. After a failure of that the program ends, and
 * MPI may still write into the memory: it is left alone. */
static coc_status started(staged *r, coc_status status, void *to, size_t from, size_t bytes,
                          coc_request **request)
{
    r->to = to;
    r->from = from;
    r->bytes = bytes;
    if (status == COC_OK) *request = (coc_request *)(void *)r;
    return status;
}

static coc_status staged_wait(coc_comm *comm, coc_request **request)
{
    staged_comm *s = state_of(comm);
    staged *r = (staged *)(void *)*request;
    coc_status status;

    *request = NULL;
    if (r == NULL) return COC_OK;
    COC_TRY(s->host->ops->wait(s->host, &r->inner));
    status = copy(s->device, r->to, r->memory + r->from, r->bytes, r->stream);
    give_back(s, r);
    return status;
}

/* ---- collectives ---------------------------------------------------------------------------- */

static size_t bytes_before(const int64_t *counts, int rank, coc_type type)
{
    int64_t sum = 0;

    for (int r = 0; r < rank; r++)
        sum += counts[r];
    return (size_t)sum * coc_type_bytes(type);
}

static coc_status start_all_gather(coc_comm *comm, const char *what, const void *send, void *recv,
                                   const int64_t *counts, coc_type type, coc_stream *stream,
                                   coc_request **request)
{
    coc_comm *host = host_of(comm);
    const size_t total = bytes_before(counts, comm->size, type);
    const size_t at = bytes_before(counts, comm->rank, type);
    coc_status status;
    staged *r;

    *request = NULL;
    COC_TRY(take_request(state_of(comm), total, stream, &r));
    COC_TRY(fetch(state_of(comm), r, at, send, (size_t)counts[comm->rank] * coc_type_bytes(type)));
    status = host->ops->start_all_gather(host, what, r->memory + at, r->memory, counts, type, NULL,
                                         &r->inner);
    return started(r, status, recv, 0, total, request);
}

/* Where what is brought begins in the memory, behind `bytes` that are sent. */
static size_t behind(size_t bytes)
{
    static const size_t aligned = 64;

    return (bytes + aligned - 1) / aligned * aligned;
}

static coc_status start_reduce_scatter(coc_comm *comm, const char *what, const void *send,
                                       void *recv, const int64_t *counts, coc_type type,
                                       coc_stream *stream, coc_request **request)
{
    coc_comm *host = host_of(comm);
    const size_t total = bytes_before(counts, comm->size, type), at = behind(total);
    const size_t own = (size_t)counts[comm->rank] * coc_type_bytes(type);
    coc_status status;
    staged *r;

    *request = NULL;
    COC_TRY(take_request(state_of(comm), at + own, stream, &r));
    COC_TRY(fetch(state_of(comm), r, 0, send, total));
    status = host->ops->start_reduce_scatter(host, what, r->memory, r->memory + at, counts, type,
                                             NULL, &r->inner);
    return started(r, status, recv, at, own, request);
}

static coc_status start_rotate(coc_comm *comm, const char *what, const void *send, void *recv,
                               const int64_t *counts, coc_type type, coc_stream *stream,
                               coc_request **request)
{
    coc_comm *host = host_of(comm);
    const int previous = (comm->rank + comm->size - 1) % comm->size;
    const size_t sent = (size_t)counts[comm->rank] * coc_type_bytes(type), at = behind(sent);
    const size_t brought = (size_t)counts[previous] * coc_type_bytes(type);
    coc_status status;
    staged *r;

    *request = NULL;
    COC_TRY(take_request(state_of(comm), at + brought, stream, &r));
    COC_TRY(fetch(state_of(comm), r, 0, send, sent));
    status = host->ops->start_rotate(host, what, r->memory, r->memory + at, counts, type, NULL,
                                     &r->inner);
    return started(r, status, recv, at, brought, request);
}

static coc_status start_all_reduce(coc_comm *comm, const char *what, void *buffer, int64_t count,
                                   coc_type type, coc_stream *stream, coc_request **request)
{
    coc_comm *host = host_of(comm);
    const size_t bytes = (size_t)count * coc_type_bytes(type);
    coc_status status;
    staged *r;

    *request = NULL;
    COC_TRY(take_request(state_of(comm), bytes, stream, &r));
    COC_TRY(fetch(state_of(comm), r, 0, buffer, bytes));
    status = host->ops->start_all_reduce(host, what, r->memory, count, type, NULL, &r->inner);
    return started(r, status, buffer, 0, bytes, request);
}

/* The root's stays where it is; the others write what they get over what they have. */
static coc_status start_broadcast(coc_comm *comm, const char *what, void *buffer, int64_t count,
                                  coc_type type, int root, coc_stream *stream,
                                  coc_request **request)
{
    coc_comm *host = host_of(comm);
    const size_t bytes = (size_t)count * coc_type_bytes(type);
    const bool is_root = comm->rank == root;
    coc_status status;
    staged *r;

    *request = NULL;
    COC_TRY(take_request(state_of(comm), bytes, stream, &r));
    COC_TRY(fetch(state_of(comm), r, 0, buffer, is_root ? bytes : 0));
    status = host->ops->start_broadcast(host, what, r->memory, count, type, root, NULL, &r->inner);
    return started(r, status, buffer, 0, is_root ? 0 : bytes, request);
}

/* What the device was given waits for no other rank. */
static coc_status wait_device(coc_comm *comm, const coc_device *device, coc_stream *stream)
{
    (void)comm;
    return device->wait(device, stream);
}

/* ---- one process alone ---------------------------------------------------------------------- */

static coc_status alone_all_gather(coc_comm *comm, const char *what, const void *send, void *recv,
                                   const int64_t *counts, coc_type type, coc_stream *stream,
                                   coc_request **request)
{
    (void)what;
    *request = NULL;
    return copy(state_of(comm)->device, recv, send, (size_t)counts[0] * coc_type_bytes(type),
                stream);
}

static coc_status alone_all_reduce(coc_comm *comm, const char *what, void *buffer, int64_t count,
                                   coc_type type, coc_stream *stream, coc_request **request)
{
    (void)comm, (void)what, (void)buffer, (void)count, (void)type, (void)stream;
    *request = NULL;
    return COC_OK;
}

static coc_status alone_broadcast(coc_comm *comm, const char *what, void *buffer, int64_t count,
                                  coc_type type, int root, coc_stream *stream,
                                  coc_request **request)
{
    (void)root;
    return alone_all_reduce(comm, what, buffer, count, type, stream, request);
}

static coc_status alone_wait(coc_comm *comm, coc_request **request)
{
    (void)comm;
    *request = NULL;
    return COC_OK;
}

/* ---- making --------------------------------------------------------------------------------- */

static void destroy(coc_comm *comm)
{
    staged_comm *s = state_of(comm);

    for (staged *r = s->idle; r != NULL; r = s->idle) {
        s->idle = r->next;
        (void)s->device->wait(s->device, r->stream); /* it may be read from */
        s->device->release_host(s->device, r->memory);
        free(r);
    }
    if (s->owns_host) coc_comm_destroy(&s->host);
    free(s);
    free(comm);
}

static coc_status subgroup(coc_comm *comm, int first, int last, coc_comm **sub);

static coc_status take_memory(coc_comm *comm, size_t bytes, void **memory)
{
    const coc_device *device = state_of(comm)->device;

    return device->alloc(device, bytes, memory);
}

static void give_memory(coc_comm *comm, void *memory)
{
    const coc_device *device = state_of(comm)->device;

    device->release(device, memory);
}

static const coc_comm_ops staged_ops = {.name = "staged",
                                        .start_all_gather = start_all_gather,
                                        .start_reduce_scatter = start_reduce_scatter,
                                        .start_all_reduce = start_all_reduce,
                                        .start_broadcast = start_broadcast,
                                        .start_rotate = start_rotate,
                                        .wait = staged_wait,
                                        .alloc = take_memory,
                                        .release = give_memory,
                                        .wait_device = wait_device,
                                        .subgroup = subgroup,
                                        .destroy = destroy};

static const coc_comm_ops alone_ops = {.name = "alone",
                                       .on_stream = true,
                                       .start_all_gather = alone_all_gather,
                                       .start_reduce_scatter = alone_all_gather,
                                       .start_all_reduce = alone_all_reduce,
                                       .start_broadcast = alone_broadcast,
                                       .start_rotate = alone_all_gather,
                                       .wait = alone_wait,
                                       .alloc = take_memory,
                                       .release = give_memory,
                                       .wait_device = wait_device,
                                       .subgroup = subgroup,
                                       .destroy = destroy};

static coc_status create(coc_comm *host, staged_comm *parent, const coc_device *device,
                         coc_comm **comm)
{
    staged_comm *s = NULL;
    coc_status status = coc_alloc(1, sizeof **comm, comm);

    if (status == COC_OK) status = coc_alloc(1, sizeof *s, &s);
    if (status != COC_OK) {
        free(*comm);
        *comm = NULL;
        return status;
    }
    *s = (staged_comm){.ops = host->size == 1 ? alone_ops : staged_ops,
                       .parent = parent,
                       .comm = *comm,
                       .host = host,
                       .owns_host = parent != NULL,
                       .device = device};
    s->ops.side = device->side;
    s->ops.tree_most = host->ops->tree_most; /* it does the adding */
    **comm = *host;
    (*comm)->ops = &s->ops;
    (*comm)->control = host;
    (*comm)->impl = s;
    return COC_OK;
}

static coc_status subgroup(coc_comm *comm, int first, int last, coc_comm **sub)
{
    coc_comm *host = host_of(comm), *part;
    coc_status status;

    *sub = NULL;
    COC_TRY(host->ops->subgroup(host, first, last, &part));
    status = create(part, state_of(comm), state_of(comm)->device, sub);
    if (status != COC_OK) coc_comm_destroy(&part);
    return status;
}

coc_status coc_comm_staged(coc_comm *host, const coc_device *device, coc_comm **comm)
{
    return create(host, NULL, device, comm);
}
