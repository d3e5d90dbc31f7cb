/* train/accuracy.h - rows added up to accuracy at K. Private to the measures of an evaluation
 * (train/measure.h).
 */
#ifndef COC_TRAIN_ACCURACY_H
#define COC_TRAIN_ACCURACY_H

#include "train/measure.h"
#include "train/row_tally.h"
#include "train/track_sample.h"

/* Of K number i of the settings. tally [rows][settings->ks]; rows are added up in their order, so
 * the result does not depend on who tallied them. Errors: COC_ERR_MEMORY. */
coc_status coc_accuracy_of(const coc_row_tracks *tracks, const coc_row_tally *tally,
                           const coc_measure_settings *settings, int i, coc_accuracy *accuracy);

#endif
