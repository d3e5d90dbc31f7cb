/* The collectives of the mpi row on 1 to 4 ranks. Values are small integers, so sums are exact and
 * every comparison is without tolerance. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "comm/mpi_comm.h"
#include "tests/test.h"

static coc_comm *world;

enum { MOST = 64 }; /* ranks; counts below are a few a rank */

/* 3, 0, 5, 2, 3, 0, ... */
static int64_t uneven(int64_t *counts, int size)
{
    static const int64_t pattern[] = {3, 0, 5, 2};
    int64_t total = 0;

    for (int rank = 0; rank < size; rank++)
        total += counts[rank] = pattern[rank % 4];
    return total;
}

static int64_t begin_of(const int64_t *counts, int rank)
{
    int64_t first = 0;

    for (int i = 0; i < rank; i++)
        first += counts[i];
    return first;
}

static void gather_uneven(coc_comm *comm)
{
    int64_t counts[MOST];
    const int64_t total = uneven(counts, comm->size);
    float own[8], all[5 * MOST];

    for (int64_t i = 0; i < total + 1; i++)
        all[i] = -1;
    for (int64_t i = 0; i < counts[comm->rank]; i++)
        own[i] = (float)(100 * comm->rank + i);
    REQUIRE_OK(coc_all_gather(comm, "gather", own, all, counts, COC_FLOAT));
    for (int rank = 0, at = 0; rank < comm->size; rank++)
        for (int64_t i = 0; i < counts[rank]; i++)
            CHECK(all[at++] == (float)(100 * rank + i));
    CHECK(all[total] == -1);
}

static void scatter_uneven(coc_comm *comm)
{
    int64_t counts[MOST];
    const int64_t total = uneven(counts, comm->size);
    const int64_t first = begin_of(counts, comm->rank);
    const int sum = comm->size * (comm->size + 1) / 2;
    int32_t all[5 * MOST], part[8];

    for (int64_t i = 0; i < total; i++)
        all[i] = (int32_t)((comm->rank + 1) * (i + 1));
    for (int i = 0; i < 8; i++)
        part[i] = -1;
    REQUIRE_OK(coc_reduce_scatter(comm, "scatter", all, part, counts, COC_INT32));
    for (int64_t i = 0; i < counts[comm->rank]; i++)
        CHECK(part[i] == sum * (first + i + 1));
    CHECK(part[counts[comm->rank]] == -1);
}

static void reduce_types(coc_comm *comm)
{
    const int sum = comm->size * (comm->size + 1) / 2;
    float f[3];
    double d[3];
    int64_t l[3];
    uint8_t b[3];

    for (int i = 0; i < 3; i++) {
        f[i] = (float)((comm->rank + 1) * i);
        d[i] = (comm->rank + 1.0) * i;
        l[i] = (int64_t)(comm->rank + 1) * i << 40;
        b[i] = (uint8_t)((comm->rank + 1) * i);
    }
    REQUIRE_OK(coc_all_reduce(comm, "floats", f, 3, COC_FLOAT));
    REQUIRE_OK(coc_all_reduce(comm, "doubles", d, 3, COC_DOUBLE));
    REQUIRE_OK(coc_all_reduce(comm, "longs", l, 3, COC_INT64));
    REQUIRE_OK(coc_all_reduce(comm, "bytes", b, 3, COC_BYTE));
    for (int i = 0; i < 3; i++)
        CHECK(f[i] == (float)(sum * i) && d[i] == sum * i && l[i] == (int64_t)sum * i << 40 &&
              b[i] == sum * i);
}

static void broadcast_from_each(coc_comm *comm)
{
    for (int root = 0; root < comm->size; root++) {
        double values[20];

        for (int i = 0; i < 20; i++)
            values[i] = comm->rank == root ? root * 100 + i : -1;
        REQUIRE_OK(coc_broadcast(comm, "broadcast", values, 20, COC_DOUBLE, root));
        for (int i = 0; i < 20; i++)
            CHECK(values[i] == root * 100 + i);
    }
}

