/* Columns that go round the ranks (loss.exchange: ring) give what those give that all ranks have at
 * once. */
#include <stdio.h>
#include <string.h>

#include "model/similarity.h"
#include "tests/exchanges.h"
#include "tests/test.h"

static coc_comm *world;
static coc_backend *backend;

static void a_ring_is_an_all_gather(void)
{
    /* Loss to 1e-7, gradients to 1e-6 of their norm: sums in another order. Counts are the same. */
    coc_test_exchanges(world, backend, 1e-6);
}

static void a_symmetric_loss_is_the_mean_of_two(void)
{
    coc_test_symmetric(world, backend, 2e-6);
}

static void slabs_in_wrong_order_are_refused(void)
{
    /* Each slab says itself whose columns it has, so that the loss would be finite, and right: but
     * gradients would come to wrong ranks. */
    coc_test_wrong_way_round(world, backend);
}

static void memory_does_not_grow_with_ranks(void)
{
    /* A ring's memory is a function of the rank's own pairs, six times their embeddings; that of
     * an all-gather grows with all ranks'. Alone, a rank needs no place for others'. */
    enum { PAIRS = 64, D = 512 };
    const coc_loss_settings ring = {.exchange = COC_EXCHANGE_RING};
    const double embeddings = PAIRS * D * sizeof(float);
    int64_t bytes[3], gathered[3];

    for (int i = 0; i < 3; i++) {
        const coc_comm ranks = {.size = i == 0 ? 1 : 20 * i};
        coc_parts parts;

        REQUIRE_OK(coc_parts_make(&ranks, PAIRS * ranks.size, 0, &parts));
        bytes[i] = coc_similarity_bytes(&parts, D, &ring);
        gathered[i] = coc_similarity_bytes(&parts, D, NULL);
    }
    CHECK(bytes[1] == bytes[2] && bytes[0] < gathered[0] && gathered[2] > gathered[1] * 3 / 2);
    CHECK_NEAR((double)bytes[0] / embeddings, 2, 0.1);
    CHECK_NEAR((double)bytes[2] / embeddings, 6, 0.1);
}

static void memory_for_sums_is_planned(void)
{
    /* Over MPI an all-gather takes the columns of all ranks once more to add their gradients, in
     * one part or in several; at the most as many parts as are on their way at a time. A ring and
     * one rank alone take nothing. */
    enum { PAIRS = 64, RANKS = 4, D = 512 };
    const coc_loss_settings ring = {.exchange = COC_EXCHANGE_RING};
    const coc_comm ranks = {.size = RANKS}, one = {.size = 1};
    const int64_t columns = (int64_t)PAIRS * RANKS * D * (int64_t)sizeof(float);
    coc_parts whole, quarters, eighths, alone;

    REQUIRE_OK(coc_parts_make(&ranks, PAIRS * RANKS, 0, &whole));
    REQUIRE_OK(coc_parts_make(&ranks, PAIRS * RANKS, PAIRS * RANKS / 4, &quarters));
    REQUIRE_OK(coc_parts_make(&ranks, PAIRS * RANKS, PAIRS * RANKS / 8, &eighths));
    REQUIRE_OK(coc_parts_make(&one, PAIRS, 0, &alone));
    CHECK(coc_similarity_sum_bytes(&whole, D, NULL) == columns);
    CHECK(coc_similarity_sum_bytes(&quarters, D, NULL) == columns);
    CHECK(coc_similarity_sum_bytes(&eighths, D, NULL) == columns / 2);
    CHECK(coc_similarity_sum_bytes(&whole, D, &ring) == 0);
    CHECK(coc_similarity_sum_bytes(&alone, D, NULL) == 0);
}

int main(void)
{
    const coc_comm_settings settings = {.backend = "mpi", .deadline = 60};
    int result;

    if (coc_comm_start(&settings, &world) != COC_OK) {
        fprintf(stderr, "%s\n", coc_error_text());
        return 1;
    }
    RUN(memory_does_not_grow_with_ranks);
    RUN(memory_for_sums_is_planned);
    for (const char *const *name = coc_backend_names(); *name != NULL; name++) {
        if (strcmp(*name, "cuda") == 0) continue; /* tests/cuda_ranks_exchange.c */
        if (coc_backend_create(*name, 1, &backend) != COC_OK) return 1;
        RUN(a_ring_is_an_all_gather);
        RUN(a_symmetric_loss_is_the_mean_of_two);
        RUN(slabs_in_wrong_order_are_refused);
        coc_backend_destroy(&backend);
    }
    result = coc_test_result();
    coc_comm_destroy(&world);
    coc_comm_finish();
    return result;
}
