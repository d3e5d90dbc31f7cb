#include "preprocess/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

static const coc_layout layouts[] = {
    {"slakh2100", "{train,validation,test}/Track*/stems/S*.flac, classes from metadata.yaml",
     coc_list_slakh2100},
    {"folder", "{train,validation,test}/TRACK/**/*.{wav,flac,ogg,mp3}: a folder a track",
     coc_list_folders},
    {NULL, NULL, NULL},
};

char *coc_layout_help(void)
{
    char *text = coc_strdup("");

    for (const coc_layout *l = layouts; l->name != NULL && text != NULL; l++) {
        char *longer = coc_format("%s  %-9s  %s\n", text, l->name, l->help);

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

coc_status coc_source_add_track(coc_source_list *list, coc_split split, const char *name)
{
    coc_source_track *t;

    COC_TRY(coc_grow(&list->track, &list->capacity, list->tracks + 1, sizeof *list->track));
    t = &list->track[list->tracks];
    *t = (coc_source_track){.split = split, .name = coc_strdup(name)};
    if (t->name == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for the list of tracks");
    list->tracks++;
    return COC_OK;
}

coc_status coc_source_add_stem(coc_source_list *list, const char *source, const char *name,
                               const char *instrument)
{
    coc_source_track *t = &list->track[list->tracks - 1];
    coc_source_stem *s;

    COC_TRY(coc_grow(&t->stem, &t->capacity, t->stems + 1, sizeof *t->stem));
    s = &t->stem[t->stems++];
    *s = (coc_source_stem){coc_strdup(source), coc_strdup(name), coc_strdup(instrument)};
    if (s->source == NULL || s->name == NULL || s->instrument == NULL)
        return COC_FAIL(COC_ERR_MEMORY, "no memory for the list of stems");
    return COC_OK;
}

void coc_source_list_free(coc_source_list *list)
{
    for (int64_t t = 0; t < list->tracks; t++) {
        coc_source_track *track = &list->track[t];

        for (int64_t s = 0; s < track->stems; s++) {
            free(track->stem[s].source);
            free(track->stem[s].name);
            free(track->stem[s].instrument);
        }
        free(track->stem);
        free(track->name);
    }
    free(list->track);
    *list = (coc_source_list){0};
}

static int compare_tracks(const void *a, const void *b)
{
    return strcmp(((const coc_source_track *)a)->name, ((const coc_source_track *)b)->name);
}

static int compare_stems(const void *a, const void *b)
{
    return strcmp(((const coc_source_stem *)a)->source, ((const coc_source_stem *)b)->source);
}

static void sort_list(coc_source_list *list)
{
    if (list->tracks > 1)
        qsort(list->track, (size_t)list->tracks, sizeof *list->track, compare_tracks);
    for (int64_t t = 0; t < list->tracks; t++)
        if (list->track[t].stems > 1)
            qsort(list->track[t].stem, (size_t)list->track[t].stems, sizeof *list->track[t].stem,
                  compare_stems);
}

coc_status coc_list_splits(const char *root, coc_list_split *list_split, coc_source_list *list)
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
        status = list_split(root, names.name[i], split, list);
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

coc_status coc_layout_list(const coc_layout *layout, const char *root, coc_source_list *list)
{
    coc_status status;

    *list = (coc_source_list){0};
    status = layout->list(root, list);
    if (status == COC_OK && list->tracks == 0)
        status = COC_FAIL(COC_ERR_INPUT, "%s: no track of layout %s in it; it looks for %s", root,
                          layout->name, layout->help);
    if (status == COC_OK)
        sort_list(list);
    else
        coc_source_list_free(list);
    return status;
}
