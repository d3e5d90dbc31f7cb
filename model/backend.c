#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/backends.h"

enum { MOST_BACKENDS = 8, NAMES_BYTES = 128 };

const char *const *coc_backend_names(void)
{
    static const char *names[MOST_BACKENDS + 1];

    for (int i = 0; i < MOST_BACKENDS && coc_backend_rows[i].ops != NULL; i++)
        names[i] = coc_backend_rows[i].ops->name;
    return names;
}

static coc_status unknown_backend(const char *name)
{
    char known[NAMES_BYTES] = "";

    for (const coc_backend_row *row = coc_backend_rows; row->ops != NULL; row++) {
        if (known[0] != '\0') strncat(known, ", ", NAMES_BYTES - 1 - strlen(known));
        strncat(known, row->ops->name, NAMES_BYTES - 1 - strlen(known));
    }
    if (strcmp(name, "cuda") == 0)
        return COC_FAIL(COC_ERR_SETTING,
                        "backend 'cuda' is not built in (known: %s); configure with "
                        "-DCOCOLA_CUDA=ON",
                        known);
    return COC_FAIL(COC_ERR_SETTING, "backend '%.80s' is unknown; known: %s", name, known);
}

static coc_status check_precision(const coc_backend_row *row, coc_precision precision)
{
    if (precision == COC_FP32 || row->bf16) return COC_OK;
    return COC_FAIL(COC_ERR_SETTING,
                    "model.precision: %s: backend %s computes in fp32 only; choose fp32, or "
                    "model.backend: cuda",
                    coc_precision_name(precision), row->ops->name);
}

static coc_status check_conv(const coc_backend_row *row, coc_convolutions conv)
{
    if (conv == COC_CONV_OWN || row->cudnn) return COC_OK;
    return COC_FAIL(COC_ERR_SETTING,
                    "model.conv: %s: backend %s has convolutions of its own only; choose own, or "
                    "model.backend: cuda",
                    coc_convolutions_name(conv), row->ops->name);
}

static coc_status check_loss_precision(const coc_backend_row *row, coc_loss_precision precision)
{
    if (precision == COC_LOSS_FP32 || row->rounds_loss) return COC_OK;
    return COC_FAIL(COC_ERR_SETTING,
                    "loss.precision: %s: backend %s computes the loss in fp32 only; choose fp32 or "
                    "auto, or model.backend: cuda",
                    coc_loss_precision_name(precision), row->ops->name);
}

static coc_status find_row(const char *name, const coc_backend_row **row)
{
    *row = coc_backend_rows;
    while ((*row)->ops != NULL && strcmp((*row)->ops->name, name) != 0)
        (*row)++;
    return (*row)->ops != NULL ? COC_OK : unknown_backend(name);
}

coc_status coc_backend_choose_device(const char *name, int local_rank, int local_size, bool share,
                                     int *sharers)
{
    const coc_backend_row *row;

    COC_TRY(find_row(name, &row));
    *sharers = local_size;
    return row->choose != NULL ? row->choose(local_rank, local_size, share, sharers) : COC_OK;
}

coc_status coc_backend_open(const coc_model_settings *settings, coc_backend **backend)
{
    const coc_backend_row *row;
    coc_status status;

    *backend = NULL;
    COC_TRY(find_row(settings->backend, &row));
    COC_TRY(check_precision(row, settings->precision));
    COC_TRY(check_conv(row, settings->conv));
    COC_TRY(check_loss_precision(row, coc_loss_precision_of(settings)));
    COC_TRY(coc_alloc(1, sizeof **backend, backend));
    (*backend)->ops = row->ops;
    (*backend)->threads = settings->threads;
    (*backend)->precision = settings->precision;
    (*backend)->conv = settings->conv;
    (*backend)->loss_precision = coc_loss_precision_of(settings);
    (*backend)->stored_bytes = settings->precision == COC_BF16 ? sizeof(uint16_t) : sizeof(stored);
    status = row->open(*backend);
    if (status != COC_OK) coc_backend_destroy(backend);
    return status;
}

coc_status coc_backend_loss_scratch(const coc_model_settings *settings, const coc_contrast *shape,
                                    bool tile, int64_t *bytes)
{
    const coc_backend b = {.threads = settings->threads,
                           .loss_precision = coc_loss_precision_of(settings)};
    const coc_backend_row *row;

    *bytes = 0;
    COC_TRY(find_row(settings->backend, &row));
    *bytes = (int64_t)row->loss_scratch(&b, shape, tile);
    return COC_OK;
}

coc_status coc_backend_create(const char *name, int threads, coc_backend **backend)
{
    coc_model_settings settings = {.threads = threads};

    snprintf(settings.backend, sizeof settings.backend, "%s", name);
    return coc_backend_open(&settings, backend);
}

void coc_backend_destroy(coc_backend **backend)
{
    coc_backend *b = *backend;

    if (b == NULL) return;
    b->ops->destroy(b);
    if (b->device != NULL) b->device->release(b->device, b->scratch);
    free(b);
    *backend = NULL;
}

void *coc_backend_scratch(coc_backend *b, size_t bytes)
{
    if (bytes <= b->scratch_bytes) return b->scratch;
    b->device->release(b->device, b->scratch);
    b->scratch_bytes = 0;
    if (b->device->alloc(b->device, bytes, &b->scratch) != COC_OK) {
        b->status = COC_ERR_MEMORY;
        return NULL;
    }
    b->scratch_bytes = bytes;
    return b->scratch;
}

coc_status coc_backend_status(coc_backend *b)
{
    const coc_status status = b->status;

    b->status = COC_OK;
    if (status == COC_OK) return COC_OK;
    /* said here: a text that a working thread recorded is not seen by this one */
    return COC_FAIL(
        status,
        "backend %s: no working memory for an operation; set train.micro_batch, or lower "
        "train.batch or the model's width",
        b->ops->name);
}
