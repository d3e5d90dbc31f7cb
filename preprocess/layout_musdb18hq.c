/* preprocess/layout_musdb18hq.c - MUSDB18-HQ: {train,test}/ARTIST - TITLE/{mixture,vocals,...}.wav.
 *
 * There is no folder for validation: 14 songs of train are, by name, as the tools of the data set
 * have it. */
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/log.h"
#include "preprocess/layout.h"

static const char *const validation[] = {
    "Actions - One Minute Smile",
    "Clara Berry And Wooldog - Waltz For My Victims",
    "Johnny Lokke - Promises & Lies",
    "Patrick Talbot - A Reason To Leave",
    "Triviul - Angelsaint",
    "Alexander Ross - Goodbye Bolero",
    "Fergessen - Nos Palpitants",
    "Leaf - Summerghost",
    "Skelpolu - Human Mistakes",
    "Young Griffo - Pennies",
    "ANiMAL - Rockshow",
    "James May - On The Line",
    "Meaxic - Take A Step",
    "Traffic Experiment - Sirens",
};

/* mixture.wav, their sum, is none. */
static const char *const stems[] = {"bass", "drums", "other", "vocals"};

static coc_split split_of(const char *song, coc_split folder)
{
    if (folder != COC_TRAIN) return folder;
    for (size_t i = 0; i < sizeof validation / sizeof validation[0]; i++)
        if (strcmp(song, validation[i]) == 0) return COC_VALIDATION;
    return COC_TRAIN;
}

static coc_status add_track(const char *root, const char *track, coc_split split,
                            coc_source_list *list)
{
    char source[COC_PATH_BYTES], file[32];

    COC_TRY(coc_source_add_track(list, split, track));
    for (size_t i = 0; i < sizeof stems / sizeof stems[0]; i++) {
        char full[COC_PATH_BYTES];

        snprintf(file, sizeof file, "%s.wav", stems[i]);
        COC_TRY(coc_path_join(source, track, file));
        COC_TRY(coc_path_join(full, root, source));
        if (coc_file_exists(full))
            COC_TRY(coc_source_add_whole(list, source, stems[i], stems[i]));
        else
            coc_log_warn("%s: missing", source);
    }
    return COC_OK;
}

static bool is_packed(const char *name)
{
    const size_t length = strlen(name), end = strlen(".stem.mp4");

    return length > end && strcasecmp(name + length - end, ".stem.mp4") == 0;
}

static coc_status list_split(const char *root, const char *folder, coc_split split,
                             const coc_layout_options *options, coc_source_list *list)
{
    char full[COC_PATH_BYTES], track[COC_PATH_BYTES];
    coc_names names;
    coc_status status = COC_OK;

    (void)options;
    COC_TRY(coc_path_join(full, root, folder));
    COC_TRY(coc_list_folder(full, &names));
    for (int64_t i = 0; i < names.count && status == COC_OK; i++) {
        const char *name = names.name[i];

        if (name[0] == '.') continue;
        COC_TRY_GOTO(status, coc_path_join(track, folder, name), done);
        COC_TRY_GOTO(status, coc_path_join(full, root, track), done);
        if (is_packed(name))
            status = COC_FAIL(COC_ERR_INPUT,
                              "%s: MUSDB18, whose stems are packed and compressed; get MUSDB18-HQ, "
                              "or unpack it (musdb's musdbconvert does) into wav files",
                              full);
        else if (coc_is_folder(full))
            status = add_track(root, track, split_of(name, split), list);
    }

done:
    coc_names_free(&names);
    return status;
}

coc_status coc_list_musdb18hq(const char *root, const coc_layout_options *options,
                              coc_source_list *list)
{
    return coc_list_splits(root, list_split, options, list);
}
