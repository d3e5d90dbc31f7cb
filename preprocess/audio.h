/* preprocess/audio.h - one sound file to mono samples at the working rate. */
#ifndef COC_PREPROCESS_AUDIO_H
#define COC_PREPROCESS_AUDIO_H

#include <stdint.h>

#include "base/status.h"

typedef struct {
    float *samples; /* [count], full scale 1.0; the owner of the struct frees it */
    int64_t count;
    int source_rate; /* Hz */
    int source_channels;
    int64_t source_frames;
} coc_audio;

/* Read anything that libsndfile reads (wav, flac, ogg, mp3, ...), average its channels and resample
 * to `rate` Hz (soxr, high quality): count = round(source_frames * rate / source_rate).
 *
 * path   in
 * audio  out  freed with coc_audio_free; empty after a failure
 *
 * Not collective; several threads may read at once.
 * Errors: COC_ERR_IO (no such file, no permission), COC_ERR_INPUT (no sound file, empty, cut short,
 * an MP3 longer than its header says, a NaN or infinite sample: names it), COC_ERR_MEMORY. */
coc_status coc_audio_read(const char *path, int rate, coc_audio *audio);
void coc_audio_free(coc_audio *audio);

/* What coc_audio_read will give as count, from the file's header alone (of an MP3 without a length
 * in it: about). 0 after a failure. Errors: as above. */
coc_status coc_audio_probe(const char *path, int rate, int64_t *count);

#endif
