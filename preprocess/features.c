#include "preprocess/features.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "preprocess/features_backends.h"

int coc_feature_channels(coc_feature_kind kind)
{
    return kind == COC_FEATURES_HPS ? 2 : 1;
}

static const coc_feature_ops *find_backend(const char *name)
{
    static const coc_feature_ops *const backends[] = {&coc_features_ref, &coc_features_cpu};

    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++)
        if (strcmp(backends[i]->name, name) == 0) return backends[i];
    return NULL;
}

coc_status coc_features_create(const char *backend, int threads, coc_features **features)
{
    const coc_feature_ops *ops = find_backend(backend);
    coc_status status;

    *features = NULL;
    if (ops == NULL)
        return COC_FAIL(COC_ERR_SETTING, "features of backend '%s' are not built in; known: %s, %s",
                        backend, coc_features_ref.name, coc_features_cpu.name);
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
