#include "tests/exchanges.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/similarity.h"
#include "tests/on_device.h"
#include "tests/test.h"

typedef struct {
    int64_t batch, micro;
    int d;
    float scale; /* of the embeddings, which are random in (-1, 1) times it */
    bool sets, mask;
} sample;

/* All that a loss needs: on the device, this rank's part of the batch. */
typedef struct {
    coc_parts parts;
    coc_network network;
    coc_params *params;
    coc_similarity *similarity;
    float *h1, *h2, *d_h1, *d_h2;
    coc_similarity_batch batch;
} subject;

/* On the host; gradients [count] each, of W [d][d]. */
typedef struct {
    coc_loss loss;
    int64_t count, of_w;
    float *d_h1, *d_h2, *d_w;
} outcome;

static void *taken(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (memory == NULL) abort();
    return memory;
}

/* This rank's rows of an array over the pairs, in the order of its parts, on the device. */
static void *put_rows(const coc_backend *b, const coc_parts *parts, const void *all, size_t size)
{
    char *rows = taken((size_t)parts->rows, size);
    void *there;

    for (int64_t i = 0; i < parts->count; i++) {
        const coc_batch_part part = coc_part_at(parts, i);

        memcpy(rows + (size_t)part.row * size, (const char *)all + (size_t)part.first * size,
               (size_t)part.pairs * size);
    }
    there = coc_test_put(b, rows, parts->rows, size);
    free(rows);
    return there;
}

/* Each anchor's positive stands elsewhere in the batch; three pairs a track, three sets. */
static void put_batch(const coc_backend *b, const sample *of, subject *s)
{
    const int64_t n = of->batch;
    int64_t *label = taken((size_t)n, sizeof *label);
    uint64_t *track = taken((size_t)(2 * n), sizeof *track);
    int32_t *set = taken((size_t)(2 * n), sizeof *set);

    for (int64_t i = 0; i < n; i++) {
        label[i] = (i + n / 2 + 1) % n;
        track[i] = track[n + label[i]] = (uint64_t)1 << 40 | (uint64_t)(i / 3);
        set[i] = set[n + label[i]] = (int32_t)(i / 2 % 3);
    }
    s->batch.label = put_rows(b, &s->parts, label, sizeof *label);
    s->batch.row_track = put_rows(b, &s->parts, track, sizeof *track);
    s->batch.column_track = put_rows(b, &s->parts, track + n, sizeof *track);
    if (of->sets) {
        s->batch.row_set = put_rows(b, &s->parts, set, sizeof *set);
        s->batch.column_set = coc_test_put(b, set + n, n, sizeof *set);
    }
    free(label);
    free(track);
    free(set);
}

static float *put_embeddings(const coc_backend *b, const sample *of, const coc_parts *parts,
                             uint32_t seed)
{
    float *all = taken((size_t)(of->batch * of->d), sizeof *all), *there;

    coc_test_random(all, of->batch * of->d, seed);
    for (int64_t i = 0; i < of->batch * of->d; i++)
        all[i] *= of->scale;
    there = put_rows(b, parts, all, (size_t)of->d * sizeof *all);
    free(all);
    return there;
}

static coc_status open_params(coc_backend *b, const sample *of, subject *s)
{
    const coc_profile *profile;
    const int64_t values = (int64_t)of->d * of->d;
    float *w = taken((size_t)values, sizeof *w);
    coc_status status;

    COC_TRY(coc_profile_find("cocola-hps", 2, &profile));
    COC_TRY(coc_network_build(profile, 0.1, 0.1, 64, 64, &s->network));
    s->network.embedding = of->d;
    COC_TRY(coc_params_create(&s->network, b->device, true, &s->params));
    coc_test_random(w, values, 9);
    status = b->device->copy(b->device, s->params->value + s->params->at.similarity, w,
                             (size_t)values * sizeof *w, NULL);
    if (status == COC_OK) status = b->device->wait(b->device, NULL);
    free(w);
    return status;
}

