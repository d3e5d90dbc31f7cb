/* Windows, order and draws of preprocess/sampler.c over a store made up here: the coc_store_*
 * functions below stand in for the real reader. Over 600 lines, as all tests share that store. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "preprocess/sampler.h"
#include "tests/test.h"

/* ---- a store in memory ------------------------------------------------------------------------
 */

enum { MAX_TRACKS = 8, MAX_FAKE_STEMS = 512 };

/* A stem is audible in [from, to) and silent elsewhere; its samples count up from its number. */
typedef struct {
    int64_t from, to;
    double power;
} sound;

struct coc_store {
    int64_t tracks, stems;
    coc_track track[MAX_TRACKS];
    coc_stem stem[MAX_FAKE_STEMS];
    sound sound[MAX_FAKE_STEMS];
};

static coc_store store;

static void add_stem(int64_t from, int64_t to, double power)
{
    coc_track *track = &store.track[store.tracks - 1];

    store.stem[store.stems] = (coc_stem){.track = store.tracks - 1, .exponent = -3};
    store.sound[store.stems++] = (sound){from, to, power};
    track->stems++;
}

/* A new track; `stems` of it sound all the time. */
static void add_track(uint64_t id, int64_t samples, int stems)
{
    store.track[store.tracks++] = (coc_track){
        .id = id, .split = COC_TRAIN, .name = "t", .samples = samples, .first_stem = store.stems};
    for (int i = 0; i < stems; i++)
        add_stem(0, samples, 1e-2);
}

const char *coc_store_path(const coc_store *s)
{
    (void)s;
    return "made-up-store";
}

int coc_store_sources(const coc_store *s)
{
    return s != NULL;
}

const char *coc_store_source(const coc_store *s, int source)
{
    (void)s, (void)source;
    return "made up";
}

int64_t coc_store_tracks(const coc_store *s)
{
    return s->tracks;
}

const coc_track *coc_store_track(const coc_store *s, int64_t track)
{
    return &s->track[track];
}

const coc_stem *coc_store_stem(const coc_store *s, int64_t stem)
{
    return &s->stem[stem];
}

double coc_store_mean_square(const coc_store *s, int64_t stem, int64_t first, int64_t count)
{
    const sound *p = &s->sound[stem];
    const int64_t from = p->from > first ? p->from : first;
    const int64_t to = p->to < first + count ? p->to : first + count;

    return to > from ? p->power * (double)(to - from) / (double)count : 0.0;
}

coc_status coc_store_read(coc_store *s, int64_t stem, int64_t first, int64_t count, int16_t *pcm)
{
    const int64_t samples = s->track[s->stem[stem].track].samples;

    for (int64_t i = 0; i < count; i++)
        pcm[i] = (int16_t)(first + i < samples ? (first + i + 1000 * stem) % 30000 : 0);
    return COC_OK;
}

/* ---- helpers ----------------------------------------------------------------------------------
 */

static void clear_store(void)
{
    memset(&store, 0, sizeof store);
}

static coc_data_settings settings_of(double overlap, coc_window_mode windows, bool submixtures)
{
    return (coc_data_settings){
        .overlap = overlap, .windows = windows, .submixtures = submixtures, .noise = 1e-3};
}

/* The sampler, or NULL and a failed check. */
static coc_sampler *make_sampler(double overlap, coc_window_mode windows, bool submixtures,
                                 uint64_t seed)
{
    const coc_data_settings settings = settings_of(overlap, windows, submixtures);
    coc_sampler *sampler = NULL;

    if (coc_sampler_create(&store, COC_TRAIN, &settings, seed, &sampler) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "no sampler");
    return sampler;
}

static coc_sampler *published(uint64_t seed)
{
    return make_sampler(0.5, COC_WINDOWS_GRID, true, seed);
}

