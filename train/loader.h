/* train/loader.h - the batches of a run, made ahead by a thread.
 *
 * Batch s holds the pairs at positions s * K .. s * K + K - 1 of the training order; rank r has the
 * anchors of its share of them and as many positives: those that stand in its slots after dealing.
 * With one batch-norm group a positive's slot is its pair; with several, the positives are dealt to
 * slots by a counter-based permutation of the global batch, since a group that holds both members
 * of a pair leaks (docs/model.md). The rank that embeds a clip draws it itself: nothing is sent.
 *
 * On a device that records, everything from the batch's stems in page-locked memory to its features
 * is one launch (setting model.graphs), and the thread goes on with the next batch's stems
 * meanwhile: only coc_loader_next waits for the batch, and for nothing after it.
 */
#ifndef COC_TRAIN_LOADER_H
#define COC_TRAIN_LOADER_H

#include "configs/settings.h"
#include "preprocess/sampler.h"

/* How x was made: call by call; in one go by the device (a feed, train/clips.h); as recorded work
 * of that kind. The bits are the same. */
typedef enum { COC_MADE_BY_CALLS, COC_MADE_BY_FEED, COC_MADE_BY_RECORDING } coc_batch_way;

/* Arrays lie on the backend's device. */
typedef struct {
    int slot; /* which of the loader's places in memory it is */
    int64_t step;
    int64_t pairs;  /* local, n */
    float *x;       /* [2n][C][F][T] features, T coc_crop_frames: anchors, then positives */
    float *keep;    /* [2n][C] 0 or 1: the channel mode of every clip */
    int64_t *label; /* [n] global slot of each anchor's positive */
    uint64_t *row_track, *column_track; /* [n] track of each anchor, of each positive here */
    int32_t *row_set, *column_set;      /* [n], [K] that must be equal; NULL: every column counts */
    uint32_t *pair;                     /* [2n] global pair 0 .. K - 1 of each clip */
    uint8_t *view;                      /* [2n] 0 or 1 */
    double load_seconds, feature_seconds; /* that the loader spent on it */
    coc_batch_way way;
} coc_batch;

typedef struct coc_loader coc_loader;

/* Batches for pairs first .. first + pairs - 1 of `settings->train.batch`, from step on; channel
 * modes hold from step modes_from on. groups: batch-norm groups in a batch; over 1 deals the
 * positives. Starts the thread unless data.prefetch is 0. Borrows settings and sampler. Errors:
 * those of coc_clips_create, COC_ERR_MEMORY, COC_ERR_DEVICE. */
coc_status coc_loader_create(const coc_settings *settings, const coc_sampler *sampler,
                             int64_t first, int64_t pairs, int64_t groups, int64_t step,
                             int64_t modes_from, coc_loader **loader);
void coc_loader_destroy(coc_loader **loader);

/* Another step for the modes; batches that were made ahead are made again. */
void coc_loader_set_modes_from(coc_loader *loader, int64_t modes_from);

/* The next batch, borrowed until the next call. Errors: those of the store and the features, also
 * when they happened in the thread. */
coc_status coc_loader_next(coc_loader *loader, const coc_batch **batch);

/* What a loader takes of the device's memory (the host's, for a backend of the host), and of
 * page-locked memory; host backends take the latter from the same memory. pairs: of this rank.
 * Errors: COC_ERR_SETTING (no such backend). */
coc_status coc_loader_bytes(const coc_settings *settings, int64_t pairs, int64_t *device,
                            int64_t *pinned);

/* Frames that training sees of a window, from data.crop. */
int coc_crop_frames(const coc_data_settings *settings);

/* The step from which data.channel_mode holds in a run of `steps` (data.both_first): before it both
 * channels are kept. steps 0, not known yet: INT64_MAX, but 0 without data.both_first. */
int64_t coc_modes_from(const coc_data_settings *settings, int64_t steps);

/* The channel mode of a pair where data.channel_mode holds: bit c says that channel c is kept. */
unsigned coc_channel_mode_of(const coc_settings *settings, int64_t step, uint32_t pair);

#endif
