/* preprocess/shard_read.c - a shard's index from a file that may be anything. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "preprocess/features.h"
#include "preprocess/shard_columns.h"
#include "preprocess/store.h"

enum { MAX_TEXT = COC_PATH_BYTES };

typedef struct {
    const char *path;
    hid_t file;
    coc_shard *shard;
    uint64_t hashes[64];
    size_t hashed;
} reader;

static coc_status broken(const reader *r, const char *what)
{
    return COC_FAIL(COC_ERR_INPUT,
                    "%s: %s: the shard is damaged; remove it and run `cocola preprocess` again",
                    r->path, what);
}

/* After HDF5 has refused: whether that is the system's doing, and so says nothing about the shard.
 * errno is zero before the call; a damaged file leaves none of these in it. */
static coc_status system_fault(const char *path)
{
    const int error = errno;

    if (error == ENOMEM) return COC_FAIL(COC_ERR_MEMORY, "%s: no memory to read it", path);
    if (error == EACCES || error == EPERM || error == EMFILE || error == ENFILE || error == EIO ||
        error == ESTALE)
        return COC_FAIL(COC_ERR_IO, "%s: cannot be read: %s", path, strerror(error));
    return COC_OK;
}

/* ---- attributes ------------------------------------------------------------------------------ */

static bool read_number(const reader *r, const char *name, uint64_t *value)
{
    const hid_t attribute = H5Aopen(r->file, name, H5P_DEFAULT);
    bool good = false;

    if (attribute >= 0) {
        const hid_t space = H5Aget_space(attribute), type = H5Aget_type(attribute);

        good = H5Sget_simple_extent_npoints(space) == 1 && H5Tget_class(type) == H5T_INTEGER &&
               H5Aread(attribute, H5T_NATIVE_UINT64, value) >= 0;
        H5Tclose(type);
        H5Sclose(space);
        H5Aclose(attribute);
    }
    return good;
}

static bool read_text(const reader *r, const char *name, char *text, size_t room)
{
    const hid_t attribute = H5Aopen(r->file, name, H5P_DEFAULT);
    bool good = false;

    memset(text, 0, room);
    if (attribute >= 0) {
        const hid_t space = H5Aget_space(attribute), type = H5Aget_type(attribute);

        good = H5Sget_simple_extent_npoints(space) == 1 && H5Tget_class(type) == H5T_STRING &&
               H5Tis_variable_str(type) == 0 && H5Tget_size(type) < room &&
               H5Aread(attribute, type, text) >= 0;
        H5Tclose(type);
        H5Sclose(space);
        H5Aclose(attribute);
    }
    return good;
}

static coc_status expect_number(const reader *r, const char *name, uint64_t want)
{
    uint64_t value;

    if (!read_number(r, name, &value)) return broken(r, name);
    if (value != want)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: %s is %" PRIu64 ", this program reads %" PRIu64
                        "; make the store again with this version of cocola",
                        r->path, name, value, want);
    return COC_OK;
}

static coc_status read_attributes(reader *r)
{
    coc_store_settings *s = &r->shard->settings;
    char format[32];

    if (!read_text(r, "format", format, sizeof format) || strcmp(format, COC_SHARD_FORMAT) != 0)
        return COC_FAIL(COC_ERR_INPUT, "%s: an HDF5 file, but no shard of a store", r->path);
    COC_TRY(expect_number(r, "schema", COC_STORE_SCHEMA));
    COC_TRY(expect_number(r, "sample_rate", COC_SAMPLE_RATE));
    COC_TRY(expect_number(r, "block_samples", COC_STORE_BLOCK));
    COC_TRY(expect_number(r, "level_samples", COC_STORE_LEVEL_SAMPLES));
    if (!read_text(r, "layout", s->layout, sizeof s->layout)) return broken(r, "layout");
    if (!read_text(r, "resampler", s->resampler, sizeof s->resampler))
        return broken(r, "resampler");
    if (!read_number(r, "content_hash", &r->shard->hash)) return broken(r, "content_hash");
    return COC_OK;
}

/* ---- columns --------------------------------------------------------------------------------- */

