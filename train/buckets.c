#include "train/buckets.h"

coc_buckets coc_buckets_begin(coc_comm *comm, real *grad, int64_t weights, int64_t least)
{
    return (coc_buckets){.comm = comm, .grad = grad, .unsent = weights, .least = least};
}

coc_status coc_buckets_ready(void *context, int64_t first)
{
    coc_buckets *b = context;

    if (b->comm->size == 1 || b->unsent == first) return COC_OK;
    if (first > 0 && b->unsent - first < b->least) return COC_OK;
    if (first > 0 && b->count == COC_MAX_BUCKETS - 1)
        return COC_OK; /* the last takes all the rest */
    COC_TRY(b->comm->ops->start_all_reduce(b->comm, "sum of gradients", b->grad + first,
                                           b->unsent - first, COC_REAL_TYPE, NULL,
                                           &b->request[b->count]));
    b->count++;
    b->unsent = first;
    return COC_OK;
}

coc_status coc_buckets_wait(coc_buckets *b)
{
    coc_status status = COC_OK;

    for (int i = 0; i < b->count; i++) {
        const coc_status one = b->comm->ops->wait(b->comm, &b->request[i]);

        if (status == COC_OK) status = one;
    }
    return status;
}
