#include "preprocess/features.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "preprocess/features_backends.h"

int coc_feature_channels(coc_feature_kind kind)
{
    return kind == COC_FEATURES_HPS ? 2 : 1;
}

coc_status coc_feature_ops_find(const char *name, const coc_feature_ops **ops)
{
    char known[128];
    int used = 0;

    for (int i = 0; coc_feature_rows[i] != NULL; i++) {
        *ops = coc_feature_rows[i];
        if (strcmp((*ops)->name, name) == 0) return COC_OK;
    }
    *ops = NULL;
    for (int i = 0; coc_feature_rows[i] != NULL && used < (int)sizeof known; i++)
        used += snprintf(known + used, sizeof known - (size_t)used, "%s%s", i > 0 ? ", " : "",
                         coc_feature_rows[i]->name);
    return COC_FAIL(COC_ERR_SETTING, "features of backend '%s' are not built in; known: %s", name,
                    known);
}

coc_status coc_features_create(const char *backend, int threads, coc_features **features)
{
    const coc_feature_ops *ops;
    coc_status status;

    *features = NULL;
    COC_TRY(coc_feature_ops_find(backend, &ops));
    COC_TRY(coc_alloc(1, sizeof **features, features));
    (*features)->ops = ops;
    (*features)->threads = threads;
    status = ops->create(*features);
    if (status != COC_OK) coc_features_destroy(features);
    return status;
}

void coc_features_destroy(coc_features **features)
{
    if (*features == NULL) return;
    (*features)->ops->destroy(*features);
    free(*features);
    *features = NULL;
}

coc_status coc_features_compute(coc_features *features, coc_feature_kind kind, const float *wave,
                                int64_t n, float *out)
{
    if (kind == COC_FEATURES_HPS) return features->ops->hps(features, wave, n, out);
    return features->ops->mel(features, wave, n, out);
}
