/* train/made_batches.h - batches without a store: features are random numbers, functions of
 * counters, so that every rank, and one rank alone, makes the same pair. All else of a batch
 * (slots, channel modes, sets, labels) is what training deals (train/deal.h).
 *
 * A clip has a random level in each band and channel, which it keeps for its whole length, and
 * random numbers around that. The two members of a pair have nothing in common.
 */
#ifndef COC_TRAIN_MADE_BATCHES_H
#define COC_TRAIN_MADE_BATCHES_H

#include "train/trainer.h"

typedef struct coc_made_batches coc_made_batches;

/* For a trainer whose model has been made; becomes the source of its further parts. Borrows the
 * trainer. Not collective. Errors: COC_ERR_MEMORY, COC_ERR_DEVICE. */
coc_status coc_made_batches_create(coc_trainer *trainer, coc_made_batches **batches);
void coc_made_batches_destroy(coc_made_batches **batches);

/* The first part of that step, borrowed until the next call. */
coc_status coc_made_batches_begin(coc_made_batches *batches, int64_t step, const coc_batch **first);

/* Mean over the rows of the step at hand of ln(columns that count): the loss of a model that knows
 * nothing, where no column is left out for its track. */
coc_status coc_made_batches_floor(coc_made_batches *batches, double *floor);

#endif
