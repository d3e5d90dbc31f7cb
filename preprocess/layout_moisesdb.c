/* preprocess/layout_moisesdb.c - MoisesDB: [moisesdb_v0.1/][{train,valid,test}/]UUID/STEM/ID.wav,
 * with UUID/data.json.
 *
 * Every file is a stem, as published, or all files of a stem's folder together are one. There is no
 * official split: folders say it where they are there, else the hash of the UUID, 0.8 / 0.1 / 0.1.
 * data.json only tells click tracks, which are no music and are left out. */
#include <string.h>

#include <jansson.h>

#include "base/log.h"
#include "preprocess/layout.h"

typedef struct {
    const char *root;
    const coc_layout_options *options;
    coc_source_list *list;
    int64_t clicks;
} listing;

/* ---- data.json ------------------------------------------------------------------------------ */

/* NULL where there is none that can be read; the track keeps all its files. */
static json_t *load_data(const listing *l, const char *track)
{
    char name[COC_PATH_BYTES], path[COC_PATH_BYTES];
    json_error_t error;
    json_t *data;

    if (coc_path_join(name, track, "data.json") != COC_OK) return NULL;
    if (coc_path_join(path, l->root, name) != COC_OK || !coc_file_exists(path)) return NULL;
    data = json_load_file(path, 0, &error);
    if (data == NULL)
        coc_log_warn("%s:%d: %s; its click tracks are not known", path, error.line, error.text);
    return data;
}

/* Whether data.json says that the file STEM/ID is a click track. */
static bool is_click(const json_t *data, const char *id, size_t length)
{
    const json_t *stem, *track;
    size_t i, j;

    json_array_foreach(json_object_get(data, "stems"), i, stem)
        json_array_foreach(json_object_get(stem, "tracks"), j, track)
    {
        const char *own = json_string_value(json_object_get(track, "id"));
        const char *type = json_string_value(json_object_get(track, "trackType"));

        if (own != NULL && type != NULL && strlen(own) == length && strncmp(own, id, length) == 0)
            return strcmp(type, "click track") == 0;
    }
    return false;
}

/* ---- tracks --------------------------------------------------------------------------------- */

static coc_status add_file(listing *l, const char *source, const char *stem, const char *file,
                           bool first)
{
    char name[COC_PATH_BYTES];
    const char *slash = strrchr(source, '/');

    if (!l->options->folder_stems) {
        COC_TRY(coc_path_join(name, stem, file));
        *strrchr(name, '.') = '\0';
        return coc_source_add_whole(l->list, source, name, stem);
    }
    if (first) {
        snprintf(name, sizeof name, "%.*s", (int)(slash - source), source);
        COC_TRY(coc_source_add_stem(l->list, name, stem, stem));
    }
    return coc_source_add_file(l->list, source, 0, 1);
}

static coc_status add_stem(listing *l, const char *track, const char *stem, const json_t *data)
{
    char folder[COC_PATH_BYTES], full[COC_PATH_BYTES], source[COC_PATH_BYTES];
    coc_names names;
    coc_status status = COC_OK;
    bool first = true;

    COC_TRY(coc_path_join(folder, track, stem));
    COC_TRY(coc_path_join(full, l->root, folder));
    if (stem[0] == '.' || !coc_is_folder(full)) return COC_OK;
    COC_TRY(coc_list_folder(full, &names));
    for (int64_t i = 0; i < names.count && status == COC_OK; i++) {
        const char *file = names.name[i];

        if (file[0] == '.' || !coc_is_sound(file)) continue;
        if (is_click(data, file, (size_t)(strrchr(file, '.') - file))) {
            l->clicks++;
            continue;
        }
        status = coc_path_join(source, folder, file);
        if (status == COC_OK) status = add_file(l, source, stem, file, first);
        first = false;
    }
    coc_names_free(&names);
    return status;
}

