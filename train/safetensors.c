#include "train/safetensors.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "preprocess/features.h"
#include "train/model_file.h"
#include "train/safetensors_table.h"

/* ---- which member of the family -------------------------------------------------------------- */

/* Is the tensor there as a convolution weight [out][in][kernel][kernel]? */
static bool has_conv(const coc_safetensors_table *table, const char *name, int out, int in,
                     int kernel)
{
    const coc_safetensors_row *row = coc_safetensors_table_find(table, name);

    return row != NULL && row->dims == 4 && row->shape[0] == out && row->shape[1] == in &&
           row->shape[2] == kernel && row->shape[3] == kernel;
}

static bool has_block(const coc_safetensors_table *table, const char *prefix, int index,
                      const coc_block *block)
{
    const coc_conv *d = &block->depthwise, *p = &block->project;
    char depthwise[96], project[96];

    snprintf(depthwise, sizeof depthwise, "%s_blocks.%d._depthwise_conv.weight", prefix, index);
    snprintf(project, sizeof project, "%s_blocks.%d._project_conv.weight", prefix, index);
    return has_conv(table, depthwise, d->out_c, 1, d->kernel) &&
           has_conv(table, project, p->out_c, p->in_c, 1);
}

/* The convolutions decide; every other shape is compared when the tensors are read. */
static bool fits(const coc_safetensors_table *table, const coc_network *network)
{
    const coc_conv *stem = &network->stem, *head = &network->head;
    const char *prefix = network->profile->prefix;
    char name[96];

    snprintf(name, sizeof name, "%s_conv_stem.weight", prefix);
    if (!has_conv(table, name, stem->out_c, stem->in_c, stem->kernel)) return false;
    snprintf(name, sizeof name, "%s_conv_head.weight", prefix);
    if (!has_conv(table, name, head->out_c, head->in_c, 1)) return false;
    for (int i = 0; i < network->blocks; i++)
        if (!has_block(table, prefix, i, &network->block[i])) return false;
    snprintf(name, sizeof name, "%s_blocks.%d._project_conv.weight", prefix, network->blocks);
    return coc_safetensors_table_find(table, name) == NULL;
}

static bool member_fits(const coc_safetensors_table *table, const coc_profile *profile,
                        double width, double depth)
{
    coc_network network;

    return coc_network_build(profile, width, depth, COC_BANDS, COC_FRAMES, &network) == COC_OK &&
           fits(table, &network);
}

/* Many widths and depths round to the same shapes, and the shapes are all that counts: take the
 * published pair, then the narrow one, then the smallest of a grid. */
static coc_status find_member(const char *path, const coc_safetensors_table *table,
                              const coc_profile *profile, double *width, double *depth)
{
    enum { STEPS = 80 }; /* of 0.05, up to 4 */

    *width = *depth = 1.0;
    if (member_fits(table, profile, *width, *depth)) return COC_OK;
    *width = 0.35;
    *depth = 0.6;
    if (member_fits(table, profile, *width, *depth)) return COC_OK;
    for (int w = 1; w <= STEPS; w++) {
        for (int d = 1; d <= STEPS; d++) {
            *width = w / 20.0;
            *depth = d / 20.0;
            if (member_fits(table, profile, *width, *depth)) return COC_OK;
        }
    }
    return COC_FAIL(COC_ERR_INPUT,
                    "%s: not a COCOLA model: no width and depth up to 4 of EfficientNet's family "
                    "give its layers",
                    path);
}

/* The first profile whose stem is there and takes the channels that the file's does. */
static coc_status find_profile(const char *path, const coc_safetensors_table *table,
                               const coc_profile **profile)
{
    const coc_profile *profiles;
    const int count = coc_profiles(&profiles);
    long long channels = -1;
    char name[96];

    *profile = NULL;
    for (int i = 0; i < count; i++) {
        const coc_safetensors_row *stem;

        snprintf(name, sizeof name, "%s_conv_stem.weight", profiles[i].prefix);
        stem = coc_safetensors_table_find(table, name);
        if (stem == NULL || stem->dims != 4) continue;
        channels = (long long)stem->shape[1];
        if (channels != profiles[i].channels) continue;
        *profile = &profiles[i];
        return COC_OK;
    }
    if (channels < 0)
        return COC_FAIL(COC_ERR_INPUT, "%s: not a COCOLA model: no convolution '%s'", path, name);
    return COC_FAIL(COC_ERR_INPUT,
                    "%s: its stem takes %lld channels; a COCOLA model takes 1 (log-mel) or 2 "
                    "(harmonic, percussive)",
                    path, channels);
}

/* Of the similarity matrix. */
static coc_status find_embedding(const char *path, const coc_safetensors_table *table,
                                 int64_t *embedding)
{
    const coc_safetensors_row *w = coc_safetensors_table_find(table, "similarity.w");

    if (w == NULL || w->dims != 2 || w->shape[0] != w->shape[1] || w->shape[0] < 1 ||
        w->shape[0] > 8192)
        return COC_FAIL(
            COC_ERR_INPUT,
            "%s: not a COCOLA model: no square matrix 'similarity.w' of up to 8192 rows", path);
    *embedding = (int64_t)w->shape[0];
    return COC_OK;
}

