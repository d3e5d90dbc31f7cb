/* preprocess/stem_facts.h - what a stored stem sounds like, in a few numbers. Pure functions. */
#ifndef COC_PREPROCESS_STEM_FACTS_H
#define COC_PREPROCESS_STEM_FACTS_H

#include "preprocess/store.h"

typedef struct {
    double peak;     /* largest magnitude of the waveform, full scale 1.0 */
    double level_db; /* mean square of its audible parts (100 ms each), dB of full scale; -INFINITY:
                        there is none */
    double active;   /* share of audible parts, 0 .. 1 */
    double offset;   /* mean of the waveform over its peak: a constant voltage */
    double
        clipped; /* share of samples that lie in flat tops: three and more in a row at the peak */
} coc_stem_facts;

/* pcm [stem->samples]. */
coc_stem_facts coc_stem_facts_of(const coc_stem *stem, const int16_t *pcm);

/* How alike two stems are: the largest normalised cross-correlation of their loudest common 2 s,
 * over lags of up to 200 ms, -1 .. 1 in sign; 1: the same up to gain and delay. *lag, seconds, is
 * how much later the second one is. Stems whose levels do not move together are told apart by them
 * and give 0. a, b [samples]. Errors: COC_ERR_MEMORY. */
coc_status coc_stem_likeness(const coc_stem *stem_a, const int16_t *a, const coc_stem *stem_b,
                             const int16_t *b, double *likeness, double *lag);

#endif
