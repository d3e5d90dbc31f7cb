#include "model/similarity.h"

#include <stdlib.h>

#include "base/file.h"
#include "model/similarity_exchange.h"
#include "model/tree.h"

/* Columns are compared with what was sent in the first call and every so many after: reading them
 * all costs about as much as sending them. */
enum { CHECK_EVERY = 100 };

const size_t coc_exchange_chunk = 1 << 18;

/* Leaves among a rank's rows, or the one that all of them are. */
static int64_t leaves_of(const coc_parts *parts)
{
    return parts->leaves ? parts->count : 1;
}

static const coc_exchange *exchange_of(const coc_loss_settings *settings)
{
    return settings != NULL && settings->exchange == COC_EXCHANGE_RING ? &coc_exchange_ring
                                                                       : &coc_exchange_gather;
}

int64_t coc_similarity_bytes(const coc_parts *parts, int d, const coc_loss_settings *settings)
{
    const int64_t bytes = exchange_of(settings)->bytes(parts, d) +
                          coc_tree_bytes(leaves_of(parts), 0, (int64_t)d * d, COC_TREE_REALS);

    if (settings == NULL || !settings->symmetric) return bytes;
    return 2 * (bytes + parts->rows * d * (int64_t)sizeof(real)); /* columns stay; mirror_rows */
}

int64_t coc_similarity_sum_bytes(const coc_parts *parts, int d, const coc_loss_settings *settings)
{
    return exchange_of(settings)->sum_bytes(parts, d);
}

coc_status coc_similarity_scratch(const coc_model_settings *model, const coc_parts *parts, int d,
                                  const coc_loss_settings *settings, int64_t *bytes)
{
    const coc_exchange *exchange = exchange_of(settings);
    const coc_contrast shape = {.rows = parts->rows / leaves_of(parts),
                                .columns = exchange->columns(parts),
                                .d = d,
                                .screen =
                                    settings != NULL && settings->screening == COC_SCREENING_AUTO};

    return coc_backend_loss_scratch(model, &shape, exchange->tiles, bytes);
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
    char *state;

    COC_TRY(coc_alloc((int64_t)s->exchange->state_bytes, 1, &state));
    s->state = state;
    COC_TRY(s->exchange->make(s));
    COC_TRY(coc_tree_create(s->backend, s->leaves, 0, (int64_t)s->d * s->d, COC_TREE_REALS,
                            &s->w_tree));
    return alloc_results(s);
}

/* All of it is sent or brought by collectives. */
static coc_status create_arena(coc_similarity *s)
{
    void *memory;

    s->exchange->layout(s);
    COC_TRY(s->comm->ops->alloc(s->comm, s->arena.used, &memory));
    s->arena = (coc_arena){.memory = memory, .bytes = s->arena.used};
    s->exchange->layout(s);
    return s->exchange->begin(s);
}

/* The exchange with anchors for columns: another similarity, without W. */
static coc_status create_mirror(coc_similarity *s, const coc_loss_settings *settings)
{
    coc_loss_settings half = *settings;

    half.symmetric = false;
    COC_TRY(coc_similarity_create(s->backend, s->comm, &s->parts, s->d, &half, &s->mirror));
    return coc_comm_agree(s->comm, "memory of the symmetric loss",
                          coc_device_alloc(s->backend->device, s->parts.rows * s->d,
                                           sizeof *s->mirror_rows, &s->mirror_rows));
}

coc_status coc_similarity_create(coc_backend *backend, coc_comm *comm, const coc_parts *parts,
                                 int d, const coc_loss_settings *settings,
                                 coc_similarity **similarity)
{
    coc_status status;
    coc_similarity *s;

    COC_TRY(coc_alloc(1, sizeof *s, similarity));
    s = *similarity;
    s->exchange = exchange_of(settings);
    s->backend = backend;
    s->comm = comm;
    s->parts = *parts;
    s->leaves = leaves_of(parts);
    s->d = d;
    s->mask_track = settings != NULL && settings->mask_same_track;
    s->columns_stay = settings != NULL && settings->symmetric;
    s->screen = settings != NULL && settings->screening == COC_SCREENING_AUTO;
    status = coc_comm_agree(comm, "making the similarity", create_local(s));
    if (status == COC_OK)
        status = coc_comm_agree(comm, "memory of the similarity", create_arena(s));
    if (status == COC_OK && settings != NULL && settings->symmetric)
        status = create_mirror(s, settings);
    if (status != COC_OK) coc_similarity_destroy(similarity);
    return status;
}

void coc_similarity_destroy(coc_similarity **similarity)
{
    coc_similarity *s = *similarity;

    if (s == NULL) return;
    coc_similarity_destroy(&s->mirror);
    s->backend->device->release(s->backend->device, s->mirror_rows);
    s->comm->ops->release(s->comm, s->arena.memory);
    s->backend->device->release_host(s->backend->device, s->host_results);
    coc_tree_destroy(&s->w_tree);
    if (s->state != NULL) s->exchange->unmake(s);
    free(s->state);
    free(s);
    *similarity = NULL;
}

/* ---- what exchanges share */

