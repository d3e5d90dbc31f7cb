#include "preprocess/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "preprocess/features.h"

#define FORMAT "cocola store"
enum { MANIFEST_LIMIT = 64 << 20 };

static int compare_hashes(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

uint64_t coc_manifest_hash(const coc_manifest *manifest)
{
    uint64_t *hashes, hash = 0;

    if (coc_alloc(manifest->shards, sizeof *hashes, &hashes) != COC_OK) return 0;
    for (int64_t i = 0; i < manifest->shards; i++)
        hashes[i] = manifest->shard[i].hash;
    qsort(hashes, (size_t)manifest->shards, sizeof *hashes, compare_hashes);
    hash = coc_hash(hashes, (size_t)manifest->shards * sizeof *hashes);
    free(hashes);
    return hash;
}

void coc_manifest_free(coc_manifest *manifest)
{
    for (int64_t i = 0; i < manifest->named; i++) {
        free(manifest->skip[i].track);
        free(manifest->skip[i].reason);
    }
    free(manifest->skip);
    free(manifest->shard);
    *manifest = (coc_manifest){0};
}

coc_status coc_manifest_skip(coc_manifest *m, const coc_shard_index *index)
{
    for (int64_t i = 0; i < index->rows[COC_TABLE_SKIPPED]; i++) {
        coc_manifest_skipped *s;

        COC_TRY(coc_grow(&m->skip, &m->capacity, m->named + 1, sizeof *m->skip));
        s = &m->skip[m->named++];
        *s = (coc_manifest_skipped){coc_strdup(index->skip[i].name),
                                    coc_strdup(index->skip[i].reason)};
        if (s->track == NULL || s->reason == NULL)
            return COC_FAIL(COC_ERR_MEMORY, "no memory for the manifest");
    }
    return COC_OK;
}

static coc_status path_of(const char *store, char path[COC_PATH_BYTES])
{
    return coc_path_join(path, store, "manifest.json");
}

bool coc_manifest_exists(const char *store)
{
    char path[COC_PATH_BYTES];

    return path_of(store, path) == COC_OK && coc_file_exists(path);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* 64-bit hashes stand as text: a JSON number holds 53 bits for many readers. */
static json_t *hash_text(uint64_t hash)
{
    char text[17];

    snprintf(text, sizeof text, "%016" PRIx64, hash);
    return json_string(text);
}

static json_t *shard_list(const coc_manifest *m)
{
    json_t *list = json_array();

    for (int64_t i = 0; i < m->shards; i++) {
        const coc_manifest_shard *s = &m->shard[i];

        json_array_append_new(list,
                              json_pack("{s:s, s:I, s:o, s:I, s:I, s:I}", "file", s->file, "bytes",
                                        (json_int_t)s->bytes, "content_hash", hash_text(s->hash),
                                        "tracks", (json_int_t)s->tracks, "stems",
                                        (json_int_t)s->stems, "skipped", (json_int_t)s->skipped));
    }
    return list;
}

/* JSON holds UTF-8 only; names of files may be anything. */
static json_t *text_of(const char *text)
{
    json_t *string = json_string(text);

    return string != NULL ? string : json_string("(not UTF-8: the log has it)");
}

static json_t *skipped_list(const coc_manifest *m)
{
    json_t *list = json_array();

    for (int64_t i = 0; i < m->named; i++)
        json_array_append_new(list, json_pack("{s:o, s:o}", "track", text_of(m->skip[i].track),
                                              "reason", text_of(m->skip[i].reason)));
    return list;
}

static json_t *to_json(const coc_manifest *m)
{
    return json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:s, s:s, s:o, s:{s:I, s:I, s:I}, s:I, s:I, s:f, s:o, s:o}",
        "format", FORMAT, "schema", COC_STORE_SCHEMA, "sample_rate", COC_SAMPLE_RATE,
        "block_samples", COC_STORE_BLOCK, "level_samples", COC_STORE_LEVEL_SAMPLES, "layout",
        m->settings.layout, "resampler", m->settings.resampler, "content_hash",
        hash_text(coc_manifest_hash(m)), "tracks", "train", (json_int_t)m->tracks[COC_TRAIN],
        "validation", (json_int_t)m->tracks[COC_VALIDATION], "test",
        (json_int_t)m->tracks[COC_TEST], "stems", (json_int_t)m->stems, "skipped_tracks",
        (json_int_t)m->skipped, "stem_hours", (double)m->samples / COC_SAMPLE_RATE / 3600,
        "skipped", skipped_list(m), "shards", shard_list(m));
}