static coc_status add_track(listing *l, const char *track, coc_split split)
{
    char full[COC_PATH_BYTES];
    coc_names names;
    coc_status status = COC_OK;
    json_t *data;

    COC_TRY(coc_path_join(full, l->root, track));
    if (!coc_is_folder(full)) return COC_OK;
    COC_TRY(coc_list_folder(full, &names));
    data = load_data(l, track);
    status = coc_source_add_track(l->list, split, track);
    for (int64_t i = 0; i < names.count && status == COC_OK; i++)
        status = add_stem(l, track, names.name[i], data);
    json_decref(data);
    coc_names_free(&names);
    return status;
}

/* ---- splits --------------------------------------------------------------------------------- */

/* The same for a track wherever and beside whatever it lies. */
static coc_split split_by_hash(const char *uuid)
{
    const double at = (double)(coc_hash(uuid, strlen(uuid)) >> 11) * 0x1p-53;

    return at < 0.8 ? COC_TRAIN : at < 0.9 ? COC_VALIDATION : COC_TEST;
}

/* UUIDs are the one thing that their folders have in common. */
static bool is_uuid(const char *name)
{
    return strlen(name) == 36 && strspn(name, "0123456789abcdefABCDEF-") == 36;
}

/* Tracks of a folder below the root, "" for the root: of that split, or each by its hash. */
static coc_status list_tracks(listing *l, const char *folder, const coc_split *split,
                              int64_t *tracks)
{
    char full[COC_PATH_BYTES], track[COC_PATH_BYTES];
    coc_names names;
    coc_status status = COC_OK;

    snprintf(full, sizeof full, "%s", l->root);
    if (folder[0] != '\0') COC_TRY(coc_path_join(full, l->root, folder));
    COC_TRY(coc_list_folder(full, &names));
    for (int64_t i = 0; i < names.count && status == COC_OK; i++) {
        const char *name = names.name[i];

        if (!is_uuid(name)) continue;
        snprintf(track, sizeof track, "%s", name);
        if (folder[0] != '\0') status = coc_path_join(track, folder, name);
        if (status == COC_OK)
            status = add_track(l, track, split != NULL ? *split : split_by_hash(name));
        ++*tracks;
    }
    coc_names_free(&names);
    return status;
}

/* Split folders of a provider's folder; without one its tracks are dealt by hash. */
static coc_status list_provider(listing *l, const char *provider)
{
    char full[COC_PATH_BYTES], folder[COC_PATH_BYTES];
    coc_names names;
    coc_status status = COC_OK;
    int64_t tracks = 0, splits = 0;

    snprintf(full, sizeof full, "%s", l->root);
    if (provider[0] != '\0') COC_TRY(coc_path_join(full, l->root, provider));
    COC_TRY(coc_list_folder(full, &names));
    for (int64_t i = 0; i < names.count && status == COC_OK; i++) {
        coc_split split;

        if (coc_split_parse(names.name[i], &split) != COC_OK) continue;
        snprintf(folder, sizeof folder, "%s", names.name[i]);
        if (provider[0] != '\0') status = coc_path_join(folder, provider, names.name[i]);
        if (status == COC_OK) status = list_tracks(l, folder, &split, &tracks);
        splits++;
    }
    coc_names_free(&names);
    if (status == COC_OK && splits == 0) {
        status = list_tracks(l, provider, NULL, &tracks);
        if (tracks > 0)
            coc_log_root("no folders train, valid, test: tracks are dealt 0.8 / 0.1 / 0.1 by the "
                         "hash of their UUID");
    }
    return status;
}

coc_status coc_list_moisesdb(const char *root, const coc_layout_options *options,
                             coc_source_list *list)
{
    static const char provider[] = "moisesdb_v0.1";
    listing l = {.root = root, .options = options, .list = list};
    char full[COC_PATH_BYTES];

    COC_TRY(coc_path_join(full, root, provider));
    COC_TRY(list_provider(&l, coc_is_folder(full) ? provider : ""));
    if (l.clicks > 0)
        coc_log_root("%lld click tracks are left out: they are no music", (long long)l.clicks);
    return COC_OK;
}
