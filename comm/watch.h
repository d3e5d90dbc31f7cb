/* comm/watch.h - waiting for other ranks, never for ever; used by comm/ alone. */
#ifndef COC_COMM_WATCH_H
#define COC_COMM_WATCH_H

#include "comm/mpi_comm.h"

/* Poll until all handles of the request are finished (and set to MPI_REQUEST_NULL). Sleeps a little
 * after the first fraction of a millisecond, so that ranks which share a core get on.
 * Errors: COC_ERR_RANKS when the deadline has passed (the text names who is late) or MPI failed;
 * COC_ERR_ELSEWHERE when another rank has said that it ends the job. After a failure the ranks can
 * no longer work together: every later call here gives the first failure again at once. */
coc_status coc_watch(coc_comm *comm, coc_request *request);

/* That first failure; COC_OK as long as there is none. Asked before anything is started. */
coc_status coc_watch_broken(void);

#endif
