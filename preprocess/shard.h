/* preprocess/shard.h - the format of one shard file (docs/store.md): its tables, how they are
 * written, read, checked and hashed. Behind preprocess/store.h and preprocess/shard_writer.h.
 *
 * A shard is an HDF5 file with /audio, int16, contiguous, the stems one after another, and tables
 * whose columns are one-dimensional data sets. The list of columns in shard.c drives writing,
 * reading, hashing and the attributes that explain them.
 *
 * HDF5 is not thread-safe: one thread at a time.
 */
#ifndef COC_PREPROCESS_SHARD_H
#define COC_PREPROCESS_SHARD_H

#include <stdint.h>

#include <hdf5.h>

#include "base/file.h"
#include "base/status.h"

/* What decides the stored samples besides the sources. Two shards of a store agree in it. */
typedef struct {
    char layout[32];
    char resampler[32];
} coc_store_settings;
coc_store_settings coc_store_settings_of(const char *layout);

/* A row of each table. Texts belong to the index. */
typedef struct {
    uint64_t id;        /* coc_shard_track_id */
    uint64_t signature; /* of the sources' names, sizes and times; 0: look again next time */
    int64_t split;
    char *name;
    int64_t samples, first_stem, stems;
} coc_shard_track;

typedef struct {
    char *name, *instrument, *source;
    int64_t source_bytes, source_rate, source_channels, source_frames;
    uint64_t source_hash;
    int64_t samples, exponent;
    int64_t first_sample; /* in /audio */
    int64_t file_offset;  /* bytes from the beginning of the file */
} coc_shard_stem;

/* A track that has no pair, or a broken file. */
typedef struct {
    char *name, *reason;
    uint64_t signature, content; /* content: of the sources' names, sizes and bytes */
} coc_shard_skip;

enum {
    COC_TABLE_TRACKS,
    COC_TABLE_STEMS,
    COC_TABLE_LEVELS, /* stems' mean squares, one stem after another */
    COC_TABLE_BLOCKS, /* stems' block hashes, likewise */
    COC_TABLE_SKIPPED,
    COC_TABLES
};

typedef struct {
    coc_shard_track *track;
    coc_shard_stem *stem;
    float *level;
    uint64_t *block;
    coc_shard_skip *skip;
    int64_t rows[COC_TABLES], capacity[COC_TABLES];
} coc_shard_index;

/* Make room for `more` zeroed rows and count them in. Errors: COC_ERR_MEMORY. */
coc_status coc_shard_index_add(coc_shard_index *index, int table, int64_t more);
/* Drop the rows from `rows` on. */
void coc_shard_index_cut(coc_shard_index *index, int table, int64_t rows);
void coc_shard_index_free(coc_shard_index *index);

int64_t coc_level_count(int64_t samples); /* ceil(samples / COC_STORE_LEVEL_SAMPLES) */
int64_t coc_block_count(int64_t samples); /* ceil(samples / COC_STORE_BLOCK) */

/* The number of a track: a hash of its stems' lengths, exponents and block hashes in order.
 * block: those of its first stem; the others' follow. Errors: COC_ERR_MEMORY. */
coc_status coc_shard_track_id(const coc_shard_stem *stem, int64_t stems, const uint64_t *block,
                              uint64_t *id);

/* Write every column and the root attributes, among them the content hash: of settings, and
 * of all columns but the signatures, so of the audio too, through its blocks' hashes.
 * Errors: COC_ERR_IO. */
coc_status coc_shard_write_index(hid_t file, const char *path, const coc_store_settings *settings,
                                 const coc_shard_index *index);

/* A shard as found on disk. */
typedef struct {
    coc_store_settings settings;
    coc_shard_index index;
    uint64_t hash;
    int64_t bytes;        /* of the file */
    int64_t audio_offset; /* bytes from the beginning of the file to sample 0 */
    int64_t audio_samples;
} coc_shard;

/* Read a shard's index and check all of it: schema, sizes before memory is taken, that tables fit
 * each other and the file, and the content hash. Audio is not read. The shard is the caller's,
 * freed with coc_shard_free; empty after a failure. Errors: COC_ERR_IO, COC_ERR_INPUT (names what
 * does not fit), COC_ERR_MEMORY. */
coc_status coc_shard_read(const char *path, coc_shard *shard);
void coc_shard_free(coc_shard *shard);

/* Settings of opening and creating: no locks (a shard never changes under its name), a format that
 * HDF5 1.8 reads, audio at a multiple of 4096 bytes. Turns HDF5's own error printing off. */
hid_t coc_shard_access(void);

/* "shard-00012.h5", and back: -1 when a name is none. */
enum { COC_SHARD_NAME = 32 };
void coc_shard_name(int64_t number, char name[COC_SHARD_NAME]);
int64_t coc_shard_number(const char *name);

#endif
