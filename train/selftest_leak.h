/* train/selftest_leak.h - can a model learn to tell pairs apart from nothing?
 *
 * On features without anything in common between the members of a pair, no loss lies below that of
 * a model that knows nothing, ln K. Where a batch lets the two recognise each other by something
 * else, training finds it. A small encoder is trained on noise under the run's rules, and beside
 * it, with the same budget, a control that is known to leak: without that, finding nothing would
 * mean nothing. Each suspect is tried alone, so that what leaks has a name.
 */
#ifndef COC_TRAIN_SELFTEST_LEAK_H
#define COC_TRAIN_SELFTEST_LEAK_H

#include "train/selftest.h"

/* What is put beside rules that are known not to leak. */
typedef enum {
    COC_LEAK_CONTROL, /* paired, in small groups */
    COC_LEAK_RUN,     /* all that the run has */
    COC_LEAK_PAIRING,
    COC_LEAK_BY_RANK,
    COC_LEAK_MODES,
    COC_LEAK_ARMS
} coc_leak_arm;

typedef struct {
    const char *name;
    bool tried; /* false: a suspect that the run does not have */
    int64_t pairs, groups;
    double floor, loss; /* mean of ln(columns); of the loss over the steps that count */
    double leak, error; /* floor - loss, nats; its standard error, by blocks of steps */
    double seconds;
} coc_leak_result;

typedef struct {
    coc_selftest test; /* settings, comm, alone: as for coc_selftest_run */
    int64_t steps;     /* of each arm; up to four times as many on few pairs; at least 100 */
    void (*tell)(const coc_selftest *test, const coc_leak_result *result); /* or NULL */
    coc_leak_result result[COC_LEAK_ARMS];
} coc_leak;

/* Train one after another. Collective. Errors: all kinds. */
coc_status coc_leak_run(coc_leak *leak);

/* The settings of an arm; false: the run does not have that suspect. */
bool coc_leak_settings(const coc_settings *run, int ranks, coc_leak_arm arm, coc_settings *out);

/* One line where the run leaks, which names the suspects; or where the control has not leaked, or
 * the error is too large, so that nothing is known. Collective. Errors: COC_ERR_RANKS,
 * COC_ERR_ELSEWHERE on ranks other than 0. */
coc_status coc_leak_judge(const coc_leak *leak);

/* Whether the run's rules, or a suspect, lie further below the floor than is allowed. */
bool coc_leak_found(const coc_leak_result *result);

/* Nats: more than this is a leak; the control must have more than that. */
#define COC_LEAK_ALLOWED       0.005
#define COC_LEAK_CONTROL_LEAST 0.02

#endif
