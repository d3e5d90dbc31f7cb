/* train/checkpoint_folder.h - RUN/checkpoints: last.h5, and best-<step>.h5 of the lowest validation
 * losses. The files are the list: nothing else has to be kept consistent. Rank 0 alone; nothing
 * here is collective. */
#ifndef COC_TRAIN_CHECKPOINT_FOLDER_H
#define COC_TRAIN_CHECKPOINT_FOLDER_H

#include "base/file.h"
#include "train/checkpoint.h"

/* The valid checkpoint of the highest step from which a run can go on; *found false when the folder
 * has none. Broken ones are warned of and passed over. Errors: COC_ERR_INPUT when there are
 * checkpoints, but no valid one. */
coc_status coc_checkpoint_find_last(const char *run, char path[COC_PATH_BYTES], bool *found);

typedef struct {
    int64_t step;
    double loss;
} coc_best;

typedef struct {
    char folder[COC_PATH_BYTES]; /* RUN/checkpoints */
    int64_t keep, count;
    coc_best *best; /* [count], lowest loss first; of equal ones the earlier step */
} coc_best_list;

/* Look through the folder, which must exist. Errors: COC_ERR_IO, COC_ERR_MEMORY. */
coc_status coc_best_open(const char *run, int64_t keep, coc_best_list *list);
void coc_best_free(coc_best_list *list);

/* Whether a model of that validation loss belongs to the best. */
bool coc_best_wants(const coc_best_list *list, double loss);
/* Where it is to be written. */
coc_status coc_best_path(const coc_best_list *list, int64_t step, char path[COC_PATH_BYTES]);
/* It has been written: take it up and remove what are one too many. */
coc_status coc_best_add(coc_best_list *list, int64_t step, double loss);

#endif
