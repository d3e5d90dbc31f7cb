/* comm/nccl.c - the `nccl` row: tensors from device to device.
 *
 * Collectives go to a stream of their own, so that they are under way while the caller's stream
 * computes; events order the two. Nothing here waits for the device, so all of it can be recorded.
 * The host's communicator of the same ranks carries what is needed to start, and words. */
#include <stdlib.h>

#include "base/cuda/device.h"
#include "base/memory.h"
#include "comm/nccl_comm.h"
#include "comm/watch.h"

static ncclDataType_t nccl_type(coc_type type)
{
    switch (type) {
    case COC_BYTE:
        return ncclUint8;
    case COC_INT32:
        return ncclInt32;
    case COC_INT64:
        return ncclInt64;
    case COC_FLOAT:
        return ncclFloat32;
    case COC_DOUBLE:
        break;
    }
    return ncclFloat64;
}

/* ---- requests ------------------------------------------------------------------------------- */

static coc_status take_request(coc_nccl *s, coc_nccl_request **out)
{
    coc_nccl_request *r = s->idle;
    cudaEvent_t event;
    coc_status status;

    if (r != NULL) {
        s->idle = r->next;
        *out = r;
        return COC_OK;
    }
    COC_TRY(coc_alloc(1, sizeof *r, out));
    status = coc_cuda_event(&event);
    if (status == COC_OK) {
        (*out)->finished = event;
        return COC_OK;
    }
    free(*out);
    *out = NULL;
    return status;
}

static void give_back(coc_nccl *s, coc_nccl_request *r)
{
    r->next = s->idle;
    s->idle = r;
}

/* The communication stream goes on when the caller's has come here. */
static coc_status begin(coc_comm *comm, const char *what, coc_stream *stream,
                        coc_nccl_request **out)
{
    coc_nccl *s = coc_nccl_of(comm);
    coc_nccl_request *r;
    coc_status status;
    uint64_t number;

    COC_TRY(coc_watch_broken());
    COC_TRY(take_request(s, &r));
    r->stream = stream;
    number = coc_where_start(&s->count, s->top->comm->step, what);
    status = s->device->order(s->device, s->stream, stream);
    if (status == COC_OK) status = coc_nccl_marks_set(s->top->marks, comm, what, number, s->stream);
    if (status != COC_OK) give_back(s, r);
    *out = status == COC_OK ? r : NULL;
    return status;
}

/* The end of every start: what NCCL does in the background is waited for, so that all of it lies on
 * the stream when the event is put behind it. */
static coc_status started(coc_comm *comm, const char *what, ncclResult_t result,
                          coc_nccl_request *r, coc_request **request)
{
    coc_nccl *s = coc_nccl_of(comm);
    coc_status status = coc_nccl_settle(s, result, what);

    if (status == COC_OK)
        status = coc_cuda_check(
            cudaEventRecord((cudaEvent_t)r->finished, coc_cuda_stream(s->stream)), what);
    if (status != COC_OK)
        give_back(s, r);
    else
        *request = (coc_request *)(void *)r;
    return status;
}

static coc_status wait_for(coc_comm *comm, coc_request **request)
{
    coc_nccl_request *r = (coc_nccl_request *)(void *)*request;

    *request = NULL;
    if (r == NULL) return COC_OK;
    give_back(coc_nccl_of(comm), r);
    return coc_cuda_check(
        cudaStreamWaitEvent(coc_cuda_stream(r->stream), (cudaEvent_t)r->finished, 0),
        "waiting for a collective");
}

/* ---- the collectives ------------------------------------------------------------------------ */

static bool all_equal(const int64_t *counts, int size)
{
    for (int rank = 1; rank < size; rank++)
        if (counts[rank] != counts[0]) return false;
    return true;
}

/* A group is ended also after a failure in it. */
static ncclResult_t end_group(ncclResult_t result)
{
    const ncclResult_t ended = ncclGroupEnd();

    return result == ncclSuccess || result == ncclInProgress ? ended : result;
}

/* NCCL gathers equal parts only; others are broadcasts of which it makes one operation. */
static ncclResult_t gather_by_rank(const coc_nccl *s, const void *send, void *recv,
                                   const int64_t *counts, coc_type type)
{
    ncclResult_t result = ncclGroupStart();
    char *part = recv;

    for (int root = 0; root < s->comm->size && result == ncclSuccess; root++) {
        if (counts[root] > 0)
            result = ncclBroadcast(root == s->comm->rank ? send : part, part, (size_t)counts[root],
                                   nccl_type(type), root, s->nccl, coc_cuda_stream(s->stream));
        part += (size_t)counts[root] * coc_type_bytes(type);
    }
    return end_group(result);
}

