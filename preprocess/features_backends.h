/* preprocess/features_backends.h - the rows of the table of features; used by features.c alone. */
#ifndef COC_PREPROCESS_FEATURES_BACKENDS_H
#define COC_PREPROCESS_FEATURES_BACKENDS_H

#include "preprocess/features.h"

extern const coc_feature_ops coc_features_ref; /* plain loops in double: the specification */
extern const coc_feature_ops coc_features_cpu; /* float, vectors, threads */

#endif
