/* comm/mpi.c - the `mpi` row: nonblocking MPI collectives on host memory.
 *
 * MPI counts are int. What does not fit is moved in pieces, rank by rank: a case for embeddings of
 * billions of values, kept simple rather than fast.
 */
#include "comm/mpi_comm.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "comm/host_memory.h"
#include "comm/watch.h"

static int64_t piece = COC_MPI_MOST_AT_ONCE;

/* Of messages between two ranks. */
enum { TAG_HERE = 1, TAG_ID, TAG_ROTATE, TAG_ROTATE_HERE };

void coc_mpi_set_piece(int64_t elements)
{
    piece = elements;
}

coc_status coc_mpi_check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;

    if (code == MPI_SUCCESS) return COC_OK;
    MPI_Error_string(code, text, &length);
    return COC_FAIL(COC_ERR_RANKS, "collective '%s': MPI says: %s", what, text);
}

static MPI_Datatype mpi_type(coc_type type)
{
    switch (type) {
    case COC_BYTE:
        return MPI_UINT8_T;
    case COC_INT32:
        return MPI_INT32_T;
    case COC_INT64:
        return MPI_INT64_T;
    case COC_FLOAT:
        return MPI_FLOAT;
    case COC_DOUBLE:
        break;
    }
    return MPI_DOUBLE;
}

/* ---- requests */

static void free_request(coc_request *request)
{
    free(request->handles);
    free(request->layout);
    free(request);
}

static void give_back(coc_mpi_comm *state, coc_request *request)
{
    request->next = state->idle;
    state->idle = request;
}

/* A request of the next collective. Every rank counts it, so a failure from here on is the end of
 * the communicator. */
static coc_status begin(coc_comm *comm, const char *what, coc_request **out)
{
    coc_mpi_comm *state = comm->impl;
    const coc_comm *top = comm;
    coc_request *request = state->idle;

    *out = NULL;
    COC_TRY(coc_watch_broken());
    if (request != NULL) {
        state->idle = request->next;
    } else {
        COC_TRY(coc_alloc(1, sizeof *request, &request));
        if (coc_alloc(4 * comm->size, sizeof *request->layout, &request->layout) != COC_OK) {
            free_request(request);
            return COC_ERR_MEMORY;
        }
    }
    while (((const coc_mpi_comm *)top->impl)->parent != NULL)
        top = ((const coc_mpi_comm *)top->impl)->parent; /* the loop sets the step there */
    request->what = what;
    request->step = top->step;
    request->handle_count = 0;
    request->here_count = 0;
    request->number = coc_where_start(&state->count, request->step, what);
    *out = request;
    return COC_OK;
}

/* Room for one more MPI request. */
static coc_status next_handle(coc_request *request, MPI_Request **handle)
{
    COC_TRY(coc_grow(&request->handles, &request->handle_capacity, request->handle_count + 1,
                     sizeof(MPI_Request)));
    *handle = &request->handles[request->handle_count++];
    **handle = MPI_REQUEST_NULL;
    return COC_OK;
}

/* Polling for data that moves wants all of a core; polling for a rank that is late wants nearly
 * none. So a large collective carries word that those are here between whom data moves: a barrier,
 * or empty messages between neighbours (comm/mpi_watch.c). */
static bool expects_data(const coc_comm *comm, coc_request *request, int64_t bytes)
{
    static const int64_t large = 32 << 10;
    static const double slow_network = 100e6; /* bytes a second */

    if (bytes < large || comm->size == 1) return false;
    request->moving_time = (double)bytes / slow_network;
    return true;
}

static coc_status expect_all(coc_comm *comm, coc_request *request)
{
    return coc_mpi_check(
        MPI_Ibarrier(((coc_mpi_comm *)comm->impl)->mpi, &request->here[request->here_count++]),
        request->what);
}

/* Of a rotation. Others are not waited for: they may be a whole rotation behind. */
static coc_status expect_neighbours(coc_comm *comm, coc_request *request)
{
    const int neighbour[2] = {(comm->rank + 1) % comm->size,
                              (comm->rank + comm->size - 1) % comm->size};
    const MPI_Comm mpi = ((coc_mpi_comm *)comm->impl)->mpi;

    for (int i = 0; i < 2; i++) {
        COC_TRY(coc_mpi_check(MPI_Irecv(NULL, 0, MPI_BYTE, neighbour[i], TAG_ROTATE_HERE, mpi,
                                        &request->here[request->here_count++]),
                              request->what));
        COC_TRY(coc_mpi_check(MPI_Isend(NULL, 0, MPI_BYTE, neighbour[i], TAG_ROTATE_HERE, mpi,
                                        &request->here[request->here_count++]),
                              request->what));
    }
    return COC_OK;
}

