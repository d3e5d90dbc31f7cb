/* preprocess/shard_columns.h - the table of a shard's columns. Private to preprocess/shard*.c. */
#ifndef COC_PREPROCESS_SHARD_COLUMNS_H
#define COC_PREPROCESS_SHARD_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>

#include "preprocess/shard.h"

#define COC_SHARD_FORMAT "cocola shard"

typedef enum { COC_COLUMN_U64, COC_COLUMN_I64, COC_COLUMN_F32, COC_COLUMN_TEXT } coc_column_kind;

typedef struct {
    const char *path; /* of the data set: "stems/name" */
    coc_column_kind kind;
    int table;
    size_t offset; /* in a row of the table */
    bool hashed;   /* part of the content */
    const char *unit, *help;
} coc_column;

/* In the order in which they are written and hashed; a table's come together. */
const coc_column *coc_shard_columns(int *count);

/* First row of a table, and the size of a row. */
size_t coc_column_rows(const coc_shard_index *index, int table, char **rows);

/* A column as it lies in the file: [count][width] bytes; texts end in at least one zero. */
typedef struct {
    char *bytes; /* freed with free() */
    size_t width;
    int64_t count;
} coc_column_data;
coc_status coc_column_gather(const coc_column *column, const coc_shard_index *index,
                             coc_column_data *data);

hid_t coc_column_memory_type(const coc_column *column, size_t width);

uint64_t coc_shard_settings_hash(const coc_store_settings *settings);

#endif
