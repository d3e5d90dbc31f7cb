/* train/logit_rows.h - similarities of this rank's anchors with all positives, a slab of rows at a
 * time. Private to the measures of an evaluation (train/measure.h).
 *
 * A slab is [rows][n] on the host, of as many rows as fit, 16 to 512; rows times columns of the
 * whole are never in memory. On the host the product writes into it; on an accelerator anchors, a
 * block of positives and their tile of logits (48 MB or less at 512 values an embedding) go back
 * and forth.
 */
#ifndef COC_TRAIN_LOGIT_ROWS_H
#define COC_TRAIN_LOGIT_ROWS_H

#include "train/evaluate.h"

typedef struct {
    coc_comm *comm; /* borrowed, as the two below */
    coc_backend *backend;
    const coc_embedded *e;
    int64_t rows;     /* of a slab, at most */
    int64_t columns;  /* of a tile, on an accelerator */
    float *slab;      /* [rows][n], host memory that the device copies to */
    float *a, *p, *s; /* [rows][d], [columns][d], [rows][columns] on an accelerator; else NULL */
} coc_logit_rows;

/* Bytes that n pairs take of an accelerator and of the host, for which the slab is page-locked. */
void coc_logit_rows_bytes(int64_t n, int d, int64_t memory, coc_side side, int64_t *device,
                          int64_t *host);

/* memory: bytes of a slab. e must stay. The caller's, also after a failure. Errors: COC_ERR_MEMORY,
 * COC_ERR_DEVICE. */
coc_status coc_logit_rows_create(coc_comm *comm, coc_backend *backend, const coc_embedded *e,
                                 int64_t memory, coc_logit_rows *rows);
void coc_logit_rows_free(coc_logit_rows *rows);

/* The slab becomes the logits of anchors first .. first + count - 1 of this rank's own;
 * count <= rows. Waits for the device, under the deadline. Errors: COC_ERR_DEVICE, COC_ERR_RANKS.
 */
coc_status coc_logit_rows_compute(coc_logit_rows *rows, int64_t first, int64_t count);

#endif
