#include "train/buckets.h"

coc_buckets coc_buckets_begin(coc_comm *comm, coc_reduction reduction, real *grad, int64_t weights,
                              int64_t least)
{
    return (coc_buckets){
        .comm = comm, .reduction = reduction, .grad = grad, .unsent = weights, .least = least};
}

/* The whole gradient at once. */
static coc_status sum_over_tree(coc_buckets *b)
{
    const int64_t count = b->unsent;

    b->unsent = 0;
    return coc_sum_over_ranks(b->comm, b->reduction, "sum of gradients", b->grad, count,
                              COC_REAL_TYPE);
}

coc_status coc_buckets_ready(void *context, int64_t first)
{
    coc_buckets *b = context;

    if (b->comm->size == 1 || b->unsent == first) return COC_OK;
    if (b->reduction == COC_REDUCTION_FIXED_TREE) return first > 0 ? COC_OK : sum_over_tree(b);
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
