/* preprocess/build_shard.h - one shard from its source files. Private to preprocess/build*.c. */
#ifndef COC_PREPROCESS_BUILD_SHARD_H
#define COC_PREPROCESS_BUILD_SHARD_H

#include "preprocess/build.h"
#include "preprocess/plan.h"

/* What a track took: files and bytes read, samples written. */
typedef struct {
    int64_t files, bytes, samples;
} coc_track_work;

/* Called after every track: a status other than COC_OK ends the work. */
typedef coc_status (*coc_track_done)(void *context, const coc_track_work *work);

/* Write a shard. What cannot be read is read once more; then its track is skipped, said and noted
 * in the shard, as is a track without a pair; with settings->strict the first one ends the work.
 * Not collective. Errors: COC_ERR_IO (the disk), COC_ERR_MEMORY, COC_ERR_INPUT (strict), what
 * `done` says; then nothing is left behind. */
coc_status coc_build_shard(const coc_build_settings *settings, const char *root,
                           const coc_source_list *list, const coc_plan_shard *shard,
                           coc_track_done done, void *context);

#endif