/* One-dimensional, contiguous, all of it inside the file: only then is memory taken for it. */
static bool is_plain(const reader *r, hid_t dataset, size_t width, int64_t *count)
{
    const hid_t space = H5Dget_space(dataset), create = H5Dget_create_plist(dataset);
    const bool simple = H5Sget_simple_extent_ndims(space) == 1 &&
                        H5Pget_layout(create) == H5D_CONTIGUOUS &&
                        H5Pget_external_count(create) == 0;

    *count = simple ? (int64_t)H5Sget_simple_extent_npoints(space) : -1;
    H5Pclose(create);
    H5Sclose(space);
    return *count == 0 || (*count > 0 && *count <= r->shard->bytes / (int64_t)width &&
                           (int64_t)H5Dget_storage_size(dataset) == *count * (int64_t)width);
}

static bool fits_kind(const coc_column *c, hid_t type, size_t width)
{
    const H5T_class_t class = H5Tget_class(type);

    if (c->kind == COC_COLUMN_TEXT)
        return class == H5T_STRING && H5Tis_variable_str(type) == 0 && width <= MAX_TEXT;
    if (c->kind == COC_COLUMN_F32) return class == H5T_FLOAT && width == sizeof(float);
    return class == H5T_INTEGER && width == sizeof(uint64_t);
}

static coc_status read_values(const reader *r, const coc_column *c, hid_t dataset,
                              coc_column_data *data)
{
    const hid_t memory = coc_column_memory_type(c, data->width);
    coc_status status = COC_OK;
    herr_t rc;

    errno = 0;
    rc = H5Dread(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data->bytes);
    if (rc < 0) status = system_fault(r->path);
    H5Tclose(memory);
    return rc < 0 && status == COC_OK ? broken(r, c->path) : status;
}

/* data->bytes is to be freed in any case. */
static coc_status read_column(const reader *r, const coc_column *c, coc_column_data *data)
{
    const hid_t dataset = H5Dopen2(r->file, c->path, H5P_DEFAULT);
    const hid_t type = dataset >= 0 ? H5Dget_type(dataset) : H5I_INVALID_HID;
    coc_status status = COC_OK;

    *data = (coc_column_data){.width = type >= 0 ? H5Tget_size(type) : 0};
    if (data->width == 0 || !fits_kind(c, type, data->width) ||
        !is_plain(r, dataset, data->width, &data->count))
        status = broken(r, c->path);
    if (status == COC_OK) status = coc_alloc(data->count, data->width, &data->bytes);
    if (status == COC_OK && data->count > 0) status = read_values(r, c, dataset, data);
    if (type >= 0) H5Tclose(type);
    if (dataset >= 0) H5Dclose(dataset);
    return status;
}

/* Put a column's values into the rows of its table. */
static coc_status scatter(reader *r, const coc_column *c, const coc_column_data *data)
{
    char *rows;
    const size_t row = coc_column_rows(&r->shard->index, c->table, &rows);

    for (int64_t i = 0; i < data->count; i++) {
        const char *from = data->bytes + (size_t)i * data->width;
        char *to = rows + (size_t)i * row + c->offset, *text;

        if (c->kind != COC_COLUMN_TEXT) {
            memcpy(to, from, data->width);
            continue;
        }
        if (memchr(from, '\0', data->width) == NULL) return broken(r, c->path);
        text = coc_strdup(from);
        if (text == NULL) return COC_FAIL(COC_ERR_MEMORY, "%s: no memory for its index", r->path);
        memcpy(to, &text, sizeof text);
    }
    return COC_OK;
}

static coc_status take_column(reader *r, const coc_column *c, bool first_of_table)
{
    coc_shard_index *index = &r->shard->index;
    coc_column_data data;
    coc_status status = read_column(r, c, &data);

    if (status == COC_OK && first_of_table)
        status = coc_shard_index_add(index, c->table, data.count);
    else if (status == COC_OK && data.count != index->rows[c->table])
        status = broken(r, c->path);
    if (status == COC_OK) status = scatter(r, c, &data);
    if (status == COC_OK && c->hashed)
        r->hashes[r->hashed++] = coc_hash(data.bytes, (size_t)data.count * data.width);
    free(data.bytes);
    return status;
}

static coc_status read_columns(reader *r)
{
    int count;
    const coc_column *columns = coc_shard_columns(&count);

    r->hashes[r->hashed++] = coc_shard_settings_hash(&r->shard->settings);
    for (int i = 0; i < count; i++)
        COC_TRY(take_column(r, &columns[i], i == 0 || columns[i].table != columns[i - 1].table));
    if (coc_hash(r->hashes, r->hashed * sizeof r->hashes[0]) != r->shard->hash)
        return broken(r, "the index does not fit its hash");
    return COC_OK;
}

