/* preprocess/shard_index.c - a shard's tables in memory. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "preprocess/shard_columns.h"
#include "preprocess/store.h"

coc_store_settings coc_store_settings_of(const char *layout)
{
    coc_store_settings s = {.resampler = "soxr HQ"};

    snprintf(s.layout, sizeof s.layout, "%s", layout);
    return s;
}

int64_t coc_level_count(int64_t samples)
{
    return samples / COC_STORE_LEVEL_SAMPLES + (samples % COC_STORE_LEVEL_SAMPLES != 0);
}

int64_t coc_block_count(int64_t samples)
{
    return samples / COC_STORE_BLOCK + (samples % COC_STORE_BLOCK != 0);
}

/* Rows of different types behind one way to grow them. */
static void *pointer_to(coc_shard_index *index, int table, size_t *row)
{
    switch (table) {
    case COC_TABLE_TRACKS:
        *row = sizeof *index->track;
        return &index->track;
    case COC_TABLE_STEMS:
        *row = sizeof *index->stem;
        return &index->stem;
    case COC_TABLE_LEVELS:
        *row = sizeof *index->level;
        return &index->level;
    case COC_TABLE_BLOCKS:
        *row = sizeof *index->block;
        return &index->block;
    default:
        *row = sizeof *index->skip;
        return &index->skip;
    }
}

size_t coc_column_rows(const coc_shard_index *index, int table, char **rows)
{
    coc_shard_index view = *index;
    size_t row;

    memcpy(rows, pointer_to(&view, table, &row), sizeof *rows);
    return row;
}

coc_status coc_shard_index_add(coc_shard_index *index, int table, int64_t more)
{
    size_t row;
    void *pointer = pointer_to(index, table, &row);
    char *rows;

    COC_TRY(coc_grow(pointer, &index->capacity[table], index->rows[table] + more, row));
    memcpy(&rows, pointer, sizeof rows);
    if (more > 0) memset(rows + (size_t)index->rows[table] * row, 0, (size_t)more * row);
    index->rows[table] += more;
    return COC_OK;
}

void coc_shard_index_cut(coc_shard_index *index, int table, int64_t rows)
{
    for (int64_t i = rows; i < index->rows[table]; i++) {
        if (table == COC_TABLE_TRACKS) free(index->track[i].name);
        if (table == COC_TABLE_SKIPPED) {
            free(index->skip[i].name);
            free(index->skip[i].reason);
        }
        if (table == COC_TABLE_STEMS) {
            free(index->stem[i].name);
            free(index->stem[i].instrument);
            free(index->stem[i].source);
        }
    }
    index->rows[table] = rows;
}

void coc_shard_index_free(coc_shard_index *index)
{
    for (int table = 0; table < COC_TABLES; table++)
        coc_shard_index_cut(index, table, 0);
    free(index->track);
    free(index->stem);
    free(index->level);
    free(index->block);
    free(index->skip);
    *index = (coc_shard_index){0};
}

coc_status coc_shard_track_id(const coc_shard_stem *stem, int64_t stems, const uint64_t *block,
                              uint64_t *id)
{
    int64_t count = 0, blocks = 0;
    uint64_t *words;

    for (int64_t s = 0; s < stems; s++)
        blocks += coc_block_count(stem[s].samples);
    COC_TRY(coc_alloc(blocks + 2 * stems, sizeof *words, &words));
    for (int64_t s = 0; s < stems; s++) {
        words[count++] = (uint64_t)stem[s].samples;
        words[count++] = (uint64_t)stem[s].exponent;
    }
    if (blocks > 0) memcpy(words + count, block, (size_t)blocks * sizeof *words);
    *id = coc_hash(words, (size_t)(count + blocks) * sizeof *words);
    free(words);
    return COC_OK;
}

void coc_shard_name(int64_t number, char name[COC_SHARD_NAME])
{
    snprintf(name, COC_SHARD_NAME, "shard-%05" PRId64 ".h5", number);
}

int64_t coc_shard_number(const char *name)
{
    char again[COC_SHARD_NAME];
    int64_t number;

    if (sscanf(name, "shard-%12" SCNd64, &number) != 1 || number < 0) return -1;
    coc_shard_name(number, again);
    return strcmp(name, again) == 0 ? number : -1;
}
