/* train/selftest.h - whether these ranks compute what one rank would, on the user's own machines.
 *
 * A check is a row of a table (train/selftest.c): a function that measures a few numbers and adds a
 * line for each of them, worst rank first. A line passes when its number is at most its bound.
 * docs/selftest.md says what each line compares.
 */
#ifndef COC_TRAIN_SELFTEST_H
#define COC_TRAIN_SELFTEST_H

#include "train/made_batches.h"
#include "train/trainer.h"

typedef struct {
    const char *check; /* a name of the table, literal */
    char of[48];       /* what of it: "W", "ranks 0 - 1" */
    double value;      /* of the rank where it is largest */
    double bound;      /* NAN: told, not judged */
    char note[160];    /* of that rank */
    bool passed;
} coc_selftest_line;

typedef struct coc_selftest coc_selftest;

struct coc_selftest {
    coc_settings settings; /* of the run that it is for */
    coc_comm *comm;        /* all ranks, over the host; borrowed */
    coc_comm *alone;       /* this one; borrowed */
    /* Called with each line as it comes, on all ranks; NULL: nothing. */
    void (*tell)(const coc_selftest *test, const coc_selftest_line *line);
    coc_selftest_line *line;
    int64_t lines, capacity;
};

typedef struct {
    const char *name;
    const char *compares; /* one line for docs and --help */
    coc_status (*run)(coc_selftest *test, const char *name);
} coc_selftest_check;

/* All checks in their order; the last row has no name. */
const coc_selftest_check *coc_selftest_checks(void);

/* One after another; test->settings, ->comm and ->alone are given, lines are added. A check that
 * finds wrong numbers adds a line that has not passed; one that cannot go on gives its error.
 * Collective. Errors: all kinds. */
coc_status coc_selftest_run(coc_selftest *test, const coc_selftest_check *checks);

/* One line where any line has not passed, which names them. Collective. Errors: COC_ERR_RANKS,
 * COC_ERR_ELSEWHERE on ranks other than 0. */
coc_status coc_selftest_judge(const coc_selftest *test);
void coc_selftest_free(coc_selftest *test);

/* Add a line: every rank gives its own value and note; the largest value counts, NAN is larger than
 * all. Collective. Errors: COC_ERR_RANKS, COC_ERR_MEMORY. */
coc_status coc_selftest_add(coc_selftest *test, const char *check, const char *of, double value,
                            double bound, const char *note_format, ...)
    __attribute__((format(printf, 6, 7)));

/* ---- what checks are made of --------------------------------------------------------------- */

/* A model that trains on made batches. */
typedef struct {
    coc_trainer *trainer;
    coc_made_batches *batches;
} coc_selftest_model;

/* On comm: test->comm, or test->alone, on this rank's device in either case. The caller closes it,
 * also after a failure; one at a time, since a device has room for one set of connections.
 * Collective over comm. Errors: those of coc_trainer_create_model. */
coc_status coc_selftest_open(const coc_selftest *test, const coc_settings *settings, coc_comm *comm,
                             coc_selftest_model *model);
void coc_selftest_close(coc_selftest_model *model);

/* The settings of the run on the fewest pairs that show a fault: shares of ranks are uneven and
 * groups span ranks. groups: 1, or 3 batch-norm groups of one more pair than ranks. */
int coc_selftest_groups(const coc_settings *run); /* 1 or 3, as the run has one or several */
coc_settings coc_selftest_small(const coc_settings *run, int ranks, int groups);

/* Device -> host and back, waited for. Errors: COC_ERR_DEVICE. */
coc_status coc_selftest_fetch(const coc_backend *backend, void *host, const void *from,
                              int64_t bytes);
coc_status coc_selftest_send(const coc_backend *backend, void *to, const void *host, int64_t bytes);

/* The checks; each is a row of the table. */
coc_status coc_selftest_collectives(coc_selftest *test, const char *name);
coc_status coc_selftest_links(coc_selftest *test, const char *name);
coc_status coc_selftest_ranks(coc_selftest *test, const char *name);
coc_status coc_selftest_differences(coc_selftest *test, const char *name);
coc_status coc_selftest_passes(coc_selftest *test, const char *name);
coc_status coc_selftest_tree(coc_selftest *test, const char *name);
coc_status coc_selftest_resume(coc_selftest *test, const char *name);

#endif
