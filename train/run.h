/* train/run.h - a run's folder, and where training stands in it: begin, go on, save.
 *
 *     RUN/config.yaml      settings in force
 *     RUN/log.jsonl        docs/logs.md
 *     RUN/checkpoints/     docs/checkpoint.md
 *
 * Only rank 0 touches the folder, and no other job while it does; the other ranks get what they
 * need by broadcasts.
 */
#ifndef COC_TRAIN_RUN_H
#define COC_TRAIN_RUN_H

#include "train/checkpoint_folder.h"
#include "train/runlog.h"
#include "train/trainer.h"

typedef struct {
    coc_trainer *trainer; /* borrowed */
    coc_runlog *log;      /* rank 0; else NULL */
    coc_lock lock;        /* of the folder; rank 0 */
    coc_best_list best;   /* rank 0 */
    char *settings;       /* YAML, rank 0 */
    bool measured;        /* params->running holds re-estimated statistics now */
    real *own_running;    /* [runnings] host: the training's own ones meanwhile */
    int64_t own_batches;
} coc_run;

/* Make the folder, or go on from the newest checkpoint in it: weights, moments, statistics, step
 * and length of the run come from there, on every rank. Refuses one of other settings (key by key)
 * or of another training store. A new run takes the weights of train.init. Collective. Errors:
 * COC_ERR_SETTING, COC_ERR_INPUT, COC_ERR_IO (also where another job trains in the folder). The
 * caller closes it, also after a failure. */
coc_status coc_run_open(coc_trainer *trainer, coc_run *run);
void coc_run_close(coc_run *run); /* takes one that is closed, or zero */

/* Weights, moments and running statistics of rank 0 to all ranks. Collective. Errors:
 * COC_ERR_RANKS. */
coc_status coc_run_share_weights(const coc_trainer *trainer);

/* Put re-estimated running statistics in place (eval.bn_reestimate; 0: nothing happens), for a
 * validation and a save at this step, and take them away again. They depend on the weights alone,
 * and training goes on with its own, so a run is the same wherever it was saved. Collective. */
coc_status coc_run_measure(coc_run *run);
coc_status coc_run_unmeasure(coc_run *run);

/* Write last.h5 if `last`, and best-<step>.h5 if the loss (NAN: not validated) belongs to the best.
 * A checkpoint that cannot be written leaves the old ones. Collective. */
coc_status coc_run_save(coc_run *run, bool last, double valid_loss);

#endif
