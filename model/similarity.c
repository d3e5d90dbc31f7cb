#include "model/similarity.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"

/* The gathered columns are compared with what was sent in the first call and every so many after:
 * reading them all costs about as much as sending them. */
enum { CHECK_EVERY = 100, CHUNK = 1 << 18 };

struct coc_similarity {
    coc_backend *backend;
    coc_comm *comm;
    int64_t batch, pairs; /* K, and this rank's share n */
    int d;
    int64_t calls;
    int64_t *tracks, *values; /* [ranks] columns of every rank, and numbers in them; host */
    coc_arena arena;
    real *p, *dp;                   /* [n][d] this rank's columns H2 W', and the gradient there */
    real *all_p, *all_dp;           /* [K][d] */
    uint64_t *all_track;            /* [K] */
    double *results;                /* [COC_CONTRAST_RESULTS] */
    double *host_results;           /* the same on the host, to which the device copies */
    const coc_similarity_batch *of; /* the batch at hand */
    bool checking;                  /* of the call at hand */
};

static void layout(coc_similarity *s)
{
    coc_arena *arena = &s->arena;

    /* the same distances from the beginning on every rank, whatever its share: coc_comm_ops.alloc
     */
    s->all_p = coc_arena_take(arena, s->batch * s->d, sizeof *s->all_p);
    s->all_dp = coc_arena_take(arena, s->batch * s->d, sizeof *s->all_dp);
    s->all_track = coc_arena_take(arena, s->batch, sizeof *s->all_track);
    s->results = coc_arena_take(arena, COC_CONTRAST_RESULTS, sizeof *s->results);
    s->p = coc_arena_take(arena, s->pairs * s->d, sizeof *s->p);
    s->dp = coc_arena_take(arena, s->pairs * s->d, sizeof *s->dp);
}

