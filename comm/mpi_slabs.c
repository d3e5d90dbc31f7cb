/* comm/mpi_slabs.c - the sum of a reduce-scatter: memory for what all ranks send to this one, and
 * adding it up. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "comm/mpi_comm.h"

struct coc_mpi_slabs {
    coc_mpi_slabs *next; /* among the idle ones */
    int64_t bytes;
    void *memory;
};

int64_t coc_reduce_scatter_bytes(int ranks, int64_t most, coc_type type)
{
    if (ranks == 1 || ranks * most > COC_MPI_MOST_AT_ONCE) return 0; /* then it is no such sum */
    return ranks * most * (int64_t)coc_type_bytes(type);
}

/* Of those that have room the smallest, else the largest. */
static bool fits_better(const coc_mpi_slabs *s, const coc_mpi_slabs *than, int64_t bytes)
{
    if (s->bytes >= bytes) return than->bytes < bytes || s->bytes < than->bytes;
    return s->bytes > than->bytes;
}

/* NULL where there is none. */
static coc_mpi_slabs *take_idle(coc_mpi_comm *state, int64_t bytes)
{
    coc_mpi_slabs **best = &state->slabs, *found;

    for (coc_mpi_slabs **s = &state->slabs; *s != NULL; s = &(*s)->next)
        if (fits_better(*s, *best, bytes)) best = s;
    found = *best;
    if (found != NULL) *best = found->next;
    return found;
}

/* What has too little room is made larger, so that a communicator has no more of them than were
 * ever under way at a time. */
coc_status coc_mpi_take_slabs(coc_mpi_comm *state, int64_t bytes, coc_mpi_slabs **slabs)
{
    coc_mpi_slabs *found = take_idle(state, bytes);
    coc_status status = COC_OK;

    *slabs = NULL;
    if (found == NULL) COC_TRY(coc_alloc(1, sizeof *found, &found));
    if (found->bytes < bytes) {
        free(found->memory);
        found->memory = NULL;
        found->bytes = 0;
        status = coc_alloc(bytes, 1, &found->memory);
        if (status == COC_OK) found->bytes = bytes;
    }
    if (status == COC_OK)
        *slabs = found;
    else
        coc_mpi_give_slabs(state, &found);
    return status;
}

void coc_mpi_give_slabs(coc_mpi_comm *state, coc_mpi_slabs **slabs)
{
    if (*slabs == NULL) return;
    (*slabs)->next = state->slabs;
    state->slabs = *slabs;
    *slabs = NULL;
}

void coc_mpi_free_slabs(coc_mpi_comm *state)
{
    for (coc_mpi_slabs *s = state->slabs; s != NULL; s = state->slabs) {
        state->slabs = s->next;
        free(s->memory);
        free(s);
    }
}

void *coc_mpi_slabs_memory(const coc_mpi_slabs *slabs)
{
    return slabs->memory;
}

int64_t coc_mpi_idle_slab_bytes(const coc_mpi_comm *state)
{
    int64_t bytes = 0;

    for (const coc_mpi_slabs *s = state->slabs; s != NULL; s = s->next)
        bytes += s->bytes;
    return bytes;
}

/* The tree of coc_comm_ops.tree_most. The two sides of a sum may change places: its bits stay. */
coc_status coc_mpi_add_slabs(const coc_request *r, MPI_Datatype type, int size)
{
    const int64_t bytes = r->count * (int64_t)coc_type_bytes(r->type);
    char *slabs = r->slabs->memory;
    int half = 1;

    if (r->count == 0) return COC_OK;
    while (2 * half < size)
        half *= 2;
    for (; half > 0; size = half, half /= 2)
        for (int rank = 0; rank + half < size; rank++)
            COC_TRY(
                coc_mpi_check(MPI_Reduce_local(slabs + (rank + half) * bytes, slabs + rank * bytes,
                                               (int)r->count, type, MPI_SUM),
                              r->what));
    memcpy(r->to, slabs, (size_t)bytes);
    return COC_OK;
}
