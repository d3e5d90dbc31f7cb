#include "train/selftest_leak.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

/* Pairs of a group, and groups: a leak has up to ln(groups) nats to find, and finds them sooner the
 * smaller a group is. */
enum { GROUP = 2, GROUPS = 16, BLOCKS = 16 };

/* The last part of the steps counts. */
static const double counted = 0.4;

static const char *const names[COC_LEAK_ARMS] = {"control (paired)", "this configuration",
                                                 "pairing", "groups by rank", "channel mode"};

/* ---- arms ----------------------------------------------------------------------------------- */

static int64_t groups_in(const coc_settings *s)
{
    const int64_t group = s->model.bn_group;

    return group > 0 && group < s->train.batch ? s->train.batch / group : 1;
}

static bool by_rank(const coc_settings *run, int ranks)
{
    return ranks > 1 && groups_in(run) == ranks;
}

static bool has_modes(const coc_settings *run)
{
    return run->data.features == COC_FEATURES_HPS && run->data.channel_mode != COC_CHANNELS_BOTH;
}

/* A small encoder on a short piece of noise; nothing that leaks. */
static coc_settings clean(const coc_settings *run)
{
    coc_settings s = *run;

    s.data.crop = 0.15; /* 16 frames or so: noise is not longer for being long */
    s.data.channel_mode = COC_CHANNELS_BOTH;
    s.data.both_first = 0;
    s.loss = (coc_loss_settings){.negatives = COC_NEGATIVES_ALL};
    s.model.width = s.model.depth = 0.1;
    s.model.similarity_init = COC_SIMILARITY_IDENTITY;
    s.model.similarity_scale = 0.05;
    s.model.dropout = s.model.stochastic_depth = 0;
    s.model.bn_pairing = COC_PAIRING_SHUFFLED;
    s.train.learning_rate = 0.003;
    s.train.similarity_rate = 0.03;
    s.train.warmup = 20;
    s.train.schedule = COC_SCHEDULE_CONSTANT;
    s.train.clip = s.train.weight_decay = 0;
    s.train.micro_batch = 0;
    s.train.steps = 0;
    return s;
}

static int64_t most_groups(int ranks)
{
    return GROUPS > ranks ? GROUPS : ranks;
}

static void set_groups(coc_settings *s, int64_t groups, int64_t size)
{
    s->train.batch = groups * size;
    s->model.bn_group = groups > 1 ? size : 0;
}

/* As many groups as the run has, up to GROUPS; one to a rank where the run has that. What may leak
 * does so soonest in groups of one pair; what does not is measured best on many pairs. */
static void take_groups(const coc_settings *run, int ranks, coc_settings *s)
{
    const int64_t several = most_groups(ranks), all = several * GROUP;
    const int64_t groups = groups_in(run) < several ? groups_in(run) : several;
    const bool paired = s->model.bn_pairing == COC_PAIRING_PAIRED && groups > 1;
    const int64_t least = (ranks + groups - 1) / groups; /* every rank needs a pair */
    const int64_t size = paired ? 1 : all / groups;

    set_groups(s, groups, size > least ? size : least);
}

bool coc_leak_settings(const coc_settings *run, int ranks, coc_leak_arm arm, coc_settings *out)
{
    const bool paired = run->model.bn_pairing == COC_PAIRING_PAIRED && groups_in(run) > 1;

    *out = clean(run);
    if (arm == COC_LEAK_CONTROL) {
        out->model.bn_pairing = COC_PAIRING_PAIRED;
        set_groups(out, most_groups(ranks), GROUP);
        return true;
    }
    if (arm == COC_LEAK_RUN || arm == COC_LEAK_PAIRING || arm == COC_LEAK_BY_RANK)
        out->model.bn_pairing = run->model.bn_pairing;
    if (arm == COC_LEAK_RUN || arm == COC_LEAK_MODES) {
        out->data.channel_mode = run->data.channel_mode;
        out->loss.negatives = run->loss.negatives;
    }
    take_groups(run, ranks, out);
    if (arm == COC_LEAK_PAIRING) return paired && !by_rank(run, ranks);
    if (arm == COC_LEAK_BY_RANK) return paired && by_rank(run, ranks);
    return arm == COC_LEAK_RUN || has_modes(run);
}

/* ---- training ------------------------------------------------------------------------------- */

/* A step on few pairs costs less, and says less. */
static int64_t steps_of(const coc_leak *leak, const coc_settings *settings)
{
    const int64_t times = GROUPS * GROUP / settings->train.batch;

    return leak->steps * (times < 1 ? 1 : times > 4 ? 4 : times);
}

/* below [steps]: floor - loss of every step. */
static coc_status train(const coc_selftest_model *m, int64_t steps, double *below,
                        coc_leak_result *r)
{
    const int64_t first = steps - (int64_t)(counted * (double)steps);

    for (int64_t i = 0; i < steps; i++) {
        const coc_batch *batch;
        coc_step_result step = {0};
        double floor;

        COC_TRY(coc_made_batches_begin(m->batches, i, &batch));
        COC_TRY(coc_made_batches_floor(m->batches, &floor));
        COC_TRY(coc_train_on(m->trainer, batch, &step));
        below[i] = floor - step.loss.loss;
        if (i < first) continue;
        r->floor += floor / (double)(steps - first);
        r->loss += step.loss.loss / (double)(steps - first);
    }
    return COC_OK;
}

