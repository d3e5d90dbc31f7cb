/* preprocess/source_list.h - tracks and stems of a data set, and the files that they come from. */
#ifndef COC_PREPROCESS_SOURCE_LIST_H
#define COC_PREPROCESS_SOURCE_LIST_H

#include <stdint.h>

#include "preprocess/store.h"

/* A sound file that a stem is, or is a sum of. */
typedef struct {
    char *path;    /* below the root, or absolute */
    double offset; /* seconds of the stem before its first sample; under 0: what is cut from it */
    double gain;   /* its samples are multiplied by this */
} coc_source_file;

typedef struct {
    char *source;     /* path of the file, or of the folder of several, below the root */
    char *name;       /* "S03", "vocals", "drums/kick" */
    char *instrument; /* the class in the words of the data set, "" when unknown */
    coc_source_file *file;
    int64_t files, capacity;
} coc_source_stem;

typedef struct {
    coc_split split;
    char *name; /* "train/Track00001": of a data set in folders, its path below the root */
    coc_source_stem *stem;
    int64_t stems, capacity;
} coc_source_track;

typedef struct {
    coc_source_track *track; /* sorted bytewise by name; stems by source, then name */
    int64_t tracks, capacity;
} coc_source_list;

/* Append; texts are copied. Errors: COC_ERR_MEMORY. */
coc_status coc_source_add_track(coc_source_list *list, coc_split split, const char *name);
/* To the last track, without a file yet. */
coc_status coc_source_add_stem(coc_source_list *list, const char *source, const char *name,
                               const char *instrument);
/* To the last stem. */
coc_status coc_source_add_file(coc_source_list *list, const char *path, double offset, double gain);
/* A stem that is the file `source`, as it is. */
coc_status coc_source_add_whole(coc_source_list *list, const char *source, const char *name,
                                const char *instrument);

void coc_source_track_free(coc_source_track *track);
void coc_source_stem_free(coc_source_stem *stem);
void coc_source_list_free(coc_source_list *list);
void coc_source_list_sort(coc_source_list *list);

#endif
