/* train/report_page.c - the charts of a report, and the page around them. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/chart.h"
#include "train/report.h"

/* A chart that is being put together. */
typedef struct {
    const coc_report *report;
    const coc_report_axes *axes;
    coc_chart_series series[COC_CHART_SERIES];
    char label[COC_CHART_SERIES][48];
    int count;
} figure;

/* The page in light and dark, and on paper; colours that differ for most kinds of sight. */
static const char page_style[] =
    ":root{color-scheme:light dark;--text:#1b1f24;--back:#fff;--quiet:#57606a;--grid:#d8dee4;"
    "--s0:#0060a8;--s1:#b84a00;--s2:#00795a;--s3:#a1307a;--s4:#7a6200;--s5:#0f7f9c;--s6:#b3262e;"
    "--s7:#5b4bb7}\n"
    "@media screen and (prefers-color-scheme:dark){:root{--text:#e6edf3;--back:#12161b;"
    "--quiet:#9aa5b1;--grid:#30363d;--s0:#6cb6ff;--s1:#ff9d5c;--s2:#4fd6a9;--s3:#f08cc7;"
    "--s4:#e0c34a;--s5:#5fd0ea;--s6:#ff8b8b;--s7:#b3a5ff}}\n"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);"
    "max-width:60rem;margin:2rem auto;padding:0 1rem}\n"
    "h1{font-size:1.5rem}figure{margin:2rem 0;break-inside:avoid}"
    "figcaption b{display:block;font-size:1.1rem}figcaption,caption,.quiet{color:var(--quiet)}"
    "figcaption b{color:var(--text)}svg{width:100%;height:auto;font-size:12px}"
    "svg text{fill:var(--text)}.axis{stroke:var(--quiet);fill:none}.grid{stroke:var(--grid)}\n"
    "table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}"
    "caption{text-align:left;padding:.5rem 0}.wide{overflow-x:auto;margin:1.5rem 0}"
    "th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid var(--grid);"
    "white-space:nowrap}thead th{vertical-align:bottom;white-space:normal}"
    "th[scope=row]{text-align:left;font-weight:600}\n"
    ".series-0{color:var(--s0)}.series-1{color:var(--s1)}.series-2{color:var(--s2)}"
    ".series-3{color:var(--s3)}.series-4{color:var(--s4)}.series-5{color:var(--s5)}"
    ".series-6{color:var(--s6)}.series-7{color:var(--s7)}\n"
    "@media print{body{margin:0;max-width:none}.wide{overflow:visible}"
    "table{width:100%;font-size:8px}th,td{padding:1px 3px;white-space:normal}}\n";

/* ---- series --------------------------------------------------------------------------------- */

static coc_status add_series(figure *f, const char *label, coc_chart_point *line, int points,
                             coc_chart_point *dot, int dots)
{
    if (f->count == COC_CHART_SERIES) {
        free(line);
        free(dot);
        return COC_OK; /* more Ks of evaluation than `cocola eval` takes */
    }
    snprintf(f->label[f->count], sizeof f->label[0], "%s", label);
    f->series[f->count] = (coc_chart_series){
        .label = f->label[f->count], .line = line, .points = points, .dot = dot, .dots = dots};
    f->count++;
    return COC_OK;
}

/* The means over seeds, with the single runs behind them; left out when no run has the number. */
static coc_status add_quantity(figure *f, const coc_quantity *quantity, const char *label)
{
    coc_chart_point *line, *dot;
    coc_status status = COC_OK;
    int dots = 0;

    COC_TRY(coc_alloc(f->axes->ks, sizeof *line, &line));
    COC_TRY_GOTO(status, coc_alloc(f->report->runs, sizeof *dot, &dot), fail);
    for (int i = 0; i < f->axes->ks && status == COC_OK; i++) {
        coc_mean m;

        status = coc_report_mean(f->report, quantity, f->axes->k[i], &m);
        line[i] = (coc_chart_point){(double)f->axes->k[i], m.mean, m.low, m.high};
    }
    for (int64_t i = 0; i < f->report->runs; i++) {
        const coc_report_run *run = &f->report->run[i];
        const double value = run->finished ? coc_quantity_of(quantity, run) : NAN;

        if (isfinite(value)) dot[dots++] = (coc_chart_point){(double)run->k, value, NAN, NAN};
    }
    if (status == COC_OK && dots > 0) return add_series(f, label, line, f->axes->ks, dot, dots);
    free(dot);
fail:
    free(line);
    return status;
}

