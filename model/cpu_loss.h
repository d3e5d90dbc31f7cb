/* model/cpu_loss.h - a block of rows of the loss at work: what the files of the contrast share.
 * Private to the fast backend.
 *
 *     logits, softmax   cpu_loss.c, cpu_softmax.c   each thread its columns, tile by tile
 *     gradients         cpu_loss.c                  likewise, over all entries of dS, or
 *                       cpu_screen.c                over those that matter
 *
 * A row's softmax is taken over its other columns, relative to the largest of them; the own
 * column's share is added at the end. So neither the loss nor the gradient of a row that has been
 * learned is a small difference of large numbers.
 */
#ifndef COC_MODEL_CPU_LOSS_H
#define COC_MODEL_CPU_LOSS_H

#include "model/cpu_loss_products.h"

enum { COC_TILE_COLUMNS = 96 }; /* logits of so many columns stay in the second cache */

/* An entry of dS that may matter: exp(logit - top) of a row. */
typedef struct {
    float e;
    int32_t row; /* of the block */
} coc_cpu_entry;

/* Entries of a block that are collected at most: one of so many. With more than that the dense
 * products are as fast. */
enum { COC_ENTRY_OF = 5 };

/* Bins of a row's exponentials, each a factor of 2: bin b holds 2^-b to 2^(1-b). */
enum { COC_SCREEN_BINS = 36 };

/* One thread's columns of a block; arrays [padded] are by row. */
typedef struct {
    int64_t first, end;      /* columns */
    float *top;              /* [padded] largest logit of the other columns */
    int32_t *tile_end;       /* [padded] of the first tile that has it: its last column + 1 */
    double *sum;             /* [padded] of exp(logit - top) */
    int32_t *counted, *same; /* [padded] of COC_CONTRAST_COUNTED, COC_CONTRAST_SAME_TRACK */
    float *logits;           /* [COC_TILE_COLUMNS][stride] where no gradients are wanted */
    float *p;                /* a tile's columns by depth */
    float *da;               /* [rows][d] sum of exp(logit - top) p */
    /* screening */
    double *below;        /* [padded] sum of exponentials that are in no bin */
    double *bins;         /* [padded][COC_SCREEN_BINS] sums */
    coc_cpu_entry *entry; /* in the order of the columns */
    int64_t *start;       /* [columns + 1] first entry of a column */
    int64_t entries, kept;
    bool overflow; /* more entries than screening pays for */
} coc_cpu_share_of_loss;

typedef struct {
    const coc_contrast *c;
    float *da, *dp;
    bool screen;               /* this block */
    int64_t first, rows;       /* of the block */
    int64_t padded, stride;    /* rows up to the end of the last panel; distance of columns of s */
    float *by_rows, *by_depth; /* the block of a, packed; by depth: times factor */
    float *s;                  /* [columns][stride] logits, then exponentials; NULL: not kept */
    float *own, *top;          /* [padded] logit of the own column, largest of the others */
    bool *tied; /* [padded] a column before the own one, in its tile, has its logit */
    float *factor, *own_entry; /* [padded] d loss / d logit = factor * entry */
    float *least;              /* [padded] least exponential that is kept */
    bool *certified;           /* [padded] what is left out is no more than allowed */
    double *dropped;           /* [padded] share of the others' sum that is left out */
    double (*results)[COC_CONTRAST_RESULTS]; /* [padded] */
    coc_cpu_share_of_loss *share;            /* [threads] */
} coc_cpu_block;

/* exp(x) for x <= 0, 0 below -87 and for NaN; see coc_sigmoids for how. */
COC_KERNEL coc_vec coc_exp_negative(coc_vec x)
{
    const coc_vec z = coc_max(x, coc_splat(-87.0f));
    const coc_vec shifted = z * 1.44269504f + 12582912.0f;
    const coc_vec n = shifted - 12582912.0f;
    const coc_vec r = (z - n * 0.693145752f) - n * 1.42860677e-6f;
    coc_vec e = r * 1.40613130881e-3f + 8.37903030918e-3f;

    e = e * r + 4.16647757082e-2f;
    e = e * r + 1.66663651883e-1f;
    e = e * r + 5.00000043492e-1f;
    e = e * r + 1.00000004970f;
    e = e * r + 1.0f;
    e = (coc_vec)((coc_ivec)e + (((coc_ivec)shifted) << 23));
    return (coc_vec)((coc_ivec)e & (x >= -87.0f));
}

/* -- cpu_softmax.c -- */

/* Before the first tile of a thread. */
void coc_cpu_softmax_begin(const coc_cpu_block *k, coc_cpu_share_of_loss *share);
/* Takes in the logits of columns [first, first + columns): those of own columns are moved to
 * k->own, and with those that do not count set to -infinity. */
void coc_cpu_softmax_tile(const coc_cpu_block *k, coc_cpu_share_of_loss *share, int64_t first,
                          int64_t columns, float *s);
/* What all threads found of a row: its results, factor, own entry. */
void coc_cpu_softmax_row(const coc_cpu_block *k, int threads, int64_t row);

/* -- cpu_screen.c -- */

/* Collects a thread's entries that may matter. */
void coc_cpu_screen_collect(const coc_cpu_block *k, coc_cpu_share_of_loss *share);
/* Which entries of a row are kept. */
void coc_cpu_screen_row(const coc_cpu_block *k, int threads, int64_t row);
/* Whether the kept entries are all that is needed of the block. */
bool coc_cpu_screen_holds(const coc_cpu_block *k, int threads);
/* Gradients over a thread's kept entries, and the own columns. */
void coc_cpu_screen_gradients(const coc_cpu_block *k, coc_cpu_share_of_loss *share);

#endif
