/* train/checkpoint_hdf5.h - HDF5 objects of a checkpoint, in memory; for train/checkpoint.c only.
 *
 * Files are written and read as images (train/checkpoint_image.h), so HDF5 never touches the disk.
 * Every type and shape is compared before a value is read.
 */
#ifndef COC_TRAIN_CHECKPOINT_HDF5_H
#define COC_TRAIN_CHECKPOINT_HDF5_H

#include <stdbool.h>

#include <hdf5.h>

#include "model/params.h"

typedef struct {
    hid_t file;
    const char *path; /* for messages; borrowed */
} coc_h5;

/* A new file in memory; the bytes of what was written, with COC_IMAGE_BLOCK bytes in front, the
 * caller's. Errors: COC_ERR_MEMORY. */
coc_status coc_h5_create(const char *path, coc_h5 *h5);
coc_status coc_h5_finish(coc_h5 *h5, char **bytes, size_t *count);

/* Open the bytes of a file, block included; they may be freed afterwards. Errors: COC_ERR_INPUT. */
coc_status coc_h5_open(const char *path, const char *bytes, size_t count, coc_h5 *h5);
void coc_h5_close(coc_h5 *h5); /* takes one that is closed */

/* Attributes of the root. Errors of get: COC_ERR_INPUT, naming the attribute. */
coc_status coc_h5_put_text(coc_h5 *h5, const char *name, const char *value);
coc_status coc_h5_put_int(coc_h5 *h5, const char *name, int64_t value);
coc_status coc_h5_put_double(coc_h5 *h5, const char *name, double value);
bool coc_h5_has_attribute(const coc_h5 *h5, const char *name);
coc_status coc_h5_get_text(const coc_h5 *h5, const char *name, char **value); /* free() */
coc_status coc_h5_get_int(const coc_h5 *h5, const char *name, int64_t *value);
coc_status coc_h5_get_double(const coc_h5 *h5, const char *name, double *value);

bool coc_h5_has_group(const coc_h5 *h5, const char *name);
coc_status coc_h5_put_group(coc_h5 *h5, const char *name);

/* A data set named after the tensor in a group: float32, or int64 for a counter. Errors of get:
 * COC_ERR_INPUT when it is missing or of another type or shape (names it). */
coc_status coc_h5_put_tensor(coc_h5 *h5, const char *group, const coc_tensor *tensor,
                             const void *values);
coc_status coc_h5_get_tensor(const coc_h5 *h5, const char *group, const coc_tensor *tensor,
                             void *values);

/* Fails, naming it, when the group holds a name that is no tensor of params. */
coc_status coc_h5_check_names(const coc_h5 *h5, const char *group, const coc_params *params);

#endif
