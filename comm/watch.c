#include "comm/watch.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "comm/side.h"

/* Seconds. A rank that can answer does so within milliseconds; packets may be lost. */
static const double answer_time = 2.0;
/* After a failure of MPI itself: it may be the echo of a rank that has said why it ends the job. */
static const double echo_time = 1.0;

/* The first failure. Only the thread that uses MPI comes here. */
static struct {
    coc_status status;
    char text[2000], place[160];
} broken;

coc_status coc_watch_broken(void)
{
    if (broken.status != COC_OK) coc_error_set(broken.text, broken.place);
    return broken.status;
}

static coc_status breaks(coc_status status)
{
    broken.status = status;
    snprintf(broken.text, sizeof broken.text, "%s", coc_error_text());
    snprintf(broken.place, sizeof broken.place, "%s", coc_error_place());
    return status;
}

/* ---- who is late */

typedef struct {
    const coc_comm *comm;
    const coc_request *request;
    coc_where *where; /* [ranks of the world] */
    bool *answered;   /* [ranks of the world] */
    char text[1200];
    int used, named;
} inquiry;

static void say(inquiry *q, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(inquiry *q, const char *format, ...)
{
    const int room = (int)sizeof q->text - q->used;
    va_list arguments;
    int n;

    va_start(arguments, format);
    n = vsnprintf(q->text + q->used, (size_t)room, format, arguments);
    va_end(arguments);
    q->used += n < room ? n : room - 1;
}

/* The first few are named, the others counted by say_more(). */
static bool name_rank(inquiry *q, int rank)
{
    enum { NAMED = 4 };

    if (++q->named > NAMED) return false;
    say(q, "%srank %d on %s", q->named > 1 ? "; " : "", rank, coc_side_host(rank));
    return true;
}

static void say_more(inquiry *q)
{
    if (q->named > 4) say(q, "; and %d more", q->named - 4);
}

static void name_silent(inquiry *q)
{
    for (int rank = 0; rank < coc_side_size(); rank++) {
        if (q->answered[rank] || !name_rank(q, rank)) continue;
        say(q, coc_side_can_answer(rank) ? " does not answer (stopped, dead or cut off)"
                                         : " cannot answer (it has no network socket)");
    }
}

static bool is_member(const inquiry *q, int rank)
{
    const int first = ((const coc_mpi_comm *)q->comm->impl)->first;

    return rank >= first && rank < first + q->comm->size;
}

/* Members that have not started what this rank waits for, or started it and went on computing:
 * MPI moves data only while a rank is inside it. Those that compute hold up those that wait, so a
 * waiting one is named only where nobody computes. */
static void name_late(inquiry *q, bool computing)
{
    for (int rank = 0; rank < coc_side_size(); rank++) {
        const coc_where *w = &q->where[rank];

        if (!is_member(q, rank) || rank == coc_side_rank()) continue;
        if ((w->waiting != 0) == computing) continue;
        if (!computing && w->started >= q->request->number) continue;
        if (!name_rank(q, rank)) continue;
        say(q, " is late: step %lld, %s %.0f s ", (long long)w->step,
            computing ? "computing for" : "waiting for", w->seconds);
        if (w->what[0] == '\0')
            say(q, "before its first collective");
        else
            say(q, "%s '%s'", computing ? "after" : "in", w->what);
    }
}

static void name_others(inquiry *q)
{
    if (coc_side_size() == 0) {
        say(q,
            "rank %d on %s is here, another one is not: look for a host that is stopped, slow or "
            "cut off",
            q->comm->rank, q->comm->host);
        return;
    }
    name_silent(q);
    if (q->named == 0) name_late(q, true);
    if (q->named == 0) name_late(q, false);
    say_more(q);
    if (q->named == 0)
        say(q, "every rank answers and waits in the same collective: the network or MPI has lost "
               "something, or the ranks differ in their counts");
}

static coc_status name_who_is_late(const coc_comm *comm, const coc_request *request)
{
    const int size = coc_side_size();
    inquiry q = {.comm = comm, .request = request};
    coc_status status = coc_alloc(size, sizeof *q.where, &q.where);

    if (status == COC_OK) status = coc_alloc(size, sizeof *q.answered, &q.answered);
    if (status == COC_OK) {
        coc_side_ask(((const coc_mpi_comm *)comm->impl)->count.id, answer_time, q.where,
                     q.answered);
        name_others(&q);
        status =
            COC_FAIL(COC_ERR_RANKS, "step %lld, collective '%s': waited %.0f s (comm.deadline): %s",
                     (long long)request->step, request->what, comm->deadline, q.text);
    }
    free(q.where);
    free(q.answered);
    return coc_side_speaker() >= 0 ? COC_ERR_ELSEWHERE : status;
}

/* ---- waiting */

/* Lower ranks ask first, so that seldom more than one asks. */
static double time_limit(const coc_comm *comm)
{
    const int rank = coc_side_rank();

    return comm->deadline + 0.05 * (rank < 60 ? rank : 60);
}

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

/* What decides between polling and sleeping. */
typedef struct {
    double waited; /* seconds */
    bool moving;   /* all ranks are in the collective, so its data moves */
    double moving_since;
} patience;

/* While data moves, a sleep would stop it. While a rank is late, those that share its core must let
 * it run: they sleep for a tenth of the time waited so far, which costs little, whatever that is.
 */
static void rest(const patience *p, const coc_request *request)
{
    if (p->waited < 200e-6 || (p->moving && p->waited - p->moving_since < request->moving_time))
        sched_yield();
    else
        coc_sleep_seconds(p->waited < 5e-3 ? 0.1 * p->waited : 500e-6);
}

static coc_status see_whether_data_moves(patience *p, coc_request *request)
{
    int finished = 0;

    if (request->all_here == MPI_REQUEST_NULL) return COC_OK;
    COC_TRY(
        coc_mpi_check(MPI_Test(&request->all_here, &finished, MPI_STATUS_IGNORE), request->what));
    if (!finished) return COC_OK;
    p->moving = true;
    p->moving_since = p->waited;
    return COC_OK;
}

static coc_status await_speaker(coc_status status)
{
    const double end = coc_clock_seconds() + echo_time;

    if (coc_side_size() < 2) return status;
    while (coc_side_speaker() < 0 && coc_clock_seconds() < end)
        coc_sleep_seconds(0.02);
    return coc_side_speaker() >= 0 ? COC_ERR_ELSEWHERE : status;
}

static coc_status poll_until_done(coc_comm *comm, coc_request *request)
{
    double last = coc_clock_seconds();
    patience p = {0};

    for (;;) {
        bool done;
        coc_status status = test(request, &done);
        double now, passed;

        if (status == COC_OK) status = see_whether_data_moves(&p, request);
        if (status != COC_OK) return await_speaker(status);
        if (done && request->all_here == MPI_REQUEST_NULL) return COC_OK;
        if (coc_side_speaker() >= 0) return COC_ERR_ELSEWHERE;
        now = coc_clock_seconds();
        passed = now - last;
        last = now;
        p.waited += passed < 0.5 ? passed : 0.5; /* a job that was suspended has not waited */
        if (p.waited > time_limit(comm)) return name_who_is_late(comm, request);
        rest(&p, request);
    }
}

coc_status coc_watch(coc_comm *comm, coc_request *request)
{
    coc_status status;

    COC_TRY(coc_watch_broken());
    coc_where_wait(true);
    status = poll_until_done(comm, request);
    coc_where_wait(false);
    return status == COC_OK ? COC_OK : breaks(status);
}
