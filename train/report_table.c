/* train/report_table.c - the numbers of a report, as text and as HTML: one line a K, one a run. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "train/chart.h"
#include "train/report.h"

enum { CELL_BYTES = 64 };

/* ---- columns -------------------------------------------------------------------------------- */

static bool is_there(const coc_report *report, const coc_quantity *quantity)
{
    for (int64_t i = 0; i < report->runs; i++)
        if (report->run[i].finished && isfinite(coc_quantity_of(quantity, &report->run[i])))
            return true;
    return false;
}

int coc_report_columns(const coc_report *report, const coc_report_axes *axes,
                       coc_report_column columns[COC_REPORT_COLUMNS])
{
    const char *split = axes->split[0], *mode = axes->mode;
    const coc_report_column rest[] = {
        {"training loss", {.kind = COC_QUANTITY_LOSS}, 3},
        {"", {.kind = COC_QUANTITY_EVAL_LOSS, .split = split, .mode = mode}, 3},
        {"leak, nats", {.kind = COC_QUANTITY_LEAK}, 4},
        {"pairs/s", {.kind = COC_QUANTITY_SPEED}, 1},
        {"host GB", {.kind = COC_QUANTITY_HOST}, 2},
        {"GPU GB", {.kind = COC_QUANTITY_DEVICE}, 2},
    };
    int count = 0;

    for (int i = 0; i < axes->eval_ks; i++) {
        coc_report_column *c = &columns[count];

        *c = (coc_report_column){.quantity = {COC_QUANTITY_ACCURACY, split, mode, axes->eval_k[i]},
                                 .decimals = 1};
        snprintf(c->head, sizeof c->head, "%% at K=%" PRId64, axes->eval_k[i]);
        count += is_there(report, &c->quantity);
    }
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        columns[count] = rest[i];
        if (rest[i].head[0] == '\0')
            snprintf(columns[count].head, sizeof columns[count].head, "%s loss", split);
        count += is_there(report, &rest[i].quantity);
    }
    return count;
}

/* "71.2", "71.2 +-1.3" with `sign` for the plus-minus, "-". */
static void write_mean(const coc_mean *m, int decimals, const char *sign, char cell[CELL_BYTES])
{
    if (!isfinite(m->mean))
        snprintf(cell, CELL_BYTES, "-");
    else if (!isfinite(m->low))
        snprintf(cell, CELL_BYTES, "%.*f", decimals, m->mean);
    else
        snprintf(cell, CELL_BYTES, "%.*f %s%.*f", decimals, m->mean, sign, decimals,
                 m->high - m->mean);
}

static int64_t seeds_at(const coc_report *report, int64_t k)
{
    int64_t seeds = 0;

    for (int64_t i = 0; i < report->runs; i++)
        seeds += report->run[i].finished && !report->run[i].control && report->run[i].k == k;
    return seeds;
}

/* ---- text ----------------------------------------------------------------------------------- */

static int width_of(const coc_report_column *column)
{
    const int head = (int)strlen(column->head), cell = 11 + column->decimals;

    return head > cell ? head : cell;
}

static coc_status print_line(const coc_report *report, int64_t k, const coc_report_column *columns,
                             int count)
{
    printf("%8" PRId64 "  %6.3f  %5" PRId64, k, log((double)k), seeds_at(report, k));
    for (int c = 0; c < count; c++) {
        char cell[CELL_BYTES];
        coc_mean mean;

        COC_TRY(coc_report_mean(report, &columns[c].quantity, k, &mean));
        write_mean(&mean, columns[c].decimals, "+-", cell);
        printf("  %*s", width_of(&columns[c]), cell);
    }
    putchar('\n');
    return COC_OK;
}

coc_status coc_report_print(const coc_report *report, const coc_report_axes *axes)
{
    coc_report_column columns[COC_REPORT_COLUMNS];
    const int count = coc_report_columns(report, axes, columns);
    int64_t unfinished = 0;

    for (int64_t i = 0; i < report->runs; i++)
        unfinished += !report->run[i].finished;
    printf("%" PRId64 " runs", report->runs);
    if (unfinished > 0) printf(", %" PRId64 " of them unfinished (not counted here)", unfinished);
    if (axes->splits > 0) printf("; accuracy of the %s split, mode %s", axes->split[0], axes->mode);
    printf("\n\n%8s  %6s  %5s", "train K", "ln K", "seeds");
    for (int c = 0; c < count; c++)
        printf("  %*s", width_of(&columns[c]), columns[c].head);
    putchar('\n');
    for (int i = 0; i < axes->ks; i++)
        COC_TRY(print_line(report, axes->k[i], columns, count));
    printf("\n+-: 95 %% t-interval of the mean over seeds, from 3 seeds on\n");
    return COC_OK;
}

