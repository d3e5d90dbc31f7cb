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
} coc_parts;

typedef struct {
    int64_t begin, size;  /* pairs of all ranks */
    int64_t first, pairs; /* this rank's: first .. first + pairs - 1, numbered as in the batch */
    int64_t row;          /* the first of them among this rank's rows */
} coc_batch_part;

/* size 0 or larger than the batch: one part. Errors: COC_ERR_SETTING when a part has fewer pairs
 * than there are ranks. */
coc_status coc_parts_make(const coc_comm *comm, int64_t batch, int64_t size, coc_parts *parts);
coc_batch_part coc_part_at(const coc_parts *parts, int64_t i);

#endif
