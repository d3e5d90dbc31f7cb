/* The self-test passes what is right and fails each of the rules by which programs that train on
 * several ranks go wrong, which are put in here on purpose: between the program and its
 * communicator. Each must fail on the lines it is wrong for, and on no others. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/small_run.h"
#include "tests/test.h"
#include "train/selftest.h"

enum { EMBEDDING = 512 };

static coc_comm *world, *alone;

typedef enum {
    RIGHT,
    ENCODER_OVER_RANKS, /* own slot alone is live, then a mean over ranks; AVG of a sum */
    W_TIMES_RANKS,      /* the loss times the ranks; W summed twice */
    ALL_OVER_RANKS,     /* a mean where a sum belongs */
    ALL_TWICE,          /* a factor of the loss that is in no loss */
    NOT_SUMMED,         /* every rank keeps its own gradient */
    W_TIMES_PARTS,      /* the loss is evaluated once for each part */
    OWN_SLICE,          /* backward of the gather returns this rank's own part of its own sum */
    NO_SLICE,           /* the gather has no backward */
    MEAN_SLICE,         /* backward of the gather divides by the ranks */
    OWN_STATISTICS,     /* batch-norm sums stay on their rank */
    MEAN_STATISTICS,    /* running statistics are divided once more */
    WRONG_ORDER,        /* two columns change places */
    NO_GATHER,          /* the other ranks' columns never come */
    RANK_ORDER,         /* the sum of the gradient is added in rank order */
    ANY_REDUCE,         /* collectives that are wrong for whatever they carry */
    ANY_SCATTER,
    ANY_GATHER,
    ANY_BROADCAST,
    ANY_ROTATE,
    NO_SUM_ROUND, /* in a ring the gradient of columns stays with the rank that they pass */
    NO_MOMENTS,   /* the moments are not restored on the other ranks */
    SLOW_LINK,
} wrong_rule;

/* What has been seen of the step at hand. */
static struct {
    wrong_rule rule;
    bool w_left;        /* the gradient of W has not been sent yet */
    int gathers, parts; /* of columns, so far and up to the loss */
    float *gathered;    /* what is waited for: */
    int64_t all;        /* numbers of all ranks, */
    int64_t first, own; /* and of this one */
} state;

static bool is(const char *what, const char *literal)
{
    return strcmp(what, literal) == 0;
}

static void scale(float *values, int64_t count, double factor)
{
    for (int64_t i = 0; i < count; i++)
        values[i] *= (float)factor;
}

static void multiply(float *gradient, int64_t encoder, int64_t all)
{
    const double ranks = world->size;

    if (state.rule == ENCODER_OVER_RANKS) scale(gradient, encoder, 1 / ranks);
    if (state.rule == W_TIMES_RANKS) scale(gradient + encoder, all - encoder, ranks);
    if (state.rule == W_TIMES_PARTS) scale(gradient + encoder, all - encoder, state.parts);
    if (state.rule == ALL_OVER_RANKS) scale(gradient, all, 1 / ranks);
    if (state.rule == ALL_TWICE) scale(gradient, all, 2);
}

static coc_status wrong_reduce(coc_comm *comm, const char *what, void *buffer, int64_t count,
                               coc_type type, coc_stream *stream, coc_request **request)
{
    *request = NULL;
    if (is(what, "loss")) {
        state.w_left = true;
        state.parts = state.gathers;
        state.gathers = 0;
    }
    if (is(what, "sum of gradients")) {
        const int64_t w = state.w_left ? EMBEDDING * EMBEDDING : 0;

        state.w_left = false;
        multiply(buffer, count - w, count);
        if (state.rule == NOT_SUMMED) return COC_OK;
    }
    if (is(what, "running statistics") && state.rule == MEAN_STATISTICS)
        for (int64_t i = 0; i < count; i++)
            ((double *)buffer)[i] /= world->size;
    if (is(what, "batch-norm sums") && state.rule == OWN_STATISTICS) return COC_OK;
    if (is(what, "self-test of all-reduce") && state.rule == ANY_REDUCE)
        scale(buffer, count, 1.0 / world->size);
    return world->ops->start_all_reduce(comm, what, buffer, count, type, stream, request);
}

/* recv = the sum of the ranks' numbers first .. first + own - 1 of `all`, rank by rank. */
static coc_status add_in_rank_order(coc_comm *comm, const float *send, int64_t all, int64_t first,
                                    int64_t own, float *recv)
{
    int64_t counts[8];
    float *gathered = malloc((size_t)(all * comm->size) * sizeof *gathered);
    coc_status status;

    if (gathered == NULL || comm->size > 8) abort();
    for (int r = 0; r < comm->size; r++)
        counts[r] = all;
    status = coc_all_gather(world, "other order", send, gathered, counts, COC_FLOAT);
    for (int64_t i = 0; i < own && status == COC_OK; i++) {
        float sum = 0;

        for (int r = 0; r < comm->size; r++)
            sum += gathered[r * all + first + i];
        recv[i] = sum;
    }
    free(gathered);
    return status;
}

