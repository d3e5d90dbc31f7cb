/* preprocess/csv.h - tables of comma-separated values, as RFC 4180 has them: fields in double
 * quotes may hold commas, line ends and (doubled) quotes. A byte order mark at the front is passed
 * over. */
#ifndef COC_PREPROCESS_CSV_H
#define COC_PREPROCESS_CSV_H

#include <stdint.h>

#include "base/status.h"

typedef struct {
    char *text;    /* what fields point into */
    char **field;  /* [rows][columns] */
    int64_t *line; /* [rows] where each begins */
    int64_t rows, columns;
} coc_csv;

/* All rows, the first one (the head) too; empty lines are left out. The table is the caller's;
 * empty after a failure. Errors: COC_ERR_IO, COC_ERR_MEMORY, COC_ERR_INPUT with file and line: a
 * quote that is not closed or stands in the middle of a field, a row of another length than the
 * first, a byte 0. */
coc_status coc_csv_read(const char *path, coc_csv *csv);
void coc_csv_free(coc_csv *csv);

/* A field of a row. */
const char *coc_csv_at(const coc_csv *csv, int64_t row, int64_t column);

#endif
