/* What lets a model tell pairs of noise apart is found, and said by name: positives that stay in
 * the batch-norm group of their anchors, groups that are those of the ranks, channel modes whose
 * pairs are each other's negatives. What does not leak passes. One case for each number of ranks,
 * since each trains. */
#include <math.h>
#include <string.h>

#include "tests/small_run.h"
#include "tests/test.h"
#include "train/selftest_leak.h"

enum { STEPS = 160 };

static coc_comm *world, *alone;

static coc_leak leak_of(int64_t batch, int64_t group)
{
    coc_leak leak = {.test = {.settings = coc_test_settings("none", batch, group),
                              .comm = world,
                              .alone = alone},
                     .steps = STEPS};

    leak.test.settings.data.channel_mode = COC_CHANNELS_BOTH;
    return leak;
}

static void train(coc_leak *leak)
{
    REQUIRE_OK(coc_leak_run(leak));
    for (int i = 0; i < COC_LEAK_ARMS && world->rank == 0; i++)
        if (leak->result[i].tried)
            fprintf(stderr, "  %-20s %.4f +- %.4f nats of %.4f below chance\n",
                    leak->result[i].name, leak->result[i].leak, leak->result[i].error,
                    leak->result[i].floor);
    CHECK(leak->result[COC_LEAK_CONTROL].leak >= COC_LEAK_CONTROL_LEAST);
}

static void check_refused(const coc_leak *leak, const char *suspects)
{
    const coc_status status = coc_leak_judge(leak);

    CHECK(status == (world->rank == 0 ? COC_ERR_RANKS : COC_ERR_ELSEWHERE));
    if (world->rank == 0 && strstr(coc_error_text(), suspects) == NULL)
        coc_test_fail(__FILE__, __LINE__, "'%s' does not name %s", coc_error_text(), suspects);
}

/* Several groups on a rank, and channel modes: both are found, each alone. */
static void pairing_and_modes_are_found(void)
{
    coc_leak leak = leak_of(64, 4);

    if (world->size != 1) return;
    leak.test.settings.model.bn_pairing = COC_PAIRING_PAIRED;
    leak.test.settings.data.channel_mode = COC_CHANNELS_PAIR;
    train(&leak);
    CHECK(coc_leak_found(&leak.result[COC_LEAK_PAIRING]));
    CHECK(coc_leak_found(&leak.result[COC_LEAK_MODES]));
    CHECK(!leak.result[COC_LEAK_BY_RANK].tried);
    check_refused(&leak, "by: pairing, channel mode");
}

/* One group on each rank. */
static void groups_by_rank_are_found(void)
{
    coc_leak leak = leak_of(32, 16);

    if (world->size != 2) return;
    leak.test.settings.model.bn_pairing = COC_PAIRING_PAIRED;
    train(&leak);
    CHECK(coc_leak_found(&leak.result[COC_LEAK_BY_RANK]));
    CHECK(!leak.result[COC_LEAK_PAIRING].tried && !leak.result[COC_LEAK_MODES].tried);
    check_refused(&leak, "by: groups by rank");
}

/* Positives that are dealt, and modes that are not each other's negatives. */
static void what_does_not_leak_passes(void)
{
    coc_leak leak = leak_of(24, 6);

    if (world->size != 3) return;
    leak.test.settings.data.channel_mode = COC_CHANNELS_PAIR;
    leak.test.settings.loss.negatives = COC_NEGATIVES_SAME_MODE;
    train(&leak);
    CHECK(!coc_leak_found(&leak.result[COC_LEAK_RUN]));
    CHECK(!coc_leak_found(&leak.result[COC_LEAK_MODES]));
    CHECK(leak.result[COC_LEAK_RUN].leak <= COC_LEAK_ALLOWED);
}

/* Which settings are tried under which name, on any ranks; every rank has a pair. */
static void suspects_are_those_of_the_run(void)
{
    for (int ranks = 1; ranks <= 40; ranks += 3)
        for (int groups = 1; groups <= 64; groups *= 4) {
            coc_leak leak = leak_of(64, 64 / groups);
            coc_settings *run = &leak.test.settings, s;
            const bool several = groups > 1, by_rank = several && groups == ranks;

            CHECK(!coc_leak_settings(run, ranks, COC_LEAK_PAIRING, &s));
            CHECK(!coc_leak_settings(run, ranks, COC_LEAK_BY_RANK, &s));
            CHECK(!coc_leak_settings(run, ranks, COC_LEAK_MODES, &s));
            run->model.bn_pairing = COC_PAIRING_PAIRED;
            run->data.channel_mode = COC_CHANNELS_PAIR;
            CHECK(coc_leak_settings(run, ranks, COC_LEAK_PAIRING, &s) == (several && !by_rank));
            CHECK(coc_leak_settings(run, ranks, COC_LEAK_BY_RANK, &s) == by_rank);
            CHECK(coc_leak_settings(run, ranks, COC_LEAK_MODES, &s));
            CHECK(s.model.bn_pairing == COC_PAIRING_SHUFFLED);
            for (coc_leak_arm arm = 0; arm < COC_LEAK_ARMS; arm++) {
                (void)coc_leak_settings(run, ranks, arm, &s);
                CHECK(s.train.batch >= ranks && s.train.batch >= 2);
                CHECK(s.model.bn_group == 0 || s.train.batch % s.model.bn_group == 0);
            }
        }
}

/* A result counts only where the control leaks and the error is small. */
static void little_knowledge_is_refused(void)
{
    coc_leak leak = leak_of(32, 4);
    coc_leak_result *control = &leak.result[COC_LEAK_CONTROL], *run = &leak.result[COC_LEAK_RUN];

    control->tried = run->tried = true;
    *control = (coc_leak_result){.tried = true, .leak = 0.1, .error = 0.01};
    *run = (coc_leak_result){.tried = true, .leak = 0.004, .error = 0.001};
    CHECK(coc_leak_judge(&leak) == COC_OK);
    run->error = 0.003;
    check_refused(&leak, "nothing is known: the error");
    run->error = NAN;
    check_refused(&leak, "nothing is known: the error");
    *run = (coc_leak_result){.tried = true, .leak = 0.02, .error = 0.001};
    check_refused(&leak, "none of the suspects alone");
    control->leak = 0.019;
    check_refused(&leak, "nothing is known: the control");
    control->leak = NAN;
    check_refused(&leak, "nothing is known: the control");
}

static int run_all(void)
{
    RUN(suspects_are_those_of_the_run);
    RUN(little_knowledge_is_refused);
    RUN(pairing_and_modes_are_found);
    RUN(groups_by_rank_are_found);
    RUN(what_does_not_leak_passes);
    return coc_test_result();
}

int main(void)
{
    return coc_test_on_ranks(&world, &alone, run_all);
}
