/* comm/comm.h - ranks: collectives behind one table, started and waited for, never for ever.
 *
 * A communicator is a table of functions plus its state. `mpi` moves host memory (one process is
 * size 1 and needs no launcher); comm/device_comm.h has those for the memory of an accelerator.
 * Every collective is started (gives a handle) and waited for; the helpers below do both.
 * Reductions are sums. Counts may differ between ranks, and may be 0.
 *
 * A collective begins after all that its stream has been given before, and what the stream is given
 * after wait comes after the collective. On the host, where work is done when it is given, that
 * means what it says; on an accelerator nobody needs to wait for the device to start a collective
 * or to use what it brings, only to read its numbers (coc_comm_wait_device).
 *
 * While it waits, a rank polls. After `deadline` seconds it asks all others over a side channel
 * where they are; who does not answer, or is behind, is named with host, step and collective in one
 * line, and the job ends. So a hang anywhere becomes a message.
 */
#ifndef COC_COMM_COMM_H
#define COC_COMM_COMM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/device.h"
#include "base/status.h"
#include "configs/settings.h"

typedef enum { COC_BYTE, COC_INT32, COC_INT64, COC_FLOAT, COC_DOUBLE } coc_type;
size_t coc_type_bytes(coc_type type);

typedef struct coc_comm coc_comm;
typedef struct coc_request coc_request; /* a started collective; freed by wait */

/* All entries are required. "Collective" means: every rank of the communicator calls it, in the
 * same order. `what` is a literal that names the collective in messages. Buffers are left alone
 * between start and wait: by the host, and by work that is given to a stream. */
typedef struct {
    const char *name;
    coc_side side; /* where buffers live */
    /* start and wait only give work to the device's stream, so that they can be recorded; false:
     * the host takes part. */
    bool on_stream;
    /* A reduce-scatter adds over one binary tree of the ranks, so that its bits follow from what is
     * sent alone: with h the largest power of two below their number, that of rank r + h is added
     * to that of rank r; then the same with h / 2, down to 1. So where the ranks times the largest
     * count are at most this; beyond, and where it is 0, the order is the row's own. */
    int64_t tree_most;

    /* recv [sum counts] = everybody's send [counts[rank]], in rank order. counts [size]. send may
     * be this rank's own place in recv. Collective. */
    coc_status (*start_all_gather)(coc_comm *comm, const char *what, const void *send, void *recv,
                                   const int64_t *counts, coc_type type, coc_stream *stream,
                                   coc_request **request);
    /* recv [counts[rank]] = this rank's part of the sum over ranks of send [sum counts].
     * Collective. */
    coc_status (*start_reduce_scatter)(coc_comm *comm, const char *what, const void *send,
                                       void *recv, const int64_t *counts, coc_type type,
                                       coc_stream *stream, coc_request **request);
    /* buffer [count] = sum over ranks, in place. Collective. */
    coc_status (*start_all_reduce)(coc_comm *comm, const char *what, void *buffer, int64_t count,
                                   coc_type type, coc_stream *stream, coc_request **request);
    /* buffer [count] of rank root to all. Collective. */
    coc_status (*start_broadcast)(coc_comm *comm, const char *what, void *buffer, int64_t count,
                                  coc_type type, int root, coc_stream *stream,
                                  coc_request **request);
    /* recv [counts[previous rank]] = what the previous rank sends, send [counts[rank]] goes to the
     * next; the last rank's next is rank 0. counts [size]. What is sent may be read meanwhile. Who
     * waits, waits for these two only. Collective. */
    coc_status (*start_rotate)(coc_comm *comm, const char *what, const void *send, void *recv,
                               const int64_t *counts, coc_type type, coc_stream *stream,
                               coc_request **request);
    /* Finish a started collective, for the stream that was given at its start; *request becomes
     * NULL, also after a failure. NULL is fine. Errors: COC_ERR_RANKS with the line described
     * above. */
    coc_status (*wait)(coc_comm *comm, coc_request **request);
    /* Memory of the row's side for what collectives of this communicator send and bring: of as many
     * bytes on every rank as the most that one asks for, and where settings want it at one place
     * for all (comm.nccl_memory). Buffers then lie at the same distance from its beginning on every
     * rank, but for what a rank only sends to a gather or only gets of a scatter. Other memory will
     * do as well; what is of this kind is given back before the communicator ends. Not initialised.
     * Collective. Errors: COC_ERR_MEMORY, COC_ERR_DEVICE, COC_ERR_RANKS. */
    coc_status (*alloc)(coc_comm *comm, size_t bytes, void **memory);
    /* Takes NULL. Collective, as alloc. */
    void (*release)(coc_comm *comm, void *memory);
    /* See coc_comm_wait_device. */
    coc_status (*wait_device)(coc_comm *comm, const coc_device *device, coc_stream *stream);
    /* A communicator of the ranks first .. last of this one; only they call it. Collective over
     * them. Ended by coc_comm_destroy before its parent. */
    coc_status (*subgroup)(coc_comm *comm, int first, int last, coc_comm **sub);
    void (*destroy)(coc_comm *comm);
} coc_comm_ops;

struct coc_comm {
    const coc_comm_ops *ops;
    int rank, size;             /* in this communicator */
    int first;                  /* rank in the world of its rank 0; the others follow it */
    uint64_t id;                /* the same on all its ranks, and of no other communicator */
    int local_rank, local_size; /* among the ranks on this machine; picks the GPU */
    char host[64];
    double deadline;   /* seconds */
    int64_t step;      /* set by the training loop on its outermost one; only for messages */
    coc_comm *control; /* the same ranks over host memory; itself where side is COC_HOST */
    void *impl;
};

