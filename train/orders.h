/* train/orders.h - shuffled orders of the pairs of an evaluation, so many at a time as fit into
 * memory (one at least). Private to the measures of an evaluation (train/measure.h).
 */
#ifndef COC_TRAIN_ORDERS_H
#define COC_TRAIN_ORDERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct {
    int64_t n;            /* pairs; below 2^31 */
    int64_t first, count; /* whose places are wanted */
    int64_t all, held;    /* orders; of them in memory at a time */
    bool file_order;      /* the one order is 0, 1, 2, ... */
    uint64_t seed;
    int64_t begin, filled; /* in memory: orders begin .. begin + filled - 1 */
    int32_t *order;        /* [held][n] pairs */
    int32_t *place;        /* [held][count] where pair first + i stands in the order */
} coc_orders;

/* Bytes of the orders held. */
int64_t coc_orders_bytes(int64_t n, int64_t count, int64_t orders, int64_t memory);

/* Order o is a function of (seed, o), and the same on all ranks, as is the number that is held.
 * memory: bytes. The caller's, also after a failure. Errors: COC_ERR_MEMORY. */
coc_status coc_orders_create(int64_t n, int64_t first, int64_t count, int64_t orders,
                             bool file_order, uint64_t seed, int64_t memory, coc_orders *o);
void coc_orders_free(coc_orders *o);

/* Bring orders `begin` and those that follow into memory, as many as are held. */
void coc_orders_fill(coc_orders *o, int64_t begin);

#endif
