/* train/pair_list.c - pairs of sound files from a CSV file (RFC 4180). */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "train/score.h"

enum { MAX_COLUMNS = 64 };
static const int64_t BYTES_LIMIT = 1 << 30;

typedef struct {
    const char *path;
    char *at;       /* what comes next; fields are unquoted where they stand */
    int64_t line;   /* of it */
    int64_t record; /* line where the record began */
    char *field[MAX_COLUMNS];
    int fields;
} reader;

static bool ends_field(char c)
{
    return c == ',' || c == '\n' || c == '\r' || c == '\0';
}

/* at stands behind the opening quote; the text moves one byte to the front for every "". */
static coc_status read_quoted(reader *r, char **end)
{
    char *to = r->at;

    for (;; r->at++) {
        if (*r->at == '\0')
            return COC_FAIL(COC_ERR_INPUT, "%s:%lld: a quote that is opened is not closed", r->path,
                            (long long)r->record);
        if (*r->at == '\n') r->line++;
        if (*r->at == '"' && *++r->at != '"') break;
        *to++ = *r->at;
    }
    *end = to;
    if (ends_field(*r->at)) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT, "%s:%lld: text behind a closing quote; write a quote as \"\"",
                    r->path, (long long)r->record);
}

static coc_status read_field(reader *r, char *last)
{
    char *begin = r->at, *end = r->at;

    if (*r->at == '"') {
        r->at = ++begin;
        COC_TRY(read_quoted(r, &end));
    } else {
        while (!ends_field(*r->at))
            r->at++;
        end = r->at;
    }
    if (r->fields == MAX_COLUMNS)
        return COC_FAIL(COC_ERR_INPUT, "%s:%lld: more than %d columns", r->path,
                        (long long)r->record, MAX_COLUMNS);
    r->field[r->fields++] = begin;
    *last = *r->at;
    if (*r->at != '\0') r->at++;
    *end = '\0';
    return COC_OK;
}

/* The next line that is not empty; *more false at the end. */
static coc_status read_record(reader *r, bool *more)
{
    char last = ',';

    while (*r->at == '\n' || *r->at == '\r')
        r->line += *r->at++ == '\n';
    *more = *r->at != '\0';
    r->record = r->line;
    r->fields = 0;
    while (*more && last == ',')
        COC_TRY(read_field(r, &last));
    if (last == '\r' && *r->at == '\n') r->at++;
    r->line += *more && last != '\0';
    return COC_OK;
}

static int find_column(const reader *r, const char *name)
{
    for (int i = 0; i < r->fields; i++)
        if (strcmp(r->field[i], name) == 0) return i;
    return -1;
}

static coc_status add_pair(coc_pair_list *list, const reader *r, int context, int output,
                           int columns)
{
    if (r->fields != columns)
        return COC_FAIL(COC_ERR_INPUT, "%s:%lld: %d fields, the first line has %d", r->path,
                        (long long)r->record, r->fields, columns);
    if (r->field[context][0] == '\0' || r->field[output][0] == '\0')
        return COC_FAIL(COC_ERR_INPUT, "%s:%lld: an empty file name", r->path,
                        (long long)r->record);
    COC_TRY(coc_grow(&list->pair, &list->capacity, list->n + 1, sizeof *list->pair));
    COC_TRY(coc_grow(&list->line, &list->line_capacity, list->n + 1, sizeof *list->line));
    list->pair[list->n] = (coc_score_pair){r->field[context], r->field[output]};
    list->line[list->n++] = r->record;
    return COC_OK;
}

static coc_status read_all(reader *r, coc_pair_list *list)
{
    int context, output, columns;
    bool more;

    COC_TRY(read_record(r, &more));
    context = more ? find_column(r, "context") : -1;
    output = more ? find_column(r, "output") : -1;
    columns = r->fields;
    if (context < 0 || output < 0)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: the first line must name the columns 'context' and 'output'", r->path);
    for (;;) {
        COC_TRY(read_record(r, &more));
        if (!more) break;
        COC_TRY(add_pair(list, r, context, output, columns));
    }
    if (list->n > 0) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT, "%s: no pairs below the first line", r->path);
}

coc_status coc_pair_list_read(const char *path, coc_pair_list *list)
{
    reader r = {.path = path, .line = 1};
    coc_status status;
    size_t count;

    *list = (coc_pair_list){0};
    COC_TRY(coc_file_read(path, BYTES_LIMIT, &list->bytes, &count));
    r.at = list->bytes;
    if (memchr(list->bytes, '\0', count) != NULL)
        status = COC_FAIL(COC_ERR_INPUT, "%s: no text: it holds a zero byte", path);
    else {
        if (strncmp(r.at, "\xef\xbb\xbf", 3) == 0) r.at += 3; /* a mark that spreadsheets write */
        status = read_all(&r, list);
    }
    if (status != COC_OK) coc_pair_list_free(list);
    return status;
}

void coc_pair_list_free(coc_pair_list *list)
{
    free(list->pair);
    free(list->line);
    free(list->bytes);
    *list = (coc_pair_list){0};
}