/* What a rank has after each of so many steps is that of the rank so far before it. */
static void rotate_around(coc_comm *comm)
{
    int64_t counts[MOST], now[MOST];
    float slab[2][8];

    uneven(counts, comm->size);
    for (int64_t i = 0; i < 8; i++)
        slab[0][i] = (float)(100 * comm->rank + i);
    for (int step = 0; step < comm->size; step++) {
        float *held = slab[step % 2], *brought = slab[1 - step % 2];
        const int owner = (comm->rank - step - 1 + 2 * comm->size) % comm->size;

        for (int rank = 0; rank < comm->size; rank++)
            now[rank] = counts[(rank - step + comm->size) % comm->size];
        for (int i = 0; i < 8; i++)
            brought[i] = -1;
        REQUIRE_OK(coc_rotate(comm, "rotate", held, brought, now, COC_FLOAT));
        for (int64_t i = 0; i < counts[owner]; i++)
            CHECK(brought[i] == (float)(100 * owner + i));
        CHECK(brought[counts[owner]] == -1);
    }
}

static void every_collective(coc_comm *comm)
{
    gather_uneven(comm);
    scatter_uneven(comm);
    reduce_types(comm);
    broadcast_from_each(comm);
    rotate_around(comm);
}

static void collectives_are_exact_with_uneven_and_zero_counts(void)
{
    /* Each rank's values arrive in rank order and nothing is written behind them; sums of small
     * integers are exact, of every type. */
    every_collective(world);
}

static void what_does_not_fit_is_moved_in_pieces(void)
{
    /* The same results when one MPI call may move two elements only, which is how counts beyond
     * int travel. */
    coc_mpi_set_piece(2);
    every_collective(world);
    coc_mpi_set_piece(INT64_C(1) << 30);
}

static void counts_may_all_be_zero(void)
{
    /* Nothing to move is no error, with NULL for buffers. */
    int64_t counts[MOST] = {0};

    REQUIRE_OK(coc_all_gather(world, "nothing", NULL, NULL, counts, COC_FLOAT));
    REQUIRE_OK(coc_reduce_scatter(world, "nothing", NULL, NULL, counts, COC_FLOAT));
    REQUIRE_OK(coc_all_reduce(world, "nothing", NULL, 0, COC_FLOAT));
    REQUIRE_OK(coc_broadcast(world, "nothing", NULL, 0, COC_FLOAT, 0));
    REQUIRE_OK(coc_rotate(world, "nothing", NULL, NULL, counts, COC_FLOAT));
}

static void gather_works_in_place(void)
{
    /* A rank whose part already stands at its place in recv passes that place as send. */
    int64_t counts[MOST], first;
    int32_t all[5 * MOST];

    uneven(counts, world->size);
    first = begin_of(counts, world->rank);
    for (int64_t i = 0; i < counts[world->rank]; i++)
        all[first + i] = (int32_t)(10 * world->rank + i);
    REQUIRE_OK(coc_all_gather(world, "in place", all + first, all, counts, COC_INT32));
    for (int rank = 0, at = 0; rank < world->size; rank++)
        for (int64_t i = 0; i < counts[rank]; i++)
            CHECK(all[at++] == 10 * rank + i);
}

