/* The folder of a rendered data set: its settings, its tracks, the songs that gave none. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/log.h"
#include "base/memory.h"
#include "preprocess/render_song.h"

enum { NUMBERS = 100000, SMALL_FILE_BYTES = 1 << 20, SCHEMA = 1 };

coc_status coc_track_path(const char *dataset, const coc_song *song, char path[COC_PATH_BYTES])
{
    char name[48];

    snprintf(name, sizeof name, "%s/Track%05d", coc_split_name(song->split), (int)song->number);
    return coc_path_join(path, dataset, name);
}

/* ---- settings -------------------------------------------------------------------------------- */

/* A JSON string of any bytes. */
static json_t *any_string(const char *text)
{
    char *quoted = coc_quoted(text);
    json_t *value = quoted != NULL ? json_loads(quoted, JSON_DECODE_ANY, NULL) : NULL;

    free(quoted);
    return value;
}

static json_t *settings_json(const coc_render_settings *settings, uint64_t soundfont)
{
    const char *slash = strrchr(settings->soundfont, '/');
    char hash[17];

    snprintf(hash, sizeof hash, "%016" PRIx64, soundfont);
    return json_pack("{s:i, s:o, s:s, s:I, s:f, s:{s:s, s:s}}", "schema", SCHEMA, "soundfont",
                     any_string(slash != NULL ? slash + 1 : settings->soundfont), "soundfont_hash",
                     hash, "rate", (json_int_t)settings->rate, "max_seconds", settings->max_seconds,
                     "versions", "fluidsynth", coc_fluidsynth_version(), "libopenmpt",
                     coc_openmpt_version());
}

/* The setting as text for a message. */
static char *value_text(const json_t *settings, const char *key)
{
    const json_t *value = json_object_get(settings, key);

    if (value == NULL) return coc_strdup("nothing");
    return json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9) | JSON_SORT_KEYS);
}

static coc_status compare_settings(const char *path, const json_t *old, const json_t *now)
{
    static const char *const keys[] = {"schema", "rate", "max_seconds", "soundfont_hash"};
    static const char *const options[] = {"schema", "--rate", "--max-seconds",
                                          "--soundfont (hash of the file)"};

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char *a = value_text(old, keys[i]), *b = value_text(now, keys[i]);
        const bool same = a != NULL && b != NULL && strcmp(a, b) == 0;
        coc_status status = COC_OK;

        if (!same)
            status =
                COC_FAIL(COC_ERR_SETTING,
                         "%s: its tracks were rendered with %s %s, now it is %s; give the same "
                         "value, or another --out",
                         path, options[i], a != NULL ? a : "?", b != NULL ? b : "?");
        free(a);
        free(b);
        if (!same) return status;
    }
    if (!json_equal(json_object_get(old, "versions"), json_object_get(now, "versions")))
        coc_log_warn("%s: earlier tracks came from other versions of FluidSynth or libopenmpt (see "
                     "render.json); sound may differ in the last bits",
                     path);
    return COC_OK;
}

static coc_status read_json(const char *path, json_t **value)
{
    char *bytes;
    size_t count;
    json_error_t error;

    *value = NULL;
    COC_TRY(coc_file_read(path, 64 * SMALL_FILE_BYTES, &bytes, &count));
    *value = json_loadb(bytes, count, 0, &error);
    free(bytes);
    if (*value == NULL)
        return COC_FAIL(COC_ERR_INPUT, "%s: no JSON (line %d: %s); remove the file to start afresh",
                        path, error.line, error.text);
    return COC_OK;
}

static coc_status write_json(const char *path, const json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    char *line = text != NULL ? coc_format("%s\n", text) : NULL;
    coc_status status;

    status = line != NULL ? coc_file_write(path, line, strlen(line))
                          : COC_FAIL(COC_ERR_MEMORY, "%s: no memory to write it", path);
    free(text);
    free(line);
    return status;
}

/* Tracks that we did not make must not end up among ours. */
static coc_status refuse_foreign(const char *out)
{
    char path[COC_PATH_BYTES];

    for (int split = 0; split < COC_SPLITS; split++) {
        COC_TRY(coc_path_join(path, out, coc_split_name((coc_split)split)));
        if (coc_file_exists(path))
            return COC_FAIL(COC_ERR_SETTING,
                            "%s: it exists, but %s/render.json does not: not a folder that cocola "
                            "render made; choose another --out",
                            path, out);
    }
    return COC_OK;
}

