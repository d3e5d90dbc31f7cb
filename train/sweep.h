/* train/sweep.h - the same training at several K: what is run, and running it. Nothing here is
 * collective: every run is a process of its own, with ranks of its own where a launcher is given.
 * docs/large-k.md describes it for users. */
#ifndef COC_TRAIN_SWEEP_H
#define COC_TRAIN_SWEEP_H

#include <stdbool.h>

#include "base/file.h"
#include "configs/settings.h"
#include "preprocess/store.h"

enum { COC_SWEEP_VALUES = 64, COC_SWEEP_EVAL_KS = 32, COC_SWEEP_NAME = 64 };

/* What K is varied by: the columns of a row in a batch that stays (loss.k), or the batch. */
typedef enum { COC_VARY_K, COC_VARY_BATCH, COC_VARIES } coc_vary;

/* How the learning rate follows K: not at all, as its square root, in proportion. */
typedef enum { COC_RATE_CONSTANT, COC_RATE_SQRT, COC_RATE_LINEAR, COC_RATE_RULES } coc_rate_rule;

const char *coc_vary_name(coc_vary vary);           /* "k", "batch" */
const char *coc_rate_rule_name(coc_rate_rule rule); /* "constant", "sqrt", "linear" */

/* A list of whole numbers >= low, each once, in the order given. */
typedef struct {
    int64_t value[COC_SWEEP_VALUES];
    int count;
} coc_numbers;

/* "32,128,512"; name: of the option, for messages. Errors: COC_ERR_USAGE. */
coc_status coc_numbers_parse(const char *name, const char *text, int64_t low, coc_numbers *numbers);

typedef struct {
    coc_settings base; /* checked by coc_sweep_plan, run by run */
    coc_vary vary;
    coc_rate_rule rule;
    int64_t rate_at;         /* K at which the rate is train.learning_rate; 0: the K of the base */
    int64_t samples;         /* pairs that every run sees; 0: as many as the base */
    coc_numbers k, seeds;    /* no seeds: that of the base */
    const char *control;     /* a store in which there is nothing to learn; NULL: no control runs */
    int64_t control_samples; /* pairs that they see; 0: as many as the others */

    bool split[COC_SPLITS]; /* that every run is evaluated on */
    coc_numbers eval_k;

    const char *out;         /* folder */
    const char *launch;      /* words before the program, as "mpirun -n 2"; NULL: none */
    double pairs_per_second; /* guess for runs that no log tells of; 0: none */
} coc_sweep;

typedef struct {
    char name[COC_SWEEP_NAME]; /* its folder's: "k128-s1", "control-k128-s1" */
    int64_t k;
    bool control;
    double speed; /* pairs a second by its log (coc_sweep_measure); NAN: not known */
    coc_settings settings;
} coc_sweep_run;

typedef struct {
    coc_sweep_run *run;
    int count;
} coc_sweep_plan;

/* (k / at) to the power of the rule, times the rate. Pure. */
double coc_rate_at_k(coc_rate_rule rule, double rate, int64_t k, int64_t at);

/* All runs: for each seed all K, then the same for control runs. Where the batch is varied, the
 * number of steps follows from the samples, and what is counted in steps (warm-up, log,
 * checkpoints, validation) keeps its place in the samples. Freed with free(plan->run). Errors:
 * COC_ERR_SETTING (names K and what does not fit), COC_ERR_MEMORY. */
coc_status coc_sweep_make_plan(const coc_sweep *sweep, coc_sweep_plan *plan);

/* ---- on disk -------------------------------------------------------------------------------- */

/* Write out/sweep.json, or compare it: a folder holds runs of one base, rule and number of samples,
 * while K, seeds and evaluations may be added. Makes the folder. Errors: COC_ERR_SETTING (names the
 * difference), COC_ERR_INPUT, COC_ERR_IO, COC_ERR_MEMORY. */
coc_status coc_sweep_take_folder(const coc_sweep *sweep);

typedef struct {
    int64_t step; /* of the last line of its log; 0: not begun */
    bool done;    /* trained and evaluated; there is nothing left to do */
} coc_sweep_state;

/* Where a run stands. Never fails: what cannot be read counts as not done. */
coc_sweep_state coc_sweep_look(const coc_sweep *sweep, const coc_sweep_run *run);

/* Read from their logs how fast runs were that have been begun. Never fails. */
void coc_sweep_measure(const coc_sweep *sweep, coc_sweep_plan *plan);

/* Seconds of training that are left of a run, by the measured runs of its K, else by any, else by
 * sweep->pairs_per_second; NAN when nothing tells. */
double coc_sweep_time_left(const coc_sweep *sweep, const coc_sweep_plan *plan,
                           const coc_sweep_run *run);

/* The step and loss in the last whole line of a log that may be growing; 0 and NAN when there is
 * none. */
void coc_sweep_last_line(const char *path, int64_t *step, double *loss);

/* ---- running -------------------------------------------------------------------------------- */

/* A process of this program, started, watched and waited for. */
typedef struct {
    const char *launch;       /* as in coc_sweep */
    const char *const *words; /* the command and its options; NULL at the end */
    const char *output;       /* file that standard error is added to, and standard output, too */
    const char *result;       /* file for standard output; NULL: added to `output` */
    void (*watch)(void *context); /* called a few times a second while it runs */
    void *context;
} coc_child;

/* Run it to its end; a request to stop (comm/comm.h) is passed on as SIGUSR1, which saves. A
 * process that fails gives its own last message and the status of its exit code. Errors:
 * COC_ERR_STOPPED, and whatever the process can fail with. */
coc_status coc_child_run(const coc_child *child);

/* Train and evaluate all runs of the plan that are not done, one at a time, or run number `only`
 * (1 .. count; 0: all). One that fails is named, and the others go on. Errors: that of the first
 * failed run; COC_ERR_STOPPED: the run that was being trained is saved. */
coc_status coc_sweep_execute(const coc_sweep *sweep, const coc_sweep_plan *plan, int only);

#endif
