/* preprocess/shard.c - the columns of a shard, and how they go to HDF5 and come back. */
#include "preprocess/shard.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "preprocess/features.h"
#include "preprocess/shard_columns.h"
#include "preprocess/store.h"

/* ---- the columns ----------------------------------------------------------------------------- */

#define TRACK(field) COC_TABLE_TRACKS, offsetof(coc_shard_track, field)
#define STEM(field)  COC_TABLE_STEMS, offsetof(coc_shard_stem, field)
#define SKIP(field)  COC_TABLE_SKIPPED, offsetof(coc_shard_skip, field)

static const coc_column columns[] = {
    {"tracks/id", COC_COLUMN_U64, TRACK(id), true, "", "hash of the track's audio: its number"},
    {"tracks/split", COC_COLUMN_I64, TRACK(split), true, "", "0 train, 1 validation, 2 test"},
    {"tracks/name", COC_COLUMN_TEXT, TRACK(name), true, "", "path below the data set's root"},
    {"tracks/samples", COC_COLUMN_I64, TRACK(samples), true, "samples",
     "length of the longest stem"},
    {"tracks/first_stem", COC_COLUMN_I64, TRACK(first_stem), true, "rows",
     "first row of the track in stems"},
    {"tracks/stems", COC_COLUMN_I64, TRACK(stems), true, "rows", "rows of the track in stems"},
    {"tracks/signature", COC_COLUMN_U64, TRACK(signature), false, "",
     "hash of names, sizes and times of the source files"},
    {"stems/name", COC_COLUMN_TEXT, STEM(name), true, "", "name of the stem in its track"},
    {"stems/instrument", COC_COLUMN_TEXT, STEM(instrument), true, "",
     "class of the instrument, empty when unknown"},
    {"stems/samples", COC_COLUMN_I64, STEM(samples), true, "samples", "length"},
    {"stems/exponent", COC_COLUMN_I64, STEM(exponent), true, "",
     "waveform = audio / 32768 * 2^exponent"},
    {"stems/first_sample", COC_COLUMN_I64, STEM(first_sample), true, "samples",
     "place of the first sample in audio"},
    {"stems/file_offset", COC_COLUMN_I64, STEM(file_offset), true, "bytes",
     "place of the first sample in this file"},
    {"stems/source", COC_COLUMN_TEXT, STEM(source), true, "",
     "source file, path below the data set's root"},
    {"stems/source_bytes", COC_COLUMN_I64, STEM(source_bytes), true, "bytes",
     "size of the source file"},
    {"stems/source_hash", COC_COLUMN_U64, STEM(source_hash), true, "",
     "XXH3-64 of the source file"},
    {"stems/source_rate", COC_COLUMN_I64, STEM(source_rate), true, "Hz",
     "sample rate of the source file"},
    {"stems/source_channels", COC_COLUMN_I64, STEM(source_channels), true, "channels",
     "channels of the source file, averaged"},
    {"stems/source_frames", COC_COLUMN_I64, STEM(source_frames), true, "frames",
     "length of the source file"},
    {"levels", COC_COLUMN_F32, COC_TABLE_LEVELS, 0, true, "full scale squared",
     "mean square of every 100 ms of every stem, stem after stem"},
    {"blocks", COC_COLUMN_U64, COC_TABLE_BLOCKS, 0, true, "",
     "XXH3-64 of every 40000 samples of every stem, stem after stem"},
    {"skipped/track", COC_COLUMN_TEXT, SKIP(name), true, "",
     "track that is not in the store, path below the data set's root"},
    {"skipped/reason", COC_COLUMN_TEXT, SKIP(reason), true, "", "why it was left out"},
    {"skipped/content", COC_COLUMN_U64, SKIP(content), true, "",
     "hash of names, sizes and bytes of the source files"},
    {"skipped/signature", COC_COLUMN_U64, SKIP(signature), false, "",
     "hash of names, sizes and times of the source files"},
};

const coc_column *coc_shard_columns(int *count)
{
    *count = (int)(sizeof columns / sizeof columns[0]);
    return columns;
}

/* ---- a column as one piece of memory --------------------------------------------------------- */

static size_t longest_text(const coc_column *c, const char *rows, size_t row, int64_t count)
{
    size_t longest = 0;

    for (int64_t i = 0; i < count; i++) {
        char *text;

        memcpy(&text, rows + (size_t)i * row + c->offset, sizeof text);
        if (strlen(text) > longest) longest = strlen(text);
    }
    return longest;
}

coc_status coc_column_gather(const coc_column *c, const coc_shard_index *index,
                             coc_column_data *data)
{
    char *rows;
    const size_t row = coc_column_rows(index, c->table, &rows);

    data->count = index->rows[c->table];
    data->width = c->kind == COC_COLUMN_F32 ? sizeof(float) : sizeof(uint64_t);
    if (c->kind == COC_COLUMN_TEXT) data->width = longest_text(c, rows, row, data->count) + 1;
    COC_TRY(coc_alloc(data->count, data->width, &data->bytes));
    for (int64_t i = 0; i < data->count; i++) {
        const char *from = rows + (size_t)i * row + c->offset;
        char *to = data->bytes + (size_t)i * data->width, *text;

        if (c->kind == COC_COLUMN_TEXT) {
            memcpy(&text, from, sizeof text);
            memcpy(to, text, strlen(text));
        } else {
            memcpy(to, from, data->width);
        }
    }
    return COC_OK;
}

uint64_t coc_shard_settings_hash(const coc_store_settings *settings)
{
    char text[256];
    const int n =
        snprintf(text, sizeof text, "%d %d %d %d %s %s", COC_STORE_SCHEMA, COC_SAMPLE_RATE,
                 COC_STORE_BLOCK, COC_STORE_LEVEL_SAMPLES, settings->layout, settings->resampler);

    return coc_hash(text, (size_t)n);
}