static coc_status check_settings(const coc_render_settings *settings)
{
    char path[COC_PATH_BYTES];
    uint64_t soundfont;
    json_t *now, *old = NULL;
    coc_status status;

    COC_TRY(coc_path_join(path, settings->out, "render.json"));
    COC_TRY(coc_hash_file(settings->soundfont, &soundfont));
    now = settings_json(settings, soundfont);
    if (now == NULL) return COC_FAIL(COC_ERR_MEMORY, "%s: no memory to write it", path);
    if (coc_file_exists(path)) {
        status = read_json(path, &old);
        if (status == COC_OK) status = compare_settings(settings->out, old, now);
    } else {
        status = refuse_foreign(settings->out);
        if (status == COC_OK) status = write_json(path, now);
    }
    json_decref(now);
    json_decref(old);
    return status;
}

/* ---- tracks that are there ------------------------------------------------------------------- */

/* The song's hash in a track's metadata; 0 when it holds none. */
static uint64_t read_uuid(const char *track)
{
    static const char key[] = "UUID: \"";
    char path[COC_PATH_BYTES], *text;
    uint64_t hash = 0;
    size_t count;

    if (coc_path_join(path, track, "metadata.yaml") != COC_OK) return 0;
    if (coc_file_read(path, SMALL_FILE_BYTES, &text, &count) != COC_OK) return 0;
    if (strncmp(text, key, sizeof key - 1) == 0) hash = strtoull(text + sizeof key - 1, NULL, 16);
    free(text);
    return hash;
}

static int compare_numbered(const void *a, const void *b)
{
    const coc_numbered *s = a, *t = b;

    return (s->song > t->song) - (s->song < t->song);
}

static coc_status list_split(coc_dataset *dataset, coc_split split, int64_t *capacity)
{
    char folder[COC_PATH_BYTES], track[COC_PATH_BYTES];
    coc_names names;
    coc_status status;

    COC_TRY(coc_path_join(folder, dataset->path, coc_split_name(split)));
    COC_TRY(coc_make_folders(folder));
    COC_TRY(coc_list_folder(folder, &names));
    status = coc_grow(&dataset->numbered, capacity, dataset->tracks + names.count,
                      sizeof *dataset->numbered);
    for (int64_t i = 0; i < names.count && status == COC_OK; i++) {
        int number, end = 0;

        if (sscanf(names.name[i], "Track%5d%n", &number, &end) != 1 || end != 10 ||
            names.name[i][end] != '\0')
            continue;
        status = coc_path_join(track, folder, names.name[i]);
        if (status != COC_OK) break;
        if (rmdir(track) == 0) continue; /* empty: of no song, but its number would count */
        dataset->numbered[dataset->tracks++] =
            (coc_numbered){.song = read_uuid(track), .split = split, .number = number};
    }
    coc_names_free(&names);
    return status;
}

static coc_status list_tracks(coc_dataset *dataset)
{
    int64_t capacity = 0;

    for (int split = 0; split < COC_SPLITS; split++)
        COC_TRY(list_split(dataset, (coc_split)split, &capacity));
    if (dataset->tracks > 1)
        qsort(dataset->numbered, (size_t)dataset->tracks, sizeof *dataset->numbered,
              compare_numbered);
    return COC_OK;
}

const coc_numbered *coc_dataset_track(const coc_dataset *dataset, uint64_t song)
{
    const coc_numbered key = {.song = song};

    if (dataset->tracks == 0) return NULL;
    return bsearch(&key, dataset->numbered, (size_t)dataset->tracks, sizeof key, compare_numbered);
}

