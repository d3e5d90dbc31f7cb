/* comm/mpi_watch.c - waiting for requests of MPI. */
#include "comm/mpi_comm.h"
#include "comm/watch.h"

typedef struct {
    coc_request *request;
    bool moving; /* all ranks are in the collective, so its data moves */
    double moving_since;
} waiting;

static coc_status test(coc_request *request, bool *done)
{
    *done = true;
    for (int64_t i = 0; i < request->handle_count; i++) {
        int finished = 0;

        if (request->handles[i] == MPI_REQUEST_NULL) continue;
        COC_TRY(coc_mpi_check(MPI_Test(&request->handles[i], &finished, MPI_STATUS_IGNORE),
                              request->what));
        if (!finished) *done = false;
    }
    return COC_OK;
}

static coc_status see_whether_data_moves(waiting *w, double waited)
{
    coc_request *request = w->request;
    int finished = 0;

    if (request->all_here == MPI_REQUEST_NULL) return COC_OK;
    COC_TRY(
        coc_mpi_check(MPI_Test(&request->all_here, &finished, MPI_STATUS_IGNORE), request->what));
    if (!finished) return COC_OK;
    w->moving = true;
    w->moving_since = waited;
    return COC_OK;
}

/* While data moves, a sleep would stop it. */
static coc_status look_at_request(void *context, coc_look *look)
{
    waiting *w = context;

    COC_TRY(test(w->request, &look->done));
    COC_TRY(see_whether_data_moves(w, look->waited));
    if (w->request->all_here != MPI_REQUEST_NULL) look->done = false;
    look->busy = w->moving && look->waited - w->moving_since < w->request->moving_time;
    return COC_OK;
}

coc_status coc_mpi_watch(coc_comm *comm, coc_request *request)
{
    coc_awaited awaited = {.comm = comm,
                           .what = request->what,
                           .step = request->step,
                           .number = request->number,
                           .deadline = comm->deadline};
    waiting w = {.request = request};

    return coc_watch(&awaited, look_at_request, &w);
}
