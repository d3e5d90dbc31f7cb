/* preprocess/audio.c: what comes back from sound files, and what is refused. */
#include "preprocess/audio.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tests/sounds.h"
#include "tests/test.h"

enum { RATE = 16000, FRAMES = 30000 };

static const char *folder;
static char path_text[512];

static const char *path_of(const char *name)
{
    snprintf(path_text, sizeof path_text, "%s/%s", folder, name);
    return path_text;
}

/* The file is refused with this status, a line that names it and says `word`, and nothing to free.
 */
static void check_refused(const char *path, coc_status want, const char *word)
{
    coc_audio audio;
    const coc_status got = coc_audio_read(path, RATE, &audio);

    if (got != want || strstr(coc_error_text(), path) == NULL ||
        strstr(coc_error_text(), word) == NULL)
        coc_test_fail(__FILE__, __LINE__, "%s: status %d, '%s', wanted %d with '%s'", path, got,
                      coc_error_text(), want, word);
    CHECK(audio.samples == NULL && audio.count == 0);
    coc_audio_free(&audio);
}

/* Steps of 1/32768 go through 16-bit files at the working rate bit by bit. */
static void sixteen_bits_come_back_exactly(void)
{
    static const struct {
        const char *name;
        int format;
    } files[] = {{"exact.wav", SF_FORMAT_WAV}, {"exact.flac", SF_FORMAT_FLAC}};
    static float samples[FRAMES];

    for (int t = 0; t < FRAMES; t++)
        samples[t] = (float)((t * 7919) % 65536 - 32768) / 32768.0f;
    for (int i = 0; i < 2; i++) {
        const char *path = path_of(files[i].name);
        coc_audio audio;

        coc_test_sound(path, files[i].format | SF_FORMAT_PCM_16, RATE, 1, FRAMES, samples);
        REQUIRE_OK(coc_audio_read(path, RATE, &audio));
        CHECK(audio.count == FRAMES);
        CHECK_CLOSE(audio.samples, samples, FRAMES, 0, 0);
        coc_audio_free(&audio);
    }
}

/* Two channels at 44.1 kHz come back as their mean at 16 kHz, not shifted in time. */
static void stereo_is_averaged_and_resampled(void)
{
    enum { FROM = 44100, SECOND = 44100 };
    static float left[SECOND], both[2 * SECOND], want[RATE];
    const char *path = path_of("stereo.wav");
    coc_audio audio;

    coc_test_sine(left, SECOND, 440, 0.5, FROM);
    for (int t = 0; t < SECOND; t++) {
        both[2 * t] = left[t];
        both[2 * t + 1] = 0.5f * left[t];
    }
    coc_test_sound(path, SF_FORMAT_WAV | SF_FORMAT_PCM_16, FROM, 2, SECOND, both);
    REQUIRE_OK(coc_audio_read(path, RATE, &audio));
    CHECK(audio.count == RATE);
    CHECK(audio.source_rate == FROM && audio.source_channels == 2 && audio.source_frames == SECOND);
    coc_test_sine(want, RATE, 440, 0.375, RATE);
    /* 16-bit rounding of both channels is 1.5e-5 each; the filter's ends see silence outside */
    CHECK_CLOSE(audio.samples + 400, want + 400, RATE - 800, 0, 4e-5);
    coc_audio_free(&audio);
}

/* A tone above 8 kHz would fold back if the resampler did not take it away. */
static void tones_above_half_the_rate_vanish(void)
{
    const char *path = path_of("high.wav");
    coc_audio audio;
    double most = 0;

    coc_test_tone(path, 44100, 44100, 9000, 0.9);
    REQUIRE_OK(coc_audio_read(path, RATE, &audio));
    for (int64_t t = 400; t < audio.count - 400; t++)
        most = fmax(most, fabs((double)audio.samples[t]));
    CHECK(most < 1e-4); /* -80 dB: 16-bit rounding noise of the source alone is -96 dB */
    coc_audio_free(&audio);
}

/* count = round(frames * 16000 / rate), from the header and from the samples. */
static void lengths_are_rounded(void)
{
    static const int rates[] = {8000, 11025, 22050, 44100, 48000, 96000};
    static const int lengths[] = {1, 2, 3, 441, 10007, 29999};

    for (int r = 0; r < 6; r++) {
        for (int n = 0; n < 6; n++) {
            const int64_t want = llround((double)lengths[n] * RATE / rates[r]);
            const char *path = path_of("length.wav");
            int64_t probed;
            coc_audio audio;

            coc_test_tone(path, rates[r], lengths[n], 100, 0.5);
            REQUIRE_OK(coc_audio_read(path, RATE, &audio));
            REQUIRE_OK(coc_audio_probe(path, RATE, &probed));
            CHECK(audio.count == want);
            CHECK(probed == want);
            coc_audio_free(&audio);
        }
    }
}

