/* train/accuracy.c - accuracy at K from embeddings that are already there. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/evaluate.h"

/* What one rank adds up; everything is summed over ranks before use. */
typedef struct {
    double *right; /* [n] times the row was right */
    double *seen;  /* [n] times the row was in a full batch */
    double loss, same_track, batches;
} tally;

typedef struct {
    int64_t *order;
    float *a, *p, *s; /* [k][d], [k][d], [k][k]: on the backend's device */
    float *picked;    /* [2][k][d] rows of a and p in the order of a batch, host */
    float *rows;      /* [k][k] s, host */
} workspace;

static void shuffle(int64_t n, uint64_t seed, uint32_t number, int64_t *order)
{
    coc_rng_sequence draws = coc_rng_sequence_begin(
        (coc_rng_key){.seed = seed, .draw = COC_DRAW_EVAL, .item = number, .layer = 1});

    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t j = coc_rng_next_below(&draws, (uint32_t)(i + 1));
        const int64_t other = order[j];

        order[j] = order[i];
        order[i] = other;
    }
}

/* Row i of a K x K block: right if no other logit is larger (the first of equals wins, as argmax).
 */
static void judge_row(const float *s, int64_t k, int64_t i, bool *right, double *loss)
{
    int64_t best = 0;
    double sum = 0;

    for (int64_t j = 1; j < k; j++)
        if (s[j] > s[best]) best = j;
    for (int64_t j = 0; j < k; j++)
        sum += exp((double)s[j] - (double)s[best]);
    *right = best == i;
    *loss = log(sum) + (double)s[best] - (double)s[i];
}

static void judge_batch(const coc_embedded *e, const int64_t *member, int64_t k, const float *s,
                        tally *t)
{
    for (int64_t i = 0; i < k; i++) {
        bool right;
        double loss;

        judge_row(s + i * k, k, i, &right, &loss);
        t->right[member[i]] += right;
        t->seen[member[i]] += 1;
        t->loss += loss;
        for (int64_t j = 0; j < k; j++)
            t->same_track += j != i && e->track[member[j]] == e->track[member[i]];
    }
    t->batches += 1;
}

static coc_status judge_order(coc_backend *backend, const coc_embedded *e, int64_t k, workspace *w,
                              tally *t)
{
    const coc_device *device = backend->device;
    const size_t row = (size_t)e->d * sizeof(float);

    for (int64_t b = 0; b + k <= e->n; b += k) {
        for (int64_t i = 0; i < k; i++) {
            const int64_t from = w->order[b + i] * e->d;

            memcpy(w->picked + i * e->d, e->h1 + from, row);
            memcpy(w->picked + (k + i) * e->d, e->p + from, row);
        }
        COC_TRY(device->copy(device, w->a, w->picked, (size_t)k * row, NULL));
        COC_TRY(device->copy(device, w->p, w->picked + k * e->d, (size_t)k * row, NULL));
        backend->ops->linear_forward(backend, k, e->d, (int)k, w->a, w->p, NULL, w->s);
        COC_TRY(backend->ops->finish(backend));
        COC_TRY(device->copy(device, w->rows, w->s, (size_t)(k * k) * sizeof *w->s, NULL));
        COC_TRY(device->wait(device, NULL));
        judge_batch(e, w->order + b, k, w->rows, t);
    }
    return COC_OK;
}

