/* From rendered stems to a track on disk: which stems stay, one gain, FLAC files, metadata. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <sndfile.h>

#include "base/memory.h"
#include "preprocess/render_song.h"

enum { LEAST_STEMS = 3, LEAST_SECONDS = 15, LEAST_ACTIVE_SECONDS = 10 };

static const double least_activity = 0.15;    /* share of whole seconds */
static const double audible_power = 1e-6;     /* mean square: -60 dBFS */
static const double target_peak = 0.89125094; /* -1 dBFS */

void coc_stems_free(coc_stems *stems)
{
    for (int s = 0; s < stems->count; s++)
        free(stems->stem[s].samples);
    *stems = (coc_stems){0};
}

/* ---- which stems stay ------------------------------------------------------------------------ */

double coc_stems_gain(const coc_stems *stems)
{
    double peak = 0;

    for (int64_t i = 0; i < stems->samples; i++) {
        double sum = 0;

        for (int s = 0; s < stems->count; s++) {
            const double x = (double)stems->stem[s].samples[i];

            sum += x;
            if (fabs(x) > peak) peak = fabs(x);
        }
        if (fabs(sum) > peak) peak = fabs(sum);
    }
    return peak > 0 ? target_peak / peak : 0;
}

static int64_t active_seconds(const float *samples, int64_t seconds, int64_t rate, double gain)
{
    int64_t active = 0;

    for (int64_t second = 0; second < seconds; second++) {
        const float *x = samples + second * rate;
        double sum = 0;

        for (int64_t i = 0; i < rate; i++)
            sum += (double)x[i] * (double)x[i];
        active += gain * gain * sum > audible_power * (double)rate;
    }
    return active;
}

bool coc_stems_keep(coc_stems *stems, int64_t rate, char why[128])
{
    const int64_t seconds = stems->samples / rate;
    /* levels as they would be if all stems stayed: a module's own level means nothing */
    const double gain = coc_stems_gain(stems);
    int kept = 0;

    for (int s = 0; s < stems->count; s++) {
        const int64_t active = active_seconds(stems->stem[s].samples, seconds, rate, gain);

        if (active >= LEAST_ACTIVE_SECONDS && (double)active >= least_activity * (double)seconds)
            stems->stem[kept++] = stems->stem[s];
        else
            free(stems->stem[s].samples);
    }
    stems->count = kept;
    if (seconds < LEAST_SECONDS)
        snprintf(why, 128, "%.1f s long; %d s are needed", (double)stems->samples / (double)rate,
                 LEAST_SECONDS);
    else if (kept < LEAST_STEMS)
        snprintf(why, 128, "stems that sound for %d s or more: %d; %d are needed",
                 LEAST_ACTIVE_SECONDS, kept, LEAST_STEMS);
    else
        return true;
    return false;
}

/* ---- FLAC, encoded in memory: what a full disk does to a file is then ours to see -------------
 */

typedef struct {
    char *bytes;
    int64_t count, capacity, position;
} memory_file;

static sf_count_t memory_length(void *user)
{
    return ((memory_file *)user)->count;
}

static sf_count_t memory_tell(void *user)
{
    return ((memory_file *)user)->position;
}

static sf_count_t memory_seek(sf_count_t offset, int whence, void *user)
{
    memory_file *file = user;
    const int64_t base = whence == SEEK_CUR ? file->position : whence == SEEK_END ? file->count : 0;

    if (base + offset < 0 || base + offset > file->count) return -1;
    return file->position = base + offset;
}

static sf_count_t memory_read(void *to, sf_count_t count, void *user)
{
    memory_file *file = user;
    const int64_t left = file->count - file->position;

    if (count > left) count = left;
    memcpy(to, file->bytes + file->position, (size_t)count);
    file->position += count;
    return count;
}

static sf_count_t memory_write(const void *from, sf_count_t count, void *user)
{
    memory_file *file = user;

    if (coc_grow(&file->bytes, &file->capacity, file->position + count, 1) != COC_OK) return 0;
    memcpy(file->bytes + file->position, from, (size_t)count);
    file->position += count;
    if (file->position > file->count) file->count = file->position;
    return count;
}

static coc_status encode(const int16_t *pcm, int64_t samples, int64_t rate, memory_file *file)
{
    SF_VIRTUAL_IO access = {memory_length, memory_seek, memory_read, memory_write, memory_tell};
    SF_INFO info = {
        .samplerate = (int)rate, .channels = 1, .format = SF_FORMAT_FLAC | SF_FORMAT_PCM_16};
    SNDFILE *sound = sf_open_virtual(&access, SFM_WRITE, &info, file);
    int64_t written;

    if (sound == NULL)
        return COC_FAIL(COC_ERR_INTERNAL, "libsndfile cannot write FLAC: %s", sf_strerror(NULL));
    written = sf_write_short(sound, pcm, samples);
    if (sf_close(sound) != 0 || written != samples)
        return COC_FAIL(COC_ERR_MEMORY, "a stem of %" PRId64 " samples cannot be encoded", samples);
    return COC_OK;
}

