/* train/report_numbers.c - what is drawn and tabled: means over seeds. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/report.h"

/* ---- means ---------------------------------------------------------------------------------- */

/* 97.5 % quantile of Student's t. Beyond the table the expansion in 1 / degrees around the normal
 * quantile is right to a thousandth. */
static double t_quantile(int64_t degrees)
{
    static const double table[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306,
                                   2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
                                   2.110,  2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064,
                                   2.060,  2.056, 2.052, 2.048, 2.045, 2.042};
    const double z = 1.959964;

    if (degrees <= (int64_t)(sizeof table / sizeof table[0])) return table[degrees - 1];
    return z + (z * z * z + z) / (4 * (double)degrees);
}

coc_mean coc_mean_of(const double *values, int64_t count)
{
    coc_mean m = {.mean = NAN, .low = NAN, .high = NAN};
    double sum = 0, squares = 0, half;

    for (int64_t i = 0; i < count; i++) {
        if (isnan(values[i])) continue;
        sum += values[i];
        m.n++;
    }
    if (m.n > 0) m.mean = sum / (double)m.n;
    if (m.n < 3) return m;
    for (int64_t i = 0; i < count; i++)
        if (!isnan(values[i])) squares += (values[i] - m.mean) * (values[i] - m.mean);
    half = t_quantile(m.n - 1) * sqrt(squares / (double)(m.n - 1) / (double)m.n);
    m.low = m.mean - half;
    m.high = m.mean + half;
    return m;
}

/* ---- quantities ----------------------------------------------------------------------------- */

static const coc_report_row *find_row(const coc_quantity *q, const coc_report_run *run)
{
    const int64_t k = q->k > 0 ? q->k : run->k;

    for (int64_t i = 0; i < run->rows; i++)
        if (run->row[i].k == k && strcmp(run->row[i].split, q->split) == 0 &&
            strcmp(run->row[i].mode, q->mode) == 0)
            return &run->row[i];
    return NULL;
}

/* Nothing measured (0 bytes of a GPU that is not there) is nothing to draw. */
static double gigabytes(double bytes)
{
    return bytes > 0 ? 1e-9 * bytes : NAN;
}

double coc_quantity_of(const coc_quantity *q, const coc_report_run *run)
{
    const coc_report_row *row;

    if (run->control != (q->kind == COC_QUANTITY_LEAK)) return NAN;
    switch (q->kind) {
    case COC_QUANTITY_ACCURACY:
        row = find_row(q, run);
        return row != NULL ? 100 * row->accuracy : NAN;
    case COC_QUANTITY_EVAL_LOSS:
        row = find_row(q, run);
        return row != NULL ? row->loss : NAN;
    case COC_QUANTITY_LOSS:
        return run->log.loss;
    case COC_QUANTITY_CHANCE:
        return log(run->log.columns);
    case COC_QUANTITY_LEAK:
        return log(run->log.columns) - run->log.loss;
    case COC_QUANTITY_SPEED:
        return run->log.pairs_per_second;
    case COC_QUANTITY_HOST:
        return gigabytes(run->log.host_bytes);
    case COC_QUANTITY_DEVICE:
        return gigabytes(run->log.device_bytes);
    }
    return NAN;
}

coc_status coc_report_mean(const coc_report *report, const coc_quantity *quantity, int64_t k,
                           coc_mean *mean)
{
    double *values;
    int64_t count = 0;

    *mean = (coc_mean){.mean = NAN, .low = NAN, .high = NAN};
    COC_TRY(coc_alloc(report->runs, sizeof *values, &values));
    for (int64_t i = 0; i < report->runs; i++)
        if (report->run[i].finished && report->run[i].k == k)
            values[count++] = coc_quantity_of(quantity, &report->run[i]);
    *mean = coc_mean_of(values, count);
    free(values);
    return COC_OK;
}

/* ---- axes ----------------------------------------------------------------------------------- */

/* Into a rising list, once; false when there is no room. */
static bool insert(int64_t *list, int *count, int room, int64_t value)
{
    int at = *count;

    for (int i = 0; i < *count; i++)
        if (list[i] == value) return true;
    if (*count == room) return false;
    for (; at > 0 && list[at - 1] > value; at--)
        list[at] = list[at - 1];
    list[at] = value;
    (*count)++;
    return true;
}