static coc_status judge_share(coc_comm *comm, coc_backend *backend, const coc_embedded *e,
                              const coc_accuracy_settings *settings, tally *t)
{
    const int64_t k = settings->k, orders = settings->file_order ? 1 : settings->orders;
    const coc_device *device = backend->device;
    int64_t first, count = coc_share(orders, comm->size, comm->rank, &first);
    workspace w = {0};
    coc_status status;

    COC_TRY_GOTO(status, coc_alloc(e->n, sizeof *w.order, &w.order), done);
    COC_TRY_GOTO(status, coc_device_alloc(device, k * e->d, sizeof *w.a, &w.a), done);
    COC_TRY_GOTO(status, coc_device_alloc(device, k * e->d, sizeof *w.p, &w.p), done);
    COC_TRY_GOTO(status, coc_device_alloc(device, k * k, sizeof *w.s, &w.s), done);
    COC_TRY_GOTO(status, coc_alloc(2 * k * e->d, sizeof *w.picked, &w.picked), done);
    COC_TRY_GOTO(status, coc_alloc(k * k, sizeof *w.rows, &w.rows), done);
    for (int64_t o = first; o < first + count; o++) {
        if (settings->file_order)
            for (int64_t i = 0; i < e->n; i++)
                w.order[i] = i;
        else
            shuffle(e->n, settings->seed, (uint32_t)o, w.order);
        COC_TRY_GOTO(status, judge_order(backend, e, k, &w, t), done);
    }

done:
    free(w.order);
    free(w.rows);
    free(w.picked);
    device->release(device, w.a);
    device->release(device, w.p);
    device->release(device, w.s);
    return status;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int compare_tracks(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Rows of a track belong together (neighbouring windows sound alike), so whole tracks are drawn. */
typedef struct {
    int64_t tracks;
    uint64_t *id;
    double *right, *seen; /* [tracks] */
} track_sums;

static coc_status sum_by_track(const coc_embedded *e, const tally *t, track_sums *sums)
{
    COC_TRY(coc_alloc(e->n, sizeof *sums->id, &sums->id));
    COC_TRY(coc_alloc(e->n, sizeof *sums->right, &sums->right));
    COC_TRY(coc_alloc(e->n, sizeof *sums->seen, &sums->seen));
    memcpy(sums->id, e->track, (size_t)e->n * sizeof *sums->id);
    qsort(sums->id, (size_t)e->n, sizeof *sums->id, compare_tracks);
    for (int64_t i = 0; i < e->n; i++)
        if (i == 0 || sums->id[i] != sums->id[sums->tracks - 1])
            sums->id[sums->tracks++] = sums->id[i];
    for (int64_t i = 0; i < e->n; i++) {
        const uint64_t *at =
            bsearch(&e->track[i], sums->id, (size_t)sums->tracks, sizeof *sums->id, compare_tracks);

        sums->right[at - sums->id] += t->right[i];
        sums->seen[at - sums->id] += t->seen[i];
    }
    return COC_OK;
}

static coc_status bootstrap(const track_sums *sums, int64_t resamplings, uint64_t seed, double *low,
                            double *high)
{
    double *values;

    COC_TRY(coc_alloc(resamplings, sizeof *values, &values));
    for (int64_t b = 0; b < resamplings; b++) {
        coc_rng_sequence draws = coc_rng_sequence_begin(
            (coc_rng_key){.seed = seed, .draw = COC_DRAW_BOOTSTRAP, .item = (uint32_t)b});
        double right = 0, seen = 0;

        for (int64_t i = 0; i < sums->tracks; i++) {
            const uint32_t at = coc_rng_next_below(&draws, (uint32_t)sums->tracks);

            right += sums->right[at];
            seen += sums->seen[at];
        }
        values[b] = seen > 0 ? right / seen : 0;
    }
    qsort(values, (size_t)resamplings, sizeof *values, compare_doubles);
    *low = values[(int64_t)(0.025 * (double)(resamplings - 1))];
    *high = values[(int64_t)ceil(0.975 * (double)(resamplings - 1))];
    free(values);
    return COC_OK;
}

static coc_status summarise(const coc_embedded *e, const coc_accuracy_settings *settings,
                            const tally *t, coc_accuracy *accuracy)
{
    track_sums sums = {0};
    double right = 0, seen = 0;
    coc_status status;

    for (int64_t i = 0; i < e->n; i++) {
        right += t->right[i];
        seen += t->seen[i];
    }
    *accuracy = (coc_accuracy){.k = settings->k,
                               .pairs = e->n,
                               .batches = (int64_t)t->batches,
                               .accuracy = right / seen,
                               .low = NAN,
                               .high = NAN,
                               .loss = t->loss / seen,
                               .chance = 1.0 / (double)settings->k,
                               .same_track = t->same_track / seen};
    status = sum_by_track(e, t, &sums);
    accuracy->tracks = sums.tracks;
    if (status == COC_OK && settings->bootstrap > 0)
        status =
            bootstrap(&sums, settings->bootstrap, settings->seed, &accuracy->low, &accuracy->high);
    free(sums.id);
    free(sums.right);
    free(sums.seen);
    return status;
}

coc_status coc_accuracy_at(coc_comm *comm, coc_backend *backend, const coc_embedded *e,
                           const coc_accuracy_settings *settings, coc_accuracy *accuracy)
{
    tally t = {0};
    double *sums = NULL; /* right, seen, then the three totals: one reduction */
    coc_status status;

    if (settings->k > e->n)
        return COC_FAIL(COC_ERR_USAGE,
                        "K = %lld is larger than the %lld pairs of this split; ask for a smaller K",
                        (long long)settings->k, (long long)e->n);
    COC_TRY(coc_alloc(2 * e->n + 3, sizeof *sums, &sums));
    t.right = sums;
    t.seen = sums + e->n;
    status = coc_comm_agree(comm, "accuracy", judge_share(comm, backend, e, settings, &t));
    if (status == COC_OK) {
        double *totals = sums + 2 * e->n;

        totals[0] = t.loss;
        totals[1] = t.same_track;
        totals[2] = t.batches;
        status = coc_all_reduce(coc_comm_over_host(comm), "sum of right rows", sums, 2 * e->n + 3,
                                COC_DOUBLE);
        t.loss = totals[0];
        t.same_track = totals[1];
        t.batches = totals[2];
    }
    if (status == COC_OK) status = summarise(e, settings, &t, accuracy);
    free(sums);
    return status;
}
