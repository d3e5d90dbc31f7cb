/* model/cuda/cudnn.h - plans of cuDNN for single convolutions; for model/cuda and its tests alone.
 *
 * A plan is an engine of cuDNN with its settings, for one pass of one convolution of so many clips.
 * Engines are taken in the order in which cuDNN recommends them, leaving out those that may give
 * other bits from run to run, that round more than the storage type does (TF32, half precision,
 * sums in less than float, Winograd and FFT), or that want more working memory than
 * COC_CUDNN_WORKSPACE.
 */
#ifndef COC_MODEL_CUDA_CUDNN_H
#define COC_MODEL_CUDA_CUDNN_H

#include <cudnn.h>

#include "model/ops.h"

typedef enum {
    COC_CUDNN_FORWARD,         /* y from x and w */
    COC_CUDNN_INPUT_GRADIENT,  /* dx from w and dy */
    COC_CUDNN_WEIGHT_GRADIENT, /* dw from x and dy */
    COC_CUDNN_PASSES
} coc_cudnn_pass;

/* Tensors are NHWC, weights [O][k][k][I], or [C][k][k] where depthwise; all in the storage type of
 * the precision, products are summed as float. */
typedef struct {
    coc_cudnn_pass pass;
    coc_precision precision;
    int64_t clips;
    coc_conv conv;
    bool depthwise;
} coc_cudnn_call;

/* Whether a plan of one serves the other. */
bool coc_cudnn_same(const coc_cudnn_call *a, const coc_cudnn_call *b);

/* Working memory: bytes of one plan at most, and of the tensors that a call keeps in scratch. */
#define COC_CUDNN_WORKSPACE ((int64_t)256 << 20)
#define COC_CUDNN_TENSORS   ((int64_t)512 << 20)

/* Clips, of those that are left, that the next call takes: a power of two, so that batches of any
 * size need few plans; no tensor has 2^31 elements, from where on engines are not to be trusted;
 * what is kept in scratch (the input twice and the output once) takes COC_CUDNN_TENSORS or less.
 * At least one. */
int64_t coc_cudnn_share(const coc_cudnn_call *call, int64_t left);

/* A convolution of features as cuDNN is given it: with channels of zeros, up to a multiple of
 * eight, without which no tensor core takes it. */
coc_conv coc_cudnn_padded(const coc_conv *s);

/* Where plans are to run: on the device of a handle, or on one that is only described. */
typedef struct {
    bool described;
    /* described: what takes the description, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP and
     * CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, which older headers do not have */
    cudnnBackendAttributeName_t of_heuristics, of_plan;
    union {
        cudnnHandle_t handle;
        cudnnBackendDescriptor_t properties;
    } on;
} coc_cudnn_target;

/* What a search for a plan met with. */
typedef struct {
    int recommended;           /* engines, with their settings */
    int allowed;               /* of those, exact and deterministic */
    int compiled;              /* of those, made by a compiler when a plan is finished */
    int too_large;             /* want more than COC_CUDNN_WORKSPACE */
    int refused, uncompiled;   /* could not be finished; of those, compiled ones */
    cudnnStatus_t last_status; /* of the last one refused */
    char last_text[128];
} coc_cudnn_search;

enum { COC_CUDNN_DESCRIPTORS = 8 };

typedef struct {
    coc_cudnn_call call;
    cudnnBackendDescriptor_t descriptor; /* the execution plan: the last of what it is made from */
    cudnnBackendDescriptor_t made[COC_CUDNN_DESCRIPTORS];
    int count;
    int64_t workspace; /* bytes */
    int64_t engine;    /* cuDNN's number of it */
    bool tensor_cores, compiled;
} coc_cudnn_plan;

/* Ids of the tensors of every plan: what is called x (or dx), w (dw) and y (dy). */
enum { COC_CUDNN_X = 1, COC_CUDNN_W, COC_CUDNN_Y };

/* Find a plan: the caller's, freed with coc_cudnn_plan_free, also after a failure. search may be
 * NULL. Errors: COC_ERR_DEVICE, one line with the convolution and the reason. */
coc_status coc_cudnn_plan_build(const coc_cudnn_target *target, const coc_cudnn_call *call,
                                coc_cudnn_plan *plan, coc_cudnn_search *search);
void coc_cudnn_plan_free(coc_cudnn_plan *plan);

/* "cuDNN: what: its words", as an error; COC_OK where there is none. */
coc_status coc_cudnn_check(cudnnStatus_t status, const char *what);

#endif
