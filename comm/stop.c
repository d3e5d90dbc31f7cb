/* comm/stop.c - signals that ask the program to save and stop. */
#include <signal.h>
#include <stddef.h>

#include "comm/comm.h"

static volatile sig_atomic_t requested, interrupted;

/* The second interrupt is meant: the default action, which ends the process, is put back. */
static void note(int number)
{
    if (number == SIGINT && interrupted) {
        signal(SIGINT, SIG_DFL);
        raise(SIGINT);
        return;
    }
    if (number == SIGINT) interrupted = 1;
    requested = 1;
}

void coc_stop_install(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1};
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &action, NULL);
}

bool coc_stop_requested(void)
{
    return requested != 0;
}
