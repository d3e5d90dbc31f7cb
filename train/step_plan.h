/* train/step_plan.h - what a step of given settings will cost: memory, work, traffic; before any of
 * it is taken, and without data, ranks or GPU. */
#ifndef COC_TRAIN_STEP_PLAN_H
#define COC_TRAIN_STEP_PLAN_H

#include "train/memory_plan.h"

/* For whom it is planned. */
typedef struct {
    const coc_settings *settings;
    int ranks;
    int64_t memory; /* bytes that a rank may take of its device; 0: without bound */
    coc_side side;
    size_t stored_bytes;
} coc_plan_for;

typedef struct {
    coc_network whole, seen;
    coc_parts parts;              /* of rank 0, which has as many pairs as any */
    int places;                   /* parts whose activations are kept */
    coc_memory_plan memory, host; /* host: beside a GPU's; part of no verdict */
    bool fits;
    int64_t fitting_part; /* largest micro-batch that fits, of all ranks; 0: none */
    bool fitting_ring;    /* it does with loss.exchange: ring, and none without */
    int64_t largest[2];   /* batch that fits: at once; in parts of a batch-norm group. 0: none, or
                             there is no bound */
    int64_t weights;
    double forward_flop;       /* of one clip; a product and a sum are two */
    double embeddings_of_clip; /* forward passes of a clip in a step, 1 to 2 */
    double flop;               /* of a rank in a step, loss included */
    double loss_flop;
    double gathered, scattered, gradients; /* bytes that a rank receives in a step */
} coc_step_plan;

/* Work and traffic of a step, from what is known of it: networks, parts, places, weights. */
void coc_step_plan_count(const coc_settings *settings, coc_step_plan *plan);

/* Errors: COC_ERR_SETTING (settings that do not go together, a backend that is not built in),
 * COC_ERR_MEMORY. */
coc_status coc_step_plan_make(const coc_plan_for *f, coc_step_plan *plan);

#endif
