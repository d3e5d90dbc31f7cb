/* train/bench.h - the parts of `cocola bench`: each parses its own command line. */
#ifndef COC_TRAIN_BENCH_H
#define COC_TRAIN_BENCH_H

#include <stdint.h>

#include "base/status.h"

coc_status coc_bench_step(int argc, char **argv);
coc_status coc_bench_loss(int argc, char **argv);
coc_status coc_bench_features(int argc, char **argv);
coc_status coc_bench_preprocess(int argc, char **argv);

/* The value below which the share p of the sorted values lies, between neighbours by a straight
 * line. Sorts the values. */
double coc_bench_quantile(double *values, int64_t count, double p);

/* Processor time of all threads of this process so far. */
double coc_core_seconds(void);

/* The largest memory that this process has had resident, MB; 0 where the system does not tell. */
double coc_peak_megabytes(void);

#endif
