/* train/cli.h - command lines: one table of options a command, parsed, checked and printed from it.
 */
#ifndef COC_TRAIN_CLI_H
#define COC_TRAIN_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef enum {
    COC_OPTION_FLAG,   /* bool */
    COC_OPTION_TEXT,   /* const char * (borrowed from argv) */
    COC_OPTION_INT,    /* int64_t, min .. max */
    COC_OPTION_NUMBER, /* double, min .. max */
    COC_OPTION_LIST,   /* may be repeated: coc_words */
} coc_option_kind;

typedef struct {
    const char **word;
    int count;
} coc_words;

typedef struct {
    const char *name;       /* "--out" */
    const char *value_name; /* "DIR"; NULL for a flag */
    coc_option_kind kind;
    void *target;
    bool required;
    double min, max;
    const char *help; /* one sentence; says the default */
} coc_option;

typedef struct {
    const char *usage;   /* "cocola train --config FILE --out RUN [options]" */
    const char *purpose; /* what it does, a few lines */
    const char *details; /* after the options: results, examples; may be NULL */
    const coc_option *options;
    int option_count;
    coc_words *words;         /* words that are no options; NULL: none are taken */
    int min_words, max_words; /* max -1: any number */
} coc_cli;

/* Parse argv[1..]. --help prints the page to standard output and sets *done (as does --version).
 * Unknown options and words are refused with the nearest name. Errors: COC_ERR_USAGE. */
coc_status coc_cli_parse(const coc_cli *cli, int argc, char **argv, bool *done);
void coc_words_free(coc_words *words);

#endif
