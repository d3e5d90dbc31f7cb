/* model/tree.h - a sum over a rank's leaves whose bits do not depend on the number of ranks.
 *
 * Where leaves are summed as they come, another number of ranks adds in another order and rounds
 * otherwise. Here they are added over the tree of comm/parts.h: a leaf's values are made in a
 * buffer, which is then given to the tree; sums whose sibling has not come yet are set aside.
 *
 *     leaf 0 | set aside   leaf 1 | + 0, set aside   leaf 2 | set aside   leaf 3 | + 2, + (0 + 1)
 *
 * Leaves come in the order first, first + 1, ... leaves - 1, 0, ... first - 1, in which at most two
 * sums of a level wait. With one leaf a tree has no memory and does nothing.
 */
#ifndef COC_MODEL_TREE_H
#define COC_MODEL_TREE_H

#include "model/ops.h"

typedef struct coc_tree coc_tree;

typedef enum { COC_TREE_REALS, COC_TREE_SUMS } coc_tree_values; /* real; double */

/* Of buffers of `count` values on the backend's device. leaves: a power of two. Borrows backend.
 * Not collective. Errors: COC_ERR_MEMORY, COC_ERR_DEVICE. */
coc_status coc_tree_create(coc_backend *backend, int64_t leaves, int64_t first, int64_t count,
                           coc_tree_values values, coc_tree **tree);
/* Bytes that it takes from the device. */
int64_t coc_tree_bytes(int64_t leaves, int64_t first, int64_t count, coc_tree_values values);
void coc_tree_destroy(coc_tree **tree); /* takes NULL; leaves *tree NULL */

/* The buffer has the values of `leaf`. After the last leaf it has the sum over all of them; before
 * that zeros, ready for what is added up for the next one. Only gives work to the device's stream.
 * Errors: COC_ERR_DEVICE. */
coc_status coc_tree_add(coc_tree *tree, int64_t leaf, void *buffer);

#endif
