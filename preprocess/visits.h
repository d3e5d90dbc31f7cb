/* preprocess/visits.h - which window is visited at a position of the training order.
 *
 * A pure function of (seed, position). Windows of several sources are numbered through, source by
 * source. Without weights all windows are visited in a random order, an epoch after another, so
 * each as often as any other. With weights each source has its share of the positions: of every
 * COC_ROUND consecutive ones a fixed number, in a random order, and goes through its own windows in
 * them.
 */
#ifndef COC_PREPROCESS_VISITS_H
#define COC_PREPROCESS_VISITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { COC_ROUND = 1000 };

typedef struct {
    int64_t first, windows; /* first .. first + windows - 1 are its */
    int64_t share;          /* of COC_ROUND positions; 0 without weights */
} coc_visited;

typedef struct {
    uint64_t seed;
    int64_t windows; /* of all sources */
    int sources;     /* at most COC_ROUND */
    coc_visited *source;
    bool weighted;
} coc_visits;

/* weight [sources], all over 0, is how often each source is visited, relative to each other;
 * rounded to shares of a round, of which each source gets one at least. Sources must have windows.
 */
void coc_visits_weigh(coc_visits *visits, const double *weight);

typedef struct {
    int64_t window;
    int64_t epoch; /* how often all windows (with weights: of its source) were visited before */
} coc_visit;

coc_visit coc_visit_at(const coc_visits *visits, int64_t position);

/* The source of the window at a position. */
int coc_visit_source(const coc_visits *visits, int64_t position);

/* The source's share of the positions, 0 .. 1. */
double coc_visit_share(const coc_visits *visits, int source);

#endif
