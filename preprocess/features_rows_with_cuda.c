#include "preprocess/features_backends.h"

const coc_feature_ops *const coc_feature_rows[] = {&coc_features_ref, &coc_features_cpu,
                                                   &coc_features_cuda, NULL};
