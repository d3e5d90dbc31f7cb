#include "train/checkpoint_image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static const int64_t BYTES_LIMIT = 1LL << 36;
static const char MAGIC[] = "cocola checkpoint ";

/* The whole block is text, and a function of size and hash: what does not equal it is damaged. */
static void make_block(int64_t bytes, uint64_t hash, char block[COC_IMAGE_BLOCK])
{
    const int n = snprintf(block, COC_IMAGE_BLOCK, "%s%d\nbytes %" PRId64 "\nxxh3-64 %016" PRIx64,
                           MAGIC, COC_CHECKPOINT_SCHEMA, bytes, hash);

    memset(block + n, '\n', (size_t)(COC_IMAGE_BLOCK - n));
}

coc_status coc_image_write(const char *path, char *bytes, size_t count, uint64_t *hash)
{
    *hash = coc_hash(bytes + COC_IMAGE_BLOCK, count - COC_IMAGE_BLOCK);
    make_block((int64_t)count, *hash, bytes);
    return coc_file_write(path, bytes, count);
}

/* Why a file whose block does not begin as ours is refused. */
static coc_status refuse_foreign(const char *path, const char *block, size_t count)
{
    if (count >= 8 && memcmp(block, "\211HDF\r\n\032\n", 8) == 0)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: an HDF5 file, but no checkpoint of cocola (is it part of a store?)",
                        path);
    return COC_FAIL(COC_ERR_INPUT,
                    "%s: not a checkpoint of cocola; published weights (.safetensors) are read by "
                    "`cocola import`",
                    path);
}

/* Schema, length and hash as the block states them, for a message about what is wrong. */
static coc_status check_block(const char *path, const char *block, size_t count, int64_t file_bytes,
                              uint64_t *hash)
{
    char text[COC_IMAGE_BLOCK + 1], made[COC_IMAGE_BLOCK];
    int64_t bytes;
    int schema;

    if (count < sizeof MAGIC || memcmp(block, MAGIC, sizeof MAGIC - 1) != 0)
        return refuse_foreign(path, block, count);
    if (count < COC_IMAGE_BLOCK)
        return COC_FAIL(COC_ERR_INPUT, "%s: a checkpoint cut after %zu bytes", path, count);
    memcpy(text, block, COC_IMAGE_BLOCK);
    text[COC_IMAGE_BLOCK] = '\0';
    if (sscanf(text + sizeof MAGIC - 1, "%d\nbytes %" SCNd64 "\nxxh3-64 %" SCNx64, &schema, &bytes,
               hash) != 3)
        return COC_FAIL(COC_ERR_INPUT, "%s: a damaged checkpoint: its first lines are broken",
                        path);
    if (schema != COC_CHECKPOINT_SCHEMA)
        return COC_FAIL(COC_ERR_INPUT, "%s: a checkpoint of schema %d; this program reads %d", path,
                        schema, COC_CHECKPOINT_SCHEMA);
    if (bytes != file_bytes)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: a checkpoint of %" PRId64 " bytes, of which %" PRId64
                        " are there: cut, or not copied to its end",
                        path, bytes, file_bytes);
    make_block(bytes, *hash, made);
    if (memcmp(block, made, COC_IMAGE_BLOCK) == 0) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT, "%s: a damaged checkpoint: its first %d bytes are broken", path,
                    COC_IMAGE_BLOCK);
}

static coc_status check_start(const char *path, uint64_t *hash)
{
    const int64_t file_bytes = coc_file_bytes(path);
    char block[COC_IMAGE_BLOCK];
    size_t count;
    FILE *file;

    if (coc_is_folder(path))
        return COC_FAIL(COC_ERR_INPUT, "%s: a folder; name one file, as RUN/checkpoints/last.h5",
                        path);
    file = fopen(path, "rb");
    if (file == NULL)
        return COC_FAIL(COC_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    count = fread(block, 1, sizeof block, file);
    fclose(file);
    return check_block(path, block, count, file_bytes, hash);
}

coc_status coc_image_read(const char *path, char **bytes, size_t *count, uint64_t *hash)
{
    uint64_t stated;

    *bytes = NULL;
    *count = 0;
    *hash = 0;
    COC_TRY(check_start(path, &stated));
    COC_TRY(coc_file_read(path, BYTES_LIMIT, bytes, count));
    if (*count > COC_IMAGE_BLOCK)
        *hash = coc_hash(*bytes + COC_IMAGE_BLOCK, *count - COC_IMAGE_BLOCK);
    if (*count > COC_IMAGE_BLOCK && *hash == stated) return COC_OK;
    free(*bytes);
    *bytes = NULL;
    return COC_FAIL(COC_ERR_INPUT,
                    "%s: a damaged checkpoint: its content has the hash %016" PRIx64 ", %016" PRIx64
                    " was written; use another one or copy it again",
                    path, *hash, stated);
}
