/* tests/sounds.h - sound files and broken files for tests. */
#ifndef COC_TESTS_SOUNDS_H
#define COC_TESTS_SOUNDS_H

#include <stdbool.h>
#include <stdint.h>

#include <sndfile.h>

/* Write samples [frames][channels] in a format of libsndfile (SF_FORMAT_WAV | SF_FORMAT_PCM_16).
 * false when this libsndfile cannot write it; any other trouble is a failed check. */
bool coc_test_sound(const char *path, int format, int rate, int channels, int64_t frames,
                    const float *samples);

/* out[t] = amplitude * sin(2 pi hertz t / rate). */
void coc_test_sine(float *out, int64_t frames, double hertz, double amplitude, int rate);

/* A sine of one channel as a 16-bit file; the extension of path chooses wav or flac. */
void coc_test_tone(const char *path, int rate, int64_t frames, double hertz, double amplitude);

/* Cut a file to a length, and change bits of one byte of it. */
void coc_test_cut(const char *path, int64_t bytes);
void coc_test_flip(const char *path, int64_t offset, uint8_t bits);

#endif