static bool same_pair(const coc_pair *a, const coc_pair *b)
{
    if (a->track != b->track || a->first_sample != b->first_sample) return false;
    for (int view = 0; view < 2; view++) {
        if (a->stems[view] != b->stems[view]) return false;
        if (memcmp(a->stem[view], b->stem[view], (size_t)a->stems[view] * sizeof(int64_t)) != 0)
            return false;
    }
    return true;
}

/* Both members non-empty, ascending, of the pair's track, disjoint, audible. */
static bool is_sound(const coc_pair *p)
{
    const coc_track *track = &store.track[p->track];
    int seen[MAX_FAKE_STEMS] = {0};

    for (int view = 0; view < 2; view++) {
        if (p->stems[view] < 1) return false;
        for (int i = 0; i < p->stems[view]; i++) {
            const int64_t stem = p->stem[view][i];

            if (stem < track->first_stem || stem >= track->first_stem + track->stems) return false;
            if (i > 0 && stem <= p->stem[view][i - 1]) return false;
            if (seen[stem]++ != 0) return false;
            if (coc_store_mean_square(&store, stem, p->first_sample, COC_CLIP_SAMPLES) <= 1e-6)
                return false;
        }
    }
    return p->track_id == track->id;
}

static void check_starts(double overlap, const int64_t *want, int64_t count)
{
    coc_sampler *sampler = make_sampler(overlap, COC_WINDOWS_GRID, true, 1);
    coc_pair pair;

    REQUIRE(sampler != NULL);
    CHECK(coc_sampler_windows(sampler) == count);
    for (int64_t i = 0; i < count && i < coc_sampler_windows(sampler); i++) {
        coc_sampler_draw_fixed(sampler, i, &pair);
        CHECK(pair.first_sample == want[i]);
    }
    coc_sampler_destroy(&sampler);
}

/* ---- tests ------------------------------------------------------------------------------------
 */

/* A 12 s track has windows at 0, 5, 10 s and, half overlapping, at 2.5 and 7.5 s; an overlap that
 * allows no second grid gives the first alone, 0.75 gives four. */
static void grids_are_the_published_ones(void)
{
    static const int64_t half[] = {0, 80000, 160000, 40000, 120000};
    static const int64_t three_quarters[] = {0,      80000, 160000, 20000, 100000,
                                             180000, 40000, 120000, 60000, 140000};

    clear_store();
    add_track(7, 192000, 3);
    check_starts(0.5, half, 5);
    check_starts(0.0, half, 3);
    check_starts(0.4, half, 3);
    check_starts(0.75, three_quarters, 10);
}

/* A window counts only when two stems are above 1e-6 in it; tracks without any are counted as
 * skipped; a split without any is refused by name. */
static void silent_windows_are_left_out(void)
{
    static const int64_t want[] = {80000, 40000};
    const coc_data_settings settings = settings_of(0.5, COC_WINDOWS_GRID, true);
    coc_sampler *sampler;

    clear_store();
    add_track(1, 240000, 1); /* one stem alone */
    add_track(2, 240000, 1);
    add_stem(80000, 120000, 1e-2); /* sounds from 5 to 7.5 s */
    add_stem(0, 240000, 0.99e-6);  /* too soft everywhere */
    check_starts(0.5, want, 2);
    sampler = published(1);
    REQUIRE(sampler != NULL);
    CHECK(coc_sampler_tracks(sampler) == 1 && coc_sampler_skipped(sampler) == 1);
    coc_sampler_destroy(&sampler);

    CHECK(coc_sampler_create(&store, COC_TEST, &settings, 1, &sampler) == COC_ERR_INPUT);
    CHECK(sampler == NULL && strstr(coc_error_text(), "made-up-store") != NULL &&
          strstr(coc_error_text(), "test split") != NULL);
}

static void fill_mixed_store(void)
{
    clear_store();
    add_track(11, 400000, 4);
    add_track(12, 90000, 2);
    add_track(13, 1000000, 7);
    add_stem(300000, 500000, 1e-3);
}

