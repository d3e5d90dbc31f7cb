#include "train/replay.h"

/* The recording ends in any case: a stream that records can do nothing else. */
static coc_status record(coc_backend *backend, const coc_batch *batch,
                         coc_status (*compute)(void *, const coc_batch *), void *context,
                         coc_graph **graph)
{
    const coc_device *device = backend->device;
    coc_status status, ended;

    COC_TRY(device->record(device, NULL));
    status = compute(context, batch);
    ended = device->recorded(device, NULL, graph);
    if (status == COC_OK) status = ended;
    if (status == COC_OK) return COC_OK;
    if (*graph != NULL) device->graph_destroy(device, *graph);
    *graph = NULL;
    return status;
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
        COC_TRY(record(backend, batch, compute, context, graph));
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