static ncclResult_t scatter_by_rank(const coc_nccl *s, const void *send, void *recv,
                                    const int64_t *counts, coc_type type)
{
    ncclResult_t result = ncclGroupStart();
    const char *part = send;

    for (int root = 0; root < s->comm->size && result == ncclSuccess; root++) {
        if (counts[root] > 0)
            result =
                ncclReduce(part, root == s->comm->rank ? recv : NULL, (size_t)counts[root],
                           nccl_type(type), ncclSum, root, s->nccl, coc_cuda_stream(s->stream));
        part += (size_t)counts[root] * coc_type_bytes(type);
    }
    return end_group(result);
}

static coc_status start_all_gather(coc_comm *comm, const char *what, const void *send, void *recv,
                                   const int64_t *counts, coc_type type, coc_stream *stream,
                                   coc_request **request)
{
    coc_nccl *s = coc_nccl_of(comm);
    coc_nccl_request *r;
    ncclResult_t result = ncclSuccess;

    *request = NULL;
    COC_TRY(begin(comm, what, stream, &r));
    if (!all_equal(counts, comm->size))
        result = gather_by_rank(s, send, recv, counts, type);
    else if (counts[0] > 0)
        result = ncclAllGather(send, recv, (size_t)counts[0], nccl_type(type), s->nccl,
                               coc_cuda_stream(s->stream));
    return started(comm, what, result, r, request);
}

static coc_status start_reduce_scatter(coc_comm *comm, const char *what, const void *send,
                                       void *recv, const int64_t *counts, coc_type type,
                                       coc_stream *stream, coc_request **request)
{
    coc_nccl *s = coc_nccl_of(comm);
    coc_nccl_request *r;
    ncclResult_t result = ncclSuccess;

    *request = NULL;
    COC_TRY(begin(comm, what, stream, &r));
    if (!all_equal(counts, comm->size))
        result = scatter_by_rank(s, send, recv, counts, type);
    else if (counts[0] > 0)
        result = ncclReduceScatter(send, recv, (size_t)counts[0], nccl_type(type), ncclSum, s->nccl,
                                   coc_cuda_stream(s->stream));
    return started(comm, what, result, r, request);
}

static coc_status start_all_reduce(coc_comm *comm, const char *what, void *buffer, int64_t count,
                                   coc_type type, coc_stream *stream, coc_request **request)
{
    coc_nccl *s = coc_nccl_of(comm);
    coc_nccl_request *r;
    ncclResult_t result = ncclSuccess;

    *request = NULL;
    COC_TRY(begin(comm, what, stream, &r));
    if (count > 0)
        result = ncclAllReduce(buffer, buffer, (size_t)count, nccl_type(type), ncclSum, s->nccl,
                               coc_cuda_stream(s->stream));
    return started(comm, what, result, r, request);
}

static coc_status start_broadcast(coc_comm *comm, const char *what, void *buffer, int64_t count,
                                  coc_type type, int root, coc_stream *stream,
                                  coc_request **request)
{
    coc_nccl *s = coc_nccl_of(comm);
    coc_nccl_request *r;
    ncclResult_t result = ncclSuccess;

    *request = NULL;
    COC_TRY(begin(comm, what, stream, &r));
    if (count > 0)
        result = ncclBroadcast(buffer, buffer, (size_t)count, nccl_type(type), root, s->nccl,
                               coc_cuda_stream(s->stream));
    return started(comm, what, result, r, request);
}

/* Both ways in one group: each alone would wait for the other rank's other one. */
static ncclResult_t send_and_receive(const coc_nccl *s, const void *send, void *recv,
                                     const int64_t *counts, coc_type type)
{
    const int rank = s->comm->rank, size = s->comm->size;
    const int next = (rank + 1) % size, previous = (rank + size - 1) % size;
    ncclResult_t result = ncclGroupStart();

    if (result == ncclSuccess && counts[rank] > 0)
        result = ncclSend(send, (size_t)counts[rank], nccl_type(type), next, s->nccl,
                          coc_cuda_stream(s->stream));
    if (result == ncclSuccess && counts[previous] > 0)
        result = ncclRecv(recv, (size_t)counts[previous], nccl_type(type), previous, s->nccl,
                          coc_cuda_stream(s->stream));
    return end_group(result);
}

static coc_status start_rotate(coc_comm *comm, const char *what, const void *send, void *recv,
                               const int64_t *counts, coc_type type, coc_stream *stream,
                               coc_request **request)
{
    coc_nccl_request *r;

    *request = NULL;
    COC_TRY(begin(comm, what, stream, &r));
    return started(comm, what, send_and_receive(coc_nccl_of(comm), send, recv, counts, type), r,
                   request);
}

