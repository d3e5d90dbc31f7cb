/* Finding songs: files and folders, lumps of Doom WADs, each song once. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "preprocess/render_song.h"

enum {
    MAX_FILE_BYTES = 1 << 30,
    WAD_HEADER_BYTES = 12,
    WAD_ENTRY_BYTES = 16,
    WAD_NAME_BYTES = 8,
};

/* A file under examination. */
typedef struct {
    const char *path; /* to open it */
    const char *name; /* to show it: below the path that the user gave */
    const char *bytes;
    int64_t count;
} song_file;

coc_split coc_song_split(uint64_t hash)
{
    switch (hash % 10) {
    case 0:
        return COC_TEST;
    case 1:
        return COC_VALIDATION;
    default:
        return COC_TRAIN;
    }
}

static void note_broken(coc_songs *songs, const char *name, const char *why)
{
    songs->broken++;
    coc_log_warn("%s: left out: %s", name, why);
}

/* `lump` is the name within a WAD, or NULL. */
static coc_status add_song(coc_songs *songs, const song_file *file, const char *lump,
                           int64_t offset, int64_t bytes, coc_song_kind kind)
{
    coc_song *song;

    COC_TRY(coc_grow(&songs->song, &songs->capacity, songs->count + 1, sizeof *songs->song));
    song = &songs->song[songs->count];
    *song = (coc_song){.path = coc_strdup(file->path),
                       .name = lump != NULL ? coc_format("%s:%s", file->name, lump)
                                            : coc_strdup(file->name),
                       .offset = offset,
                       .bytes = bytes,
                       .order = songs->count,
                       .hash = coc_hash(file->bytes + offset, (size_t)bytes),
                       .kind = kind,
                       .number = -1};
    song->split = coc_song_split(song->hash);
    songs->count++;
    if (song->path == NULL || song->name == NULL)
        return COC_FAIL(COC_ERR_MEMORY, "%s: no memory for its songs", file->name);
    return COC_OK;
}

/* ---- WADs ----------------------------------------------------------------------------------- */

static int64_t little_endian(const char *bytes)
{
    const unsigned char *b = (const unsigned char *)bytes;

    return (int64_t)b[0] | (int64_t)b[1] << 8 | (int64_t)b[2] << 16 | (int64_t)b[3] << 24;
}

static void lump_name(const char *entry, char name[WAD_NAME_BYTES + 1])
{
    int n = 0;

    for (; n < WAD_NAME_BYTES && entry[n] != '\0'; n++)
        name[n] = entry[n] > ' ' && entry[n] <= '~' ? entry[n] : '?';
    name[n] = '\0';
}

static bool is_midi(const char *bytes, int64_t count)
{
    return count >= 4 && memcmp(bytes, "MThd", 4) == 0;
}

static bool is_wad(const char *bytes, int64_t count)
{
    return count >= 4 && (memcmp(bytes, "IWAD", 4) == 0 || memcmp(bytes, "PWAD", 4) == 0);
}

/* A WAD is a header (magic, number of lumps, place of the directory) and a directory of (place,
 * bytes, name); songs are the lumps that begin like a MIDI file. */
static coc_status add_wad(coc_songs *songs, const song_file *file)
{
    int64_t lumps, directory;
    char name[WAD_NAME_BYTES + 1];

    if (file->count < WAD_HEADER_BYTES) {
        note_broken(songs, file->name, "a WAD that ends within its header");
        return COC_OK;
    }
    lumps = little_endian(file->bytes + 4);
    directory = little_endian(file->bytes + 8);
    if (directory > file->count || lumps > (file->count - directory) / WAD_ENTRY_BYTES) {
        note_broken(songs, file->name, "a WAD whose directory lies beyond its end: cut short?");
        return COC_OK;
    }
    for (int64_t i = 0; i < lumps; i++) {
        const char *entry = file->bytes + directory + i * WAD_ENTRY_BYTES;
        const int64_t offset = little_endian(entry), bytes = little_endian(entry + 4);

        lump_name(entry + 8, name);
        if (offset > file->count || bytes > file->count - offset) {
            char *full = coc_format("%s:%s", file->name, name);

            note_broken(songs, full != NULL ? full : name, "it lies beyond the end of its WAD");
            free(full);
        } else if (is_midi(file->bytes + offset, bytes)) {
            COC_TRY(add_song(songs, file, name, offset, bytes, COC_SONG_MIDI));
        }
    }
    return COC_OK;
}

/* ---- files and folders ---------------------------------------------------------------------- */

static coc_status add_file_bytes(coc_songs *songs, const song_file *file)
{
    if (is_wad(file->bytes, file->count)) return add_wad(songs, file);
    if (is_midi(file->bytes, file->count))
        return add_song(songs, file, NULL, 0, file->count, COC_SONG_MIDI);
    if (coc_module_probe(file->bytes, file->count))
        return add_song(songs, file, NULL, 0, file->count, COC_SONG_MODULE);
    note_broken(songs, file->name,
                file->count == 0 ? "an empty file" : "no MIDI file, WAD or tracker module");
    return COC_OK;
}

