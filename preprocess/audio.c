#include "preprocess/audio.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sndfile.h>
#include <soxr.h>

#include "base/memory.h"

enum {
    BLOCK = 65536,      /* values read at a time, over all channels */
    MAX_CHANNELS = 256, /* more is no stem */
    MAX_RATE = 1 << 20, /* Hz */
};

/* A file may say that it holds so many frames a byte at most: FLAC's densest coding, silence in
 * blocks of 65,535, stays below 6,000. More is a forged or broken header. */
static const int64_t MAX_FRAMES_PER_BYTE = 8192;

typedef struct {
    const char *path;
    int descriptor;
    SNDFILE *file;
    SF_INFO info;
    int64_t bytes; /* of the file */
    soxr_t soxr;   /* NULL: the rate fits */
    float *in;     /* [BLOCK], interleaved */
    float *mono;   /* [BLOCK] */
    int64_t frames, capacity;
    coc_audio *out;
} reader;

/* ---- opening --------------------------------------------------------------------------------- */

static coc_status look_at_file(reader *r)
{
    struct stat s;

    r->descriptor = open(r->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a pipe must not stop us */
    if (r->descriptor < 0)
        return COC_FAIL(COC_ERR_IO, "%s: cannot be opened: %s", r->path, strerror(errno));
    if (fstat(r->descriptor, &s) != 0 || !S_ISREG(s.st_mode))
        return COC_FAIL(COC_ERR_IO, "%s: not a regular file", r->path);
    r->bytes = (int64_t)s.st_size;
    if (r->bytes == 0)
        return COC_FAIL(COC_ERR_INPUT, "%s: the file is empty (0 bytes); fetch it again", r->path);
    return COC_OK;
}

static uint32_t little_endian(const unsigned char *b)
{
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* libsndfile takes a cut WAV file for a shorter whole one, so the length of its data chunk is
 * compared here. Programs that write to a pipe leave 0 or a length near 2^31 or 2^32. */
static bool wav_is_cut(const reader *r)
{
    unsigned char head[12];
    int64_t at = 12;
    bool cut = false;
    FILE *file = fopen(r->path, "rb");

    if (file == NULL) return false;
    if (fread(head, 1, 12, file) == 12 && memcmp(head, "RIFF", 4) == 0) {
        while (fseeko(file, (off_t)at, SEEK_SET) == 0 && fread(head, 1, 8, file) == 8) {
            const int64_t size = little_endian(head + 4);

            at += 8;
            if (memcmp(head, "data", 4) == 0) {
                cut = size < 0x7fff0000 && at + size > r->bytes;
                break;
            }
            at += size + (size & 1);
        }
    }
    fclose(file);
    return cut;
}

static coc_status cut_short(const char *path)
{
    return COC_FAIL(COC_ERR_INPUT, "%s: the file is cut short; fetch or render it again", path);
}

static coc_status check_info(const reader *r)
{
    const SF_INFO *i = &r->info;
    const int type = i->format & SF_FORMAT_TYPEMASK;

    if (i->channels < 1 || i->channels > MAX_CHANNELS || i->samplerate < 1 ||
        i->samplerate > MAX_RATE)
        return COC_FAIL(COC_ERR_INPUT, "%s: %d channels at %d Hz cannot be read", r->path,
                        i->channels, i->samplerate);
    if (i->frames == SF_COUNT_MAX) return cut_short(r->path); /* an ogg stream without an end */
    if (i->frames <= 0)
        return COC_FAIL(COC_ERR_INPUT, "%s: holds no samples; remove it or render it again",
                        r->path);
    if (i->frames / MAX_FRAMES_PER_BYTE > r->bytes)
        return COC_FAIL(COC_ERR_INPUT, "%s: says it holds %lld frames in %lld bytes; it is broken",
                        r->path, (long long)i->frames, (long long)r->bytes);
    if ((type == SF_FORMAT_WAV || type == SF_FORMAT_WAVEX) && wav_is_cut(r))
        return cut_short(r->path);
    return COC_OK;
}

static coc_status open_sound(reader *r)
{
    COC_TRY(look_at_file(r));
    r->file = sf_open_fd(r->descriptor, SFM_READ, &r->info, SF_FALSE);
    if (r->file == NULL)
        return COC_FAIL(COC_ERR_INPUT, "%s: not a sound file that can be read (%s)", r->path,
                        sf_strerror(NULL));
    return check_info(r);
}

static void close_sound(reader *r)
{
    if (r->file != NULL) sf_close(r->file);
    if (r->descriptor >= 0) close(r->descriptor);
}

static int64_t count_at(int64_t frames, int rate, int source_rate)
{
    return (2 * frames * rate + source_rate) / (2 * (int64_t)source_rate);
}

/* ---- reading --------------------------------------------------------------------------------- */

static coc_status create_resampler(reader *r, int rate)
{
    const soxr_io_spec_t io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
    const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    const soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
    soxr_error_t error;

    if (r->info.samplerate == rate) return COC_OK;
    r->soxr = soxr_create(r->info.samplerate, rate, 1, &error, &io, &quality, &runtime);
    if (r->soxr == NULL)
        return COC_FAIL(COC_ERR_INPUT, "%s: cannot be resampled from %d Hz: %s", r->path,
                        r->info.samplerate, soxr_strerror(error));
    return COC_OK;
}

static coc_status append(reader *r, const float *samples, int64_t count)
{
    coc_audio *a = r->out;

    COC_TRY(coc_grow(&a->samples, &r->capacity, a->count + count, sizeof *a->samples));
    memcpy(a->samples + a->count, samples, (size_t)count * sizeof *samples);
    a->count += count;
    return COC_OK;
}

/* Resample [count] samples onto the end of the output; NULL gives what the filter still holds. */
static coc_status resample(reader *r, const float *samples, int64_t count)
{
    coc_audio *a = r->out;
    size_t taken, given;

    do {
        soxr_error_t error;

        COC_TRY(coc_grow(&a->samples, &r->capacity, a->count + BLOCK, sizeof *a->samples));
        error = soxr_process(r->soxr, samples, (size_t)count, &taken, a->samples + a->count, BLOCK,
                             &given);
        if (error != NULL)
            return COC_FAIL(COC_ERR_INPUT, "%s: cannot be resampled: %s", r->path,
                            soxr_strerror(error));
        a->count += (int64_t)given;
        count -= (int64_t)taken;
        if (samples != NULL) samples += taken;
    } while (count > 0 || given == BLOCK);
    return COC_OK;
}

/* mono[t] = mean over channels of in[t][c]. */
static const float *average(const reader *r, int64_t frames)
{
    const int channels = r->info.channels;

    if (channels == 1) return r->in;
    for (int64_t t = 0; t < frames; t++) {
        float sum = 0;

        for (int c = 0; c < channels; c++)
            sum += r->in[t * channels + c];
        r->mono[t] = sum / (float)channels;
    }
    return r->mono;
}

static coc_status check_finite(const reader *r, const float *samples, int64_t count)
{
    int bad = 0;

    for (int64_t t = 0; t < count; t++)
        bad |= !isfinite(samples[t]);
    if (!bad) return COC_OK;
    for (int64_t t = 0; t < count; t++)
        if (!isfinite(samples[t]))
            return COC_FAIL(
                COC_ERR_INPUT, "%s: sample %lld (%.3f s) is %s; render the file again or remove it",
                r->path, (long long)(r->frames + t), (double)(r->frames + t) / r->info.samplerate,
                isnan(samples[t]) ? "not a number" : "infinite");
    return COC_OK;
}

static coc_status read_all(reader *r)
{
    const int64_t block = BLOCK / r->info.channels;
    sf_count_t got;

    while ((got = sf_readf_float(r->file, r->in, block)) > 0) {
        const float *samples = average(r, got);

        COC_TRY(check_finite(r, samples, got));
        COC_TRY(r->soxr != NULL ? resample(r, samples, got) : append(r, samples, got));
        r->frames += got;
    }
    if (sf_error(r->file) != SF_ERR_NO_ERROR)
        return COC_FAIL(COC_ERR_INPUT, "%s: broken after frame %lld: %s", r->path,
                        (long long)r->frames, sf_strerror(r->file));
    return r->soxr != NULL ? resample(r, NULL, 0) : COC_OK;
}

static bool is_mp3(const reader *r)
{
    return (r->info.format & SF_FORMAT_TYPEMASK) == SF_FORMAT_MPEG;
}

/* The length in an MP3's header is sometimes an estimate; everywhere else it is exact. */
static bool is_whole(const reader *r)
{
    const int64_t missing = r->info.frames - r->frames;

    if (is_mp3(r)) return missing <= 2304 || missing <= r->info.frames / 100;
    return missing == 0;
}

/* libsndfile stops at an MP3's estimated length, with the descriptor behind the last packet read:
 * then another packet begins there, not a tag. A few hold only the padding of the coder. */
static bool has_more(const reader *r)
{
    enum { PADDING = 3 * 1441 }; /* bytes of the longest packets */
    const off_t at = lseek(r->descriptor, 0, SEEK_CUR);
    unsigned char head[2];

    return is_mp3(r) && r->bytes - (int64_t)at > PADDING &&
           pread(r->descriptor, head, 2, at) == 2 && head[0] == 0xff && head[1] >= 0xe0;
}

static coc_status finish(reader *r, int rate)
{
    const int64_t count = count_at(r->frames, rate, r->info.samplerate);
    coc_audio *a = r->out;

    if (!is_whole(r))
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: cut short or broken: %lld of %lld frames can be read; fetch or render "
                        "it again",
                        r->path, (long long)r->frames, (long long)r->info.frames);
    if (has_more(r))
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: holds more than the %lld frames that its header tells of; encode it "
                        "again, as FLAC",
                        r->path, (long long)r->info.frames);
    /* the resampler's own count may differ from the rounded one by a sample */
    COC_TRY(coc_grow(&a->samples, &r->capacity, count, sizeof *a->samples));
    for (int64_t t = a->count; t < count; t++)
        a->samples[t] = 0;
    a->count = count;
    a->source_rate = r->info.samplerate;
    a->source_channels = r->info.channels;
    a->source_frames = r->frames;
    return COC_OK;
}