/* ---- HTML ----------------------------------------------------------------------------------- */

static void begin_table(FILE *page, const char *caption, const char *const *heads, int count)
{
    fputs("<div class=\"wide\"><table>\n<caption>", page);
    coc_html_text(page, caption);
    fputs("</caption>\n<thead><tr>", page);
    for (int i = 0; i < count; i++) {
        fputs("<th scope=\"col\">", page);
        coc_html_text(page, heads[i]);
        fputs("</th>", page);
    }
}

static void end_head(FILE *page, const coc_report_column *columns, int count)
{
    for (int c = 0; c < count; c++) {
        fputs("<th scope=\"col\">", page);
        coc_html_text(page, columns[c].head);
        fputs("</th>", page);
    }
    fputs("</tr></thead>\n<tbody>\n", page);
}

static coc_status summary_table(FILE *page, const coc_report *report, const coc_report_axes *axes,
                                const coc_report_column *columns, int count)
{
    static const char *const heads[] = {"training K", "ln K", "seeds"};

    begin_table(page, "Means over seeds (± half of the 95 % t-interval, from 3 seeds on)", heads,
                3);
    end_head(page, columns, count);
    for (int i = 0; i < axes->ks; i++) {
        fprintf(page, "<tr><th scope=\"row\">%" PRId64 "</th><td>%.3f</td><td>%" PRId64 "</td>",
                axes->k[i], log((double)axes->k[i]), seeds_at(report, axes->k[i]));
        for (int c = 0; c < count; c++) {
            char cell[CELL_BYTES];
            coc_mean mean;

            COC_TRY(coc_report_mean(report, &columns[c].quantity, axes->k[i], &mean));
            write_mean(&mean, columns[c].decimals, "±", cell);
            fprintf(page, "<td>%s</td>", cell);
        }
        fputs("</tr>\n", page);
    }
    fputs("</tbody></table></div>\n", page);
    return COC_OK;
}

static void run_row(FILE *page, const coc_report_run *run, const coc_report_column *columns,
                    int count)
{
    const coc_train_settings *t = &run->settings.train;

    fputs("<tr><th scope=\"row\">", page);
    coc_html_text(page, run->name);
    fprintf(page,
            "</th><td>%" PRId64 "</td><td>%" PRId64 "</td><td>%" PRId64 "</td><td>%" PRId64
            "</td><td>%.3g</td><td>%s</td>",
            run->k, t->batch, t->seed, run->log.step, t->learning_rate,
            run->finished ? (run->control ? "control" : "finished") : "unfinished");
    if (isfinite(run->log.columns))
        fprintf(page, "<td>%.1f</td>", run->log.columns);
    else
        fputs("<td>-</td>", page);
    for (int c = 0; c < count; c++) {
        const double value = coc_quantity_of(&columns[c].quantity, run);

        if (isfinite(value))
            fprintf(page, "<td>%.*f</td>", columns[c].decimals, value);
        else
            fputs("<td>-</td>", page);
    }
    fputs("</tr>\n", page);
}

coc_status coc_report_tables(FILE *page, const coc_report *report, const coc_report_axes *axes)
{
    static const char *const heads[] = {"run",   "training K",    "batch", "seed",
                                        "steps", "learning rate", "state", "columns a row"};
    coc_report_column columns[COC_REPORT_COLUMNS];
    const int count = coc_report_columns(report, axes, columns);

    COC_TRY(summary_table(page, report, axes, columns, count));
    begin_table(page, "All runs", heads, sizeof heads / sizeof heads[0]);
    end_head(page, columns, count);
    for (int64_t i = 0; i < report->runs; i++)
        run_row(page, &report->run[i], columns, count);
    fputs("</tbody></table></div>\n", page);
    return COC_OK;
}