static coc_status add_file(coc_songs *songs, const char *path, const char *name)
{
    char *bytes;
    size_t count;
    const coc_status read = coc_file_read(path, MAX_FILE_BYTES, &bytes, &count);
    coc_status status;

    if (read == COC_ERR_MEMORY) return read;
    if (read != COC_OK) {
        note_broken(songs, name, coc_error_text());
        return COC_OK;
    }
    status = add_file_bytes(songs, &(song_file){path, name, bytes, (int64_t)count});
    free(bytes);
    return status;
}

static bool looks_like_song(const char *name)
{
    const char *dot = strrchr(name, '.');

    if (dot == NULL) return false;
    return strcasecmp(dot, ".mid") == 0 || strcasecmp(dot, ".midi") == 0 ||
           strcasecmp(dot, ".wad") == 0 || coc_module_extension(dot + 1);
}

static coc_status add_folder(coc_songs *songs, const char *path, const char *name);

/* An entry of a folder. Links to folders are not followed: they may lead round in a circle. */
static coc_status add_entry(coc_songs *songs, const char *path, const char *name, const char *leaf)
{
    struct stat own, target;

    if (leaf[0] == '.' || lstat(path, &own) != 0) return COC_OK;
    if (S_ISDIR(own.st_mode)) return add_folder(songs, path, name);
    if (!looks_like_song(leaf)) return COC_OK;
    if (stat(path, &target) != 0 || !S_ISREG(target.st_mode)) return COC_OK;
    return add_file(songs, path, name);
}

/* `name` is "" for the folder that the user gave. */
static coc_status add_folder(coc_songs *songs, const char *path, const char *name)
{
    coc_names names;
    coc_status status = coc_list_folder(path, &names);

    for (int64_t i = 0; i < names.count && status == COC_OK; i++) {
        const char *leaf = names.name[i];
        char *entry = coc_format("%s/%s", path, leaf);
        char *shown = name[0] != '\0' ? coc_format("%s/%s", name, leaf) : coc_strdup(leaf);

        if (coc_stop_requested())
            status = COC_FAIL(COC_ERR_STOPPED, "stopped while looking for songs");
        else if (entry == NULL || shown == NULL)
            status = COC_FAIL(COC_ERR_MEMORY, "%s: no memory for its names", path);
        else
            status = add_entry(songs, entry, shown, leaf);
        free(entry);
        free(shown);
    }
    coc_names_free(&names);
    return status;
}

/* ---- each song once ------------------------------------------------------------------------- */

static int compare_songs(const void *a, const void *b)
{
    const coc_song *s = a, *t = b;

    if (s->hash != t->hash) return s->hash < t->hash ? -1 : 1;
    return (s->order > t->order) - (s->order < t->order);
}

static void free_song(coc_song *song)
{
    free(song->path);
    free(song->name);
}

static void drop_duplicates(coc_songs *songs)
{
    int64_t kept = 0;

    if (songs->count < 2) return;
    qsort(songs->song, (size_t)songs->count, sizeof *songs->song, compare_songs);
    for (int64_t i = 0; i < songs->count; i++) {
        if (kept > 0 && songs->song[kept - 1].hash == songs->song[i].hash) {
            free_song(&songs->song[i]);
            songs->duplicates++;
        } else {
            songs->song[kept++] = songs->song[i];
        }
    }
    songs->count = kept;
}

coc_status coc_songs_collect(const char *const *paths, int64_t count, coc_songs *songs)
{
    *songs = (coc_songs){0};
    for (int64_t i = 0; i < count; i++) {
        const char *slash = strrchr(paths[i], '/');

        if (coc_is_folder(paths[i]))
            COC_TRY(add_folder(songs, paths[i], ""));
        else if (coc_file_bytes(paths[i]) >= 0)
            COC_TRY(add_file(songs, paths[i], slash != NULL ? slash + 1 : paths[i]));
        else
            return COC_FAIL(COC_ERR_IO, "%s: no such file or folder", paths[i]);
    }
    drop_duplicates(songs);
    return COC_OK;
}

void coc_songs_free(coc_songs *songs)
{
    for (int64_t i = 0; i < songs->count; i++)
        free_song(&songs->song[i]);
    free(songs->song);
    *songs = (coc_songs){0};
}

coc_status coc_song_read(const coc_song *song, char **bytes)
{
    FILE *file = fopen(song->path, "rb");
    coc_status status = COC_OK;

    *bytes = NULL;
    if (file == NULL)
        return COC_FAIL(COC_ERR_IO, "%s: cannot be opened: %s", song->path, strerror(errno));
    status = coc_alloc(song->bytes, 1, bytes);
    if (status == COC_OK && (fseeko(file, (off_t)song->offset, SEEK_SET) != 0 ||
                             fread(*bytes, 1, (size_t)song->bytes, file) != (size_t)song->bytes ||
                             coc_hash(*bytes, (size_t)song->bytes) != song->hash))
        status = COC_FAIL(COC_ERR_INPUT, "the file has changed since it was looked through");
    fclose(file);
    if (status != COC_OK) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}