/* The folder is published by one rename when all its files are on the disk. */
static coc_status write_synced(const char *path, const char *bytes, int64_t count)
{
    const int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    int error = errno;
    bool good = file >= 0;

    for (int64_t done = 0; good && done < count;) {
        const ssize_t n = write(file, bytes + done, (size_t)(count - done));

        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            error = n == 0 ? ENOSPC : errno;
            good = false;
        } else {
            done += n;
        }
    }
    if (good && fsync(file) != 0 && errno != EINVAL) {
        error = errno;
        good = false;
    }
    if (file >= 0 && close(file) != 0 && good) {
        error = errno;
        good = false;
    }
    if (!good) return COC_FAIL(COC_ERR_IO, "%s: cannot be written: %s", path, strerror(error));
    return COC_OK;
}

static coc_status write_stem(const coc_rendered_stem *stem, int64_t samples, int64_t rate,
                             double gain, int16_t *pcm, const char *path)
{
    memory_file file = {0};
    coc_status status;

    for (int64_t i = 0; i < samples; i++)
        pcm[i] = (int16_t)lrint((double)stem->samples[i] * gain * 32767.0);
    status = encode(pcm, samples, rate, &file);
    if (status == COC_OK) status = write_synced(path, file.bytes, file.count);
    free(file.bytes);
    return status;
}

/* ---- metadata -------------------------------------------------------------------------------- */

char *coc_quoted(const char *text)
{
    json_t *value = json_string(text);
    char *copy = value == NULL ? coc_strdup(text) : NULL, *quoted;

    for (char *c = copy; c != NULL && *c != '\0'; c++)
        if ((unsigned char)*c >= 128) *c = '?';
    if (copy != NULL) value = json_string(copy);
    free(copy);
    quoted = value != NULL ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    json_decref(value);
    return quoted;
}

static void print_quoted(FILE *out, const char *key, const char *text)
{
    char *quoted = coc_quoted(text);

    fprintf(out, "%s: %s\n", key, quoted != NULL ? quoted : "\"?\"");
    free(quoted);
}

static void print_metadata(FILE *out, const coc_song *song, const coc_render_settings *settings,
                           const coc_stems *stems, double gain)
{
    const char *slash = strrchr(settings->soundfont, '/');
    const char *soundfont = slash != NULL ? slash + 1 : settings->soundfont;

    fprintf(out, "UUID: \"%016" PRIx64 "\"\n", song->hash);
    fprintf(out, "audio_dir: stems\nmidi_dir: MIDI\nnormalized: false\n");
    fprintf(out, "overall_gain: %.9g\n", gain);
    print_quoted(out, "source", song->name);
    fprintf(out, "stems:\n");
    for (int s = 0; s < stems->count; s++) {
        const coc_rendered_stem *stem = &stems->stem[s];

        fprintf(out, "  S%02d:\n    audio_rendered: true\n", s);
        fprintf(out, "    inst_class: %s\n    is_drum: %s\n", stem->instrument,
                stem->drums ? "true" : "false");
        print_quoted(out, "    midi_program_name", stem->name);
        fprintf(out, "    midi_saved: false\n");
        print_quoted(out, "    plugin_name",
                     song->kind == COC_SONG_MIDI ? soundfont : "libopenmpt");
        fprintf(out, "    program_num: %d\n", stem->program);
    }
    fprintf(out, "target_peak: -1.0\n");
}

static coc_status write_metadata(const coc_song *song, const coc_render_settings *settings,
                                 const coc_stems *stems, double gain, const char *folder)
{
    char path[COC_PATH_BYTES], *text = NULL;
    size_t count = 0;
    FILE *out = open_memstream(&text, &count);
    coc_status status = coc_path_join(path, folder, "metadata.yaml");

    if (out == NULL) return COC_FAIL(COC_ERR_MEMORY, "%s: no memory to write it", path);
    print_metadata(out, song, settings, stems, gain);
    if (fclose(out) != 0 || text == NULL)
        status = COC_FAIL(COC_ERR_MEMORY, "%s: no memory to write it", path);
    if (status == COC_OK) status = write_synced(path, text, (int64_t)count);
    free(text);
    return status;
}

coc_status coc_track_write(const coc_song *song, const coc_render_settings *settings,
                           const coc_stems *stems, const char *folder)
{
    const double gain = coc_stems_gain(stems);
    char sound[COC_PATH_BYTES], path[COC_PATH_BYTES], name[32];
    int16_t *pcm = NULL;
    coc_status status;

    COC_TRY(coc_path_join(sound, folder, "stems"));
    COC_TRY(coc_make_folders(sound));
    COC_TRY(coc_alloc(stems->samples, sizeof *pcm, &pcm));
    status = write_metadata(song, settings, stems, gain, folder);
    for (int s = 0; s < stems->count && status == COC_OK; s++) {
        snprintf(name, sizeof name, "S%02d.flac", s);
        status = coc_path_join(path, sound, name);
        if (status == COC_OK)
            status = write_stem(&stems->stem[s], stems->samples, settings->rate, gain, pcm, path);
    }
    free(pcm);
    return status;
}
