#include "train/bench_loss_check.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { ABREAST = 64 }; /* anchors whose logits with a column are summed at a time */

typedef struct {
    const coc_loss_problem *p;
    int64_t padded; /* pool_size up to whole ABREAST */
    double *v;      /* [padded / ABREAST][d][ABREAST]: h1' W of the pool */
    double *lse;    /* [padded] */
    double *copies; /* [padded] rows that have this anchor */
    double *h1_w;   /* [pool_size][d] the same as v, anchor by anchor */
} oracle;

int64_t coc_loss_sample(int64_t n, int64_t samples, int64_t s)
{
    return samples > 1 ? s * (n - 1) / (samples - 1) : 0;
}

static int64_t samples_of(const oracle *o, int64_t n)
{
    return o->p->samples < n ? o->p->samples : n;
}

static coc_status make_anchors(oracle *o)
{
    const coc_loss_problem *p = o->p;
    const int d = p->d;

    o->padded = (p->pool_size + ABREAST - 1) / ABREAST * ABREAST;
    COC_TRY(coc_alloc(o->padded * d, sizeof *o->v, &o->v));
    COC_TRY(coc_alloc(p->pool_size * d, sizeof *o->h1_w, &o->h1_w));
    COC_TRY(coc_alloc(o->padded, sizeof *o->lse, &o->lse));
    COC_TRY(coc_alloc(o->padded, sizeof *o->copies, &o->copies));
    for (int64_t u = 0; u < p->pool_size; u++) {
        double *row = o->h1_w + u * d;

        o->copies[u] = (double)((p->rows - u + p->pool_size - 1) / p->pool_size);
        for (int k = 0; k < d; k++)
            for (int n = 0; n < d; n++)
                row[n] += (double)p->pool[u * d + k] * (double)p->w[k * d + n];
        for (int n = 0; n < d; n++)
            o->v[(u / ABREAST * d + n) * ABREAST + u % ABREAST] = row[n];
    }
    return COC_OK;
}

/* Logits of anchors [at, at + ABREAST) with column j. */
static void logits(const oracle *o, int64_t at, int64_t j, double *s)
{
    const int d = o->p->d;
    const float *h2 = o->p->h2 + j * d;
    const double *v = o->v + at * d;

    for (int u = 0; u < ABREAST; u++)
        s[u] = 0;
    for (int k = 0; k < d; k++, v += ABREAST)
        for (int u = 0; u < ABREAST; u++)
            s[u] += (double)h2[k] * v[u];
}

static double logit(const oracle *o, int64_t u, int64_t j)
{
    const int d = o->p->d;
    double sum = 0;

    for (int k = 0; k < d; k++)
        sum += o->h1_w[u * d + k] * (double)o->p->h2[j * d + k];
    return sum;
}

/* log sum exp over all columns, of every anchor. */
static void normalise(oracle *o)
{
    const int64_t columns = o->p->columns;

#pragma omp parallel for schedule(static) num_threads(o->p->threads)
    for (int64_t at = 0; at < o->padded; at += ABREAST) {
        double top[ABREAST], sum[ABREAST], s[ABREAST];

        for (int64_t j = 0; j < columns; j++) {
            logits(o, at, j, s);
            for (int u = 0; u < ABREAST; u++) {
                if (j == 0 || s[u] > top[u]) {
                    sum[u] = (j == 0 ? 0 : sum[u] * exp(top[u] - s[u])) + 1;
                    top[u] = s[u];
                } else {
                    sum[u] += exp(s[u] - top[u]);
                }
            }
        }
        for (int u = 0; u < ABREAST; u++)
            o->lse[at + u] = top[u] + log(sum[u]);
    }
}

static double loss(const oracle *o)
{
    const coc_loss_problem *p = o->p;
    double sum = 0;

    for (int64_t i = 0; i < p->rows; i++)
        sum += o->lse[i % p->pool_size] - logit(o, i % p->pool_size, i % p->columns);
    return p->scale * sum;
}

/* out = W x, or W' x. */
static void multiply_w(const oracle *o, bool transposed, const double *x, double *out)
{
    const int d = o->p->d;

    for (int k = 0; k < d; k++)
        out[k] = 0;
    for (int k = 0; k < d; k++)
        for (int n = 0; n < d; n++)
            out[transposed ? n : k] += (double)o->p->w[k * d + n] * x[transposed ? k : n];
}

/* Gradient at the anchor of row i: W sum_j g_ij h2_j. work, out [d]. */
static void row_gradient(const oracle *o, int64_t i, double *work, double *out)
{
    const coc_loss_problem *p = o->p;
    const int64_t u = i % p->pool_size;

    memset(work, 0, (size_t)p->d * sizeof *work);
    for (int64_t j = 0; j < p->columns; j++) {
        const double g = exp(logit(o, u, j) - o->lse[u]) - (j == i % p->columns);

        for (int k = 0; k < p->d; k++)
            work[k] += p->scale * g * (double)p->h2[j * p->d + k];
    }
    multiply_w(o, false, work, out);
}

