/* train/sweep_plan.c - the runs of a sweep, from its base: pure functions. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/sweep.h"

static const int64_t most_steps = 4294967295; /* as train.steps */

const char *coc_vary_name(coc_vary vary)
{
    static const char *const names[COC_VARIES] = {"k", "batch"};

    return names[vary];
}

const char *coc_rate_rule_name(coc_rate_rule rule)
{
    static const char *const names[COC_RATE_RULES] = {"constant", "sqrt", "linear"};

    return names[rule];
}

double coc_rate_at_k(coc_rate_rule rule, double rate, int64_t k, int64_t at)
{
    const double times = (double)k / (double)at;

    switch (rule) {
    case COC_RATE_SQRT:
        return rate * sqrt(times);
    case COC_RATE_LINEAR:
        return rate * times;
    default:
        return rate;
    }
}

coc_status coc_numbers_parse(const char *name, const char *text, int64_t low, coc_numbers *numbers)
{
    const char *at = text;

    *numbers = (coc_numbers){0};
    while (numbers->count < COC_SWEEP_VALUES) {
        char *end;
        long long value;

        errno = 0;
        value = strtoll(at, &end, 10);
        if (end == at || errno != 0 || value < low || (*end != ',' && *end != '\0'))
            return COC_FAIL(COC_ERR_USAGE,
                            "%s: '%.200s' is no comma-separated list of whole numbers >= %" PRId64,
                            name, text, low);
        for (int i = 0; i < numbers->count; i++)
            if (numbers->value[i] == value)
                return COC_FAIL(COC_ERR_USAGE, "%s: %lld stands twice", name, value);
        numbers->value[numbers->count++] = value;
        if (*end == '\0') return COC_OK;
        at = end + 1;
    }
    return COC_FAIL(COC_ERR_USAGE, "%s: more than %d numbers", name, COC_SWEEP_VALUES);
}

/* ---- one run -------------------------------------------------------------------------------- */

static int64_t base_k(const coc_settings *s)
{
    return s->loss.k > 0 ? s->loss.k : s->train.batch;
}

/* A setting that is counted in steps of one batch, in steps of another: at the same sample, or at
 * the first step at least. 0 stays 0. */
static int64_t same_place(int64_t steps, int64_t batch, int64_t new_batch)
{
    const int64_t scaled = (steps * batch + new_batch / 2) / new_batch;

    return steps > 0 && scaled == 0 ? 1 : scaled;
}

static void set_batch(coc_settings *s, int64_t batch)
{
    coc_train_settings *t = &s->train;
    const int64_t old = t->batch;

    t->warmup = same_place(t->warmup, old, batch);
    t->log_every = same_place(t->log_every, old, batch);
    t->checkpoint_every = same_place(t->checkpoint_every, old, batch);
    t->valid_every = same_place(t->valid_every, old, batch);
    t->batch = batch;
}

/* The same samples: whole batches only, of any K. */
static coc_status set_length(int64_t samples, coc_settings *s)
{
    const int64_t batch = s->train.batch;

    if (samples % batch != 0)
        return COC_FAIL(COC_ERR_SETTING,
                        "%" PRId64 " pairs are no whole number of batches of %" PRId64
                        "; give --samples a multiple, as %" PRId64,
                        samples, batch, (samples / batch + 1) * batch);
    if (samples / batch > most_steps)
        return COC_FAIL(COC_ERR_SETTING,
                        "%" PRId64 " pairs are more than %" PRId64 " steps of %" PRId64, samples,
                        most_steps, batch);
    s->train.steps = samples / batch;
    s->train.minutes = 0;
    return COC_OK;
}

static coc_status set_rate(const coc_sweep *sweep, int64_t k, coc_settings *s)
{
    const int64_t at = sweep->rate_at > 0 ? sweep->rate_at : base_k(&sweep->base);
    char text[64];

    snprintf(text, sizeof text, "train.learning_rate=%.17g",
             coc_rate_at_k(sweep->rule, sweep->base.train.learning_rate, k, at));
    return coc_settings_set(s, text); /* which knows the range */
}