coc_status coc_manifest_write(const char *store, const coc_manifest *manifest)
{
    char path[COC_PATH_BYTES];
    json_t *root;
    char *text;
    coc_status status;

    COC_TRY(path_of(store, path));
    root = to_json(manifest);
    text = root != NULL ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(root);
    if (text == NULL) return COC_FAIL(COC_ERR_MEMORY, "%s: no memory", path);
    status = coc_file_write(path, text, strlen(text));
    free(text);
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

static coc_status damaged(const char *path, const char *what)
{
    return COC_FAIL(COC_ERR_INPUT,
                    "%s: %s is missing or wrong: the store is damaged; run `cocola preprocess` "
                    "again, which finishes it",
                    path, what);
}

static bool take_hash(const json_t *value, uint64_t *hash)
{
    const char *text = json_string_value(value);
    char *end;

    if (text == NULL || strlen(text) != 16) return false;
    *hash = strtoull(text, &end, 16);
    return *end == '\0';
}

static bool take_count(const json_t *value, int64_t *count)
{
    *count = json_integer_value(value);
    return json_is_integer(value) && *count >= 0;
}

static bool take_text(const json_t *value, char *text, size_t room)
{
    const char *from = json_string_value(value);

    if (from == NULL || strlen(from) >= room) return false;
    snprintf(text, room, "%s", from);
    return true;
}

static bool take_shard(const json_t *value, coc_manifest_shard *s)
{
    return take_text(json_object_get(value, "file"), s->file, sizeof s->file) &&
           coc_shard_number(s->file) >= 0 && /* so it lies in the store's folder */
           take_count(json_object_get(value, "bytes"), &s->bytes) &&
           take_hash(json_object_get(value, "content_hash"), &s->hash) &&
           take_count(json_object_get(value, "tracks"), &s->tracks) &&
           take_count(json_object_get(value, "stems"), &s->stems) &&
           take_count(json_object_get(value, "skipped"), &s->skipped);
}

static coc_status take_shards(const char *path, const json_t *list, coc_manifest *m)
{
    if (!json_is_array(list) || json_array_size(list) == 0) return damaged(path, "shards");
    m->shards = (int64_t)json_array_size(list);
    COC_TRY(coc_alloc(m->shards, sizeof *m->shard, &m->shard));
    for (int64_t i = 0; i < m->shards; i++)
        if (!take_shard(json_array_get(list, (size_t)i), &m->shard[i]))
            return damaged(path, "a row of shards");
    return COC_OK;
}

static coc_status expect(const char *path, const json_t *root, const char *name, int64_t want)
{
    const json_t *value = json_object_get(root, name);

    if (!json_is_integer(value)) return damaged(path, name);
    if (json_integer_value(value) != want)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: %s is %lld, this program reads %lld; make the store again with this "
                        "version of cocola",
                        path, name, (long long)json_integer_value(value), (long long)want);
    return COC_OK;
}

static coc_status take_manifest(const char *path, const json_t *root, coc_manifest *m)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    const json_t *tracks = json_object_get(root, "tracks");
    uint64_t hash;

    if (format == NULL || strcmp(format, FORMAT) != 0)
        return COC_FAIL(COC_ERR_INPUT, "%s: not the manifest of a store", path);
    COC_TRY(expect(path, root, "schema", COC_STORE_SCHEMA));
    COC_TRY(expect(path, root, "sample_rate", COC_SAMPLE_RATE));
    COC_TRY(expect(path, root, "block_samples", COC_STORE_BLOCK));
    COC_TRY(expect(path, root, "level_samples", COC_STORE_LEVEL_SAMPLES));
    if (!take_text(json_object_get(root, "layout"), m->settings.layout, sizeof m->settings.layout))
        return damaged(path, "layout");
    if (!take_text(json_object_get(root, "resampler"), m->settings.resampler,
                   sizeof m->settings.resampler))
        return damaged(path, "resampler");
    for (coc_split s = COC_TRAIN; s < COC_SPLITS; s++)
        if (!take_count(json_object_get(tracks, coc_split_name(s)), &m->tracks[s]))
            return damaged(path, "tracks");
    if (!take_count(json_object_get(root, "stems"), &m->stems)) return damaged(path, "stems");
    if (!take_count(json_object_get(root, "skipped_tracks"), &m->skipped))
        return damaged(path, "skipped_tracks");
    COC_TRY(take_shards(path, json_object_get(root, "shards"), m));
    if (!take_hash(json_object_get(root, "content_hash"), &hash) || hash != coc_manifest_hash(m))
        return damaged(path, "content_hash");
    return COC_OK;
}

static coc_status no_manifest(const char *store)
{
    if (!coc_is_folder(store))
        return COC_FAIL(COC_ERR_IO, "%s: no such store%s; make one with `cocola preprocess`", store,
                        coc_file_exists(store) ? " (a store is a folder)" : "");
    return COC_FAIL(COC_ERR_INPUT,
                    "%s: no finished store (there is no manifest.json); name a folder that "
                    "`cocola preprocess` made; if it was interrupted, run it again to finish",
                    store);
}

coc_status coc_manifest_read(const char *store, coc_manifest *manifest)
{
    char path[COC_PATH_BYTES], *text = NULL;
    size_t length;
    json_error_t error;
    json_t *root;
    coc_status status;

    *manifest = (coc_manifest){0};
    COC_TRY(path_of(store, path));
    if (!coc_file_exists(path)) return no_manifest(store);
    COC_TRY(coc_file_read(path, MANIFEST_LIMIT, &text, &length));
    root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    free(text);
    if (root == NULL)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s:%d:%d: %s: the store is damaged; run `cocola preprocess` again, which "
                        "finishes it",
                        path, error.line, error.column, error.text);
    status = take_manifest(path, root, manifest);
    json_decref(root);
    if (status != COC_OK) coc_manifest_free(manifest);
    return status;
}
