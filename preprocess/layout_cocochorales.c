/* preprocess/layout_cocochorales.c - CocoChorales:
 * {train,valid,test}/ENSEMBLE_trackNNNNNN/stems_audio/N_INSTRUMENT.wav, four voices each.
 *
 * Whatever archives were unpacked there counts: a few of them are a smaller data set. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "preprocess/layout.h"

static const char *const ensembles[] = {"string", "brass", "woodwind", "random", NULL};

/* One voice is shorter than the others; the data set's authors take it out. */
const coc_known_bad coc_bad_cocochorales[] = {
    {"string_track001353", NULL, "one voice is cut short"},
    {NULL, NULL, NULL},
};

/* ---- ensembles ------------------------------------------------------------------------------ */

static bool is_in(const char *list, const char *word, size_t length)
{
    for (const char *at = list; *at != '\0';) {
        const size_t own = strcspn(at, ",");

        if (own == length && strncmp(at, word, length) == 0) return true;
        at += own + (at[own] == ',');
    }
    return false;
}

static coc_status check_ensembles(const char *wanted)
{
    for (const char *at = wanted; at != NULL && *at != '\0';) {
        const size_t length = strcspn(at, ",");
        bool known = false;

        for (int i = 0; ensembles[i] != NULL; i++)
            known |= strlen(ensembles[i]) == length && strncmp(ensembles[i], at, length) == 0;
        if (!known)
            return COC_FAIL(COC_ERR_USAGE,
                            "--ensembles: '%.*s' is unknown; known: string, brass, woodwind, "
                            "random, with commas between",
                            (int)length, at);
        at += length + (at[length] == ',');
    }
    return COC_OK;
}

/* "random_track195321" -> length of the ensemble's name; 0: no track. */
static size_t ensemble_length(const char *name)
{
    const char *track = strstr(name, "_track");
    const size_t digits = track != NULL ? strspn(track + 6, "0123456789") : 0;

    return digits > 0 && track[6 + digits] == '\0' ? (size_t)(track - name) : 0;
}

/* ---- tracks --------------------------------------------------------------------------------- */

/* "0_violin.wav" -> "violin"; NULL: no voice. */
static const char *instrument_of(const char *name)
{
    const size_t digits = strspn(name, "0123456789");

    return digits > 0 && name[digits] == '_' && coc_is_sound(name) ? name + digits + 1 : NULL;
}

static coc_status add_track(const char *root, const char *track, coc_split split,
                            coc_source_list *list)
{
    char folder[COC_PATH_BYTES], full[COC_PATH_BYTES], source[COC_PATH_BYTES];
    char name[128], instrument[128];
    coc_names names;
    coc_status status = COC_OK;

    COC_TRY(coc_source_add_track(list, split, track));
    COC_TRY(coc_path_join(folder, track, "stems_audio"));
    COC_TRY(coc_path_join(full, root, folder));
    if (!coc_is_folder(full)) return COC_OK; /* counted, and skipped */
    COC_TRY(coc_list_folder(full, &names));
    for (int64_t i = 0; i < names.count && status == COC_OK; i++) {
        const char *voice = instrument_of(names.name[i]);

        if (voice == NULL) continue;
        snprintf(name, sizeof name, "%.*s", (int)(strrchr(names.name[i], '.') - names.name[i]),
                 names.name[i]);
        snprintf(instrument, sizeof instrument, "%.*s", (int)(strrchr(voice, '.') - voice), voice);
        status = coc_path_join(source, folder, names.name[i]);
        if (status == COC_OK) status = coc_source_add_whole(list, source, name, instrument);
    }
    coc_names_free(&names);
    return status;
}

static coc_status list_split(const char *root, const char *folder, coc_split split,
                             const coc_layout_options *options, coc_source_list *list)
{
    char full[COC_PATH_BYTES], track[COC_PATH_BYTES];
    coc_names names;
    coc_status status = COC_OK;

    COC_TRY(coc_path_join(full, root, folder));
    COC_TRY(coc_list_folder(full, &names));
    for (int64_t i = 0; i < names.count; i++) {
        const size_t length = ensemble_length(names.name[i]);

        if (length == 0) continue;
        if (options->ensembles != NULL && !is_in(options->ensembles, names.name[i], length))
            continue;
        COC_TRY_GOTO(status, coc_path_join(track, folder, names.name[i]), done);
        COC_TRY_GOTO(status, add_track(root, track, split, list), done);
    }

done:
    coc_names_free(&names);
    return status;
}

coc_status coc_list_cocochorales(const char *root, const coc_layout_options *options,
                                 coc_source_list *list)
{
    COC_TRY(check_ensembles(options->ensembles));
    return coc_list_splits(root, list_split, options, list);
}
