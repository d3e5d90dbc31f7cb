/* preprocess/sampler.h - which pair of sub-mixes stands at a position of the training order.
 *
 * A pure function of (seed, position): the same on any rank, thread and restart. A position goes
 * through all windows of the split in a random order, an epoch after another; at every visit two
 * disjoint non-empty subsets of the window's audible stems are drawn anew, with the published size
 * distribution: |X1| uniform on 1..N-1, |X2| uniform on 1..N-|X1| (spec 1).
 */
#ifndef COC_PREPROCESS_SAMPLER_H
#define COC_PREPROCESS_SAMPLER_H

#include <stdint.h>

#include "base/status.h"
#include "configs/settings.h"
#include "preprocess/features.h"
#include "preprocess/store.h"

enum { COC_MAX_STEMS = 128 }; /* audible stems of a window that are drawn from */

typedef struct {
    int64_t track; /* in the store */
    uint64_t track_id;
    int64_t first_sample; /* of the window */
    int stems[2];         /* of the anchor, of the positive */
    int64_t stem[2][COC_MAX_STEMS];
} coc_pair;

typedef struct coc_sampler coc_sampler; /* constant after creation: many threads may use it */

/* The windows of a split: starts on the published grids (5 s windows from 0, and shifted by
 * (1 - overlap) * 5 s, and so on), the last of a grid padded; windows with fewer than two audible
 * stems (mean square over the window > 1e-6) are left out. Borrows the store.
 * Errors: COC_ERR_INPUT when none is left. */
coc_status coc_sampler_create(coc_store *store, coc_split split, const coc_data_settings *settings,
                              uint64_t seed, coc_sampler **sampler);
void coc_sampler_destroy(coc_sampler **sampler);

int64_t coc_sampler_windows(const coc_sampler *sampler); /* positions of one epoch */
int64_t coc_sampler_tracks(const coc_sampler *sampler);  /* tracks with at least one window */
int64_t coc_sampler_skipped(const coc_sampler *sampler); /* tracks of the split without one */

/* The pair at a training position >= 0. */
void coc_sampler_draw(const coc_sampler *sampler, int64_t position, coc_pair *pair);

/* The pair of window `window` (0 .. windows - 1, in file order) for evaluation: the published grid,
 * one fixed draw a window for the seed, whatever data.windows says. */
void coc_sampler_draw_fixed(const coc_sampler *sampler, int64_t window, coc_pair *pair);

/* Read one member's stems and describe the mix: view 0 anchor, 1 positive (which alone gets noise).
 * pcm: room for COC_MAX_STEMS * COC_CLIP_SAMPLES samples at most, taken as needed through
 * `scratch`; the mix borrows it. Errors: those of coc_store_read. */
typedef struct {
    int16_t *pcm;
    int64_t capacity; /* in clips */
    const int16_t *pointer[COC_MAX_STEMS];
    float gain[COC_MAX_STEMS];
} coc_mix_scratch;
coc_status coc_sampler_mix(const coc_sampler *sampler, const coc_pair *pair, int view,
                           int64_t position, float noise, coc_mix_scratch *scratch, coc_mix *mix);
void coc_mix_scratch_free(coc_mix_scratch *scratch);

#endif
