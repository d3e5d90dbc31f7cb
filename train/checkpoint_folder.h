/* train/checkpoint_folder.h - RUN/checkpoints: last.h5, and best-<step>.h5 of the lowest validation
 * losses. The files are the list: nothing else has to be kept consistent. Rank 0 alone; nothing
 * here is collective. */
#ifndef COC_TRAIN_CHECKPOINT_FOLDER_H
#define COC_TRAIN_CHECKPOINT_FOLDER_H

#include "base/file.h"
#include "train/checkpoint.h"

typedef struct {
    int64_t step;
    double loss;
} coc_best;

typedef struct {
    char folder[COC_PATH_BYTES]; /* RUN/checkpoints */
    int64_t keep, count;
    coc_best *best; /* [count], lowest loss first; of equal ones the earlier step */
} coc_best_list;

/* The valid checkpoint of the highest step from which a run can go on. */
typedef struct {
    bool found;
    char path[COC_PATH_BYTES];
    coc_checkpoint_info info;
} coc_last;

/* Look through the folder once: every file is read and checked. Broken ones are warned of and
 * passed over; a folder that is not there holds nothing. The caller frees both, also after a
 * failure. Errors: COC_ERR_INPUT when there are checkpoints, but none to go on from because of
 * broken ones; COC_ERR_IO, COC_ERR_MEMORY. */
coc_status coc_checkpoint_folder_open(const char *run, int64_t keep, coc_best_list *list,
                                      coc_last *last);
void coc_best_free(coc_best_list *list);
void coc_last_free(coc_last *last);

/* Whether a model of that validation loss belongs to the best. */
bool coc_best_wants(const coc_best_list *list, double loss);
/* Where it is to be written. */
coc_status coc_best_path(const coc_best_list *list, int64_t step, char path[COC_PATH_BYTES]);
/* It has been written: take it up and remove what are one too many. */
coc_status coc_best_add(coc_best_list *list, int64_t step, double loss);

#endif
