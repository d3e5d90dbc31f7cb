/* train/runlog.h - RUN/log.jsonl: one JSON object a line, for every logged step and validation.
 * docs/logs.md describes the fields. Rank 0 alone has one; nothing here is collective. */
#ifndef COC_TRAIN_RUNLOG_H
#define COC_TRAIN_RUNLOG_H

#include <stdint.h>

#include "base/status.h"

typedef struct coc_runlog coc_runlog;

/* One training step; seconds are those of this step on rank 0. A number that is not finite is
 * written as null. */
typedef struct {
    int64_t step;
    double loss, accuracy; /* accuracy: share of rows, 0 to 1 */
    double gradient_norm, learning_rate;
    double pairs_per_second;
    double columns, same_track;       /* mean number a row: that counted; of its own track */
    int64_t skipped;                  /* steps since the line before that were (train.on_nan) */
    double kept, dropped;             /* coc_loss */
    double blocks, dense_blocks;      /* likewise; no blocks: nothing is written of the four */
    int64_t host_bytes, device_bytes; /* of rank 0: largest resident; in use on its GPU, 0: none */
    double wait, load, features, encoder, contrast, communication, optimizer; /* seconds */
} coc_runlog_record;

/* Open run/log.jsonl for lines after `step`, the last step that is in the weights. Lines of later
 * steps, and a line that was cut by a crash, are removed, so that the log has each step once.
 * Errors: COC_ERR_IO, COC_ERR_MEMORY. */
coc_status coc_runlog_open(const char *run, int64_t step, coc_runlog **log);

/* Write a line and hand it to the system at once. Errors: COC_ERR_IO (full disk). */
coc_status coc_runlog_step(coc_runlog *log, const coc_runlog_record *record);
coc_status coc_runlog_validation(coc_runlog *log, int64_t step, int64_t k, int64_t pairs,
                                 double loss, double accuracy);

void coc_runlog_close(coc_runlog **log); /* takes NULL; leaves *log NULL */

#endif
