/* comm/speak.c - how a program of many ranks fails: one of them says why, then all end.
 *
 * Several can find out at once, and the end of one looks like a failure of MPI to the others. So a
 * rank that wants to speak tells all others over the side channel first. Who has heard another is
 * silent; of two that tell at the same time the lower one speaks.
 */
#include "comm/speak.h"

#include <dlfcn.h>
#include <mpi.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "comm/comm.h"
#include "comm/side.h"

/* Seconds. */
static const double claim_time = 0.2;  /* for a lower rank's claim to arrive */
static const double silent_time = 3.0; /* for the speaker to end the job, before the others do */
enum { LAST_RESORT = 10 };             /* for MPI_Abort, before the process ends itself */

void coc_speak_sign(void)
{
    char text[2000], place[160], front[COC_HOST_BYTES + 32];

    if (coc_side_size() < 2) return;
    snprintf(front, sizeof front, "rank %d on %s: ", coc_side_rank(),
             coc_side_host(coc_side_rank()));
    if (strncmp(coc_error_text(), front, strlen(front)) == 0) return;
    snprintf(text, sizeof text, "%s%s", front, coc_error_text());
    snprintf(place, sizeof place, "%s", coc_error_place());
    coc_error_set(text, place);
}

static bool may_speak(void)
{
    const double end = coc_clock_seconds() + claim_time;

    if (coc_side_speaker() >= 0) return false;
    coc_side_speak();
    while (coc_side_rank() > 0 && coc_clock_seconds() < end) {
        const int other = coc_side_speaker();

        if (other >= 0 && other < coc_side_rank()) return false;
        coc_sleep_seconds(0.01);
    }
    return true;
}

/* One call, so that lines of several processes stay whole. */
static void print_line(void)
{
    char line[2400];

    coc_speak_sign();
    snprintf(line, sizeof line, "cocola: %s (%s)\n", coc_error_text(), coc_error_place());
    fputs(line, stderr);
}

static _Noreturn void end_alone(coc_status status)
{
    if (status != COC_OK && status != COC_ERR_ELSEWHERE)
        fprintf(stderr, "cocola: %s\n", coc_error_text());
    coc_comm_finish();
    exit(coc_exit_code(status));
}

static void stay_silent(void)
{
    const double end = coc_clock_seconds() + silent_time;

    while (coc_clock_seconds() < end)
        coc_sleep_seconds(0.1);
}

/* Open MPI's launcher tells of every MPI_Abort in eight lines; that of release 4.1 often misreads
 * their text and prints an alarming error instead. Our line has said it. This is the switch behind
 * the parameter orte_execute_quiet, which can be set from outside before the start only, where it
 * would also hide why MPI cannot start. Other releases and other MPIs do not have it. */
static void quiet_launcher(void)
{
    void *program = dlopen(NULL, RTLD_LAZY);
    bool *quiet = program != NULL ? dlsym(program, "orte_execute_quiet") : NULL;

    if (quiet != NULL) *quiet = true;
}

void coc_comm_abort(coc_status status)
{
    if (!coc_comm_is_parallel()) end_alone(status);
    fflush(stdout);
    signal(SIGTERM, SIG_DFL); /* the launcher ends the others by it: nothing is left to be saved */
    signal(SIGINT, SIG_DFL);
    if (status != COC_ERR_ELSEWHERE && may_speak())
        print_line();
    else
        stay_silent();
    quiet_launcher();
    alarm(LAST_RESORT);
    MPI_Abort(MPI_COMM_WORLD, coc_exit_code(status));
    for (;;)
        pause();
}
