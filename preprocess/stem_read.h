/* preprocess/stem_read.h - a stem of a data set: one sound file, or the sum of several, each from
 * its offset on and times its gain. */
#ifndef COC_PREPROCESS_STEM_READ_H
#define COC_PREPROCESS_STEM_READ_H

#include "base/file.h"
#include "preprocess/audio.h"
#include "preprocess/source_list.h"

/* path of a file of the data set at root. Errors: COC_ERR_USAGE when it would not fit. */
coc_status coc_source_path(char out[COC_PATH_BYTES], const char *root, const coc_source_file *file);

/* The stem's samples at `rate` Hz, from the first of them that a file has to the last; what the
 * struct says of a source is that of the first file. audio: freed with coc_audio_free; empty after
 * a failure. Errors: those of coc_audio_read; COC_ERR_INPUT when all of a file is cut away. */
coc_status coc_stem_read(const char *root, const coc_source_stem *stem, int rate, coc_audio *audio);

/* What coc_stem_read will give as count, from the files' headers. Errors: those of coc_audio_probe.
 */
coc_status coc_stem_probe(const char *root, const coc_source_stem *stem, int rate, int64_t *count);

/* Bytes of all its files; -1 when one is missing. */
int64_t coc_stem_bytes(const char *root, const coc_source_stem *stem);

/* Of one file as it is: coc_hash_file. Of others, over names, offsets, gains and contents. Errors:
 * those of coc_hash_file. */
coc_status coc_stem_hash(const char *root, const coc_source_stem *stem, uint64_t *hash);

/* A hash over what tells whether the files were changed: names, offsets, gains, sizes and times. */
uint64_t coc_stem_signature(const char *root, const coc_source_stem *stem);

#endif
