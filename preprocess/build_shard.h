/* preprocess/build_shard.h - one shard from its source files. Private to preprocess/build*.c. */
#ifndef COC_PREPROCESS_BUILD_SHARD_H
#define COC_PREPROCESS_BUILD_SHARD_H

#include "preprocess/build.h"
#include "preprocess/plan.h"

/* Called after every track: a status other than COC_OK ends the work. */
typedef coc_status (*coc_track_done)(void *context);

/* Write a shard. Broken files and tracks without a pair are said and noted in it.
 * Not collective. Errors: COC_ERR_IO (the disk), COC_ERR_MEMORY, what `done` says; then nothing is
 * left behind. */
coc_status coc_build_shard(const coc_build_settings *settings, const char *root,
                           const coc_source_list *list, const coc_plan_shard *shard,
                           coc_track_done done, void *context);

#endif