static void several_collectives_are_in_flight(void)
{
    /* Eight buckets of different sizes, with a gather and a scatter between them, started before
     * any is waited for and waited for in another order, all arrive whole. */
    enum { BUCKETS = 8, LARGEST = 40000 };
    const int sum = world->size * (world->size + 1) / 2;
    coc_request *requests[BUCKETS], *gathered, *scattered;
    int64_t counts[MOST];
    float *buckets = malloc(BUCKETS * LARGEST * sizeof *buckets), part = 0, all[MOST], ones[MOST];

    REQUIRE(buckets != NULL);
    for (int rank = 0; rank < world->size; rank++) {
        counts[rank] = 1;
        ones[rank] = (float)(rank + 1);
    }
    for (int i = 0; i < BUCKETS * LARGEST; i++)
        buckets[i] = (float)((world->rank + 1) * (i % 100));
    for (int b = 0; b < BUCKETS; b++) {
        REQUIRE_OK(world->ops->start_all_reduce(world, "bucket", buckets + b * LARGEST,
                                                LARGEST >> b, COC_FLOAT, NULL, &requests[b]));
        if (b == 3)
            REQUIRE_OK(world->ops->start_all_gather(world, "ones", &ones[world->rank], all, counts,
                                                    COC_FLOAT, NULL, &gathered));
        if (b == 5)
            REQUIRE_OK(world->ops->start_reduce_scatter(world, "parts", ones, &part, counts,
                                                        COC_FLOAT, NULL, &scattered));
    }
    REQUIRE_OK(world->ops->wait(world, &scattered));
    for (int b = BUCKETS - 1; b >= 0; b--)
        REQUIRE_OK(world->ops->wait(world, &requests[b]));
    REQUIRE_OK(world->ops->wait(world, &gathered));
    CHECK(requests[0] == NULL && gathered == NULL);
    CHECK(part == (float)(world->size * (world->rank + 1)));
    for (int rank = 0; rank < world->size; rank++)
        CHECK(all[rank] == (float)(rank + 1));
    for (int b = 0; b < BUCKETS; b++)
        for (int i = 0; i < LARGEST >> b; i += 7)
            CHECK(buckets[b * LARGEST + i] == (float)(sum * ((b * LARGEST + i) % 100)));
    free(buckets);
}

static void rotations_are_in_flight_beside_others(void)
{
    /* A large rotation, of other counts on every rank and so on both sides of what counts as large,
     * and a small one after it, both started before a sum is, arrive whole, in whatever order they
     * are waited for; what is sent may be read meanwhile. */
    enum { LARGE = 8 << 10 }; /* 32 KiB */
    const int previous = (world->rank + world->size - 1) % world->size;
    int64_t counts[MOST], ones[MOST];
    float *sent = malloc((LARGE + MOST) * sizeof *sent), *brought = calloc(LARGE + MOST, 4);
    float mine = (float)world->rank, other = -1;
    coc_request *large, *small;
    int32_t sum = 1;

    REQUIRE(sent != NULL && brought != NULL);
    for (int rank = 0; rank < world->size; rank++) {
        counts[rank] = LARGE - 2 + 2 * rank;
        ones[rank] = 1;
    }
    for (int i = 0; i < LARGE + MOST; i++)
        sent[i] = (float)(world->rank + i % 1000);
    REQUIRE_OK(
        world->ops->start_rotate(world, "large", sent, brought, counts, COC_FLOAT, NULL, &large));
    REQUIRE_OK(
        world->ops->start_rotate(world, "small", &mine, &other, ones, COC_FLOAT, NULL, &small));
    REQUIRE_OK(coc_all_reduce(world, "sum", &sum, 1, COC_INT32));
    CHECK(sent[7] == (float)(world->rank + 7));
    REQUIRE_OK(world->ops->wait(world, &small));
    REQUIRE_OK(world->ops->wait(world, &large));
    CHECK(large == NULL && small == NULL);
    CHECK(sum == world->size && other == (float)previous);
    for (int64_t i = 0; i < counts[previous]; i++)
        CHECK(brought[i] == (float)(previous + i % 1000));
    CHECK(brought[counts[previous]] == 0);
    free(sent);
    free(brought);
}