/* ---- communicators -------------------------------------------------------------------------- */

static void destroy(coc_comm *comm)
{
    coc_nccl *s = coc_nccl_of(comm);

    coc_nccl_close(s);
    coc_nccl_watch_remove(s);
    coc_where_remove(&s->count);
    while (s->idle != NULL) {
        coc_nccl_request *r = s->idle;

        s->idle = r->next;
        (void)cudaEventDestroy((cudaEvent_t)r->finished);
        free(r);
    }
    if (s->top != s) {
        coc_nccl_marks_drop(s->top->marks, comm);
    } else {
        s->device->stream_destroy(s->device, s->stream);
        coc_nccl_marks_destroy(&s->marks);
    }
    if (s->owns_control) coc_comm_destroy(&comm->control);
    free(s);
    free(comm);
}

static coc_status subgroup(coc_comm *comm, int first, int last, coc_comm **sub);

static const coc_comm_ops nccl_ops = {.name = "nccl",
                                      .side = COC_ACCELERATOR,
                                      .on_stream = true,
                                      .tree_most = 0,
                                      .start_all_gather = start_all_gather,
                                      .start_reduce_scatter = start_reduce_scatter,
                                      .start_all_reduce = start_all_reduce,
                                      .start_broadcast = start_broadcast,
                                      .start_rotate = start_rotate,
                                      .wait = wait_for,
                                      .alloc = coc_nccl_window_alloc,
                                      .release = coc_nccl_window_release,
                                      .wait_device = coc_nccl_wait_device,
                                      .subgroup = subgroup,
                                      .destroy = destroy};

/* A communicator over the ranks of host, not yet connected; without stream and marks. */
static coc_status create(coc_comm *host, const coc_nccl *like, coc_comm **out)
{
    /* Ids of the mpi row are below: what ranks count of the two is not the same. */
    static const uint64_t of_nccl = UINT64_C(1) << 63;
    coc_nccl *s = NULL;
    coc_status status = coc_alloc(1, sizeof **out, out);

    if (status == COC_OK) status = coc_alloc(1, sizeof *s, &s);
    if (status != COC_OK) {
        free(*out);
        *out = NULL;
        return status;
    }
    **out = *host;
    (*out)->ops = &nccl_ops;
    (*out)->id = host->id | of_nccl;
    (*out)->control = host;
    (*out)->impl = s;
    *s = *like;
    s->comm = *out;
    s->count = (coc_where_count){.id = (*out)->id};
    coc_where_add(&s->count);
    coc_nccl_watch_add(s);
    return COC_OK;
}

/* NCCL's own way of making parts (ncclCommSplit) is collective over the whole; ours is not. */
static coc_status subgroup(coc_comm *comm, int first, int last, coc_comm **sub)
{
    const coc_nccl *s = coc_nccl_of(comm);
    const coc_nccl like = {.top = s->top,
                           .owns_control = true,
                           .device = s->device,
                           .channels = s->channels,
                           .stream = s->stream};
    coc_comm *host = coc_comm_over_host(comm), *part;
    coc_status status;

    *sub = NULL;
    COC_TRY(host->ops->subgroup(host, first, last, &part));
    status = create(part, &like, sub);
    if (status != COC_OK) {
        coc_comm_destroy(&part);
        return status;
    }
    status = coc_nccl_connect(coc_nccl_of(*sub));
    if (status != COC_OK) coc_comm_destroy(sub);
    return status;
}

bool coc_comm_nccl_built(void)
{
    return true;
}

coc_status coc_comm_nccl(coc_comm *host, const coc_device *device,
                         const coc_comm_settings *settings, coc_comm **comm)
{
    const coc_nccl like = {.device = device,
                           .channels = settings->nccl_channels,
                           .memory = settings->nccl_memory,
                           .first_step = -1};
    coc_nccl *s;
    coc_status status;

    *comm = NULL;
    COC_TRY(coc_nccl_prepare(host, settings));
    COC_TRY(coc_comm_agree(host, "start of NCCL", coc_nccl_window_check(host, settings)));
    COC_TRY(create(host, &like, comm));
    s = coc_nccl_of(*comm);
    s->top = s;
    status = device->stream_create(device, false, &s->stream);
    if (status == COC_OK) status = coc_nccl_marks_create(device, &s->marks);
    status = coc_comm_agree(*comm, "start of NCCL", status);
    if (status == COC_OK) status = coc_nccl_connect(s);
    if (status != COC_OK) coc_comm_destroy(comm);
    return status;
}
