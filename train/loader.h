/* train/loader.h - the batches of a run, made ahead by a thread.
 *
 * Of every step the loader makes this rank's share of each part of the batch (comm/parts.h), in
 * order; and then of the first parts once more, where the step embeds them twice. What stands in
 * the slots of a batch says train/deal.h.
 *
 * On a device that records, everything from the batch's stems in page-locked memory to its features
 * is one launch (setting model.graphs), and the thread goes on with the next batch's stems
 * meanwhile: only coc_loader_next waits for the batch, and for nothing after it.
 */
#ifndef COC_TRAIN_LOADER_H
#define COC_TRAIN_LOADER_H

#include "comm/parts.h"
#include "train/deal.h"

/* How x was made: call by call; in one go by the device (a feed, train/clips.h); as recorded work
 * of that kind. The bits are the same. */
typedef enum { COC_MADE_BY_CALLS, COC_MADE_BY_FEED, COC_MADE_BY_RECORDING } coc_batch_way;

/* Arrays lie on the backend's device. */
typedef struct {
    int slot; /* which of the loader's places in memory it is */
    int64_t step, part;
    int64_t pairs;  /* of this rank in the part, n */
    float *x;       /* [2n][C][F][T] features, T coc_crop_frames: anchors, then positives */
    float *keep;    /* [2n][C] 0 or 1: the channel mode of every clip */
    int64_t *label; /* [n] slot of each anchor's positive */
    uint64_t *row_track, *column_track; /* [n] track of each anchor, of each positive here */
    int32_t *row_set, *column_set;      /* [n], [K] that must be equal; NULL: every column counts */
    int64_t *column_label;              /* [n] slot of each positive's anchor */
    int32_t *positive_set, *anchor_set; /* [n], [K] of positives here, of all anchors; or NULL */
    double columns;                     /* that can count for a row, the mean over the batch */
    uint32_t *pair;                     /* [2n] pair 0 .. K - 1 of each clip */
    uint8_t *view;                      /* [2n] 0 or 1 */
    double load_seconds, feature_seconds; /* that the loader spent on it */
    coc_batch_way way;
} coc_batch;

typedef struct coc_loader coc_loader;

typedef struct {
    const coc_parts *parts; /* of every batch */
    int held;               /* batches that stay as they are after they were given, >= 1 */
    int64_t again;          /* so many parts of a step, from the first on, are made twice */
    int64_t groups;         /* batch-norm groups of a batch (train/deal.h) */
    int64_t step;           /* to begin with */
    int64_t modes_from;     /* the step from which channel modes hold */
    void (*given)(const coc_batch *batch); /* sees every batch before it is given; NULL: nobody.
                                              Tests put faults into features */
} coc_loader_needs;

/* Starts the thread unless data.prefetch is 0. Borrows settings and sampler. Errors: those of
 * coc_clips_create, COC_ERR_MEMORY, COC_ERR_DEVICE. */
coc_status coc_loader_create(const coc_settings *settings, const coc_sampler *sampler,
                             const coc_loader_needs *needs, coc_loader **loader);
void coc_loader_destroy(coc_loader **loader);

/* Another step for the modes; batches that were made ahead are made again. */
void coc_loader_set_modes_from(coc_loader *loader, int64_t modes_from);

/* The next part, borrowed until the `held`-th call after this one. Errors: those of the store and
 * the features, also when they happened in the thread. */
coc_status coc_loader_next(coc_loader *loader, const coc_batch **batch);

/* Where a step takes its batches from, part by part, when it is not given them: a loader, or
 * whatever makes batches in a loader's order. */
typedef struct {
    coc_status (*next)(void *from, const coc_batch **batch); /* as coc_loader_next */
    void *from;                                              /* borrowed */
} coc_batch_source;

coc_batch_source coc_loader_source(coc_loader *loader);

/* What a loader takes of the device's memory (the host's, for a backend of the host), and of
 * page-locked memory; host backends take the latter from the same memory. Errors: COC_ERR_SETTING
 * (no such backend). */
coc_status coc_loader_bytes(const coc_settings *settings, const coc_parts *parts, int held,
                            int64_t *device, int64_t *pinned);

#endif