static coc_status read_audio_place(reader *r)
{
    const hid_t dataset = H5Dopen2(r->file, "audio", H5P_DEFAULT);
    const hid_t type = dataset >= 0 ? H5Dget_type(dataset) : H5I_INVALID_HID;
    coc_shard *s = r->shard;
    bool good = false;

    if (type >= 0) {
        good = H5Tequal(type, H5T_STD_I16LE) > 0 &&
               is_plain(r, dataset, sizeof(int16_t), &s->audio_samples);
        if (good && s->audio_samples > 0) {
            const haddr_t offset = H5Dget_offset(dataset);

            good = offset != HADDR_UNDEF && offset < (haddr_t)s->bytes && offset % 2 == 0 &&
                   s->audio_samples <= (s->bytes - (int64_t)offset) / 2;
            s->audio_offset = (int64_t)offset;
        }
        H5Tclose(type);
    }
    if (dataset >= 0) H5Dclose(dataset);
    return good ? COC_OK : broken(r, "audio");
}

/* ---- do the tables fit each other? ----------------------------------------------------------- */

static bool stems_fit(const coc_shard *s)
{
    const coc_shard_index *x = &s->index;
    int64_t samples = 0, levels = 0, blocks = 0;

    for (int64_t i = 0; i < x->rows[COC_TABLE_STEMS]; i++) {
        const coc_shard_stem *stem = &x->stem[i];

        if (stem->samples < 0 || stem->samples > s->audio_samples - samples) return false;
        if (stem->exponent < -150 || stem->exponent > 150) return false;
        if (stem->first_sample != samples) return false;
        if (stem->samples > 0 && stem->file_offset != s->audio_offset + 2 * samples) return false;
        samples += stem->samples;
        levels += coc_level_count(stem->samples);
        blocks += coc_block_count(stem->samples);
    }
    return samples == s->audio_samples && levels == x->rows[COC_TABLE_LEVELS] &&
           blocks == x->rows[COC_TABLE_BLOCKS];
}

/* tracks: [first_stem, first_stem + stems) lie side by side and cover the stems. */
static bool tracks_fit(const coc_shard *s)
{
    const coc_shard_index *x = &s->index;
    const int64_t all = x->rows[COC_TABLE_STEMS];
    int64_t stems = 0;

    for (int64_t i = 0; i < x->rows[COC_TABLE_TRACKS]; i++) {
        const coc_shard_track *track = &x->track[i];
        int64_t longest = 0;

        if (track->split < 0 || track->split >= COC_SPLITS) return false;
        if (track->first_stem != stems || track->stems < 1 || track->stems > all - stems ||
            track->stems > INT32_MAX)
            return false;
        for (int64_t k = stems; k < stems + track->stems; k++)
            if (x->stem[k].samples > longest) longest = x->stem[k].samples;
        if (track->samples != longest) return false;
        stems += track->stems;
    }
    return stems == all;
}

static coc_status read_file(reader *r)
{
    COC_TRY(read_attributes(r));
    COC_TRY(read_columns(r));
    COC_TRY(read_audio_place(r));
    if (!stems_fit(r->shard)) return broken(r, "its stems do not fit its audio");
    if (!tracks_fit(r->shard)) return broken(r, "its tracks do not fit its stems");
    return COC_OK;
}

coc_status coc_shard_read(const char *path, coc_shard *shard)
{
    reader r = {.path = path, .shard = shard};
    const hid_t access = coc_shard_access();
    coc_status status;

    *shard = (coc_shard){.bytes = coc_file_bytes(path)};
    if (shard->bytes < 0) {
        H5Pclose(access);
        return COC_FAIL(COC_ERR_IO, "%s: no such file", path);
    }
    errno = 0;
    r.file = H5Fopen(path, H5F_ACC_RDONLY, access);
    status = r.file < 0 ? system_fault(path) : COC_OK;
    H5Pclose(access);
    if (status != COC_OK) return status;
    if (r.file < 0)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: no HDF5 file, or cut short (%" PRId64
                        " bytes); remove it and run `cocola preprocess` again",
                        path, shard->bytes);
    status = read_file(&r);
    H5Fclose(r.file);
    if (status != COC_OK) coc_shard_free(shard);
    return status;
}

void coc_shard_free(coc_shard *shard)
{
    coc_shard_index_free(&shard->index);
    *shard = (coc_shard){0};
}
