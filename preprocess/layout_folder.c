/* preprocess/layout_folder.c - any {split}/{track}/.../x.{wav,flac,ogg,mp3}: people's own stems. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/log.h"
#include "preprocess/layout.h"

enum { MAX_DEPTH = 16 }; /* folders below a track; more is a link that leads back */

typedef struct {
    coc_source_list *list;
    int64_t mixes;   /* files that hold the sum of the stems */
    int64_t foreign; /* sound files of other formats */
    char example[COC_PATH_BYTES];
} listing;

static bool is_other_sound(const char *name)
{
    static const char *const other[] = {"mp4", "m4a", "aac", "wma", "aif", "aiff", "opus", NULL};

    return coc_has_extension(name, other);
}

/* "mix.wav", "mixture.flac": with it in a track every pair would be too easy. */
static bool is_mix(const char *name)
{
    const size_t length = (size_t)(strrchr(name, '.') - name);

    return (length == 3 && strncasecmp(name, "mix", 3) == 0) ||
           (length == 7 && strncasecmp(name, "mixture", 7) == 0);
}

static coc_status add_file(listing *l, const char *source, const char *below_track)
{
    const char *slash = strrchr(source, '/');
    const char *leaf = slash != NULL ? slash + 1 : source;
    char name[COC_PATH_BYTES];

    if (is_other_sound(leaf)) {
        if (l->foreign++ == 0) snprintf(l->example, sizeof l->example, "%s", source);
        return COC_OK;
    }
    if (!coc_is_sound(leaf)) return COC_OK;
    if (is_mix(leaf)) {
        l->mixes++;
        return COC_OK;
    }
    snprintf(name, sizeof name, "%s", below_track);
    *strrchr(name, '.') = '\0';
    return coc_source_add_whole(l->list, source, name, "");
}

/* folder: path below the root; below_track: the part of it after the track, "" at first. */
static coc_status walk(listing *l, const char *root, const char *folder, size_t track_length,
                       int depth)
{
    char full[COC_PATH_BYTES], source[COC_PATH_BYTES];
    coc_names names;
    coc_status status = COC_OK;

    COC_TRY(coc_path_join(full, root, folder));
    COC_TRY(coc_list_folder(full, &names));
    for (int64_t i = 0; i < names.count && status == COC_OK; i++) {
        if (names.name[i][0] == '.') continue;
        COC_TRY_GOTO(status, coc_path_join(source, folder, names.name[i]), done);
        COC_TRY_GOTO(status, coc_path_join(full, root, source), done);
        if (!coc_is_folder(full))
            status = add_file(l, source, source + track_length + 1);
        else if (depth < MAX_DEPTH)
            status = walk(l, root, source, track_length, depth + 1);
    }

done:
    coc_names_free(&names);
    return status;
}

static void report(const listing *l, const char *root, const char *folder, int64_t loose)
{
    if (l->mixes > 0)
        coc_log_root("%s/%s: %lld files called mix or mixture are left out: they hold the sum of "
                     "the stems",
                     root, folder, (long long)l->mixes);
    if (l->foreign > 0)
        coc_log_warn("%s/%s: %lld sound files of other formats are left out (first: %s); convert "
                     "them to flac",
                     root, folder, (long long)l->foreign, l->example);
    if (loose > 0)
        coc_log_warn("%s/%s: %lld sound files lie outside a track's folder and are left out; give "
                     "every song a folder of its own",
                     root, folder, (long long)loose);
}

static coc_status list_split(const char *root, const char *folder, coc_split split,
                             const coc_layout_options *options, coc_source_list *list)
{
    listing l = {.list = list};
    char full[COC_PATH_BYTES], track[COC_PATH_BYTES];
    coc_names names;
    coc_status status = COC_OK;
    int64_t loose = 0;

    (void)options;
    COC_TRY(coc_path_join(full, root, folder));
    COC_TRY(coc_list_folder(full, &names));
    for (int64_t i = 0; i < names.count; i++) {
        if (names.name[i][0] == '.') continue;
        COC_TRY_GOTO(status, coc_path_join(track, folder, names.name[i]), done);
        COC_TRY_GOTO(status, coc_path_join(full, root, track), done);
        if (!coc_is_folder(full)) {
            loose += coc_is_sound(names.name[i]);
            continue;
        }
        COC_TRY_GOTO(status, coc_source_add_track(list, split, track), done);
        COC_TRY_GOTO(status, walk(&l, root, track, strlen(track), 0), done);
    }
    report(&l, root, folder, loose);

done:
    coc_names_free(&names);
    return status;
}

coc_status coc_list_folders(const char *root, const coc_layout_options *options,
                            coc_source_list *list)
{
    return coc_list_splits(root, list_split, options, list);
}
