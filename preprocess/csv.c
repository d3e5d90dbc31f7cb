#include "preprocess/csv.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

enum { MOST_BYTES = 1 << 30 };

typedef struct {
    const char *path;
    char *at, *end; /* what is left to read; the text ends with a line feed */
    int64_t line;
    int64_t fields, field_room, row_room;
} reader;

/* Takes a field from r->at on; *text is what it says, in place. */
static coc_status take_quoted(reader *r, char **text)
{
    const int64_t begin = r->line;
    char *to = r->at;

    *text = to;
    for (char *from = r->at + 1; from < r->end; from++) {
        if (*from == '\n') r->line++;
        if (*from != '"') {
            *to++ = *from;
        } else if (from[1] == '"') {
            *to++ = *from++;
        } else {
            r->at = from + 1;
            if (*r->at == '\r') r->at++;
            if (*r->at != ',' && *r->at != '\n')
                return COC_FAIL(COC_ERR_INPUT, "%s:%lld: text behind a closing quote", r->path,
                                (long long)r->line);
            *to = '\0';
            return COC_OK;
        }
    }
    return COC_FAIL(COC_ERR_INPUT, "%s:%lld: a quote that is not closed", r->path,
                    (long long)begin);
}

static coc_status take_plain(reader *r, char **text, char *ending)
{
    const size_t length = strcspn(r->at, ",\n");

    *text = r->at;
    r->at += length;
    *ending = *r->at;
    if (memchr(*text, '"', length) != NULL)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s:%lld: a quote in the middle of a field; put the field "
                        "into quotes and double those in it",
                        r->path, (long long)r->line);
    if (*ending == '\n' && length > 0 && r->at[-1] == '\r') r->at[-1] = '\0';
    *r->at = '\0';
    return COC_OK;
}

static coc_status take_field(reader *r, coc_csv *csv, bool *last)
{
    char ending, *text;

    if (*r->at == '"') {
        COC_TRY(take_quoted(r, &text));
        ending = *r->at;
    } else {
        COC_TRY(take_plain(r, &text, &ending));
    }
    *last = ending == '\n';
    r->at++;
    if (*last) r->line++;
    COC_TRY(coc_grow(&csv->field, &r->field_room, r->fields + 1, sizeof *csv->field));
    csv->field[r->fields++] = text;
    return COC_OK;
}

static coc_status take_row(reader *r, coc_csv *csv)
{
    const int64_t before = r->fields, line = r->line;
    bool last = false;

    while (!last)
        COC_TRY(take_field(r, csv, &last));
    if (csv->rows == 0) csv->columns = r->fields;
    if (r->fields - before != csv->columns)
        return COC_FAIL(COC_ERR_INPUT, "%s:%lld: %lld fields, the first line has %lld", r->path,
                        (long long)line, (long long)(r->fields - before), (long long)csv->columns);
    COC_TRY(coc_grow(&csv->line, &r->row_room, csv->rows + 1, sizeof *csv->line));
    csv->line[csv->rows++] = line;
    return COC_OK;
}

static coc_status read_rows(const char *path, size_t bytes, coc_csv *csv)
{
    reader r = {.path = path, .at = csv->text, .end = csv->text + bytes, .line = 1};

    if (strlen(csv->text) != bytes) return COC_FAIL(COC_ERR_INPUT, "%s: a byte 0: no text", path);
    if (bytes >= 3 && memcmp(r.at, "\xEF\xBB\xBF", 3) == 0) r.at += 3;
    while (r.at < r.end) {
        if (*r.at == '\n' || (*r.at == '\r' && r.at[1] == '\n')) {
            r.at += *r.at == '\r' ? 2 : 1;
            r.line++;
        } else {
            COC_TRY(take_row(&r, csv));
        }
    }
    return COC_OK;
}

coc_status coc_csv_read(const char *path, coc_csv *csv)
{
    coc_status status;
    size_t bytes;
    char *longer;

    *csv = (coc_csv){0};
    COC_TRY(coc_file_read(path, MOST_BYTES, &csv->text, &bytes));
    longer = realloc(csv->text, bytes + 2);
    status = longer != NULL ? COC_OK : COC_FAIL(COC_ERR_MEMORY, "%s: no memory", path);
    if (longer != NULL) {
        csv->text = longer;
        if (bytes > 0 && longer[bytes - 1] != '\n') longer[bytes++] = '\n';
        longer[bytes] = '\0';
        status = read_rows(path, bytes, csv);
    }
    if (status != COC_OK) coc_csv_free(csv);
    return status;
}

void coc_csv_free(coc_csv *csv)
{
    free(csv->text);
    free(csv->field);
    free(csv->line);
    *csv = (coc_csv){0};
}

const char *coc_csv_at(const coc_csv *csv, int64_t row, int64_t column)
{
    return csv->field[row * csv->columns + column];
}
