#include "train/row_tally.h"

#include <math.h>

int64_t coc_row_rank(int64_t n, const float *logit, int64_t own)
{
    const float value = logit[own];
    int64_t below = 0;

    for (int64_t j = 0; j < n; j++)
        below += logit[j] < value;
    return n - below;
}

float coc_row_columns(int64_t n, const float *logit, const int32_t *track, coc_column *columns)
{
    float top = -INFINITY;

    for (int64_t j = 0; j < n; j++)
        if (logit[j] > top) top = logit[j];
    for (int64_t j = 0; j < n; j++)
        columns[j] = (coc_column){exp((double)logit[j] - (double)top), logit[j], track[j]};
    return top;
}

/* What the columns of a batch add up to. */
typedef struct {
    double sum; /* of exponentials */
    int64_t same_track;
    bool beaten;
} batch_sums;

static inline void add_columns(const int32_t *member, int64_t count, const coc_column *columns,
                               const coc_column *own, bool before, batch_sums *sums)
{
    for (int64_t m = 0; m < count; m++) {
        const coc_column *c = &columns[member[m]];

        sums->sum += c->exponential;
        sums->same_track += c->track == own->track;
        sums->beaten |= before ? !(c->logit < own->logit) : !(c->logit <= own->logit);
    }
}

/* log of the sum of exp(logit) over a batch, where the row's largest logit is so far above all of
 * the batch's that their exponentials vanish. */
static double log_sum_alone(const int32_t *member, int64_t k, const coc_column *columns)
{
    float top = -INFINITY;
    double sum = 0;

    for (int64_t m = 0; m < k; m++)
        top = fmaxf(top, columns[member[m]].logit);
    for (int64_t m = 0; m < k; m++)
        sum += exp((double)columns[member[m]].logit - (double)top);
    return log(sum) + (double)top;
}

static void add_batch(const int32_t *member, int64_t k, int64_t place, int64_t own,
                      const coc_column *columns, float top, coc_row_tally *tally)
{
    const double vanishing = 1e-280; /* doubles below 2e-308 lose digits; K of them may be added */
    const coc_column *it = &columns[own];
    batch_sums sums = {.sum = it->exponential, .beaten = !(it->logit == it->logit)};
    double log_sum;

    add_columns(member, place, columns, it, true, &sums);
    add_columns(member + place + 1, k - place - 1, columns, it, false, &sums);
    log_sum =
        sums.sum < vanishing ? log_sum_alone(member, k, columns) : log(sums.sum) + (double)top;
    tally->batches += 1;
    tally->right += !sums.beaten;
    tally->loss += log_sum - (double)it->logit;
    tally->same_track += (double)sums.same_track;
}

void coc_row_add(const coc_orders *orders, int64_t k, int64_t own, const coc_column *columns,
                 float top, coc_row_tally *tally)
{
    for (int64_t f = 0; f < orders->filled; f++) {
        const int64_t place = orders->place[f * orders->count + own - orders->first];
        const int64_t batch = place / k * k;

        if (k == orders->n && orders->begin + f > 0) return;
        if (batch + k > orders->n) continue;
        add_batch(orders->order + f * orders->n + batch, k, place - batch, own, columns, top,
                  tally);
    }
}