static coc_status open_subject(coc_comm *comm, coc_backend *b, const sample *of,
                               coc_columns_exchange exchange, subject *s)
{
    const coc_loss_settings settings = {.exchange = exchange, .mask_same_track = of->mask};
    int64_t values;

    *s = (subject){.params = NULL};
    COC_TRY(coc_parts_make(comm, of->batch, of->micro, &s->parts));
    COC_TRY(open_params(b, of, s));
    put_batch(b, of, s);
    values = s->parts.rows * of->d;
    s->h1 = put_embeddings(b, of, &s->parts, 5);
    s->h2 = put_embeddings(b, of, &s->parts, 6);
    COC_TRY(coc_device_alloc(b->device, values, sizeof *s->d_h1, &s->d_h1));
    COC_TRY(coc_device_alloc(b->device, values, sizeof *s->d_h2, &s->d_h2));
    return coc_similarity_create(b, comm, &s->parts, of->d, &settings, &s->similarity);
}

static void close_subject(const coc_backend *b, subject *s)
{
    coc_similarity_destroy(&s->similarity);
    coc_params_destroy(&s->params);
    coc_test_release(b, s->h1);
    coc_test_release(b, s->h2);
    coc_test_release(b, s->d_h1);
    coc_test_release(b, s->d_h2);
    coc_test_release(b, (void *)s->batch.label);
    coc_test_release(b, (void *)s->batch.row_track);
    coc_test_release(b, (void *)s->batch.column_track);
    coc_test_release(b, (void *)s->batch.row_set);
    coc_test_release(b, (void *)s->batch.column_set);
}

static coc_status call(coc_backend *b, subject *s)
{
    double seconds = -1;

    for (int64_t i = 0; i < s->parts.count; i++)
        COC_TRY(coc_similarity_columns(s->similarity, s->params, &s->batch, s->h2, i));
    COC_TRY(coc_similarity_loss(s->similarity, s->params, s->h1, s->h2, &s->batch, s->d_h1, s->d_h2,
                                &seconds));
    CHECK(seconds >= 0);
    return b->ops->finish(b);
}

/* Of the second of two calls: nothing is left of the first, but in the sum that W's gradient is. */
static outcome compute(coc_comm *comm, coc_backend *b, const sample *of,
                       coc_columns_exchange exchange)
{
    outcome o = {.count = 0};
    subject s;

    if (open_subject(comm, b, of, exchange, &s) != COC_OK || call(b, &s) != COC_OK ||
        call(b, &s) != COC_OK) {
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
        return o;
    }
    o.loss = coc_similarity_result(s.similarity);
    o.count = s.parts.rows * of->d;
    o.of_w = (int64_t)of->d * of->d;
    o.d_h1 = taken((size_t)o.count, sizeof(float));
    o.d_h2 = taken((size_t)o.count, sizeof(float));
    o.d_w = taken((size_t)o.of_w, sizeof(float));
    coc_test_get(b, s.d_h1, o.count, sizeof(float), o.d_h1);
    coc_test_get(b, s.d_h2, o.count, sizeof(float), o.d_h2);
    coc_test_get(b, s.params->grad + s.params->at.similarity, o.of_w, sizeof(float), o.d_w);
    close_subject(b, &s);
    return o;
}

static void free_outcome(outcome *o)
{
    free(o->d_h1);
    free(o->d_h2);
    free(o->d_w);
}

