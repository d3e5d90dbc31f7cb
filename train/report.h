/* train/report.h - what a folder of runs shows: their logs and evaluations, by the number of
 * columns that training saw. Nothing here is collective. docs/large-k.md says what stands in a
 * report. */
#ifndef COC_TRAIN_REPORT_H
#define COC_TRAIN_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "base/file.h"
#include "configs/settings.h"

enum { COC_REPORT_WORD = 24, COC_REPORT_LINES = 32 };

/* One row of an evaluation (`cocola eval --format json`). What is null there is NAN. */
typedef struct {
    char split[COC_REPORT_WORD], mode[COC_REPORT_WORD];
    int64_t k;
    double accuracy, low, high; /* shares; interval over tracks */
    double loss;                /* nats */
} coc_report_row;

/* What the log says: means over the last tenth of the steps, in which a loss has settled; NAN where
 * there is nothing. */
typedef struct {
    int64_t step;                    /* of the last line */
    double loss, columns;            /* nats; columns a row */
    double pairs_per_second;         /* median over the lines, without the first after a start */
    double host_bytes, device_bytes; /* largest on rank 0 */
} coc_report_log;

typedef struct {
    char name[COC_PATH_BYTES]; /* of its folder */
    coc_settings settings;
    bool control;  /* trained where there is nothing to learn: below chance means a leak */
    int64_t k;     /* columns a row is compared with: loss.k, or the batch */
    bool finished; /* the log has the last step of the settings */
    coc_report_log log;
    coc_report_row *row;
    int64_t rows;
} coc_report_run;

typedef struct {
    coc_report_run *run; /* by name */
    int64_t runs, capacity;
    int64_t left_out; /* folders that look like runs and could not be read; each was warned of */
} coc_report;

/* Read a run's folder, or all folders in one. A folder is a run when it has config.yaml and
 * log.jsonl. Freed with coc_report_free, also after a failure. Errors: COC_ERR_IO, COC_ERR_INPUT
 * (no runs), COC_ERR_MEMORY. */
coc_status coc_report_read(const char *folder, coc_report *report);
void coc_report_free(coc_report *report);

/* One run, without searching. Errors: COC_ERR_IO, COC_ERR_INPUT (a file is broken),
 * COC_ERR_SETTING, COC_ERR_MEMORY. run->row is the caller's. */
coc_status coc_report_read_run(const char *folder, coc_report_run *run);

/* The log alone, while a run goes on too: a last line that is not complete yet does not count.
 * steps: the length of the run, whose last tenth is wanted; 0: of what the log has. Errors:
 * COC_ERR_IO, COC_ERR_INPUT. */
coc_status coc_report_read_log(const char *path, int64_t steps, coc_report_log *log);

/* Rows of an evaluation: one object of `cocola eval --format json`, or an array of them. Added to
 * the run's. Errors: COC_ERR_IO, COC_ERR_INPUT, COC_ERR_MEMORY. */
coc_status coc_report_read_rows(const char *path, coc_report_run *run);

/* ---- numbers -------------------------------------------------------------------------------- */

/* Mean, and the interval in which the mean of all seeds lies with 95 % (Student's t, n - 1 degrees
 * of freedom), for 3 values or more; NAN for fewer. Values that are NAN do not count. */
typedef struct {
    int64_t n;
    double mean, low, high;
} coc_mean;
coc_mean coc_mean_of(const double *values, int64_t count);

/* A number of a run; NAN: it has none. */
typedef enum {
    COC_QUANTITY_ACCURACY,  /* percent, at split, mode and k */
    COC_QUANTITY_EVAL_LOSS, /* nats, at split, mode and k; k 0: the K of training */
    COC_QUANTITY_LOSS,      /* nats, in training */
    COC_QUANTITY_CHANCE,    /* nats: ln of the columns that counted in training */
    COC_QUANTITY_LEAK,      /* nats below chance of a control run; NAN for others */
    COC_QUANTITY_SPEED,     /* pairs a second */
    COC_QUANTITY_HOST,      /* GB */
    COC_QUANTITY_DEVICE,    /* GB */
} coc_quantity_kind;
typedef struct {
    coc_quantity_kind kind;
    const char *split, *mode;
    int64_t k;
} coc_quantity;
double coc_quantity_of(const coc_quantity *quantity, const coc_report_run *run);

/* Over the finished runs whose training saw k columns. Errors: COC_ERR_MEMORY. */
coc_status coc_report_mean(const coc_report *report, const coc_quantity *quantity, int64_t k,
                           coc_mean *mean);

/* What the report is by. */
typedef struct {
    int64_t *k; /* Ks of training of finished runs, rising */
    int ks;
    int64_t eval_k[COC_REPORT_LINES]; /* Ks of evaluation, rising */
    int eval_ks;
    char split[3][COC_REPORT_WORD]; /* test first */
    int splits;
    char mode[COC_REPORT_WORD]; /* "both" where there is one */
    bool controls;              /* there are control runs */
} coc_report_axes;
/* Freed with free(axes->k). Errors: COC_ERR_MEMORY. */
coc_status coc_report_axes_find(const coc_report *report, coc_report_axes *axes);

/* ---- tables and pages ----------------------------------------------------------------------- */

enum { COC_REPORT_COLUMNS = COC_REPORT_LINES + 8 };
typedef struct {
    char head[40];
    coc_quantity quantity;
    int decimals;
} coc_report_column;

/* The numbers that at least one finished run has. Returns how many; the columns borrow from the
 * axes. */
int coc_report_columns(const coc_report *report, const coc_report_axes *axes,
                       coc_report_column columns[COC_REPORT_COLUMNS]);

/* One line a K, to standard output. Errors: COC_ERR_MEMORY. */
coc_status coc_report_print(const coc_report *report, const coc_report_axes *axes);

/* The same as an HTML table, and one of all runs. Errors: COC_ERR_MEMORY. */
coc_status coc_report_tables(FILE *page, const coc_report *report, const coc_report_axes *axes);

/* One self-contained HTML page. Errors: COC_ERR_MEMORY. */
coc_status coc_report_page(FILE *page, const char *title, const coc_report *report,
                           const coc_report_axes *axes);

/* In what settings, other than K, seed and what follows from them, the runs differ: one text a
 * setting, joined by newlines; "" for none. The caller frees it; NULL without memory. */
char *coc_report_differences(const coc_report *report);

#endif
