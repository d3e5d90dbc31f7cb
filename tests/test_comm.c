/* What of comm/ needs no launcher: shares, one process alone, signals, the side channel. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "comm/parts.h"
#include "comm/side.h"
#include "comm/where.h"
#include "tests/test.h"

static void shares_cover_everything_once(void)
{
    /* Shares follow each other without gap, larger ones first, and differ by one at most; for fewer
     * things than ranks the last ones are empty. */
    for (int size = 1; size <= 9; size++) {
        for (int64_t n = 0; n <= 40; n++) {
            int64_t counts[9], next = 0;

            coc_shares(n, size, counts);
            for (int rank = 0; rank < size; rank++) {
                int64_t first;

                CHECK(coc_share(n, size, rank, &first) == counts[rank]);
                CHECK(first == next);
                CHECK(counts[rank] == n / size || counts[rank] == n / size + 1);
                CHECK(rank == 0 || counts[rank] <= counts[rank - 1]);
                next += counts[rank];
            }
            CHECK(next == n);
        }
    }
}

static void shares_of_many_things_do_not_overflow(void)
{
    /* 2^50 things over 1000 ranks. */
    const int64_t n = INT64_C(1) << 50;
    int64_t first;

    CHECK(coc_share(n, 1000, 999, &first) + first == n);
}

/* Every pair of a batch lies in one row of one rank; rows of a rank follow each other part by part,
 * and a part with fewer pairs than ranks is refused. */
static void parts_cover_the_batch_once(void)
{
    for (int64_t size = 1; size <= 20; size++) {
        int owner[20] = {0};

        for (int rank = 0; rank < 3; rank++) {
            const coc_comm comm = {.rank = rank, .size = 3};
            coc_parts parts;
            int64_t row = 0;

            if (size < 3 || (20 % size != 0 && 20 % size < 3)) {
                CHECK(coc_parts_make(&comm, 20, size, &parts) == COC_ERR_SETTING);
                continue;
            }
            REQUIRE_OK(coc_parts_make(&comm, 20, size, &parts));
            for (int64_t i = 0; i < parts.count; i++) {
                const coc_batch_part part = coc_part_at(&parts, i);

                CHECK(part.begin == i * size && part.row == row);
                CHECK(part.first >= part.begin && part.pairs <= parts.most);
                CHECK(part.first + part.pairs <= part.begin + part.size);
                for (int64_t pair = part.first; pair < part.first + part.pairs; pair++)
                    owner[pair]++;
                row += part.pairs;
            }
            CHECK(row == parts.rows);
        }
        for (int pair = 0; pair < 20; pair++)
            CHECK(owner[pair] == (size < 3 || (20 % size != 0 && 20 % size < 3) ? 0 : 1));
    }
}

/* Leaves: every pair in one row of one rank, leaf j on rank j % ranks whole, and what is gathered
 * of a part in the order of the pairs, for every number of ranks that divides them. */
static void leaves_cover_the_batch_once(void)
{
    enum { LEAVES = 8, LEAF = 3, BATCH = LEAVES * LEAF };

    for (int size = 1; size <= LEAVES; size *= 2) {
        int owner[BATCH] = {0};

        for (int rank = 0; rank < size; rank++) {
            const coc_comm comm = {.rank = rank, .size = size};
            coc_parts parts;

            REQUIRE_OK(coc_parts_make_leaves(&comm, BATCH, LEAF, &parts));
            CHECK(parts.leaves && parts.count == LEAVES / size && parts.most == LEAF);
            CHECK(parts.rows == BATCH / size && parts.size == LEAF * size);
            for (int64_t i = 0; i < parts.count; i++) {
                const coc_batch_part part = coc_part_at(&parts, i);

                CHECK(part.pairs == LEAF && part.row == i * LEAF && part.first % LEAF == 0);
                CHECK(part.first / LEAF % size == rank);
                CHECK(part.first == part.begin + rank * LEAF && part.begin % parts.size == 0);
                for (int64_t pair = part.first; pair < part.first + part.pairs; pair++)
                    owner[pair]++;
            }
        }
        for (int pair = 0; pair < BATCH; pair++)
            CHECK(owner[pair] == 1);
    }
}

static void a_process_alone_has_every_collective(void)
{
    /* Gather and scatter copy, sums and broadcasts leave the value, and a failure agreed on with
     * oneself keeps its status and text as they are. */
    const int64_t count = 3;
    const int32_t mine[3] = {1, 2, 3};
    int32_t all[3] = {0}, part[3] = {0}, sum[3] = {4, 5, 6};
    coc_comm *self = NULL, *sub = NULL;
    bool any = false;

    REQUIRE_OK(coc_comm_self(&self));
    CHECK(self->rank == 0 && self->size == 1 && self->local_size == 1 && self->host[0] != '\0');
    REQUIRE_OK(coc_all_gather(self, "gather", mine, all, &count, COC_INT32));
    REQUIRE_OK(coc_reduce_scatter(self, "scatter", mine, part, &count, COC_INT32));
    REQUIRE_OK(coc_all_reduce(self, "sum", sum, 3, COC_INT32));
    REQUIRE_OK(coc_broadcast(self, "broadcast", sum, 3, COC_INT32, 0));
    CHECK(memcmp(all, mine, sizeof all) == 0 && memcmp(part, mine, sizeof part) == 0);
    CHECK(sum[0] == 4 && sum[2] == 6);
    REQUIRE_OK(coc_comm_any(self, "flag", true, &any));
    CHECK(any);
    REQUIRE_OK(self->ops->subgroup(self, 0, 0, &sub));
    CHECK(sub->size == 1);
    CHECK(coc_comm_agree(self, "opening", COC_FAIL(COC_ERR_IO, "x: missing")) == COC_ERR_IO);
    CHECK(strcmp(coc_error_text(), "x: missing") == 0);
    CHECK(!coc_comm_is_parallel());
    coc_comm_destroy(&sub);
    coc_comm_destroy(&self);
    coc_comm_destroy(&self);
    CHECK(self == NULL);
}

