/* train/main.c - the program `cocola`: find the command, run it, and end. The only place that ends
 * the process: by a return when all went well or all ranks stopped on a signal, else by
 * coc_comm_abort(), so that all ranks end with one line. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/processor.h"
#include "comm/comm.h"
#include "train/cli.h"
#include "train/commands.h"

static coc_status run(int argc, char **argv)
{
    const coc_command *command;

    COC_TRY(coc_processor_check());
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        coc_print_overview();
        return COC_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        coc_print_version();
        return COC_OK;
    }
    command = coc_command_find(argv[1]);
    if (command == NULL) return coc_command_unknown(argv[1]);
    return command->run(argc - 1, argv + 1);
}

/* A closed standard stream would lend its number to the next file that is opened, and what is
 * printed would go into that file. So its place is taken: what is then written to standard output
 * fails, what is written to standard error is gone. */
static void fill_standard_streams(void)
{
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++)
        if (fcntl(stream, F_GETFD) == -1)
            (void)!open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY);
}

/* Results that did not reach their place are no success. */
static coc_status finish_output(void)
{
    const bool lost = ferror(stdout) != 0; /* earlier: why is not known any more */

    if (fflush(stdout) != 0)
        return COC_FAIL(COC_ERR_IO, "standard output cannot be written: %s", strerror(errno));
    if (lost)
        return COC_FAIL(COC_ERR_IO, "standard output cannot be written, part of it is lost; is the "
                                    "disk full?");
    return COC_OK;
}

int main(int argc, char **argv)
{
    coc_status status;

    fill_standard_streams();
    status = run(argc, argv);
    if (status == COC_OK) status = finish_output();
    if (status == COC_ERR_STOPPED) coc_log_root("cocola: %s", coc_error_text());
    if (status != COC_OK && status != COC_ERR_STOPPED) coc_comm_abort(status);
    coc_comm_finish();
    return coc_exit_code(status);
}
