/* preprocess/manifest.h - STORE/manifest.json: which shards make a store. It is written last, so a
 * store without one is unfinished. */
#ifndef COC_PREPROCESS_MANIFEST_H
#define COC_PREPROCESS_MANIFEST_H

#include <stdint.h>

#include "base/status.h"
#include "preprocess/shard.h"
#include "preprocess/store.h"

typedef struct {
    char file[COC_SHARD_NAME];
    int64_t bytes;
    uint64_t hash; /* content */
    int64_t tracks, stems, skipped;
} coc_manifest_shard;

typedef struct {
    char *track, *reason;
} coc_manifest_skipped;

typedef struct {
    coc_store_settings settings;
    coc_manifest_shard *shard; /* [shards], by number; freed with coc_manifest_free */
    int64_t shards;
    int64_t tracks[COC_SPLITS];
    int64_t stems, skipped, samples; /* samples: of all stems */
    /* tracks that were left out, [named]; for people, so not read back */
    coc_manifest_skipped *skip;
    int64_t named, capacity;
} coc_manifest;

/* One hash over the shards' hashes, whatever their order and number of ranks. */
uint64_t coc_manifest_hash(const coc_manifest *manifest);

/* Add the skipped tracks of a shard. Errors: COC_ERR_MEMORY. */
coc_status coc_manifest_skip(coc_manifest *manifest, const coc_shard_index *index);

/* "STORE/manifest.json"; whether it stands. */
bool coc_manifest_exists(const char *store);

/* Errors: COC_ERR_IO, COC_ERR_MEMORY. */
coc_status coc_manifest_write(const char *store, const coc_manifest *manifest);

/* Errors: COC_ERR_IO (no such store), COC_ERR_INPUT (unfinished, foreign, another schema),
 * COC_ERR_MEMORY. */
coc_status coc_manifest_read(const char *store, coc_manifest *manifest);
void coc_manifest_free(coc_manifest *manifest);

#endif
