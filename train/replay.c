#include "train/replay.h"

typedef struct {
    coc_status (*compute)(void *context, const coc_batch *batch);
    void *context;
    const coc_batch *batch;
} call;

static coc_status give(void *context)
{
    const call *c = context;

    return c->compute(c->context, c->batch);
}

coc_status coc_replay(coc_replay_memory *memory, coc_backend *backend, const coc_batch *batch,
                      coc_status (*compute)(void *, const coc_batch *), void *context, bool *again)
{
    const coc_device *device = backend->device;
    coc_graph **graph = &memory->graph[batch->slot];

    *again = *graph != NULL && memory->scratch[batch->slot] == backend->scratch;
    if (!*again) {
        if (*graph != NULL) device->graph_destroy(device, *graph);
        *graph = NULL;
        COC_TRY(coc_device_record(device, NULL, give, &(call){compute, context, batch}, graph));
        memory->scratch[batch->slot] = backend->scratch;
    }
    return device->launch(device, *graph, NULL);
}

void coc_replay_free(coc_replay_memory *memory, const coc_device *device)
{
    for (int i = 0; i <= COC_MAX_PREFETCH; i++) {
        if (memory->graph[i] != NULL) device->graph_destroy(device, memory->graph[i]);
        memory->graph[i] = NULL;
    }
}
