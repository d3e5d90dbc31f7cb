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
    bool sets, mask, symmetric;
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

/* Of anchors, then positives, [2][batch]. */
typedef struct {
    int64_t *label;
    uint64_t *track;
    int32_t *set;
} labels;

/* Each anchor's positive stands elsewhere in the batch; three pairs a track, three sets. */
static labels make_labels(int64_t n)
{
    labels l = {taken((size_t)(2 * n), sizeof *l.label), taken((size_t)(2 * n), sizeof *l.track),
                taken((size_t)(2 * n), sizeof *l.set)};

    for (int64_t i = 0; i < n; i++) {
        const int64_t own = (i + n / 2 + 1) % n;

        l.label[i] = own;
        l.label[n + own] = i;
        l.track[i] = l.track[n + own] = (uint64_t)1 << 40 | (uint64_t)(i / 3);
        l.set[i] = l.set[n + own] = (int32_t)(i / 2 % 3);
    }
    return l;
}

static void free_labels(labels *l)
{
    free(l->label);
    free(l->track);
    free(l->set);
}

static void put_batch(const coc_backend *b, const sample *of, subject *s)
{
    const int64_t n = of->batch;
    labels l = make_labels(n);

    s->batch.label = put_rows(b, &s->parts, l.label, sizeof *l.label);
    s->batch.column_label = put_rows(b, &s->parts, l.label + n, sizeof *l.label);
    s->batch.row_track = put_rows(b, &s->parts, l.track, sizeof *l.track);
    s->batch.column_track = put_rows(b, &s->parts, l.track + n, sizeof *l.track);
    if (of->sets) {
        s->batch.row_set = put_rows(b, &s->parts, l.set, sizeof *l.set);
        s->batch.positive_set = put_rows(b, &s->parts, l.set + n, sizeof *l.set);
        s->batch.anchor_set = coc_test_put(b, l.set, n, sizeof *l.set);
        s->batch.column_set = coc_test_put(b, l.set + n, n, sizeof *l.set);
    }
    free_labels(&l);
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
    const coc_loss_settings settings = {
        .exchange = exchange, .mask_same_track = of->mask, .symmetric = of->symmetric};
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
    coc_test_release(b, (void *)s->batch.column_label);
    coc_test_release(b, (void *)s->batch.positive_set);
    coc_test_release(b, (void *)s->batch.anchor_set);
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
    static const sample samples[] = {
        {24, 0, 16, 1, false, false, false}, {23, 0, 7, 1, true, false, false},
        {29, 0, 5, 1, false, true, false},   {26, 0, 16, 0, true, true, false},
        {40, 16, 9, 1, true, true, false},   {40, 12, 12, 0.7f, false, false, false},
        {9, 0, 24, 1, false, false, false},  {300, 64, 32, 0.7f, true, true, false},
        {40, 16, 9, 1, true, true, true}};

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

/* ---- anchors and positives exchanged --------------------------------------------------------- */

/* The symmetric loss of the whole batch in double, from its definition. */
typedef struct {
    int64_t n;
    int d;
    double *h1, *h2, *w, *p; /* [n][d], [n][d], [d][d], [n][d] = h2 W' */
    double *s, *g;           /* [n][n] logits, and the gradient there */
    double loss;
} whole;

static double *make_doubles(int64_t count, uint32_t seed, float scale)
{
    float *narrow = taken((size_t)count, sizeof *narrow);
    double *values = taken((size_t)count, sizeof *values);

    coc_test_random(narrow, count, seed);
    for (int64_t i = 0; i < count; i++)
        values[i] = (double)(narrow[i] * scale);
    free(narrow);
    return values;
}

/* out [n][m] = x [n][k] y, y [m][k] if across, else [k][m]. */
static void product(int64_t n, int64_t m, int64_t k, const double *x, const double *y, bool across,
                    double *out)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            double sum = 0;

            for (int64_t a = 0; a < k; a++)
                sum += x[i * k + a] * (across ? y[j * k + a] : y[a * m + j]);
            out[i * m + j] = sum;
        }
}

static bool counts(const sample *of, const labels *l, int64_t anchor, int64_t positive)
{
    const int64_t n = of->batch;

    if (l->label[anchor] == positive) return true;
    if (of->sets && l->set[anchor] != l->set[n + positive]) return false;
    return !of->mask || l->track[anchor] != l->track[n + positive];
}

/* One row (of anchors) or column of S: half of its loss, and of its gradient. */
static void add_softmax(const sample *of, const labels *l, int64_t fixed, bool column, whole *r)
{
    const int64_t n = r->n, own = l->label[column ? n + fixed : fixed];
    double sum = 0, at_own = 0;

    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < n; i++) {
            const int64_t anchor = column ? i : fixed, positive = column ? fixed : i;
            const double e = exp(r->s[anchor * n + positive]);

            if (!counts(of, l, anchor, positive)) continue;
            if (i == own) at_own = r->s[anchor * n + positive];
            if (pass == 0)
                sum += e;
            else
                r->g[anchor * n + positive] += (e / sum - (i == own)) / (2 * (double)n);
        }
    r->loss += (log(sum) - at_own) / (2 * (double)n);
}

