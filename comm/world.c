/* comm/world.c - the start and the end of the ranks. */
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "comm/mpi_comm.h"
#include "comm/side.h"

/* Process-wide, as MPI itself is. */
static struct {
    bool started, running;
    int size;
    coc_comm *control; /* over all ranks, for the end of the program */
} state;

/* Ids of communicators over all ranks. Those of subgroups are 2^32 and more: meet(), comm/mpi.c. */
enum { WORLD_ID = 1, CONTROL_ID = 2 };

/* ---- checks */

/* With a launcher that speaks another PMI than this MPI, every process believes to be alone. */
static coc_status refuse_copies(int size)
{
    const char *tasks = getenv("SLURM_STEP_NUM_TASKS"), *task = getenv("SLURM_PROCID");

    if (size > 1 || tasks == NULL || atoi(tasks) < 2) return COC_OK;
    if (task != NULL && atoi(task) > 0) return COC_ERR_ELSEWHERE; /* the first one says it */
    return COC_FAIL(COC_ERR_RANKS,
                    "Slurm started %s tasks, but MPI sees one rank: every task would do the whole "
                    "work; use srun --mpi=pmix (srun --mpi=list shows what there is) or mpirun",
                    tasks);
}

static coc_status check_gather(coc_comm *comm, int64_t *counts, double *buffer)
{
    const double mine[2] = {10.0 * comm->rank, 10.0 * comm->rank + 1};
    int64_t at = 0;

    for (int rank = 0; rank < comm->size; rank++)
        counts[rank] = (rank + 1) % 3; /* 1, 2, 0, 1, ... */
    COC_TRY(coc_all_gather(comm, "check of all-gather", mine, buffer, counts, COC_DOUBLE));
    for (int rank = 0; rank < comm->size; rank++)
        for (int64_t i = 0; i < counts[rank]; i++, at++)
            if (buffer[at] != 10.0 * rank + (double)i)
                return COC_FAIL(COC_ERR_RANKS, "MPI gathers wrongly: %g instead of %g from rank %d",
                                buffer[at], 10.0 * rank + (double)i, rank);
    return COC_OK;
}

static coc_status check_sums(coc_comm *comm, const int64_t *counts, double *buffer)
{
    const double ranks = comm->size, sum = ranks * (ranks + 1) / 2;
    double part[2] = {0};
    int64_t total = 0, first = 0;

    for (int rank = 0; rank < comm->size; rank++) {
        if (rank == comm->rank) first = total;
        total += counts[rank];
    }
    for (int64_t i = 0; i < total; i++)
        buffer[i] = (comm->rank + 1.0) * (double)i;
    COC_TRY(coc_reduce_scatter(comm, "check of reduce-scatter", buffer, part, counts, COC_DOUBLE));
    COC_TRY(coc_all_reduce(comm, "check of all-reduce", buffer, total, COC_DOUBLE));
    for (int64_t i = 0; i < counts[comm->rank]; i++)
        if (part[i] != sum * (double)(first + i))
            return COC_FAIL(COC_ERR_RANKS, "MPI scatters wrong sums: %g instead of %g", part[i],
                            sum * (double)(first + i));
    for (int64_t i = 0; i < total; i++)
        if (buffer[i] != sum * (double)i)
            return COC_FAIL(COC_ERR_RANKS, "MPI sums wrongly: %g instead of %g", buffer[i],
                            sum * (double)i);
    return COC_OK;
}

static coc_status check_rotate(coc_comm *comm, const int64_t *counts)
{
    const int previous = (comm->rank + comm->size - 1) % comm->size;
    const double mine[2] = {10.0 * comm->rank, 10.0 * comm->rank + 1};
    double brought[2];

    COC_TRY(coc_rotate(comm, "check of rotation", mine, brought, counts, COC_DOUBLE));
    for (int64_t i = 0; i < counts[previous]; i++)
        if (brought[i] != 10.0 * previous + (double)i)
            return COC_FAIL(COC_ERR_RANKS, "MPI brings %g instead of %g from rank %d", brought[i],
                            10.0 * previous + (double)i, previous);
    return COC_OK;
}

/* Order and sums on a small pattern with uneven and zero counts. */
static coc_status check_collectives(coc_comm *comm)
{
    int64_t *counts = NULL;
    double *buffer = NULL, last = comm->rank;
    coc_status status = coc_alloc(comm->size, sizeof *counts, &counts);

    if (status == COC_OK) status = coc_alloc(2 * comm->size, sizeof *buffer, &buffer);
    if (status == COC_OK) status = check_gather(comm, counts, buffer);
    if (status == COC_OK) status = check_sums(comm, counts, buffer);
    if (status == COC_OK)
        status = coc_broadcast(comm, "check of broadcast", &last, 1, COC_DOUBLE, comm->size - 1);
    if (status == COC_OK && last != comm->size - 1)
        status = COC_FAIL(COC_ERR_RANKS, "MPI broadcasts wrongly: %g instead of %d", last,
                          comm->size - 1);
    if (status == COC_OK) status = check_rotate(comm, counts);
    free(counts);
    free(buffer);
    return status;
}

