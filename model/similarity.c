#include "model/similarity.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/tree.h"

/* The gathered columns are compared with what was sent in the first call and every so many after:
 * reading them all costs about as much as sending them. */
enum { CHECK_EVERY = 100, CHUNK = 1 << 18 };

/* Collectives on their way at a time: enough to hide the start of one behind another. */
enum { ON_THE_WAY = 4 };

/* Columns of every rank in a part, and the numbers in them: [ranks], host. */
typedef struct {
    int64_t *columns, *values;
} counts;

struct coc_similarity {
    coc_backend *backend;
    coc_comm *comm;
    coc_parts parts;
    int d;
    bool mask_track, screen;
    int64_t calls;
    counts whole, last; /* of a part of full size, and of the last */
    coc_request *request[ON_THE_WAY];
    int64_t started; /* collectives of the call at hand */
    coc_arena arena;
    real *p, *dp;         /* [n][d] this rank's columns H2 W', and the gradient there */
    real *all_p, *all_dp; /* [K][d] */
    uint64_t *all_track;  /* [K] */
    double *results;      /* [COC_CONTRAST_RESULTS] */
    double *host_results; /* the same on the host, to which the device copies */
    int64_t leaves;       /* of this rank's rows; 1 where parts are none */
    coc_tree *dp_tree, *results_tree, *w_tree; /* over them */
};

static void layout(coc_similarity *s)
{
    coc_arena *arena = &s->arena;

    /* the same distances from the beginning on every rank, whatever its share: coc_comm_ops.alloc
     */
    s->all_p = coc_arena_take(arena, s->parts.batch * s->d, sizeof *s->all_p);
    s->all_dp = coc_arena_take(arena, s->parts.batch * s->d, sizeof *s->all_dp);
    s->all_track = coc_arena_take(arena, s->parts.batch, sizeof *s->all_track);
    s->results = coc_arena_take(arena, COC_CONTRAST_RESULTS, sizeof *s->results);
    s->p = coc_arena_take(arena, s->parts.rows * s->d, sizeof *s->p);
    s->dp = coc_arena_take(arena, s->parts.rows * s->d, sizeof *s->dp);
}

/* Leaves among a rank's rows, or the one that all of them are. */
static int64_t leaves_of(const coc_parts *parts)
{
    return parts->leaves ? parts->count : 1;
}

int64_t coc_similarity_bytes(const coc_parts *parts, int d)
{
    const int64_t leaves = leaves_of(parts);
    coc_similarity s = {.parts = *parts, .d = d};

    layout(&s); /* an arena without memory only counts */
    return (int64_t)s.arena.used + coc_tree_bytes(leaves, 0, parts->batch * d, COC_TREE_REALS) +
           coc_tree_bytes(leaves, 0, (int64_t)d * d, COC_TREE_REALS) +
           coc_tree_bytes(leaves, 0, COC_CONTRAST_RESULTS, COC_TREE_SUMS);
}

static coc_status create_trees(coc_similarity *s)
{
    const int64_t n = s->leaves, columns = s->parts.batch * s->d, of_w = (int64_t)s->d * s->d;
    const int64_t most = s->parts.size * s->d; /* of one reduce-scatter */

    if (s->parts.leaves && s->comm->size > 1 && s->comm->ops->tree_most < most)
        return COC_FAIL(COC_ERR_SETTING,
                        "loss.reduction: fixed-tree: %s does not add %lld numbers over the tree; "
                        "choose comm.backend mpi, or a smaller train.micro_batch",
                        s->comm->ops->name, (long long)most);
    COC_TRY(coc_tree_create(s->backend, n, 0, columns, COC_TREE_REALS, &s->dp_tree));
    COC_TRY(
        coc_tree_create(s->backend, n, 0, COC_CONTRAST_RESULTS, COC_TREE_SUMS, &s->results_tree));
    return coc_tree_create(s->backend, n, 0, of_w, COC_TREE_REALS, &s->w_tree);
}

/* Memory that the device may write into while a step goes on. */
static coc_status alloc_results(coc_similarity *s)
{
    const coc_device *device = s->backend->device;
    void *memory;

    COC_TRY(device->alloc_host(device, COC_CONTRAST_RESULTS * sizeof(double), &memory));
    s->host_results = memory;
    return COC_OK;
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
    return part == s->parts.count - 1 ? &s->last : &s->whole;
}

