/* comm/nccl_watch.c - waiting for NCCL and for a device that does collectives, never for ever. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "comm/nccl_comm.h"
#include "comm/watch.h"

/* Seconds. NCCL's kernels see an abort within milliseconds, but for those on symmetric memory and
 * copies by copy engines, which never do. */
static const double abort_time = 5.0;
/* When another rank's end is what went wrong here: it says why when its own abort is over. */
static const double remote_echo = 6.0;
/* Between two looks at the device: a step is tens of milliseconds. */
static const double device_nap = 50e-6;
/* Connections are made, and code is loaded, in the first step: as many deadlines for it. */
enum { FIRST_STEP = 5 };

/* All of the process's communicators. */
static coc_nccl *all;

void coc_nccl_watch_add(coc_nccl *s)
{
    s->next = all;
    all = s;
}

void coc_nccl_watch_remove(coc_nccl *s)
{
    for (coc_nccl **at = &all; *at != NULL; at = &(*at)->next) {
        if (*at != s) continue;
        *at = s->next;
        return;
    }
}

/* ---- after a failure */

static void *abort_all(void *finished)
{
    for (coc_nccl *s = all; s != NULL; s = s->next) {
        if (s->nccl != NULL) (void)ncclCommAbort(s->nccl);
        s->nccl = NULL;
    }
    atomic_store((atomic_bool *)finished, true);
    return NULL;
}

static bool sees_aborts(void)
{
    for (const coc_nccl *s = all; s != NULL; s = s->next)
        if (s->memory != COC_NCCL_PLAIN) return false;
    return true;
}

/* No call of NCCL's may run beside the abort: this thread makes none until it is over. */
static coc_status give_up(coc_status status)
{
    static atomic_bool finished;
    const double end = coc_clock_seconds() + abort_time;
    sigset_t signals, before;
    pthread_t thread;
    int code;

    if (!sees_aborts()) coc_comm_abort(status);
    atomic_store(&finished, false);
    sigfillset(&signals); /* they are for the thread that computes */
    pthread_sigmask(SIG_SETMASK, &signals, &before);
    code = pthread_create(&thread, NULL, abort_all, &finished);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0) return status;
    while (!atomic_load(&finished) && coc_clock_seconds() < end)
        coc_sleep_seconds(1e-3);
    if (!atomic_load(&finished)) coc_comm_abort(status);
    pthread_join(thread, NULL);
    return status;
}

static bool is_sound(const coc_nccl *s)
{
    ncclResult_t state = ncclSuccess;

    return coc_watch_broken() == COC_OK && ncclCommGetAsyncError(s->nccl, &state) == ncclSuccess &&
           state == ncclSuccess;
}

void coc_nccl_close(coc_nccl *s)
{
    if (s->nccl == NULL) return;
    if (!is_sound(s)) {
        (void)give_up(COC_ERR_RANKS);
        return;
    }
    if (coc_nccl_settle(s, ncclCommFinalize(s->nccl), "end of NCCL") == COC_OK)
        (void)ncclCommDestroy(s->nccl);
    s->nccl = NULL;
}

static coc_status watch(coc_awaited *awaited, coc_status (*look)(void *context, coc_look *look),
                        void *context)
{
    const coc_status status = coc_watch(awaited, look, context);

    return status == COC_OK ? COC_OK : give_up(status);
}

/* ---- what is waited for */

typedef struct {
    coc_nccl *s;
    coc_awaited awaited;
    const coc_device *device;
    coc_stream *stream;
    uint32_t seen; /* the last mark */
} waiting;

/* The first step is the first that is waited for; what is done before one is part of it, but for
 * the start, to which all have just come. */
static double deadline_of(const coc_nccl *s)
{
    const coc_nccl *top = s->top;
    const bool first = top->first_step < 0 || top->comm->step == top->first_step;

    return top->comm->deadline * (first && !s->connecting ? FIRST_STEP : 1);
}

static waiting waiting_for(coc_nccl *s, const char *what)
{
    return (waiting){.s = s,
                     .awaited = {.comm = s->comm,
                                 .what = what,
                                 .step = s->top->comm->step,
                                 .number = s->count.started,
                                 .deadline = deadline_of(s)}};
}

/* Whether NCCL is still at work in the background, and how it fares. */
static coc_status ask(coc_nccl *s, coc_awaited *awaited, bool *busy)
{
    ncclResult_t state = ncclSuccess, result;

    *busy = false;
    if (s->nccl == NULL) return COC_OK;
    result = ncclCommGetAsyncError(s->nccl, &state);
    if (result == ncclSuccess) result = state;
    *busy = result == ncclInProgress;
    if (result == ncclRemoteError) awaited->echo = remote_echo;
    return *busy ? COC_OK : coc_nccl_check(result, s->nccl, awaited->what);
}

static coc_status look_at_call(void *context, coc_look *look)
{
    waiting *w = context;
    bool busy;

    COC_TRY(ask(w->s, &w->awaited, &busy));
    look->done = !busy;
    look->nap = device_nap;
    return COC_OK;
}

coc_status coc_nccl_settle(coc_nccl *s, ncclResult_t result, const char *what)
{
    waiting w;

    if (result == ncclSuccess) return COC_OK;
    if (result != ncclInProgress) return coc_nccl_check(result, s->nccl, what);
    w = waiting_for(s, what);
    return watch(&w.awaited, look_at_call, &w);
}

/* ---- the device */

static void see_mark(waiting *w, coc_look *look)
{
    const coc_nccl_mark mark = coc_nccl_marks_get(w->s->top->marks);

    if (mark.value == w->seen) return;
    w->seen = mark.value;
    look->progress = true;
    if (!mark.begun) return;
    w->awaited.comm = mark.comm;
    w->awaited.what = mark.what;
}

static coc_status look_at_device(void *context, coc_look *look)
{
    waiting *w = context;

    for (coc_nccl *s = all; s != NULL; s = s->next) {
        bool busy;

        COC_TRY(ask(s, &w->awaited, &busy));
    }
    COC_TRY(w->device->done(w->device, w->stream, &look->done));
    see_mark(w, look);
    look->nap = device_nap;
    return COC_OK;
}

coc_status coc_nccl_wait_device(coc_comm *comm, const coc_device *device, coc_stream *stream)
{
    coc_nccl *s = coc_nccl_of(comm), *top = s->top;
    waiting w = waiting_for(s, "work of the device");
    coc_status status;

    w.device = device;
    w.stream = stream;
    w.seen = UINT32_MAX;
    w.awaited.on_device = true;
    coc_where_start(NULL, w.awaited.step, w.awaited.what);
    coc_nccl_marks_await(top->marks, true);
    status = watch(&w.awaited, look_at_device, &w);
    coc_nccl_marks_await(top->marks, false);
    if (status != COC_OK) return status;
    if (top->first_step < 0) top->first_step = top->comm->step;
    coc_nccl_marks_forget(top->marks);
    return COC_OK;
}
