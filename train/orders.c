#include "train/orders.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/rng.h"

/* As if all places were wanted: the same on all ranks, which go through orders together. */
static int64_t held(int64_t n, int64_t all, int64_t memory)
{
    const int64_t fit = memory / (2 * n * (int64_t)sizeof(int32_t));

    return fit < 1 ? 1 : fit < all ? fit : all;
}

int64_t coc_orders_bytes(int64_t n, int64_t count, int64_t orders, int64_t memory)
{
    return held(n, orders, memory) * (n + count) * (int64_t)sizeof(int32_t);
}

coc_status coc_orders_create(int64_t n, int64_t first, int64_t count, int64_t orders,
                             bool file_order, uint64_t seed, int64_t memory, coc_orders *o)
{
    *o = (coc_orders){.n = n,
                      .first = first,
                      .count = count,
                      .all = file_order ? 1 : orders,
                      .file_order = file_order,
                      .seed = seed};
    o->held = held(n, o->all, memory);
    COC_TRY(coc_alloc(o->held * n, sizeof *o->order, &o->order));
    return coc_alloc(o->held * count, sizeof *o->place, &o->place);
}

void coc_orders_free(coc_orders *o)
{
    free(o->order);
    free(o->place);
    *o = (coc_orders){0};
}

static void shuffle(int64_t n, uint64_t seed, uint32_t number, int32_t *order)
{
    coc_rng_sequence draws = coc_rng_sequence_begin(
        (coc_rng_key){.seed = seed, .draw = COC_DRAW_EVAL, .item = number, .layer = 1});

    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t j = coc_rng_next_below(&draws, (uint32_t)(i + 1));
        const int32_t other = order[j];

        order[j] = order[i];
        order[i] = other;
    }
}

void coc_orders_fill(coc_orders *o, int64_t begin)
{
    o->begin = begin;
    o->filled = o->all - begin < o->held ? o->all - begin : o->held;
    for (int64_t f = 0; f < o->filled; f++) {
        int32_t *order = o->order + f * o->n, *place = o->place + f * o->count;

        for (int64_t i = 0; i < o->n; i++)
            order[i] = (int32_t)i;
        if (!o->file_order) shuffle(o->n, o->seed, (uint32_t)(begin + f), order);
        for (int64_t i = 0; i < o->n; i++)
            if (order[i] >= o->first && order[i] < o->first + o->count)
                place[order[i] - o->first] = (int32_t)i;
    }
}
