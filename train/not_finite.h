/* train/not_finite.h - a step whose loss or gradient is not a finite number.
 *
 * The norm of the summed gradient says so on all ranks at once, and neither weights nor running
 * statistics have taken anything from such a step. (Where the loss alone is not finite they have,
 * and the run ends.) Since a step is a function of the weights and of
 * counters, it can be done once more, slowly: this time every tensor is copied to the host and
 * searched, and the first number that is not finite is named with its layer, rank, pair and track.
 */
#ifndef COC_TRAIN_NOT_FINITE_H
#define COC_TRAIN_NOT_FINITE_H

#include "train/trainer.h"

/* After such a step: train.on_nan says whether the run ends, with the line as its error, or goes on
 * with the next step, with the line as a warning (result->skipped). Steps that are skipped one
 * after another end it too, and so do weights that are not finite. Begins the loader anew; a
 * trainer without one has nothing to look at. Collective. Errors: COC_ERR_INPUT on all ranks, those
 * of coc_train_step. */
coc_status coc_step_not_finite(coc_trainer *trainer, coc_step_result *result);

#endif
