#include <stdlib.h>

#include "base/memory.h"
#include "model/encoder.h"

/* The rank that holds pair `pair` of `batch` when shares are cut by coc_share. */
static int rank_of_pair(int64_t batch, int size, int64_t pair)
{
    const int64_t base = batch / size, extra = batch % size;
    const int64_t in_large = extra * (base + 1); /* pairs of the ranks that have one more */

    if (pair < in_large) return (int)(pair / (base + 1));
    return (int)(extra + (pair - in_large) / base);
}

static coc_status fill(coc_groups *g, int64_t first, int64_t pairs, int64_t size)
{
    const int64_t begin = first / size, end = (first + pairs - 1) / size + 1;

    g->count = (int)(end - begin);
    COC_TRY(coc_alloc(g->count, sizeof *g->clips, &g->clips));
    COC_TRY(coc_alloc(g->count, sizeof *g->owned, &g->owned));
    COC_TRY(coc_alloc(g->count, sizeof(coc_comm *), &g->comm));
    COC_TRY(coc_alloc(2 * pairs, sizeof *g->of_clip, &g->of_clip));
    for (int i = 0; i < g->count; i++) {
        g->clips[i] = 2 * size;
        g->owned[i] = (begin + i) * size >= first;
    }
    for (int64_t i = 0; i < pairs; i++)
        g->of_clip[i] = g->of_clip[pairs + i] = (int32_t)((first + i) / size - begin);
    return COC_OK;
}

/* Every rank walks its groups in the order of the run. Only the first and the last of them can
 * reach into neighbours, so the ranks form a chain: whoever waits, waits for a rank that is busy
 * with a group of a smaller number, and the smallest such group can always go on. */
static coc_status join_groups(coc_groups *g, coc_comm *comm, int64_t batch, int64_t size,
                              int64_t begin)
{
    for (int i = 0; i < g->count; i++) {
        const int64_t group = begin + i;
        const int low = rank_of_pair(batch, comm->size, group * size);
        const int high = rank_of_pair(batch, comm->size, (group + 1) * size - 1);

        if (low < high) COC_TRY(comm->ops->subgroup(comm, low, high, &g->comm[i]));
    }
    return COC_OK;
}

/* Groups made so far; by one thread, the one that starts collectives. */
static uint64_t made;

coc_status coc_groups_create(coc_comm *comm, int64_t batch, int64_t size, coc_groups **groups)
{
    int64_t first;
    const int64_t pairs = coc_share(batch, comm->size, comm->rank, &first);
    coc_status status;

    *groups = NULL;
    if (batch < comm->size)
        return COC_FAIL(COC_ERR_SETTING,
                        "train.batch: %lld pairs for %d ranks; every rank needs one: start fewer "
                        "ranks or raise it",
                        (long long)batch, comm->size);
    if (size == 0) size = batch;
    if (size < 0 || batch % size != 0)
        return COC_FAIL(COC_ERR_SETTING,
                        "model.bn_group: a batch of %lld pairs is no multiple of %lld; change "
                        "train.batch or model.bn_group",
                        (long long)batch, (long long)size);
    status = coc_alloc(1, sizeof **groups, groups);
    if (status == COC_OK) {
        (*groups)->id = ++made;
        (*groups)->total = batch / size;
        status = fill(*groups, first, pairs, size);
    }
    status = coc_comm_agree(comm, "batch-norm groups", status);
    if (status == COC_OK) status = join_groups(*groups, comm, batch, size, first / size);
    if (status != COC_OK) coc_groups_destroy(groups);
    return status;
}

void coc_groups_destroy(coc_groups **groups)
{
    coc_groups *g = *groups;

    if (g == NULL) return;
    for (int i = 0; i < g->count && g->comm != NULL; i++)
        coc_comm_destroy(&g->comm[i]);
    free(g->clips);
    free(g->owned);
    free(g->comm);
    free(g->of_clip);
    free(g);
    *groups = NULL;
}
