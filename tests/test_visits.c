/* The order of visits of preprocess/visits.c. */
#include <stdlib.h>
#include <string.h>

#include "preprocess/visits.h"
#include "tests/test.h"

enum { SOURCES = 3, WINDOWS = 7 + 50 + 400 };

static coc_visited source[SOURCES];

static coc_visits visits_of(uint64_t seed)
{
    memcpy(source, (coc_visited[SOURCES]){{0, 7, 0}, {7, 50, 0}, {57, 400, 0}}, sizeof source);
    return (coc_visits){.seed = seed, .windows = WINDOWS, .sources = SOURCES, .source = source};
}

/* Fails when an epoch of all windows leaves one out, or names another source than the window's. */
static void without_weights_windows_are_equal(void)
{
    const coc_visits v = visits_of(3);
    int seen[WINDOWS] = {0};

    for (int64_t p = 0; p < 2 * (int64_t)WINDOWS; p++) {
        const coc_visit visit = coc_visit_at(&v, p);
        const coc_visited *from = &source[coc_visit_source(&v, p)];

        REQUIRE(visit.window >= 0 && visit.window < WINDOWS);
        CHECK(visit.epoch == p / WINDOWS);
        CHECK(visit.window >= from->first && visit.window < from->first + from->windows);
        seen[visit.window]++;
    }
    for (int w = 0; w < WINDOWS; w++)
        CHECK(seen[w] == 2);
    CHECK(coc_visit_share(&v, 1) == 50.0 / WINDOWS);
}

/* Fails when shares of a round are not the weights', rounded, or do not fill it. */
static void shares_follow_the_weights(void)
{
    static const struct {
        double weight[SOURCES];
        int64_t share[SOURCES];
    } cases[] = {
        {{1, 2, 1}, {250, 500, 250}},       {{1, 1, 1}, {334, 333, 333}},
        {{0.2, 0.3, 0.5}, {200, 300, 500}}, {{1e-9, 1, 1e-9}, {1, 998, 1}},
        {{1e-9, 1, 1}, {1, 500, 499}},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        coc_visits v = visits_of(1);
        int64_t sum = 0;

        coc_visits_weigh(&v, cases[i].weight);
        for (int s = 0; s < SOURCES; s++) {
            const int64_t off = source[s].share - cases[i].share[s];

            sum += source[s].share;
            CHECK(off >= -1 && off <= 1 && source[s].share >= 1);
            CHECK(coc_visit_share(&v, s) == (double)source[s].share / COC_ROUND);
        }
        CHECK(sum == COC_ROUND);
    }
}

/* Fails when a round does not hold each source as often as its share says, or a source's windows do
 * not come once an epoch of its own. */
static void with_weights_sources_have_their_share(void)
{
    static const double weight[SOURCES] = {3, 2, 5};
    coc_visits v = visits_of(11);
    int64_t seen[WINDOWS] = {0}, turns[SOURCES] = {0}, in_order = 0;

    coc_visits_weigh(&v, weight);
    for (int64_t p = 0; p < 4 * (int64_t)COC_ROUND; p++) {
        const coc_visit visit = coc_visit_at(&v, p);
        const int s = coc_visit_source(&v, p);

        REQUIRE(visit.window >= source[s].first &&
                visit.window < source[s].first + source[s].windows);
        in_order += p > 0 && coc_visit_source(&v, p - 1) == s;
        turns[s]++;
        seen[visit.window]++;
        if ((p + 1) % COC_ROUND != 0) continue;
        for (int i = 0; i < SOURCES; i++)
            CHECK(turns[i] == (p + 1) / COC_ROUND * source[i].share);
    }
    for (int s = 0; s < SOURCES; s++)
        for (int64_t w = source[s].first; w < source[s].first + source[s].windows; w++) {
            const int64_t least = turns[s] / source[s].windows;

            CHECK(seen[w] == least || seen[w] == least + 1);
        }
    /* mixed: neighbours are of one source with probability 0.09 + 0.04 + 0.25 */
    CHECK(in_order > 1300 && in_order < 1740);
}

/* Fails when the epoch of a visit is not the number of times that its window was visited before. */
static void epochs_count_own_visits(void)
{
    static const double weight[SOURCES] = {1, 1, 2};
    coc_visits v = visits_of(5);
    int64_t seen[WINDOWS] = {0}, sum = 0;

    coc_visits_weigh(&v, weight);
    for (int64_t p = 0; p < 20 * (int64_t)COC_ROUND; p++) {
        const coc_visit visit = coc_visit_at(&v, p);
        const coc_visited *from = &source[coc_visit_source(&v, p)];

        /* turns of a round are in a random order, and so are the epochs that begin in it */
        CHECK(llabs(visit.epoch - seen[visit.window]) <= 2 + from->share / from->windows);
        sum += visit.epoch - seen[visit.window]++;
    }
    CHECK(sum == 0);
}

int main(void)
{
    RUN(without_weights_windows_are_equal);
    RUN(shares_follow_the_weights);
    RUN(with_weights_sources_have_their_share);
    RUN(epochs_count_own_visits);
    return coc_test_result();
}
