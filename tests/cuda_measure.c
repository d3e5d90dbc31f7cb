/* The figures of an evaluation from the products of a GPU, tile by tile, against the reference.
 * Embeddings are small whole numbers: every product is exact in any order of its sum, so that the
 * figures must be the same, ties and all. */
#include <math.h>
#include <stdlib.h>

#include "tests/on_device.h"
#include "tests/test.h"
#include "train/measure.h"

enum { N = 75, D = 8, TRACKS = 5, KS = 3 };

static coc_comm *comm;

typedef struct {
    coc_accuracy accuracy[KS];
    coc_retrieval retrieval;
} figures;

static void measure(coc_backend *b, int64_t memory, figures *f)
{
    static const int64_t k[KS] = {2, 20, N};
    static float h1[N * D], p[N * D];
    static uint64_t track[N];
    const coc_embedded e = {.n = N, .count = N, .d = D, .h1 = h1, .p = p, .track = track};
    const coc_measure_settings settings = {
        .k = k, .ks = KS, .orders = 4, .bootstrap = 20, .seed = 1, .memory = memory};

    coc_test_random(h1, N * D, 1);
    coc_test_random(p, N * D, 2);
    for (int i = 0; i < N * D; i++) {
        h1[i] = rintf(3 * h1[i]);
        p[i] = rintf(2 * p[i] + h1[i]);
    }
    for (int i = 0; i < N; i++)
        track[i] = (uint64_t)(i / 4 % TRACKS);
    REQUIRE_OK(coc_measure(comm, b, &e, &settings, f->accuracy, &f->retrieval));
}

static void compare(const figures *a, const figures *b)
{
    const coc_retrieval *r = &a->retrieval, *s = &b->retrieval;

    for (int i = 0; i < KS; i++) {
        CHECK(a->accuracy[i].accuracy == b->accuracy[i].accuracy);
        CHECK(a->accuracy[i].loss == b->accuracy[i].loss);
        CHECK(a->accuracy[i].low == b->accuracy[i].low);
    }
    CHECK(r->median_rank.value == s->median_rank.value && r->median_rank.low == s->median_rank.low);
    CHECK(r->mean_reciprocal_rank.value == s->mean_reciprocal_rank.value);
    REQUIRE(r->points == s->points);
    for (int i = 0; i < r->points; i++)
        CHECK(r->recall_curve[i] == s->recall_curve[i]);
}

/* In one tile of all rows and columns, and in tiles of 16 by 16 with uneven ones at the ends. */
static void figures_are_the_references(void)
{
    coc_backend *ref = coc_test_backend("ref", COC_FP32);
    coc_backend *cuda = coc_test_backend("cuda", COC_FP32);
    figures want = {0}, whole = {0}, tiles = {0};

    REQUIRE(ref != NULL && cuda != NULL);
    measure(ref, 0, &want);
    measure(cuda, 0, &whole);
    measure(cuda, 1, &tiles);
    compare(&whole, &want);
    compare(&tiles, &want);
    coc_backend_destroy(&cuda);
    coc_backend_destroy(&ref);
}

int main(void)
{
    coc_backend *b = coc_test_backend("cuda", COC_FP32);

    if (b == NULL) return COC_TEST_SKIPPED;
    coc_backend_destroy(&b);
    if (coc_comm_self(&comm) != COC_OK) return 1;
    RUN(figures_are_the_references);
    coc_comm_destroy(&comm);
    return coc_test_result();
}