int64_t coc_similarity_bytes(int64_t batch, int64_t pairs, int d)
{
    coc_similarity s = {.batch = batch, .pairs = pairs, .d = d};

    layout(&s); /* an arena without memory only counts */
    return (int64_t)s.arena.used;
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

static coc_status create_local(coc_similarity *s)
{
    COC_TRY(coc_alloc(s->comm->size, sizeof *s->tracks, &s->tracks));
    COC_TRY(coc_alloc(s->comm->size, sizeof *s->values, &s->values));
    coc_shares(s->batch, s->comm->size, s->tracks);
    for (int r = 0; r < s->comm->size; r++)
        s->values[r] = s->tracks[r] * s->d;
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

coc_status coc_similarity_create(coc_backend *backend, coc_comm *comm, int64_t batch, int d,
                                 coc_similarity **similarity)
{
    coc_status status;
    coc_similarity *s;

    COC_TRY(coc_alloc(1, sizeof *s, similarity));
    s = *similarity;
    s->backend = backend;
    s->comm = comm;
    s->batch = batch;
    s->pairs = coc_share(batch, comm->size, comm->rank, NULL);
    s->d = d;
    status = coc_comm_agree(comm, "making the similarity", create_local(s));
    if (status == COC_OK)
        status = coc_comm_agree(comm, "memory of the similarity", create_arena(s));
    if (status != COC_OK) coc_similarity_destroy(similarity);
    return status;
}

void coc_similarity_destroy(coc_similarity **similarity)
{
    if (*similarity == NULL) return;
    (*similarity)->comm->ops->release((*similarity)->comm, (*similarity)->arena.memory);
    (*similarity)
        ->backend->device->release_host((*similarity)->backend->device,
                                        (*similarity)->host_results);
    free((*similarity)->tracks);
    free((*similarity)->values);
    free(*similarity);
    *similarity = NULL;
}

static coc_status begin(coc_similarity *s)
{
    const coc_device *device = s->backend->device;

    COC_TRY(device->zero(device, s->results, COC_CONTRAST_RESULTS * sizeof *s->results, NULL));
    return device->zero(device, s->all_dp, (size_t)(s->batch * s->d) * sizeof *s->all_dp, NULL);
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

/* sent [pairs], gathered [K]: rows of so many bytes. */
static coc_status check_rows(const coc_similarity *s, const char *what, const void *sent,
                             const void *gathered, int64_t row)
{
    const coc_device *device = s->backend->device;
    const char *part = gathered;
    uint64_t own = 0, *found = NULL;
    void *chunk = NULL;
    coc_status status;

    COC_TRY_GOTO(status, device->alloc_host(device, CHUNK, &chunk), done);
    COC_TRY_GOTO(status, coc_alloc(s->comm->size, sizeof *found, &found), done);
    COC_TRY_GOTO(status, add_to_hash(s, sent, s->pairs * row, chunk, &own), done);
    for (int rank = 0; rank < s->comm->size; rank++) {
        const int64_t bytes = s->tracks[rank] * row;

        COC_TRY_GOTO(status, add_to_hash(s, part, bytes, chunk, &found[rank]), done);
        part += bytes;
    }
    status = coc_check_slabs(s->comm, what, own, found);

done:
    device->release_host(device, chunk);
    free(found);
    return status;
}

static coc_status check_columns(const coc_similarity *s)
{
    COC_TRY(check_rows(s, "check of the columns", s->p, s->all_p, s->d * (int64_t)sizeof *s->p));
    return check_rows(s, "check of their tracks", s->of->column_track, s->all_track,
                      sizeof *s->all_track);
}

/* Everybody's columns and their tracks to everybody. */
static coc_status gather_columns(coc_similarity *s)
{
    const coc_comm_ops *ops = s->comm->ops;
    coc_request *columns = NULL, *tracks = NULL;
    coc_status status, one;

    COC_TRY(ops->start_all_gather(s->comm, "columns of the similarity", s->p, s->all_p, s->values,
                                  COC_REAL_TYPE, NULL, &columns));
    status = ops->start_all_gather(s->comm, "tracks of the columns", s->of->column_track,
                                   s->all_track, s->tracks, COC_INT64, NULL, &tracks);
    one = ops->wait(s->comm, &columns);
    if (status == COC_OK) status = one;
    one = ops->wait(s->comm, &tracks);
    if (status == COC_OK) status = one;
    if (status != COC_OK || !s->checking) return status;
    return check_columns(s);
}

/* The gradient at this rank's columns, summed over all rows; and the results, over all ranks. */
static coc_status reduce_results(coc_similarity *s)
{
    const coc_comm_ops *ops = s->comm->ops;
    coc_request *columns = NULL, *results = NULL;
    coc_status status, one;

    COC_TRY(ops->start_reduce_scatter(s->comm, "gradient of the columns", s->all_dp, s->dp,
                                      s->values, COC_REAL_TYPE, NULL, &columns));
    status = ops->start_all_reduce(s->comm, "loss", s->results, COC_CONTRAST_RESULTS, COC_DOUBLE,
                                   NULL, &results);
    one = ops->wait(s->comm, &columns);
    if (status == COC_OK) status = one;
    one = ops->wait(s->comm, &results);
    return status == COC_OK ? one : status;
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

coc_status coc_similarity_loss(coc_similarity *s, coc_params *params, const real *h1,
                               const real *h2, const coc_similarity_batch *batch, real *d_h1,
                               real *d_h2, double *seconds)
{
    const coc_ops *ops = s->backend->ops;
    const coc_device *device = s->backend->device;
    const real *w = params->value + params->at.similarity;
    const coc_contrast contrast = {.rows = s->pairs,
                                   .columns = s->batch,
                                   .d = s->d,
                                   .a = h1,
                                   .p = s->all_p,
                                   .label = batch->label,
                                   .row_track = batch->row_track,
                                   .column_track = s->all_track,
                                   .row_set = batch->row_set,
                                   .column_set = batch->column_set,
                                   .scale = 1.0 / (double)s->batch};

    if (seconds != NULL) *seconds = 0;
    s->of = batch;
    s->checking = coc_similarity_checks(s);
    s->calls++;
    COC_TRY(begin(s));
    ops->linear_forward(s->backend, s->pairs, s->d, s->d, h2, w, NULL, s->p);
    COC_TRY(timed(s, gather_columns, seconds));
    ops->contrast(s->backend, &contrast, d_h1, s->all_dp, s->results);
    COC_TRY(timed(s, reduce_results, seconds));
    ops->linear_backward(s->backend, s->pairs, s->d, s->d, h2, w, s->dp, d_h2,
                         params->grad + params->at.similarity, NULL);
    return device->copy(device, s->host_results, s->results,
                        COC_CONTRAST_RESULTS * sizeof *s->results, NULL);
}

coc_loss coc_similarity_result(const coc_similarity *s)
{
    const double *results = s->host_results, rows = (double)s->batch;

    return (coc_loss){.loss = results[COC_CONTRAST_LOSS],
                      .accuracy = results[COC_CONTRAST_RIGHT] / rows,
                      .columns = results[COC_CONTRAST_COUNTED] / rows,
                      .same_track = results[COC_CONTRAST_SAME_TRACK] / rows};
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
