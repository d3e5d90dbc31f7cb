/* train/retrieval.h - ranks to figures. Private to the measures of an evaluation (train/measure.h).
 */
#ifndef COC_TRAIN_RETRIEVAL_H
#define COC_TRAIN_RETRIEVAL_H

#include "train/measure.h"
#include "train/track_sample.h"

/* rank [rows], 1 .. rows. Errors: COC_ERR_MEMORY. */
coc_status coc_retrieval_of(const coc_row_tracks *tracks, const int64_t *rank, int64_t resamplings,
                            uint64_t seed, coc_retrieval *retrieval);

#endif
