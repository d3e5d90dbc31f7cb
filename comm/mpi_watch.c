/* comm/mpi_watch.c - waiting for requests of MPI. */
#include "comm/mpi_comm.h"
#include "comm/watch.h"

typedef struct {
    coc_request *request;
    bool moving; /* all who are expected are in the collective, so its data moves */
    double moving_since;
} waiting;

static coc_status test(const char *what, MPI_Request *handles, int64_t count, bool *done)
{
    *done = true;
    for (int64_t i = 0; i < count; i++) {
        int finished = 0;

        if (handles[i] == MPI_REQUEST_NULL) continue;
        COC_TRY(coc_mpi_check(MPI_Test(&handles[i], &finished, MPI_STATUS_IGNORE), what));
        if (!finished) *done = false;
    }
    return COC_OK;
}

static coc_status see_whether_data_moves(waiting *w, double waited, bool *all_here)
{
    coc_request *request = w->request;

    COC_TRY(test(request->what, request->here, request->here_count, all_here));
    if (!*all_here || request->here_count == 0 || w->moving) return COC_OK;
    w->moving = true;
    w->moving_since = waited;
    return COC_OK;
}

/* While data moves, a sleep would stop it. */
static coc_status look_at_request(void *context, coc_look *look)
{
    waiting *w = context;
    coc_request *request = w->request;
    bool all_here;

    COC_TRY(test(request->what, request->handles, request->handle_count, &look->done));
    COC_TRY(see_whether_data_moves(w, look->waited, &all_here));
    if (!all_here) look->done = false;
    look->busy = w->moving && look->waited - w->moving_since < request->moving_time;
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
