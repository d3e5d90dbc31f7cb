/* preprocess/store.h - the sharded HDF5 store of stems: what training reads.
 *
 * A store is a folder: manifest.json, and shard-NNNNN.h5 files of about 1 GiB. Audio is 16 kHz mono
 * int16, each stem scaled by a power of two so that its peak lies in (0.5, 1] of full scale; the
 * exponent is in the index: waveform = pcm / 32768 * 2^exponent. docs/store.md is the schema.
 *
 * The reader maps the shards' audio (contiguous at known file offsets) and never calls HDF5 after
 * opening. Opening refuses by name a store that is unfinished, cut, of another schema or of other
 * settings; a flipped byte is found by block hashes (coc_store_verify, and on first use of a block
 * by coc_store_read).
 */
#ifndef COC_PREPROCESS_STORE_H
#define COC_PREPROCESS_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum {
    COC_STORE_SCHEMA = 1,
    COC_STORE_BLOCK = 40000,        /* samples that share one 64-bit hash */
    COC_STORE_LEVEL_SAMPLES = 1600, /* samples of one mean-square value: 100 ms */
};

/* Mean square of full scale (-60 dB) above which a stem counts as audible in a clip's window. */
#define COC_AUDIBLE 1e-6

typedef enum { COC_TRAIN, COC_VALIDATION, COC_TEST, COC_SPLITS } coc_split;
const char *coc_split_name(coc_split split); /* "train", "validation", "test" */
/* Also reads "valid" and "val". Errors: COC_ERR_USAGE with the known names. */
coc_status coc_split_parse(const char *text, coc_split *split);

typedef struct coc_store coc_store; /* many threads may read at once */

typedef struct {
    uint64_t id; /* hash of the track's audio: its number everywhere, stable under additions */
    coc_split split;
    int source;         /* which of the folders that were opened together */
    const char *name;   /* path of the track below the data set's root */
    int64_t samples;    /* of the longest stem; shorter ones read as zeros beyond their end */
    int64_t first_stem; /* stems first_stem .. first_stem + stems - 1 */
    int32_t stems;
} coc_track;

typedef struct {
    int64_t track;
    const char *name;       /* "S03", "vocals" */
    const char *instrument; /* the class: "Bass", "Drums"; "" when unknown */
    const char *source;     /* path of the source file below the data set's root */
    int64_t samples;        /* stored */
    int32_t exponent;
    int64_t levels;           /* ceil(samples / COC_STORE_LEVEL_SAMPLES) */
    const float *mean_square; /* [levels] of the waveform (full scale 1.0), per 100 ms */
} coc_stem;

/* Open for reading: one folder, or a list of them (configs/list.h), whose tracks are then as those
 * of one store. Tracks come sorted by (source, split, id), whatever the number of ranks that wrote
 * them. Not collective. Errors: COC_ERR_IO, COC_ERR_INPUT. */
coc_status coc_store_open(const char *paths, coc_store **store);
void coc_store_close(coc_store **store);

const char *coc_store_path(const coc_store *store);               /* as it was given */
uint64_t coc_store_hash(const coc_store *store);                  /* of all shards' content */
int coc_store_sources(const coc_store *store);                    /* folders */
const char *coc_store_source(const coc_store *store, int source); /* path of one of them */
uint64_t coc_store_source_hash(const coc_store *store, int source);
int64_t coc_store_tracks(const coc_store *store);
const coc_track *coc_store_track(const coc_store *store, int64_t track);
const coc_stem *coc_store_stem(const coc_store *store, int64_t stem);

/* pcm [count] = stored samples first .. first + count - 1 of a stem; zeros beyond its end.
 * Errors: COC_ERR_INPUT when a block's hash does not fit (names shard, track, stem). */
coc_status coc_store_read(coc_store *store, int64_t stem, int64_t first, int64_t count,
                          int16_t *pcm);

/* Mean square of a stem over [first, first + count) samples, from the stored 100 ms values (partly
 * covered values count by their share). */
double coc_store_mean_square(const coc_store *store, int64_t stem, int64_t first, int64_t count);

/* Every hash of every block and of the shards. Errors: COC_ERR_INPUT. */
coc_status coc_store_verify(coc_store *store);

#endif
