/* A program on ranks with a device each that goes wrong as it is told, for e2e_device_watchdog.sh:
 *
 *     driven_device DEADLINE SCENARIO [RANK]
 *
 *     run        ten steps of a gather and a sum, then the end
 *     recorded   the same; the steps from the second on are recorded work
 *     symmetric  as recorded, in symmetric memory (comm.nccl_memory), where NCCL sees no abort
 *     compute    as run, but in step 3 RANK computes for ever before it waits for its device
 *     for_ever   as run, without an end
 *     duplicate  as run, but all ranks have the same device, and are not told to share it
 *     shared     likewise, and they are
 *
 * What the devices do wrong is told to the emulator (tests/emulator/nccl.cpp): where NCCL is not
 * emulated the program ends with 77. Every rank first prints "rank R pid P ready" to standard
 * output. It ends as train/main.c does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "comm/device_comm.h"
#include "model/ops.h"

static coc_comm *world, *comm;
static coc_backend *backend;
static const coc_device *device;
static const char *scenario;
static int chosen;
static float *memory;
static coc_graph *graph;

enum { STEPS = 10, COUNT = 1000, MOST = 16 };

static bool is(const char *name)
{
    return strcmp(scenario, name) == 0;
}

static coc_status give_step(void)
{
    int64_t counts[MOST];
    coc_request *request;

    for (int rank = 0; rank < comm->size; rank++)
        counts[rank] = COUNT;
    COC_TRY(comm->ops->start_all_gather(comm, "embeddings", memory + comm->rank * COUNT, memory,
                                        counts, COC_FLOAT, NULL, &request));
    COC_TRY(comm->ops->wait(comm, &request));
    COC_TRY(comm->ops->start_all_reduce(comm, "sum of gradients", memory, COUNT, COC_FLOAT, NULL,
                                        &request));
    return comm->ops->wait(comm, &request);
}

static coc_status give_recorded(void)
{
    if (graph == NULL) {
        coc_status status;

        COC_TRY(device->record(device, NULL));
        status = give_step();
        COC_TRY(device->recorded(device, NULL, &graph));
        COC_TRY(status);
    }
    return device->launch(device, graph, NULL);
}

static coc_status run(void)
{
    bool stop = false;

    for (comm->step = 1; comm->step <= STEPS || is("for_ever"); comm->step++) {
        COC_TRY((is("recorded") || is("symmetric")) && comm->step > 1 ? give_recorded()
                                                                      : give_step());
        while (is("compute") && comm->step == 3 && comm->rank == chosen)
            coc_sleep_seconds(1);
        COC_TRY(coc_comm_wait_device(comm, device, NULL));
        COC_TRY(coc_comm_any(comm, "stop flag", false, &stop));
    }
    return COC_OK;
}

static coc_status open_all(const coc_comm_settings *settings)
{
    void *taken;
    int sharers;

    COC_TRY(
        coc_backend_choose_device("cuda", world->local_rank, world->local_size, true, &sharers));
    COC_TRY(coc_backend_create("cuda", 1, &backend));
    device = backend->device;
    COC_TRY(coc_comm_for_device(world, device, settings, &comm));
    COC_TRY(comm->ops->alloc(comm, COUNT * MOST * sizeof *memory, &taken));
    memory = taken;
    return device->zero(device, memory, COUNT * MOST * sizeof *memory, NULL);
}

static void close_all(void)
{
    if (graph != NULL) device->graph_destroy(device, graph);
    comm->ops->release(comm, memory);
    coc_comm_destroy(&comm);
    coc_backend_destroy(&backend);
}

static bool is_built_in(const char *name)
{
    const char *const *names = coc_backend_names();

    while (*names != NULL && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

int main(int argc, char **argv)
{
    coc_comm_settings settings = {.backend = "nccl"};
    coc_status status;

    if (argc < 3) return 2;
    if (!is_built_in("cuda") || getenv("COC_EMULATOR_DEVICES") == NULL) return 77;
    settings.deadline = atof(argv[1]);
    scenario = argv[2];
    chosen = argc > 3 ? atoi(argv[3]) : -1;
    settings.share_gpu = is("shared");
    if (is("symmetric")) settings.nccl_memory = COC_NCCL_SYMMETRIC;
    status = coc_comm_start(&settings, &world);
    if (status == COC_OK) {
        printf("rank %d pid %d ready\n", world->rank, (int)getpid());
        fflush(stdout);
        status = open_all(&settings);
        if (status == COC_OK) status = run();
        if (status == COC_OK) close_all();
        coc_comm_destroy(&world);
    }
    if (status != COC_OK) coc_comm_abort(status);
    coc_comm_finish();
    return coc_exit_code(status);
}
