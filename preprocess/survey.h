/* preprocess/survey.h - a data set before it is read: what each file is taken for, how long it is,
 * what cannot be read, and what a store of it would take. */
#ifndef COC_PREPROCESS_SURVEY_H
#define COC_PREPROCESS_SURVEY_H

#include <stdint.h>

#include "comm/comm.h"
#include "preprocess/layout.h"
#include "preprocess/summary.h"

typedef struct {
    coc_source_list list;
    char root[COC_PATH_BYTES]; /* what the paths in it are below */
    int64_t *samples;          /* [stems of all tracks] at COC_SAMPLE_RATE; 0: cannot be read */
    int64_t unreadable;        /* stems */
    int64_t unpaired;          /* tracks with fewer than two stems that can be read */
    int64_t bytes;             /* of all files */
    double seconds_per_hour;   /* that reading an hour of a stem takes one core; 0: not known */
    coc_summary summary;       /* of what can be read */
} coc_survey;

/* Reads headers, and a few files whole, for the time. The same on all ranks, which share the work;
 * what cannot be read is said by the log. The survey is the caller's, freed with coc_survey_free;
 * also after a failure. Collective. Errors: those of coc_layout_list, COC_ERR_RANKS. */
coc_status coc_survey_make(coc_comm *comm, const coc_layout *layout,
                           const coc_layout_options *options, const char *in, coc_survey *survey);
void coc_survey_free(coc_survey *survey);

#endif