coc_status coc_safetensors_identify(const char *path, const coc_profile **profile, double *width,
                                    double *depth, int64_t *embedding)
{
    coc_safetensors_table table;
    coc_status status;

    *profile = NULL;
    *width = *depth = 0;
    *embedding = 0;
    COC_TRY(coc_safetensors_table_read(path, &table));
    status = find_profile(path, &table, profile);
    if (status == COC_OK) status = find_member(path, &table, *profile, width, depth);
    if (status == COC_OK) status = find_embedding(path, &table, embedding);
    coc_safetensors_table_free(&table);
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool same_shape(const coc_safetensors_row *row, const coc_tensor *tensor)
{
    if (row->dims != tensor->dims) return false;
    for (int i = 0; i < row->dims; i++)
        if (row->shape[i] != tensor->shape[i]) return false;
    return true;
}

static coc_status check_tensor(const char *path, const coc_safetensors_table *table,
                               const coc_tensor *tensor)
{
    const coc_safetensors_row *row = coc_safetensors_table_find(table, tensor->name);
    const bool counter = tensor->kind == COC_TENSOR_COUNTER;
    char there[128], here[128];

    if (row == NULL)
        return COC_FAIL(COC_ERR_INPUT, "%s: tensor '%s' is missing", path, tensor->name);
    if (row->is_int64 != counter)
        return COC_FAIL(COC_ERR_INPUT, "%s: tensor '%s' is %s, it must be %s", path, tensor->name,
                        row->is_int64 ? "I64" : "F32", counter ? "I64" : "F32");
    if (same_shape(row, tensor)) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT, "%s: tensor '%s' has shape %s, this model needs %s", path,
                    tensor->name, coc_shape_text(row->dims, row->shape, there),
                    coc_shape_text(tensor->dims, tensor->shape, here));
}

/* The tensors of file and model are the same, before anything is read. */
static coc_status check_all(const char *path, const coc_safetensors_table *table,
                            const coc_params *params)
{
    for (int i = 0; i < params->tensors; i++)
        COC_TRY(check_tensor(path, table, &params->tensor[i]));
    for (int64_t i = 0; i < table->count && table->count != params->tensors; i++)
        if (coc_params_find(params, table->row[i].name) == NULL)
            return COC_FAIL(COC_ERR_INPUT, "%s: tensor '%s' is none of this model", path,
                            table->row[i].name);
    return COC_OK;
}

static coc_status read_bytes(const char *path, FILE *file, const coc_safetensors_table *table,
                             const coc_safetensors_row *row, void *bytes)
{
    const size_t count = (size_t)(row->end - row->begin);

    if (fseeko(file, (off_t)(table->data + row->begin), SEEK_SET) == 0 &&
        fread(bytes, 1, count, file) == count)
        return COC_OK;
    return COC_FAIL(COC_ERR_IO, "%s: tensor '%s' cannot be read", path, row->name);
}

static coc_status read_counter(const char *path, FILE *file, const coc_safetensors_table *table,
                               const coc_safetensors_row *row, bool first, coc_params *params)
{
    int64_t batches;

    COC_TRY(read_bytes(path, file, table, row, &batches));
    if (!first && batches != params->batches)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: tensor '%s' is %lld, another norm's is %lld: one model has one number "
                        "of batches",
                        path, row->name, (long long)batches, (long long)params->batches);
    params->batches = batches;
    return COC_OK;
}

static coc_status read_values(const char *path, FILE *file, const coc_safetensors_table *table,
                              const coc_safetensors_row *row, coc_params *params,
                              const coc_tensor *tensor, float *values)
{
    COC_TRY(read_bytes(path, file, table, row, values));
    for (int64_t i = 0; i < tensor->count; i++)
        if (!isfinite(values[i]))
            return COC_FAIL(COC_ERR_INPUT, "%s: tensor '%s': value %lld is not finite", path,
                            tensor->name, (long long)i);
    return coc_tensor_set(params, tensor, COC_PART_VALUE, values);
}

static coc_status read_all(const char *path, FILE *file, const coc_safetensors_table *table,
                           coc_params *params, float *values)
{
    bool first = true;

    for (int i = 0; i < params->tensors; i++) {
        const coc_tensor *tensor = &params->tensor[i];
        const coc_safetensors_row *row = coc_safetensors_table_find(table, tensor->name);

        if (tensor->kind != COC_TENSOR_COUNTER) {
            COC_TRY(read_values(path, file, table, row, params, tensor, values));
            continue;
        }
        COC_TRY(read_counter(path, file, table, row, first, params));
        first = false;
    }
    return COC_OK;
}

