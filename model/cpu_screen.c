/* Gradients over the entries of dS that matter. With logits as large as those of this model nearly
 * all of a row's softmax lies in few columns; the rest is left out, and it is known exactly how
 * much that is.
 *
 * Entries are exponentials relative to the largest logit of the other columns. Those of at least
 * 2^-(COC_SCREEN_BINS - 1) are collected and added up by bins, a factor of 2 each; the smaller ones
 * are only added up. A row leaves out the smallest bins, as long as all that is left out is at most
 * MOST_DROPPED of its sum: so much of the weights that the row gives to columns. The own column,
 * whose weight is the negative sum of the others, is always there. Where that cannot be had, or too
 * many entries are left, the whole block takes the dense products. */
#include <math.h>

#include "model/cpu_loss.h"

/* Less than the rounding of a sum of floats, of the others' sum alone: so a row that has been
 * learned keeps its small gradient as exactly as any other. */
static const double MOST_DROPPED = 1e-7;

/* Of the last bin. Normal logits of standard deviation 10 and 131,072 columns need 2^-33
 * (simulated).
 */
static const float LEAST = 0x1p-35f;

/* 2^-b <= e < 2^(1 - b), e <= 1 */
static int bin_of(float e)
{
    int32_t bits;

    memcpy(&bits, &e, sizeof bits);
    return 127 - (bits >> 23);
}

static void add_entries(coc_cpu_share_of_loss *share, int64_t row, coc_vec e, unsigned lanes)
{
    for (; lanes != 0; lanes &= lanes - 1) {
        const int lane = __builtin_ctz(lanes);

        share->entry[share->entries++] = (coc_cpu_entry){e[lane], (int32_t)(row + lane)};
        share->bins[(row + lane) * COC_SCREEN_BINS + bin_of(e[lane])] += (double)e[lane];
    }
}

/* One column; below [padded] floats. */
static void collect_column(const coc_cpu_block *k, coc_cpu_share_of_loss *share, const float *s,
                           float *below)
{
    for (int64_t i = 0; i < k->padded; i += COC_LANES) {
        const coc_vec e = coc_exp_negative(coc_load(s + i) - coc_load(k->top + i));
        const coc_ivec large = e >= LEAST;
        const unsigned lanes = coc_lanes_true(large);

        coc_store(below + i, coc_load(below + i) + (coc_vec)((coc_ivec)e & ~large));
        if (lanes != 0) add_entries(share, i, e, lanes);
    }
}

static void add_below(const coc_cpu_block *k, coc_cpu_share_of_loss *share, const float *below)
{
    for (int64_t i = 0; i < k->padded; i++)
        share->below[i] += (double)below[i];
}

/* Too many entries, or so many already that there will be. */
static bool too_many(const coc_cpu_block *k, const coc_cpu_share_of_loss *share, int64_t column)
{
    const int64_t columns = share->end - share->first, done = column - share->first;
    const int64_t room = columns * k->rows / COC_ENTRY_OF;

    return share->entries + k->padded > room ||
           (double)share->entries > (double)room * (0.25 + (double)done / (double)columns);
}

void coc_cpu_screen_collect(const coc_cpu_block *k, coc_cpu_share_of_loss *share)
{
    float *below = share->p; /* nothing else is there yet */

    memset(share->below, 0, (size_t)k->padded * sizeof *share->below);
    memset(share->bins, 0, (size_t)(k->padded * COC_SCREEN_BINS) * sizeof *share->bins);
    share->entries = share->kept = 0;
    share->overflow = false;
    for (int64_t j = share->first; j < share->end;) {
        memset(below, 0, (size_t)k->padded * sizeof *below);
        for (int64_t end = j + COC_TILE_COLUMNS; j < share->end && j < end; j++) {
            share->overflow = too_many(k, share, j);
            if (share->overflow) return;
            share->start[j - share->first] = share->entries;
            collect_column(k, share, k->s + j * k->stride, below);
        }
        add_below(k, share, below);
    }
    share->start[share->end - share->first] = share->entries;
}

void coc_cpu_screen_row(const coc_cpu_block *k, int threads, int64_t row)
{
    const double sum = -(double)k->own_entry[row], most = MOST_DROPPED * sum;
    double dropped = 0;
    int last = COC_SCREEN_BINS - 1; /* bin that is kept */

    for (int t = 0; t < threads; t++)
        dropped += k->share[t].below[row];
    k->certified[row] = dropped <= most;
    for (; last > 0; last--) {
        double more = dropped;

        for (int t = 0; t < threads; t++)
            more += k->share[t].bins[row * COC_SCREEN_BINS + last];
        if (!(more <= most)) break;
        dropped = more;
    }
    k->least[row] = ldexpf(1.0f, -last);
    k->dropped[row] = sum > 0 ? dropped / sum : 0;
}

bool coc_cpu_screen_holds(const coc_cpu_block *k, int threads)
{
    bool holds = true;

    for (int t = 0; t < threads; t++)
        holds = holds && !k->share[t].overflow;
    for (int64_t i = 0; i < k->rows && holds; i++)
        holds = k->certified[i];
    return holds;
}

/* da += e p, dp += g a */
static void add_entry(int d, float e, float g, const float *a, const float *p, float *da, float *dp)
{
    int n = 0;

    for (; n + COC_LANES <= d; n += COC_LANES) {
        coc_store(da + n, coc_load(da + n) + e * coc_load(p + n));
        coc_store(dp + n, coc_load(dp + n) + g * coc_load(a + n));
    }
    for (; n < d; n++) {
        da[n] += e * p[n];
        dp[n] += g * a[n];
    }
}

static void add_at(const coc_cpu_block *k, const coc_cpu_share_of_loss *share, int64_t row,
                   int64_t column, float e)
{
    const coc_contrast *c = k->c;
    const int d = c->d;

    add_entry(d, e, e * k->factor[row], c->a + (k->first + row) * d, c->p + column * d,
              share->da + row * d, k->dp + column * d);
}

void coc_cpu_screen_gradients(const coc_cpu_block *k, coc_cpu_share_of_loss *share)
{
    for (int64_t j = share->first; j < share->end; j++)
        for (int64_t n = share->start[j - share->first]; n < share->start[j - share->first + 1];
             n++) {
            const coc_cpu_entry *entry = &share->entry[n];

            if (entry->e < k->least[entry->row]) continue;
            add_at(k, share, entry->row, j, entry->e);
            share->kept++;
        }
    for (int64_t i = 0; i < k->rows; i++) {
        const int64_t label = k->c->label[k->first + i];

        if (label < share->first || label >= share->end) continue;
        add_at(k, share, i, label, k->own_entry[i]);
        share->kept++;
    }
}