/* In every epoch each window comes once; no two epochs and no two seeds share their order. */
static void every_window_comes_once_an_epoch(void)
{
    coc_sampler *sampler, *other;
    int64_t windows, equal_epoch = 0, equal_seed = 0;
    int *visits;

    fill_mixed_store();
    sampler = published(5);
    other = published(6);
    REQUIRE(sampler != NULL && other != NULL);
    windows = coc_sampler_windows(sampler);
    CHECK(windows == 10 + 3 + 25); /* 400000: 5 + 5; 90000: 2 + 1; 1000000: 13 + 12 */
    visits = calloc((size_t)windows, sizeof *visits);
    for (int64_t position = 0; position < 3 * windows; position++) {
        coc_pair pair, next, elsewhere, fixed;

        coc_sampler_draw(sampler, position, &pair);
        coc_sampler_draw(sampler, position + windows, &next);
        coc_sampler_draw(other, position, &elsewhere);
        equal_epoch += pair.track == next.track && pair.first_sample == next.first_sample;
        equal_seed += pair.track == elsewhere.track && pair.first_sample == elsewhere.first_sample;
        for (int64_t i = 0; i < windows; i++) {
            coc_sampler_draw_fixed(sampler, i, &fixed);
            if (fixed.track == pair.track && fixed.first_sample == pair.first_sample) visits[i]++;
        }
        if (position % windows == windows - 1)
            for (int64_t i = 0; i < windows; i++)
                CHECK(visits[i] == position / windows + 1);
    }
    CHECK(equal_epoch < windows); /* by chance about one place in `windows` is the same */
    CHECK(equal_seed < windows);
    free(visits);
    coc_sampler_destroy(&other);
    coc_sampler_destroy(&sampler);
}

/* A position gives the same pair whenever and by whichever sampler it is drawn, in both window
 * modes, also far out; its stems are audible and in one member only; most visits of a window give
 * a pair not seen before. */
static void draws_are_a_function_of_seed_and_position(void)
{
    enum { FAR = 3 };

    fill_mixed_store();
    for (int mode = 0; mode < 2; mode++) {
        coc_sampler *a = make_sampler(0.5, mode, true, 9), *b = make_sampler(0.5, mode, true, 9);
        const int64_t start[FAR] = {0, 5000, 3LL << 33};

        REQUIRE(a != NULL && b != NULL);
        for (int far = 0; far < FAR; far++) {
            coc_pair forward[200], pair;
            int repeated = 0;

            for (int i = 0; i < 200; i++) {
                coc_sampler_draw(a, start[far] + i, &forward[i]);
                CHECK(is_sound(&forward[i]));
            }
            for (int i = 199; i >= 0; i--) {
                coc_sampler_draw(b, start[far] + i, &pair);
                CHECK(same_pair(&pair, &forward[i]));
                coc_sampler_draw(a, start[far] + i + 1000 * coc_sampler_windows(a), &pair);
                repeated += same_pair(&pair, &forward[i]);
            }
            CHECK(repeated < 20);
        }
        coc_sampler_destroy(&b);
        coc_sampler_destroy(&a);
    }
}

/* ---- distribution of the subsets --------------------------------------------------------------
 */

static double choose(int n, int k)
{
    double result = 1;

    for (int i = 1; i <= k; i++)
        result = result * (n - k + i) / i;
    return result;
}

/* Chi-squared that a right distribution exceeds once in 10,000 draws of a seed (Wilson and
 * Hilferty). */
static double chi_squared_limit(int freedom)
{
    const double f = 2.0 / (9.0 * freedom);

    return freedom * pow(1.0 - f + 3.72 * sqrt(f), 3.0);
}

/* A pair of a store of one track with n stems as a number: its sizes, or (every_subset) the member
 * of each stem as a digit of base 3: in none, in X1, in X2. */