coc_status coc_safetensors_read(const char *path, coc_params *params)
{
    coc_safetensors_table table;
    float *values = NULL;
    FILE *file = NULL;
    coc_status status;

    COC_TRY(coc_safetensors_table_read(path, &table));
    COC_TRY_GOTO(status, check_all(path, &table, params), end);
    COC_TRY_GOTO(status, coc_tensor_buffer(params, &values), end);
    file = fopen(path, "rb");
    status = file != NULL ? read_all(path, file, &table, params, values)
                          : COC_FAIL(COC_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    if (file != NULL) fclose(file);
end:
    free(values);
    coc_safetensors_table_free(&table);
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The order of the safetensors library: wider types first, then by name. So a file that it wrote
 * comes out again byte for byte. */
static int compare_tensors(const void *a, const void *b)
{
    const coc_tensor *x = *(const coc_tensor *const *)a, *y = *(const coc_tensor *const *)b;
    const int counters = (y->kind == COC_TENSOR_COUNTER) - (x->kind == COC_TENSOR_COUNTER);

    return counters != 0 ? counters : strcmp(x->name, y->name);
}

typedef struct {
    char *text;
    int64_t length, capacity;
} text_buffer;

static coc_status append(text_buffer *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static coc_status append(text_buffer *b, const char *format, ...)
{
    enum { PIECE = 512 }; /* longer than any entry of the header */
    va_list arguments;

    COC_TRY(coc_grow(&b->text, &b->capacity, b->length + PIECE, 1));
    va_start(arguments, format);
    b->length += vsnprintf(b->text + b->length, PIECE, format, arguments);
    va_end(arguments);
    return COC_OK;
}

static coc_status append_entry(text_buffer *b, const coc_tensor *tensor, int64_t begin,
                               int64_t *end)
{
    const bool counter = tensor->kind == COC_TENSOR_COUNTER;

    *end = begin + tensor->count * (counter ? 8 : 4);
    COC_TRY(append(b, "%c\"%s\":{\"dtype\":\"%s\",\"shape\":[", b->length == 0 ? '{' : ',',
                   tensor->name, counter ? "I64" : "F32"));
    for (int i = 0; i < tensor->dims; i++)
        COC_TRY(append(b, "%s%lld", i > 0 ? "," : "", (long long)tensor->shape[i]));
    return append(b, "],\"data_offsets\":[%lld,%lld]}", (long long)begin, (long long)*end);
}

static coc_status make_header(const coc_tensor *const *order, int count, text_buffer *b)
{
    int64_t end = 0;

    for (int i = 0; i < count; i++)
        COC_TRY(append_entry(b, order[i], end, &end));
    COC_TRY(append(b, "}"));
    while (b->length % 8 != 0) /* tensors begin aligned */
        COC_TRY(append(b, " "));
    return COC_OK;
}

static bool write_header(FILE *file, const text_buffer *b)
{
    unsigned char word[8];

    for (int i = 0; i < 8; i++)
        word[i] = (unsigned char)((uint64_t)b->length >> 8 * i);
    return fwrite(word, 1, sizeof word, file) == sizeof word &&
           fwrite(b->text, 1, (size_t)b->length, file) == (size_t)b->length;
}

/* *good false: the system refused to write. */
static coc_status write_tensors(FILE *file, const coc_params *params,
                                const coc_tensor *const *order, float *values, bool *good)
{
    for (int i = 0; i < params->tensors && *good; i++) {
        const size_t count = (size_t)order[i]->count;

        if (order[i]->kind == COC_TENSOR_COUNTER) {
            *good = fwrite(&params->batches, sizeof params->batches, 1, file) == 1;
            continue;
        }
        COC_TRY(coc_tensor_get(params, order[i], COC_PART_VALUE, values));
        *good = fwrite(values, sizeof *values, count, file) == count;
    }
    return COC_OK;
}

static coc_status write_file(const char *path, const coc_params *params,
                             const coc_tensor *const *order, const text_buffer *header,
                             float *values)
{
    char temporary[COC_PATH_BYTES];
    coc_status status = COC_OK;
    FILE *file;
    bool good;

    COC_TRY(coc_new_file_path(path, temporary));
    file = fopen(temporary, "wb");
    if (file == NULL)
        return COC_FAIL(COC_ERR_IO, "%s: cannot be created: %s", path, strerror(errno));
    good = write_header(file, header);
    if (good) status = write_tensors(file, params, order, values, &good);
    if (fclose(file) != 0) good = false;
    if (status == COC_OK && !good)
        status = COC_FAIL(COC_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    if (status == COC_OK) status = coc_file_publish(temporary, path);
    if (status != COC_OK) coc_file_discard(temporary);
    return status;
}

coc_status coc_safetensors_write(const char *path, const coc_params *params)
{
    const coc_tensor **order = NULL;
    text_buffer header = {0};
    float *values = NULL;
    coc_status status;

    COC_TRY_GOTO(status, coc_alloc(params->tensors, sizeof *order, &order), end);
    for (int i = 0; i < params->tensors; i++)
        order[i] = &params->tensor[i];
    qsort(order, (size_t)params->tensors, sizeof *order, compare_tensors);
    COC_TRY_GOTO(status, make_header(order, params->tensors, &header), end);
    COC_TRY_GOTO(status, coc_tensor_buffer(params, &values), end);
    status = write_file(path, params, order, &header, values);
end:
    free(values);
    free(header.text);
    free(order);
    return status;
}