static coc_status wrong_scatter(coc_comm *comm, const char *what, const void *send, void *recv,
                                const int64_t *counts, coc_type type, coc_stream *stream,
                                coc_request **request)
{
    const bool columns = is(what, "gradient of the columns");
    const bool tried = is(what, "self-test of reduce-scatter") && state.rule == ANY_SCATTER;
    int64_t first = 0, all = 0;

    *request = NULL;
    for (int r = 0; r < comm->size; r++) {
        if (r == comm->rank) first = all;
        all += counts[r];
    }
    if (tried || (columns && (state.rule == OWN_SLICE || state.rule == NO_SLICE))) {
        memcpy(recv, (const float *)send + first, (size_t)counts[comm->rank] * sizeof(float));
        if (state.rule == NO_SLICE) scale(recv, counts[comm->rank], 0);
        return COC_OK;
    }
    if (state.rule == RANK_ORDER && is(what, "sum of gradients"))
        return add_in_rank_order(comm, send, all, first, counts[comm->rank], recv);
    if (columns && state.rule == MEAN_SLICE) scale((float *)send, all, 1.0 / world->size);
    return world->ops->start_reduce_scatter(comm, what, send, recv, counts, type, stream, request);
}

static coc_status wrong_gather(coc_comm *comm, const char *what, const void *send, void *recv,
                               const int64_t *counts, coc_type type, coc_stream *stream,
                               coc_request **request)
{
    const bool columns = is(what, "columns of the similarity");
    const bool tried = is(what, "self-test of all-gather") && state.rule == ANY_GATHER;

    if (columns) state.gathers++;
    if (tried || (columns && (state.rule == WRONG_ORDER || state.rule == NO_GATHER))) {
        state.gathered = recv;
        state.all = 0;
        for (int r = 0; r < comm->size; r++) {
            if (r == comm->rank) state.first = state.all;
            state.all += counts[r];
        }
        state.own = counts[comm->rank];
    }
    return world->ops->start_all_gather(comm, what, send, recv, counts, type, stream, request);
}

static void spoil_gathered(void)
{
    float *const all = state.gathered, *const last = all + state.all - 1;
    const float first = *all;

    if (state.rule == NO_GATHER) {
        scale(all, state.first, 0);
        scale(all + state.first + state.own, state.all - state.first - state.own, 0);
        return;
    }
    *all = *last;
    *last = first;
}

static coc_status wrong_wait(coc_comm *comm, coc_request **request)
{
    if (*request == NULL) return COC_OK;
    COC_TRY(world->ops->wait(comm, request));
    if (state.gathered != NULL) spoil_gathered();
    state.gathered = NULL;
    return COC_OK;
}

static coc_status wrong_broadcast(coc_comm *comm, const char *what, void *buffer, int64_t count,
                                  coc_type type, int root, coc_stream *stream,
                                  coc_request **request)
{
    *request = NULL;
    if (is(what, "first moments") && state.rule == NO_MOMENTS) return COC_OK;
    if (is(what, "self-test of broadcast") && state.rule == ANY_BROADCAST) return COC_OK;
    if (is(what, "self-test of a link") && state.rule == SLOW_LINK && comm->first == 1)
        coc_sleep_seconds(0.05);
    return world->ops->start_broadcast(comm, what, buffer, count, type, root, stream, request);
}

/* Numbers that go on to nobody: each rank gets its own. */
static coc_status wrong_rotate(coc_comm *comm, const char *what, const void *send, void *recv,
                               const int64_t *counts, coc_type type, coc_stream *stream,
                               coc_request **request)
{
    const int previous = (comm->rank + comm->size - 1) % comm->size;
    const int64_t own = counts[comm->rank], there = counts[previous];

    *request = NULL;
    if (!(is(what, "self-test of rotate") && state.rule == ANY_ROTATE) &&
        !(is(what, "gradient of the columns") && state.rule == NO_SUM_ROUND))
        return world->ops->start_rotate(comm, what, send, recv, counts, type, stream, request);
    memcpy(recv, send, (size_t)(own < there ? own : there) * sizeof(float));
    return COC_OK;
}

static const coc_comm_ops *wrong_ops;

