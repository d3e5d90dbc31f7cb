#include "preprocess/source_list.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

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
    *s = (coc_source_stem){.source = coc_strdup(source),
                           .name = coc_strdup(name),
                           .instrument = coc_strdup(instrument)};
    if (s->source == NULL || s->name == NULL || s->instrument == NULL)
        return COC_FAIL(COC_ERR_MEMORY, "no memory for the list of stems");
    return COC_OK;
}

coc_status coc_source_add_file(coc_source_list *list, const char *path, double offset, double gain)
{
    coc_source_track *t = &list->track[list->tracks - 1];
    coc_source_stem *s = &t->stem[t->stems - 1];
    coc_source_file *f;

    COC_TRY(coc_grow(&s->file, &s->capacity, s->files + 1, sizeof *s->file));
    f = &s->file[s->files++];
    *f = (coc_source_file){coc_strdup(path), offset, gain};
    return f->path != NULL ? COC_OK : COC_FAIL(COC_ERR_MEMORY, "no memory for the list of files");
}

coc_status coc_source_add_whole(coc_source_list *list, const char *source, const char *name,
                                const char *instrument)
{
    COC_TRY(coc_source_add_stem(list, source, name, instrument));
    return coc_source_add_file(list, source, 0, 1);
}

void coc_source_stem_free(coc_source_stem *stem)
{
    for (int64_t f = 0; f < stem->files; f++)
        free(stem->file[f].path);
    free(stem->file);
    free(stem->source);
    free(stem->name);
    free(stem->instrument);
}

void coc_source_track_free(coc_source_track *track)
{
    for (int64_t s = 0; s < track->stems; s++)
        coc_source_stem_free(&track->stem[s]);
    free(track->stem);
    free(track->name);
}

void coc_source_list_free(coc_source_list *list)
{
    for (int64_t t = 0; t < list->tracks; t++)
        coc_source_track_free(&list->track[t]);
    free(list->track);
    *list = (coc_source_list){0};
}

static int compare_tracks(const void *a, const void *b)
{
    return strcmp(((const coc_source_track *)a)->name, ((const coc_source_track *)b)->name);
}

static int compare_stems(const void *a, const void *b)
{
    const coc_source_stem *x = a, *y = b;
    const int order = strcmp(x->source, y->source);

    return order != 0 ? order : strcmp(x->name, y->name);
}

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const coc_source_file *)a)->path, ((const coc_source_file *)b)->path);
}

static void sort_track(coc_source_track *t)
{
    if (t->stems > 1) qsort(t->stem, (size_t)t->stems, sizeof *t->stem, compare_stems);
    for (int64_t s = 0; s < t->stems; s++)
        if (t->stem[s].files > 1)
            qsort(t->stem[s].file, (size_t)t->stem[s].files, sizeof *t->stem[s].file,
                  compare_files);
}

void coc_source_list_sort(coc_source_list *list)
{
    if (list->tracks > 1)
        qsort(list->track, (size_t)list->tracks, sizeof *list->track, compare_tracks);
    for (int64_t t = 0; t < list->tracks; t++)
        sort_track(&list->track[t]);
}
