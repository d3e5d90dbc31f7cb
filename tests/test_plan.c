/* preprocess/plan.c: which tracks share a shard, under which number, and who writes it. */
#include "preprocess/plan.h"

#include <stdlib.h>

#include "tests/test.h"

enum { TRACKS = 40 };

static int64_t samples[TRACKS], none[TRACKS];

static void fill(void)
{
    for (int t = 0; t < TRACKS; t++) {
        samples[t] = 1000 + 700 * ((t * 13) % 7);
        none[t] = -1;
    }
}

/* Every track is in one shard, in order, and no shard of several tracks is over the target. */
static void shards_cover_the_tracks_in_order(void)
{
    coc_plan plan;
    int64_t next = 0;

    REQUIRE_OK(coc_plan_make(none, samples, TRACKS, 9000, 1, &plan));
    for (int64_t i = 0; i < plan.shards; i++) {
        const coc_plan_shard *s = &plan.shard[i];
        int64_t sum = 0;

        CHECK(s->number == i);
        CHECK(s->first == next);
        for (int64_t t = s->first; t < s->first + s->tracks; t++)
            sum += samples[t];
        CHECK(sum == s->samples);
        CHECK(sum <= 9000 || s->tracks == 1);
        next += s->tracks;
    }
    CHECK(next == TRACKS);
    free(plan.shard);
}

/* The cut does not depend on the number of ranks, and with many shards they are loaded alike. */
static void ranks_change_the_deal_only(void)
{
    coc_plan one, three;
    int64_t load[3] = {0};

    REQUIRE_OK(coc_plan_make(none, samples, TRACKS, 5000, 1, &one));
    REQUIRE_OK(coc_plan_make(none, samples, TRACKS, 5000, 3, &three));
    REQUIRE(one.shards == three.shards);
    for (int64_t i = 0; i < one.shards; i++) {
        CHECK(one.shard[i].first == three.shard[i].first);
        CHECK(one.shard[i].tracks == three.shard[i].tracks);
        CHECK(one.shard[i].rank == 0);
        load[three.shard[i].rank] += three.shard[i].samples;
    }
    for (int r = 0; r < 3; r++) /* the last shard dealt decides: at most one apart */
        CHECK(llabs(load[r] - load[0]) <= 5000);
    free(one.shard);
    free(three.shard);
}

/* Whatever shards an interrupted run has left, the rest is cut and numbered as in a whole run. */
static void interrupted_runs_are_finished_alike(void)
{
    coc_plan whole;

    REQUIRE_OK(coc_plan_make(none, samples, TRACKS, 14000, 2, &whole));
    REQUIRE(whole.shards >= 6 && whole.shards <= 16);
    for (int mask = 0; mask < 1 << whole.shards; mask += 37) {
        int64_t kept[TRACKS];
        coc_plan rest;

        for (int64_t i = 0; i < whole.shards; i++)
            for (int64_t t = whole.shard[i].first; t < whole.shard[i].first + whole.shard[i].tracks;
                 t++)
                kept[t] = mask >> i & 1 ? i : -1;
        REQUIRE_OK(coc_plan_make(kept, samples, TRACKS, 14000, 3, &rest));
        for (int64_t i = 0, k = 0; i < whole.shards; i++) {
            if (mask >> i & 1) continue;
            CHECK(k < rest.shards && rest.shard[k].number == i);
            CHECK(k < rest.shards && rest.shard[k].first == whole.shard[i].first);
            CHECK(k < rest.shards && rest.shard[k].tracks == whole.shard[i].tracks);
            k++;
        }
        free(rest.shard);
    }
    free(whole.shard);
}

/* Tracks that were added later go to new shards with free numbers; old ones are not touched. */
static void additions_get_free_numbers(void)
{
    int64_t kept[5] = {0, -1, 2, 2, -1};
    const int64_t lengths[5] = {10, 10, 10, 10, 10};
    coc_plan plan;

    REQUIRE_OK(coc_plan_make(kept, lengths, 5, 100, 1, &plan));
    REQUIRE(plan.shards == 2);
    CHECK(plan.shard[0].number == 1 && plan.shard[0].first == 1);
    CHECK(plan.shard[1].number == 3 && plan.shard[1].first == 4);
    free(plan.shard);
}

/* By itself the size gives some 32 shards, between 32 MiB and 1 GiB of 16-bit samples. */
static void sizes_fit_the_data_set(void)
{
    static int64_t kept[4096], lengths[4096];
    static const struct {
        int64_t each, low, high; /* samples a track; shards */
    } sets[] = {{1000, 1, 1}, {1 << 18, 32, 34}, {1 << 24, 128, 129}};
    coc_plan plan;

    for (int i = 0; i < 3; i++) {
        for (int t = 0; t < 4096; t++) {
            kept[t] = -1;
            lengths[t] = sets[i].each;
        }
        REQUIRE_OK(coc_plan_make(kept, lengths, 4096, 0, 2, &plan));
        CHECK(plan.shards >= sets[i].low && plan.shards <= sets[i].high);
        free(plan.shard);
    }
}

/* A rank without a share waits as long as the longest share may take, not for a time of its own:
 * three shards of 600 s of audio on two ranks, the longer share at ten times real time. */
static void patience_follows_the_longest_share(void)
{
    const int64_t kept[3] = {-1, -1, -1}, lengths[3] = {9600000, 9600000, 9600000};
    coc_plan plan;

    REQUIRE_OK(coc_plan_make(kept, lengths, 3, 9600000, 2, &plan));
    CHECK(plan.shards == 3);
    CHECK_NEAR(coc_plan_patience(&plan, 2), 120, 1e-9);
    plan.shards = 1; /* rank 1 has none */
    CHECK_NEAR(coc_plan_patience(&plan, 2), 60, 1e-9);
    free(plan.shard);
}

/* What cannot be read under a shard's name is neither stale nor kept: the failure goes up. */
static void unreadable_shards_are_not_stale(void)
{
    const coc_store_settings settings = coc_store_settings_of("folder");
    const char *store = coc_test_folder("plan_unreadable");
    char path[COC_PATH_BYTES];
    int64_t kept[1];
    coc_source_list list = {0};
    coc_names stale;
    coc_comm *comm;

    REQUIRE_OK(coc_comm_self(&comm));
    REQUIRE_OK(coc_path_join(path, store, "shard-00000.h5"));
    REQUIRE_OK(coc_make_folders(path));
    CHECK(coc_find_kept(comm, ".", store, &settings, &list, kept, &stale) == COC_ERR_IO);
    CHECK(stale.count == 0);
    coc_comm_destroy(&comm);
}

int main(void)
{
    fill();
    RUN(shards_cover_the_tracks_in_order);
    RUN(ranks_change_the_deal_only);
    RUN(interrupted_runs_are_finished_alike);
    RUN(additions_get_free_numbers);
    RUN(sizes_fit_the_data_set);
    RUN(patience_follows_the_longest_share);
    RUN(unreadable_shards_are_not_stale);
    return coc_test_result();
}
