#include "preprocess/shard_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "preprocess/features.h"

/* Below this peak (-600 dB) a stem is silence; above it a float holds every scale that occurs. */
static const float SILENCE = 1e-30f;

enum { COPY_BYTES = 1 << 20 };

/* An unfinished shard. HDF5 lays the file out and later writes the index; samples go through a
 * descriptor of our own, which says what the system answered. */
typedef struct {
    char temporary[COC_PATH_BYTES];
    hid_t file;
    int descriptor;
    int64_t offset; /* of /audio in the file */
} new_file;

struct coc_shard_writer {
    char *path;
    coc_store_settings settings;
    new_file out;
    int64_t room, used; /* samples */
    coc_shard_index index;
    coc_split split;
    int64_t track_stem; /* first row of the begun track in stems */
    int64_t track_used; /* samples before it */
    char *track_name;   /* NULL between tracks */
    uint64_t signature;
    int64_t audible;
    int16_t *pcm; /* [pcm_capacity], one stem */
    int64_t pcm_capacity;
};

/* ---- the file -------------------------------------------------------------------------------- */

/* A full disk must not keep HDF5 from closing its file: what it still holds goes where the samples
 * were. */
static void discard_file(new_file *f)
{
    if (f->descriptor >= 0) (void)!ftruncate(f->descriptor, 0);
    if (f->file >= 0) H5Fclose(f->file);
    if (f->descriptor >= 0) close(f->descriptor);
    coc_file_discard(f->temporary);
    *f = (new_file){.file = H5I_INVALID_HID, .descriptor = -1};
}