/* Steps that follow each other resemble each other, so the error is that of means over blocks. */
static void average(const double *below, int64_t count, coc_leak_result *r)
{
    const int64_t size = count / BLOCKS;
    double sum = 0, squares = 0;

    for (int b = 0; b < BLOCKS; b++) {
        double mean = 0;

        for (int64_t i = 0; i < size; i++)
            mean += below[b * size + i] / (double)size;
        sum += mean;
        squares += mean * mean;
    }
    r->leak = sum / BLOCKS;
    r->error = sqrt(fmax(0, squares / BLOCKS - r->leak * r->leak) / (BLOCKS - 1));
}

static coc_status run_arm(coc_leak *leak, const coc_settings *settings, coc_leak_result *r)
{
    const int64_t steps = steps_of(leak, settings);
    const int64_t last = (int64_t)(counted * (double)steps);
    const double begin = coc_clock_seconds();
    coc_selftest_model model;
    double *below = NULL;
    coc_status status = coc_selftest_open(&leak->test, settings, leak->test.comm, &model);

    if (status == COC_OK) {
        r->pairs = settings->train.batch;
        r->groups = model.trainer->passes.group_count;
        status = coc_comm_agree(leak->test.comm, "self-test for leaks",
                                coc_alloc(steps, sizeof *below, &below));
    }
    if (status == COC_OK) status = train(&model, steps, below, r);
    if (status == COC_OK) average(below + steps - last, last, r);
    free(below);
    coc_selftest_close(&model);
    r->seconds = coc_clock_seconds() - begin;
    return status;
}

/* The same settings give the same numbers: an arm before this one that had them, or -1. */
static int same_arm(const coc_leak *leak, const coc_settings *settings, coc_leak_arm arm)
{
    for (int i = 0; i < (int)arm; i++)
        if (leak->result[i].tried && memcmp(&settings[i], &settings[arm], sizeof *settings) == 0)
            return i;
    return -1;
}

coc_status coc_leak_run(coc_leak *leak)
{
    coc_settings settings[COC_LEAK_ARMS];

    memset(settings, 0, sizeof settings);
    for (coc_leak_arm arm = 0; arm < COC_LEAK_ARMS; arm++) {
        coc_leak_result *r = &leak->result[arm];
        const bool tried =
            coc_leak_settings(&leak->test.settings, leak->test.comm->size, arm, &settings[arm]);
        const int same = tried ? same_arm(leak, settings, arm) : -1;

        *r = same >= 0 ? leak->result[same] : (coc_leak_result){.name = NULL};
        r->name = names[arm];
        r->tried = tried;
        if (tried && same < 0) COC_TRY(run_arm(leak, &settings[arm], r));
        if (leak->tell != NULL) leak->tell(&leak->test, r);
    }
    return COC_OK;
}

/* ---- judging -------------------------------------------------------------------------------- */

bool coc_leak_found(const coc_leak_result *r)
{
    return r->tried && r->leak - 2 * r->error > COC_LEAK_ALLOWED;
}

static coc_status refuse(const coc_leak *leak)
{
    const coc_leak_result *control = &leak->result[COC_LEAK_CONTROL];
    const coc_leak_result *run = &leak->result[COC_LEAK_RUN];
    char suspects[200] = "";
    size_t used = 0;

    if (!(control->leak >= COC_LEAK_CONTROL_LEAST))
        return COC_FAIL(COC_ERR_RANKS,
                        "leak: nothing is known: the control, which leaks, came %.4f nats below "
                        "its floor, less than %g; raise --steps (%lld)",
                        control->leak, COC_LEAK_CONTROL_LEAST, (long long)leak->steps);
    for (coc_leak_arm arm = COC_LEAK_PAIRING; arm < COC_LEAK_ARMS; arm++)
        if (coc_leak_found(&leak->result[arm]))
            used += (size_t)snprintf(suspects + used, sizeof suspects - used, "%s%s",
                                     used > 0 ? ", " : "", names[arm]);
    if (coc_leak_found(run) || used > 0)
        return COC_FAIL(COC_ERR_RANKS,
                        "leak: pairs of noise are told apart, %.4f nats below the loss of chance; "
                        "by: %s (docs/selftest.md)",
                        run->leak, used > 0 ? suspects : "none of the suspects alone");
    if (!(2 * run->error <= COC_LEAK_ALLOWED))
        return COC_FAIL(COC_ERR_RANKS,
                        "leak: nothing is known: the error of %.4f nats is too large for a bound "
                        "of %g; raise --steps (%lld)",
                        run->error, COC_LEAK_ALLOWED, (long long)leak->steps);
    return COC_OK;
}

coc_status coc_leak_judge(const coc_leak *leak)
{
    const coc_status status = refuse(leak); /* the same on all ranks, and said by one */

    return status == COC_OK || leak->test.comm->rank == 0 ? status : COC_ERR_ELSEWHERE;
}