static void subgroups_work_beside_the_world(void)
{
    /* Groups of two ranks and the rest, and one inside another, have their own order and sums, and
     * the world goes on beside them. */
    const int first = world->rank / 2 * 2;
    const int last = first + 1 < world->size ? first + 1 : world->size - 1;
    coc_comm *pair = NULL, *alone = NULL;

    REQUIRE_OK(world->ops->subgroup(world, first, last, &pair));
    CHECK(pair->size == last - first + 1 && pair->rank == world->rank - first);
    CHECK(pair->local_rank == world->local_rank && strcmp(pair->host, world->host) == 0);
    every_collective(pair);
    every_collective(world);
    REQUIRE_OK(pair->ops->subgroup(pair, pair->rank, pair->rank, &alone));
    CHECK(alone->size == 1);
    every_collective(alone);
    coc_comm_destroy(&alone);
    coc_comm_destroy(&pair);
    CHECK(pair == NULL);
}

static void sums_do_not_depend_on_who_comes_first(void)
{
    /* Floats that do not add up exactly give the same bits in every run, also when ranks come late:
     * they are added over the tree, which is that of the sum of all ranks too. */
    int64_t counts[MOST];
    float all[MOST], tree[MOST], part = 0;
    int half = 1;

    for (int rank = 0; rank < world->size; rank++) {
        counts[rank] = 1;
        all[rank] = 1.0f / (float)(3 + world->rank);
        tree[rank] = 1.0f / (float)(3 + rank);
    }
    while (2 * half < world->size)
        half *= 2;
    for (int size = world->size; half > 0; size = half, half /= 2)
        for (int rank = 0; rank + half < size; rank++)
            tree[rank] += tree[rank + half];
    for (int late = 0; late < world->size; late++) {
        if (late == world->rank) coc_sleep_seconds(0.01);
        REQUIRE_OK(coc_reduce_scatter(world, "late", all, &part, counts, COC_FLOAT));
        CHECK(part == tree[0]);
    }
    for (int64_t count = 1; count < world->size + 2; count++) { /* some ranks may have no slab */
        float sum[MOST + 2];

        for (int64_t i = 0; i < count; i++)
            sum[i] = all[0];
        REQUIRE_OK(
            coc_sum_over_ranks(world, COC_REDUCTION_FIXED_TREE, "tree", sum, count, COC_FLOAT));
        for (int64_t i = 0; i < count; i++)
            CHECK(sum[i] == tree[0]);
    }
}

/* One reduce-scatter of so many values a rank, started. */
static void start_scatter(coc_comm *comm, int64_t values, float *all, float *part,
                          coc_request **request)
{
    int64_t counts[MOST];

    for (int rank = 0; rank < comm->size; rank++)
        counts[rank] = values;
    for (int64_t i = 0; i < comm->size * values; i++)
        all[i] = (float)(comm->rank + 1);
    REQUIRE_OK(comm->ops->start_reduce_scatter(comm, "slabs", all, part, counts, COC_FLOAT, NULL,
                                               request));
}