/* The end of every start: hand the request out, or drop it. What MPI may still write into is left
 * alone: after a failure here the program ends. */
static coc_status hand_out(coc_comm *comm, coc_request *request, coc_status status,
                           coc_request **out)
{
    if (status == COC_OK) {
        *out = request;
    } else if (request->handle_count == 0) {
        coc_mpi_give_slabs(comm->impl, &request->slabs);
        give_back(comm->impl, request);
    }
    return status;
}

/* The same of a collective in which all wait for all, of elements in all. */
static coc_status started(coc_comm *comm, coc_request *request, coc_status status, int64_t elements,
                          coc_type type, coc_request **out)
{
    if (status == COC_OK && expects_data(comm, request, elements * (int64_t)coc_type_bytes(type)))
        status = expect_all(comm, request);
    return hand_out(comm, request, status, out);
}

/* ---- pieces */

static int64_t sum_of(const int64_t *counts, int n)
{
    int64_t sum = 0;

    for (int i = 0; i < n; i++)
        sum += counts[i];
    return sum;
}

static int64_t largest_of(const int64_t *counts, int n)
{
    int64_t largest = 0;

    for (int i = 0; i < n; i++)
        if (counts[i] > largest) largest = counts[i];
    return largest;
}

/* counts and, with offsets [size] behind them, where they begin. */
static int *lay_out(int *layout, const int64_t *counts, int size)
{
    int offset = 0;

    for (int rank = 0; rank < size; rank++) {
        layout[rank] = (int)counts[rank];
        layout[size + rank] = offset;
        offset += layout[rank];
    }
    return layout + size;
}

typedef struct {
    coc_request *request;
    MPI_Comm mpi;
    coc_type type;
} mover;

static int64_t piece_at(int64_t done, int64_t count)
{
    return count - done < piece ? count - done : piece;
}

static coc_status broadcast_pieces(mover m, void *buffer, int64_t count, int root)
{
    for (int64_t done = 0; done < count; done += piece) {
        char *from = (char *)buffer + done * (int64_t)coc_type_bytes(m.type);
        MPI_Request *handle;

        COC_TRY(next_handle(m.request, &handle));
        COC_TRY(coc_mpi_check(
            MPI_Ibcast(from, (int)piece_at(done, count), mpi_type(m.type), root, m.mpi, handle),
            m.request->what));
    }
    return COC_OK;
}

static coc_status reduce_pieces(mover m, const void *send, void *recv, int64_t count, int root)
{
    for (int64_t done = 0; done < count; done += piece) {
        const int64_t offset = done * (int64_t)coc_type_bytes(m.type);
        MPI_Request *handle;

        COC_TRY(next_handle(m.request, &handle));
        COC_TRY(coc_mpi_check(MPI_Ireduce((const char *)send + offset, (char *)recv + offset,
                                          (int)piece_at(done, count), mpi_type(m.type), MPI_SUM,
                                          root, m.mpi, handle),
                              m.request->what));
    }
    return COC_OK;
}

/* ---- the collectives */

static coc_status gather_by_rank(mover m, int size, void *recv, const int64_t *counts)
{
    char *slab = recv;

    for (int root = 0; root < size; root++) {
        COC_TRY(broadcast_pieces(m, slab, counts[root], root));
        slab += counts[root] * (int64_t)coc_type_bytes(m.type);
    }
    return COC_OK;
}

static coc_status gather_at_once(mover m, int size, void *recv, const int64_t *counts)
{
    const int *offsets = lay_out(m.request->layout, counts, size);
    MPI_Request *handle;

    COC_TRY(next_handle(m.request, &handle));
    return coc_mpi_check(MPI_Iallgatherv(MPI_IN_PLACE, 0, mpi_type(m.type), recv, m.request->layout,
                                         offsets, mpi_type(m.type), m.mpi, handle),
                         m.request->what);
}

