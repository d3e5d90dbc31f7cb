/* train/deal.h - what stands in each slot of a batch: pure functions of counters, so that every
 * rank knows it of every pair, and the one that embeds a clip draws it.
 *
 * Pair p of step s is the one at position s * K + p of the training order. Its anchor stands in
 * slot p. Its positive does too with one batch-norm group; with several, positives are dealt to
 * slots by a permutation, since a group that holds both members of a pair leaks (docs/model.md),
 * but for model.bn_pairing: paired.
 * Rows and columns have sets where not every column counts for a row (loss.negatives, loss.k).
 */
#ifndef COC_TRAIN_DEAL_H
#define COC_TRAIN_DEAL_H

#include "configs/settings.h"
#include "preprocess/sampler.h"

typedef struct coc_deal coc_deal; /* of one step at a time */

/* groups: batch-norm groups of a batch; over 1 deals the positives. sampler: knows the data set of
 * a position; NULL: there is one. Borrows both. Errors: COC_ERR_MEMORY. */
coc_status coc_deal_create(const coc_settings *settings, const coc_sampler *sampler, int64_t groups,
                           coc_deal **deal);
void coc_deal_destroy(coc_deal **deal);

/* From now on of that step; channel modes hold from step modes_from on. */
void coc_deal_step(coc_deal *deal, int64_t step, int64_t modes_from);

typedef struct {
    uint32_t pair;    /* 0 .. K - 1 */
    int64_t position; /* in the training order */
    unsigned kept;    /* bit c: channel c is kept */
    int first_frame;  /* of the part of the window that is seen */
    int64_t other;    /* slot of the pair's other member */
    int32_t set;      /* of the row, or the column; 0 where every column counts */
} coc_dealt;

/* view 0: the anchor in that slot, 1: the positive. */
coc_dealt coc_deal_at(const coc_deal *deal, int64_t slot, int view);

/* The sets of all anchors (view 0: rows) or positives (1: columns), by slot, [K]. */
void coc_deal_sets(const coc_deal *deal, int view, int32_t *set);

/* Whether rows and columns have sets at all. */
bool coc_deal_has_sets(const coc_settings *settings);

/* Columns of a row's own set, the mean over all rows. */
double coc_deal_mean_columns(const coc_deal *deal);

/* Frames that training sees of a window, from data.crop. */
int coc_crop_frames(const coc_data_settings *settings);

/* The step from which data.channel_mode holds in a run of `steps` (data.both_first): before it both
 * channels are kept. steps 0, not known yet: INT64_MAX, but 0 without data.both_first. */
int64_t coc_modes_from(const coc_data_settings *settings, int64_t steps);

/* The channel mode of a pair where data.channel_mode holds: bit c says that channel c is kept. */
unsigned coc_channel_mode_of(const coc_settings *settings, int64_t step, uint32_t pair);

#endif
