/* base/rng.h - random numbers without state: value = f(seed, what for, position).
 *
 * Philox4x32-10 (Random123). The key is the run's seed; the 128-bit counter says what the number is
 * for, so the same number comes out on any rank, thread, device and restart, and nothing has to be
 * saved. A CUDA kernel computes the same words from the same counter:
 *
 *     counter = { element / 4, item, step, draw << 24 | view << 16 | layer },  word = element % 4
 */
#ifndef COC_BASE_RNG_H
#define COC_BASE_RNG_H

#include <stdint.h>

/* What a number is for. Values are part of the meaning of a seed: never renumber. */
typedef enum {
    COC_DRAW_INIT = 1,    /* weights;             item = tensor */
    COC_DRAW_ORDER = 2,   /* order of windows;    step = epoch */
    COC_DRAW_OFFSET = 3,  /* random window grids; item = track, step = epoch */
    COC_DRAW_SUBMIX = 4,  /* which stems;         item, step = low, high half of the position */
    COC_DRAW_NOISE = 5,   /* waveform noise;      the same, element = sample */
    COC_DRAW_MODE = 6,    /* channel mode;        item = pair (0 for a whole step), step */
    COC_DRAW_DROPOUT = 7, /* item = pair, view, step; element = feature */
    COC_DRAW_DEPTH = 8,   /* stochastic depth: item = pair, view, step, layer = block */
    COC_DRAW_DEAL = 9,    /* dealing positives to batch-norm groups; step */
    COC_DRAW_EVAL = 10,   /* orders of an evaluation */
    COC_DRAW_BOOTSTRAP = 11,
    COC_DRAW_TEST = 12,
    COC_DRAW_CROP = 13,    /* which part of a window is seen; item, step as of COC_DRAW_SUBMIX */
    COC_DRAW_COLUMNS = 14, /* dealing pairs to groups of loss.k columns; step */
    COC_DRAW_MADE = 15,    /* features of a self-test; item = pair, view, step, layer = channel */
} coc_draw;

typedef struct {
    uint64_t seed;
    coc_draw draw;
    uint32_t item;
    uint32_t step;
    uint8_t view; /* 0 anchor, 1 positive */
    uint16_t layer;
} coc_rng_key;

/* The four 32-bit words of elements 4 * block .. 4 * block + 3. */
void coc_rng_block(const coc_rng_key *key, uint32_t block, uint32_t words[4]);

/* [0, 1): the word's upper 24 bits, exact in float. */
float coc_rng_uniform(const coc_rng_key *key, uint32_t element);

/* Standard normal numbers for elements first .. first + count - 1 (Box-Muller on the words of each
 * block: words 0 and 1 give elements 0 and 1, words 2 and 3 give 2 and 3). first is a multiple
 * of 4. */
void coc_rng_normal(const coc_rng_key *key, uint32_t first, int64_t count, float *out);

/* A short sequence drawn from one key, for code that needs "the next number". */
typedef struct {
    coc_rng_key key;
    uint32_t next; /* element */
    uint32_t words[4];
} coc_rng_sequence;

coc_rng_sequence coc_rng_sequence_begin(coc_rng_key key);
uint32_t coc_rng_next(coc_rng_sequence *sequence);
uint32_t coc_rng_next_below(coc_rng_sequence *sequence,
                            uint32_t n); /* 0 .. n - 1, unbiased; n >= 1 */

/* Place of element `index` in a random permutation of 0 .. n - 1: a four-round Feistel network on
 * the next even power of two, walked until it falls inside. A pure function, O(1), no table.
 * 1 <= n <= 2^48, index < n. key.item counts rounds and must be 0. */
int64_t coc_rng_permute(const coc_rng_key *key, int64_t n, int64_t index);

#endif