/* Start the ranks: MPI_Init_thread, errors returned, the world communicator. Refuses a Slurm step
 * of several tasks (SLURM_STEP_NUM_TASKS > 1) in which MPI sees a world of one rank: without that
 * the program would run N times over. Verifies order and sums of the collectives once on a small
 * pattern. Collective over all processes; once a process. Errors: COC_ERR_RANKS. */
coc_status coc_comm_start(const coc_comm_settings *settings, coc_comm **world);

/* A communicator of size 1 for commands that never start MPI. */
coc_status coc_comm_self(coc_comm **comm);

void coc_comm_destroy(coc_comm **comm); /* takes NULL; leaves *comm NULL */

/* End MPI, if it was started. Collective over all processes. */
void coc_comm_finish(void);

/* Whether MPI runs with more than this process. */
bool coc_comm_is_parallel(void);

/* End all ranks at once with one line on standard error (rank, host, place, what, what to do),
 * taken from this thread's last error; does not return. Only main() and the watchdog call it. A
 * status of COC_ERR_ELSEWHERE prints nothing. */
void coc_comm_abort(coc_status status) __attribute__((noreturn));

/* The same ranks over host memory, for words that live on the host whatever carries the tensors;
 * borrowed, with comm's step and deadline as they are now. */
coc_comm *coc_comm_over_host(coc_comm *comm);

/* Start and wait: the blocking forms. Host or device memory as ops->side says. Collective. */
coc_status coc_all_gather(coc_comm *comm, const char *what, const void *send, void *recv,
                          const int64_t *counts, coc_type type);
coc_status coc_reduce_scatter(coc_comm *comm, const char *what, const void *send, void *recv,
                              const int64_t *counts, coc_type type);
coc_status coc_all_reduce(coc_comm *comm, const char *what, void *buffer, int64_t count,
                          coc_type type);
coc_status coc_broadcast(coc_comm *comm, const char *what, void *buffer, int64_t count,
                         coc_type type, int root);
coc_status coc_rotate(coc_comm *comm, const char *what, const void *send, void *recv,
                      const int64_t *counts, coc_type type);
/* Bytes of host memory that a reduce-scatter takes beside send and recv over a communicator of the
 * host, where no rank gets more than `most` elements: for what all ranks send to one. They are kept
 * until the communicator ends, for the next one: as often as reduce-scatters were ever under way at
 * a time. */
int64_t coc_reduce_scatter_bytes(int ranks, int64_t most, coc_type type);
/* all [size][bytes] = what each rank gives, in rank order: few bytes, as many from each; for every
 * side, over host memory. Collective. Errors: COC_ERR_RANKS, COC_ERR_MEMORY. */
coc_status coc_gather_each(coc_comm *comm, const char *what, const void *own, int64_t bytes,
                           void *all);
/* buffer [count] = sum over ranks, in place: fast is coc_all_reduce; fixed-tree adds over the tree
 * of coc_comm_ops.tree_most, at the price of two collectives. Collective. Errors: those of both,
 * COC_ERR_INTERNAL where the row has no such tree for so many elements. */
coc_status coc_sum_over_ranks(coc_comm *comm, coc_reduction reduction, const char *what,
                              void *buffer, int64_t count, coc_type type);
/* Wait until the stream has done everything, as device->wait does, where that may depend on other
 * ranks: on collectives that were given to it. Never for ever: where collectives are left to the
 * device it polls under the deadline (five deadlines in the first step, in which connections are
 * made), and a rank whose device or host is late is named. Errors: COC_ERR_RANKS, COC_ERR_DEVICE;
 * COC_ERR_ELSEWHERE when another rank has said that it ends the job. */
coc_status coc_comm_wait_device(coc_comm *comm, const coc_device *device, coc_stream *stream);

/* Barrier, agreement and flags are for every side: they go over host memory. */
coc_status coc_barrier(coc_comm *comm, const char *what);

/* Whether an all-gather has put every rank's part at its place, unchanged: own is a hash of what
 * this rank sent, found [size] are the hashes of the parts as they came, made by whoever can read
 * their memory. Collective. Errors: COC_ERR_RANKS with the first place that is wrong, on the ranks
 * that see it; COC_ERR_MEMORY. */
coc_status coc_check_slabs(coc_comm *comm, const char *what, uint64_t own, const uint64_t *found);

/* Where ranks can differ (files, memory, settings) all call this before the next collective: if any
 * rank failed, every rank gets a failure. The lowest failing rank keeps its own status and text,
 * with its rank and host in front; the others get COC_ERR_ELSEWHERE. Collective. */
coc_status coc_comm_agree(coc_comm *comm, const char *what, coc_status status);

/* Whether a flag is set on any rank. Collective. */
coc_status coc_comm_any(coc_comm *comm, const char *what, bool flag, bool *any);

/* This rank's share of n things in rank order: [*first, *first + return value). Sizes differ by at
 * most one, larger shares first. counts [size], if not NULL, gets everybody's. */
int64_t coc_share(int64_t n, int size, int rank, int64_t *first);
void coc_shares(int64_t n, int size, int64_t *counts);

/* SIGTERM, SIGINT and SIGUSR1 set a flag and do nothing else; a second SIGINT ends the process. */
void coc_stop_install(void);
bool coc_stop_requested(void);

#endif
