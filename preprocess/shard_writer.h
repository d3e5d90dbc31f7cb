/* preprocess/shard_writer.h - write one shard: track after track, then put it in place whole.
 *
 *     coc_shard_writer *w = NULL;
 *     COC_TRY(coc_shard_writer_create("store/shard-00000.h5", &settings, samples, &w));
 *     coc_shard_writer_begin(w, COC_TRAIN, "train/Track00001", signature);
 *     coc_shard_writer_add(w, &source, &audio);         for every stem
 *     coc_shard_writer_keep(w);                         or coc_shard_writer_skip(w, reason)
 *     coc_shard_writer_finish(&w);                      or coc_shard_writer_discard(&w)
 *
 * Samples go to the file at once; only the index is kept in memory. After a failure the writer can
 * only be discarded, but for COC_ERR_INPUT, after which the track can be skipped. Nothing is
 * collective: one rank writes a shard.
 */
#ifndef COC_PREPROCESS_SHARD_WRITER_H
#define COC_PREPROCESS_SHARD_WRITER_H

#include <stdint.h>

#include "base/status.h"
#include "preprocess/audio.h"
#include "preprocess/shard.h"
#include "preprocess/store.h"

typedef struct coc_shard_writer coc_shard_writer;

typedef struct {
    const char *name, *instrument;
    const char *source; /* path below the data set's root */
    int64_t bytes;      /* of the source file */
    uint64_t hash;
} coc_stem_source;

/* room: samples that will be written, at most. When fewer were, finishing copies the audio once
 * more, so give what is expected. path is made; its folder exists. The writer is the caller's.
 * Errors: COC_ERR_IO, COC_ERR_MEMORY. */
coc_status coc_shard_writer_create(const char *path, const coc_store_settings *settings,
                                   int64_t room, coc_shard_writer **writer);

coc_status coc_shard_writer_begin(coc_shard_writer *writer, coc_split split, const char *name,
                                  uint64_t signature);
/* Write a stem of the track at COC_SAMPLE_RATE: int16 with a power-of-two exponent, so that its
 * peak lies in (0.5, 1]; exponent 0 for silence. Errors: COC_ERR_IO (the disk), COC_ERR_INPUT (more
 * than there is room for), COC_ERR_MEMORY. */
coc_status coc_shard_writer_add(coc_shard_writer *writer, const coc_stem_source *source,
                                const coc_audio *audio);
/* Stems of the begun track with a mean square above COC_AUDIBLE over some 5 s. */
int64_t coc_shard_writer_audible(const coc_shard_writer *writer);
coc_status coc_shard_writer_keep(coc_shard_writer *writer);
/* Drop the begun track and note why. content: coc_track_content of its sources; 0: a later run is
 * to look at it again even when its files have not changed. */
coc_status coc_shard_writer_skip(coc_shard_writer *writer, const char *reason, uint64_t content);

/* Complete the file, sync it and give it its name. *writer becomes NULL, also after a failure,
 * which leaves nothing behind. Errors: COC_ERR_IO, COC_ERR_MEMORY. */
coc_status coc_shard_writer_finish(coc_shard_writer **writer);
void coc_shard_writer_discard(coc_shard_writer **writer); /* takes NULL; leaves no file */

#endif
