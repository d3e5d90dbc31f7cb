/* train/checkpoint_image.h - the bytes of a checkpoint file: an HDF5 image behind a block of text
 * that states their number and hash; for train/checkpoint.c only.
 *
 * HDF5 leaves room for such a block (its "user block") and reads past it. So a file that is cut,
 * flipped or foreign is found before HDF5 sees it, and the hash covers every byte.
 */
#ifndef COC_TRAIN_CHECKPOINT_IMAGE_H
#define COC_TRAIN_CHECKPOINT_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { COC_CHECKPOINT_SCHEMA = 1, COC_IMAGE_BLOCK = 512 };

/* Fill in the first COC_IMAGE_BLOCK bytes and write everything, whole or not at all; *hash is that
 * of the rest. Errors: COC_ERR_IO (nothing is left under the name). */
coc_status coc_image_write(const char *path, char *bytes, size_t count, uint64_t *hash);

/* Read a file and check its block; *bytes is the caller's, freed with free(). The length is
 * compared before memory is taken. Errors: COC_ERR_IO, COC_ERR_INPUT (says what is wrong with the
 * file), COC_ERR_MEMORY. */
coc_status coc_image_read(const char *path, char **bytes, size_t *count, uint64_t *hash);

#endif
