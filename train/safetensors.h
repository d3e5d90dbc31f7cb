/* train/safetensors.h - the published model's file format: 8 bytes of length, JSON header, raw
 * tensors. A foreign file is hostile: header size, names, types, shapes and offsets are checked
 * before memory is taken. */
#ifndef COC_TRAIN_SAFETENSORS_H
#define COC_TRAIN_SAFETENSORS_H

#include "model/params.h"

/* Channels of the stem convolution, and the width and depth of the family member whose shapes fit.
 * Errors: COC_ERR_IO, COC_ERR_INPUT (not safetensors, or not a COCOLA model: says why). */
coc_status coc_safetensors_identify(const char *path, int *channels, double *width, double *depth);

/* All tensors of params from the file; every name must be there, none may be left over. */
coc_status coc_safetensors_read(const char *path, coc_params *params);

/* All tensors of params, sorted by name, atomically. Bit-exact. */
coc_status coc_safetensors_write(const char *path, const coc_params *params);

#endif
