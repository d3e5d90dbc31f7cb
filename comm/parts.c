#include "comm/parts.h"

coc_batch_part coc_part_at(const coc_parts *p, int64_t i)
{
    const int64_t begin = i * p->size, left = p->batch - begin;
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
