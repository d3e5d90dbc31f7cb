/* preprocess/layout.h - how a data set lies on disk: a table of layouts, each of which lists the
 * tracks below a folder. docs/data.md describes the layouts for users.
 *
 * Listing reads folders and small metadata files, no audio. The order is a function of the names
 * alone, so every rank gets the same list.
 */
#ifndef COC_PREPROCESS_LAYOUT_H
#define COC_PREPROCESS_LAYOUT_H

#include <stdbool.h>

#include "base/file.h"
#include "preprocess/source_list.h"

/* What a user may choose; zero: as it is usual. */
typedef struct {
    const char *ensembles; /* cocochorales: which, comma-separated; NULL: all */
    bool folder_stems;     /* moisesdb: the files of a stem's folder are one stem, their sum */
    const char *exclude; /* a file that names what is left out (coc_exclude); NULL: nothing more */
} coc_layout_options;

/* A stem that is known to be wrong. */
typedef struct {
    const char *track, *stem, *why;
} coc_known_bad;

typedef struct {
    const char *name;
    const char *help; /* one line: what it looks for */
    /* Add the tracks below root, in any order; each says its split. */
    coc_status (*list)(const char *root, const coc_layout_options *options, coc_source_list *list);
    const coc_known_bad *bad; /* left out; .track NULL at the end; NULL: none is known */
} coc_layout;

/* A line a layout, name and help, as the help page of a command shows it. Freed with free(); NULL
 * when memory is short. */
char *coc_layout_help(void);

/* Errors: COC_ERR_USAGE with the known names. */
coc_status coc_layout_find(const char *name, const coc_layout **layout);

/* List a data set. The list is the caller's, freed with coc_source_list_free; empty after a
 * failure. Not collective. Errors: COC_ERR_IO, COC_ERR_INPUT (no track, no split folder where the
 * layout has them), COC_ERR_MEMORY. */
coc_status coc_layout_list(const coc_layout *layout, const char *root,
                           const coc_layout_options *options, coc_source_list *list);

/* What the paths of sources lie below: `in` where it is a folder, else the folder that it lies in.
 */
coc_status coc_layout_root(const char *in, char root[COC_PATH_BYTES]);

/* Take out of a list what the layout knows to be wrong and what a file names: "TRACK" or
 * "TRACK/STEM" a line, a track by its name or the end of it ("Track00001"), a stem by its name; #
 * begins a remark. Says by the log how much, and what was not found. file may be NULL. Errors:
 * COC_ERR_IO, COC_ERR_INPUT, COC_ERR_MEMORY. */
coc_status coc_exclude(const char *file, const coc_known_bad *bad, coc_source_list *list);

/* For layouts whose first folders are the splits: train, validation (also valid, val) and test;
 * others are left alone. Calls list_split for each, which adds the tracks of root/folder.
 * Errors: COC_ERR_INPUT when there is none; those of list_split. */
typedef coc_status coc_list_split(const char *root, const char *folder, coc_split split,
                                  const coc_layout_options *options, coc_source_list *list);
coc_status coc_list_splits(const char *root, coc_list_split *list_split,
                           const coc_layout_options *options, coc_source_list *list);

/* The rows' functions, and what is known to be wrong there. */
coc_status coc_list_slakh2100(const char *root, const coc_layout_options *options,
                              coc_source_list *list);
extern const coc_known_bad coc_bad_slakh2100[];
coc_status coc_list_musdb18hq(const char *root, const coc_layout_options *options,
                              coc_source_list *list);
coc_status coc_list_moisesdb(const char *root, const coc_layout_options *options,
                             coc_source_list *list);
coc_status coc_list_cocochorales(const char *root, const coc_layout_options *options,
                                 coc_source_list *list);
extern const coc_known_bad coc_bad_cocochorales[];
coc_status coc_list_folders(const char *root, const coc_layout_options *options,
                            coc_source_list *list);
coc_status coc_list_csv(const char *root, const coc_layout_options *options, coc_source_list *list);

/* For layouts: whether a file's name ends as one of those (in any case); NULL at the end. */
bool coc_has_extension(const char *name, const char *const *extensions);
/* "wav", "flac", "ogg", "mp3". */
bool coc_is_sound(const char *name);

#endif
