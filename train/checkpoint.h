/* train/checkpoint.h - a model on disk: HDF5, tensors under their published names.
 *
 * docs/checkpoint.md is the schema. Written to a temporary name, fsynced, renamed; a hash over all
 * content stands in it. A file that is cut, flipped, or of another profile or feature kind is
 * refused by name.
 */
#ifndef COC_TRAIN_CHECKPOINT_H
#define COC_TRAIN_CHECKPOINT_H

#include "model/params.h"

/* What stands beside the tensors. */
typedef struct {
    char profile[32];
    double width, depth;
    coc_feature_kind features;
    int64_t step;           /* updates done; also the position of the optimizer */
    int64_t steps;          /* of the whole run; 0: unknown */
    int64_t position;       /* next training position (pairs) */
    int64_t ranks;          /* that wrote it */
    double valid_loss;      /* NAN: not validated */
    int64_t bn_reestimated; /* clips over which running statistics were measured anew; 0: not */
    char *settings;         /* YAML of all settings in force; NULL for an imported model */
    uint64_t hash;          /* of all content */
} coc_checkpoint_info;

void coc_checkpoint_info_free(coc_checkpoint_info *info);

/* Write tensors and, if with_optimizer, Adam's moments. info->hash is filled in. Not collective
 * (rank 0 calls it). Errors: COC_ERR_IO (full disk: nothing is left under the name). */
coc_status coc_checkpoint_write(const char *path, const coc_params *params,
                                coc_checkpoint_info *info, bool with_optimizer);

/* Read only the description, after checking that the file is whole. */
coc_status coc_checkpoint_read_info(const char *path, coc_checkpoint_info *info);

/* Read tensors into params, whose network must fit (names and shapes are compared), and the moments
 * if with_optimizer. Errors: COC_ERR_INPUT. */
coc_status coc_checkpoint_read(const char *path, coc_params *params, bool with_optimizer);

/* A model opened for use: network, parameters and description of a checkpoint, on a backend. */
typedef struct {
    coc_network network;
    coc_params *params;
    coc_checkpoint_info info;
} coc_model;
coc_status coc_model_open(const char *path, const coc_device *device, coc_model **model);
void coc_model_close(coc_model **model);

/* The newest valid checkpoint of a run's folder; *found false when there is none. Broken ones are
 * warned of and passed over. */
coc_status coc_checkpoint_find_last(const char *run, char path[4096], bool *found);

#endif
