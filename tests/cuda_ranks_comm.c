/* Communicators for the memory of GPUs on several ranks: NCCL, and through the host. With fewer
 * GPUs than ranks they are shared; emulated there is one a rank. */
#include <stdlib.h>
#include <string.h>

#include "base/cuda/device.h"
#include "comm/device_comm.h"
#include "tests/device_collectives.h"
#include "tests/on_device.h"
#include "tests/test.h"

static coc_comm *world;
static const coc_device *device;
static coc_comm_settings settings = {.deadline = 60};

static coc_comm *make(const char *backend)
{
    coc_comm *comm = NULL;

    strcpy(settings.backend, backend);
    if (coc_comm_for_device(world, device, &settings, &comm) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s: %s", backend, coc_error_text());
    return comm;
}

/* NCCL also where one rank needs none. NULL: not built in. */
static coc_comm *make_nccl(void)
{
    coc_comm *comm = NULL;

    if (coc_comm_nccl(world, device, &settings, &comm) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    return comm;
}

static void through_the_host(void)
{
    /* Any number of ranks on any number of devices. */
    coc_comm *comm = make("mpi");

    REQUIRE(comm != NULL);
    coc_test_collectives(comm, device);
    coc_test_collectives_in_order(comm, device, NULL);
    coc_test_collectives_of_groups(comm, device);
    coc_comm_destroy(&comm);
}

static void from_device_to_device(void)
{
    /* The same over NCCL, with nothing waited for between; twice, as communicators are made anew.
     */
    for (int i = 0; i < 2; i++) {
        coc_comm *comm = make_nccl();

        if (comm == NULL) return;
        CHECK(comm->ops->on_stream && comm->ops->side == COC_ACCELERATOR);
        CHECK(comm->control == world && comm->id != world->id);
        coc_test_collectives(comm, device);
        coc_test_collectives_in_order(comm, device, NULL);
        coc_test_collectives_of_groups(comm, device);
        coc_comm_destroy(&comm);
    }
}

static void on_another_stream(void)
{
    /* The stream that a collective is started for need not be the main one. */
    coc_comm *comm = make_nccl();
    coc_stream *stream = NULL;

    if (comm == NULL) return;
    REQUIRE_OK(device->stream_create(device, true, &stream));
    coc_test_collectives_in_order(comm, device, stream);
    coc_test_collectives_in_order(comm, device, NULL);
    coc_comm_destroy(&comm);
    device->stream_destroy(device, stream);
}

static void channels_may_be_set(void)
{
    /* A setting of NCCL's that is passed on is one that it takes. */
    coc_comm *comm;

    settings.nccl_channels = 4;
    comm = make_nccl();
    if (comm != NULL) coc_test_collectives(comm, device);
    coc_comm_destroy(&comm);
    settings.nccl_channels = 0;
}

/* ---- symmetric memory: comm.nccl_memory */

/* The emulator's; NULL where NCCL is the real one. */
void coc_emulator_nccl_counts(int *symmetric, int *copied) __attribute__((weak));

/* A communicator whose NCCL works on that memory; NULL: not built in, or, on real GPUs, not to be
 * had here. */
static coc_comm *make_symmetric(coc_nccl_memory memory)
{
    coc_comm *comm = NULL;
    coc_status status;

    settings.nccl_memory = memory;
    status = coc_comm_nccl(world, device, &settings, &comm);
    settings.nccl_memory = COC_NCCL_PLAIN;
    if (status == COC_ERR_SETTING && coc_emulator_nccl_counts == NULL)
        printf("skipped: %s\n", coc_error_text());
    else if (status != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    return comm;
}

/* What the emulator has seen since it was asked last. */
static void seen(int *symmetric, int *copied)
{
    static int before[2];
    int now[2];

    coc_emulator_nccl_counts(&now[0], &now[1]);
    *symmetric = now[0] - before[0];
    *copied = now[1] - before[1];
    memcpy(before, now, sizeof before);
}

static void in_symmetric_memory(void)
{
    /* The collectives bring the same from memory that all GPUs see at one place, and are done by
     * what works on such memory: sums of floats, and gathers of equal parts, those by copy engines
     * where they are set. Beside it groups, whose memory is plain. */
    for (coc_nccl_memory memory = COC_NCCL_SYMMETRIC; memory <= COC_NCCL_COPY_ENGINE; memory++) {
        coc_comm *comm = make_symmetric(memory);
        int symmetric, copied;

        if (comm == NULL) return;
        if (coc_emulator_nccl_counts != NULL) seen(&symmetric, &copied);
        coc_test_collectives_in_order(comm, device, NULL);
        if (coc_emulator_nccl_counts != NULL) {
            seen(&symmetric, &copied);
            CHECK(symmetric == 18 && copied == 0); /* three rounds of six buckets */
        }
        coc_test_collectives(comm, device);
        if (coc_emulator_nccl_counts != NULL) {
            seen(&symmetric, &copied);
            CHECK(symmetric > copied && (copied > 0) == (memory == COC_NCCL_COPY_ENGINE));
        }
        coc_test_collectives_of_groups(comm, device);
        coc_comm_destroy(&comm);
    }
}

/* The start, or the first memory, is refused in one line that names the setting. */
static void check_refused(const char *why)
{
    coc_comm *comm = NULL;
    void *memory = NULL;
    coc_status status;

    settings.nccl_memory = COC_NCCL_SYMMETRIC;
    status = coc_comm_nccl(world, device, &settings, &comm);
    if (status == COC_OK) status = comm->ops->alloc(comm, 100, &memory);
    settings.nccl_memory = COC_NCCL_PLAIN;
    CHECK(memory == NULL);
    CHECK(status == (world->rank == 0 ? COC_ERR_SETTING : COC_ERR_ELSEWHERE));
    if (world->rank == 0) {
        CHECK(strstr(coc_error_text(), "comm.nccl_memory: ") != NULL);
        CHECK(strstr(coc_error_text(), why) != NULL);
        CHECK(strstr(coc_error_text(), "choose plain") != NULL);
    }
    coc_comm_destroy(&comm);
}

static void refused_where(const char *variable, const char *value, const char *why)
{
    setenv(variable, value, 1);
    check_refused(why);
    unsetenv(variable);
}

static void symmetric_memory_is_refused(void)
{
    /* By an NCCL that is too old, between GPUs that do not reach each other, where NCCL itself
     * finds no way, and where GPUs are shared or ranks on several machines. */
    coc_comm *nccl = make_nccl();
    const bool shared = settings.share_gpu, has_nccl = nccl != NULL;

    coc_comm_destroy(&nccl);
    if (!has_nccl || coc_emulator_nccl_counts == NULL) return;
    refused_where("COC_EMULATOR_NCCL_VERSION", "22707", "needs NCCL 2.28, here it is 2.27.7");
    refused_where("COC_EMULATOR_NCCL_WINDOWS", "0", "finds no way");
    if (world->size > 1) {
        refused_where("COC_EMULATOR_PEERS", "0", "does not reach");
        world->local_size--;
        check_refused("within one machine");
        world->local_size++;
    }
    settings.share_gpu = true;
    check_refused("comm.share_gpu");
    settings.share_gpu = shared;
}

static void the_setting_chooses(void)
{
    /* auto: NCCL where there are several ranks with a device each. */
    coc_comm *nccl = make_nccl(), *comm;
    const bool has_nccl = nccl != NULL;

    coc_comm_destroy(&nccl);
    comm = make("auto");
    REQUIRE(comm != NULL);
    if (world->size == 1)
        CHECK(strcmp(comm->ops->name, "alone") == 0);
    else
        CHECK(strcmp(comm->ops->name, has_nccl && !settings.share_gpu ? "nccl" : "staged") == 0);
    coc_comm_destroy(&comm);
}

/* ---- recorded */

enum { LENGTH = 3000 };

typedef struct {
    coc_comm *comm, *group;
    float *pinned, *sum, *all, *out;
    coc_graph *graph;
} step;

/* Two buckets under way together, a gather in a group, and work before, between and after. */
static coc_status give_step(step *s)
{
    const int64_t half = LENGTH / 2, bytes = LENGTH * (int64_t)sizeof(float);
    int64_t counts[16];
    coc_request *bucket[2], *parts;

    for (int rank = 0; rank < s->group->size; rank++)
        counts[rank] = rank + 1;
    COC_TRY(device->copy(device, s->sum, s->pinned, (size_t)bytes, NULL));
    COC_TRY(s->comm->ops->start_all_reduce(s->comm, "first half", s->sum, half, COC_FLOAT, NULL,
                                           &bucket[0]));
    COC_TRY(device->copy(device, s->out, s->pinned, (size_t)bytes, NULL));
    COC_TRY(s->comm->ops->start_all_reduce(s->comm, "second half", s->sum + half, LENGTH - half,
                                           COC_FLOAT, NULL, &bucket[1]));
    COC_TRY(s->group->ops->start_all_gather(s->group, "parts", s->out, s->all, counts, COC_FLOAT,
                                            NULL, &parts));
    COC_TRY(s->group->ops->wait(s->group, &parts));
    COC_TRY(s->comm->ops->wait(s->comm, &bucket[0]));
    COC_TRY(s->comm->ops->wait(s->comm, &bucket[1]));
    COC_TRY(device->copy(device, s->out, s->all, 3 * sizeof(float), NULL));
    COC_TRY(device->copy(device, s->out + 3, s->sum + 3, (size_t)bytes - 3 * sizeof(float), NULL));
    return device->copy(device, s->pinned, s->out, (size_t)bytes, NULL);
}

static void fill(step *s, int round)
{
    for (int i = 0; i < LENGTH; i++)
        s->pinned[i] = (float)((world->rank + 1) * (i + round));
}

static void check(const step *s, int round)
{
    const int sum = world->size * (world->size + 1) / 2, first = s->group->first + 1;

    CHECK(s->pinned[0] == (float)(first * round));
    if (s->group->size > 1)
        for (int i = 0; i < 2; i++)
            CHECK(s->pinned[1 + i] == (float)((first + 1) * (i + round)));
    for (int i = 3; i < LENGTH; i++)
        CHECK(s->pinned[i] == (float)(sum * (i + round)));
}

static void run_recorded(step *s)
{
    coc_status status;

    REQUIRE_OK(device->zero(device, s->all, 3 * sizeof(float), NULL));
    for (int round = 0; round < 2; round++) { /* as it is first: connections are made */
        fill(s, round);
        REQUIRE_OK(give_step(s));
        REQUIRE_OK(coc_comm_wait_device(s->comm, device, NULL));
        check(s, round);
    }
    REQUIRE_OK(device->record(device, NULL));
    status = give_step(s);
    REQUIRE_OK(device->recorded(device, NULL, &s->graph));
    REQUIRE_OK(status);
    for (int round = 2; round < 6; round++) {
        fill(s, round);
        s->comm->step = round;
        REQUIRE_OK(device->launch(device, s->graph, NULL));
        REQUIRE_OK(coc_comm_wait_device(s->comm, device, NULL));
        check(s, round);
        coc_test_collectives(s->comm, device); /* beside it */
    }
}

static void record_with(coc_comm *comm)
{
    step s = {.comm = comm};
    const int first = world->rank / 2 * 2;
    const int last = first + 1 < world->size ? first + 1 : first;
    void *pinned, *sum;

    if (s.comm == NULL) return;
    REQUIRE_OK(s.comm->ops->subgroup(s.comm, first, last, &s.group));
    REQUIRE_OK(device->alloc_host(device, LENGTH * sizeof(float), &pinned));
    s.pinned = pinned;
    REQUIRE_OK(s.comm->ops->alloc(s.comm, LENGTH * sizeof(float), &sum));
    s.sum = sum;
    REQUIRE_OK(coc_device_alloc(device, LENGTH, sizeof(float), &s.out));
    REQUIRE_OK(coc_device_alloc(device, LENGTH, sizeof(float), &s.all));
    run_recorded(&s);
    device->graph_destroy(device, s.graph);
    coc_comm_destroy(&s.group);
    s.comm->ops->release(s.comm, sum);
    coc_comm_destroy(&s.comm);
    device->release(device, s.out);
    device->release(device, s.all);
    device->release_host(device, s.pinned);
}

static void recorded_and_launched_again(void)
{
    /* A step with its collectives is recorded, and does the same with new numbers each time that it
     * is launched, while others are done between; in memory of any kind. */
    record_with(make_nccl());
    record_with(make_symmetric(COC_NCCL_SYMMETRIC));
    record_with(make_symmetric(COC_NCCL_COPY_ENGINE));
}

static void run_all(void)
{
    RUN(through_the_host);
    RUN(from_device_to_device);
    RUN(on_another_stream);
    RUN(channels_may_be_set);
    RUN(in_symmetric_memory);
    RUN(symmetric_memory_is_refused);
    RUN(the_setting_chooses);
    RUN(recorded_and_launched_again);
}

int main(void)
{
    coc_backend *backend = NULL;
    const char *reason;
    coc_status status;
    int result = COC_TEST_SKIPPED, sharers;

    setenv("COC_EMULATOR_DEVICES", "4", 0);
    strcpy(settings.backend, "mpi");
    status = coc_comm_start(&settings, &world);
    if (status == COC_OK) {
        settings.share_gpu = coc_cuda_count(&reason) < world->local_size;
        if (coc_backend_choose_device("cuda", world->local_rank, world->local_size, true,
                                      &sharers) == COC_OK)
            backend = coc_test_backend("cuda", COC_FP32);
        status = coc_comm_agree(world, "opening",
                                backend != NULL ? COC_OK : COC_FAIL(COC_ERR_DEVICE, "no GPU"));
        if (status == COC_OK && backend != NULL) {
            device = backend->device;
            run_all();
            result = coc_test_result();
        }
        coc_backend_destroy(&backend);
        coc_comm_destroy(&world);
    } else {
        coc_comm_abort(status);
    }
    coc_comm_finish();
    return result;
}
