/* train/timed_ops.h - a backend that adds up the time of its operations, by kind: what `cocola
 * bench step` shows. It passes every call on to another backend. */
#ifndef COC_TRAIN_TIMED_OPS_H
#define COC_TRAIN_TIMED_OPS_H

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

typedef struct {
    coc_backend base; /* what is given to the encoder; scratch and status are its own */
    coc_backend *inner;
    coc_time time[COC_TIME_KINDS];
} coc_timed_backend;

/* Wraps `inner`, which must outlive it and is not to be used meanwhile. */
void coc_timed_backend_init(coc_timed_backend *timed, coc_backend *inner);
/* Gives inner its state back. */
void coc_timed_backend_finish(coc_timed_backend *timed);

const char *coc_time_name(coc_time_kind kind);

#endif