void coc_dataset_clean(const coc_dataset *dataset)
{
    char folder[COC_PATH_BYTES];

    for (int split = 0; split < COC_SPLITS; split++)
        if (coc_path_join(folder, dataset->path, coc_split_name((coc_split)split)) == COC_OK)
            coc_sweep_partials(folder);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static coc_status next_free(const bool *taken, const coc_song *song, int32_t *number)
{
    /* the last digit of the hash decided the split */
    const int32_t first = (int32_t)(song->hash / 10 % NUMBERS);

    for (int32_t i = 0; i < NUMBERS; i++) {
        *number = (first + i) % NUMBERS;
        if (!taken[*number]) return COC_OK;
    }
    return COC_FAIL(COC_ERR_USAGE,
                    "more than %d songs in the %s split: render them into several "
                    "folders",
                    NUMBERS, coc_split_name(song->split));
}

coc_status coc_dataset_number(const coc_dataset *dataset, coc_songs *songs)
{
    bool *taken;
    coc_status status = COC_OK;

    COC_TRY(coc_alloc((int64_t)COC_SPLITS * NUMBERS, sizeof *taken, &taken));
    for (int64_t i = 0; i < dataset->tracks; i++)
        taken[dataset->numbered[i].split * NUMBERS + dataset->numbered[i].number] = true;
    /* in the order of the hashes: what a stopped run left gives the rest the same numbers again */
    for (int64_t i = 0; i < songs->count && status == COC_OK; i++) {
        coc_song *song = &songs->song[i];
        const coc_numbered *there = coc_dataset_track(dataset, song->hash);

        if (there != NULL) {
            song->split = there->split;
            song->number = there->number;
            continue;
        }
        status = next_free(taken + song->split * NUMBERS, song, &song->number);
        if (status == COC_OK) taken[song->split * NUMBERS + song->number] = true;
    }
    free(taken);
    return status;
}

/* ---- songs that gave no track ---------------------------------------------------------------- */

const coc_skipped *coc_dataset_skipped(const coc_dataset *dataset, uint64_t song)
{
    for (int64_t i = 0; i < dataset->skips; i++)
        if (dataset->skipped[i].song == song) return &dataset->skipped[i];
    return NULL;
}

static coc_status add_skip(coc_dataset *dataset, uint64_t song, const char *name, bool broken,
                           const char *why)
{
    coc_skipped *skip;

    COC_TRY(coc_grow(&dataset->skipped, &dataset->skip_capacity, dataset->skips + 1,
                     sizeof *dataset->skipped));
    skip = &dataset->skipped[dataset->skips++];
    *skip = (coc_skipped){song, broken, coc_strdup(name), coc_strdup(why)};
    if (skip->name == NULL || skip->why == NULL)
        return COC_FAIL(COC_ERR_MEMORY, "%s: no memory for its name", name);
    return COC_OK;
}

coc_status coc_dataset_skip(coc_dataset *dataset, const coc_song *song, bool broken,
                            const char *why)
{
    return add_skip(dataset, song->hash, song->name, broken, why);
}

static coc_status read_skipped(coc_dataset *dataset)
{
    char path[COC_PATH_BYTES];
    json_t *list, *row;
    size_t i;
    coc_status status = COC_OK;

    COC_TRY(coc_path_join(path, dataset->path, "skipped.json"));
    if (!coc_file_exists(path)) return COC_OK;
    COC_TRY(read_json(path, &list));
    json_array_foreach(list, i, row)
    {
        const char *song = json_string_value(json_object_get(row, "song"));
        const char *name = json_string_value(json_object_get(row, "source"));
        const char *why = json_string_value(json_object_get(row, "why"));

        if (song == NULL || name == NULL || why == NULL || status != COC_OK) continue;
        status = add_skip(dataset, strtoull(song, NULL, 16), name,
                          json_is_true(json_object_get(row, "broken")), why);
    }
    json_decref(list);
    dataset->skips_on_disk = dataset->skips;
    return status;
}

static int compare_skipped(const void *a, const void *b)
{
    const coc_skipped *s = a, *t = b;

    return (s->song > t->song) - (s->song < t->song);
}

coc_status coc_dataset_write_skipped(coc_dataset *dataset)
{
    char path[COC_PATH_BYTES], hash[17];
    json_t *list;
    coc_status status;

    if (dataset->skips == dataset->skips_on_disk) return COC_OK;
    list = json_array();
    status = coc_path_join(path, dataset->path, "skipped.json");
    if (dataset->skips > 1)
        qsort(dataset->skipped, (size_t)dataset->skips, sizeof *dataset->skipped, compare_skipped);
    for (int64_t i = 0; i < dataset->skips; i++) {
        const coc_skipped *skip = &dataset->skipped[i];

        snprintf(hash, sizeof hash, "%016" PRIx64, skip->song);
        json_array_append_new(list, json_pack("{s:s, s:o, s:b, s:o}", "song", hash, "source",
                                              any_string(skip->name), "broken", (int)skip->broken,
                                              "why", any_string(skip->why)));
    }
    if (status == COC_OK) status = write_json(path, list);
    json_decref(list);
    return status;
}

/* ---- opening --------------------------------------------------------------------------------- */

coc_status coc_dataset_open(const coc_render_settings *settings, coc_dataset *dataset)
{
    *dataset = (coc_dataset){.path = settings->out};
    COC_TRY(coc_make_folders(settings->out));
    COC_TRY(coc_lock_take(settings->out, ".render.lock", "cocola render", &dataset->lock));
    COC_TRY(check_settings(settings));
    coc_dataset_clean(dataset);
    COC_TRY(list_tracks(dataset));
    return read_skipped(dataset);
}

void coc_dataset_close(coc_dataset *dataset)
{
    coc_lock_release(&dataset->lock);
    for (int64_t i = 0; i < dataset->skips; i++) {
        free(dataset->skipped[i].name);
        free(dataset->skipped[i].why);
    }
    free(dataset->skipped);
    free(dataset->numbered);
    *dataset = (coc_dataset){0};
}
