/* preprocess/plan.h - which shard gets which tracks, and which rank writes it. Private to
 * preprocess/build*.c and its tests. */
#ifndef COC_PREPROCESS_PLAN_H
#define COC_PREPROCESS_PLAN_H

#include <stdint.h>

#include "comm/comm.h"
#include "preprocess/layout.h"
#include "preprocess/shard.h"

/* A shard to write: tracks first .. first + tracks - 1 of the list. */
typedef struct {
    int64_t number; /* of the file */
    int64_t first, tracks;
    int64_t samples; /* expected */
    int rank;
} coc_plan_shard;

typedef struct {
    coc_plan_shard *shard; /* freed with free() */
    int64_t shards, capacity;
} coc_plan;

/* Cut the tracks that no shard holds yet.
 *
 * kept     [tracks]  number of the finished shard that holds the track, or -1
 * samples  [tracks]  of all stems together, at the working rate
 * target   samples a shard, 0: COC_SHARD_BYTES, less where that gives under 32 shards
 *
 * A finished shard between two tracks parts them, so what is missing of an interrupted run is cut
 * as it would have been. New shards get the lowest free numbers in order. They are dealt to the
 * ranks so that the sums of samples are even. Errors: COC_ERR_MEMORY. */
coc_status coc_plan_make(const int64_t *kept, const int64_t *samples, int64_t tracks,
                         int64_t target, int ranks, coc_plan *plan);

/* How long a rank may have to wait for the others' shares of a plan, seconds: the longest share at
 * ten times real time, which is some thirty times slower than a processor core does it. */
double coc_plan_patience(const coc_plan *plan, int ranks);

/* Ranks whose shares are even may take so many times as long as another before they count as
 * hanging: disks and cores differ. */
#define COC_PATIENCE 2.0

/* A hash over a track's stems: path, class, size and time of the file. */
uint64_t coc_track_signature(const char *root, const coc_source_track *track);

/* The same over what the files hold instead of their times: reads them. */
uint64_t coc_track_content(const char *root, const coc_source_track *track);

/* Find the finished shards in a store's folder that still hold: every track of them in the list and
 * unchanged. The others, and damaged ones, are said by the log and named in `stale`. Where the
 * times of sources have changed, the ranks share the reading. Collective.
 *
 * kept   out  [list->tracks], as above; the same on all ranks
 * stale  out  rank 0: file names below the store, freed with coc_names_free
 *
 * Errors: COC_ERR_SETTING when a shard was made with another layout or resampler (names both),
 * COC_ERR_INPUT when the store holds tracks, but none of this data set, COC_ERR_IO when the system
 * refused to read a shard, COC_ERR_MEMORY, COC_ERR_RANKS. */
coc_status coc_find_kept(coc_comm *comm, const char *root, const char *store,
                         const coc_store_settings *settings, const coc_source_list *list,
                         int64_t *kept, coc_names *stale);

#endif
