/* train/trainer.h - everything a training run holds on one rank, and one step of it.
 *
 * coc_train_step (train/step.c) is the whole algorithm on one screen; coc_train_loop (train/loop.c)
 * repeats it, logs, validates, saves and stops.
 */
#ifndef COC_TRAIN_TRAINER_H
#define COC_TRAIN_TRAINER_H

#include "model/encoder.h"
#include "model/similarity.h"
#include "train/clips.h"
#include "train/loader.h"
#include "train/passes.h"
#include "train/replay.h"
#include "train/step_plan.h"

typedef struct {
    coc_settings settings;
    coc_comm *world; /* of the host; borrowed */
    coc_comm *comm;  /* for tensors where the model is: world, or one of the device over it */
    const char *run; /* folder of checkpoints and logs */

    coc_store *store, *valid_store;       /* the second is NULL when both splits lie in one store */
    coc_sampler *sampler, *valid_sampler; /* the second is NULL without validation windows */

    coc_parts parts;     /* which pairs of the global batch are this rank's */
    coc_network network; /* of whole windows: what is saved, validated and used */
    coc_network seen;    /* the same weights on what training sees of a window (data.crop) */
    coc_backend *backend;
    int sharers; /* ranks that use its device */
    coc_params *params;
    coc_passes passes;   /* encoders that train on `seen`, groups, embeddings */
    coc_encoder *viewer; /* embeds whole windows for validation; NULL: the first of passes does */
    int64_t viewed;      /* windows that are embedded at a time */
    coc_similarity *similarity;
    coc_loader *loader;
    coc_clips *clips; /* for validation and re-estimation, besides the loader's own */

    coc_now *now, *host_now; /* numbers of the step: backend memory, host memory */
    coc_replay_memory replay;

    int skipped_in_a_row;                  /* steps up to now, see train/not_finite.h */
    void (*given)(const coc_batch *batch); /* of the loader (train/loader.h); NULL: nobody */

    int64_t step;  /* done */
    int64_t steps; /* of the run; 0 while train.minutes has not been turned into a number */
} coc_trainer;

typedef struct {
    coc_loss loss;
    double gradient_norm, learning_rate;
    bool skipped; /* nothing was updated: train/not_finite.h */
    double wait, load, features, encoder, contrast, communication, optimizer; /* seconds */
} coc_step_result;

/* Everything up to the first step: stores, samplers, model, memory. The weights are initialised.
 * Collective. Errors: all kinds. */
coc_status coc_trainer_create(const coc_settings *settings, coc_comm *comm, const char *run,
                              coc_trainer **trainer);

/* The part of it that needs no data, for a measurement: takes trainer->settings, ->world,
 * ->backend and ->sharers; fills in all else but data and loader.
 * Collective. Errors: all kinds. */
coc_status coc_trainer_create_model(coc_trainer *trainer);
/* What it builds of the settings: the network of whole windows and of what training sees of them;
 * and the windows that a validation embeds at a time, where training sees all of a window or crops.
 * Errors: COC_ERR_SETTING. */
coc_status coc_trainer_networks(const coc_settings *settings, coc_network *whole,
                                coc_network *seen);
int64_t coc_trainer_viewed(const coc_parts *parts, bool crops);

/* What of `cocola plan` is true of it (train/step_plan.h): memory, work and traffic of a step, but
 * nothing that would fit instead. Errors: COC_ERR_MEMORY. */
coc_status coc_trainer_plan(const coc_trainer *trainer, coc_step_plan *plan);

void coc_trainer_destroy(coc_trainer **trainer);

/* Start the loader at trainer->step. Once, before the first step. */
coc_status coc_trainer_start_loader(coc_trainer *trainer);

/* One training step on the next batch: forward, loss over all ranks' pairs, backward, update.
 * Collective. Errors: those of the loader (COC_ERR_INPUT, COC_ERR_IO, COC_ERR_MEMORY: this rank
 * alone has them), COC_ERR_RANKS, COC_ERR_MEMORY and COC_ERR_DEVICE of an operation, COC_ERR_INPUT
 * when a number is not finite (all ranks, train/not_finite.h). */
coc_status coc_train_step(coc_trainer *trainer, coc_step_result *result);

/* The same on a given batch, or its first part: the others come from the loader. Alone it stays as
 * it is until the next call; batches of one slot lie at one place. */
coc_status coc_train_on(coc_trainer *trainer, const coc_batch *batch, coc_step_result *result);

/* Its two parts. Up to the gradient: params->grad holds the sum over ranks, nothing is updated.
 * Then running statistics and weights from it; trainer->step goes on by one. Collective. Errors:
 * those of coc_train_step. */
coc_status coc_train_gradient(coc_trainer *trainer, const coc_batch *batch,
                              coc_step_result *result);
coc_status coc_train_update(coc_trainer *trainer, coc_step_result *result);

/* Learning rate of update `step` (0, 1, ...): linear warm-up, then constant or a cosine to 0 at
 * `steps` (0: not known yet, the rate after warm-up). */
double coc_learning_rate(const coc_train_settings *settings, int64_t step, int64_t steps);

/* Length of a run of `minutes`, of which `elapsed` seconds are gone with `done` steps, when a step
 * takes step_seconds: at least `done`. */
int64_t coc_steps_in_time(int64_t done, double minutes, double elapsed, double step_seconds);

/* Measure running statistics anew over `clips` clips of the training order with the weights as they
 * are (settings eval.bn_reestimate): needed where bn_momentum lags behind the weights. Collective.
 */
coc_status coc_reestimate_running(coc_trainer *trainer, int64_t clips);

/* Train to the end, or to the stop flag (COC_ERR_STOPPED after saving). Collective. */
coc_status coc_train_loop(coc_trainer *trainer);

#endif