static hid_t create_audio(hid_t file, int64_t samples, int64_t *offset)
{
    const hsize_t count = (hsize_t)samples;
    const hid_t space = H5Screate_simple(1, &count, NULL), create = H5Pcreate(H5P_DATASET_CREATE);
    hid_t dataset;

    H5Pset_obj_track_times(create, false);
    H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(create, H5D_FILL_TIME_NEVER);
    dataset = H5Dcreate2(file, "audio", H5T_STD_I16LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
    *offset = dataset >= 0 && samples > 0 ? (int64_t)H5Dget_offset(dataset) : 0;
    H5Pclose(create);
    H5Sclose(space);
    return dataset;
}

static coc_status create_file(const char *path, int64_t samples, new_file *f)
{
    const hid_t access = coc_shard_access(), create = H5Pcreate(H5P_FILE_CREATE);
    hid_t audio = H5I_INVALID_HID;

    H5Pset_obj_track_times(create, false);
    errno = 0;
    f->file = H5Fcreate(f->temporary, H5F_ACC_TRUNC, create, access);
    H5Pclose(create);
    H5Pclose(access);
    if (f->file >= 0) audio = create_audio(f->file, samples, &f->offset);
    if (audio >= 0 && H5Dclose(audio) >= 0) f->descriptor = open(f->temporary, O_RDWR);
    if (f->descriptor < 0) {
        const int error = errno;

        discard_file(f);
        return COC_FAIL(COC_ERR_IO, "%s: cannot be created: %s", path,
                        error != 0 ? strerror(error) : "HDF5 refused");
    }
    return COC_OK;
}

static coc_status write_samples(const coc_shard_writer *w, const new_file *f, const void *samples,
                                int64_t first, int64_t count)
{
    const char *bytes = samples;
    int64_t left = 2 * count, at = f->offset + 2 * first;

    while (left > 0) {
        const ssize_t n = pwrite(f->descriptor, bytes, (size_t)left, (off_t)at);

        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return COC_FAIL(COC_ERR_IO, "%s: cannot be written: %s", w->path,
                            n < 0 ? strerror(errno) : "nothing more is taken");
        bytes += n;
        at += n;
        left -= n;
    }
    return COC_OK;
}

coc_status coc_shard_writer_create(const char *path, const coc_store_settings *settings,
                                   int64_t room, coc_shard_writer **writer)
{
    coc_shard_writer *w;
    coc_status status;

    COC_TRY(coc_alloc(1, sizeof *w, writer));
    w = *writer;
    w->settings = *settings;
    w->room = room;
    w->out = (new_file){.file = H5I_INVALID_HID, .descriptor = -1};
    w->path = coc_strdup(path);
    if (w->path == NULL) {
        status = COC_FAIL(COC_ERR_MEMORY, "%s: no memory", path);
        goto fail;
    }
    COC_TRY_GOTO(status, coc_new_file_path(path, w->out.temporary), fail);
    COC_TRY_GOTO(status, create_file(path, room, &w->out), fail);
    return COC_OK;

fail:
    coc_shard_writer_discard(writer);
    return status;
}

/* ---- a stem ---------------------------------------------------------------------------------- */

/* pcm = round(samples * 2^(15 - exponent)); peak 1.0 becomes 32767. */
static int64_t encode(const float *samples, int64_t count, int16_t *pcm)
{
    float peak = 0, scale;
    int exponent = 0;

    for (int64_t i = 0; i < count; i++)
        peak = fabsf(samples[i]) > peak ? fabsf(samples[i]) : peak;
    if (peak < SILENCE) {
        memset(pcm, 0, (size_t)count * sizeof *pcm);
        return 0;
    }
    if (frexpf(peak, &exponent) == 0.5f) exponent--; /* peak / 2^exponent in (0.5, 1] */
    scale = ldexpf(1.0f, 15 - exponent);
    for (int64_t i = 0; i < count; i++) {
        const long value = lrintf(samples[i] * scale);

        pcm[i] = (int16_t)(value > INT16_MAX ? INT16_MAX : value);
    }
    return exponent;
}

static float mean_square(const int16_t *pcm, int64_t count, int64_t exponent)
{
    int64_t sum = 0;

    for (int64_t i = 0; i < count; i++)
        sum += (int32_t)pcm[i] * pcm[i];
    return (float)ldexp((double)sum / (double)count, 2 * ((int)exponent - 15));
}

static coc_status add_levels(coc_shard_writer *w, int64_t count, int64_t exponent)
{
    coc_shard_index *x = &w->index;
    const int64_t first = x->rows[COC_TABLE_LEVELS], levels = coc_level_count(count);

    COC_TRY(coc_shard_index_add(x, COC_TABLE_LEVELS, levels));
    for (int64_t i = 0; i < levels; i++) {
        const int64_t at = i * COC_STORE_LEVEL_SAMPLES, left = count - at;

        x->level[first + i] = mean_square(
            w->pcm + at, left < COC_STORE_LEVEL_SAMPLES ? left : COC_STORE_LEVEL_SAMPLES, exponent);
    }
    return COC_OK;
}

static coc_status add_blocks(coc_shard_writer *w, int64_t count)
{
    coc_shard_index *x = &w->index;
    const int64_t first = x->rows[COC_TABLE_BLOCKS], blocks = coc_block_count(count);

    COC_TRY(coc_shard_index_add(x, COC_TABLE_BLOCKS, blocks));
    for (int64_t i = 0; i < blocks; i++) {
        const int64_t at = i * COC_STORE_BLOCK, left = count - at;

        x->block[first + i] =
            coc_hash(w->pcm + at,
                     (size_t)(left < COC_STORE_BLOCK ? left : COC_STORE_BLOCK) * sizeof *w->pcm);
    }
    return COC_OK;
}

/* Whether the levels from row `first` on hold 5 s, zeros behind the end included, that count. */
static bool is_audible(const coc_shard_index *x, int64_t first)
{
    enum { WINDOW = COC_CLIP_SAMPLES / COC_STORE_LEVEL_SAMPLES };
    double sum = 0;

    for (int64_t i = first; i < x->rows[COC_TABLE_LEVELS]; i++) {
        sum += x->level[i];
        if (i - first >= WINDOW) sum -= x->level[i - WINDOW];
        if (sum > COC_AUDIBLE * WINDOW) return true;
    }
    return false;
}

static coc_status add_row(coc_shard_writer *w, const coc_stem_source *source,
                          const coc_audio *audio, int64_t exponent)
{
    coc_shard_index *x = &w->index;
    coc_shard_stem *stem;

    COC_TRY(coc_shard_index_add(x, COC_TABLE_STEMS, 1));
    stem = &x->stem[x->rows[COC_TABLE_STEMS] - 1];
    *stem = (coc_shard_stem){.name = coc_strdup(source->name),
                             .instrument = coc_strdup(source->instrument),
                             .source = coc_strdup(source->source),
                             .source_bytes = source->bytes,
                             .source_hash = source->hash,
                             .source_rate = audio->source_rate,
                             .source_channels = audio->source_channels,
                             .source_frames = audio->source_frames,
                             .samples = audio->count,
                             .exponent = exponent,
                             .first_sample = w->used};
    if (stem->name == NULL || stem->instrument == NULL || stem->source == NULL)
        return COC_FAIL(COC_ERR_MEMORY, "%s: no memory for its index", w->path);
    return COC_OK;
}

coc_status coc_shard_writer_add(coc_shard_writer *w, const coc_stem_source *source,
                                const coc_audio *audio)
{
    const int64_t level = w->index.rows[COC_TABLE_LEVELS];
    int64_t exponent;

    if (audio->count > w->room - w->used)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: longer than its header said; did the file change? Run again",
                        source->source);
    COC_TRY(coc_grow(&w->pcm, &w->pcm_capacity, audio->count, sizeof *w->pcm));
    exponent = encode(audio->samples, audio->count, w->pcm);
    COC_TRY(add_row(w, source, audio, exponent));
    COC_TRY(add_levels(w, audio->count, exponent));
    COC_TRY(add_blocks(w, audio->count));
    COC_TRY(write_samples(w, &w->out, w->pcm, w->used, audio->count));
    w->used += audio->count;
    w->audible += is_audible(&w->index, level);
    return COC_OK;
}

