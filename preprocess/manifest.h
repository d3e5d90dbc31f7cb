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
    coc_store_settings settings;
    coc_manifest_shard *shard; /* [shards], by number; freed with coc_manifest_free */
    int64_t shards;
    int64_t tracks[COC_SPLITS];
    int64_t stems, skipped, samples; /* samples: of all stems */
} coc_manifest;

/* One hash over the shards' hashes, whatever their order and number of ranks. */
uint64_t coc_manifest_hash(const coc_manifest *manifest);

/* "STORE/manifest.json"; whether it stands. */
bool coc_manifest_exists(const char *store);

/* Errors: COC_ERR_IO, COC_ERR_MEMORY. */
coc_status coc_manifest_write(const char *store, const coc_manifest *manifest);

/* Errors: COC_ERR_IO (no such store), COC_ERR_INPUT (unfinished, foreign, another schema),
 * COC_ERR_MEMORY. */
coc_status coc_manifest_read(const char *store, coc_manifest *manifest);
void coc_manifest_free(coc_manifest *manifest);

#endif
