/* train/model_file.h - one tensor of a model to and from the bytes of a file; for the file formats
 * (checkpoint, safetensors) only. Values are float in host memory, whatever the model's device. */
#ifndef COC_TRAIN_MODEL_FILE_H
#define COC_TRAIN_MODEL_FILE_H

#include "model/params.h"

/* Which of the flat buffers a tensor is taken from. Running statistics have only values. */
typedef enum { COC_PART_VALUE, COC_PART_M, COC_PART_V } coc_part;

/* values [tensor->count] <- params, and back. Not for counters (params->batches). */
coc_status coc_tensor_get(const coc_params *params, const coc_tensor *tensor, coc_part part,
                          float *values);
coc_status coc_tensor_set(coc_params *params, const coc_tensor *tensor, coc_part part,
                          const float *values);

/* Room for the largest tensor. The caller frees it. Errors: COC_ERR_MEMORY. */
coc_status coc_tensor_buffer(const coc_params *params, float **values);

/* "[32, 2, 3, 3]" into text; returns text. */
char *coc_shape_text(int dims, const int64_t *shape, char text[128]);

#endif