coc_status coc_audio_read(const char *path, int rate, coc_audio *audio)
{
    reader r = {.path = path, .descriptor = -1, .out = audio};
    coc_status status;

    *audio = (coc_audio){0};
    COC_TRY_GOTO(status, open_sound(&r), done);
    COC_TRY_GOTO(status, create_resampler(&r, rate), done);
    COC_TRY_GOTO(status, coc_alloc(BLOCK, sizeof(float), &r.in), done);
    COC_TRY_GOTO(status, coc_alloc(BLOCK, sizeof(float), &r.mono), done);
    COC_TRY_GOTO(status, read_all(&r), done);
    status = finish(&r, rate);

done:
    close_sound(&r);
    if (r.soxr != NULL) soxr_delete(r.soxr);
    free(r.in);
    free(r.mono);
    if (status != COC_OK) coc_audio_free(audio);
    return status;
}

coc_status coc_audio_probe(const char *path, int rate, int64_t *count)
{
    reader r = {.path = path, .descriptor = -1};
    const coc_status status = open_sound(&r);

    *count = status == COC_OK ? count_at(r.info.frames, rate, r.info.samplerate) : 0;
    close_sound(&r);
    return status;
}

void coc_audio_free(coc_audio *audio)
{
    free(audio->samples);
    *audio = (coc_audio){0};
}