coc_status coc_exchange_hash(const coc_similarity *s, const void *from, int64_t bytes, void *chunk,
                             uint64_t *hash)
{
    const coc_device *device = s->backend->device;
    const int64_t most = (int64_t)coc_exchange_chunk;

    for (int64_t at = 0; at < bytes; at += most) {
        const size_t n = (size_t)(bytes - at < most ? bytes - at : most);
        uint64_t link[2] = {*hash};

        COC_TRY(device->copy(device, chunk, (const char *)from + at, n, NULL));
        COC_TRY(coc_comm_wait_device(s->comm, device, NULL));
        link[1] = coc_hash(chunk, n);
        *hash = coc_hash(link, sizeof link);
    }
    return COC_OK;
}

coc_status coc_exchange_make_room(coc_similarity *s, coc_request ***place)
{
    *place = &s->request[s->started++ % COC_ON_THE_WAY];
    return s->comm->ops->wait(s->comm, *place);
}

coc_status coc_exchange_wait_all(coc_similarity *s)
{
    coc_status status = COC_OK;

    for (int i = 0; i < COC_ON_THE_WAY; i++) {
        const coc_status one =
            s->comm->ops->wait(s->comm, &s->request[(s->started + i) % COC_ON_THE_WAY]);

        if (status == COC_OK) status = one;
    }
    s->started = 0;
    return status;
}

coc_status coc_exchange_sum_results(coc_similarity *s)
{
    coc_request **place;

    COC_TRY(coc_exchange_make_room(s, &place));
    return s->comm->ops->start_all_reduce(s->comm, "loss", s->results, COC_CONTRAST_RESULTS,
                                          COC_DOUBLE, NULL, place);
}

/* ---- a call */

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
    status = s->exchange->share(s, batch, i);
    if (status != COC_OK) (void)coc_exchange_wait_all(s);
    return status;
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

/* Rows are this rank's positives, columns all anchors. Adds to the gradients of both. */
static coc_status mirrored_loss(coc_similarity *s, const coc_contrast *forward, const real *h1,
                                const coc_similarity_batch *batch, bool checking, real *d_h1,
                                double *seconds)
{
    const coc_device *device = s->backend->device;
    const coc_ops *ops = s->backend->ops;
    const int64_t values = s->parts.rows * s->d;
    const coc_similarity_batch swapped = {.label = batch->column_label,
                                          .row_track = batch->column_track,
                                          .column_track = batch->row_track,
                                          .row_set = batch->positive_set,
                                          .column_set = batch->anchor_set};
    coc_similarity *m = s->mirror;
    coc_contrast c = *forward;

    c.a = s->p;
    c.label = swapped.label;
    c.row_track = swapped.row_track;
    c.row_set = swapped.row_set;
    COC_TRY(device->copy(device, m->p, h1, (size_t)values * sizeof *m->p, NULL));
    COC_TRY(device->zero(device, m->results, COC_CONTRAST_RESULTS * sizeof *m->results, NULL));
    for (int64_t i = 0; i < s->parts.count; i++)
        COC_TRY(m->exchange->share(m, &swapped, i));
    COC_TRY(m->exchange->loss(m, &c, &swapped, checking, s->mirror_rows, seconds));
    ops->add(s->backend, values, m->dp, d_h1);
    ops->add(s->backend, values, s->mirror_rows, s->dp);
    return device->copy(device, m->host_results, m->results,
                        COC_CONTRAST_RESULTS * sizeof *m->results, NULL);
}

coc_status coc_similarity_loss(coc_similarity *s, coc_params *params, const real *h1,
                               const real *h2, const coc_similarity_batch *batch, real *d_h1,
                               real *d_h2, double *seconds)
{
    const coc_device *device = s->backend->device;
    const size_t of_results = COC_CONTRAST_RESULTS * sizeof *s->results;
    const coc_contrast contrast = {.rows = s->parts.rows,
                                   .d = s->d,
                                   .a = h1,
                                   .label = batch->label,
                                   .row_track = batch->row_track,
                                   .mask_track = s->mask_track,
                                   .row_set = batch->row_set,
                                   .scale =
                                       (s->mirror != NULL ? 0.5 : 1.0) / (double)s->parts.batch,
                                   .screen = s->screen};
    const bool checking = coc_similarity_checks(s);
    double spent = 0;

    s->calls++;
    COC_TRY(device->zero(device, s->results, of_results, NULL));
    COC_TRY(s->exchange->loss(s, &contrast, batch, checking, d_h1, &spent));
    if (s->mirror != NULL) COC_TRY(mirrored_loss(s, &contrast, h1, batch, checking, d_h1, &spent));
    if (seconds != NULL) *seconds = spent;
    COC_TRY(back_leaves(s, params, h2, d_h2));
    return device->copy(device, s->host_results, s->results, of_results, NULL);
}

coc_loss coc_similarity_result(const coc_similarity *s)
{
    const double *results = s->host_results, rows = (double)s->parts.batch;
    const double mirrored = s->mirror != NULL ? s->mirror->host_results[COC_CONTRAST_LOSS] : 0;

    return (coc_loss){.loss = results[COC_CONTRAST_LOSS] + mirrored,
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
