/* Which pieces of the gradient are summed when, on a communicator that only notes what it is given.
 */
#include <string.h>

#include "tests/test.h"
#include "train/buckets.h"

enum { WEIGHTS = 1000, MOST = 2 * COC_MAX_BUCKETS };

static float grad[WEIGHTS];
static struct {
    int64_t first, count;
    int64_t at; /* how far backward had come */
} started[MOST];
static int starts, waits, failing; /* the start that fails; -1: none */
static int64_t ready;

static coc_status note_start(coc_comm *comm, const char *what, void *buffer, int64_t count,
                             coc_type type, coc_stream *stream, coc_request **request)
{
    (void)comm, (void)what, (void)stream;
    CHECK(type == COC_FLOAT && starts < MOST);
    if (starts == failing) return COC_FAIL(COC_ERR_MEMORY, "no memory for the sum");
    started[starts].first = (float *)buffer - grad;
    started[starts].count = count;
    started[starts].at = ready;
    *request = (coc_request *)&started[starts];
    starts++;
    return COC_OK;
}

/* Fails for the second one, and goes on with the others. */
static coc_status note_wait(coc_comm *comm, coc_request **request)
{
    (void)comm;
    CHECK(*request == (coc_request *)&started[waits]);
    *request = NULL;
    return ++waits == 2 ? COC_FAIL(COC_ERR_RANKS, "the second") : COC_OK;
}

static const coc_comm_ops ops = {.start_all_reduce = note_start, .wait = note_wait};
static coc_comm comm = {.ops = &ops, .size = 2};

/* Backward that finishes `step` weights at a time. */
static coc_status go_back(coc_buckets *b, int64_t step)
{
    for (ready = WEIGHTS - step; ready > 0; ready -= step)
        COC_TRY(coc_buckets_ready(b, ready));
    ready = 0;
    return coc_buckets_ready(b, 0);
}

static coc_buckets begin(int64_t least)
{
    starts = waits = 0;
    failing = -1;
    memset(started, 0, sizeof started);
    return coc_buckets_begin(&comm, COC_REDUCTION_FAST, grad, WEIGHTS, least);
}

/* From the end on, without gap or overlap, each as soon as it has `least` weights. */
static void pieces_cover_the_gradient(void)
{
    coc_buckets b = begin(100);
    int64_t end = WEIGHTS;

    REQUIRE_OK(go_back(&b, 30));
    CHECK(starts == 9); /* eight of 120, and 40 */
    for (int i = 0; i < starts; i++) {
        CHECK(started[i].first + started[i].count == end);
        CHECK(started[i].at == started[i].first);
        CHECK(started[i].count >= 100 || i == starts - 1);
        end = started[i].first;
    }
    CHECK(end == 0 && b.unsent == 0);
}

/* However small the pieces, there are no more than there is room for; the last takes the rest. */
static void there_is_an_end_of_pieces(void)
{
    coc_buckets b = begin(1);

    REQUIRE_OK(go_back(&b, 1));
    CHECK(starts == COC_MAX_BUCKETS);
    CHECK(started[starts - 1].first == 0);
    CHECK(started[starts - 1].count == WEIGHTS - (COC_MAX_BUCKETS - 1));
}

/* What is finished already is not sent again, and one process sends nothing. */
static void nothing_is_sent_twice(void)
{
    coc_buckets b = begin(100);

    REQUIRE_OK(go_back(&b, 500));
    REQUIRE_OK(coc_buckets_ready(&b, 0));
    CHECK(starts == 2);
    comm.size = 1;
    b = begin(100);
    REQUIRE_OK(go_back(&b, 30));
    CHECK(starts == 0);
    comm.size = 2;
}

/* A start that fails is told; what is on its way is waited for all the same, in order. */
static void failures_leave_nothing_behind(void)
{
    coc_buckets b = begin(100);

    failing = 3;
    CHECK(go_back(&b, 100) == COC_ERR_MEMORY);
    CHECK(b.count == 3);
    CHECK(coc_buckets_wait(&b) == COC_ERR_RANKS);
    CHECK(waits == 3);
    for (int i = 0; i < b.count; i++)
        CHECK(b.request[i] == NULL);
}

int main(void)
{
    RUN(pieces_cover_the_gradient);
    RUN(there_is_an_end_of_pieces);
    RUN(nothing_is_sent_twice);
    RUN(failures_leave_nothing_behind);
    return coc_test_result();
}