/* A level to compare with: ln K, or 0. */
static coc_status add_level(figure *f, const char *label, bool logarithm)
{
    coc_chart_point *line;

    COC_TRY(coc_alloc(f->axes->ks, sizeof *line, &line));
    for (int i = 0; i < f->axes->ks; i++) {
        const double k = (double)f->axes->k[i];

        line[i] = (coc_chart_point){k, logarithm ? log(k) : 0, NAN, NAN};
    }
    COC_TRY(add_series(f, label, line, f->axes->ks, NULL, 0));
    f->series[f->count - 1].plain = true;
    return COC_OK;
}

static void free_series(figure *f)
{
    for (int i = 0; i < f->count; i++) {
        free((void *)f->series[i].line);
        free((void *)f->series[i].dot);
    }
    f->count = 0;
}

/* ---- figures -------------------------------------------------------------------------------- */

static void draw(FILE *page, figure *f, coc_chart chart, const char *about)
{
    chart.k = f->axes->k;
    chart.ks = f->axes->ks;
    chart.series = f->series;
    chart.count = f->count;
    fputs("<figure>\n<figcaption><b>", page);
    coc_html_text(page, chart.title);
    fputs("</b> ", page);
    coc_html_text(page, about);
    fputs("</figcaption>\n", page);
    coc_chart_draw(page, &chart);
    fputs("</figure>\n", page);
}

static coc_status accuracy_figure(FILE *page, figure *f, const char *split)
{
    char title[96], label[48];

    for (int i = f->axes->eval_ks - 1; i >= 0; i--) { /* the highest line is the smallest K */
        const coc_quantity quantity = {COC_QUANTITY_ACCURACY, split, f->axes->mode,
                                       f->axes->eval_k[i]};

        snprintf(label, sizeof label, "at K = %" PRId64, f->axes->eval_k[i]);
        COC_TRY(add_quantity(f, &quantity, label));
    }
    if (f->count == 0) return COC_OK;
    snprintf(title, sizeof title, "Accuracy of the %s split", split);
    draw(page, f,
         (coc_chart){.title = title,
                     .x_name = "columns a row saw in training, K (logarithmic)",
                     .y_name = "accuracy, %",
                     .from_zero = true},
         "Share of pairs found among the K positives of a batch; one line a K of evaluation.");
    return COC_OK;
}

/* Where not all columns counted in training, its chance lies below ln K. */
static bool counts_fewer(const figure *f)
{
    for (int64_t i = 0; i < f->report->runs; i++) {
        const coc_report_run *run = &f->report->run[i];

        if (run->finished && run->log.columns < 0.99 * (double)run->k) return true;
    }
    return false;
}

static coc_status loss_figure(FILE *page, figure *f)
{
    const coc_quantity training = {.kind = COC_QUANTITY_LOSS};
    const coc_quantity chance = {.kind = COC_QUANTITY_CHANCE};
    coc_quantity held_out = {.kind = COC_QUANTITY_EVAL_LOSS, .mode = f->axes->mode};
    char label[48];

    COC_TRY(add_quantity(f, &training, "training"));
    for (int i = 0; i < f->axes->splits; i++) {
        held_out.split = f->axes->split[i];
        snprintf(label, sizeof label, "%s", f->axes->split[i]);
        COC_TRY(add_quantity(f, &held_out, label));
    }
    if (f->count == 0) return COC_OK;
    COC_TRY(add_level(f, "chance: ln K", true));
    if (counts_fewer(f)) {
        COC_TRY(add_quantity(f, &chance, "chance in training"));
        f->series[f->count - 1].plain = true;
        f->series[f->count - 1].dots = 0;
    }
    draw(page, f,
         (coc_chart){.title = "Loss against ln K",
                     .x_name = "columns a row saw in training, K; below it ln K (nats)",
                     .y_name = "loss, nats",
                     .logarithms = true,
                     .from_zero = true},
         "Training: mean of the last tenth of the steps, over the columns that counted. Splits: "
         "evaluated at the K of training, where that is among the Ks of evaluation.");
    return COC_OK;
}

