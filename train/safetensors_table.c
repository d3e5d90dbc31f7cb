#include "train/safetensors_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "base/memory.h"

/* The largest member of the family that we build has about 1,400 tensors of 120 bytes of text. */
enum { LENGTH_BYTES = 8, HEADER_LIMIT = 4 << 20, NAME_LIMIT = 95 };
static const int64_t SIDE_LIMIT = 1 << 24;    /* of one dimension */
static const int64_t BYTES_LIMIT = 1LL << 40; /* of one tensor */

/* The JSON text at the start of the file. The caller frees it. */
static coc_status read_text(const char *path, FILE *file, int64_t file_bytes, char **text,
                            int64_t *length)
{
    unsigned char word[LENGTH_BYTES];
    uint64_t n = 0;

    *text = NULL;
    if (fread(word, 1, sizeof word, file) != sizeof word)
        return COC_FAIL(COC_ERR_INPUT, "%s: %lld bytes: too short for a safetensors file", path,
                        (long long)file_bytes);
    if (memcmp(word, "PK\x03\x04", 4) == 0)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: a PyTorch file, not safetensors; save its state_dict with "
                        "safetensors.torch.save_file",
                        path);
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        n = n << 8 | word[i];
    if (n < 2 || n > HEADER_LIMIT || (int64_t)n > file_bytes - LENGTH_BYTES)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: not a safetensors model, or cut: a header of %llu bytes in a file of "
                        "%lld",
                        path, (unsigned long long)n, (long long)file_bytes);
    *length = (int64_t)n;
    COC_TRY(coc_alloc(*length, 1, text));
    if (fread(*text, 1, (size_t)*length, file) == (size_t)*length) return COC_OK;
    free(*text);
    *text = NULL;
    return COC_FAIL(COC_ERR_IO, "%s: the header cannot be read", path);
}

static coc_status parse_text(const char *path, const char *text, int64_t length, json_t **json)
{
    json_error_t error;

    *json = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (*json == NULL)
        return COC_FAIL(COC_ERR_INPUT, "%s: not a safetensors model: header, byte %d: %s", path,
                        error.position, error.text);
    if (json_is_object(*json)) return COC_OK;
    json_decref(*json);
    *json = NULL;
    return COC_FAIL(COC_ERR_INPUT, "%s: not a safetensors model: the header is no JSON object",
                    path);
}

/* Names go into messages: short and printable, or the file is none of ours. */
static coc_status check_name(const char *path, const char *name)
{
    const size_t length = strlen(name);

    for (size_t i = 0; i < length; i++)
        if (length > NAME_LIMIT || name[i] < ' ' || name[i] > '~')
            return COC_FAIL(COC_ERR_INPUT,
                            "%s: not a COCOLA model: a tensor's name is over %d bytes or not plain "
                            "text",
                            path, NAME_LIMIT);
    return COC_OK;
}

static coc_status parse_type(const char *path, const json_t *entry, coc_safetensors_row *row)
{
    const char *type = json_string_value(json_object_get(entry, "dtype"));

    if (type == NULL)
        return COC_FAIL(COC_ERR_INPUT, "%s: tensor '%s' has no dtype", path, row->name);
    row->is_int64 = strcmp(type, "I64") == 0;
    if (row->is_int64 || strcmp(type, "F32") == 0) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT,
                    "%s: tensor '%s' is of type '%.16s'; only F32 weights (and I64 counters) are "
                    "read: save the model in float32",
                    path, row->name, type);
}

/* *bytes: what the shape needs. */
static coc_status parse_shape(const char *path, const json_t *entry, coc_safetensors_row *row,
                              int64_t *bytes)
{
    const json_t *shape = json_object_get(entry, "shape");

    *bytes = row->is_int64 ? 8 : 4;
    if (!json_is_array(shape) || json_array_size(shape) > COC_SAFETENSORS_DIMS)
        return COC_FAIL(COC_ERR_INPUT, "%s: tensor '%s': shape is no list of at most %d numbers",
                        path, row->name, COC_SAFETENSORS_DIMS);
    row->dims = (int)json_array_size(shape);
    for (int i = 0; i < row->dims; i++) {
        const json_t *number = json_array_get(shape, (size_t)i);
        const int64_t side = json_is_integer(number) ? json_integer_value(number) : -1;

        if (side < 1 || side > SIDE_LIMIT || *bytes > BYTES_LIMIT / side)
            return COC_FAIL(COC_ERR_INPUT, "%s: tensor '%s': dimension %d of its shape is bad",
                            path, row->name, i);
        row->shape[i] = side;
        *bytes *= side;
    }
    return COC_OK;
}

