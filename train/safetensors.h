/* train/safetensors.h - the published model's file format: 8 bytes of length, JSON header, raw
 * tensors. A foreign file is hostile: header size, names, types, shapes and offsets are checked
 * before memory is taken. */
#ifndef COC_TRAIN_SAFETENSORS_H
#define COC_TRAIN_SAFETENSORS_H

#include "model/params.h"

/* The profile whose stem convolution this is, and a width and depth of it whose layers have these
 * shapes (several round to the same: 1 and 1 are preferred, then 0.35 and 0.6, then the least);
 * embedding: rows of W.
 * Errors: COC_ERR_IO, COC_ERR_INPUT (not safetensors, or not a COCOLA model: says why). */
coc_status coc_safetensors_identify(const char *path, const coc_profile **profile, double *width,
                                    double *depth, int64_t *embedding);

/* All tensors of params from the file; every name must be there, none may be left over. Names,
 * types and shapes are compared before anything is read; params' values are undefined after a
 * failure of the disk. Errors: COC_ERR_IO, COC_ERR_INPUT (names the tensor; both shapes). */
coc_status coc_safetensors_read(const char *path, coc_params *params);

/* All tensors of params, atomically and bit-exact, in the order of the safetensors library
 * (counters, then weights, each by name): what that library wrote and we read is written byte for
 * byte. Errors: COC_ERR_IO (nothing is left under the name). */
coc_status coc_safetensors_write(const char *path, const coc_params *params);

#endif
