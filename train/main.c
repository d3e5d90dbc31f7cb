/* train/main.c - the program `cocola`: find the command, run it, and end. The only place that ends
 * the process: by a return on success, by coc_comm_abort() on failure, so that all ranks end with
 * one line. */
#include <stdio.h>
#include <string.h>

#include "train/commands.h"

int main(int argc, char **argv)
{
    for (const coc_command *c = coc_commands(); argc > 1 && c->name != NULL; c++)
        if (strcmp(argv[1], c->name) == 0) return coc_exit_code(c->run(argc - 1, argv + 1));
    fputs("cocola: no such command\n", stderr);
    return 2;
}
