/* preprocess/features_backends.h - the rows of the table of features, private to the folder.
 * features_rows.c lists them, features_rows_with_cuda.c where there is a backend for GPUs. */
#ifndef COC_PREPROCESS_FEATURES_BACKENDS_H
#define COC_PREPROCESS_FEATURES_BACKENDS_H

#include "preprocess/features.h"

/* Clips at a time on the host: enough for every thread, small enough (5 MB of waveform) to stay in
 * the cache. */
enum { COC_HOST_CHUNK = 16 };

/* Entries that both rows of the host share: features_feed.c. */
void coc_features_no_bytes(int64_t *device, int64_t *pinned);
coc_status coc_features_mix_feed(coc_features *features, const coc_feed *feed, int64_t first,
                                 int64_t n, float *wave);
coc_status coc_features_crop(coc_features *features, const coc_feed *feed, int64_t first, int64_t n,
                             int rows, int frames, const float *whole, float *out);

extern const coc_feature_ops coc_features_ref;  /* plain loops in double: the specification */
extern const coc_feature_ops coc_features_cpu;  /* float, vectors, threads */
extern const coc_feature_ops coc_features_cuda; /* preprocess/cuda, where it is built in */

extern const coc_feature_ops *const coc_feature_rows[]; /* NULL at the end */

#endif