static int cell_of(const coc_pair *pair, int n, bool every_subset)
{
    int cell = 0;

    if (!every_subset) return pair->stems[0] * n + pair->stems[1];
    for (int view = 0; view < 2; view++)
        for (int k = 0; k < pair->stems[view]; k++)
            cell += (view + 1) * (int)pow(3, (double)pair->stem[view][k]);
    return cell;
}

/* Its exact probability; 0 when no such pair may be drawn. */
static double probability_of(int cell, int n, bool every_subset)
{
    int size[3] = {0, cell / n, cell % n};
    double p;

    if (every_subset) {
        size[1] = size[2] = 0;
        for (int k = 0; k < n; k++, cell /= 3)
            size[cell % 3]++;
    }
    if (size[1] < 1 || size[2] < 1 || size[1] + size[2] > n) return 0;
    p = 1.0 / ((n - 1.0) * (n - size[1]));
    return every_subset ? p / (choose(n, size[1]) * choose(n - size[1], size[2])) : p;
}

/* Draw pairs of a single window with n stems and compare how often each comes with the exact
 * distribution. */
static void check_distribution(int n, bool every_subset, int draws)
{
    const int cells = every_subset ? (int)pow(3, n) : n * n;
    int *seen = calloc((size_t)cells, sizeof *seen), freedom = -1;
    coc_sampler *sampler;
    double chi = 0;
    coc_pair pair;

    clear_store();
    add_track(3, 80000, n);
    sampler = make_sampler(0.0, COC_WINDOWS_GRID, true, 77);
    REQUIRE(sampler != NULL && coc_sampler_windows(sampler) == 1);
    for (int i = 0; i < draws; i++) {
        coc_sampler_draw(sampler, i, &pair);
        REQUIRE(is_sound(&pair));
        seen[cell_of(&pair, n, every_subset)]++;
    }
    for (int cell = 0; cell < cells; cell++) {
        const double expected = draws * probability_of(cell, n, every_subset);

        if (expected == 0) {
            CHECK(seen[cell] == 0);
            continue;
        }
        freedom++;
        chi += pow(seen[cell] - expected, 2) / expected;
    }
    if (!(chi <= chi_squared_limit(freedom > 0 ? freedom : 1)))
        coc_test_fail(__FILE__, __LINE__, "n %d, %d cells: chi-squared %g, at most %g", n,
                      freedom + 1, chi, chi_squared_limit(freedom));
    coc_sampler_destroy(&sampler);
    free(seen);
}

/* Sizes and members of both subsets follow the published distribution exactly: chi-squared below
 * its 0.9999 quantile over every possible pair (N to 5) and over sizes (N to 12). */
static void subsets_have_the_published_distribution(void)
{
    for (int n = 2; n <= 5; n++)
        check_distribution(n, true, 100000);
    for (int n = 2; n <= 12; n += 5)
        check_distribution(n, false, 50000);
}

/* With data.submixtures off both members are single stems, every ordered pair about equally often.
 */
static void single_stems_when_asked(void)
{
    enum { STEMS = 4, DRAWS = 24000 };
    int seen[STEMS][STEMS] = {{0}};
    coc_sampler *sampler;
    coc_pair pair;

    clear_store();
    add_track(3, 80000, STEMS);
    sampler = make_sampler(0.0, COC_WINDOWS_GRID, false, 5);
    REQUIRE(sampler != NULL);
    for (int i = 0; i < DRAWS; i++) {
        coc_sampler_draw(sampler, i, &pair);
        REQUIRE(pair.stems[0] == 1 && pair.stems[1] == 1);
        seen[pair.stem[0][0]][pair.stem[1][0]]++;
    }
    for (int i = 0; i < STEMS * STEMS; i++) {
        const int want = i / STEMS == i % STEMS ? 0 : DRAWS / (STEMS * (STEMS - 1));

        CHECK(abs(seen[i / STEMS][i % STEMS] - want) <= 5 * sqrt(want)); /* 5 sigma */
    }
    coc_sampler_destroy(&sampler);
}

