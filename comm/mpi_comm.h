/* comm/mpi_comm.h - inside of the mpi row; used by comm/ alone.
 *
 * Only the thread that started MPI calls these functions (MPI_THREAD_FUNNELED).
 */
#ifndef COC_COMM_MPI_COMM_H
#define COC_COMM_MPI_COMM_H

#include <mpi.h>

#include "comm/comm.h"
#include "comm/where.h"

/* What coc_comm.impl of the row points at. */
typedef struct {
    MPI_Comm mpi;
    coc_comm *parent; /* NULL: the world */
    coc_where_count count;
    coc_request *idle; /* finished requests, used again so that a step allocates nothing */
} coc_mpi_comm;

struct coc_request {
    coc_request *next; /* among the idle ones */
    const char *what;
    uint64_t number; /* which of this communicator's collectives it is, from 1; 0: none of them */
    int64_t step;
    MPI_Request *handles;
    int64_t handle_count, handle_capacity;
    MPI_Request all_here; /* of a large one: a barrier that tells when data can move */
    double moving_time;   /* seconds that its data takes on a slow network */
    int *layout;          /* [4 size]: counts and displacements, which MPI reads until the end */

    /* The sum that is left to do at the end of a reduce-scatter: to [count] = the sum over ranks of
     * slabs [size][count], which it writes over. */
    void *to;
    int64_t count;
    coc_type type;
    void *slabs;
    int64_t slab_bytes; /* room in slabs */
};

/* A communicator of the row over mpi, which it takes over, also after a failure. */
coc_status coc_mpi_create(MPI_Comm mpi, coc_comm *parent, int first, uint64_t id, coc_comm **comm);

/* Poll until all handles of the request are finished (and set to MPI_REQUEST_NULL), as coc_watch
 * does. */
coc_status coc_mpi_watch(coc_comm *comm, coc_request *request);

/* COC_OK, or COC_ERR_RANKS with MPI's own text for a code that an MPI function returned. */
coc_status coc_mpi_check(int code, const char *what);

/* Elements that one MPI call moves at most, since its counts are int. Tests make it small. */
void coc_mpi_set_piece(int64_t elements);

#endif
