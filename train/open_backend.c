#include "train/open_backend.h"

#include <stdio.h>
#include <string.h>

coc_status coc_backend_choice_set(const coc_backend_choice *choice, coc_model_settings *settings)
{
    static const coc_precision precisions[] = {COC_FP32, COC_BF16};

    settings->threads = choice->threads;
    snprintf(settings->backend, sizeof settings->backend, "%s", choice->backend);
    for (size_t i = 0; i < sizeof precisions / sizeof precisions[0]; i++) {
        settings->precision = precisions[i];
        if (strcmp(coc_precision_name(precisions[i]), choice->precision) == 0) return COC_OK;
    }
    return COC_FAIL(COC_ERR_USAGE, "--precision: '%s' is unknown; known: fp32, bf16",
                    choice->precision);
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