static void compare(const coc_comm *comm, const sample *of, const outcome *ring,
                    const outcome *gather, double bound)
{
    const double loss = fabs(ring->loss.loss / gather->loss.loss - 1);
    const double d_h1 = coc_test_relative_error(ring->d_h1, gather->d_h1, ring->count);
    const double d_h2 = coc_test_relative_error(ring->d_h2, gather->d_h2, ring->count);
    const double d_w = coc_test_relative_error(ring->d_w, gather->d_w, ring->of_w);

    if (comm->rank == 0)
        fprintf(
            stderr,
            "  %3d pairs, parts of %2d, %s%s: loss %.4f (%.1e), gradients %.1e %.1e %.1e apart\n",
            (int)of->batch, (int)of->micro, of->sets ? "sets" : "all",
            of->mask ? ", tracks masked" : "", ring->loss.loss, loss, d_h1, d_h2, d_w);
    CHECK(loss <= 0.1 * bound);
    CHECK(d_h1 <= bound);
    CHECK(d_h2 <= bound);
    CHECK(d_w <= bound);
    CHECK_NEAR(ring->loss.accuracy, gather->loss.accuracy, 0);
    CHECK_NEAR(ring->loss.columns, gather->loss.columns, 0);
    CHECK_NEAR(ring->loss.same_track, gather->loss.same_track, 0);
    CHECK(gather->loss.same_track > 0);
    CHECK((gather->loss.columns < (double)of->batch) == (of->sets || of->mask));
}

void coc_test_exchanges(coc_comm *comm, coc_backend *backend, double bound)
{
    static const sample samples[] = {{24, 0, 16, 1, false, false}, {23, 0, 7, 1, true, false},
                                     {29, 0, 5, 1, false, true},   {26, 0, 16, 0, true, true},
                                     {40, 16, 9, 1, true, true},   {40, 12, 12, 0.7f, false, false},
                                     {9, 0, 24, 1, false, false},  {300, 64, 32, 0.7f, true, true}};

    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        outcome gather, ring;

        if (samples[i].batch < comm->size) continue;
        if (samples[i].micro > 0 && samples[i].batch % samples[i].micro > 0 &&
            samples[i].batch % samples[i].micro < comm->size)
            continue;
        gather = compute(comm, backend, &samples[i], COC_EXCHANGE_ALL_GATHER);
        ring = compute(comm, backend, &samples[i], COC_EXCHANGE_RING);
        if (gather.count > 0 && ring.count > 0) compare(comm, &samples[i], &ring, &gather, bound);
        free_outcome(&gather);
        free_outcome(&ring);
    }
}

/* ---- the wrong way round -------------------------------------------------------------------- */

static const coc_comm_ops *right;

/* What the next rank has, or of two ranks what this one has, in the place of the previous one's. */
static coc_status rotate_back(coc_comm *comm, const char *what, const void *send, void *recv,
                              const int64_t *counts, coc_type type, coc_stream *stream,
                              coc_request **request)
{
    const int size = comm->size, from = size > 2 ? (comm->rank + 1) % size : comm->rank;
    int64_t before = 0, all = 0;
    void *memory = NULL;

    (void)stream;
    *request = NULL;
    for (int rank = 0; rank < size; rank++) {
        if (rank < from) before += counts[rank];
        all += counts[rank];
    }
    memory = taken((size_t)all, coc_type_bytes(type));
    COC_TRY(right->start_all_gather(comm, what, send, memory, counts, type, NULL, request));
    COC_TRY(right->wait(comm, request));
    memcpy(recv, (char *)memory + (size_t)before * coc_type_bytes(type),
           (size_t)counts[from] * coc_type_bytes(type));
    free(memory);
    return COC_OK;
}

void coc_test_wrong_way_round(coc_comm *comm, coc_backend *backend)
{
    const sample even = {2 * comm->size, 0, 8, 1, false, false};
    coc_comm_ops ops = *comm->ops;
    coc_comm wrong = *comm;
    subject s;

    if (comm->size < 2) return;
    right = comm->ops;
    ops.start_rotate = rotate_back;
    wrong.ops = &ops;
    REQUIRE_OK(open_subject(&wrong, backend, &even, COC_EXCHANGE_RING, &s));
    CHECK(call(backend, &s) == COC_ERR_RANKS);
    CHECK(strstr(coc_error_text(), "stands the part of rank") != NULL);
    close_subject(backend, &s);
}
