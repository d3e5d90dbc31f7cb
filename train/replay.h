/* train/replay.h - a step's work recorded once and launched again: a thousand launches become one.
 *
 * The work on a batch is recorded for each place of the loader's ring (coc_batch.slot), since it
 * reads that place's memory. It is recorded anew where the backend's working memory has moved.
 */
#ifndef COC_TRAIN_REPLAY_H
#define COC_TRAIN_REPLAY_H

#include "model/ops.h"
#include "train/loader.h"

typedef struct {
    bool warm; /* a step was done without: nothing that recorded work needs is allocated any more */
    coc_graph *graph[COC_MAX_PREFETCH + 1];
    const void *scratch[COC_MAX_PREFETCH + 1]; /* of the backend when graph was recorded */
} coc_replay_memory;

/* Give the work on the batch to the device's main stream, through `compute` when it is not recorded
 * yet. *again: it was, and compute was not called. Collective over whatever compute is collective
 * over: all ranks record and launch alike. Errors: those of compute, COC_ERR_DEVICE. */
coc_status coc_replay(coc_replay_memory *memory, coc_backend *backend, const coc_batch *batch,
                      coc_status (*compute)(void *context, const coc_batch *batch), void *context,
                      bool *again);

/* Forget what is recorded: after other work on the device, which may have moved its working memory,
 * so that all ranks record again in the same step. */
void coc_replay_free(coc_replay_memory *memory, const coc_device *device);

#endif
