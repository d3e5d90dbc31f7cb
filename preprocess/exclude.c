/* preprocess/exclude.c - tracks and stems that are left out: known to be wrong, or named by the
 * user. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "preprocess/layout.h"

enum { MOST_BYTES = 16 << 20 };

typedef struct {
    int64_t tracks, stems; /* taken out */
} taken;

/* "Track00001" and "train/Track00001" are names of train/Track00001. */
static bool is_named(const char *track, const char *name, size_t length)
{
    const size_t full = strlen(track);

    return full >= length && strncmp(track + full - length, name, length) == 0 &&
           (full == length || track[full - length - 1] == '/');
}

static void remove_stem(coc_source_track *t, const char *name, size_t length, taken *out)
{
    int64_t kept = 0;

    for (int64_t s = 0; s < t->stems; s++) {
        const char *own = t->stem[s].name;

        if (strncmp(own, name, length) == 0 && own[length] == '\0') {
            coc_source_stem_free(&t->stem[s]);
            out->stems++;
        } else {
            t->stem[kept++] = t->stem[s];
        }
    }
    t->stems = kept;
}

/* Without a stem: the whole track. */
static bool take_out(coc_source_list *list, const char *track, size_t track_length,
                     const char *stem, size_t stem_length, taken *out)
{
    const int64_t before = out->tracks + out->stems;
    int64_t kept = 0;

    for (int64_t t = 0; t < list->tracks; t++) {
        coc_source_track *one = &list->track[t];
        const bool named = is_named(one->name, track, track_length);

        if (named && stem != NULL) remove_stem(one, stem, stem_length, out);
        if (named && stem == NULL) {
            coc_source_track_free(one);
            out->tracks++;
        } else {
            list->track[kept++] = *one;
        }
    }
    list->tracks = kept;
    return out->tracks + out->stems > before;
}

/* A line is a track's name, or a track's and a stem's with a slash between: names may hold slashes
 * themselves, so each is tried. */
static bool take_line(coc_source_list *list, const char *line, size_t length, taken *out)
{
    if (take_out(list, line, length, NULL, 0, out)) return true;
    for (size_t i = length; i-- > 1;)
        if (line[i] == '/' && take_out(list, line, i, line + i + 1, length - i - 1, out))
            return true;
    return false;
}

static coc_status read_file(const char *file, coc_source_list *list, taken *out)
{
    size_t bytes;
    char *text;

    COC_TRY(coc_file_read(file, MOST_BYTES, &text, &bytes));
    for (const char *line = text; *line != '\0';) {
        const size_t whole = strcspn(line, "\n");
        size_t length = whole;

        while (length > 0 && strchr(" \t\r", line[length - 1]) != NULL)
            length--;
        if (length > 0 && line[0] != '#' && !take_line(list, line, length, out))
            coc_log_warn("%s: '%.*s' names no track and no stem of this data set", file,
                         (int)length, line);
        line += whole + (line[whole] == '\n');
    }
    free(text);
    return COC_OK;
}

coc_status coc_exclude(const char *file, const coc_known_bad *bad, coc_source_list *list)
{
    taken known = {0}, named = {0};

    for (; bad != NULL && bad->track != NULL; bad++)
        take_out(list, bad->track, strlen(bad->track), bad->stem,
                 bad->stem != NULL ? strlen(bad->stem) : 0, &known);
    if (known.tracks + known.stems > 0)
        coc_log_root("left out, as they are known to be wrong: %lld tracks, %lld stems",
                     (long long)known.tracks, (long long)known.stems);
    if (file == NULL) return COC_OK;
    COC_TRY(read_file(file, list, &named));
    coc_log_root("left out by %s: %lld tracks, %lld stems", file, (long long)named.tracks,
                 (long long)named.stems);
    return COC_OK;
}
