/* train/cmd_report.c - `cocola report`: a folder of runs -> a table and one page of charts. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "train/cli.h"
#include "train/commands.h"
#include "train/report.h"

typedef struct {
    const char *out, *title;
    coc_words folder;
} arguments;

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--out", "FILE", COC_OPTION_TEXT, &a->out, false, 0, 0,
         "the page (default DIR/report.html)"},
        {"--title", "TEXT", COC_OPTION_TEXT, &a->title, false, 0, 0,
         "its heading (default: the folder's name)"},
    };
    const coc_cli cli = {
        .usage = "cocola report DIR [options]",
        .purpose = "What the runs in a folder show, against the K that their training saw: "
                   "accuracy, loss, leak,\nthroughput and memory. A run is a folder with "
                   "config.yaml and log.jsonl; accuracies come from its\neval.json, as `cocola "
                   "sweep` leaves it (or `cocola eval --format json > RUN/eval.json`).",
        .details = "Prints one line a K, and writes one page with charts and all numbers, which "
                   "needs nothing beside itself.\n\nexample:\n"
                   "  cocola report SWEEP\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words = &a->folder,
        .min_words = 1,
        .max_words = 1,
    };

    return coc_cli_parse(&cli, argc, argv, done);
}

static coc_status write_page(const char *path, const char *title, const coc_report *report,
                             const coc_report_axes *axes)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *page = open_memstream(&text, &bytes);
    coc_status status;
    bool whole;

    if (page == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for a page");
    status = coc_report_page(page, title, report, axes);
    whole = ferror(page) == 0;
    whole = fclose(page) == 0 && whole;
    if (status == COC_OK && !whole) status = COC_FAIL(COC_ERR_MEMORY, "no memory for a page");
    if (status == COC_OK) status = coc_file_write(path, text, bytes);
    free(text);
    return status;
}

static coc_status write_report(const arguments *a, const coc_report *report)
{
    const char *folder = a->folder.word[0];
    char path[COC_PATH_BYTES];
    coc_report_axes axes;
    coc_status status;

    COC_TRY(coc_path_join(path, folder, "report.html"));
    status = coc_report_axes_find(report, &axes);
    if (status == COC_OK) status = coc_report_print(report, &axes);
    if (status == COC_OK)
        status = write_page(a->out != NULL ? a->out : path, a->title != NULL ? a->title : folder,
                            report, &axes);
    free(axes.k);
    if (status == COC_OK) coc_log_root("the page is %s", a->out != NULL ? a->out : path);
    return status;
}

coc_status coc_cmd_report(int argc, char **argv)
{
    arguments a = {0};
    coc_report report = {0};
    bool done;
    coc_status status = parse_arguments(argc, argv, &a, &done);

    if (status == COC_OK && !done) status = coc_report_read(a.folder.word[0], &report);
    if (status == COC_OK && !done) status = write_report(&a, &report);
    coc_report_free(&report);
    coc_words_free(&a.folder);
    return status;
}