/* 24 bits, also in the extensible form of WAV, keep their low bits. */
static void low_bits_are_kept(void)
{
    static const int formats[] = {SF_FORMAT_WAV, SF_FORMAT_WAVEX, SF_FORMAT_FLAC};
    static float samples[FRAMES];

    for (int t = 0; t < FRAMES; t++)
        samples[t] = (float)((t * 7919LL) % 16777216 - 8388608) / 8388608.0f;
    for (int i = 0; i < 3; i++) {
        const char *path = path_of("bits24");
        coc_audio audio;

        coc_test_sound(path, formats[i] | SF_FORMAT_PCM_24, RATE, 1, FRAMES, samples);
        REQUIRE_OK(coc_audio_read(path, RATE, &audio));
        CHECK_CLOSE(audio.samples, samples, FRAMES, 0, 0);
        coc_audio_free(&audio);
    }
}

/* Ogg Vorbis and MP3 come back in length and, nearly, in shape. */
static void lossy_formats_are_read(void)
{
    static const struct {
        const char *name;
        int format;
    } files[] = {{"tone.ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS},
                 {"tone.mp3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III}};
    static float samples[FRAMES];

    coc_test_sine(samples, FRAMES, 440, 0.5, RATE);
    for (int i = 0; i < 2; i++) {
        const char *path = path_of(files[i].name);
        coc_audio audio;

        if (!coc_test_sound(path, files[i].format, RATE, 1, FRAMES, samples)) {
            fprintf(stderr, "  this libsndfile does not write %s\n", files[i].name);
            continue;
        }
        REQUIRE_OK(coc_audio_read(path, RATE, &audio));
        CHECK(audio.count == FRAMES);
        /* coding noise: about -40 dB at these encoders' default quality */
        CHECK(coc_test_relative_error(audio.samples + 2000, samples + 2000, FRAMES - 4000) < 0.03);
        coc_audio_free(&audio);
    }
}

/* A sample that is no number names its place; so does an infinite one in a second channel. */
static void samples_that_are_no_numbers_are_refused(void)
{
    static float samples[2 * FRAMES];

    samples[2 * 16000] = NAN;
    coc_test_sound(path_of("nan.wav"), SF_FORMAT_WAV | SF_FORMAT_FLOAT, RATE, 2, FRAMES, samples);
    check_refused(path_of("nan.wav"), COC_ERR_INPUT, "sample 16000 (1.000 s) is not a number");
    samples[2 * 16000] = 0;
    samples[2 * 8000 + 1] = INFINITY;
    coc_test_sound(path_of("inf.wav"), SF_FORMAT_WAV | SF_FORMAT_FLOAT, RATE, 2, FRAMES, samples);
    check_refused(path_of("inf.wav"), COC_ERR_INPUT, "sample 8000 (0.500 s) is infinite");
}

/* A file that lost its end is refused in every format, by half of it or by a few bytes. */
static void cut_files_are_refused(void)
{
    static const struct {
        const char *name;
        int format;
        double keep;
    } files[] = {{"cut.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 0.5},
                 {"cut24.wav", SF_FORMAT_WAVEX | SF_FORMAT_PCM_24, 0.999},
                 {"cut.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 0.5},
                 {"cut2.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 0.999},
                 {"cut.ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS, 0.5},
                 {"cut2.ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS, 0.999},
                 {"cut.mp3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, 0.5}};
    static float samples[FRAMES];

    coc_test_random(samples, FRAMES, 1);
    for (int i = 0; i < 7; i++) {
        const char *path = path_of(files[i].name);

        if (!coc_test_sound(path, files[i].format, RATE, 1, FRAMES, samples)) continue;
        coc_test_cut(path, (int64_t)(files[i].keep * (double)coc_file_bytes(path)));
        check_refused(path, COC_ERR_INPUT, "cut short");
    }
}

/* An MP3 with more packets than its header tells of is refused: it would lose its end. One with a
 * tag behind its packets is whole. */
static void longer_mp3_is_refused(void)
{
    static float samples[FRAMES];
    static const char tag[8000] = "APETAGEX";
    const char *path = path_of("long.mp3");
    char *bytes, *twice;
    size_t count;
    coc_audio audio;

    coc_test_random(samples, FRAMES, 3);
    if (!coc_test_sound(path, SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, RATE, 1, FRAMES, samples))
        return;
    REQUIRE_OK(coc_file_read(path, 1 << 24, &bytes, &count));
    twice = malloc(2 * count + sizeof tag);
    REQUIRE(twice != NULL);
    memcpy(twice, bytes, count);
    memcpy(twice + count, tag, sizeof tag);
    REQUIRE_OK(coc_file_write(path, twice, count + sizeof tag));
    REQUIRE_OK(coc_audio_read(path, RATE, &audio));
    CHECK(audio.count == FRAMES);
    coc_audio_free(&audio);
    memcpy(twice + count, bytes, count);
    REQUIRE_OK(coc_file_write(path, twice, 2 * count));
    check_refused(path, COC_ERR_INPUT, "more than the");
    free(twice);
    free(bytes);
}

/* A damaged frame inside a FLAC file does not pass as silence or as fewer samples. */
static void damaged_flac_is_refused(void)
{
    static float samples[FRAMES];
    const char *path = path_of("damaged.flac");

    coc_test_random(samples, FRAMES, 2);
    coc_test_sound(path, SF_FORMAT_FLAC | SF_FORMAT_PCM_16, RATE, 1, FRAMES, samples);
    coc_test_flip(path, coc_file_bytes(path) / 2, 0x10);
    check_refused(path, COC_ERR_INPUT, "broken");
}

/* A WAV header of a program that wrote to a pipe: length unknown, all samples there. */
static void wav_of_unknown_length_is_read(void)
{
    const char *path = path_of("pipe.wav");
    coc_audio audio;

    coc_test_tone(path, RATE, FRAMES, 440, 0.5);
    for (int64_t at = 40; at < 44; at++) { /* the data chunk's size, little-endian, to ffffffff */
        FILE *file = fopen(path, "r+b");

        REQUIRE(file != NULL);
        fseek(file, (long)at, SEEK_SET);
        fputc(0xff, file);
        fclose(file);
    }
    REQUIRE_OK(coc_audio_read(path, RATE, &audio));
    CHECK(audio.count == FRAMES);
    coc_audio_free(&audio);
}

/* A header that claims 2^36 - 1 samples is refused before anything is made of it. */
static void forged_length_is_refused(void)
{
    const char *path = path_of("forged.flac");
    FILE *file;

    coc_test_tone(path, RATE, FRAMES, 440, 0.5);
    file = fopen(path, "r+b");
    REQUIRE(file != NULL);
    fseek(file, 22, SEEK_SET); /* STREAMINFO: the last four bytes of the 36-bit count */
    for (int i = 0; i < 4; i++)
        fputc(0xff, file);
    fclose(file);
    check_refused(path, COC_ERR_INPUT, "broken");
}

/* What is no sound file is refused in one line that names it. */
static void foreign_files_are_refused(void)
{
    REQUIRE_OK(coc_file_write(path_of("empty.wav"), "", 0));
    check_refused(path_of("empty.wav"), COC_ERR_INPUT, "0 bytes");
    REQUIRE_OK(coc_file_write(path_of("text.flac"), "no music\n", 9));
    check_refused(path_of("text.flac"), COC_ERR_INPUT, "not a sound file");
    coc_test_tone(path_of("none.wav"), RATE, 0, 440, 0.5);
    check_refused(path_of("none.wav"), COC_ERR_INPUT, "no samples");
    check_refused(path_of("missing.wav"), COC_ERR_IO, "No such file");
    check_refused(folder, COC_ERR_IO, "not a regular file");
}

int main(void)
{
    folder = coc_test_folder("audio");
    RUN(sixteen_bits_come_back_exactly);
    RUN(stereo_is_averaged_and_resampled);
    RUN(tones_above_half_the_rate_vanish);
    RUN(lengths_are_rounded);
    RUN(low_bits_are_kept);
    RUN(lossy_formats_are_read);
    RUN(samples_that_are_no_numbers_are_refused);
    RUN(cut_files_are_refused);
    RUN(longer_mp3_is_refused);
    RUN(damaged_flac_is_refused);
    RUN(wav_of_unknown_length_is_read);
    RUN(forged_length_is_refused);
    RUN(foreign_files_are_refused);
    return coc_test_result();
}
