#include "tests/sounds.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/test.h"

/* libsndfile scales floats by 32767 when it writes; integers it takes as they are. */
static sf_count_t write_exact(SNDFILE *file, const float *samples, int64_t frames, int channels)
{
    int *values = malloc((size_t)(frames * channels + 1) * sizeof *values);
    sf_count_t written = -1;

    for (int64_t i = 0; values != NULL && i < frames * channels; i++) {
        const double value = 2147483648.0 * (double)samples[i];

        values[i] = value >= 2147483647.0 ? 2147483647 : (int)value;
    }
    if (values != NULL) written = sf_writef_int(file, values, frames);
    free(values);
    return written;
}

static sf_count_t write_any(SNDFILE *file, const SF_INFO *info, const float *samples,
                            int64_t frames)
{
    const int kind = info->format & SF_FORMAT_SUBMASK;

    if (kind == SF_FORMAT_PCM_16 || kind == SF_FORMAT_PCM_24)
        return write_exact(file, samples, frames, info->channels);
    return sf_writef_float(file, samples, frames);
}

bool coc_test_sound(const char *path, int format, int rate, int channels, int64_t frames,
                    const float *samples)
{
    SF_INFO info = {.samplerate = rate, .channels = channels, .format = format};
    SNDFILE *file;

    if (!sf_format_check(&info)) return false;
    file = sf_open(path, SFM_WRITE, &info);
    if (file == NULL || write_any(file, &info, samples, frames) != frames)
        coc_test_fail(__FILE__, __LINE__, "%s: cannot be written: %s", path, sf_strerror(file));
    if (file != NULL) sf_close(file);
    return true;
}

void coc_test_sine(float *out, int64_t frames, double hertz, double amplitude, int rate)
{
    for (int64_t t = 0; t < frames; t++)
        out[t] = (float)(amplitude * sin(2 * 3.14159265358979323846 * hertz * (double)t / rate));
}

void coc_test_tone(const char *path, int rate, int64_t frames, double hertz, double amplitude)
{
    const bool flac = strstr(path, ".flac") != NULL;
    float *samples = malloc((size_t)(frames > 0 ? frames : 1) * sizeof *samples);

    if (samples == NULL) return;
    coc_test_sine(samples, frames, hertz, amplitude, rate);
    coc_test_sound(path, (flac ? SF_FORMAT_FLAC : SF_FORMAT_WAV) | SF_FORMAT_PCM_16, rate, 1,
                   frames, samples);
    free(samples);
}

void coc_test_cut(const char *path, int64_t bytes)
{
    if (truncate(path, (off_t)bytes) != 0)
        coc_test_fail(__FILE__, __LINE__, "%s: cannot be cut", path);
}

void coc_test_flip(const char *path, int64_t offset, uint8_t bits)
{
    FILE *file = fopen(path, "r+b");
    int byte = EOF;

    if (file != NULL && fseek(file, (long)offset, SEEK_SET) == 0) byte = fgetc(file);
    if (byte == EOF || fseek(file, (long)offset, SEEK_SET) != 0 || fputc(byte ^ bits, file) == EOF)
        coc_test_fail(__FILE__, __LINE__, "%s: no byte at %lld", path, (long long)offset);
    if (file != NULL) fclose(file);
}
