/* train/step_time.h - how long a step of a plan (train/step_plan.h) will take: rates, measured on
 * this machine by a few small steps or taken from peak figures, times what the plan counts. */
#ifndef COC_TRAIN_STEP_TIME_H
#define COC_TRAIN_STEP_TIME_H

#include "train/step_plan.h"

/* Seconds; on the host of a core (all threads added up), on an accelerator by the clock. */
typedef struct {
    double forward, backward; /* of a clip through the encoder */
    double clip;              /* of making a clip: mixing three stems, features; on the host */
    double loss_flop;         /* of a product or a sum of the similarity and the loss */
    double step;              /* of what a step has once: update, statistics, starts */
    int threads;              /* of the host that work on it side by side, at best */
} coc_step_rates;

/* By steps of 4 and 16 pairs (fewer where the batch has fewer) of made-up features with these
 * settings, a loss of 512 pairs, and features of a few clips; some seconds, as many bytes as such
 * steps take. Errors: those of coc_trainer_create_model. */
coc_status coc_step_rates_measure(const coc_settings *settings, coc_step_rates *rates);

/* Of a GPU of so many floating-point operations and bytes of its memory in a second, each operation
 * bound by whichever takes longer: what no program can be faster than, and few come near. */
coc_step_rates coc_step_rates_of_peaks(const coc_step_plan *plan, double flop, double bytes,
                                       size_t stored_bytes);

/* What of a step takes how many seconds, of a rank; batches are made beside the rest. */
typedef struct {
    double encoder, loss, step, batches;
} coc_step_time;

coc_step_time coc_step_time_of(const coc_step_plan *plan, const coc_step_rates *rates);

#endif
