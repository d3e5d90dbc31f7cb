/* model/similarity_gather.c - columns of all ranks on every rank:
 *
 *     P = all-gather of P_r                       part by part, while the next one is embedded
 *     rows of S = A P', softmax, loss, dA, dP     (ops->contrast, blocks of rows)
 *     dP_r = reduce-scatter SUM of dP
 *
 * Memory 2 K d numbers beside the rank's own n d, and K d more of the host's where MPI sums; 6 n K
 * d operations, 2 K d numbers received. */
#include <stdlib.h>

#include "base/clock.h"
#include "model/similarity_exchange.h"

/* Columns of every rank in a part, and the numbers in them: [ranks], host. */
typedef struct {
    int64_t *columns, *values;
} counts;

typedef struct {
    counts whole, last;               /* of a part of full size, and of the last */
    real *all_p, *all_dp;             /* [K][d] */
    uint64_t *all_track;              /* [K] */
    coc_tree *dp_tree, *results_tree; /* over the leaves of this rank's rows */
} gather;

static gather *of(const coc_similarity *s)
{
    return s->state;
}

static void layout(coc_similarity *s)
{
    coc_arena *arena = &s->arena;
    gather *g = of(s);

    g->all_p = coc_arena_take(arena, s->parts.batch * s->d, sizeof *g->all_p);
    g->all_dp = coc_arena_take(arena, s->parts.batch * s->d, sizeof *g->all_dp);
    g->all_track = coc_arena_take(arena, s->parts.batch, sizeof *g->all_track);
    s->results = coc_arena_take(arena, COC_CONTRAST_RESULTS, sizeof *s->results);
    s->p = coc_arena_take(arena, s->parts.rows * s->d, sizeof *s->p);
    s->dp = s->columns_stay ? coc_arena_take(arena, s->parts.rows * s->d, sizeof *s->dp) : s->p;
}

static int64_t bytes(const coc_parts *parts, int d)
{
    const int64_t leaves = parts->leaves ? parts->count : 1;
    gather g;
    coc_similarity s = {.state = &g, .parts = *parts, .d = d};

    layout(&s); /* an arena without memory only counts */
    return (int64_t)s.arena.used + coc_tree_bytes(leaves, 0, parts->batch * d, COC_TREE_REALS) +
           coc_tree_bytes(leaves, 0, COC_CONTRAST_RESULTS, COC_TREE_SUMS);
}

/* Parts are summed at the same time, as many as may be on their way. */
static int64_t sum_bytes(const coc_parts *parts, int d)
{
    const int64_t most = coc_share(parts->size, parts->ranks, 0, NULL) * d;
    const int64_t sums = parts->count < COC_ON_THE_WAY ? parts->count : COC_ON_THE_WAY;

    return sums * coc_reduce_scatter_bytes(parts->ranks, most, COC_REAL_TYPE);
}

static coc_status count_columns(const coc_similarity *s, int64_t part, counts *c)
{
    const int ranks = s->comm->size;

    COC_TRY(coc_alloc(ranks, sizeof *c->columns, &c->columns));
    COC_TRY(coc_alloc(ranks, sizeof *c->values, &c->values));
    coc_shares(coc_part_at(&s->parts, part).size, ranks, c->columns);
    for (int r = 0; r < ranks; r++)
        c->values[r] = c->columns[r] * s->d;
    return COC_OK;
}

static const counts *counts_of(const coc_similarity *s, int64_t part)
{
    return part == s->parts.count - 1 ? &of(s)->last : &of(s)->whole;
}