/* Sum over rows of g_ij, by anchor: weight [padded]. */
static void column_weights(const oracle *o, int64_t j, double *weight)
{
    const coc_loss_problem *p = o->p;

    for (int64_t at = 0; at < o->padded; at += ABREAST)
        logits(o, at, j, weight + at);
    for (int64_t u = 0; u < p->pool_size; u++)
        weight[u] = p->scale * o->copies[u] * exp(weight[u] - o->lse[u]);
    for (int64_t i = j; i < p->rows; i += p->columns)
        weight[i % p->pool_size] -= p->scale;
}

/* Gradient at the positive of column j: W' sum_i g_ij h1_i. work [padded + d]. */
static void column_gradient(const oracle *o, int64_t j, double *work, double *out)
{
    const coc_loss_problem *p = o->p;
    double *weight = work, *sum = work + o->padded;

    column_weights(o, j, weight);
    memset(sum, 0, (size_t)p->d * sizeof *sum);
    for (int64_t u = 0; u < p->pool_size; u++)
        for (int k = 0; k < p->d; k++)
            sum[k] += weight[u] * (double)p->pool[u * p->d + k];
    multiply_w(o, true, sum, out);
}

typedef struct {
    double difference, whole;
} distance;

static void add_distance(int d, const float *got, const double *want, distance *sum)
{
    for (int k = 0; k < d; k++) {
        sum->difference += ((double)got[k] - want[k]) * ((double)got[k] - want[k]);
        sum->whole += want[k] * want[k];
    }
}

static double relative(const distance *sum)
{
    return sqrt(sum->difference / sum->whole);
}

/* want [samples][d] += rows of dW = sum_j dP_j h2_j' of columns first .. end - 1. */
static void add_w(const oracle *o, int64_t samples, int64_t first, int64_t end, double *weight,
                  double *want)
{
    const coc_loss_problem *p = o->p;
    const int d = p->d;

    for (int64_t j = first; j < end; j++) {
        column_weights(o, j, weight);
        for (int64_t s = 0; s < samples; s++) {
            const int64_t row = coc_loss_sample(d, samples, s);
            double dp = 0;

            for (int64_t u = 0; u < p->pool_size; u++)
                dp += weight[u] * (double)p->pool[u * d + row];
            for (int k = 0; k < d; k++)
                want[s * d + k] += dp * (double)p->h2[j * d + k];
        }
    }
}

static coc_status check_w(const oracle *o, const float *got, distance *sum)
{
    const int64_t samples = samples_of(o, o->p->d), each = o->padded + samples * o->p->d;
    const int d = o->p->d, threads = o->p->threads;
    double *work;

    COC_TRY(coc_alloc(threads * each, sizeof *work, &work));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int t = 0; t < threads; t++)
        add_w(o, samples, o->p->columns * t / threads, o->p->columns * (t + 1) / threads,
              work + t * each, work + t * each + o->padded);
    for (int64_t i = 0; i < samples * d; i++)
        for (int t = 1; t < threads; t++)
            work[o->padded + i] += work[t * each + o->padded + i];
    add_distance((int)samples * d, got, work + o->padded, sum);
    free(work);
    return COC_OK;
}

static coc_status compare(oracle *o, const coc_loss_found *found, coc_loss_error *error)
{
    const coc_loss_problem *p = o->p;
    const int d = p->d;
    distance rows = {0}, columns = {0}, w = {0};
    double *work, *want, exact;

    COC_TRY(coc_alloc(o->padded + 2 * d, sizeof *work, &work));
    want = work + o->padded + d;
    normalise(o);
    exact = loss(o);
    for (int64_t n = samples_of(o, p->rows), s = 0; s < n; s++) {
        row_gradient(o, coc_loss_sample(p->rows, n, s), work, want);
        add_distance(d, found->d_h1 + s * d, want, &rows);
    }
    for (int64_t n = samples_of(o, p->columns), s = 0; s < n; s++) {
        column_gradient(o, coc_loss_sample(p->columns, n, s), work, want);
        add_distance(d, found->d_h2 + s * d, want, &columns);
    }
    free(work);
    COC_TRY(check_w(o, found->d_w, &w));
    *error = (coc_loss_error){.loss = fabs(found->loss - exact) / exact,
                              .d_h1 = relative(&rows),
                              .d_h2 = relative(&columns),
                              .d_w = relative(&w)};
    return COC_OK;
}

coc_status coc_loss_check(const coc_loss_problem *problem, const coc_loss_found *found,
                          coc_loss_error *error)
{
    oracle o = {.p = problem};
    coc_status status = make_anchors(&o);

    if (status == COC_OK) status = compare(&o, found, error);
    free(o.v);
    free(o.lse);
    free(o.copies);
    free(o.h1_w);
    return status;
}
