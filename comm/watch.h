/* comm/watch.h - waiting for other ranks, never for ever; used by comm/ alone.
 *
 * What is waited for is told by a function that looks and never blocks: requests of MPI
 * (comm/mpi_watch.c), calls of NCCL and the work of a device (comm/nccl_watch.c).
 */
#ifndef COC_COMM_WATCH_H
#define COC_COMM_WATCH_H

#include "comm/comm.h"

/* What this rank waits for, for the message. Whoever looks may change it as work gets on. */
typedef struct {
    const coc_comm *comm; /* whose ranks are asked */
    const char *what;
    int64_t step;
    uint64_t number; /* which of the communicator's collectives it is, from 1; 0: none of them */
    bool on_device;  /* this rank's device waits, for what device_number of the others' tells */
    double deadline; /* seconds without progress */
    double echo;     /* seconds that another rank has to say why, when looking fails; 0: 1 */
} coc_awaited;

/* One look at it. All but the first are false, or 0, before it. */
typedef struct {
    double waited; /* in: seconds since there was progress */
    bool done;     /* it has come */
    bool progress; /* something has: the deadline begins anew */
    bool busy;     /* data moves only while this rank looks: no sleep before the next look */
    double nap;    /* the longest sleep before the next look, in seconds; 0: as others do */
} coc_look;

/* Look until it has come. Sleeps a little after the first fraction of a millisecond, so that ranks
 * which share a core get on.
 * Errors: COC_ERR_RANKS when the deadline has passed (the text names who is late); what look
 * returned; COC_ERR_ELSEWHERE when another rank has said that it ends the job. After a failure the
 * ranks can no longer work together: every later call here gives the first failure again at once.
 */
coc_status coc_watch(coc_awaited *awaited, coc_status (*look)(void *context, coc_look *look),
                     void *context);

/* That first failure; COC_OK as long as there is none. Asked before anything is started. */
coc_status coc_watch_broken(void);

#endif
