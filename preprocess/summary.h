/* preprocess/summary.h - what a data set or a store holds, by split and class of stem. */
#ifndef COC_PREPROCESS_SUMMARY_H
#define COC_PREPROCESS_SUMMARY_H

#include <stdint.h>
#include <stdio.h>

#include "preprocess/stem_class.h"
#include "preprocess/store.h"

typedef struct {
    int64_t tracks[COC_SPLITS];
    int64_t stems[COC_SPLITS][COC_STEM_CLASSES];
    int64_t samples[COC_SPLITS][COC_STEM_CLASSES]; /* at COC_SAMPLE_RATE */
} coc_summary;

void coc_summary_add(coc_summary *summary, coc_split split, const char *instrument,
                     const char *name, int64_t samples);

/* A table: a row a class that is there, stems and hours of each split, and their sums. */
void coc_summary_print(const coc_summary *summary, FILE *out);

#endif
