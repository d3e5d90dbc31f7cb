/* Waiting with a deadline, over things that a test makes come, or not. A failure is the last of a
 * process, so each one is tried in a process of its own. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "comm/watch.h"
#include "tests/test.h"

typedef struct {
    int looks, done_at; /* it has come at that look; 0: never */
    int progress_each;  /* looks between signs of progress; 0: none */
    int fails_at;       /* 0: never */
    double most_waited; /* that a look was told */
    double nap;
    coc_awaited *awaited; /* renamed at every sign of progress, if not NULL */
} script;

static coc_status look_at_script(void *context, coc_look *look)
{
    script *s = context;

    s->looks++;
    if (look->waited > s->most_waited) s->most_waited = look->waited;
    if (s->looks == s->fails_at) return COC_FAIL(COC_ERR_DEVICE, "the device is on fire");
    look->done = s->looks == s->done_at;
    look->progress = s->progress_each > 0 && s->looks % s->progress_each == 0;
    look->nap = s->nap;
    if (look->progress && s->awaited != NULL) s->awaited->what = "another";
    return COC_OK;
}

static coc_comm *comm;

static coc_awaited awaiting(double deadline)
{
    return (coc_awaited){.comm = comm, .what = "sum", .step = 7, .deadline = deadline};
}

/* Whether a check failed in a process of its own. */
static bool holds(void (*part)(void))
{
    int code = 1;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        coc_test_begin("in a process of its own");
        part();
        fflush(stdout);
        _exit(coc_test_result() == 0 ? 0 : 1);
    }
    return child > 0 && waitpid(child, &code, 0) == child && WIFEXITED(code) &&
           WEXITSTATUS(code) == 0;
}

static void what_has_come_is_no_failure(void)
{
    /* At the first look or later. */
    const int when[] = {1, 2, 50};

    for (int i = 0; i < 3; i++) {
        coc_awaited awaited = awaiting(30);
        script s = {.done_at = when[i]};

        REQUIRE_OK(coc_watch(&awaited, look_at_script, &s));
        CHECK(s.looks == when[i]);
    }
    CHECK(coc_watch_broken() == COC_OK);
}

static void progress_moves_the_deadline(void)
{
    /* What takes four deadlines in all, but gets on every quarter of one, is waited for; the time
     * that looks are told begins anew each time. */
    coc_awaited awaited = awaiting(0.1);
    script s = {.done_at = 100000, .progress_each = 20, .nap = 1e-3};
    const double begin = coc_clock_seconds();

    s.done_at = 400;
    REQUIRE_OK(coc_watch(&awaited, look_at_script, &s));
    CHECK(s.looks == 400 && s.most_waited < 0.1);
    CHECK(coc_clock_seconds() - begin < 60);
}

static void passes_the_deadline(void)
{
    coc_awaited awaited = awaiting(0.2);
    script s = {0}, again = {.done_at = 1};
    const double begin = coc_clock_seconds();
    double took;

    CHECK(coc_watch(&awaited, look_at_script, &s) == COC_ERR_RANKS);
    took = coc_clock_seconds() - begin;
    CHECK(took > 0.19 && took < 10);
    CHECK(strstr(coc_error_text(), "step 7, collective 'sum': waited 0 s (comm.deadline): rank 0 "
                                   "on ") == coc_error_text());
    coc_error_set(NULL, NULL);
    CHECK(coc_watch_broken() == COC_ERR_RANKS && strstr(coc_error_text(), "'sum'") != NULL);
    CHECK(coc_watch(&awaited, look_at_script, &again) == COC_ERR_RANKS && again.looks == 0);
    CHECK(strstr(coc_error_text(), "'sum'") != NULL);
}

static void what_does_not_come_is_a_failure(void)
{
    /* When the deadline is over, and in every later call at once, with the first one's words. */
    CHECK(holds(passes_the_deadline));
}

static void fails(void)
{
    coc_awaited awaited = awaiting(30);
    script s = {.fails_at = 3};

    CHECK(coc_watch(&awaited, look_at_script, &s) == COC_ERR_DEVICE && s.looks == 3);
    CHECK(strcmp(coc_error_text(), "the device is on fire") == 0);
    CHECK(coc_watch_broken() == COC_ERR_DEVICE);
}

static void a_failure_of_looking_is_passed_on(void)
{
    /* With its own status and words. */
    CHECK(holds(fails));
}

static void is_renamed(void)
{
    coc_awaited awaited = awaiting(0.1);
    script s = {.progress_each = 5, .awaited = &awaited};

    /* gets on five times, then never again */
    s.done_at = 0;
    awaited.deadline = 0.1;
    CHECK(coc_watch(&awaited, look_at_script,
                    &(script){.done_at = 6, .progress_each = 5, .awaited = &awaited}) == COC_OK);
    s.progress_each = 0;
    CHECK(coc_watch(&awaited, look_at_script, &s) == COC_ERR_RANKS);
    CHECK(strstr(coc_error_text(), "collective 'another'") != NULL);
}

static void the_message_names_what_is_waited_for_last(void)
{
    /* Who looks may say that it is another collective by now. */
    CHECK(holds(is_renamed));
}

int main(void)
{
    if (coc_comm_self(&comm) != COC_OK) return 1;
    RUN(what_has_come_is_no_failure);
    RUN(progress_moves_the_deadline);
    RUN(what_does_not_come_is_a_failure);
    RUN(a_failure_of_looking_is_passed_on);
    RUN(the_message_names_what_is_waited_for_last);
    coc_comm_destroy(&comm);
    return coc_test_result();
}
