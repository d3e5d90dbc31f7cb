#include "preprocess/stem_read.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"

coc_status coc_source_path(char out[COC_PATH_BYTES], const char *root, const coc_source_file *file)
{
    if (file->path[0] != '/') return coc_path_join(out, root, file->path);
    snprintf(out, COC_PATH_BYTES, "%s", file->path);
    return strlen(file->path) < COC_PATH_BYTES
               ? COC_OK
               : COC_FAIL(COC_ERR_USAGE, "%.80s...: the path is too long", file->path);
}

static bool is_whole(const coc_source_stem *stem)
{
    return stem->files == 1 && stem->file[0].offset == 0 && stem->file[0].gain == 1;
}

/* ---- samples -------------------------------------------------------------------------------- */

static int64_t offset_samples(const coc_source_file *file, int rate)
{
    return llrint(file->offset * rate);
}

static coc_status nothing_left(const char *path, const coc_source_file *file)
{
    return COC_FAIL(COC_ERR_INPUT, "%s: an offset of %g s cuts all of it away", path, file->offset);
}

/* Adds one file to the sum. */
static coc_status add_file(const char *path, const coc_source_file *file, int rate, coc_audio *sum)
{
    const int64_t offset = offset_samples(file, rate), cut = offset < 0 ? -offset : 0;
    const int64_t at = offset > 0 ? offset : 0;
    coc_audio one;
    int64_t end;
    coc_status status = coc_audio_read(path, rate, &one);

    COC_TRY(status);
    if (one.count <= cut) {
        coc_audio_free(&one);
        return nothing_left(path, file);
    }
    end = at + one.count - cut;
    if (end > sum->count) {
        float *longer = realloc(sum->samples, (size_t)end * sizeof *longer);

        if (longer == NULL) {
            coc_audio_free(&one);
            return COC_FAIL(COC_ERR_MEMORY, "%s: no memory for %lld samples", path, (long long)end);
        }
        memset(longer + sum->count, 0, (size_t)(end - sum->count) * sizeof *longer);
        sum->samples = longer;
        sum->count = end;
    }
    for (int64_t i = at; i < end; i++)
        sum->samples[i] += (float)file->gain * one.samples[i - at + cut];
    if (sum->source_rate == 0) {
        sum->source_rate = one.source_rate;
        sum->source_channels = one.source_channels;
        sum->source_frames = one.source_frames;
    }
    coc_audio_free(&one);
    return COC_OK;
}

coc_status coc_stem_read(const char *root, const coc_source_stem *stem, int rate, coc_audio *audio)
{
    char path[COC_PATH_BYTES];
    coc_status status = COC_OK;

    *audio = (coc_audio){0};
    if (is_whole(stem)) {
        COC_TRY(coc_source_path(path, root, &stem->file[0]));
        return coc_audio_read(path, rate, audio);
    }
    for (int64_t i = 0; i < stem->files && status == COC_OK; i++) {
        status = coc_source_path(path, root, &stem->file[i]);
        if (status == COC_OK) status = add_file(path, &stem->file[i], rate, audio);
    }
    if (status != COC_OK) coc_audio_free(audio);
    return status;
}

coc_status coc_stem_probe(const char *root, const coc_source_stem *stem, int rate, int64_t *count)
{
    char path[COC_PATH_BYTES];

    *count = 0;
    for (int64_t i = 0; i < stem->files; i++) {
        const coc_source_file *file = &stem->file[i];
        int64_t one;

        COC_TRY(coc_source_path(path, root, file));
        COC_TRY(coc_audio_probe(path, rate, &one));
        one += offset_samples(file, rate);
        if (one <= 0) return nothing_left(path, file);
        if (one > *count) *count = one;
    }
    return COC_OK;
}

/* ---- files ---------------------------------------------------------------------------------- */

int64_t coc_stem_bytes(const char *root, const coc_source_stem *stem)
{
    char path[COC_PATH_BYTES];
    int64_t sum = 0;

    for (int64_t i = 0; i < stem->files; i++) {
        const int64_t bytes =
            coc_source_path(path, root, &stem->file[i]) == COC_OK ? coc_file_bytes(path) : -1;

        if (bytes < 0) return -1;
        sum += bytes;
    }
    return sum;
}

/* How a file is used, in a hash. */
static uint64_t mix_use(uint64_t hash, const coc_source_file *file)
{
    uint64_t words[4] = {hash, coc_hash(file->path, strlen(file->path))};

    memcpy(&words[2], &file->offset, sizeof words[2]);
    memcpy(&words[3], &file->gain, sizeof words[3]);
    return coc_hash(words, sizeof words);
}

coc_status coc_stem_hash(const char *root, const coc_source_stem *stem, uint64_t *hash)
{
    char path[COC_PATH_BYTES];

    *hash = 0;
    for (int64_t i = 0; i < stem->files; i++) {
        uint64_t words[2] = {*hash, 0};

        COC_TRY(coc_source_path(path, root, &stem->file[i]));
        COC_TRY(coc_hash_file(path, &words[1]));
        if (is_whole(stem))
            *hash = words[1];
        else
            *hash = mix_use(coc_hash(words, sizeof words), &stem->file[i]);
    }
    return COC_OK;
}

uint64_t coc_stem_signature(const char *root, const coc_source_stem *stem)
{
    uint64_t hash = 0;

    for (int64_t i = 0; i < stem->files; i++) {
        char path[COC_PATH_BYTES];
        struct stat info = {.st_size = -1};

        if (coc_source_path(path, root, &stem->file[i]) == COC_OK && stat(path, &info) != 0)
            info = (struct stat){.st_size = -1};
        const uint64_t words[] = {is_whole(stem) ? 0 : mix_use(hash, &stem->file[i]),
                                  (uint64_t)info.st_size, (uint64_t)info.st_mtim.tv_sec,
                                  (uint64_t)info.st_mtim.tv_nsec};

        hash = coc_hash(words, sizeof words);
    }
    return hash;
}