/* Groups of ranks are as wrong as all of them. */
static coc_status wrong_subgroup(coc_comm *comm, int first, int last, coc_comm **sub)
{
    COC_TRY(world->ops->subgroup(comm, first, last, sub));
    (*sub)->ops = wrong_ops;
    return COC_OK;
}

/* ---- the test ------------------------------------------------------------------------------- */

/* Run a check of the table under a rule; group: pairs of a batch-norm group, of 16. */
static coc_status run_check(const char *name, wrong_rule rule, int64_t group,
                            coc_columns_exchange exchange, coc_selftest *test)
{
    static coc_comm_ops ops; /* which the test keeps, and is judged with later */
    static coc_comm comm;
    const coc_selftest_check *all = coc_selftest_checks();
    coc_selftest_check only[2] = {{NULL, NULL, NULL}};

    ops = *world->ops;
    comm = *world;
    for (; all->name != NULL; all++)
        if (is(all->name, name)) only[0] = *all;
    ops.start_all_reduce = wrong_reduce;
    ops.start_reduce_scatter = wrong_scatter;
    ops.start_all_gather = wrong_gather;
    ops.start_broadcast = wrong_broadcast;
    ops.start_rotate = wrong_rotate;
    ops.wait = wrong_wait;
    ops.subgroup = wrong_subgroup;
    wrong_ops = comm.ops = &ops;
    memset(&state, 0, sizeof state);
    state.rule = rule;
    *test = (coc_selftest){
        .settings = coc_test_settings("none", 16, group), .comm = &comm, .alone = alone};
    test->settings.loss.exchange = exchange;
    test->settings.model.depth = 0.1;
    test->settings.model.dropout = 0.1;
    test->settings.model.stochastic_depth = 0.2;
    return coc_selftest_run(test, only);
}

/* Which lines failed, as one text. */
static void failed_lines(const coc_selftest *test, char text[256])
{
    size_t used = 0;

    text[0] = '\0';
    for (int64_t i = 0; i < test->lines && used < 255; i++)
        if (!test->line[i].passed)
            used += (size_t)snprintf(text + used, 256 - used, "%s%s", used > 0 ? ", " : "",
                                     test->line[i].of);
}

typedef struct {
    const char *said; /* of the rule */
    wrong_rule rule;
    const char *check;
    int64_t group;
    const char *fails; /* the lines that fail, and no others; NULL: the check cannot go on */
    coc_columns_exchange exchange;
} expectation;

static void check_rule(const expectation *e)
{
    coc_selftest test;
    char failed[256];
    const coc_status status = run_check(e->check, e->rule, e->group, e->exchange, &test);

    failed_lines(&test, failed);
    if (world->rank == 0) fprintf(stderr, "  %-50s %s\n", e->said, failed);
    if (e->fails == NULL) {
        CHECK(status == COC_ERR_RANKS);
        CHECK(strstr(coc_error_text(), "check of the columns") != NULL);
    } else if (status != COC_OK) {
        coc_test_fail(__FILE__, __LINE__, "%s: %s", e->said, coc_error_text());
    } else if (strcmp(failed, e->fails) != 0) {
        coc_test_fail(__FILE__, __LINE__, "%s: fails '%s' and not '%s'", e->said, failed, e->fails);
    }
    if (status == COC_OK && e->fails != NULL)
        CHECK(coc_selftest_judge(&test) == (world->rank == 0 ? COC_ERR_RANKS : COC_ERR_ELSEWHERE));
    coc_selftest_free(&test);
}

/* One group of all ranks, and several: all passes, with dropout and stochastic depth. */
static void what_is_right_passes(void)
{
    for (int64_t group = 0; group <= 4; group += 4)
        for (const coc_selftest_check *c = coc_selftest_checks(); c->name != NULL; c++) {
            coc_selftest test;
            char failed[256];

            REQUIRE_OK(run_check(c->name, RIGHT, group, COC_EXCHANGE_ALL_GATHER, &test));
            failed_lines(&test, failed);
            if (failed[0] != '\0')
                coc_test_fail(__FILE__, __LINE__, "%s: %s failed", c->name, failed);
            CHECK(test.lines > 0 || (world->size == 1 && is(c->name, "links")));
            CHECK(coc_selftest_judge(&test) == COC_OK || failed[0] != '\0');
            coc_selftest_free(&test);
        }
}

/* Columns that go round: all ranks beside one that has them at once, and in parts. */
static void a_ring_passes(void)
{
    static const char *const checks[] = {"ranks", "passes"};

    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        coc_selftest test;
        char failed[256];

        REQUIRE_OK(run_check(checks[i], RIGHT, 4, COC_EXCHANGE_RING, &test));
        failed_lines(&test, failed);
        if (failed[0] != '\0')
            coc_test_fail(__FILE__, __LINE__, "%s: %s failed", checks[i], failed);
        CHECK(test.lines > 0);
        coc_selftest_free(&test);
    }
}

