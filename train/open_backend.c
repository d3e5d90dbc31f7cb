#include "train/open_backend.h"

#include <stdio.h>
#include <string.h>

static coc_status set_precision(const char *name, coc_model_settings *settings)
{
    static const coc_precision precisions[] = {COC_FP32, COC_BF16};

    for (size_t i = 0; i < sizeof precisions / sizeof precisions[0]; i++) {
        settings->precision = precisions[i];
        if (strcmp(coc_precision_name(precisions[i]), name) == 0) return COC_OK;
    }
    return COC_FAIL(COC_ERR_USAGE, "--precision: '%s' is unknown; known: fp32, bf16", name);
}

static coc_status set_conv(const char *name, coc_model_settings *settings)
{
    static const coc_convolutions convolutions[] = {COC_CONV_OWN, COC_CONV_CUDNN};

    for (size_t i = 0; i < sizeof convolutions / sizeof convolutions[0]; i++) {
        settings->conv = convolutions[i];
        if (strcmp(coc_convolutions_name(convolutions[i]), name) == 0) return COC_OK;
    }
    return COC_FAIL(COC_ERR_USAGE, "--conv: '%s' is unknown; known: own, cudnn", name);
}

coc_status coc_backend_choice_set(const coc_backend_choice *choice, coc_model_settings *settings)
{
    settings->threads = choice->threads;
    snprintf(settings->backend, sizeof settings->backend, "%s", choice->backend);
    COC_TRY(set_precision(choice->precision, settings));
    return set_conv(choice->conv, settings);
}

coc_status coc_backend_choice_open(const coc_backend_choice *choice, const coc_comm *comm,
                                   coc_backend **backend)
{
    coc_model_settings settings = {.graphs = false};
    int sharers;

    *backend = NULL;
    COC_TRY(coc_backend_choice_set(choice, &settings));
    if (comm != NULL)
        COC_TRY(coc_backend_choose_device(choice->backend, comm->local_rank, comm->local_size, true,
                                          &sharers));
    return coc_backend_open(&settings, backend);
}