static whole compute_whole(const sample *of)
{
    const int64_t n = of->batch, values = n * of->d;
    whole r = {.n = n, .d = of->d};
    labels l = make_labels(n);

    r.h1 = make_doubles(values, 5, of->scale);
    r.h2 = make_doubles(values, 6, of->scale);
    r.w = make_doubles((int64_t)of->d * of->d, 9, 1);
    r.p = taken((size_t)values, sizeof *r.p);
    r.s = taken((size_t)(n * n), sizeof *r.s);
    r.g = taken((size_t)(n * n), sizeof *r.g);
    product(n, of->d, of->d, r.h2, r.w, true, r.p);
    product(n, n, of->d, r.h1, r.p, true, r.s);
    for (int64_t i = 0; i < n; i++) {
        add_softmax(of, &l, i, false, &r);
        add_softmax(of, &l, i, true, &r);
    }
    free_labels(&l);
    return r;
}

/* The gradients of all pairs, in double, against this rank's. */
static void compare_rows(const coc_parts *parts, int d, const double *all, const float *own,
                         double bound)
{
    double difference = 0, norm = 0;

    for (int64_t i = 0; i < parts->count; i++) {
        const coc_batch_part part = coc_part_at(parts, i);

        for (int64_t a = 0; a < part.pairs * d; a++) {
            const double want = all[part.first * d + a];

            difference += pow(want - (double)own[part.row * d + a], 2);
            norm += want * want;
        }
    }
    CHECK(sqrt(difference) <= bound * sqrt(norm) && norm > 0);
}

/* That of W, of which every rank has its part, twice, since there were two calls. */
static void compare_w(coc_comm *comm, const whole *r, const double *d_p, const outcome *o,
                      double bound)
{
    double *sum = taken((size_t)o->of_w, sizeof *sum), difference = 0, norm = 0;

    for (int64_t i = 0; i < o->of_w; i++)
        sum[i] = (double)o->d_w[i] / 2;
    REQUIRE_OK(coc_all_reduce(coc_comm_over_host(comm), "gradient of W", sum, o->of_w, COC_DOUBLE));
    for (int64_t a = 0; a < r->d; a++)
        for (int64_t b = 0; b < r->d; b++) {
            double want = 0;

            for (int64_t j = 0; j < r->n; j++)
                want += d_p[j * r->d + a] * r->h2[j * r->d + b];
            difference += pow(want - sum[a * r->d + b], 2);
            norm += want * want;
        }
    CHECK(sqrt(difference) <= bound * sqrt(norm) && norm > 0);
    free(sum);
}

static void check_symmetric(coc_comm *comm, coc_backend *backend, const sample *of, double bound)
{
    whole r = compute_whole(of);
    outcome o = compute(comm, backend, of, COC_EXCHANGE_ALL_GATHER);
    double *d_h1 = taken((size_t)(r.n * r.d), sizeof *d_h1), *d_p = taken((size_t)(r.n * r.d), 8);
    double *d_h2 = taken((size_t)(r.n * r.d), sizeof *d_h2),
           *turned = taken((size_t)(r.n * r.n), 8);
    coc_parts parts;

    REQUIRE_OK(coc_parts_make(comm, of->batch, of->micro, &parts));
    for (int64_t i = 0; i < r.n; i++)
        for (int64_t j = 0; j < r.n; j++)
            turned[j * r.n + i] = r.g[i * r.n + j];
    product(r.n, r.d, r.n, r.g, r.p, false, d_h1);
    product(r.n, r.d, r.n, turned, r.h1, false, d_p);
    product(r.n, r.d, r.d, d_p, r.w, false, d_h2);
    CHECK(fabs(o.loss.loss / r.loss - 1) <= 0.1 * bound);
    compare_rows(&parts, r.d, d_h1, o.d_h1, bound);
    compare_rows(&parts, r.d, d_h2, o.d_h2, bound);
    compare_w(comm, &r, d_p, &o, bound);
    free_outcome(&o);
    free(d_h1);
    free(d_h2);
    free(d_p);
    free(turned);
    free(r.h1);
    free(r.h2);
    free(r.w);
    free(r.p);
    free(r.s);
    free(r.g);
}

void coc_test_symmetric(coc_comm *comm, coc_backend *backend, double bound)
{
    static const sample samples[] = {{24, 0, 16, 1, false, false, true},
                                     {23, 0, 7, 1, true, false, true},
                                     {29, 0, 5, 1, false, true, true},
                                     {40, 16, 9, 1, true, true, true}};

    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++)
        check_symmetric(comm, backend, &samples[i], bound);
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
    const sample even = {2 * comm->size, 0, 8, 1, false, false, false};
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