static coc_status create_local(coc_similarity *s)
{
    COC_TRY(count_columns(s, 0, &s->whole));
    COC_TRY(count_columns(s, s->parts.count - 1, &s->last));
    COC_TRY(create_trees(s));
    return alloc_results(s);
}

/* All of it is sent or brought by collectives. */
static coc_status create_arena(coc_similarity *s)
{
    void *memory;

    layout(s);
    COC_TRY(s->comm->ops->alloc(s->comm, s->arena.used, &memory));
    s->arena = (coc_arena){.memory = memory, .bytes = s->arena.used};
    layout(s);
    return COC_OK;
}

coc_status coc_similarity_create(coc_backend *backend, coc_comm *comm, const coc_parts *parts,
                                 int d, const coc_loss_settings *settings,
                                 coc_similarity **similarity)
{
    coc_status status;
    coc_similarity *s;

    COC_TRY(coc_alloc(1, sizeof *s, similarity));
    s = *similarity;
    s->backend = backend;
    s->comm = comm;
    s->parts = *parts;
    s->d = d;
    s->leaves = leaves_of(parts);
    s->mask_track = settings != NULL && settings->mask_same_track;
    s->screen = settings != NULL && settings->screening == COC_SCREENING_AUTO;
    status = coc_comm_agree(comm, "making the similarity", create_local(s));
    if (status == COC_OK)
        status = coc_comm_agree(comm, "memory of the similarity", create_arena(s));
    if (status != COC_OK) coc_similarity_destroy(similarity);
    return status;
}

void coc_similarity_destroy(coc_similarity **similarity)
{
    coc_similarity *s = *similarity;

    if (s == NULL) return;
    s->comm->ops->release(s->comm, s->arena.memory);
    s->backend->device->release_host(s->backend->device, s->host_results);
    coc_tree_destroy(&s->dp_tree);
    coc_tree_destroy(&s->results_tree);
    coc_tree_destroy(&s->w_tree);
    free(s->whole.columns);
    free(s->whole.values);
    free(s->last.columns);
    free(s->last.values);
    free(s);
    *similarity = NULL;
}

static coc_status begin(coc_similarity *s)
{
    const coc_device *device = s->backend->device;

    COC_TRY(device->zero(device, s->results, COC_CONTRAST_RESULTS * sizeof *s->results, NULL));
    return device->zero(device, s->all_dp, (size_t)(s->parts.batch * s->d) * sizeof *s->all_dp,
                        NULL);
}

/* hash of bytes and what is in it so far; chunk [CHUNK] is pinned host memory. What is read may
 * still be on its way from another rank: the wait is under the watchdog. */
static coc_status add_to_hash(const coc_similarity *s, const void *from, int64_t bytes, void *chunk,
                              uint64_t *hash)
{
    const coc_device *device = s->backend->device;

    for (int64_t at = 0; at < bytes; at += CHUNK) {
        const size_t n = (size_t)(bytes - at < CHUNK ? bytes - at : CHUNK);
        uint64_t link[2] = {*hash};

        COC_TRY(device->copy(device, chunk, (const char *)from + at, n, NULL));
        COC_TRY(coc_comm_wait_device(s->comm, device, NULL));
        link[1] = coc_hash(chunk, n);
        *hash = coc_hash(link, sizeof link);
    }
    return COC_OK;
}

/* sent [n], gathered [K]: rows of so many bytes. Piece by piece, since a hash depends on how its
 * bytes are cut. */