/* A window with more stems than a pair can hold still draws sound pairs, and every stem comes. */
static void hundreds_of_stems_are_no_trouble(void)
{
    enum { STEMS = 300 };
    int seen[STEMS] = {0}, missing = 0;
    coc_sampler *sampler;
    coc_pair pair;

    clear_store();
    add_track(3, 80000, STEMS);
    sampler = published(5);
    REQUIRE(sampler != NULL);
    for (int i = 0; i < 400; i++) {
        coc_sampler_draw(sampler, i, &pair);
        REQUIRE(is_sound(&pair) && pair.stems[0] + pair.stems[1] <= COC_MAX_STEMS);
        for (int k = 0; k < pair.stems[0]; k++)
            seen[pair.stem[0][k]]++;
    }
    for (int i = 0; i < STEMS; i++)
        missing += seen[i] == 0;
    CHECK(missing == 0);
    coc_sampler_destroy(&sampler);
}

/* ---- random windows ---------------------------------------------------------------------------
 */

/* In an epoch all windows of a track that keep clear of its end are moved by one and the same
 * offset below 2.5 s; offsets change with epoch and track; no window passes the end, but for
 * those that were padded before, which stay. */
static void random_windows_share_an_offset(void)
{
    int64_t previous = -1;
    int changes = 0;
    coc_sampler *sampler;
    coc_pair pair;

    clear_store();
    add_track(21, 800000, 3);
    sampler = make_sampler(0.5, COC_WINDOWS_RANDOM, true, 4);
    REQUIRE(sampler != NULL && coc_sampler_windows(sampler) == 20);
    for (int64_t epoch = 0; epoch < 20; epoch++) {
        int64_t offset = -1;
        int padded = 0, at_end = 0;

        for (int64_t i = 0; i < 20; i++) {
            coc_sampler_draw(sampler, epoch * 20 + i, &pair);
            CHECK(is_sound(&pair));
            if (pair.first_sample > 720000) { /* the window at 760000 alone was padded */
                CHECK(pair.first_sample == 760000);
                padded++;
            } else if (pair.first_sample == 720000) {
                at_end++;
            } else if (offset < 0) {
                offset = pair.first_sample % 40000;
            } else {
                CHECK(pair.first_sample % 40000 == offset);
            }
        }
        CHECK(padded == 1 && at_end == 1);
        CHECK(offset >= 0);
        changes += offset != previous;
        previous = offset;
    }
    CHECK(changes >= 19);
    coc_sampler_destroy(&sampler);
}

/* A window that would be moved to where fewer than two stems sound stays on its grid; evaluation
 * uses the grid whatever the mode. */
static void random_windows_stay_where_music_is(void)
{
    int moved = 0;
    coc_sampler *sampler;
    coc_pair pair;

    clear_store();
    add_track(22, 1600000, 1);
    add_stem(0, 81000, 1e-2);            /* windows at 0, 2.5, 5 s */
    add_stem(640000 - 30000, 640001, 1); /* at 35 and 37.5 s, a sample at 40 s */
    sampler = make_sampler(0.5, COC_WINDOWS_RANDOM, true, 4);
    REQUIRE(sampler != NULL && coc_sampler_windows(sampler) == 6);
    for (int64_t position = 0; position < 500; position++) {
        coc_sampler_draw(sampler, position, &pair);
        CHECK(is_sound(&pair));
        CHECK(pair.first_sample <= 81000 || pair.first_sample >= 560000);
        CHECK(pair.first_sample <= 640000);
        moved += pair.first_sample % 40000 != 0;
    }
    CHECK(moved > 100 && moved < 500);
    for (int64_t i = 0; i < 6; i++) {
        coc_sampler_draw_fixed(sampler, i, &pair);
        CHECK(pair.first_sample % 40000 == 0);
    }
    coc_sampler_destroy(&sampler);
}

