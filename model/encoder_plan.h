/* model/encoder_plan.h - what the encoder keeps where. For model/encoder*.c only.
 *
 * In training every raw convolution output and every block's output has a place of its own, since
 * backward reads them again; gradients pass through three buffers that all blocks share. In
 * evaluation the blocks lie over each other.
 */
#ifndef COC_MODEL_ENCODER_PLAN_H
#define COC_MODEL_ENCODER_PLAN_H

#include "model/encoder.h"

/* One batch norm: its coefficients, and how others read through it. Backend memory. */
typedef struct {
    int channels;
    int64_t positions;                        /* h * w of its tensor */
    real *mean, *inverse_std, *scale, *shift; /* [groups][C] */
    double *values; /* [groups] numbers behind a sum: the group's clips on all ranks * positions */
    coc_norm read;
} coc_norm_layer;

typedef struct {
    coc_norm_layer *expand_norm, *depthwise_norm, *project_norm; /* the first NULL: no expand */
    stored *expand, *depthwise, *project;                        /* [n][P][C] raw */
    real *pooled, *hidden, *gate; /* squeeze and excitation: [n][C], [n][R], [n][C] */
    stored *output;               /* [n][P][out] after the join */
} coc_block_memory;

enum { COC_MAX_NORMS = 3 * COC_MAX_BLOCKS + 2 };

struct coc_encoder {
    coc_backend *backend;
    const coc_network *network;
    int64_t clips; /* room */
    int groups;    /* room; 1 without training */
    bool training;
    const coc_encoder *lender; /* of the buffers of gradients; NULL: they are its own */
    coc_arena arena;
    size_t stored_bytes;
    int64_t part[COC_ENCODER_PARTS]; /* bytes; blocks of evaluation lie over each other */

    int norms;
    coc_norm_layer norm[COC_MAX_NORMS]; /* in the order of the forward pass */
    coc_norm_layer *stem_norm, *head_norm;
    stored *stem, *head; /* [n][P][C] raw */
    coc_block_memory block[COC_MAX_BLOCKS];
    real *pooled, *dropped, *projected; /* [n][head], [n][head], [n][d] */
    real *row_mean, *row_inverse_std;   /* [n] of the layer norm */
    const real *h;                      /* the last training forward's, borrowed until backward */

    int32_t *group, *no_group; /* [n] the groups' of_clip; zeros */
    int32_t *owned;            /* [groups] */
    double *values;            /* [norms][groups]; layers point into it */
    double *host_values;       /* the same, host memory */
    uint64_t current;          /* id of the groups that group, owned and values hold; 0: none */
    double *sums;              /* [groups][2][most channels] of the norm at hand */
    double *stat;              /* params->stat, or NULL: not to be added to in this pass */

    /* Gradients: at a block's output (and, in place, at its input), at what its projection read,
     * at what its depthwise convolution read. */
    stored *d_output, *d_depthwise, *d_expand;
    real *d_gate, *d_pooled;  /* [n][most channels] */
    real *d_projected;        /* [n][d] */
    real *mean_du, *mean_dux; /* [groups][most channels] of the norm at hand */
};

/* Take over a batch's groups for the passes that follow. groups NULL: evaluation, one group.
 * Errors: COC_ERR_INTERNAL when there is no room for n clips. */
coc_status coc_norms_begin(coc_encoder *e, const coc_groups *groups, int64_t n);

/* Zeroed room for the sums of a norm: *sums [groups][2][C], NULL in evaluation. */
coc_status coc_norm_sums(coc_encoder *e, const coc_groups *groups, const coc_norm_layer *layer,
                         double **sums);

/* After the writer of the norm's tensor has run: sums over the ranks of each group -> coefficients,
 * and this rank's own groups' part of the running statistics. groups NULL: the running statistics
 * give the coefficients. Collective over the ranks of each shared group. */
coc_status coc_norm_settle(coc_encoder *e, const coc_params *params, const coc_groups *groups,
                           coc_norm_layer *layer, const coc_norm_index *at);

/* Make g whole: sums of du, du * xhat (already in e->sums if `summed`) -> d gamma, d beta, and the
 * group means that g needs. Collective over the ranks of each shared group. */
coc_status coc_norm_backward(coc_encoder *e, coc_params *params, const coc_groups *groups,
                             const coc_norm_layer *layer, const coc_norm_index *at, int64_t n,
                             bool summed, coc_gradient *g);

/* What block i reads: a tensor, and the norm it is read through (NULL: none). */
typedef struct {
    const stored *x;
    coc_norm_layer *norm;
} coc_source;
coc_source coc_block_source(coc_encoder *e, int i);

#endif