static void note_row(coc_report_axes *axes, const coc_report_row *row)
{
    const bool both = strcmp(row->mode, "both") == 0;

    (void)insert(axes->eval_k, &axes->eval_ks, COC_REPORT_LINES, row->k);
    if (axes->mode[0] == '\0' || both) memcpy(axes->mode, row->mode, sizeof axes->mode);
    for (int i = 0; i < axes->splits; i++)
        if (strcmp(axes->split[i], row->split) == 0) return;
    if (axes->splits == 3) return;
    memcpy(axes->split[axes->splits++], row->split, sizeof axes->split[0]);
    if (strcmp(row->split, "test") == 0) { /* first */
        memcpy(axes->split[axes->splits - 1], axes->split[0], sizeof axes->split[0]);
        memcpy(axes->split[0], row->split, sizeof axes->split[0]);
    }
}

coc_status coc_report_axes_find(const coc_report *report, coc_report_axes *axes)
{
    *axes = (coc_report_axes){0};
    COC_TRY(coc_alloc(report->runs, sizeof *axes->k, &axes->k));
    for (int64_t i = 0; i < report->runs; i++) {
        const coc_report_run *run = &report->run[i];

        if (!run->finished) continue;
        (void)insert(axes->k, &axes->ks, (int)report->runs, run->k);
        axes->controls |= run->control;
        for (int64_t r = 0; r < run->rows; r++)
            note_row(axes, &run->row[r]);
    }
    return COC_OK;
}

/* ---- other settings ------------------------------------------------------------------------- */

/* What a sweep over K changes, made the same: K, seeds, and what is counted in steps. */
static coc_settings without_k(const coc_settings *settings, const coc_settings *first)
{
    coc_settings s = *settings;

    s.loss.k = first->loss.k;
    s.train.seed = first->train.seed;
    if (s.train.batch * s.train.steps == first->train.batch * first->train.steps) {
        s.train.steps = first->train.steps;
        s.train.warmup = first->train.warmup;
    }
    s.train.batch = first->train.batch;
    s.train.learning_rate = first->train.learning_rate;
    return s;
}

/* Whether one of the lines of `all` is about that key. */
static bool tells(const char *all, const char *key, size_t length)
{
    for (; *all != '\0'; all += strcspn(all, "\n"), all += *all == '\n')
        if (strncmp(all, key, length) == 0 && all[length] == ':') return true;
    return false;
}

/* Adds the lines of `more` whose keys *all does not tell of yet; *all NULL without memory. */
static void add_lines(char **all, const char *more)
{
    while (*more != '\0' && *all != NULL) {
        const int length = (int)strcspn(more, "\n");
        char *old = *all;

        if (!tells(old, more, strcspn(more, ":"))) {
            *all = coc_format("%s%s%.*s", old, old[0] != '\0' ? "\n" : "", length, more);
            free(old);
        }
        more += length;
        more += *more == '\n';
    }
}

/* Stores too, which may have other names when a run goes on, but hold other songs here. */
static char *differences_of(const coc_settings *first, const coc_settings *run)
{
    const coc_settings here = without_k(run, first);
    char *settings = coc_settings_differences(first, &here), *all;

    if (settings == NULL || strcmp(first->data.train, run->data.train) == 0) return settings;
    all = coc_format("data.train: %s there, %s here%s%s", first->data.train, run->data.train,
                     settings[0] != '\0' ? "\n" : "", settings);
    free(settings);
    return all;
}

char *coc_report_differences(const coc_report *report)
{
    const coc_report_run *first = NULL;
    char *all = coc_strdup("");

    for (int64_t i = 0; i < report->runs && all != NULL; i++) {
        const coc_report_run *run = &report->run[i];
        char *differences;

        if (run->control) continue; /* shorter by design, and of another store */
        if (first == NULL) first = run;
        differences = differences_of(&first->settings, &run->settings);
        if (differences != NULL) {
            add_lines(&all, differences);
        } else {
            free(all);
            all = NULL;
        }
        free(differences);
    }
    return all;
}