static void sums_share_their_memory(void)
{
    /* Reduce-scatters of any sizes, between other collectives in any order, keep the slabs of the
     * largest one, as often as were under way at a time; one rank needs none. */
    enum { LARGE = 50000, SMALL = 1000, OTHERS = 3, ROUNDS = 12 };
    const int64_t one_set = coc_reduce_scatter_bytes(world->size, LARGE, COC_FLOAT);
    const float sum = (float)(world->size * (world->size + 1) / 2);
    float *all = malloc((size_t)(2 * world->size * LARGE) * sizeof *all), other[OTHERS] = {0};
    float *part = malloc(2 * LARGE * sizeof *part);
    coc_comm *comm = NULL; /* a new one, which holds nothing */
    coc_request *scatter[2], *reduce[OTHERS];

    REQUIRE(all != NULL && part != NULL);
    REQUIRE_OK(world->ops->subgroup(world, 0, world->size - 1, &comm));
    for (int round = 0; round < ROUNDS; round++) {
        const int64_t values = round % 3 == 1 ? SMALL : LARGE;

        for (int i = 0; i < round % (OTHERS + 1); i++)
            REQUIRE_OK(comm->ops->start_all_reduce(comm, "other", &other[i], 1, COC_FLOAT, NULL,
                                                   &reduce[i]));
        start_scatter(comm, values, all, part, &scatter[0]);
        if (round % 2 == 0) REQUIRE_OK(comm->ops->wait(comm, &scatter[0]));
        for (int i = 0; i < round % (OTHERS + 1); i++)
            REQUIRE_OK(comm->ops->wait(comm, &reduce[i]));
        REQUIRE_OK(comm->ops->wait(comm, &scatter[0]));
        CHECK(part[0] == sum && part[values - 1] == sum);
        CHECK(coc_mpi_idle_slab_bytes(comm->impl) == one_set);
    }
    for (int round = 0; round < ROUNDS; round++) {
        const int64_t first = round % 2 == 0 ? SMALL : LARGE;

        start_scatter(comm, first, all, part, &scatter[0]);
        start_scatter(comm, LARGE, all + world->size * LARGE, part + LARGE, &scatter[1]);
        REQUIRE_OK(comm->ops->wait(comm, &scatter[round / 2 % 2]));
        REQUIRE_OK(comm->ops->wait(comm, &scatter[1 - round / 2 % 2]));
        CHECK(part[first - 1] == sum && part[2 * LARGE - 1] == sum);
        CHECK(coc_mpi_idle_slab_bytes(comm->impl) <= 2 * one_set);
    }
    CHECK(coc_mpi_idle_slab_bytes(comm->impl) == 2 * one_set);
    coc_comm_destroy(&comm);
    free(all);
    free(part);
}

static void agreement_keeps_one_message(void)
{
    /* When the last two ranks fail, everybody fails; the lower of them keeps its status and text,
     * signed with rank and host where there are several, and the others hear of it only. */
    const int lowest = world->size > 1 ? world->size - 2 : 0;
    const bool fails = world->rank >= lowest;
    const coc_status mine =
        fails ? COC_FAIL(COC_ERR_INPUT, "x.h5: cut at byte %d", world->rank) : COC_OK;
    const coc_status status = coc_comm_agree(world, "opening", mine);
    char want[128];

    snprintf(want, sizeof want, "rank %d on %s: x.h5: cut at byte %d", world->rank, world->host,
             world->rank);
    if (world->rank != lowest)
        CHECK(status == COC_ERR_ELSEWHERE);
    else
        CHECK(status == COC_ERR_INPUT &&
              strcmp(coc_error_text(), world->size > 1 ? want : strstr(want, "x.h5")) == 0);
    REQUIRE_OK(coc_comm_agree(world, "nothing", COC_OK));
}

static void agreement_passes_over_those_who_were_told(void)
{
    /* A failure of its own is kept before one that was heard of elsewhere, though that rank is
     * lower. */
    const int owner = world->size - 1;
    coc_status status = COC_ERR_ELSEWHERE;

    if (world->rank == owner) status = COC_FAIL(COC_ERR_IO, "disk is full");
    status = coc_comm_agree(world, "writing", status);
    CHECK(status == (world->rank == owner ? COC_ERR_IO : COC_ERR_ELSEWHERE));
}

static void a_flag_on_one_rank_is_seen_by_all(void)
{
    /* False when nobody sets it; true on all when any one does. */
    bool any = true;

    REQUIRE_OK(coc_comm_any(world, "flag", false, &any));
    CHECK(!any);
    for (int who = 0; who < world->size; who++) {
        REQUIRE_OK(coc_comm_any(world, "flag", who == world->rank, &any));
        CHECK(any);
    }
}

