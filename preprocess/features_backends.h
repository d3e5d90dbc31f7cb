/* preprocess/features_backends.h - the rows of the table of features, private to the folder.
 * features_rows.c lists them, features_rows_with_cuda.c where there is a backend for GPUs. */
#ifndef COC_PREPROCESS_FEATURES_BACKENDS_H
#define COC_PREPROCESS_FEATURES_BACKENDS_H

#include "preprocess/features.h"

/* Clips at a time on the host: enough for every thread, small enough (5 MB of waveform) to stay in
 * the cache. */
enum { COC_HOST_CHUNK = 16 };

extern const coc_feature_ops coc_features_ref;  /* plain loops in double: the specification */
extern const coc_feature_ops coc_features_cpu;  /* float, vectors, threads */
extern const coc_feature_ops coc_features_cuda; /* preprocess/cuda, where it is built in */

extern const coc_feature_ops *const coc_feature_rows[]; /* NULL at the end */

#endif