/* ---- a track --------------------------------------------------------------------------------- */

coc_status coc_shard_writer_begin(coc_shard_writer *w, coc_split split, const char *name,
                                  uint64_t signature)
{
    free(w->track_name);
    w->track_name = coc_strdup(name);
    w->track_stem = w->index.rows[COC_TABLE_STEMS];
    w->track_used = w->used;
    w->split = split;
    w->signature = signature;
    w->audible = 0;
    if (w->track_name == NULL) return COC_FAIL(COC_ERR_MEMORY, "%s: no memory", w->path);
    return COC_OK;
}

int64_t coc_shard_writer_audible(const coc_shard_writer *w)
{
    return w->audible;
}

/* First rows of the begun track in levels and blocks. */
static void track_rows(const coc_shard_writer *w, int64_t *level, int64_t *block)
{
    *level = w->index.rows[COC_TABLE_LEVELS];
    *block = w->index.rows[COC_TABLE_BLOCKS];
    for (int64_t i = w->track_stem; i < w->index.rows[COC_TABLE_STEMS]; i++) {
        *level -= coc_level_count(w->index.stem[i].samples);
        *block -= coc_block_count(w->index.stem[i].samples);
    }
}

coc_status coc_shard_writer_keep(coc_shard_writer *w)
{
    coc_shard_index *x = &w->index;
    coc_shard_track *track;
    int64_t level, block;

    track_rows(w, &level, &block);
    COC_TRY(coc_shard_index_add(x, COC_TABLE_TRACKS, 1));
    track = &x->track[x->rows[COC_TABLE_TRACKS] - 1];
    *track = (coc_shard_track){.signature = w->signature,
                               .split = w->split,
                               .name = w->track_name,
                               .first_stem = w->track_stem,
                               .stems = x->rows[COC_TABLE_STEMS] - w->track_stem};
    w->track_name = NULL;
    for (int64_t i = w->track_stem; i < x->rows[COC_TABLE_STEMS]; i++)
        if (x->stem[i].samples > track->samples) track->samples = x->stem[i].samples;
    return coc_shard_track_id(x->stem + w->track_stem, track->stems, x->block + block, &track->id);
}

