/* preprocess/layout.h - how a data set lies on disk: a table of layouts, each of which lists the
 * tracks below a folder. docs/data.md describes the layouts for users.
 *
 * Listing reads folders and small metadata files, no audio. The order is a function of the names
 * alone, so every rank gets the same list.
 */
#ifndef COC_PREPROCESS_LAYOUT_H
#define COC_PREPROCESS_LAYOUT_H

#include <stdint.h>

#include "preprocess/store.h"

typedef struct {
    char *source;     /* path of the file below the root */
    char *name;       /* "S03", "vocals", "drums/kick" */
    char *instrument; /* the class, "" when unknown */
} coc_source_stem;

typedef struct {
    coc_split split;
    char *name; /* path of the track below the root: "train/Track00001" */
    coc_source_stem *stem;
    int64_t stems, capacity;
} coc_source_track;

typedef struct {
    coc_source_track *track; /* sorted bytewise by name; stems by source */
    int64_t tracks, capacity;
} coc_source_list;

typedef struct {
    const char *name;
    const char *help; /* one line: what it looks for */
    /* Add the tracks below root, in any order; each says its split. */
    coc_status (*list)(const char *root, coc_source_list *list);
} coc_layout;

/* A line a layout, name and help, as the help page of a command shows it. Freed with free(); NULL
 * when memory is short. */
char *coc_layout_help(void);

/* Errors: COC_ERR_USAGE with the known names. */
coc_status coc_layout_find(const char *name, const coc_layout **layout);

/* List a data set. The list is the caller's, freed with coc_source_list_free; empty after a
 * failure. Not collective. Errors: COC_ERR_IO, COC_ERR_INPUT (no track, no split folder where the
 * layout has them), COC_ERR_MEMORY. */
coc_status coc_layout_list(const coc_layout *layout, const char *root, coc_source_list *list);
void coc_source_list_free(coc_source_list *list);

/* For layouts: append; texts are copied. */
coc_status coc_source_add_track(coc_source_list *list, coc_split split, const char *name);
coc_status coc_source_add_stem(coc_source_list *list, const char *source, const char *name,
                               const char *instrument); /* to the last track */

/* For layouts whose first folders are the splits: train, validation (also valid, val) and test;
 * others are left alone. Calls list_split for each, which adds the tracks of root/folder.
 * Errors: COC_ERR_INPUT when there is none; those of list_split. */
typedef coc_status coc_list_split(const char *root, const char *folder, coc_split split,
                                  coc_source_list *list);
coc_status coc_list_splits(const char *root, coc_list_split *list_split, coc_source_list *list);

/* The rows' functions. */
coc_status coc_list_slakh2100(const char *root, coc_source_list *list);
coc_status coc_list_folders(const char *root, coc_source_list *list);

#endif