static coc_status set_all(const coc_sweep *sweep, int64_t k, int64_t seed, bool control,
                          coc_settings *s)
{
    const coc_train_settings *base = &sweep->base.train;
    int64_t samples = sweep->samples > 0 ? sweep->samples : base->steps * base->batch;

    *s = sweep->base;
    if (k > 1048576 || k < 2) /* as loss.k and train.batch */
        return COC_FAIL(COC_ERR_SETTING, "out of range: 2 to 1048576");
    if (sweep->vary == COC_VARY_BATCH) set_batch(s, k);
    s->loss.k = sweep->vary == COC_VARY_K ? k : 0;
    s->train.seed = seed;
    if (control) {
        if (sweep->control_samples > 0) samples = sweep->control_samples;
        snprintf(s->data.train, sizeof s->data.train, "%s", sweep->control);
        s->data.valid[0] = '\0';
        s->train.valid_every = 0;
        /* windows side by side, so that none is padded: two clips that end together tell */
        s->data.windows = COC_WINDOWS_GRID;
        s->data.overlap = 0;
    }
    COC_TRY(set_length(samples, s));
    COC_TRY(set_rate(sweep, k, s));
    return coc_settings_check(s);
}

static coc_status make_run(const coc_sweep *sweep, int64_t k, int64_t seed, bool control,
                           coc_sweep_run *run)
{
    char text[1024];
    coc_status status;

    *run = (coc_sweep_run){.k = k, .control = control, .speed = NAN};
    snprintf(run->name, sizeof run->name, "%sk%" PRId64 "-s%" PRId64, control ? "control-" : "", k,
             seed);
    status = set_all(sweep, k, seed, control, &run->settings);
    if (status == COC_OK) return COC_OK;
    snprintf(text, sizeof text, "%s", coc_error_text());
    return COC_FAIL(status, "%s: %s", run->name, text);
}

/* ---- all runs ------------------------------------------------------------------------------- */

static coc_status check_base(const coc_sweep *sweep)
{
    const coc_settings *s = &sweep->base;

    if (sweep->samples == 0 && s->train.steps == 0)
        return COC_FAIL(COC_ERR_SETTING,
                        "a sweep's runs see the same samples, not the same time: set train.steps, "
                        "or give --samples");
    if (s->data.train[0] == '\0')
        return COC_FAIL(COC_ERR_SETTING,
                        "data.train: no store is named; give --set data.train=STORE");
    if (sweep->control != NULL && strlen(sweep->control) >= sizeof s->data.train)
        return COC_FAIL(COC_ERR_USAGE, "--leak: the name has more than %d bytes",
                        COC_SETTING_TEXT - 1);
    return COC_OK;
}

coc_status coc_sweep_make_plan(const coc_sweep *sweep, coc_sweep_plan *plan)
{
    const int seeds = sweep->seeds.count > 0 ? sweep->seeds.count : 1;
    const int kinds = sweep->control != NULL ? 2 : 1;
    coc_status status = COC_OK;

    *plan = (coc_sweep_plan){0};
    COC_TRY(check_base(sweep));
    COC_TRY(coc_alloc((int64_t)kinds * seeds * sweep->k.count, sizeof *plan->run, &plan->run));
    for (int control = 0; control < kinds; control++)
        for (int seed = 0; seed < seeds; seed++)
            for (int i = 0; i < sweep->k.count && status == COC_OK; i++)
                status = make_run(sweep, sweep->k.value[i],
                                  sweep->seeds.count > 0 ? sweep->seeds.value[seed]
                                                         : sweep->base.train.seed,
                                  control == 1, &plan->run[plan->count++]);
    if (status == COC_OK) return COC_OK;
    free(plan->run);
    *plan = (coc_sweep_plan){0};
    return status;
}