/* ---- writing --------------------------------------------------------------------------------- */

hid_t coc_shard_access(void)
{
    hid_t access;

    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    H5Pset_file_locking(access, false, true);
    H5Pset_alignment(access, 1 << 16, 4096);
    return access;
}

static bool write_text_attribute(hid_t object, const char *name, const char *text)
{
    const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5I_INVALID_HID;
    bool good;

    H5Tset_size(type, strlen(text) + 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    good = attribute >= 0 && H5Awrite(attribute, type, text) >= 0;
    if (attribute >= 0) good = H5Aclose(attribute) >= 0 && good;
    H5Sclose(space);
    H5Tclose(type);
    return good;
}

static bool write_number_attribute(hid_t object, const char *name, uint64_t value)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute =
        H5Acreate2(object, name, H5T_STD_U64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool good = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_UINT64, &value) >= 0;

    if (attribute >= 0) good = H5Aclose(attribute) >= 0 && good;
    H5Sclose(space);
    return good;
}

static hid_t file_type(const coc_column *c, size_t width)
{
    hid_t type;

    if (c->kind == COC_COLUMN_U64) return H5Tcopy(H5T_STD_U64LE);
    if (c->kind == COC_COLUMN_I64) return H5Tcopy(H5T_STD_I64LE);
    if (c->kind == COC_COLUMN_F32) return H5Tcopy(H5T_IEEE_F32LE);
    type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, width);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

/* The same type in memory: text is bytes, numbers are the machine's. */
hid_t coc_column_memory_type(const coc_column *c, size_t width)
{
    if (c->kind == COC_COLUMN_U64) return H5Tcopy(H5T_NATIVE_UINT64);
    if (c->kind == COC_COLUMN_I64) return H5Tcopy(H5T_NATIVE_INT64);
    if (c->kind == COC_COLUMN_F32) return H5Tcopy(H5T_NATIVE_FLOAT);
    return file_type(c, width);
}

static bool write_column(hid_t file, const coc_column *c, const coc_column_data *data)
{
    const hsize_t count = (hsize_t)data->count;
    const hid_t type = file_type(c, data->width), memory = coc_column_memory_type(c, data->width);
    const hid_t space = H5Screate_simple(1, &count, NULL);
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    hid_t dataset;
    bool good;

    H5Pset_obj_track_times(create, false); /* the same content gives the same bytes */
    dataset = H5Dcreate2(file, c->path, type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    good = dataset >= 0;
    if (good && count > 0)
        good = H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data->bytes) >= 0;
    if (good && c->unit[0] != '\0') good = write_text_attribute(dataset, "unit", c->unit);
    if (good) good = write_text_attribute(dataset, "description", c->help);
    if (dataset >= 0) good = H5Dclose(dataset) >= 0 && good;
    H5Pclose(create);
    H5Sclose(space);
    H5Tclose(memory);
    H5Tclose(type);
    return good;
}

static bool create_groups(hid_t file)
{
    static const char *const names[] = {"tracks", "stems", "skipped"};
    const hid_t create = H5Pcreate(H5P_GROUP_CREATE);
    bool good = true;

    H5Pset_obj_track_times(create, false);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const hid_t group = H5Gcreate2(file, names[i], H5P_DEFAULT, create, H5P_DEFAULT);

        if (group < 0 || H5Gclose(group) < 0) good = false;
    }
    H5Pclose(create);
    return good;
}

static bool explain_audio(hid_t file)
{
    const hid_t audio = H5Dopen2(file, "audio", H5P_DEFAULT);
    bool good = audio >= 0 &&
                write_text_attribute(audio, "unit", "2^(exponent - 15) of full scale") &&
                write_text_attribute(audio, "description", "16 kHz mono, stem after stem");

    if (audio >= 0) good = H5Dclose(audio) >= 0 && good;
    return good;
}

static bool write_attributes(hid_t file, const coc_store_settings *settings, uint64_t hash)
{
    return explain_audio(file) && write_text_attribute(file, "format", COC_SHARD_FORMAT) &&
           write_number_attribute(file, "schema", COC_STORE_SCHEMA) &&
           write_number_attribute(file, "sample_rate", COC_SAMPLE_RATE) &&
           write_number_attribute(file, "block_samples", COC_STORE_BLOCK) &&
           write_number_attribute(file, "level_samples", COC_STORE_LEVEL_SAMPLES) &&
           write_text_attribute(file, "layout", settings->layout) &&
           write_text_attribute(file, "resampler", settings->resampler) &&
           write_number_attribute(file, "content_hash", hash);
}

coc_status coc_shard_write_index(hid_t file, const char *path, const coc_store_settings *settings,
                                 const coc_shard_index *index)
{
    uint64_t hashes[1 + sizeof columns / sizeof columns[0]];
    size_t hashed = 0;
    bool good = create_groups(file);

    hashes[hashed++] = coc_shard_settings_hash(settings);
    for (size_t i = 0; i < sizeof columns / sizeof columns[0] && good; i++) {
        coc_column_data data;

        COC_TRY(coc_column_gather(&columns[i], index, &data));
        if (columns[i].hashed)
            hashes[hashed++] = coc_hash(data.bytes, (size_t)data.count * data.width);
        good = write_column(file, &columns[i], &data);
        free(data.bytes);
    }
    if (!good || !write_attributes(file, settings, coc_hash(hashes, hashed * sizeof hashes[0])))
        return COC_FAIL(COC_ERR_IO,
                        "%s: the index cannot be written; is the disk full, or a quota reached?",
                        path);
    return COC_OK;
}
