#include "train/measure.h"

#include <stdlib.h>

#include <omp.h>

#include "base/log.h"
#include "base/memory.h"
#include "train/accuracy.h"
#include "train/logit_rows.h"
#include "train/retrieval.h"

static const int64_t usual_memory = (int64_t)128 << 20; /* bytes */

typedef struct {
    coc_comm *comm;
    const coc_embedded *e;
    const coc_measure_settings *settings;
    coc_row_tracks tracks;
    coc_orders orders;
    coc_logit_rows logits;
    coc_row_tally *tally; /* [n][ks]; this rank's own rows until they are gathered */
    int64_t *rank;        /* [n] */
    int threads;
    coc_column *columns; /* [threads][n] */
} measure;

static coc_status check(const coc_embedded *e, const coc_measure_settings *settings)
{
    if (e->n > INT32_MAX)
        return COC_FAIL(COC_ERR_USAGE, "%lld pairs are more than %d; evaluate a smaller split",
                        (long long)e->n, INT32_MAX);
    for (int i = 0; i < settings->ks; i++)
        if (settings->k[i] > e->n)
            return COC_FAIL(
                COC_ERR_USAGE,
                "K = %lld is larger than the %lld pairs of this split; ask for a smaller K",
                (long long)settings->k[i], (long long)e->n);
    return COC_OK;
}

static coc_status prepare(coc_backend *backend, measure *m)
{
    const coc_embedded *e = m->e;
    const coc_measure_settings *s = m->settings;

    const int64_t memory = s->memory > 0 ? s->memory : usual_memory;

    COC_TRY(check(e, s));
    /* the backend of an accelerator has no threads to speak of; counting is the host's work */
    m->threads = backend->device->side == COC_HOST ? backend->threads : omp_get_max_threads();
    COC_TRY(coc_row_tracks_create(e->n, e->track, &m->tracks));
    COC_TRY(coc_orders_create(e->n, e->first, e->count, s->orders, s->file_order, s->seed, memory,
                              &m->orders));
    COC_TRY(coc_logit_rows_create(m->comm, backend, e, memory, &m->logits));
    COC_TRY(coc_alloc(e->n * s->ks, sizeof *m->tally, &m->tally));
    COC_TRY(coc_alloc(e->n, sizeof *m->rank, &m->rank));
    return coc_alloc(m->threads * e->n, sizeof *m->columns, &m->columns);
}

void coc_measure_bytes(int64_t pairs, int64_t share, int d, int64_t orders, int threads,
                       coc_side side, int64_t *device, int64_t *host)
{
    if (threads == 0 || side != COC_HOST) threads = omp_get_max_threads();
    coc_logit_rows_bytes(pairs, d, usual_memory, side, device, host);
    *host += coc_orders_bytes(pairs, share, orders, usual_memory);
    *host += pairs * (int64_t)(sizeof(coc_row_tally) + sizeof(int64_t) + sizeof(int32_t));
    *host += threads * pairs * (int64_t)sizeof(coc_column);
}

static void release(measure *m)
{
    coc_row_tracks_free(&m->tracks);
    coc_orders_free(&m->orders);
    coc_logit_rows_free(&m->logits);
    free(m->tally);
    free(m->rank);
    free(m->columns);
}

/* ---- the pass over all similarities --------------------------------------------------------- */

static void judge_row(measure *m, const float *logit, int64_t row, coc_column *columns)
{
    const coc_measure_settings *s = m->settings;
    const float top = coc_row_columns(m->e->n, logit, m->tracks.of, columns);

    m->rank[row] = coc_row_rank(m->e->n, logit, row);
    for (int i = 0; i < s->ks; i++)
        coc_row_add(&m->orders, s->k[i], row, columns, top, &m->tally[row * s->ks + i]);
}