static coc_status parse_place(const char *path, const json_t *entry, int64_t bytes,
                              int64_t data_bytes, coc_safetensors_row *row)
{
    const json_t *place = json_object_get(entry, "data_offsets");
    const json_t *begin = json_array_get(place, 0), *end = json_array_get(place, 1);

    if (json_array_size(place) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return COC_FAIL(COC_ERR_INPUT, "%s: tensor '%s': data_offsets are no two numbers", path,
                        row->name);
    row->begin = json_integer_value(begin);
    row->end = json_integer_value(end);
    if (row->begin < 0 || row->end < row->begin || row->end > data_bytes)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: cut, or foreign: tensor '%s' is said to lie at bytes %lld to %lld of "
                        "%lld",
                        path, row->name, (long long)row->begin, (long long)row->end,
                        (long long)data_bytes);
    if (row->end - row->begin != bytes)
        return COC_FAIL(COC_ERR_INPUT, "%s: tensor '%s' has %lld bytes, its shape needs %lld", path,
                        row->name, (long long)(row->end - row->begin), (long long)bytes);
    return COC_OK;
}

static coc_status parse_rows(const char *path, json_t *json, int64_t data_bytes,
                             coc_safetensors_table *table)
{
    const char *name;
    json_t *entry;

    COC_TRY(coc_alloc((int64_t)json_object_size(json), sizeof *table->row, &table->row));
    json_object_foreach(json, name, entry)
    {
        coc_safetensors_row *row = &table->row[table->count];
        int64_t bytes;

        if (strcmp(name, "__metadata__") == 0) continue;
        *row = (coc_safetensors_row){.name = name};
        COC_TRY(check_name(path, name));
        COC_TRY(parse_type(path, entry, row));
        COC_TRY(parse_shape(path, entry, row, &bytes));
        COC_TRY(parse_place(path, entry, bytes, data_bytes, row));
        table->count++;
    }
    if (table->count == 0) return COC_FAIL(COC_ERR_INPUT, "%s: holds no tensor", path);
    return COC_OK;
}

static int compare_places(const void *a, const void *b)
{
    const coc_safetensors_row *x = a, *y = b;

    return (x->begin > y->begin) - (x->begin < y->begin);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const coc_safetensors_row *)a)->name, ((const coc_safetensors_row *)b)->name);
}

/* Every byte of the data belongs to exactly one tensor. */
static coc_status check_cover(const char *path, coc_safetensors_table *table, int64_t data_bytes)
{
    int64_t end = 0;

    qsort(table->row, (size_t)table->count, sizeof *table->row, compare_places);
    for (int64_t i = 0; i < table->count; i++) {
        const coc_safetensors_row *row = &table->row[i];

        if (row->begin != end)
            return COC_FAIL(COC_ERR_INPUT,
                            "%s: tensor '%s' begins at byte %lld, where the one before it ends at "
                            "%lld",
                            path, row->name, (long long)row->begin, (long long)end);
        end = row->end;
    }
    if (end == data_bytes) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT, "%s: %lld bytes behind the last tensor belong to none", path,
                    (long long)(data_bytes - end));
}

static coc_status read_table(const char *path, FILE *file, coc_safetensors_table *table)
{
    const int64_t file_bytes = coc_file_bytes(path);
    json_t *json = NULL;
    char *text = NULL;
    int64_t length = 0;
    coc_status status;

    if (file_bytes < 0) return COC_FAIL(COC_ERR_IO, "%s: not a regular file", path);
    COC_TRY(read_text(path, file, file_bytes, &text, &length));
    status = parse_text(path, text, length, &json);
    free(text);
    if (status != COC_OK) return status;
    table->json = json;
    table->data = LENGTH_BYTES + length;
    COC_TRY(parse_rows(path, json, file_bytes - table->data, table));
    COC_TRY(check_cover(path, table, file_bytes - table->data));
    qsort(table->row, (size_t)table->count, sizeof *table->row, compare_names);
    return COC_OK;
}

coc_status coc_safetensors_table_read(const char *path, coc_safetensors_table *table)
{
    FILE *file = fopen(path, "rb");
    coc_status status;

    *table = (coc_safetensors_table){0};
    if (file == NULL)
        return COC_FAIL(COC_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    status = read_table(path, file, table);
    fclose(file);
    if (status != COC_OK) coc_safetensors_table_free(table);
    return status;
}

void coc_safetensors_table_free(coc_safetensors_table *table)
{
    free(table->row);
    json_decref(table->json);
    *table = (coc_safetensors_table){0};
}

const coc_safetensors_row *coc_safetensors_table_find(const coc_safetensors_table *table,
                                                      const char *name)
{
    const coc_safetensors_row key = {.name = name};

    return bsearch(&key, table->row, (size_t)table->count, sizeof *table->row, compare_names);
}
