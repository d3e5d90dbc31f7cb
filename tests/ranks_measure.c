/* N ranks measure what one measures: every figure of an evaluation has the same bits, however the
 * rows fall on ranks. */
#include <stdlib.h>
#include <string.h>

#include "tests/test.h"
#include "train/measure.h"

enum { MOST = 90, D = 24, TRACKS = 7, KS = 4 };

static coc_comm *world, *alone;
static const char *backend_name;

static float h1[MOST * D], p[MOST * D];
static uint64_t track[MOST];

static void check_accuracy(const coc_accuracy *a, const coc_accuracy *b)
{
    CHECK(a->k == b->k && a->pairs == b->pairs && a->tracks == b->tracks);
    CHECK(a->batches == b->batches && a->accuracy == b->accuracy && a->loss == b->loss);
    CHECK(a->low == b->low && a->high == b->high && a->same_track == b->same_track);
}

static void check_figure(const coc_figure *a, const coc_figure *b)
{
    CHECK(a->value == b->value && a->low == b->low && a->high == b->high);
    CHECK(a->chance == b->chance);
}

static void check_retrieval(const coc_retrieval *a, const coc_retrieval *b)
{
    check_figure(&a->median_rank, &b->median_rank);
    check_figure(&a->mean_reciprocal_rank, &b->mean_reciprocal_rank);
    for (int i = 0; i < COC_RECALLS; i++)
        check_figure(&a->recall[i], &b->recall[i]);
    REQUIRE(a->points == b->points);
    for (int i = 0; i < a->points; i++) {
        CHECK(a->k[i] == b->k[i]);
        CHECK(a->recall_curve[i] == b->recall_curve[i]);
        CHECK(a->accuracy_curve[i] == b->accuracy_curve[i]);
    }
}

static coc_status measure(coc_comm *comm, coc_backend *backend, int64_t n, int64_t memory,
                          coc_accuracy *accuracy, coc_retrieval *retrieval)
{
    const int64_t k[KS] = {2, n / 3 > 2 ? n / 3 : 2, n - 1, n};
    const coc_measure_settings settings = {
        .k = k, .ks = KS, .orders = 6, .bootstrap = 40, .seed = 3, .memory = memory};
    coc_embedded e = {.n = n, .d = D, .p = p, .track = track};

    e.count = coc_share(n, comm->size, comm->rank, &e.first);
    e.h1 = h1 + e.first * D;
    return coc_measure(comm, backend, &e, &settings, accuracy, retrieval);
}

static void compare(int64_t n, int64_t memory)
{
    coc_backend *backend;
    coc_accuracy ours[KS], theirs[KS];
    coc_retrieval our, their;

    REQUIRE_OK(coc_backend_create(backend_name, 0, &backend));
    REQUIRE_OK(measure(world, backend, n, memory, ours, &our));
    REQUIRE_OK(measure(alone, backend, n, 0, theirs, &their));
    for (int i = 0; i < KS; i++)
        check_accuracy(&ours[i], &theirs[i]);
    check_retrieval(&our, &their);
    CHECK(our.mean_reciprocal_rank.value > our.mean_reciprocal_rank.chance);
    coc_backend_destroy(&backend);
}

/* Uneven shares; ranks with more slabs of 16 rows than others (33 rows on 2 ranks: 17 and 16);
 * several passes, for want of memory for more than one order. */
static void figures_are_those_of_one_rank(void)
{
    compare(MOST - 1, 0);
    compare(MOST, 1);
    compare(33, 1);
}

/* Ranks without a row take part. */
static void fewer_pairs_than_ranks(void)
{
    compare(3, 0);
}

/* All ranks refuse what cannot be. */
static void too_large_a_batch_is_refused(void)
{
    const int64_t k = 5;
    const coc_measure_settings settings = {.k = &k, .ks = 1, .orders = 1};
    coc_embedded e = {.n = 4, .d = D, .h1 = h1, .p = p, .track = track};
    coc_backend *backend;
    coc_accuracy a;

    REQUIRE_OK(coc_backend_create(backend_name, 0, &backend));
    e.count = coc_share(e.n, world->size, world->rank, &e.first);
    CHECK(coc_measure(world, backend, &e, &settings, &a, NULL) ==
          (world->rank == 0 ? COC_ERR_USAGE : COC_ERR_ELSEWHERE));
    coc_backend_destroy(&backend);
}

/* Positives that are near their anchors, so that the figures are not those of chance. */
static void fill(void)
{
    coc_test_random(h1, MOST * D, 11);
    coc_test_random(p, MOST * D, 12);
    for (int i = 0; i < MOST * D; i++)
        p[i] = 0.3f * h1[i] + p[i];
    for (int i = 0; i < MOST; i++)
        track[i] = (uint64_t)(i / 4 % TRACKS) << 40;
}

int main(void)
{
    const coc_comm_settings settings = {.backend = "mpi", .deadline = 60};
    int result;

    if (coc_comm_start(&settings, &world) != COC_OK || coc_comm_self(&alone) != COC_OK) {
        fprintf(stderr, "%s\n", coc_error_text());
        return 1;
    }
    fill();
    for (const char *const *b = coc_backend_names(); *b != NULL; b++) {
        if (strcmp(*b, "cuda") == 0) continue; /* its products may round by the number of rows */
        backend_name = *b;
        RUN(figures_are_those_of_one_rank);
        RUN(fewer_pairs_than_ranks);
        RUN(too_large_a_batch_is_refused);
    }
    result = coc_test_result();
    coc_comm_destroy(&alone);
    coc_comm_destroy(&world);
    coc_comm_finish();
    return result;
}
