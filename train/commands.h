/* train/commands.h - the commands of the program: one function each, in train/cmd_<name>.c. argv[0]
 * is the command's own name. A command returns its status; only main() ends the program.
 *
 * A parallel command starts the ranks (coc_comm_start). COC_OK and COC_ERR_STOPPED are returned by
 * all ranks or none, after the communicators have been destroyed; main() then ends MPI by
 * coc_comm_finish(). Any other status ends all ranks by coc_comm_abort(): a command may return it
 * with everything still open, since other ranks may be waiting. */
#ifndef COC_TRAIN_COMMANDS_H
#define COC_TRAIN_COMMANDS_H

#include <stdbool.h>

#include "base/status.h"

typedef struct {
    const char *name;
    const char *help; /* one line */
    bool parallel;    /* runs on MPI ranks */
    coc_status (*run)(int argc, char **argv);
} coc_command;

/* All commands; the last row has no name. */
const coc_command *coc_commands(void);

/* The row of a name, or NULL. */
const coc_command *coc_command_find(const char *name);

/* Fails, naming the nearest command. Errors: COC_ERR_USAGE. */
coc_status coc_command_unknown(const char *name);

/* The overview that `cocola` and `cocola help` print. */
void coc_print_overview(void);

coc_status coc_cmd_render(int argc, char **argv);
coc_status coc_cmd_preprocess(int argc, char **argv);
coc_status coc_cmd_check(int argc, char **argv);
coc_status coc_cmd_train(int argc, char **argv);
coc_status coc_cmd_plan(int argc, char **argv);
coc_status coc_cmd_eval(int argc, char **argv);
coc_status coc_cmd_sweep(int argc, char **argv);
coc_status coc_cmd_report(int argc, char **argv);
coc_status coc_cmd_score(int argc, char **argv);
coc_status coc_cmd_import(int argc, char **argv);
coc_status coc_cmd_export(int argc, char **argv);
coc_status coc_cmd_bench(int argc, char **argv);
coc_status coc_cmd_selftest(int argc, char **argv);
coc_status coc_cmd_info(int argc, char **argv);
coc_status coc_cmd_help(int argc, char **argv);

#endif
