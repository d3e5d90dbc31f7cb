/* train/main.c - the program `cocola`: find the command, run it, and end. The only place that ends
 * the process: by a return when all went well or all ranks stopped on a signal, else by
 * coc_comm_abort(), so that all ranks end with one line. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "comm/comm.h"
#include "train/cli.h"
#include "train/commands.h"

static coc_status run(int argc, char **argv)
{
    const coc_command *command;

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

int main(int argc, char **argv)
{
    coc_status status = run(argc, argv);

    /* results that did not reach their place are no success */
    if (fflush(stdout) != 0 && status == COC_OK)
        status = COC_FAIL(COC_ERR_IO, "standard output cannot be written: %s", strerror(errno));
    if (status == COC_ERR_STOPPED) coc_log_root("cocola: %s", coc_error_text());
    if (status != COC_OK && status != COC_ERR_STOPPED) coc_comm_abort(status);
    coc_comm_finish();
    return coc_exit_code(status);
}