static coc_status start_all_gather(coc_comm *comm, const char *what, const void *send, void *recv,
                                   const int64_t *counts, coc_type type, coc_stream *stream,
                                   coc_request **request)
{
    const int64_t total = sum_of(counts, comm->size);
    const int64_t own = sum_of(counts, comm->rank) * (int64_t)coc_type_bytes(type);
    mover m = {.mpi = ((coc_mpi_comm *)comm->impl)->mpi, .type = type};
    coc_status status;

    (void)stream;
    *request = NULL;
    COC_TRY(begin(comm, what, &m.request));
    if (counts[comm->rank] > 0 && send != (char *)recv + own)
        memcpy((char *)recv + own, send, (size_t)counts[comm->rank] * coc_type_bytes(type));
    if (total <= piece)
        status = gather_at_once(m, comm->size, recv, counts);
    else
        status = gather_by_rank(m, comm->size, recv, counts);
    return started(comm, m.request, status, total, type, request);
}

static coc_status scatter_by_rank(mover m, int size, const void *send, void *recv,
                                  const int64_t *counts)
{
    const char *slab = send;

    for (int root = 0; root < size; root++) {
        COC_TRY(reduce_pieces(m, slab, recv, counts[root], root));
        slab += counts[root] * (int64_t)coc_type_bytes(m.type);
    }
    return COC_OK;
}

/* Every rank sends each other rank that one's slab, and adds up its own over a tree when all have
 * come: the least traffic, the same bits whatever the network does, and no trouble with uneven
 * counts. Open MPI's own Ireduce_scatter (reduce to rank 0, then scatter) took four times as long.
 */
static coc_status scatter_at_once(mover m, const coc_comm *comm, const void *send, void *recv,
                                  const int64_t *counts)
{
    const int rank = comm->rank, size = comm->size;
    coc_mpi_comm *state = comm->impl;
    coc_request *r = m.request;
    const int *offsets = lay_out(r->layout, counts, size);
    int *own = r->layout + 2 * (int64_t)size, *own_offsets = own + size;
    MPI_Request *handle;

    for (int i = 0; i < size; i++) {
        own[i] = (int)counts[rank];
        own_offsets[i] = i * own[i];
    }
    COC_TRY(
        coc_mpi_take_slabs(state, coc_reduce_scatter_bytes(size, counts[rank], m.type), &r->slabs));
    COC_TRY(next_handle(r, &handle));
    r->to = recv;
    r->count = counts[rank];
    r->type = m.type;
    return coc_mpi_check(MPI_Ialltoallv(send, r->layout, offsets, mpi_type(m.type),
                                        coc_mpi_slabs_memory(r->slabs), own, own_offsets,
                                        mpi_type(m.type), m.mpi, handle),
                         r->what);
}

static coc_status start_reduce_scatter(coc_comm *comm, const char *what, const void *send,
                                       void *recv, const int64_t *counts, coc_type type,
                                       coc_stream *stream, coc_request **request)
{
    mover m = {.mpi = ((coc_mpi_comm *)comm->impl)->mpi, .type = type};
    coc_status status;

    (void)stream;
    *request = NULL;
    COC_TRY(begin(comm, what, &m.request));
    if (comm->size == 1) {
        if (counts[0] > 0 && recv != send)
            memmove(recv, send, (size_t)counts[0] * coc_type_bytes(type));
        return started(comm, m.request, COC_OK, counts[0], type, request);
    }
    /* no less than the sum; the same choice on all ranks */
    if (comm->size * largest_of(counts, comm->size) <= piece)
        status = scatter_at_once(m, comm, send, recv, counts);
    else
        status = scatter_by_rank(m, comm->size, send, recv, counts);
    return started(comm, m.request, status, sum_of(counts, comm->size), type, request);
}

static coc_status all_reduce_pieces(mover m, void *buffer, int64_t count)
{
    for (int64_t done = 0; done < count; done += piece) {
        char *at = (char *)buffer + done * (int64_t)coc_type_bytes(m.type);
        MPI_Request *handle;

        COC_TRY(next_handle(m.request, &handle));
        COC_TRY(coc_mpi_check(MPI_Iallreduce(MPI_IN_PLACE, at, (int)piece_at(done, count),
                                             mpi_type(m.type), MPI_SUM, m.mpi, handle),
                              m.request->what));
    }
    return COC_OK;
}

