/* model/encoder.h - features of clips -> embeddings, and back.
 *
 *     h = tanh(LayerNorm(projection(dropout(pool(head(blocks(stem(x))))))))     (docs/model.md)
 *
 * One arena holds everything; a step allocates nothing. Batch norm works on groups of clips that
 * may span ranks (coc_groups); in training the sums of such a group are reduced among its ranks.
 */
#ifndef COC_MODEL_ENCODER_H
#define COC_MODEL_ENCODER_H

#include "comm/comm.h"
#include "model/ops.h"
#include "model/params.h"

/* Batch-norm groups as one rank sees them. Groups are numbered from 0 among those this rank has
 * clips of; with several ranks, group i of the run holds pairs i * size .. and its clips lie on
 * consecutive ranks. */
typedef struct {
    uint64_t id;      /* of no other groups in this process */
    int count;        /* groups this rank has clips of, >= 1 */
    int64_t total;    /* groups of all ranks */
    int64_t *clips;   /* [count] clips of the group on all ranks */
    int32_t *owned;   /* [count] 1 if this rank holds the group's first clip: each is owned once */
    coc_comm **comm;  /* [count] the group's ranks, or NULL when it lies on this rank alone */
    int32_t *of_clip; /* [2B] group of every local clip: anchors, then positives */
} coc_groups;

/* The groups of this rank's share of `batch` global pairs, `size` pairs a group (0: one group).
 * batch is a multiple of size and has a pair for every rank. Host memory, the caller's; comm must
 * outlive it. Collective over comm (makes subgroups). Errors: COC_ERR_SETTING, COC_ERR_RANKS,
 * COC_ERR_MEMORY. */
coc_status coc_groups_create(coc_comm *comm, int64_t batch, int64_t size, coc_groups **groups);
void coc_groups_destroy(coc_groups **groups);

/* What a training forward reads; everything in the backend's memory, borrowed until backward. */
typedef struct {
    int64_t n;           /* clips */
    const real *x;       /* [n][C][F][T] */
    const real *keep;    /* [n][C] 0 or 1: channel modes; NULL: all kept */
    const real *dropout; /* [n][head channels] 0 or 1/(1-p); NULL: none */
    const real *depth;   /* [blocks][n] 0 or 1/(1-p) of blocks with a skip; NULL: none */
    bool again;          /* of clips whose statistics have been taken in this step */
} coc_encoder_input;

typedef struct coc_encoder coc_encoder;

/* Room for `clips` clips in one call; training adds what backward needs. Borrows network and
 * backend. Errors: COC_ERR_MEMORY, COC_ERR_DEVICE. */
coc_status coc_encoder_create(coc_backend *backend, const coc_network *network, int64_t clips,
                              bool training, coc_encoder **encoder);
/* Another one for training like `first`, which it borrows and whose three buffers of backward it
 * uses: both keep what a forward left, and one goes backward at a time. Errors: the same. */
coc_status coc_encoder_create_beside(const coc_encoder *first, coc_encoder **encoder);
void coc_encoder_destroy(coc_encoder **encoder);
size_t coc_encoder_bytes(const coc_encoder *encoder);

/* What an encoder's memory is for. */
typedef enum {
    COC_PART_EXPANDED,  /* raw expanded tensors */
    COC_PART_DEPTHWISE, /* raw depthwise outputs */
    COC_PART_PROJECTED, /* raw projections, and outputs of blocks */
    COC_PART_ENDS,      /* raw stem and head */
    COC_PART_GRADIENTS, /* the three buffers of backward */
    COC_PART_SMALL,     /* coefficients, sums, gates and all that has no positions */
    COC_ENCODER_PARTS
} coc_encoder_part;

/* The bytes that coc_encoder_create takes from the device, without a device: all of them, and in
 * training by part. Errors: COC_ERR_MEMORY. */
coc_status coc_encoder_measure(const coc_network *network, int64_t clips, bool training,
                               size_t stored_bytes, int64_t part[COC_ENCODER_PARTS],
                               int64_t *bytes);

/* h [n][embedding], borrowed until backward. Batch statistics over groups, which are added to
 * params->stat unless input->again. Only gives work to the device's stream:
 * it is the caller who waits (ops->finish), here and in the next two; so a step of them can be
 * recorded, after one that was not (groups are copied when they are new). n is the clips of the
 * groups. Collective over the ranks of each shared group. Errors: COC_ERR_RANKS. */
coc_status coc_encoder_forward(coc_encoder *encoder, const coc_params *params,
                               const coc_groups *groups, const coc_encoder_input *input, real *h);

/* Gradients of all encoder weights are added to params->grad. `ready`, if not NULL, is called as
 * weights become final: all gradients at offsets >= first are complete (on this rank) when the
 * stream has done what it has been given so far. The rest, from 0 on, likewise on return. Follows a
 * coc_encoder_forward with the same groups and input. Collective over the ranks of each shared
 * group. Errors: COC_ERR_RANKS, those of ready.
 */
typedef coc_status (*coc_gradient_ready)(void *context, int64_t first);
coc_status coc_encoder_backward(coc_encoder *encoder, coc_params *params, const coc_groups *groups,
                                const coc_encoder_input *input, const real *dh,
                                coc_gradient_ready ready, void *context);

/* Running statistics. Begin a step; its training forwards add up; then params->running and
 * ->batches change once: the mean over all `groups` of all ranks and forwards enters with
 * `momentum`, but for a step of which `now` (NULL: none) says that it is left out. Momenta 1, 1/2,
 * 1/3, ... make the mean over steps (coc_reestimate_running). The second is collective over comm,
 * and sums over its ranks as `reduction` says. Errors: COC_ERR_DEVICE, COC_ERR_RANKS. */
coc_status coc_running_begin(const coc_params *params);
coc_status coc_running_update(coc_backend *backend, coc_params *params, int64_t groups,
                              coc_comm *comm, coc_reduction reduction, double momentum,
                              const coc_now *now);

/* Evaluation mode: running statistics, no dropout, no stochastic depth. Writes over what a training
 * forward left for backward. x, keep (NULL: all kept) and h lie on the backend's device; n is at
 * most the encoder's room. Not collective. Errors: COC_ERR_MEMORY, COC_ERR_DEVICE of an operation.
 */
coc_status coc_encoder_embed(coc_encoder *encoder, const coc_params *params, int64_t n,
                             const real *x, const real *keep, real *h);

/* A tensor that the last training forward has left, on the backend's device. */
typedef struct {
    char name[96];      /* layer as in checkpoints, and what of it: "..._bn1: scale" */
    const void *values; /* [count] of `size` bytes: 2 is bf16, 4 float, 8 double */
    size_t size;
    int64_t count;
    int64_t clip; /* numbers a clip; 0: of batch-norm groups */
} coc_encoder_tensor;
typedef coc_status (*coc_encoder_look)(void *context, const coc_encoder_tensor *tensor);

/* Calls look for every one of them in the order in which they came about: of a forward of n clips
 * in those groups. Errors: those of look. */
coc_status coc_encoder_show(const coc_encoder *encoder, const coc_groups *groups, int64_t n,
                            coc_encoder_look look, void *context);

/* For tests: a block's output [n][h][w][C] of the last training forward; borrowed. */
const stored *coc_encoder_block_output(const coc_encoder *encoder, int block);

#endif