static coc_status create_trees(coc_similarity *s)
{
    const int64_t n = s->leaves, columns = s->parts.batch * s->d;
    const int64_t most = s->parts.size * s->d; /* of one reduce-scatter */

    if (s->parts.leaves && s->comm->size > 1 && s->comm->ops->tree_most < most)
        return COC_FAIL(COC_ERR_SETTING,
                        "loss.reduction: fixed-tree: %s does not add %lld numbers over the tree; "
                        "choose comm.backend mpi, or a smaller train.micro_batch",
                        s->comm->ops->name, (long long)most);
    COC_TRY(coc_tree_create(s->backend, n, 0, columns, COC_TREE_REALS, &of(s)->dp_tree));
    return coc_tree_create(s->backend, n, 0, COC_CONTRAST_RESULTS, COC_TREE_SUMS,
                           &of(s)->results_tree);
}

static coc_status make(coc_similarity *s)
{
    COC_TRY(count_columns(s, 0, &of(s)->whole));
    COC_TRY(count_columns(s, s->parts.count - 1, &of(s)->last));
    return create_trees(s);
}

static void unmake(coc_similarity *s)
{
    gather *g = of(s);

    coc_tree_destroy(&g->dp_tree);
    coc_tree_destroy(&g->results_tree);
    free(g->whole.columns);
    free(g->whole.values);
    free(g->last.columns);
    free(g->last.values);
}

static coc_status begin(coc_similarity *s)
{
    (void)s;
    return COC_OK;
}

/* ---- what was gathered is what was sent */

/* sent [n], gathered [K]: rows of so many bytes. Piece by piece, since a hash depends on how its
 * bytes are cut. */
static coc_status hash_rows(const coc_similarity *s, const char *sent, const char *gathered,
                            int64_t row, void *chunk, uint64_t *own, uint64_t *found)
{
    for (int64_t i = 0; i < s->parts.count; i++) {
        const coc_batch_part part = coc_part_at(&s->parts, i);
        const int64_t *columns = counts_of(s, i)->columns;

        COC_TRY(coc_exchange_hash(s, sent + part.row * row, part.pairs * row, chunk, own));
        for (int64_t rank = 0, at = part.begin; rank < s->comm->size; at += columns[rank++])
            COC_TRY(coc_exchange_hash(s, gathered + at * row, columns[rank] * row, chunk,
                                      &found[rank]));
    }
    return COC_OK;
}

static coc_status check_rows(const coc_similarity *s, const char *what, const void *sent,
                             const void *gathered, int64_t row)
{
    const coc_device *device = s->backend->device;
    uint64_t own = 0, *found = NULL;
    void *chunk = NULL;
    coc_status status;

    COC_TRY_GOTO(status, device->alloc_host(device, coc_exchange_chunk, &chunk), done);
    COC_TRY_GOTO(status, coc_alloc(s->comm->size, sizeof *found, &found), done);
    COC_TRY_GOTO(status, hash_rows(s, sent, gathered, row, chunk, &own, found), done);
    status = coc_check_slabs(s->comm, what, own, found);

done:
    device->release_host(device, chunk);
    free(found);
    return status;
}

static coc_status check_columns(const coc_similarity *s, const coc_similarity_batch *batch)
{
    COC_TRY(
        check_rows(s, "check of the columns", s->p, of(s)->all_p, s->d * (int64_t)sizeof *s->p));
    return check_rows(s, "check of their tracks", batch->column_track, of(s)->all_track,
                      sizeof *of(s)->all_track);
}

/* ---- sharing */

static coc_status share(coc_similarity *s, const coc_similarity_batch *batch, int64_t i)
{
    const coc_comm_ops *ops = s->comm->ops;
    const coc_batch_part part = coc_part_at(&s->parts, i);
    const counts *c = counts_of(s, i);
    coc_request **place;

    COC_TRY(coc_exchange_make_room(s, &place));
    COC_TRY(ops->start_all_gather(s->comm, "columns of the similarity", s->p + part.row * s->d,
                                  of(s)->all_p + part.begin * s->d, c->values, COC_REAL_TYPE, NULL,
                                  place));
    COC_TRY(coc_exchange_make_room(s, &place));
    return ops->start_all_gather(s->comm, "tracks of the columns", batch->column_track + part.row,
                                 of(s)->all_track + part.begin, c->columns, COC_INT64, NULL, place);
}

