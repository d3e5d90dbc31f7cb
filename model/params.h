/* model/params.h - all numbers of a model: flat buffers and a table of named tensors over them.
 *
 * Names, shapes and order of dimensions are those of the published PyTorch model ("state_dict"), so
 * a checkpoint, a safetensors file and the flat buffers hold the same rows. Trainable tensors come
 * first in the buffers, in the order in which the forward pass uses them: backward finishes
 * gradients from the end towards the beginning, which is how buckets are reduced while it runs.
 */
#ifndef COC_MODEL_PARAMS_H
#define COC_MODEL_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "comm/comm.h"
#include "model/network.h"
#include "model/real.h"

/* Tensors begin at multiples of so many elements, so that devices can read vectors. What lies
 * between them is 0 and stays 0: it has no gradient. */
enum { COC_TENSOR_ALIGNMENT = 8 };

typedef enum {
    COC_TENSOR_WEIGHT,  /* trainable; offset counts into value, grad, m, v */
    COC_TENSOR_RUNNING, /* running mean or variance; offset counts into running */
    COC_TENSOR_COUNTER, /* num_batches_tracked, int64 scalar; offset 0: one number for all */
} coc_tensor_kind;

typedef struct {
    char name[96];
    coc_tensor_kind kind;
    int dims;
    int64_t shape[4];
    int64_t count, offset; /* in elements */
} coc_tensor;

/* Batch norm as offsets: gamma and beta into value, mean and variance into running. */
typedef struct {
    int channels;
    int64_t gamma, beta, mean, variance;
} coc_norm_index;

typedef struct {
    coc_norm_index expand_norm, depthwise_norm, project_norm;
    int64_t expand, depthwise, project;           /* weights */
    int64_t reduce_w, reduce_b, widen_w, widen_b; /* squeeze and excitation */
} coc_block_index;

/* Where everything is: what the encoder uses instead of names. */
typedef struct {
    int64_t stem, head, projection_w, projection_b, layer_norm_w, layer_norm_b, similarity;
    coc_norm_index stem_norm, head_norm;
    coc_block_index block[COC_MAX_BLOCKS];
} coc_param_index;

typedef struct {
    const coc_network *network; /* borrowed */
    const coc_device *device;
    int tensors;
    coc_tensor *tensor; /* [tensors], published names */
    coc_param_index at;
    int64_t weights, runnings; /* sizes of the flat buffers, gaps included */
    real *value;               /* [weights], on the device */
    real *grad, *m, *v;        /* the same, for training; NULL in a model that is only used */
    real *running;             /* [runnings], on the device */
    double *stat;              /* [runnings] for training: a step's groups, added up */
    int64_t batches;           /* num_batches_tracked */
    coc_comm *grad_of;         /* whose memory grad is; NULL: the device's own */
} coc_params;

/* Weights of a network, as coc_params.weights, without making any; and ->runnings. */
int64_t coc_params_weights(const coc_network *network);
int64_t coc_params_runnings(const coc_network *network);

/* Buffers are zero but running variances, which are 1. training: with gradient and moments. network
 * must outlive it. Errors: COC_ERR_MEMORY. */
coc_status coc_params_create(const coc_network *network, const coc_device *device, bool training,
                             coc_params **params);
void coc_params_destroy(coc_params **params);

/* Let the gradient lie in memory of the communicator that sums it (coc_comm_ops.alloc), which must
 * outlive params; its values become 0. Collective. Errors: those of alloc. */
coc_status coc_params_share_grad(coc_params *params, coc_comm *comm);

/* PyTorch's defaults (kaiming-uniform with a = sqrt 5, biases U(+-1/sqrt fan_in), norms 1 and 0), W
 * as the settings say; drawn by counters from the seed. Errors: COC_ERR_MEMORY, COC_ERR_DEVICE. */
coc_status coc_params_init(coc_params *params, const coc_model_settings *settings, uint64_t seed);

/* The tensor of that name, or NULL. */
const coc_tensor *coc_params_find(const coc_params *params, const char *name);

#endif