/* A track's evaluation pairs do not change when other tracks come into the store, and do change
 * with the seed. */
static void fixed_pairs_do_not_depend_on_other_tracks(void)
{
    coc_pair alone[9], pair;
    int differ = 0;
    coc_sampler *sampler;

    clear_store();
    add_track(31, 400000, 6);
    sampler = published(2);
    REQUIRE(sampler != NULL && coc_sampler_windows(sampler) == 10);
    for (int i = 0; i < 9; i++)
        coc_sampler_draw_fixed(sampler, i, &alone[i]);
    coc_sampler_destroy(&sampler);

    clear_store();
    add_track(30, 80000, 2);
    add_track(31, 400000, 6);
    for (uint64_t seed = 2; seed < 4; seed++) {
        sampler = published(seed);
        REQUIRE(sampler != NULL);
        for (int i = 0; i < 9; i++) {
            coc_sampler_draw_fixed(sampler, i + 2, &pair); /* 80000: windows at 0 and 40000 */
            for (int view = 0; view < 2; view++)
                for (int k = 0; k < pair.stems[view]; k++)
                    pair.stem[view][k] -= 2;
            pair.track = 0;
            if (seed == 2)
                CHECK(same_pair(&pair, &alone[i]));
            else
                differ += !same_pair(&pair, &alone[i]);
        }
        coc_sampler_destroy(&sampler);
    }
    CHECK(differ >= 6);
}

/* A mix reads the pair's stems from the window on, with gain 2^exponent / 32768, zeros beyond the
 * track's end; only the positive gets noise, keyed by seed and position. */
static void mixes_read_the_drawn_stems(void)
{
    const int64_t position = (5LL << 32) + 17;
    coc_mix_scratch scratch = {0};
    coc_sampler *sampler;
    coc_pair pair;
    coc_mix mix;

    clear_store();
    add_track(41, 100000, 5);
    sampler = published(8);
    REQUIRE(sampler != NULL);
    coc_sampler_draw(sampler, position, &pair);
    for (int view = 0; view < 2; view++) {
        int wrong = 0;

        REQUIRE_OK(coc_sampler_mix(sampler, &pair, view, position, 1e-3f, &scratch, &mix));
        CHECK(mix.stems == pair.stems[view]);
        CHECK(mix.noise == (view == 1 ? 1e-3f : 0.0f));
        CHECK(mix.noise_key.seed == 8 && mix.noise_key.draw == COC_DRAW_NOISE);
        CHECK(mix.noise_key.item == 17 && mix.noise_key.step == 5);
        for (int i = 0; i < mix.stems; i++) {
            CHECK(mix.gain[i] == 0x1p-18f);
            for (int64_t t = 0; t < COC_CLIP_SAMPLES; t++) {
                const int64_t at = pair.first_sample + t;
                const int64_t want = at < 100000 ? (at + 1000 * pair.stem[view][i]) % 30000 : 0;

                wrong += mix.pcm[i][t] != want;
            }
        }
        CHECK(wrong == 0);
    }
    coc_mix_scratch_free(&scratch);
    CHECK(scratch.pcm == NULL);
    coc_sampler_destroy(&sampler);
    CHECK(sampler == NULL);
}

int main(void)
{
    RUN(grids_are_the_published_ones);
    RUN(silent_windows_are_left_out);
    RUN(every_window_comes_once_an_epoch);
    RUN(draws_are_a_function_of_seed_and_position);
    RUN(subsets_have_the_published_distribution);
    RUN(single_stems_when_asked);
    RUN(hundreds_of_stems_are_no_trouble);
    RUN(random_windows_share_an_offset);
    RUN(random_windows_stay_where_music_is);
    RUN(fixed_pairs_do_not_depend_on_other_tracks);
    RUN(mixes_read_the_drawn_stems);
    return coc_test_result();
}
