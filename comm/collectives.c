/* comm/collectives.c - what is built on the table: blocking forms, agreement, flags. */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "comm/comm.h"
#include "comm/speak.h"

void coc_comm_destroy(coc_comm **comm)
{
    if (*comm != NULL) (*comm)->ops->destroy(*comm);
    *comm = NULL;
}

coc_status coc_all_gather(coc_comm *comm, const char *what, const void *send, void *recv,
                          const int64_t *counts, coc_type type)
{
    coc_request *request;

    COC_TRY(comm->ops->start_all_gather(comm, what, send, recv, counts, type, NULL, &request));
    return comm->ops->wait(comm, &request);
}

coc_status coc_reduce_scatter(coc_comm *comm, const char *what, const void *send, void *recv,
                              const int64_t *counts, coc_type type)
{
    coc_request *request;

    COC_TRY(comm->ops->start_reduce_scatter(comm, what, send, recv, counts, type, NULL, &request));
    return comm->ops->wait(comm, &request);
}

coc_status coc_all_reduce(coc_comm *comm, const char *what, void *buffer, int64_t count,
                          coc_type type)
{
    coc_request *request;

    COC_TRY(comm->ops->start_all_reduce(comm, what, buffer, count, type, NULL, &request));
    return comm->ops->wait(comm, &request);
}

coc_status coc_broadcast(coc_comm *comm, const char *what, void *buffer, int64_t count,
                         coc_type type, int root)
{
    coc_request *request;

    COC_TRY(comm->ops->start_broadcast(comm, what, buffer, count, type, root, NULL, &request));
    return comm->ops->wait(comm, &request);
}

coc_status coc_rotate(coc_comm *comm, const char *what, const void *send, void *recv,
                      const int64_t *counts, coc_type type)
{
    coc_request *request;

    COC_TRY(comm->ops->start_rotate(comm, what, send, recv, counts, type, NULL, &request));
    return comm->ops->wait(comm, &request);
}

/* Each rank adds up a slab of its own; slabs may be uneven, since every number is added by itself.
 */
static coc_status sum_over_tree(coc_comm *comm, const char *what, char *buffer, int64_t count,
                                coc_type type)
{
    const int64_t most = coc_share(count, comm->size, 0, NULL);
    int64_t first, *counts;
    char *own;
    coc_status status;

    if (comm->size * most > comm->ops->tree_most)
        return COC_FAIL(COC_ERR_INTERNAL,
                        "collective '%s': %lld numbers are more than %s adds over a tree (%lld)",
                        what, (long long)count, comm->ops->name, (long long)comm->ops->tree_most);
    COC_TRY(coc_alloc(comm->size, sizeof *counts, &counts));
    coc_shares(count, comm->size, counts);
    coc_share(count, comm->size, comm->rank, &first);
    own = buffer + first * (int64_t)coc_type_bytes(type);
    status = coc_reduce_scatter(comm, what, buffer, own, counts, type);
    if (status == COC_OK) status = coc_all_gather(comm, what, own, buffer, counts, type);
    free(counts);
    return status;
}

coc_status coc_sum_over_ranks(coc_comm *comm, coc_reduction reduction, const char *what,
                              void *buffer, int64_t count, coc_type type)
{
    if (comm->size == 1) return COC_OK;
    if (reduction == COC_REDUCTION_FAST) return coc_all_reduce(comm, what, buffer, count, type);
    return sum_over_tree(comm, what, buffer, count, type);
}

coc_status coc_comm_wait_device(coc_comm *comm, const coc_device *device, coc_stream *stream)
{
    return comm->ops->wait_device(comm, device, stream);
}

coc_comm *coc_comm_over_host(coc_comm *comm)
{
    comm->control->step = comm->step;
    comm->control->deadline = comm->deadline;
    return comm->control;
}

coc_status coc_gather_each(coc_comm *comm, const char *what, const void *own, int64_t bytes,
                           void *all)
{
    int64_t *counts;
    coc_status status;

    COC_TRY(coc_alloc(comm->size, sizeof *counts, &counts));
    for (int rank = 0; rank < comm->size; rank++)
        counts[rank] = bytes;
    status = coc_all_gather(coc_comm_over_host(comm), what, own, all, counts, COC_BYTE);
    free(counts);
    return status;
}

static coc_status sum_words(coc_comm *comm, const char *what, int32_t *words, int64_t count)
{
    return coc_all_reduce(coc_comm_over_host(comm), what, words, count, COC_INT32);
}

/* A sum cannot be known before everybody has given his part. */
coc_status coc_barrier(coc_comm *comm, const char *what)
{
    int32_t one = 1;

    return sum_words(comm, what, &one, 1);
}

coc_status coc_comm_any(coc_comm *comm, const char *what, bool flag, bool *any)
{
    int32_t set = flag;

    *any = flag;
    COC_TRY(sum_words(comm, what, &set, 1));
    *any = set > 0;
    return COC_OK;
}

/* The lowest rank with a flag, if any has it: a search by halves, since sums are all there is. */
static coc_status find_lowest(coc_comm *comm, const char *what, bool flag, int *lowest)
{
    int first = 0, last = comm->size - 1;

    while (first < last) {
        const int middle = first + (last - first) / 2;
        bool any;

        COC_TRY(coc_comm_any(comm, what, flag && comm->rank <= middle, &any));
        if (any)
            last = middle;
        else
            first = middle + 1;
    }
    *lowest = first;
    return COC_OK;
}

/* Who speaks: the lowest rank with a failure of its own, else the lowest that was told of one; -1
 * when nobody failed. Needs no memory, so that running out of it can be agreed on. */
static coc_status find_speaker(coc_comm *comm, const char *what, coc_status status, int *speaker)
{
    const bool told = status == COC_ERR_ELSEWHERE, own = status != COC_OK && !told;
    int32_t failures[2] = {own, told};

    *speaker = -1;
    COC_TRY(sum_words(comm, what, failures, 2));
    if (failures[0] == 0 && failures[1] == 0) return COC_OK;
    return find_lowest(comm, what, failures[0] > 0 ? own : told, speaker);
}

coc_status coc_comm_agree(coc_comm *comm, const char *what, coc_status status)
{
    char text[2000], place[160];
    coc_status found;
    int speaker;

    snprintf(text, sizeof text, "%s", coc_error_text());
    snprintf(place, sizeof place, "%s", coc_error_place());
    found = find_speaker(comm, what, status, &speaker);
    if (found != COC_OK && status == COC_OK) return found;
    coc_error_set(text, place); /* a failure of before counts more than one of agreeing */
    if (found != COC_OK || speaker < 0) return status;
    if (speaker != comm->rank) return COC_ERR_ELSEWHERE;
    coc_speak_sign();
    return status;
}