/* The gradient at this rank's columns, summed over all rows; and the results. */
static coc_status start_reductions(coc_similarity *s)
{
    const coc_comm_ops *ops = s->comm->ops;
    coc_request **place;

    for (int64_t i = 0; i < s->parts.count; i++) {
        const coc_batch_part part = coc_part_at(&s->parts, i);

        COC_TRY(coc_exchange_make_room(s, &place));
        COC_TRY(ops->start_reduce_scatter(
            s->comm, "gradient of the columns", of(s)->all_dp + part.begin * s->d,
            s->dp + part.row * s->d, counts_of(s, i)->values, COC_REAL_TYPE, NULL, place));
    }
    return s->parts.leaves ? COC_OK : coc_exchange_sum_results(s);
}

static coc_status reduce(coc_similarity *s)
{
    const coc_status status = start_reductions(s), waited = coc_exchange_wait_all(s);

    if (status != COC_OK || waited != COC_OK) return status != COC_OK ? status : waited;
    if (!s->parts.leaves) return COC_OK;
    return coc_sum_over_ranks(s->comm, COC_REDUCTION_FIXED_TREE, "loss", s->results,
                              COC_CONTRAST_RESULTS, COC_DOUBLE);
}

/* Run a collective part and add its time, waits for slower ranks included. */
static coc_status timed(coc_similarity *s, coc_status (*part)(coc_similarity *), double *seconds)
{
    const double begin = coc_clock_seconds();
    const coc_status status = part(s);

    *seconds += coc_clock_seconds() - begin;
    return status;
}

/* The rows of a leaf, from `row` on. */
static coc_contrast leaf_of(const coc_contrast *all, int64_t rows, int64_t row)
{
    coc_contrast c = *all;

    c.rows = rows;
    c.a += row * c.d;
    c.label += row;
    c.row_track += row;
    if (c.row_set != NULL) c.row_set += row;
    return c;
}

static coc_status contrast_leaves(coc_similarity *s, const coc_contrast *all, real *d_h1)
{
    const int64_t rows = s->parts.rows / s->leaves;
    gather *g = of(s);

    for (int64_t i = 0; i < s->leaves; i++) {
        const coc_contrast leaf = leaf_of(all, rows, i * rows);

        s->backend->ops->contrast(s->backend, &leaf, d_h1 + i * rows * s->d, g->all_dp, s->results);
        COC_TRY(coc_tree_add(g->dp_tree, i, g->all_dp));
        COC_TRY(coc_tree_add(g->results_tree, i, s->results));
    }
    return COC_OK;
}

static coc_status loss(coc_similarity *s, const coc_contrast *c, const coc_similarity_batch *batch,
                       bool checking, real *d_h1, double *seconds)
{
    const coc_device *device = s->backend->device;
    const gather *g = of(s);
    coc_contrast contrast = *c;

    COC_TRY(
        device->zero(device, g->all_dp, (size_t)(s->parts.batch * s->d) * sizeof *g->all_dp, NULL));
    COC_TRY(timed(s, coc_exchange_wait_all, seconds));
    if (checking) COC_TRY(check_columns(s, batch));
    contrast.columns = s->parts.batch;
    contrast.p = g->all_p;
    contrast.column_track = g->all_track;
    contrast.column_set = batch->column_set;
    COC_TRY(contrast_leaves(s, &contrast, d_h1));
    return timed(s, reduce, seconds);
}

static int64_t columns_of(const coc_parts *parts)
{
    return parts->batch;
}

const coc_exchange coc_exchange_gather = {.name = "allgather",
                                          .state_bytes = sizeof(gather),
                                          .bytes = bytes,
                                          .sum_bytes = sum_bytes,
                                          .columns = columns_of,
                                          .layout = layout,
                                          .make = make,
                                          .unmake = unmake,
                                          .begin = begin,
                                          .share = share,
                                          .loss = loss};
