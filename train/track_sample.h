/* train/track_sample.h - how sure a mean over rows is: bootstrap over tracks. Rows of a track
 * belong together (neighbouring windows sound alike), so whole tracks are drawn, with replacement.
 * Private to the measures of an evaluation (train/measure.h).
 */
#ifndef COC_TRAIN_TRACK_SAMPLE_H
#define COC_TRAIN_TRACK_SAMPLE_H

#include <stdint.h>

#include "base/status.h"

/* Tracks as numbers 0 .. tracks - 1, in the order of their ids. */
typedef struct {
    int64_t rows, tracks;
    int32_t *of;   /* [rows] track of a row */
    double *sizes; /* [tracks] rows of a track */
} coc_row_tracks;

/* id [rows], rows below 2^31. The caller's, also after a failure. Errors: COC_ERR_MEMORY. */
coc_status coc_row_tracks_create(int64_t rows, const uint64_t *id, coc_row_tracks *tracks);
void coc_row_tracks_free(coc_row_tracks *tracks);

/* sums [tracks] = sum over the rows of each track of value [row * stride]. */
void coc_row_tracks_sum(const coc_row_tracks *tracks, const double *value, int64_t stride,
                        double *sums);

/* A figure of the rows of some tracks: times [tracks] says how often each track was drawn. */
typedef double (*coc_statistic)(const void *of, const double *times);

/* The middle 95 % of a statistic over `resamplings` draws, a function of the seed; NAN for 0
 * resamplings. Errors: COC_ERR_MEMORY. */
coc_status coc_bootstrap(int64_t tracks, int64_t resamplings, uint64_t seed,
                         coc_statistic statistic, const void *of, double *low, double *high);

/* The statistic sum of above / sum of below, both [tracks]. */
typedef struct {
    int64_t tracks;
    const double *above, *below;
} coc_track_ratio;
double coc_track_ratio_of(const void *ratio, const double *times);

#endif
