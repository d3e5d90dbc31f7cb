/* train/batch.h - the memory of batches, and what they say of their clips; for those that make
 * batches (train/loader.c, train/made_batches.c).
 *
 * All that a batch says beside its features is one block: written on the host into page-locked
 * memory, sent in one copy, and laid out in the same way on both sides. The descriptions of a feed
 * (preprocess/features.h) are the end of that block.
 */
#ifndef COC_TRAIN_BATCH_H
#define COC_TRAIN_BATCH_H

#include "train/loader.h"

/* On the host: one is written while the one before is on its way. */
enum { COC_HOST_PLACES = 2 };

typedef struct {
    coc_batch batch; /* its arrays but x are pieces of block */
    coc_feed feed;   /* likewise; pcm NULL on the device's side */
    void *block;
    size_t bytes;   /* of block */
    coc_mark *mark; /* on the host's side: free again; on the device's: made */
} coc_batch_place;

/* How many stems a feed of so many clips has room for; 0: no feeds, since a backend or the settings
 * want none. Errors: COC_ERR_SETTING (no such backend). */
coc_status coc_batch_feed_room(const coc_settings *settings, int64_t clips, int64_t *stems);

/* A place on the host from which batches go to the device; no x. stems: of a feed, or 0. Errors:
 * COC_ERR_MEMORY, COC_ERR_DEVICE. */
coc_status coc_batch_create_host(coc_batch_place *place, const coc_device *device,
                                 const coc_settings *settings, int64_t pairs, int64_t stems);
void coc_batch_destroy_host(coc_batch_place *place, const coc_device *device);

/* A place on the device, with x. Errors: the same. */
coc_status coc_batch_create(coc_batch_place *place, const coc_device *device,
                            const coc_settings *settings, int64_t pairs, int64_t stems);
void coc_batch_destroy(coc_batch_place *place, const coc_device *device);

/* Clip i of a part: anchors, then positives. */
typedef struct {
    int64_t i, row; /* in the part: of its clips; of its anchors, or its positives */
    int view;
    coc_dealt dealt;
} coc_batch_clip;

coc_batch_clip coc_batch_clip_at(const coc_deal *deal, const coc_batch_part *part, int64_t i);

/* Writes the sets of all clips of the batch, where there are any. */
void coc_batch_describe_sets(coc_batch *batch, const coc_deal *deal);

/* Writes what a batch on the host says of that clip; track: its id. */
void coc_batch_describe(coc_batch *batch, const coc_batch_clip *clip, int channels, uint64_t track);

#endif