/* ---- start */

/* Seconds. A launcher ends the others about one second after it was asked to. */
static const double ending_time = 5.0;

/* peers [size], of which each rank has its own -> all. The first time that the ranks meet. They
 * cannot tell each other yet who speaks, so each leaves the lower ones the time to end the job. */
static coc_status exchange(coc_peer *peers, int rank, int size, double deadline)
{
    coc_mpi_comm all = {.mpi = MPI_COMM_WORLD};
    coc_comm comm = {
        .rank = rank, .size = size, .deadline = deadline + ending_time * rank, .impl = &all};
    MPI_Request handle;
    coc_request r = {.what = "start", .handles = &handle, .handle_count = 1};

    memcpy(comm.host, peers[rank].host, sizeof comm.host);
    COC_TRY(coc_mpi_check(MPI_Iallgather(MPI_IN_PLACE, 0, MPI_BYTE, peers, (int)sizeof *peers,
                                         MPI_BYTE, MPI_COMM_WORLD, &handle),
                          r.what));
    return coc_mpi_watch(&comm, &r);
}

static coc_status open_side_channel(int rank, int size, double deadline)
{
    coc_peer *peers;
    coc_status status;

    COC_TRY(coc_alloc(size, sizeof *peers, &peers));
    if (size > 1) coc_side_open(&peers[rank]);
    gethostname(peers[rank].host, sizeof peers[rank].host - 1);
    COC_TRY(exchange(peers, rank, size, deadline)); /* else MPI may still write there: not freed */
    status = coc_side_start(peers, rank, size);
    free(peers);
    return status;
}

/* A communicator over all ranks with what it says of this machine. MPI makes communicators without
 * a deadline, so this is begun when all have met. */
static coc_status over_all(const coc_comm_settings *settings, uint64_t id, coc_comm **comm)
{
    MPI_Comm mpi, local;

    *comm = NULL;
    COC_TRY(coc_mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &mpi), "start"));
    COC_TRY(coc_mpi_create(mpi, NULL, 0, id, comm));
    COC_TRY(coc_mpi_check(MPI_Comm_split_type(mpi, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local),
                          "ranks of a host"));
    MPI_Comm_rank(local, &(*comm)->local_rank);
    MPI_Comm_size(local, &(*comm)->local_size);
    MPI_Comm_free(&local);
    gethostname((*comm)->host, sizeof(*comm)->host - 1);
    (*comm)->deadline = settings->deadline;
    return COC_OK;
}

static coc_status start_world(const coc_comm_settings *settings, int rank, coc_comm **world)
{
    COC_TRY(open_side_channel(rank, state.size, settings->deadline));
    COC_TRY(over_all(settings, CONTROL_ID, &state.control));
    COC_TRY(over_all(settings, WORLD_ID, world));
    return check_collectives(*world);
}

coc_status coc_comm_start(const coc_comm_settings *settings, coc_comm **world)
{
    int rank = 0, level = 0;
    coc_status status;

    *world = NULL;
    if (state.started) return COC_FAIL(COC_ERR_INTERNAL, "the ranks were started already");
    state.started = true;
    COC_TRY(coc_mpi_check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level), "start"));
    state.running = true;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &state.size);
    coc_log_set_rank(rank, state.size);
    COC_TRY(refuse_copies(state.size));
    if (level < MPI_THREAD_FUNNELED)
        return COC_FAIL(COC_ERR_RANKS, "this MPI does not allow threads beside it");
    status = start_world(settings, rank, world);
    if (status != COC_OK) coc_comm_destroy(world);
    return status;
}

/* ---- end */

bool coc_comm_is_parallel(void)
{
    return state.running && state.size > 1;
}

/* MPI_Finalize waits for all ranks without a deadline, so they meet under the watchdog first. */
static coc_status meet_at_the_end(void)
{
    coc_where here;

    if (state.control == NULL || state.size == 1) return COC_OK;
    coc_where_get(0, &here);
    state.control->step = here.step;
    return coc_barrier(state.control, "end of the program");
}

void coc_comm_finish(void)
{
    coc_status status;

    if (!state.running) return;
    status = meet_at_the_end();
    if (status != COC_OK) coc_comm_abort(status);
    coc_comm_destroy(&state.control);
    coc_side_stop();
    MPI_Finalize();
    state.running = false;
}
