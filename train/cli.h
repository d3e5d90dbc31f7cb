/* train/cli.h - command lines: one table of options a command, parsed, checked and printed from it.
 */
#ifndef COC_TRAIN_CLI_H
#define COC_TRAIN_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "configs/settings.h"

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
    const char *usage;   /* "cocola train --config FILE --out RUN [options]": name in two words */
    const char *purpose; /* what it does, a few lines */
    const char *details; /* after the options: results, examples; may be NULL */
    const coc_option *options;
    int option_count;
    coc_words *words;         /* words that are no options; NULL: none are taken */
    int min_words, max_words; /* max -1: any number */
} coc_cli;

/* Parse argv[1..]: `--name value`, `--name=value`, words; after `--` everything is a word. --help
 * prints the page to standard output and sets *done (as does --version); then, and after a failure,
 * there is nothing to do. Unknown options and words are refused with the nearest name. Lists are to
 * be empty before, and are freed with coc_words_free. Errors: COC_ERR_USAGE. */
coc_status coc_cli_parse(const coc_cli *cli, int argc, char **argv, bool *done);
void coc_words_free(coc_words *words);

/* Settings of a run: those of the file, then of the list, checked together. Errors: COC_ERR_IO,
 * COC_ERR_SETTING. */
coc_status coc_cli_settings(const char *file, const coc_words *set, coc_settings *settings);

/* Whether a file's name can stand in JSON. Errors: COC_ERR_INPUT when it is not UTF-8. */
coc_status coc_check_json_name(const char *name);

/* Version of the program, of its compiler and of its main libraries, to standard output. */
void coc_print_version(void);

#endif
