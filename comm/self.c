/* comm/self.c - one process alone: every collective is a copy, finished when it is started. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "comm/host_memory.h"

static void copy(void *to, const void *from, int64_t count, coc_type type)
{
    if (count > 0 && to != from) memmove(to, from, (size_t)count * coc_type_bytes(type));
}

static coc_status start_all_gather(coc_comm *comm, const char *what, const void *send, void *recv,
                                   const int64_t *counts, coc_type type, coc_stream *stream,
                                   coc_request **request)
{
    (void)comm, (void)what, (void)stream;
    *request = NULL;
    copy(recv, send, counts[0], type);
    return COC_OK;
}

static coc_status start_reduce_scatter(coc_comm *comm, const char *what, const void *send,
                                       void *recv, const int64_t *counts, coc_type type,
                                       coc_stream *stream, coc_request **request)
{
    return start_all_gather(comm, what, send, recv, counts, type, stream, request);
}

static coc_status start_all_reduce(coc_comm *comm, const char *what, void *buffer, int64_t count,
                                   coc_type type, coc_stream *stream, coc_request **request)
{
    return start_all_gather(comm, what, buffer, buffer, &count, type, stream, request);
}

static coc_status start_broadcast(coc_comm *comm, const char *what, void *buffer, int64_t count,
                                  coc_type type, int root, coc_stream *stream,
                                  coc_request **request)
{
    (void)root;
    return start_all_gather(comm, what, buffer, buffer, &count, type, stream, request);
}

static coc_status wait_for(coc_comm *comm, coc_request **request)
{
    (void)comm;
    *request = NULL;
    return COC_OK;
}

static coc_status wait_device(coc_comm *comm, const coc_device *device, coc_stream *stream)
{
    (void)comm;
    return device->wait(device, stream);
}

static coc_status subgroup(coc_comm *comm, int first, int last, coc_comm **sub)
{
    (void)comm, (void)first, (void)last;
    return coc_comm_self(sub);
}

static void destroy(coc_comm *comm)
{
    free(comm);
}

static const coc_comm_ops self_ops = {
    .name = "self",
    .side = COC_HOST,
    .on_stream = true,
    .tree_most = INT64_MAX,
    .start_all_gather = start_all_gather,
    .start_reduce_scatter = start_reduce_scatter,
    .start_all_reduce = start_all_reduce,
    .start_broadcast = start_broadcast,
    .start_rotate = start_all_gather,
    .wait = wait_for,
    .alloc = coc_comm_host_alloc,
    .release = coc_comm_host_release,
    .wait_device = wait_device,
    .subgroup = subgroup,
    .destroy = destroy,
};

coc_status coc_comm_self(coc_comm **comm)
{
    COC_TRY(coc_alloc(1, sizeof **comm, comm));
    (*comm)->ops = &self_ops;
    (*comm)->control = *comm;
    (*comm)->size = (*comm)->local_size = 1;
    gethostname((*comm)->host, sizeof(*comm)->host - 1);
    return COC_OK;
}
