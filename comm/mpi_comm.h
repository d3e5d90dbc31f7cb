/* comm/mpi_comm.h - inside of the mpi row; used by comm/ alone.
 *
 * Only the thread that started MPI calls these functions (MPI_THREAD_FUNNELED).
 */
#ifndef COC_COMM_MPI_COMM_H
#define COC_COMM_MPI_COMM_H

#include <mpi.h>

#include "comm/comm.h"
#include "comm/where.h"

enum { COC_MPI_MOST_AT_ONCE = 1 << 30 }; /* elements of one MPI call */

/* What all ranks send to this one in a reduce-scatter: [ranks][count]. */
typedef struct coc_mpi_slabs coc_mpi_slabs;

/* What coc_comm.impl of the row points at. */
typedef struct {
    MPI_Comm mpi;
    coc_comm *parent; /* NULL: the world */
    coc_where_count count;
    coc_request *idle;    /* finished requests, used again so that a step allocates nothing */
    coc_mpi_slabs *slabs; /* idle ones */
} coc_mpi_comm;

struct coc_request {
    coc_request *next; /* among the idle ones */
    const char *what;
    uint64_t number; /* which of this communicator's collectives it is, from 1; 0: none of them */
    int64_t step;
    MPI_Request *handles;
    int64_t handle_count, handle_capacity;
    /* Of a large one: done when those are here between whom data moves, which can move then. */
    MPI_Request here[4];
    int here_count;
    double moving_time; /* seconds that its data takes on a slow network */
    int *layout;        /* [4 size]: counts and displacements, which MPI reads until the end */

    /* The sum that is left to do at the end of a reduce-scatter: to [count] = the sum over ranks of
     * slabs [size][count], which it writes over; slabs is NULL in other collectives. */
    void *to;
    int64_t count;
    coc_type type;
    coc_mpi_slabs *slabs;
};

/* A communicator of the row over mpi, which it takes over, also after a failure. */
coc_status coc_mpi_create(MPI_Comm mpi, coc_comm *parent, int first, uint64_t id, coc_comm **comm);

/* Poll until all handles of the request are finished (and set to MPI_REQUEST_NULL), as coc_watch
 * does. */
coc_status coc_mpi_watch(coc_comm *comm, coc_request *request);

/* COC_OK, or COC_ERR_RANKS with MPI's own text for a code that an MPI function returned. */
coc_status coc_mpi_check(int code, const char *what);

/* Slabs with room for so many bytes, of the idle ones where there are any; given back when they
 * have been added. Errors: COC_ERR_MEMORY. */
coc_status coc_mpi_take_slabs(coc_mpi_comm *state, int64_t bytes, coc_mpi_slabs **slabs);
void coc_mpi_give_slabs(coc_mpi_comm *state, coc_mpi_slabs **slabs); /* takes NULL; leaves NULL */
void coc_mpi_free_slabs(coc_mpi_comm *state);                        /* the idle ones */
void *coc_mpi_slabs_memory(const coc_mpi_slabs *slabs);
int64_t coc_mpi_idle_slab_bytes(const coc_mpi_comm *state);

/* The sum that is left to do, when all slabs have come; type: that of the request. */
coc_status coc_mpi_add_slabs(const coc_request *request, MPI_Datatype type, int size);

/* Elements that one MPI call moves at most, since its counts are int. Tests make it small. */
void coc_mpi_set_piece(int64_t elements);

#endif