static coc_status start_all_reduce(coc_comm *comm, const char *what, void *buffer, int64_t count,
                                   coc_type type, coc_stream *stream, coc_request **request)
{
    mover m = {.mpi = ((coc_mpi_comm *)comm->impl)->mpi, .type = type};
    coc_status status;

    (void)stream;
    *request = NULL;
    COC_TRY(begin(comm, what, &m.request));
    status = all_reduce_pieces(m, buffer, count);
    return started(comm, m.request, status, count, type, request);
}

static coc_status start_broadcast(coc_comm *comm, const char *what, void *buffer, int64_t count,
                                  coc_type type, int root, coc_stream *stream,
                                  coc_request **request)
{
    mover m = {.mpi = ((coc_mpi_comm *)comm->impl)->mpi, .type = type};
    coc_status status;

    (void)stream;
    *request = NULL;
    COC_TRY(begin(comm, what, &m.request));
    status = broadcast_pieces(m, buffer, count, root);
    return started(comm, m.request, status, count, type, request);
}

/* One message after another, which MPI keeps in order. */
static coc_status send_pieces(mover m, const void *send, int64_t count, int to)
{
    for (int64_t done = 0; done < count; done += piece) {
        const char *at = (const char *)send + done * (int64_t)coc_type_bytes(m.type);
        MPI_Request *handle;

        COC_TRY(next_handle(m.request, &handle));
        COC_TRY(coc_mpi_check(MPI_Isend(at, (int)piece_at(done, count), mpi_type(m.type), to,
                                        TAG_ROTATE, m.mpi, handle),
                              m.request->what));
    }
    return COC_OK;
}

static coc_status receive_pieces(mover m, void *recv, int64_t count, int from)
{
    for (int64_t done = 0; done < count; done += piece) {
        char *at = (char *)recv + done * (int64_t)coc_type_bytes(m.type);
        MPI_Request *handle;

        COC_TRY(next_handle(m.request, &handle));
        COC_TRY(coc_mpi_check(MPI_Irecv(at, (int)piece_at(done, count), mpi_type(m.type), from,
                                        TAG_ROTATE, m.mpi, handle),
                              m.request->what));
    }
    return COC_OK;
}

static coc_status start_rotate(coc_comm *comm, const char *what, const void *send, void *recv,
                               const int64_t *counts, coc_type type, coc_stream *stream,
                               coc_request **request)
{
    const int next = (comm->rank + 1) % comm->size;
    const int previous = (comm->rank + comm->size - 1) % comm->size;
    const int64_t most = largest_of(counts, comm->size); /* the same choice on all ranks */
    mover m = {.mpi = ((coc_mpi_comm *)comm->impl)->mpi, .type = type};
    coc_status status;

    (void)stream;
    *request = NULL;
    COC_TRY(begin(comm, what, &m.request));
    status = receive_pieces(m, recv, counts[previous], previous);
    if (status == COC_OK) status = send_pieces(m, send, counts[comm->rank], next);
    if (status == COC_OK && expects_data(comm, m.request, most * (int64_t)coc_type_bytes(type)))
        status = expect_neighbours(comm, m.request);
    return hand_out(comm, m.request, status, request);
}

/* ---- waiting */

static coc_status wait_for(coc_comm *comm, coc_request **request)
{
    coc_request *r = *request;

    *request = NULL;
    if (r == NULL) return COC_OK;
    COC_TRY(coc_mpi_watch(comm, r)); /* MPI may still write into what r holds: it is not freed */
    if (r->slabs != NULL) COC_TRY(coc_mpi_add_slabs(r, mpi_type(r->type), comm->size));
    coc_mpi_give_slabs(comm->impl, &r->slabs);
    give_back(comm->impl, r);
    return COC_OK;
}

/* No collective of this row is ever left to a device. */
static coc_status wait_device(coc_comm *comm, const coc_device *device, coc_stream *stream)
{
    (void)comm;
    return device->wait(device, stream);
}

/* ---- communicators */

/* All members meet at the first one and get the new communicator's id from it, watched: making an
 * MPI communicator blocks, so it is begun only when everybody is there. */