static void every_stop_signal_sets_the_flag(void)
{
    /* The flag is down at first; each of the signals raises it and the process goes on. */
    coc_stop_install();
    CHECK(!coc_stop_requested());
    raise(SIGUSR1);
    CHECK(coc_stop_requested());
    raise(SIGTERM);
    raise(SIGINT);
    CHECK(coc_stop_requested());
}

static void where_counts_by_communicator(void)
{
    /* The count is that of the communicator asked about, 0 for one that this rank is not in; step
     * and name are those of the last start on any. */
    coc_where_count a = {.id = 7}, b = {.id = 8};
    coc_where where;

    coc_where_add(&a);
    coc_where_add(&b);
    coc_where_start(&a, 5, "first");
    coc_where_start(&b, 6, "a name that is longer than what a packet has room for, and is cut");
    coc_where_start(&b, 6, "last");
    coc_where_wait(true);
    coc_where_get(7, &where);
    CHECK(where.started == 1 && where.step == 6 && where.waiting == 1);
    CHECK(strcmp(where.what, "last") == 0 && where.seconds >= 0 && where.seconds < 60);
    coc_where_get(8, &where);
    CHECK(where.started == 2);
    coc_where_remove(&b);
    coc_where_get(8, &where);
    CHECK(where.started == 0);
    coc_where_remove(&a);
}

/* Packets of many lengths and contents that no rank of this job has sent. */
static void tell_where(void *context, coc_where *where)
{
    snprintf(where->device_what, sizeof where->device_what, "%s", (const char *)context);
    where->device_id = 9;
    where->device_number = 5;
    where->device_awaited = 1;
}

static void where_tells_of_the_device(void)
{
    /* What the device has come to stands beside what the host has, for any communicator asked
     * about, as long as somebody tells it. */
    char what[] = "sum of gradients";
    coc_where where;

    coc_where_start(NULL, 6, "stop flag");
    coc_where_ask_device(tell_where, what);
    coc_where_get(7, &where);
    CHECK(strcmp(where.device_what, what) == 0 && where.device_id == 9);
    CHECK(where.device_number == 5 && where.device_awaited == 1);
    CHECK(strcmp(where.what, "stop flag") == 0);
    coc_where_ask_device(NULL, NULL);
    coc_where_get(7, &where);
    CHECK(where.device_what[0] == '\0' && where.device_id == 0 && where.device_awaited == 0);
}

static void send_garbage(uint16_t port)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int s = socket(AF_INET, SOCK_DGRAM, 0);
    unsigned char bytes[512];

    for (size_t n = 0; n <= sizeof bytes; n++) {
        memset(bytes, (int)n, sizeof bytes);
        (void)sendto(s, bytes, n, 0, (const struct sockaddr *)&to, sizeof to);
    }
    close(s);
}

static void the_side_channel_bears_silence_and_garbage(void)
{
    /* Foreign packets neither end nor stop it, and a rank that never answers costs the time given,
     * not for ever. */
    coc_peer peers[2];
    coc_where where[2];
    bool answered[2];
    double begin;

    memset(peers, 0, sizeof peers);
    coc_side_open(&peers[0]);
    snprintf(peers[0].host, sizeof peers[0].host, "here");
    REQUIRE_OK(coc_side_start(peers, 0, 2));
    CHECK(peers[0].port != 0 && coc_side_can_answer(0) && !coc_side_can_answer(1));
    send_garbage(peers[0].port);
    begin = coc_clock_seconds();
    coc_side_ask(1, 0.3, where, answered);
    CHECK(answered[0] && !answered[1]);
    CHECK(coc_clock_seconds() - begin >= 0.3);
    CHECK(coc_side_speaker() == -1);
    coc_side_stop();
    CHECK(coc_side_size() == 0);
}

int main(void)
{
    RUN(shares_cover_everything_once);
    RUN(shares_of_many_things_do_not_overflow);
    RUN(parts_cover_the_batch_once);
    RUN(leaves_cover_the_batch_once);
    RUN(a_process_alone_has_every_collective);
    RUN(every_stop_signal_sets_the_flag);
    RUN(where_counts_by_communicator);
    RUN(where_tells_of_the_device);
    RUN(the_side_channel_bears_silence_and_garbage);
    return coc_test_result();
}
