/* model/timed_ops.h - a backend that adds up the time of its operations, by kind: what `cocola
 * bench step` shows. It passes every call on to another backend. */
#ifndef COC_MODEL_TIMED_OPS_H
#define COC_MODEL_TIMED_OPS_H

#include "model/ops.h"

typedef enum {
    COC_TIME_STEM_FORWARD,
    COC_TIME_DEPTHWISE_FORWARD,
    COC_TIME_POINTWISE_FORWARD,
    COC_TIME_STEM_BACKWARD,
    COC_TIME_DEPTHWISE_BACKWARD,
    COC_TIME_POINTWISE_BACKWARD,
    COC_TIME_NORM,     /* sums of backward, coefficients, running statistics */
    COC_TIME_GATE,     /* pool, squeeze, join */
    COC_TIME_DENSE,    /* projection, layer norm, similarity */
    COC_TIME_CONTRAST, /* rows of the loss */
    COC_TIME_UPDATE,   /* norm of the gradient, Adam */
    COC_TIME_KINDS
} coc_time_kind;

typedef struct {
    double seconds, flop; /* flop: of convolutions and linear layers, a product and a sum are two */
} coc_time;

/* The backend of the settings with its operations timed, on an accelerator by waiting for each;
 * ended by coc_backend_destroy. Errors: those of coc_backend_open. */
coc_status coc_timed_backend_open(const coc_model_settings *settings, coc_backend **backend);

/* What a timed backend has added up so far [COC_TIME_KINDS]; may be set to zero. Borrowed. */
coc_time *coc_timed_backend_times(coc_backend *backend);

const char *coc_time_name(coc_time_kind kind);

#endif
