/* model/backends.h - the registry of backends: one row each, private to the folder. backends.c has
 * the rows of the float library, backends_ref_only.c those of the double-precision one. */
#ifndef COC_MODEL_BACKENDS_H
#define COC_MODEL_BACKENDS_H

#include "model/ops.h"

typedef struct {
    const coc_ops *ops; /* ops->name is the row's name */
    /* Fills in device, threads (given as asked for; 0: choose) and impl; precision, conv and
     * stored_bytes are given. */
    coc_status (*open)(coc_backend *backend);
    bool bf16; /* can store activations as bf16 */
    /* coc_backend_choose_device; NULL: there is no choice, all ranks have the same. */
    coc_status (*choose)(int local_rank, int local_size, bool share, int *sharers);
    bool rounds_loss; /* has loss.precision */
    bool cudnn;       /* can have its convolutions from cuDNN, where that is built in */
    /* Bytes that contrast or, if tile, tile_backward takes of working memory for that shape with
     * gradients, as they themselves find it. Of b threads (as asked for) and loss_precision. */
    size_t (*loss_scratch)(const coc_backend *b, const coc_contrast *shape, bool tile);
} coc_backend_row;

/* Ends with a row whose ops are NULL. */
extern const coc_backend_row coc_backend_rows[];

/* Working memory of a host backend: at least `bytes`, 64-byte aligned, content undefined, valid
 * until the next call. Kept from call to call, so it grows only in the first step. NULL without
 * memory: the operation then does nothing, and `finish` reports it. */
void *coc_backend_scratch(coc_backend *backend, size_t bytes);

/* The `finish` of host backends: the first failure since the last one. */
coc_status coc_backend_status(coc_backend *backend);

#endif
