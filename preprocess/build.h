/* preprocess/build.h - a data set on disk to a store, on all ranks.
 *
 * The tracks, in the order of their names, are cut into shards by the lengths that the files'
 * headers give, so which tracks share a shard does not depend on the ranks. Every rank writes whole
 * shards. What an earlier run has finished is kept: a shard stays while all its sources are as they
 * were. manifest.json comes last.
 */
#ifndef COC_PREPROCESS_BUILD_H
#define COC_PREPROCESS_BUILD_H

#include <stdint.h>

#include "comm/comm.h"
#include "preprocess/layout.h"
#include "preprocess/manifest.h"
#include "preprocess/summary.h"

typedef struct {
    const char *in, *out;
    const coc_layout *layout;
    coc_layout_options options;
    const char *scratch; /* folder of this machine where shards are written first; NULL: in out */
    bool strict;         /* a track that cannot be used ends the work */
    int64_t shard_bytes; /* of PCM a shard; 0: 1 GiB, less where that gives under 32 shards */
} coc_build_settings;

typedef struct {
    coc_manifest manifest; /* rank 0: what the store holds; freed by the caller */
    coc_summary summary;   /* rank 0: the same by split and class */
    int64_t kept, made;    /* shards from earlier runs, and of this one */
} coc_build_result;

/* Collective. Says skipped tracks and progress by the log. Errors: COC_ERR_IO, COC_ERR_SETTING
 * (a store of another layout or resampler stands in `out`; it stays as it is), COC_ERR_INPUT
 * (nothing to read, another data set's store, no track left), COC_ERR_STOPPED (a signal; finished
 * shards stay), COC_ERR_MEMORY, COC_ERR_RANKS. A failure on one rank stops all within a track. */
coc_status coc_build_store(coc_comm *comm, const coc_build_settings *settings,
                           coc_build_result *result);

#endif
