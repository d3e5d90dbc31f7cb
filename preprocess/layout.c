#include "preprocess/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/memory.h"

static const coc_layout layouts[] = {
    {"slakh2100", "{train,validation,test}/Track*/stems/S*.flac, classes from metadata.yaml",
     coc_list_slakh2100, coc_bad_slakh2100},
    {"musdb18hq", "{train,test}/ARTIST - TITLE/{vocals,drums,bass,other}.wav; 14 songs validate",
     coc_list_musdb18hq, NULL},
    {"moisesdb", "[moisesdb_v0.1/][{train,valid,test}/]UUID/STEM/*.wav", coc_list_moisesdb, NULL},
    {"cocochorales", "{train,valid,test}/ENSEMBLE_trackNNNNNN/stems_audio/N_INSTRUMENT.wav",
     coc_list_cocochorales, coc_bad_cocochorales},
    {"folder", "{train,validation,test}/TRACK/**/*.{wav,flac,ogg,mp3}: a folder a track",
     coc_list_folders, NULL},
    {"csv", "a table: track,split,stem,path[,class][,offset][,gain]; --in names the file",
     coc_list_csv, NULL},
    {NULL, NULL, NULL, NULL},
};

char *coc_layout_help(void)
{
    char *text = coc_strdup("");

    for (const coc_layout *l = layouts; l->name != NULL && text != NULL; l++) {
        char *longer = coc_format("%s  %-12s  %s\n", text, l->name, l->help);

        free(text);
        text = longer;
    }
    return text;
}

coc_status coc_layout_find(const char *name, const coc_layout **layout)
{
    char known[sizeof layouts / sizeof layouts[0] * 32];
    size_t used = 0;

    for (const coc_layout *l = layouts; l->name != NULL; l++) {
        if (strcmp(l->name, name) != 0) continue;
        *layout = l;
        return COC_OK;
    }
    *layout = NULL;
    for (const coc_layout *l = layouts; l->name != NULL; l++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used > 0 ? ", " : "",
                                 l->name);
    return COC_FAIL(COC_ERR_USAGE, "--layout: '%s' is unknown; known: %s", name, known);
}

bool coc_has_extension(const char *name, const char *const *extensions)
{
    const char *dot = strrchr(name, '.');

    if (dot == NULL || dot == name) return false;
    for (; *extensions != NULL; extensions++)
        if (strcasecmp(dot + 1, *extensions) == 0) return true;
    return false;
}

bool coc_is_sound(const char *name)
{
    static const char *const known[] = {"wav", "flac", "ogg", "mp3", NULL};

    return coc_has_extension(name, known);
}

coc_status coc_list_splits(const char *root, coc_list_split *list_split,
                           const coc_layout_options *options, coc_source_list *list)
{
    char path[COC_PATH_BYTES];
    coc_names names;
    coc_status status = COC_OK;
    int found = 0;

    COC_TRY(coc_list_folder(root, &names));
    for (int64_t i = 0; i < names.count && status == COC_OK; i++) {
        coc_split split;

        if (coc_split_parse(names.name[i], &split) != COC_OK) continue;
        COC_TRY_GOTO(status, coc_path_join(path, root, names.name[i]), done);
        if (!coc_is_folder(path)) continue;
        found++;
        status = list_split(root, names.name[i], split, options, list);
    }
    if (status == COC_OK && found == 0)
        status = COC_FAIL(COC_ERR_INPUT,
                          "%s: no folder train, validation (valid, val) or test in it; --in names "
                          "the folder that holds them",
                          root);

done:
    coc_names_free(&names);
    return status;
}

coc_status coc_layout_list(const coc_layout *layout, const char *root,
                           const coc_layout_options *options, coc_source_list *list)
{
    coc_status status;

    *list = (coc_source_list){0};
    status = layout->list(root, options, list);
    if (status == COC_OK) status = coc_exclude(options->exclude, layout->bad, list);
    if (status == COC_OK && list->tracks == 0)
        status = COC_FAIL(COC_ERR_INPUT, "%s: no track of layout %s in it; it looks for %s", root,
                          layout->name, layout->help);
    if (status == COC_OK)
        coc_source_list_sort(list);
    else
        coc_source_list_free(list);
    return status;
}

coc_status coc_layout_root(const char *in, char root[COC_PATH_BYTES])
{
    char *slash;

    if (snprintf(root, COC_PATH_BYTES, "%s", in) >= COC_PATH_BYTES)
        return COC_FAIL(COC_ERR_USAGE, "%.80s...: the path is too long", in);
    if (coc_is_folder(in)) return COC_OK;
    slash = strrchr(root, '/');
    if (slash == NULL)
        snprintf(root, COC_PATH_BYTES, ".");
    else
        slash[slash == root] = '\0';
    return COC_OK;
}
