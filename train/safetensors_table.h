/* train/safetensors_table.h - the header of a safetensors file, checked against the file's size;
 * for train/safetensors.c only. */
#ifndef COC_TRAIN_SAFETENSORS_TABLE_H
#define COC_TRAIN_SAFETENSORS_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { COC_SAFETENSORS_DIMS = 4 };

typedef struct {
    const char *name; /* borrowed from the table's JSON */
    bool is_int64;    /* else float32: no other type is read */
    int dims;
    int64_t shape[COC_SAFETENSORS_DIMS];
    int64_t begin, end; /* bytes, counted from the start of the data */
} coc_safetensors_row;

typedef struct {
    void *json;
    int64_t data; /* file offset where the tensors begin */
    int64_t count;
    coc_safetensors_row *row; /* [count], sorted by name */
} coc_safetensors_table;

/* Read and check the header: its size against the file's, every name, type, shape and place; the
 * tensors must cover the data exactly, without gap or overlap. The caller frees the table; it is
 * empty after a failure. Errors: COC_ERR_IO, COC_ERR_INPUT (names file, tensor and value). */
coc_status coc_safetensors_table_read(const char *path, coc_safetensors_table *table);
void coc_safetensors_table_free(coc_safetensors_table *table);

/* The row of that name, or NULL. */
const coc_safetensors_row *coc_safetensors_table_find(const coc_safetensors_table *table,
                                                      const char *name);

#endif
