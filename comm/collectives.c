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

/* A sum cannot be known before everybody has given his part. */
coc_status coc_barrier(coc_comm *comm, const char *what)
{
    int32_t one = 1;

    return coc_all_reduce(comm, what, &one, 1, COC_INT32);
}

coc_status coc_comm_any(coc_comm *comm, const char *what, bool flag, bool *any)
{
    int32_t set = flag;

    *any = flag;
    COC_TRY(coc_all_reduce(comm, what, &set, 1, COC_INT32));
    *any = set > 0;
    return COC_OK;
}

/* Who speaks: the lowest rank with a failure of its own, else the lowest that was told of one. */
static int speaker(const int32_t *all, int size)
{
    int told = -1;

    for (int rank = 0; rank < size; rank++) {
        if (all[rank] == COC_OK) continue;
        if (all[rank] != COC_ERR_ELSEWHERE) return rank;
        if (told < 0) told = rank;
    }
    return told;
}

/* Small and fixed in size, so that agreeing needs no memory in most cases. */
enum { FEW_RANKS = 256 };

coc_status coc_comm_agree(coc_comm *comm, const char *what, coc_status status)
{
    int32_t few[FEW_RANKS], *all = few;
    int64_t few_counts[FEW_RANKS], *counts = few_counts;
    int32_t mine = (int32_t)status;
    char text[2000], place[160];
    coc_status gathered = COC_OK;
    int who;

    snprintf(text, sizeof text, "%s", coc_error_text());
    snprintf(place, sizeof place, "%s", coc_error_place());
    if (comm->size > FEW_RANKS) {
        COC_TRY(coc_alloc(comm->size, sizeof *all, &all));
        gathered = coc_alloc(comm->size, sizeof *counts, &counts);
    }
    for (int rank = 0; gathered == COC_OK && rank < comm->size; rank++)
        counts[rank] = 1;
    if (gathered == COC_OK) gathered = coc_all_gather(comm, what, &mine, all, counts, COC_INT32);
    who = gathered == COC_OK ? speaker(all, comm->size) : -1;
    if (comm->size > FEW_RANKS) {
        free(all);
        free(counts);
    }
    if (gathered != COC_OK && status == COC_OK) return gathered;
    coc_error_set(text, place); /* what was recorded before counts */
    if (gathered != COC_OK || who < 0) return status;
    if (who != comm->rank) return COC_ERR_ELSEWHERE;
    coc_speak_sign();
    return status;
}