/* Own rows first .. first + count - 1, whose similarities are in the slab. */
static void judge_slab(measure *m, int64_t first, int64_t count)
{
    const int threads = m->threads;

    /* a loop over shares, not threads: right also where fewer are given than asked for */
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int t = 0; t < threads; t++) {
        int64_t at;
        const int64_t rows = coc_share(count, threads, t, &at);

        for (int64_t i = at; i < at + rows; i++)
            judge_row(m, m->logits.slab + i * m->e->n, m->e->first + first + i,
                      m->columns + t * m->e->n);
    }
}

/* Ranks meet after every slab: one that is slow is waited for no longer than a slab takes, and one
 * that fails ends the pass. done: rows of passes before, for the progress line. */
static coc_status pass(measure *m, int64_t done)
{
    const coc_measure_settings *s = m->settings;
    const int64_t most = coc_share(m->e->n, m->comm->size, 0, &(int64_t){0});

    for (int64_t first = 0; first < most; first += m->logits.rows) {
        const int64_t left = m->e->count - first;
        const int64_t count = left < m->logits.rows ? left : m->logits.rows;
        coc_status status = COC_OK;

        if (count > 0) {
            status = coc_logit_rows_compute(&m->logits, first, count);
            if (status == COC_OK) judge_slab(m, first, count);
        }
        COC_TRY(coc_comm_agree(m->comm, "similarities", status));
        if (s->progress != NULL) coc_progress_update(done + first + count, "rows on rank 0");
    }
    return COC_OK;
}

static coc_status pass_all(measure *m)
{
    const coc_measure_settings *s = m->settings;
    int64_t passes = 0, done = 0;
    coc_status status = COC_OK;

    for (int64_t begin = 0; begin < m->orders.all; begin += m->orders.held)
        passes++;
    if (s->progress != NULL) coc_progress_begin(s->progress, 0, passes * m->e->count, 10);
    for (int64_t begin = 0; begin < m->orders.all && status == COC_OK; begin += m->orders.held) {
        coc_orders_fill(&m->orders, begin);
        status = pass(m, done);
        done += m->e->count;
    }
    if (s->progress != NULL) coc_progress_end();
    return status;
}

/* ---- what all rows say ---------------------------------------------------------------------- */

static coc_status gather(measure *m)
{
    coc_comm *host = coc_comm_over_host(m->comm);
    const coc_embedded *e = m->e;
    const int64_t doubles = (int64_t)m->settings->ks * COC_ROW_TALLY_DOUBLES;
    int64_t *rows, *values;
    coc_status status;

    COC_TRY(coc_alloc(2 * host->size, sizeof *rows, &rows));
    values = rows + host->size;
    coc_shares(e->n, host->size, rows);
    for (int r = 0; r < host->size; r++)
        values[r] = rows[r] * doubles;
    status = coc_all_gather(host, "ranks of pairs", m->rank + e->first, m->rank, rows, COC_INT64);
    if (status == COC_OK)
        status = coc_all_gather(host, "tallies of rows", m->tally + e->first * m->settings->ks,
                                m->tally, values, COC_DOUBLE);
    free(rows);
    return status;
}

static coc_status summarise(const measure *m, coc_accuracy *accuracy, coc_retrieval *retrieval)
{
    const coc_measure_settings *s = m->settings;

    for (int i = 0; i < s->ks; i++)
        COC_TRY(coc_accuracy_of(&m->tracks, m->tally, s, i, &accuracy[i]));
    if (retrieval == NULL) return COC_OK;
    return coc_retrieval_of(&m->tracks, m->rank, s->bootstrap, s->seed, retrieval);
}

coc_status coc_measure(coc_comm *comm, coc_backend *backend, const coc_embedded *e,
                       const coc_measure_settings *settings, coc_accuracy *accuracy,
                       coc_retrieval *retrieval)
{
    measure m = {.comm = comm, .e = e, .settings = settings};
    coc_status status = coc_comm_agree(comm, "memory of an evaluation", prepare(backend, &m));

    if (status == COC_OK) status = pass_all(&m);
    if (status == COC_OK) status = gather(&m);
    if (status == COC_OK)
        status = coc_comm_agree(comm, "figures", summarise(&m, accuracy, retrieval));
    release(&m);
    return status;
}
