/* train/open_backend.h - the backend of a command that takes --backend, --precision and --conv. */
#ifndef COC_TRAIN_OPEN_BACKEND_H
#define COC_TRAIN_OPEN_BACKEND_H

#include "comm/comm.h"
#include "model/ops.h"

#define COC_BACKEND_HELP   "cpu (default), cuda or ref"
#define COC_PRECISION_HELP "of activations on a GPU: fp32 (default) or bf16"
#define COC_CONV_HELP      "convolutions on a GPU: own (default) or cudnn"

typedef struct {
    const char *backend, *precision, *conv; /* "cpu", "fp32", "own" */
    int threads;                            /* 0: OMP_NUM_THREADS */
} coc_backend_choice;

/* The settings of the choice; what else they hold is left alone. Errors: COC_ERR_USAGE. */
coc_status coc_backend_choice_set(const coc_backend_choice *choice, coc_model_settings *settings);

/* Open it, on the device of this rank of comm (NULL: a process by itself); ranks may share one.
 * Not collective. Errors: COC_ERR_USAGE, those of coc_backend_open. */
coc_status coc_backend_choice_open(const coc_backend_choice *choice, const coc_comm *comm,
                                   coc_backend **backend);

#endif
