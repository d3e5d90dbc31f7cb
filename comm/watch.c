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
/* After a failure of MPI or NCCL: it may be the echo of a rank that has said why it ends the job.
 */
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
    const coc_awaited *awaited;
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

static bool is_other_member(const inquiry *q, int rank)
{
    const coc_comm *comm = q->awaited->comm;

    return rank >= comm->first && rank < comm->first + comm->size && rank != coc_side_rank();
}

static void say_where_its_device_is(inquiry *q, const coc_where *w)
{
    if (w->device_what[0] != '\0')
        say(q, ", its device in '%s'", w->device_what);
    else if (q->awaited->on_device)
        say(q, ", its device before its first collective");
}

static void say_where(inquiry *q, const coc_where *w)
{
    const bool computing = w->waiting == 0;

    say(q, " is late: step %lld, %s %.0f s ", (long long)w->step,
        computing ? "computing for" : "waiting for", w->seconds);
    if (w->what[0] == '\0')
        say(q, "before its first collective");
    else
        say(q, "%s '%s'", computing ? "after" : "in", w->what);
    say_where_its_device_is(q, w);
}

/* Those that compute hold up those that wait: MPI moves data only while a rank is inside it, and a
 * device has no work that its host does not give it. So a waiting one is named only where nobody
 * computes. */
static void name_computing(inquiry *q)
{
    for (int rank = 0; rank < coc_side_size(); rank++)
        if (is_other_member(q, rank) && q->where[rank].waiting == 0 && name_rank(q, rank))
            say_where(q, &q->where[rank]);
}

/* Members that wait for something else, and have not started what this rank waits for. */
static void name_elsewhere(inquiry *q)
{
    for (int rank = 0; rank < coc_side_size(); rank++)
        if (is_other_member(q, rank) && q->where[rank].started < q->awaited->number &&
            name_rank(q, rank))
            say_where(q, &q->where[rank]);
}

/* Where the device there is, seen from the one here: < 0 behind, > 0 ahead, 0 in the same
 * collective. A device can be seen in a collective from its beginning on, and leaves it when all
 * have begun it: who stands in an earlier one holds up those in a later one. */
static int device_ahead(const inquiry *q, const coc_where *there)
{
    const coc_where *here = &q->where[coc_side_rank()];
    const bool begun = here->device_what[0] != '\0', begun_there = there->device_what[0] != '\0';

    if (there->step != here->step) return there->step > here->step ? 1 : -1;
    if (!there->device_awaited) return 1; /* it is through with this step's */
    if (!begun || !begun_there) return begun_there - begun;
    if (there->device_id != here->device_id) return -1;
    return (there->device_number - here->device_number + 96) % 64 - 32;
}

static void name_late_devices(inquiry *q)
{
    const coc_where *here = &q->where[coc_side_rank()];
    bool ahead = false;

    for (int rank = 0; rank < coc_side_size(); rank++) {
        const int distance = is_other_member(q, rank) ? device_ahead(q, &q->where[rank]) : 0;

        ahead = ahead || distance > 0;
        if (distance < 0 && name_rank(q, rank)) say_where(q, &q->where[rank]);
    }
    if (q->named > 0 || !ahead || !name_rank(q, coc_side_rank())) return;
    say(q, " itself is late");
    say_where_its_device_is(q, here);
}

static void name_others(inquiry *q)
{
    const coc_comm *comm = q->awaited->comm;

    if (coc_side_size() == 0) {
        say(q,
            "rank %d on %s is here, another one is not: look for a host that is stopped, slow or "
            "cut off",
            comm->rank, comm->host);
        return;
    }
    name_silent(q);
    if (q->named == 0) name_computing(q);
    if (q->named == 0 && q->awaited->on_device) name_late_devices(q);
    if (q->named == 0 && !q->awaited->on_device) name_elsewhere(q);
    say_more(q);
    if (q->named > 0) return;
    say(q, "every rank answers and waits in the same collective: the network, MPI or NCCL has lost "
           "something, or the ranks differ in their counts");
}

static coc_status name_who_is_late(const coc_awaited *awaited)
{
    const int size = coc_side_size();
    inquiry q = {.awaited = awaited};
    coc_status status = coc_alloc(size, sizeof *q.where, &q.where);

    if (status == COC_OK) status = coc_alloc(size, sizeof *q.answered, &q.answered);
    if (status == COC_OK) {
        if (size > 0) coc_side_ask(awaited->comm->id, answer_time, q.where, q.answered);
        name_others(&q);
        status =
            COC_FAIL(COC_ERR_RANKS, "step %lld, collective '%s': waited %.0f s (comm.deadline): %s",
                     (long long)awaited->step, awaited->what, awaited->deadline, q.text);
    }
    free(q.where);
    free(q.answered);
    return coc_side_speaker() >= 0 ? COC_ERR_ELSEWHERE : status;
}

/* ---- waiting */

/* Lower ranks ask first, so that seldom more than one asks. */
static double time_limit(const coc_awaited *awaited)
{
    const int rank = coc_side_rank();

    return awaited->deadline + 0.05 * (rank < 60 ? rank : 60);
}

/* While a rank is late, those that share its core must let it run: they sleep for a tenth of the
 * time waited so far, which costs little, whatever that is. */
static void rest(const coc_look *look)
{
    const double longest = look->nap > 0 ? look->nap : 500e-6;

    if (look->busy || look->waited < 200e-6)
        sched_yield();
    else
        coc_sleep_seconds(0.1 * look->waited < longest ? 0.1 * look->waited : longest);
}

static coc_status await_speaker(const coc_awaited *awaited, coc_status status)
{
    const double end = coc_clock_seconds() + (awaited->echo > 0 ? awaited->echo : echo_time);

    if (coc_side_size() < 2) return status;
    while (coc_side_speaker() < 0 && coc_clock_seconds() < end)
        coc_sleep_seconds(0.02);
    return coc_side_speaker() >= 0 ? COC_ERR_ELSEWHERE : status;
}

static coc_status look_until_done(coc_awaited *awaited,
                                  coc_status (*look_at)(void *context, coc_look *look),
                                  void *context)
{
    double last = coc_clock_seconds(), waited = 0;

    for (;;) {
        coc_look look = {.waited = waited};
        const coc_status status = look_at(context, &look);
        double now, passed;

        if (status != COC_OK) return await_speaker(awaited, status);
        if (look.done) return COC_OK;
        if (coc_side_speaker() >= 0) return COC_ERR_ELSEWHERE;
        now = coc_clock_seconds();
        passed = now - last;
        last = now;
        waited += passed < 0.5 ? passed : 0.5; /* a job that was suspended has not waited */
        if (look.progress) waited = 0;
        if (waited > time_limit(awaited)) return name_who_is_late(awaited);
        rest(&look);
    }
}

coc_status coc_watch(coc_awaited *awaited, coc_status (*look)(void *context, coc_look *look),
                     void *context)
{
    coc_status status;

    COC_TRY(coc_watch_broken());
    coc_where_wait(true);
    status = look_until_done(awaited, look, context);
    coc_where_wait(false);
    return status == COC_OK ? COC_OK : breaks(status);
}