static coc_status leak_figure(FILE *page, figure *f)
{
    const coc_quantity leak = {.kind = COC_QUANTITY_LEAK};

    COC_TRY(add_quantity(f, &leak, "control runs"));
    if (f->count == 0) {
        fputs("<p class=\"quiet\">No control runs: how far the loss falls where there is nothing "
              "to learn is not known (cocola sweep --leak).</p>\n",
              page);
        return COC_OK;
    }
    COC_TRY(add_level(f, "no leak", false));
    draw(page, f,
         (coc_chart){.title = "Nats of leak",
                     .x_name = "columns a row saw in training, K (logarithmic)",
                     .y_name = "ln K - loss, nats"},
         "How far below chance the training loss of control runs is: there is nothing to learn in "
         "them, so that what is above 0 comes from how batches are made, not from the music.");
    return COC_OK;
}

static coc_status speed_figure(FILE *page, figure *f)
{
    const coc_quantity speed = {.kind = COC_QUANTITY_SPEED};

    COC_TRY(add_quantity(f, &speed, "all ranks"));
    if (f->count == 0) return COC_OK;
    draw(page, f,
         (coc_chart){.title = "Throughput",
                     .x_name = "columns a row saw in training, K (logarithmic)",
                     .y_name = "pairs a second",
                     .from_zero = true},
         "Median over the lines of the log, validation and checkpoints included.");
    return COC_OK;
}

static coc_status memory_figure(FILE *page, figure *f)
{
    const coc_quantity host = {.kind = COC_QUANTITY_HOST}, device = {.kind = COC_QUANTITY_DEVICE};

    COC_TRY(add_quantity(f, &host, "host, rank 0"));
    COC_TRY(add_quantity(f, &device, "GPU of rank 0"));
    if (f->count == 0) return COC_OK;
    draw(page, f,
         (coc_chart){.title = "Memory",
                     .x_name = "columns a row saw in training, K (logarithmic)",
                     .y_name = "GB (10^9 bytes)",
                     .from_zero = true},
         "Largest that rank 0 had resident, and in use on its GPU.");
    return COC_OK;
}

static coc_status draw_figures(FILE *page, figure *f)
{
    coc_status (*const others[])(FILE *, figure *) = {loss_figure, leak_figure, speed_figure,
                                                      memory_figure};
    coc_status status = COC_OK;

    for (int i = 0; i < f->axes->splits && status == COC_OK; i++) {
        status = accuracy_figure(page, f, f->axes->split[i]);
        free_series(f);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0] && status == COC_OK; i++) {
        status = others[i](page, f);
        free_series(f);
    }
    return status;
}

/* ---- page ----------------------------------------------------------------------------------- */

static void write_about(FILE *page, const coc_report *report, const coc_report_axes *axes)
{
    int64_t finished = 0;

    for (int64_t i = 0; i < report->runs; i++)
        finished += report->run[i].finished;
    fprintf(page, "<p>%" PRId64 " runs, %" PRId64 " of them finished; only these are drawn.",
            report->runs, finished);
    if (axes->splits > 0) fprintf(page, " Accuracies are those of mode %s.", axes->mode);
    fputs(" Marks are means over seeds, small dots single runs, bars the 95 % t-interval of the "
          "mean, from 3 seeds on.",
          page);
    if (report->left_out > 0)
        fprintf(page, " %" PRId64 " folders could not be read and are left out.", report->left_out);
    fputs("</p>\n", page);
}

static coc_status write_differences(FILE *page, const coc_report *report)
{
    char *differences = coc_report_differences(report);

    if (differences == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory to compare settings");
    if (differences[0] != '\0') {
        fputs("<p><b>The runs differ in more than K and seed:</b></p>\n<ul>\n", page);
        for (const char *line = differences; *line != '\0';) {
            const int length = (int)strcspn(line, "\n");
            char text[512];

            snprintf(text, sizeof text, "%.*s", length, line);
            fputs("<li>", page);
            coc_html_text(page, text);
            fputs("</li>\n", page);
            line += length;
            line += *line == '\n';
        }
        fputs("</ul>\n", page);
    }
    free(differences);
    return COC_OK;
}

coc_status coc_report_page(FILE *page, const char *title, const coc_report *report,
                           const coc_report_axes *axes)
{
    figure f = {.report = report, .axes = axes};
    coc_status status;

    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
          page);
    coc_html_text(page, title);
    fprintf(page, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<h1>", page_style);
    coc_html_text(page, title);
    fputs("</h1>\n", page);
    write_about(page, report, axes);
    COC_TRY(write_differences(page, report));
    status = draw_figures(page, &f);
    free_series(&f);
    if (status == COC_OK) status = coc_report_tables(page, report, axes);
    fputs("</body>\n</html>\n", page);
    return status;
}