coc_status coc_shard_writer_skip(coc_shard_writer *w, const char *reason, uint64_t content)
{
    coc_shard_index *x = &w->index;
    coc_shard_skip *skip;
    int64_t level, block;

    track_rows(w, &level, &block);
    coc_shard_index_cut(x, COC_TABLE_STEMS, w->track_stem);
    coc_shard_index_cut(x, COC_TABLE_LEVELS, level);
    coc_shard_index_cut(x, COC_TABLE_BLOCKS, block);
    w->used = w->track_used;
    COC_TRY(coc_shard_index_add(x, COC_TABLE_SKIPPED, 1));
    skip = &x->skip[x->rows[COC_TABLE_SKIPPED] - 1];
    *skip = (coc_shard_skip){.name = w->track_name,
                             .reason = coc_strdup(reason),
                             .signature = content != 0 ? w->signature : 0,
                             .content = content};
    w->track_name = NULL;
    if (skip->reason == NULL) return COC_FAIL(COC_ERR_MEMORY, "%s: no memory", w->path);
    return COC_OK;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Tracks were skipped: the same audio in a file that has room for it and no more. */
static coc_status copy_exact(coc_shard_writer *w)
{
    new_file exact = {.file = H5I_INVALID_HID, .descriptor = -1};
    char *piece = NULL;
    coc_status status;
    const int n = snprintf(exact.temporary, sizeof exact.temporary, "%s-exact", w->out.temporary);

    if (n < 0 || n >= (int)sizeof exact.temporary)
        return COC_FAIL(COC_ERR_USAGE, "%s: name too long", w->path);
    COC_TRY_GOTO(status, coc_alloc(COPY_BYTES, 1, &piece), done);
    COC_TRY_GOTO(status, create_file(w->path, w->used, &exact), done);
    for (int64_t at = 0; at < w->used; at += COPY_BYTES / 2) {
        const int64_t left = w->used - at, count = left < COPY_BYTES / 2 ? left : COPY_BYTES / 2;

        if (pread(w->out.descriptor, piece, (size_t)(2 * count), (off_t)(w->out.offset + 2 * at)) !=
            2 * count) {
            status = COC_FAIL(COC_ERR_IO, "%s: cannot be read back: %s", w->path, strerror(errno));
            goto done;
        }
        COC_TRY_GOTO(status, write_samples(w, &exact, piece, at, count), done);
    }
    discard_file(&w->out);
    w->out = exact;
    w->room = w->used;

done:
    free(piece);
    if (status != COC_OK) discard_file(&exact);
    return status;
}

static coc_status complete(coc_shard_writer *w)
{
    coc_shard_index *x = &w->index;

    if (w->used < w->room) COC_TRY(copy_exact(w));
    for (int64_t i = 0; i < x->rows[COC_TABLE_STEMS]; i++)
        x->stem[i].file_offset = w->out.offset + 2 * x->stem[i].first_sample;
    COC_TRY(coc_shard_write_index(w->out.file, w->path, &w->settings, x));
    if (H5Fflush(w->out.file, H5F_SCOPE_LOCAL) < 0)
        return COC_FAIL(COC_ERR_IO, "%s: cannot be completed; is the disk full?", w->path);
    if (H5Fclose(w->out.file) < 0) {
        w->out.file = H5I_INVALID_HID;
        return COC_FAIL(COC_ERR_IO, "%s: cannot be closed", w->path);
    }
    w->out.file = H5I_INVALID_HID;
    return coc_file_publish(w->out.temporary, w->path);
}

coc_status coc_shard_writer_finish(coc_shard_writer **writer)
{
    const coc_status status = complete(*writer);

    if (status == COC_OK) (*writer)->out.temporary[0] = '\0'; /* it has its name now */
    coc_shard_writer_discard(writer);
    return status;
}

void coc_shard_writer_discard(coc_shard_writer **writer)
{
    coc_shard_writer *w = *writer;

    if (w == NULL) return;
    if (w->out.temporary[0] != '\0')
        discard_file(&w->out);
    else if (w->out.descriptor >= 0)
        close(w->out.descriptor);
    coc_shard_index_free(&w->index);
    free(w->track_name);
    free(w->pcm);
    free(w->path);
    free(w);
    *writer = NULL;
}