static coc_status meet(coc_comm *comm, int first, int last, uint64_t *id)
{
    static uint64_t made;
    coc_mpi_comm *state = comm->impl;
    coc_request r = {.what = "subgroup", .step = comm->step};
    const bool root = comm->rank == first;
    coc_status status = coc_watch_broken();
    char here = 0;

    if (status != COC_OK) return status;
    coc_where_start(NULL, comm->step, r.what);
    if (root) *id = (uint64_t)(comm->first + comm->rank + 1) << 32 | ++made;
    for (int rank = root ? first + 1 : first; rank <= (root ? last : first); rank++) {
        MPI_Request *handle;

        COC_TRY_GOTO(status, next_handle(&r, &handle), end);
        COC_TRY_GOTO(
            status,
            coc_mpi_check(root ? MPI_Irecv(&here, 0, MPI_BYTE, rank, TAG_HERE, state->mpi, handle)
                               : MPI_Isend(&here, 0, MPI_BYTE, rank, TAG_HERE, state->mpi, handle),
                          r.what),
            end);
    }
    COC_TRY_GOTO(status, coc_mpi_watch(comm, &r), end);
    r.handle_count = 0;
    for (int rank = root ? first + 1 : first; rank <= (root ? last : first); rank++) {
        MPI_Request *handle;

        COC_TRY_GOTO(status, next_handle(&r, &handle), end);
        COC_TRY_GOTO(
            status,
            coc_mpi_check(root ? MPI_Isend(id, 1, MPI_UINT64_T, rank, TAG_ID, state->mpi, handle)
                               : MPI_Irecv(id, 1, MPI_UINT64_T, rank, TAG_ID, state->mpi, handle),
                          r.what),
            end);
    }
    status = coc_mpi_watch(comm, &r);
end:
    if (status == COC_OK) free(r.handles);
    return status;
}

static coc_status subgroup(coc_comm *comm, int first, int last, coc_comm **sub)
{
    coc_mpi_comm *state = comm->impl;
    int range[1][3] = {{first, last, 1}};
    MPI_Group all, group;
    MPI_Comm mpi = MPI_COMM_NULL;
    uint64_t id = 0;
    int code;

    *sub = NULL;
    COC_TRY(meet(comm, first, last, &id));
    COC_TRY(coc_mpi_check(MPI_Comm_group(state->mpi, &all), "subgroup"));
    code = MPI_Group_range_incl(all, 1, range, &group);
    MPI_Group_free(&all);
    COC_TRY(coc_mpi_check(code, "subgroup"));
    code = MPI_Comm_create_group(state->mpi, group, 0, &mpi);
    MPI_Group_free(&group);
    COC_TRY(coc_mpi_check(code, "subgroup"));
    return coc_mpi_create(mpi, comm, comm->first + first, id, sub);
}

static void destroy(coc_comm *comm)
{
    coc_mpi_comm *state = comm->impl;

    coc_where_remove(&state->count);
    while (state->idle != NULL) {
        coc_request *request = state->idle;

        state->idle = request->next;
        free_request(request);
    }
    coc_mpi_free_slabs(state);
    if (coc_watch_broken() == COC_OK) MPI_Comm_free(&state->mpi);
    free(state);
    free(comm);
}

static const coc_comm_ops mpi_ops = {
    .name = "mpi",
    .side = COC_HOST,
    .tree_most = COC_MPI_MOST_AT_ONCE,
    .start_all_gather = start_all_gather,
    .start_reduce_scatter = start_reduce_scatter,
    .start_all_reduce = start_all_reduce,
    .start_broadcast = start_broadcast,
    .start_rotate = start_rotate,
    .wait = wait_for,
    .alloc = coc_comm_host_alloc,
    .release = coc_comm_host_release,
    .wait_device = wait_device,
    .subgroup = subgroup,
    .destroy = destroy,
};

coc_status coc_mpi_create(MPI_Comm mpi, coc_comm *parent, int first, uint64_t id, coc_comm **out)
{
    coc_mpi_comm *state = NULL;
    coc_comm *comm = NULL;
    coc_status status = coc_alloc(1, sizeof *comm, &comm);

    *out = NULL;
    if (status == COC_OK) status = coc_alloc(1, sizeof *state, &state);
    if (status != COC_OK) {
        free(comm);
        MPI_Comm_free(&mpi);
        return status;
    }
    if (parent != NULL) *comm = *parent; /* host, local ranks, deadline */
    *state = (coc_mpi_comm){.mpi = mpi, .parent = parent, .count.id = id};
    comm->ops = &mpi_ops;
    comm->impl = state;
    comm->control = comm;
    comm->first = first;
    comm->id = id;
    MPI_Comm_rank(mpi, &comm->rank);
    MPI_Comm_size(mpi, &comm->size);
    coc_where_add(&state->count);
    *out = comm;
    return COC_OK;
}
