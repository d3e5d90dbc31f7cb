/* preprocess/layout_csv.c - a table of stems: track,split,stem,path[,class][,offset][,gain].
 *
 * One row a sound file. Rows of one track and stem are one stem, their sum. Paths are taken from
 * the table's folder, unless they are absolute. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "preprocess/csv.h"
#include "preprocess/layout.h"

enum { TRACK, SPLIT, STEM, PATH, CLASS, OFFSET, GAIN, COLUMNS };
static const char *const columns[COLUMNS] = {"track", "split",  "stem", "path",
                                             "class", "offset", "gain"};

/* Longer silence is a mistake that would only fill memory; louder is one of units. */
#define MOST_OFFSET 7200.0 /* seconds */
#define MOST_GAIN   1e6

typedef struct {
    const char *path; /* of the table */
    coc_csv csv;
    int64_t column[COLUMNS]; /* where each is; -1: not there */
    struct table_row *row;   /* [rows - 1] by track, stem, line */
} table;

typedef struct table_row {
    const char *track, *stem;
    int64_t number; /* in the table */
} table_row;

static const char *field(const table *t, int64_t row, int column)
{
    return t->column[column] < 0 ? "" : coc_csv_at(&t->csv, row, t->column[column]);
}

/* ---- columns -------------------------------------------------------------------------------- */

static coc_status find_columns(table *t)
{
    for (int c = 0; c < COLUMNS; c++)
        t->column[c] = -1;
    for (int64_t i = 0; i < t->csv.columns; i++) {
        const char *name = coc_csv_at(&t->csv, 0, i);
        int c = 0;

        while (c < COLUMNS && strcmp(columns[c], name) != 0)
            c++;
        if (c == COLUMNS) continue; /* other columns are the user's own */
        if (t->column[c] >= 0)
            return COC_FAIL(COC_ERR_INPUT, "%s:1: two columns are called %s", t->path, name);
        t->column[c] = i;
    }
    for (int c = 0; c <= PATH; c++)
        if (t->column[c] < 0)
            return COC_FAIL(COC_ERR_INPUT,
                            "%s:1: no column '%s'; the first line must name the columns: "
                            "track,split,stem,path[,class][,offset][,gain]",
                            t->path, columns[c]);
    return COC_OK;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static coc_status read_number(const table *t, int64_t row, int column, double otherwise,
                              double most, double *value)
{
    const char *text = field(t, row, column);
    char *end;

    *value = otherwise;
    if (text[0] == '\0') return COC_OK;
    *value = strtod(text, &end);
    if (end != text && *end == '\0' && isfinite(*value) && fabs(*value) <= most) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT, "%s:%lld: %s: '%.80s' is no number from -%g to %g", t->path,
                    (long long)t->csv.line[row], columns[column], text, most, most);
}

static coc_status check_row(const table *t, int64_t row)
{
    coc_split split;

    for (int c = 0; c <= PATH; c++)
        if (field(t, row, c)[0] == '\0')
            return COC_FAIL(COC_ERR_INPUT, "%s:%lld: no %s", t->path, (long long)t->csv.line[row],
                            columns[c]);
    if (coc_split_parse(field(t, row, SPLIT), &split) == COC_OK) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT,
                    "%s:%lld: split: '%.80s' is unknown; known: train, validation (valid, val), "
                    "test",
                    t->path, (long long)t->csv.line[row], field(t, row, SPLIT));
}

static int compare_rows(const void *a, const void *b)
{
    const table_row *x = a, *y = b;
    int order = strcmp(x->track, y->track);

    if (order == 0) order = strcmp(x->stem, y->stem);
    return order != 0 ? order : (x->number > y->number) - (x->number < y->number);
}

static coc_status sort_rows(table *t)
{
    const int64_t rows = t->csv.rows - 1;

    COC_TRY(coc_alloc(rows, sizeof *t->row, &t->row));
    for (int64_t i = 1; i <= rows; i++) {
        COC_TRY(check_row(t, i));
        t->row[i - 1] = (table_row){field(t, i, TRACK), field(t, i, STEM), i};
    }
    if (rows > 1) qsort(t->row, (size_t)rows, sizeof *t->row, compare_rows);
    return COC_OK;
}

static bool is_same(const table *t, int64_t row, int64_t before, int column)
{
    return strcmp(field(t, row, column), field(t, before, column)) == 0;
}

static coc_status differs(const table *t, int64_t row, int64_t before, int column)
{
    return COC_FAIL(COC_ERR_INPUT, "%s:%lld: %s: '%.80s', but '%.80s' in line %lld of the same %s",
                    t->path, (long long)t->csv.line[row], columns[column], field(t, row, column),
                    field(t, before, column), (long long)t->csv.line[before],
                    column == SPLIT ? "track" : "stem");
}

/* before: the row before in their order, 0 for the first. */
static coc_status add_row(const table *t, int64_t row, int64_t before, coc_source_list *list)
{
    const bool track = before > 0 && is_same(t, row, before, TRACK);
    const bool stem = track && is_same(t, row, before, STEM);
    double offset, gain;
    coc_split split;

    if (track && !is_same(t, row, before, SPLIT)) return differs(t, row, before, SPLIT);
    if (stem && !is_same(t, row, before, CLASS)) return differs(t, row, before, CLASS);
    COC_TRY(read_number(t, row, OFFSET, 0, MOST_OFFSET, &offset));
    COC_TRY(read_number(t, row, GAIN, 1, MOST_GAIN, &gain));
    COC_TRY(coc_split_parse(field(t, row, SPLIT), &split));
    if (!track) COC_TRY(coc_source_add_track(list, split, field(t, row, TRACK)));
    if (!stem)
        COC_TRY(coc_source_add_stem(list, field(t, row, PATH), field(t, row, STEM),
                                    field(t, row, CLASS)));
    return coc_source_add_file(list, field(t, row, PATH), offset, gain);
}

static coc_status list_table(table *t, coc_source_list *list)
{
    if (t->csv.rows == 0) return COC_FAIL(COC_ERR_INPUT, "%s: empty", t->path);
    COC_TRY(find_columns(t));
    COC_TRY(sort_rows(t));
    for (int64_t i = 0; i < t->csv.rows - 1; i++)
        COC_TRY(add_row(t, t->row[i].number, i > 0 ? t->row[i - 1].number : 0, list));
    return COC_OK;
}

coc_status coc_list_csv(const char *in, const coc_layout_options *options, coc_source_list *list)
{
    table t = {.path = in};
    coc_status status;

    (void)options;
    if (coc_is_folder(in))
        return COC_FAIL(COC_ERR_INPUT, "%s: a folder; --in must name the table, a .csv file", in);
    COC_TRY(coc_csv_read(in, &t.csv));
    status = list_table(&t, list);
    free(t.row);
    coc_csv_free(&t.csv);
    return status;
}
