#include "comm/parts.h"

/* i < count, a power of two, with its bits in reverse order. */
static int64_t reversed(int64_t i, int64_t count)
{
    int64_t out = 0;

    for (; count > 1; count /= 2, i /= 2)
        out = 2 * out + i % 2;
    return out;
}

coc_batch_part coc_part_at(const coc_parts *p, int64_t i)
{
    const int64_t begin = (p->leaves ? reversed(i, p->count) : i) * p->size;
    const int64_t left = p->batch - begin;
    coc_batch_part part = {.begin = begin, .size = left < p->size ? left : p->size};
    int64_t first;

    part.pairs = coc_share(part.size, p->ranks, p->rank, &first);
    part.first = begin + first;
    part.row = i * coc_share(p->size, p->ranks, p->rank, NULL);
    return part;
}

coc_status coc_parts_make(const coc_comm *comm, int64_t batch, int64_t size, coc_parts *parts)
{
    coc_batch_part last;

    if (size == 0 || size > batch) size = batch;
    *parts = (coc_parts){.batch = batch,
                         .size = size,
                         .count = (batch + size - 1) / size,
                         .ranks = comm->size,
                         .rank = comm->rank};
    last = coc_part_at(parts, parts->count - 1);
    parts->rows = last.row + last.pairs;
    parts->most = coc_part_at(parts, 0).pairs;
    if (last.size >= comm->size) return COC_OK;
    if (parts->count == 1)
        return COC_FAIL(COC_ERR_SETTING,
                        "train.batch: %lld pairs for %d ranks; every rank needs one: start fewer "
                        "ranks or raise it",
                        (long long)batch, comm->size);
    return COC_FAIL(COC_ERR_SETTING,
                    "train.micro_batch: %lld of %lld pairs leaves a part of %lld for %d ranks; "
                    "every rank needs one: start fewer ranks, or choose one that divides "
                    "train.batch",
                    (long long)size, (long long)batch, (long long)last.size, comm->size);
}

coc_status coc_parts_make_leaves(const coc_comm *comm, int64_t batch, int64_t leaf,
                                 coc_parts *parts)
{
    int64_t leaves;

    if (leaf == 0 || leaf > batch) leaf = batch;
    leaves = batch / leaf;
    if (batch % leaf != 0 || (leaves & (leaves - 1)) != 0)
        return COC_FAIL(COC_ERR_SETTING,
                        "loss.reduction: fixed-tree needs 1, 2, 4, 8, ... micro-batches of one "
                        "size, which a batch of %lld pairs in parts of %lld has not: change "
                        "train.batch or train.micro_batch",
                        (long long)batch, (long long)leaf);
    if (leaves % comm->size != 0)
        return COC_FAIL(COC_ERR_SETTING,
                        "loss.reduction: fixed-tree has %lld micro-batch%s of %lld pairs, which %d "
                        "ranks cannot share evenly: start 1, 2, 4, ... ranks, no more than those, "
                        "or change train.micro_batch",
                        (long long)leaves, leaves > 1 ? "es" : "", (long long)leaf, comm->size);
    COC_TRY(coc_parts_make(comm, batch, leaf * comm->size, parts));
    parts->leaves = true;
    return COC_OK;
}

coc_status coc_parts_make_for(const coc_comm *comm, const coc_settings *settings,
                              int64_t micro_batch, coc_parts *parts)
{
    const int64_t batch = settings->train.batch;

    return settings->loss.reduction == COC_REDUCTION_FIXED_TREE
               ? coc_parts_make_leaves(comm, batch, micro_batch, parts)
               : coc_parts_make(comm, batch, micro_batch, parts);
}
