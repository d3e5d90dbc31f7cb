/* comm/parts.h - which rank works on which pairs of a batch, and when.
 *
 * The pairs 0 .. batch - 1 of a global batch are cut into parts (micro-batches) of `size`
 * consecutive ones, the last of which may be smaller. The ranks share each part: coc_share. A
 * rank's rows are its pairs of part 0, then those of part 1, and so on:
 *
 *     batch 12, size 8, 2 ranks      part 0          part 1
 *     pairs                          0 1 2 3 4 5 6 7  8 9 10 11
 *     rank 0, rows 0 ..              0 1 2 3          4 5
 *     rank 1, rows 0 ..                      0 1 2 3       4  5
 *
 * So what all ranks gather of a part stands in the order of the pairs.
 *
 * Leaves (loss.reduction fixed-tree). For sums whose bits do not depend on the ranks the batch is
 * cut into leaves of equal size, a power of two of them, each of which lies on one rank whole; a
 * part is then a leaf on every rank. Numbered in the order of the pairs, leaf j lies on rank
 * j % ranks. The tree is the same for any number of ranks: with n leaves, the sums of j and
 * j + n / 2 are added, then those of j and j + n / 4, down to 0 and 1. Its first levels lie within
 * ranks, its last ones between them, over the same tree as those of coc_comm_ops.tree_most. A rank
 * works on its leaves in such an order (their numbers with the bits reversed) that neighbours in
 * time are neighbours in the tree, so that few sums wait (model/tree.h):
 *
 *     8 leaves, 2 ranks      part 0   1     2     3         sums     within ranks   across
 *     rank 0, leaf           0        4     2     6                  (0+4)+(2+6)
 *     rank 1                 1        5     3     7                  (1+5)+(3+7)    left + right
 */
#ifndef COC_COMM_PARTS_H
#define COC_COMM_PARTS_H

#include "comm/comm.h"

typedef struct {
    int64_t batch, size; /* pairs of all ranks: in all, and in a part */
    int64_t count;       /* of parts */
    int ranks, rank;
    int64_t rows; /* of this rank in all */
    int64_t most; /* of this rank in its largest part */
    bool leaves;  /* a rank's pairs of a part are a leaf */
} coc_parts;

typedef struct {
    int64_t begin, size;  /* pairs of all ranks */
    int64_t first, pairs; /* this rank's: first .. first + pairs - 1, numbered as in the batch */
    int64_t row;          /* the first of them among this rank's rows */
} coc_batch_part;

/* Parts that the ranks share. size 0 or larger than the batch: one part. Errors: COC_ERR_SETTING
 * when a part has fewer pairs than there are ranks. */
coc_status coc_parts_make(const coc_comm *comm, int64_t batch, int64_t size, coc_parts *parts);
/* Leaves of `leaf` pairs; 0 or more than the batch: one. Errors: COC_ERR_SETTING when they are no
 * power of two of equal size, or the ranks do not divide it. */
coc_status coc_parts_make_leaves(const coc_comm *comm, int64_t batch, int64_t leaf,
                                 coc_parts *parts);
/* Those of the settings; micro_batch as train.micro_batch. */
coc_status coc_parts_make_for(const coc_comm *comm, const coc_settings *settings,
                              int64_t micro_batch, coc_parts *parts);
coc_batch_part coc_part_at(const coc_parts *parts, int64_t i);

#endif