static coc_status hash_rows(const coc_similarity *s, const char *sent, const char *gathered,
                            int64_t row, void *chunk, uint64_t *own, uint64_t *found)
{
    for (int64_t i = 0; i < s->parts.count; i++) {
        const coc_batch_part part = coc_part_at(&s->parts, i);
        const int64_t *columns = counts_of(s, i)->columns;

        COC_TRY(add_to_hash(s, sent + part.row * row, part.pairs * row, chunk, own));
        for (int64_t rank = 0, at = part.begin; rank < s->comm->size; at += columns[rank++])
            COC_TRY(add_to_hash(s, gathered + at * row, columns[rank] * row, chunk, &found[rank]));
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

    COC_TRY_GOTO(status, device->alloc_host(device, CHUNK, &chunk), done);
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
    COC_TRY(check_rows(s, "check of the columns", s->p, s->all_p, s->d * (int64_t)sizeof *s->p));
    return check_rows(s, "check of their tracks", batch->column_track, s->all_track,
                      sizeof *s->all_track);
}

/* Room for one more collective, whose request goes to *place: waits for the one before it there. */
static coc_status make_room(coc_similarity *s, coc_request ***place)
{
    *place = &s->request[s->started++ % ON_THE_WAY];
    return s->comm->ops->wait(s->comm, *place);
}

/* All that are on their way; also after a failure, so that none is left. */
static coc_status wait_all(coc_similarity *s)
{
    coc_status status = COC_OK;

    for (int i = 0; i < ON_THE_WAY; i++) {
        const coc_status one =
            s->comm->ops->wait(s->comm, &s->request[(s->started + i) % ON_THE_WAY]);

        if (status == COC_OK) status = one;
    }
    s->started = 0;
    return status;
}

static coc_status gather_part(coc_similarity *s, const coc_similarity_batch *batch, int64_t i)
{
    const coc_comm_ops *ops = s->comm->ops;
    const coc_batch_part part = coc_part_at(&s->parts, i);
    const counts *c = counts_of(s, i);
    coc_request **place;

    COC_TRY(make_room(s, &place));
    COC_TRY(ops->start_all_gather(s->comm, "columns of the similarity", s->p + part.row * s->d,
                                  s->all_p + part.begin * s->d, c->values, COC_REAL_TYPE, NULL,
                                  place));
    COC_TRY(make_room(s, &place));
    return ops->start_all_gather(s->comm, "tracks of the columns", batch->column_track + part.row,
                                 s->all_track + part.begin, c->columns, COC_INT64, NULL, place);
}

/* The gradient at this rank's columns, summed over all rows; and the results, over all ranks. */
static coc_status start_reductions(coc_similarity *s)
{
    const coc_comm_ops *ops = s->comm->ops;
    coc_request **place;

    for (int64_t i = 0; i < s->parts.count; i++) {
        const coc_batch_part part = coc_part_at(&s->parts, i);

        COC_TRY(make_room(s, &place));
        COC_TRY(ops->start_reduce_scatter(s->comm, "gradient of the columns",
                                          s->all_dp + part.begin * s->d, s->dp + part.row * s->d,
                                          counts_of(s, i)->values, COC_REAL_TYPE, NULL, place));
    }
    if (s->parts.leaves) return COC_OK;
    COC_TRY(make_room(s, &place));
    return ops->start_all_reduce(s->comm, "loss", s->results, COC_CONTRAST_RESULTS, COC_DOUBLE,
                                 NULL, place);
}

static coc_status reduce_results(coc_similarity *s)
{
    const coc_status status = start_reductions(s), waited = wait_all(s);

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

    if (seconds != NULL) *seconds += coc_clock_seconds() - begin;
    return status;
}

bool coc_similarity_checks(const coc_similarity *s)
{
    return s->comm->size > 1 && s->calls % CHECK_EVERY == 0;
}

void coc_similarity_again(coc_similarity *s)
{
    s->calls++;
}

coc_status coc_similarity_columns(coc_similarity *s, const coc_params *params,
                                  const coc_similarity_batch *batch, const real *h2, int64_t i)
{
    const coc_batch_part part = coc_part_at(&s->parts, i);
    const int64_t at = part.row * s->d;
    coc_status status;

    s->backend->ops->linear_forward(s->backend, part.pairs, s->d, s->d, h2 + at,
                                    params->value + params->at.similarity, NULL, s->p + at);
    status = gather_part(s, batch, i);
    if (status != COC_OK) (void)wait_all(s);
    return status;
}

/* Rows from `row` on, as many as a leaf has. */
static coc_contrast contrast_of(const coc_similarity *s, const coc_similarity_batch *batch,
                                const real *h1, int64_t row)
{
    return (coc_contrast){.rows = s->parts.rows / s->leaves,
                          .columns = s->parts.batch,
                          .d = s->d,
                          .a = h1 + row * s->d,
                          .p = s->all_p,
                          .label = batch->label + row,
                          .row_track = batch->row_track + row,
                          .column_track = s->all_track,
                          .mask_track = s->mask_track,
                          .row_set = batch->row_set != NULL ? batch->row_set + row : NULL,
                          .column_set = batch->column_set,
                          .scale = 1.0 / (double)s->parts.batch,
                          .screen = s->screen};
}

static coc_status contrast_leaves(coc_similarity *s, const coc_similarity_batch *batch,
                                  const real *h1, real *d_h1)
{
    for (int64_t i = 0; i < s->leaves; i++) {
        const int64_t row = i * (s->parts.rows / s->leaves);
        const coc_contrast contrast = contrast_of(s, batch, h1, row);

        s->backend->ops->contrast(s->backend, &contrast, d_h1 + row * s->d, s->all_dp, s->results);
        COC_TRY(coc_tree_add(s->dp_tree, i, s->all_dp));
        COC_TRY(coc_tree_add(s->results_tree, i, s->results));
    }
    return COC_OK;
}

/* From the gradient at this rank's columns to h2 and W. */
static coc_status back_leaves(coc_similarity *s, coc_params *params, const real *h2, real *d_h2)
{
    const int64_t rows = s->parts.rows / s->leaves, w = params->at.similarity;

    for (int64_t i = 0; i < s->leaves; i++) {
        const int64_t at = i * rows * s->d;

        s->backend->ops->linear_backward(s->backend, rows, s->d, s->d, h2 + at, params->value + w,
                                         s->dp + at, d_h2 + at, params->grad + w, NULL);
        COC_TRY(coc_tree_add(s->w_tree, i, params->grad + w));
    }
    return COC_OK;
}

coc_status coc_similarity_loss(coc_similarity *s, coc_params *params, const real *h1,
                               const real *h2, const coc_similarity_batch *batch, real *d_h1,
                               real *d_h2, double *seconds)
{
    const coc_device *device = s->backend->device;
    const bool checking = coc_similarity_checks(s);

    if (seconds != NULL) *seconds = 0;
    s->calls++;
    COC_TRY(begin(s));
    COC_TRY(timed(s, wait_all, seconds));
    if (checking) COC_TRY(check_columns(s, batch));
    COC_TRY(contrast_leaves(s, batch, h1, d_h1));
    COC_TRY(timed(s, reduce_results, seconds));
    COC_TRY(back_leaves(s, params, h2, d_h2));
    return device->copy(device, s->host_results, s->results,
                        COC_CONTRAST_RESULTS * sizeof *s->results, NULL);
}

coc_loss coc_similarity_result(const coc_similarity *s)
{
    const double *results = s->host_results, rows = (double)s->parts.batch;

    return (coc_loss){.loss = results[COC_CONTRAST_LOSS],
                      .accuracy = results[COC_CONTRAST_RIGHT] / rows,
                      .columns = results[COC_CONTRAST_COUNTED] / rows,
                      .same_track = results[COC_CONTRAST_SAME_TRACK] / rows,
                      .kept = results[COC_CONTRAST_KEPT] / results[COC_CONTRAST_COUNTED],
                      .dropped = results[COC_CONTRAST_DROPPED] / rows,
                      .blocks = results[COC_CONTRAST_BLOCKS],
                      .dense_blocks = results[COC_CONTRAST_DENSE]};
}

/* Rows that are on the host already: s [n] = a_i . p_i. */
static void row_products(int64_t n, int d, const real *a, const real *p, double *s)
{
    for (int64_t i = 0; i < n; i++) {
        s[i] = 0;
        for (int j = 0; j < d; j++)
            s[i] += (double)a[i * d + j] * (double)p[i * d + j];
    }
}

coc_status coc_similarity_pairs(coc_backend *backend, const coc_params *params, int64_t n,
                                const real *h1, const real *h2, double *s)
{
    const coc_device *device = backend->device;
    const int d = params->network->embedding;
    const size_t bytes = (size_t)(n * d) * sizeof(real);
    void *columns = NULL;
    real *host = NULL; /* [2][n][d]: anchors, columns */
    coc_status status;

    COC_TRY_GOTO(status, device->alloc(device, bytes, &columns), done);
    COC_TRY_GOTO(status, coc_alloc(2 * n * d, sizeof *host, &host), done);
    backend->ops->linear_forward(backend, n, d, d, h2, params->value + params->at.similarity, NULL,
                                 columns);
    COC_TRY_GOTO(status, backend->ops->finish(backend), done);
    COC_TRY_GOTO(status, device->copy(device, host, h1, bytes, NULL), done);
    COC_TRY_GOTO(status, device->copy(device, host + n * d, columns, bytes, NULL), done);
    COC_TRY_GOTO(status, device->wait(device, NULL), done);
    row_products(n, d, host, host + n * d, s);

done:
    device->release(device, columns);
    free(host);
    return status;
}
