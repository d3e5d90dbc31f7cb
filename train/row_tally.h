/* train/row_tally.h - what one row of similarities says: the rank of its own positive among all,
 * and whether it is the best in every batch of K that the row stands in. Private to the measures of
 * an evaluation (train/measure.h).
 */
#ifndef COC_TRAIN_ROW_TALLY_H
#define COC_TRAIN_ROW_TALLY_H

#include "train/orders.h"

/* Of one row at one K, added up over batches. Doubles that hold counts, so that one gather moves
 * all of them. */
typedef struct {
    double batches;    /* full ones that the row stood in */
    double right;      /* of them those where no other similarity was larger */
    double loss;       /* sum of the contrastive loss */
    double same_track; /* columns of the row's own track besides its own */
} coc_row_tally;
enum { COC_ROW_TALLY_DOUBLES = sizeof(coc_row_tally) / sizeof(double) };

/* A column as one row sees it: together, as they are looked at together, in any order. */
typedef struct {
    double exponential; /* of its similarity, less the row's largest */
    float logit;
    int32_t track;
} coc_column;

/* Columns whose similarity is not below that of the row's own one; it counts itself. So of equal
 * similarities the own one comes last: an encoder that gives everything the same embedding ranks
 * every pair last, not first. NaN is never below. */
int64_t coc_row_rank(int64_t n, const float *logit, int64_t own);

/* columns [n] from a row's similarities; returns the largest similarity. track [n]. */
float coc_row_columns(int64_t n, const float *logit, const int32_t *track, coc_column *columns);

/* Add to *tally the row `own` (a pair's number) in all orders that are in memory, in batches of k.
 * Its own one is the best if none before it in the batch is as large and none behind it larger:
 * the first of equals wins, as with argmax. One order is enough where k is n. */
void coc_row_add(const coc_orders *orders, int64_t k, int64_t own, const coc_column *columns,
                 float top, coc_row_tally *tally);

#endif