static void a_part_at_a_wrong_place_is_found(void)
{
    /* Hashes of parts that stand right are accepted. Two parts that changed places are refused by
     * all ranks, which name place and owner, and so is a part that is nobody's. */
    uint64_t found[MOST];

    for (int rank = 0; rank < world->size; rank++)
        found[rank] = 1000 + (uint64_t)rank;
    REQUIRE_OK(coc_check_slabs(world, "parts", 1000 + (uint64_t)world->rank, found));
    found[world->size - 1] = 77;
    CHECK(coc_check_slabs(world, "parts", 1000 + (uint64_t)world->rank, found) == COC_ERR_RANKS);
    CHECK(strstr(coc_error_text(), "did not come as it was sent") != NULL);
    if (world->size < 2) return;
    found[world->size - 1] = 1000;
    found[0] = 999 + (uint64_t)world->size;
    CHECK(coc_check_slabs(world, "parts", 1000 + (uint64_t)world->rank, found) == COC_ERR_RANKS);
    CHECK(strstr(coc_error_text(), "at the place of rank 0 stands the part of rank") != NULL);
}

static void flags_and_agreement_need_no_host_side(void)
{
    /* A communicator that moves device memory only has no entry that takes host words: barrier,
     * flag and agreement go over its control communicator, and carry its step and deadline there.
     */
    static const coc_comm_ops device_only = {.name = "device", .side = COC_ACCELERATOR};
    coc_comm device = *world;
    uint64_t found[64];
    bool any = false;

    for (int rank = 0; rank < world->size; rank++)
        found[rank] = 5;
    device.ops = &device_only;
    device.step = 7;
    REQUIRE_OK(coc_barrier(&device, "barrier"));
    CHECK(world->step == 7);
    REQUIRE_OK(coc_comm_any(&device, "flag", world->rank == world->size - 1, &any));
    CHECK(any);
    REQUIRE_OK(coc_check_slabs(&device, "parts", 5, found));
    REQUIRE_OK(coc_comm_agree(&device, "opening", COC_OK));
    CHECK(coc_comm_agree(&device, "opening", COC_FAIL(COC_ERR_IO, "disk is full")) ==
          (world->rank == 0 ? COC_ERR_IO : COC_ERR_ELSEWHERE));
    world->step = 0;
}

static void progress_is_counted(void)
{
    /* The watchdog's progress word counts collectives started, not finished. */
    const coc_where_count *count = &((const coc_mpi_comm *)world->impl)->count;
    const uint64_t before = count->started;
    coc_request *request;
    int32_t one = 1;

    REQUIRE_OK(world->ops->start_all_reduce(world, "one", &one, 1, COC_INT32, NULL, &request));
    CHECK(count->started == before + 1);
    REQUIRE_OK(world->ops->wait(world, &request));
    REQUIRE_OK(coc_barrier(world, "barrier"));
    CHECK(count->started == before + 2);
}

int main(void)
{
    const coc_comm_settings settings = {.backend = "mpi", .deadline = 60};
    const coc_status status = coc_comm_start(&settings, &world);
    int result;

    if (status != COC_OK) coc_comm_abort(status);
    RUN(collectives_are_exact_with_uneven_and_zero_counts);
    RUN(what_does_not_fit_is_moved_in_pieces);
    RUN(counts_may_all_be_zero);
    RUN(gather_works_in_place);
    RUN(several_collectives_are_in_flight);
    RUN(rotations_are_in_flight_beside_others);
    RUN(subgroups_work_beside_the_world);
    RUN(sums_do_not_depend_on_who_comes_first);
    RUN(sums_share_their_memory);
    RUN(agreement_keeps_one_message);
    RUN(agreement_passes_over_those_who_were_told);
    RUN(a_flag_on_one_rank_is_seen_by_all);
    RUN(a_part_at_a_wrong_place_is_found);
    RUN(flags_and_agreement_need_no_host_side);
    RUN(progress_is_counted);
    coc_comm_destroy(&world);
    result = coc_test_result();
    coc_comm_finish();
    return result;
}
