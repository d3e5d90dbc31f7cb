/* train/checkpoint.h - a model on disk: HDF5, tensors under their published names.
 *
 * docs/checkpoint.md is the schema. Written to a temporary name, fsynced, renamed; a hash over all
 * content stands in it. A file that is cut, flipped, or of another profile or feature kind is
 * refused by name. The same model, optimizer and description give the same bytes, so two runs that
 * agree have checkpoints of the same hash.
 */
#ifndef COC_TRAIN_CHECKPOINT_H
#define COC_TRAIN_CHECKPOINT_H

#include "model/params.h"

/* What stands beside the tensors. */
typedef struct {
    char profile[32];
    double width, depth;
    int64_t embedding; /* numbers of an embedding; 0: the profile's */
    coc_feature_kind features;
    int64_t step;           /* updates done; also the position of the optimizer */
    int64_t steps;          /* of the whole run; 0: unknown */
    int64_t position;       /* next training position (pairs) */
    int64_t ranks;          /* that wrote it */
    uint64_t store;         /* hash of the training store; 0: none */
    double valid_loss;      /* NAN: not validated */
    int64_t bn_reestimated; /* clips over which running statistics were measured anew; 0: not */
    bool has_optimizer;     /* a run can go on from it */
    char *settings;         /* YAML of all settings in force; NULL for an imported model */
    uint64_t hash;          /* of all content */
} coc_checkpoint_info;

void coc_checkpoint_info_free(coc_checkpoint_info *info);

/* Host memory that writing one with optimizer takes for a while: the file's image, as HDF5 builds
 * it and as it is hashed and written. */
int64_t coc_checkpoint_writing_bytes(int64_t weights);

/* Write tensors and, if info->has_optimizer, what a run needs to go on: Adam's moments and the
 * training's own running statistics, which are `running` [runnings], host (NULL: params->running).
 * info->hash is filled in. Not collective (rank 0 calls it). Errors: COC_ERR_IO (full disk: nothing
 * is left under the name), COC_ERR_MEMORY, COC_ERR_INPUT (a number is not finite: likewise). */
coc_status coc_checkpoint_write(const char *path, const coc_params *params, const real *running,
                                coc_checkpoint_info *info);

/* Read only the description, after checking that the file is whole. The caller frees it, also after
 * a failure. Errors: COC_ERR_IO, COC_ERR_INPUT. */
coc_status coc_checkpoint_read_info(const char *path, coc_checkpoint_info *info);

/* Read tensors into params, whose network must fit (names, types and shapes are compared). With
 * with_optimizer also the moments, and params->running gets the training's own statistics.
 * Errors: COC_ERR_IO, COC_ERR_INPUT (names what does not fit). */
coc_status coc_checkpoint_read(const char *path, coc_params *params, bool with_optimizer);

/* A model opened for use: network, parameters and description of a checkpoint, on a device. */
typedef struct {
    coc_network network;
    coc_params *params;
    coc_checkpoint_info info;
} coc_model;

/* A checkpoint, or published weights by the name *.safetensors (profile from their stem). Errors:
 * COC_ERR_IO, COC_ERR_INPUT, COC_ERR_MEMORY. */
coc_status coc_model_open(const char *path, const coc_device *device, coc_model **model);
/* Published weights, whatever their name. */
coc_status coc_model_open_weights(const char *path, const coc_device *device, coc_model **model);
void coc_model_close(coc_model **model);

#endif
