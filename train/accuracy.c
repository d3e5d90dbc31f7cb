#include "train/accuracy.h"

#include <stdlib.h>

#include "base/memory.h"

static coc_status interval_of(const coc_row_tracks *tracks, const coc_row_tally *tally,
                              const coc_measure_settings *settings, coc_accuracy *a)
{
    const int64_t stride = (int64_t)settings->ks * COC_ROW_TALLY_DOUBLES;
    coc_track_ratio ratio = {.tracks = tracks->tracks};
    double *right, *batches;
    coc_status status;

    COC_TRY(coc_alloc(2 * tracks->tracks, sizeof *right, &right));
    batches = right + tracks->tracks;
    coc_row_tracks_sum(tracks, &tally->right, stride, right);
    coc_row_tracks_sum(tracks, &tally->batches, stride, batches);
    ratio.above = right;
    ratio.below = batches;
    status = coc_bootstrap(tracks->tracks, settings->bootstrap, settings->seed, coc_track_ratio_of,
                           &ratio, &a->low, &a->high);
    free(right);
    return status;
}

coc_status coc_accuracy_of(const coc_row_tracks *tracks, const coc_row_tally *tally,
                           const coc_measure_settings *settings, int i, coc_accuracy *a)
{
    const int64_t k = settings->k[i];
    coc_row_tally all = {0};

    for (int64_t row = 0; row < tracks->rows; row++) {
        const coc_row_tally *t = &tally[row * settings->ks + i];

        all.batches += t->batches;
        all.right += t->right;
        all.loss += t->loss;
        all.same_track += t->same_track;
    }
    *a = (coc_accuracy){.k = k,
                        .pairs = tracks->rows,
                        .tracks = tracks->tracks,
                        .batches = (int64_t)all.batches / k, /* each has k rows */
                        .accuracy = all.right / all.batches,
                        .loss = all.loss / all.batches,
                        .chance = 1.0 / (double)k,
                        .same_track = all.same_track / all.batches};
    return interval_of(tracks, tally + i, settings, a);
}