static void wrong_rules_are_named(void)
{
    static const expectation expected[] = {
        {"own slot alone is live", ENCODER_OVER_RANKS, "ranks", 4, "encoder, norms",
         COC_EXCHANGE_ALL_GATHER},
        {"loss times ranks", W_TIMES_RANKS, "ranks", 4, "W", COC_EXCHANGE_ALL_GATHER},
        {"mean in place of a sum", ALL_OVER_RANKS, "ranks", 4, "encoder, norms, W",
         COC_EXCHANGE_ALL_GATHER},
        {"gradient stays on its rank", NOT_SUMMED, "ranks", 4, "encoder, norms, W",
         COC_EXCHANGE_ALL_GATHER},
        {"gather gives back its own slice only", OWN_SLICE, "ranks", 4, "encoder, norms, W",
         COC_EXCHANGE_ALL_GATHER},
        {"gather without gradient", NO_SLICE, "ranks", 4, "encoder, norms, W",
         COC_EXCHANGE_ALL_GATHER},
        {"gather gives back a mean", MEAN_SLICE, "ranks", 4, "encoder, norms, W",
         COC_EXCHANGE_ALL_GATHER},
        {"batch norm of the rank alone", OWN_STATISTICS, "ranks", 0,
         "encoder, norms, W, running statistics, loss", COC_EXCHANGE_ALL_GATHER},
        {"running statistics divided twice", MEAN_STATISTICS, "ranks", 4, "running statistics",
         COC_EXCHANGE_ALL_GATHER},
        {"columns in another order", WRONG_ORDER, "ranks", 4, NULL, COC_EXCHANGE_ALL_GATHER},
        {"no gather", NO_GATHER, "ranks", 4, NULL, COC_EXCHANGE_ALL_GATHER},
        {"all-reduce that averages", ANY_REDUCE, "collectives", 4, "all-reduce",
         COC_EXCHANGE_ALL_GATHER},
        {"reduce-scatter without the others", ANY_SCATTER, "collectives", 4, "reduce-scatter",
         COC_EXCHANGE_ALL_GATHER},
        {"all-gather in another order", ANY_GATHER, "collectives", 4, "all-gather",
         COC_EXCHANGE_ALL_GATHER},
        {"broadcast that stays at home", ANY_BROADCAST, "collectives", 4, "broadcast",
         COC_EXCHANGE_ALL_GATHER},
        {"rotation that stays at home", ANY_ROTATE, "collectives", 4, "rotate",
         COC_EXCHANGE_ALL_GATHER},
        {"a ring without its sums", NO_SUM_ROUND, "ranks", 4, "encoder, norms, W",
         COC_EXCHANGE_RING},
        {"moments that are not restored", NO_MOMENTS, "resume", 4, "bits", COC_EXCHANGE_ALL_GATHER},
    };

    if (world->size == 1) return; /* nothing to be wrong between */
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        check_rule(&expected[i]);
}

/* Rules that are wrong with one rank too. */
static void wrong_factors_are_named(void)
{
    static const expectation parts = {"loss once for each part", W_TIMES_PARTS, "passes", 4, "W",
                                      COC_EXCHANGE_ALL_GATHER};
    static const expectation factor = {
        "gradient of twice the loss", ALL_TWICE, "differences", 4, "encoder, norms, W",
        COC_EXCHANGE_ALL_GATHER};

    if (world->size == 1) return; /* nothing is summed, so nothing is put in */
    check_rule(&parts);
    check_rule(&factor);
}

/* Right to rounding, but not to the bit; of two numbers there is one order alone. */
static void another_order_is_named(void)
{
    static const expectation order = {"sum in rank order",    RANK_ORDER, "tree", 4, "gradient",
                                      COC_EXCHANGE_ALL_GATHER};

    if (world->size == 4) check_rule(&order);
}

/* One of three links takes far longer. */
static void a_slow_link_is_named(void)
{
    static const expectation slow = {"a slow link",          SLOW_LINK, "links", 4, "ranks 1 - 2",
                                     COC_EXCHANGE_ALL_GATHER};

    if (world->size == 4) check_rule(&slow);
}

static int run_all(void)
{
    RUN(what_is_right_passes);
    RUN(a_ring_passes);
    RUN(wrong_rules_are_named);
    RUN(wrong_factors_are_named);
    RUN(another_order_is_named);
    RUN(a_slow_link_is_named);
    return coc_test_result();
}

int main(void)
{
    return coc_test_on_ranks(&world, &alone, run_all);
}
