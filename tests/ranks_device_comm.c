/* Communicators for the memory of a device, moved through the host, on 1 to 4 ranks: over the host
 * itself, and over a device of this test that does everything as late as it may, and whose memory
 * the host cannot touch. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "comm/device_comm.h"
#include "tests/device_collectives.h"
#include "tests/test.h"

static coc_comm *world;

/* ---- a late device
 *
 * Its pointers have a bit set that no address has. What it is given waits in one queue until a
 * stream is waited for. */

static const uintptr_t mine = (uintptr_t)1 << 62;

typedef struct {
    char *to;
    const char *from;
    size_t bytes;
} delayed;

static struct {
    delayed *queue;
    int64_t count, room;
    int64_t waits;
} late;

/* Its address with other bits. */
static void *readdressed(const void *p, uintptr_t kept, uintptr_t added)
{
    uintptr_t address;
    void *q;

    memcpy(&address, &p, sizeof address);
    address = (address & kept) | added;
    memcpy(&q, &address, sizeof q);
    return q;
}

static char *real(const void *p)
{
    return readdressed(p, ~mine, 0);
}

static coc_status late_alloc(const coc_device *device, size_t bytes, void **memory)
{
    char *p = malloc(bytes + 1);

    (void)device;
    if (p == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory");
    memset(p, 0xff, bytes);
    *memory = readdressed(p, UINTPTR_MAX, mine);
    return COC_OK;
}

static bool is_awaited(const char *p, const char *end)
{
    for (int64_t i = 0; i < late.count; i++)
        if ((late.queue[i].to >= p && late.queue[i].to < end) ||
            (late.queue[i].from >= p && late.queue[i].from < end))
            return true;
    return false;
}

static void late_release(const coc_device *device, void *memory)
{
    (void)device;
    free(real(memory));
}

/* With its length in front, so that what is released too early is found. */
static coc_status late_alloc_host(const coc_device *device, size_t bytes, void **memory)
{
    char *p = malloc(bytes + 64);

    (void)device;
    if (p == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory");
    memset(p, 0xff, bytes + 64);
    memcpy(p, &bytes, sizeof bytes);
    *memory = p + 64;
    return COC_OK;
}

static void late_release_host(const coc_device *device, void *memory)
{
    size_t bytes;

    (void)device;
    if (memory == NULL) return;
    memcpy(&bytes, (char *)memory - 64, sizeof bytes);
    CHECK(!is_awaited(memory, (char *)memory + bytes));
    free((char *)memory - 64);
}

static coc_status late_copy(const coc_device *device, void *to, const void *from, size_t bytes,
                            coc_stream *stream)
{
    (void)device, (void)stream;
    COC_TRY(coc_grow(&late.queue, &late.room, late.count + 1, sizeof *late.queue));
    late.queue[late.count++] = (delayed){real(to), real(from), bytes};
    return COC_OK;
}

static coc_status late_wait(const coc_device *device, coc_stream *stream)
{
    (void)device, (void)stream;
    for (int64_t i = 0; i < late.count; i++)
        memmove(late.queue[i].to, late.queue[i].from, late.queue[i].bytes);
    late.count = 0;
    late.waits++;
    return COC_OK;
}

static coc_status late_order(const coc_device *device, coc_stream *stream, coc_stream *first)
{
    (void)device, (void)stream, (void)first;
    return COC_OK;
}

static const coc_device late_device = {.name = "late",
                                       .side = COC_ACCELERATOR,
                                       .alloc = late_alloc,
                                       .release = late_release,
                                       .copy = late_copy,
                                       .wait = late_wait,
                                       .alloc_host = late_alloc_host,
                                       .release_host = late_release_host,
                                       .order = late_order};

/* ---- tests */

static void everything_on(const coc_device *device)
{
    coc_comm *comm = NULL;

    REQUIRE_OK(coc_comm_staged(world, device, &comm));
    CHECK(comm->ops->side == device->side && comm->control == world);
    CHECK(comm->rank == world->rank && comm->size == world->size);
    CHECK(comm->ops->on_stream == (world->size == 1));
    coc_test_collectives(comm, device);
    coc_test_collectives_in_order(comm, device, NULL);
    coc_test_collectives_of_groups(comm, device);
    coc_comm_destroy(&comm);
    CHECK(comm == NULL);
}

static void collectives_of_the_hosts_memory(void)
{
    /* The host is a device like others. */
    everything_on(coc_device_host());
}

static void collectives_of_a_late_device(void)
{
    /* Nothing depends on the device doing its work before it is waited for, its memory is touched
     * by itself only, and buffers on the host stay until it has read them. */
    everything_on(&late_device);
}

static void streams_have_their_own_buffers(void)
{
    /* Work on two streams that nobody orders, with buffers that are used again. */
    coc_stream *const streams[] = {NULL, (coc_stream *)(void *)64, NULL, (coc_stream *)(void *)64};
    coc_comm *comm = NULL;

    REQUIRE_OK(coc_comm_staged(world, &late_device, &comm));
    for (int i = 0; i < 4; i++)
        coc_test_collectives_in_order(comm, &late_device, streams[i]);
    coc_comm_destroy(&comm);
}

static void who_sends_nothing_waits_for_the_device_too(void)
{
    /* Two gathers through the same buffer on the host, in which rank 0 alone has something: what
     * the first one brings has been read there before the second one overwrites it. */
    int64_t counts[64] = {2};
    void *sent[2], *brought[2];
    coc_comm *comm = NULL;

    REQUIRE(world->size <= 64);
    REQUIRE_OK(coc_comm_staged(world, &late_device, &comm));
    for (int i = 0; i < 2; i++) {
        const float values[2] = {(float)(2 * i + 1), (float)(2 * i + 2)};

        REQUIRE_OK(late_alloc(&late_device, sizeof values, &sent[i]));
        REQUIRE_OK(late_alloc(&late_device, sizeof values, &brought[i]));
        memcpy(real(sent[i]), values, sizeof values);
    }
    for (int i = 0; i < 2; i++)
        REQUIRE_OK(coc_all_gather(comm, "gather", sent[i], brought[i], counts, COC_FLOAT));
    REQUIRE_OK(coc_comm_wait_device(comm, &late_device, NULL));
    for (int i = 0; i < 2; i++) {
        CHECK(memcmp(real(brought[i]), real(sent[i]), 2 * sizeof(float)) == 0);
        late_release(&late_device, sent[i]);
        late_release(&late_device, brought[i]);
    }
    coc_comm_destroy(&comm);
}

static void a_rank_alone_waits_for_nothing(void)
{
    /* With one rank a collective is a copy in stream order, so that it can be recorded. */
    const int64_t count = 2;
    float send[2] = {1, 2}, recv[2] = {0, 0};
    coc_comm *comm = NULL, *self = NULL;
    const int64_t waits = late.waits;

    REQUIRE_OK(coc_comm_self(&self));
    REQUIRE_OK(coc_comm_staged(self, &late_device, &comm));
    CHECK(comm->ops->on_stream);
    REQUIRE_OK(coc_all_gather(comm, "gather", send, recv, &count, COC_FLOAT));
    REQUIRE_OK(coc_all_reduce(comm, "sum", recv, 2, COC_FLOAT));
    CHECK(late.waits == waits && recv[1] == 0);
    REQUIRE_OK(coc_comm_wait_device(comm, &late_device, NULL));
    CHECK(recv[0] == 1 && recv[1] == 2);
    coc_comm_destroy(&comm);
    coc_comm_destroy(&self);
}

static void the_step_of_the_outermost_is_told(void)
{
    /* The loop sets the step on the communicator that it uses; messages of the host's one below it
     * and of groups carry it. */
    coc_comm *comm = NULL, *group = NULL;
    double *one = NULL;

    REQUIRE_OK(coc_comm_staged(world, &late_device, &comm));
    REQUIRE_OK(comm->ops->subgroup(comm, 0, world->size - 1, &group));
    REQUIRE_OK(coc_device_alloc(&late_device, 1, sizeof *one, &one));
    comm->step = 17;
    REQUIRE_OK(coc_all_reduce(comm, "sum", one, 1, COC_DOUBLE));
    CHECK(world->size == 1 || world->step == 17);
    comm->step = 18;
    REQUIRE_OK(coc_all_reduce(group, "sum", one, 1, COC_DOUBLE));
    CHECK(world->size == 1 || world->step == 18);
    REQUIRE_OK(late_wait(&late_device, NULL));
    late_release(&late_device, one);
    coc_comm_destroy(&group);
    coc_comm_destroy(&comm);
    world->step = 0;
}

static void the_setting_chooses(void)
{
    /* The host's own communicator for the host, the staged one for a device where MPI is asked for,
     * or where devices are shared and nothing is said. */
    coc_comm_settings settings = {.backend = "nccl", .deadline = 60};
    coc_comm *comm = NULL;

    REQUIRE_OK(coc_comm_for_device(world, coc_device_host(), &settings, &comm));
    CHECK(comm == world);
    for (int i = 0; i < 2; i++) {
        settings.share_gpu = i == 1;
        strcpy(settings.backend, i == 0 ? "mpi" : "auto");
        REQUIRE_OK(coc_comm_for_device(world, &late_device, &settings, &comm));
        CHECK(strcmp(comm->ops->name, world->size > 1 ? "staged" : "alone") == 0);
        coc_comm_destroy(&comm);
    }
}

int main(void)
{
    const coc_comm_settings settings = {.backend = "mpi", .deadline = 60};
    const coc_status status = coc_comm_start(&settings, &world);
    int result;

    if (status != COC_OK) coc_comm_abort(status);
    RUN(collectives_of_the_hosts_memory);
    RUN(collectives_of_a_late_device);
    RUN(streams_have_their_own_buffers);
    RUN(who_sends_nothing_waits_for_the_device_too);
    RUN(a_rank_alone_waits_for_nothing);
    RUN(the_step_of_the_outermost_is_told);
    RUN(the_setting_chooses);
    free(late.queue);
    coc_comm_destroy(&world);
    result = coc_test_result();
    coc_comm_finish();
    return result;
}
