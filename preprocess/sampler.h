/* preprocess/sampler.h - which pair of sub-mixes stands at a position of the training order.
 *
 * A pure function of (seed, position): the same on any rank, thread and restart. A position goes
 * through all windows of the split in a random order, an epoch after another; at every visit two
 * disjoint non-empty subsets of the window's audible stems are drawn anew, with the published size
 * distribution: |X1| uniform on 1..N-1, |X2| uniform on 1..N-|X1| as published. With
 * data.submixtures = false both are single stems.
 * preprocess/visits.h says which window stands at a position, also with data.weights.
 */
#ifndef COC_PREPROCESS_SAMPLER_H
#define COC_PREPROCESS_SAMPLER_H

#include <stdint.h>

#include "base/status.h"
#include "configs/settings.h"
#include "preprocess/features.h"
#include "preprocess/store.h"

/* Audible stems of a window that are drawn from: of more than these, a random choice of so many is
 * made first, at every visit anew. */
enum { COC_MAX_STEMS = 128 };

typedef struct {
    int64_t track; /* in the store */
    uint64_t track_id;
    int source;                     /* of the store's */
    int64_t first_sample;           /* of the window */
    int stems[2];                   /* of the anchor, of the positive */
    int64_t stem[2][COC_MAX_STEMS]; /* ascending */
} coc_pair;

typedef struct coc_sampler coc_sampler; /* constant after creation: many threads may use it */

/* The windows of a split. Grids of 5 s windows lie side by side, one from sample 0, the others
 * evenly shifted, as many as keep neighbours' overlap at data.overlap or less: for the published
 * 0.5 a second one, shifted by 2.5 s. Any window that begins inside the track counts, its end
 * padded with zeros, but those with fewer than two audible stems (mean square over the padded
 * window > 1e-6). Borrows the store. Errors: COC_ERR_INPUT when none is left, COC_ERR_MEMORY. */
coc_status coc_sampler_create(coc_store *store, coc_split split, const coc_data_settings *settings,
                              uint64_t seed, coc_sampler **sampler);
void coc_sampler_destroy(coc_sampler **sampler);

int64_t coc_sampler_windows(const coc_sampler *sampler); /* positions of one epoch */
int64_t coc_sampler_tracks(const coc_sampler *sampler);  /* tracks with at least one window */
int64_t coc_sampler_skipped(const coc_sampler *sampler); /* tracks of the split without one */

/* Those of the store; the windows of one, and its share of the training positions: 0 .. 1. */
int coc_sampler_sources(const coc_sampler *sampler);
int64_t coc_sampler_source_windows(const coc_sampler *sampler, int source);
double coc_sampler_source_share(const coc_sampler *sampler, int source);

/* The source of the pair at a training position. */
int coc_sampler_source(const coc_sampler *sampler, int64_t position);

/* The pair at a training position >= 0. With data.windows = random all windows of a track are moved
 * later by one random offset an epoch, less than the distance of neighbours; none is moved beyond
 * the track's end, and one that would have fewer than two audible stems stays where it was. */
void coc_sampler_draw(const coc_sampler *sampler, int64_t position, coc_pair *pair);

/* The pair of window `window` (0 .. windows - 1, in file order: by track, grid, start) for
 * evaluation: the published grid, one fixed draw a window for the seed, whatever data.windows says
 * and whatever other tracks the store holds. */
void coc_sampler_draw_fixed(const coc_sampler *sampler, int64_t window, coc_pair *pair);

/* Read one member's stems (view 0 anchor, 1 positive): pcm [stems][COC_CLIP_SAMPLES], gain [stems].
 * Errors: those of coc_store_read. */
coc_status coc_sampler_read(const coc_sampler *sampler, const coc_pair *pair, int view,
                            int16_t *pcm, float *gain);

/* What keys the noise on a clip: its view and the pair's position. */
coc_rng_key coc_sampler_noise_key(const coc_sampler *sampler, int view, int64_t position);

/* Memory of one mix; zero at the start, grows as needed. */
typedef struct {
    int16_t *pcm;     /* [capacity][COC_CLIP_SAMPLES] */
    int64_t capacity; /* in clips */
    const int16_t *pointer[COC_MAX_STEMS];
    float gain[COC_MAX_STEMS];
} coc_mix_scratch;

/* Read one member's stems and describe the mix: view 0 anchor, 1 positive, which alone gets noise
 * (sigma of full scale, its samples keyed by the position). The mix borrows the scratch until the
 * next call with it. Errors: those of coc_store_read, COC_ERR_MEMORY. */
coc_status coc_sampler_mix(const coc_sampler *sampler, const coc_pair *pair, int view,
                           int64_t position, float noise, coc_mix_scratch *scratch, coc_mix *mix);
void coc_mix_scratch_free(coc_mix_scratch *scratch);

#endif
