/* A report: what it reads from logs and evaluations with known numbers, its means and intervals,
 * and the page. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "tests/test.h"
#include "train/chart.h"
#include "train/report.h"

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[COC_PATH_BYTES];

    REQUIRE_OK(coc_path_join(path, folder, name));
    REQUIRE_OK(coc_file_write(path, text, strlen(text)));
}

/* A run of `steps` of 40 steps whose loss is ln k - 1 - seed / 10 in the last tenth, and another
 * one before; 100 + k pairs a second but for the first line; k MB of memory. */
static void make_run(const char *folder, const char *name, int k, int seed, int steps)
{
    char path[COC_PATH_BYTES], *text = NULL;
    size_t bytes;
    FILE *out;

    REQUIRE_OK(coc_path_join(path, folder, name));
    REQUIRE_OK(coc_make_folders(path));
    text = coc_format("data: {train: store}\nloss: {k: %d}\n"
                      "train: {batch: 64, steps: 40, seed: %d}\n",
                      k, seed);
    write_text(path, "config.yaml", text);
    free(text);
    out = open_memstream(&text, &bytes);
    for (int step = 1; step <= steps; step++)
        fprintf(out,
                "{\"kind\":\"train\",\"step\":%d,\"loss\":%.9g,\"columns\":%d,"
                "\"pairs_per_second\":%d,\"memory\":{\"host\":%d000000,\"device\":0}}\n",
                step, step > 36 ? log(k) - 1 - 0.1 * seed : 50.0, k, step == 1 ? 3 : 100 + k, k);
    fprintf(out, "{\"kind\":\"validation\",\"step\":%d,\"k\":8,\"loss\":1}\n", steps);
    fclose(out);
    write_text(path, "log.jsonl", text);
    free(text);
    text =
        coc_format("[{\"split\":\"validation\",\"rows\":[{\"mode\":\"both\",\"k\":8,"
                   "\"accuracy\":0.9,\"loss\":null}]},"
                   "{\"split\":\"test\",\"rows\":[{\"mode\":\"harmonic\",\"k\":8,\"accuracy\":0},"
                   "{\"mode\":\"both\",\"k\":%d,\"accuracy\":%.9g,\"low\":0.1,\"high\":0.9,"
                   "\"loss\":2.5}]}]",
                   k, 0.5 + 0.01 * seed);
    if (steps == 40) write_text(path, "eval.json", text);
    free(text);
}

static void means_have_students_interval(void)
{
    /* The 95 % interval of a mean is that of Student's t, and there is none below three values. */
    const double values[] = {1, NAN, 2, 3};
    double many[200];
    coc_mean m = coc_mean_of(values, 4);

    CHECK(m.n == 3);
    CHECK_NEAR(m.mean, 2, 1e-12);
    CHECK_NEAR(m.high - 2, 4.303 / sqrt(3), 1e-3); /* standard deviation 1 */
    CHECK_NEAR(m.low, 4 - m.high, 1e-12);
    m = coc_mean_of(values, 3);
    CHECK(m.n == 2 && isnan(m.low) && isnan(m.high));
    CHECK_NEAR(m.mean, 1.5, 1e-12);
    m = coc_mean_of(values + 1, 1);
    CHECK(m.n == 0 && isnan(m.mean));
    for (int i = 0; i < 200; i++)
        many[i] = i % 2;
    m = coc_mean_of(many, 200);
    /* t of 199 degrees is 1.97196; the standard deviation sqrt(50 / 199) */
    CHECK_NEAR(m.high - 0.5, 1.97196 * sqrt(50.0 / 199 / 200), 2e-5);
}

static void a_log_is_summarized(void)
{
    /* Loss and columns are means over the last tenth of the run, speed the median without the first
     * line; a line that is being written does not count, a broken one is named. */
    const char *folder = coc_test_folder("report_log");
    coc_report_log log;
    coc_report_run run;
    char path[COC_PATH_BYTES];
    FILE *file;

    make_run(folder, "run", 32, 1, 40);
    REQUIRE_OK(coc_path_join(path, folder, "run"));
    REQUIRE_OK(coc_report_read_run(path, &run));
    CHECK(run.k == 32 && run.finished && !run.control && run.log.step == 40 && run.rows == 3);
    CHECK(strcmp(run.name, "run") == 0);
    CHECK_NEAR(run.log.loss, log10(32) / log10(exp(1)) - 1.1, 1e-8);
    CHECK_NEAR(run.log.columns, 32, 1e-12);
    CHECK_NEAR(run.log.pairs_per_second, 132, 1e-12);
    CHECK_NEAR(run.log.host_bytes, 32e6, 1e-3);
    CHECK(isnan(run.row[0].loss) && isnan(run.row[0].low));
    free(run.row);

    REQUIRE_OK(coc_path_join(path, folder, "run/log.jsonl"));
    file = fopen(path, "a");
    REQUIRE(file != NULL);
    fputs("{\"kind\":\"train\",\"step\":41,\"lo", file);
    fclose(file);
    REQUIRE_OK(coc_report_read_log(path, 40, &log));
    CHECK(log.step == 40);
    file = fopen(path, "a");
    REQUIRE(file != NULL);
    fputs("\n", file);
    fclose(file);
    CHECK(coc_report_read_log(path, 40, &log) == COC_ERR_INPUT);
    CHECK(strstr(coc_error_text(), "log.jsonl:42: no JSON") != NULL);
}

static void a_diverged_run_has_no_loss(void)
{
    /* null among the last steps makes the loss not a number, instead of a mean of the others. */
    const char *folder = coc_test_folder("report_diverged");
    coc_report_log log;
    char path[COC_PATH_BYTES];

    write_text(folder, "log.jsonl",
               "{\"kind\":\"train\",\"step\":9,\"loss\":1.5,\"columns\":4}\n"
               "{\"kind\":\"train\",\"step\":10,\"loss\":null,\"columns\":4}\n");
    REQUIRE_OK(coc_path_join(path, folder, "log.jsonl"));
    REQUIRE_OK(coc_report_read_log(path, 10, &log));
    CHECK(isnan(log.loss));
    CHECK_NEAR(log.columns, 4, 0);
    CHECK(isnan(log.pairs_per_second) && isnan(log.host_bytes));

    /* a step that was left out is none of the run's */
    write_text(folder, "log.jsonl",
               "{\"kind\":\"train\",\"step\":9,\"loss\":null,\"columns\":4,\"skipped\":1}\n"
               "{\"kind\":\"train\",\"step\":10,\"loss\":1.5,\"columns\":4,\"skipped\":0}\n");
    REQUIRE_OK(coc_report_read_log(path, 10, &log));
    CHECK_NEAR(log.loss, 1.5, 0);
}

static void runs_are_grouped_by_k(void)
{
    /* Means are over the finished runs of a K; control runs give the leak and nothing else. */
    const char *folder = coc_test_folder("report_runs");
    const coc_quantity accuracy = {COC_QUANTITY_ACCURACY, "test", "both", 32};
    const coc_quantity at_training_k = {COC_QUANTITY_EVAL_LOSS, "test", "both", 0};
    const coc_quantity loss = {.kind = COC_QUANTITY_LOSS}, chance = {.kind = COC_QUANTITY_CHANCE};
    const coc_quantity leak = {.kind = COC_QUANTITY_LEAK};
    coc_report_axes axes;
    coc_report report;
    coc_mean m;

    make_run(folder, "a", 32, 1, 40);
    make_run(folder, "b", 32, 2, 40);
    make_run(folder, "c", 32, 3, 40);
    make_run(folder, "d", 32, 9, 39); /* not finished */
    make_run(folder, "e", 8, 1, 40);
    make_run(folder, "f", 8, 5, 40);
    write_text(folder, "f/control.json", "{}");
    REQUIRE_OK(coc_report_read(folder, &report));
    REQUIRE(report.runs == 6 && report.left_out == 0);
    REQUIRE_OK(coc_report_axes_find(&report, &axes));
    CHECK(axes.ks == 2 && axes.k[0] == 8 && axes.k[1] == 32 && axes.controls);
    CHECK(axes.eval_ks == 2 && axes.eval_k[0] == 8 && axes.eval_k[1] == 32);
    CHECK(axes.splits == 2 && strcmp(axes.split[0], "test") == 0);
    CHECK(strcmp(axes.mode, "both") == 0);

    REQUIRE_OK(coc_report_mean(&report, &accuracy, 32, &m));
    CHECK(m.n == 3);
    CHECK_NEAR(m.mean, 52, 1e-9);
    CHECK_NEAR(m.high - m.mean, 4.303 / sqrt(3), 1e-3);
    REQUIRE_OK(coc_report_mean(&report, &accuracy, 8, &m)); /* not evaluated at 32 */
    CHECK(m.n == 0);
    REQUIRE_OK(coc_report_mean(&report, &at_training_k, 8, &m));
    CHECK(m.n == 1);
    CHECK_NEAR(m.mean, 2.5, 1e-12);
    REQUIRE_OK(coc_report_mean(&report, &loss, 8, &m));
    CHECK(m.n == 1);
    CHECK_NEAR(m.mean, log(8) - 1.1, 1e-8);
    REQUIRE_OK(coc_report_mean(&report, &chance, 8, &m));
    CHECK(m.n == 1);
    CHECK_NEAR(m.mean, log(8), 1e-12);
    REQUIRE_OK(coc_report_mean(&report, &leak, 8, &m));
    CHECK(m.n == 1);
    CHECK_NEAR(m.mean, 1.5, 1e-8);
    free(axes.k);
    coc_report_free(&report);
}

static void other_differences_are_told(void)
{
    /* K, seed and rate may differ in a sweep; anything else is told, once. */
    const char *folder = coc_test_folder("report_differences");
    coc_report report;
    char *differences;

    make_run(folder, "a", 32, 1, 40);
    make_run(folder, "b", 8, 2, 40);
    REQUIRE_OK(coc_report_read(folder, &report));
    differences = coc_report_differences(&report);
    CHECK(differences != NULL && differences[0] == '\0');
    free(differences);
    coc_report_free(&report);
    make_run(folder, "c", 8, 3, 40);
    make_run(folder, "d", 8, 4, 40);
    write_text(folder, "c/config.yaml",
               "data: {train: store}\nmodel: {width: 2}\n"
               "train: {batch: 64, steps: 40, learning_rate: 1}\n");
    write_text(folder, "d/config.yaml",
               "data: {train: other}\nmodel: {width: 3}\n"
               "train: {batch: 32, steps: 80}\n");
    REQUIRE_OK(coc_report_read(folder, &report));
    differences = coc_report_differences(&report);
    REQUIRE(differences != NULL);
    CHECK(strcmp(differences,
                 "model.width: 1 there, 2 here\ndata.train: store there, other here") == 0);
    free(differences);
    coc_report_free(&report);
}

static void a_broken_run_is_left_out(void)
{
    /* The others are read; when there is none, that is an error, as is a folder without runs. */
    const char *folder = coc_test_folder("report_broken");
    coc_report report;

    make_run(folder, "a", 32, 1, 40);
    write_text(folder, "a/eval.json", "{\"split\":\"test\"}");
    CHECK(coc_report_read(folder, &report) == COC_ERR_INPUT);
    CHECK(strstr(coc_error_text(), "none of its runs can be read") != NULL);
    coc_report_free(&report);
    make_run(folder, "b", 32, 2, 40);
    REQUIRE_OK(coc_report_read(folder, &report));
    CHECK(report.runs == 1 && report.left_out == 1);
    coc_report_free(&report);
    folder = coc_test_folder("report_none");
    CHECK(coc_report_read(folder, &report) == COC_ERR_INPUT);
    CHECK(strstr(coc_error_text(), "no runs") != NULL);
    coc_report_free(&report);
}

static int count_of(const char *text, const char *word)
{
    int count = 0;

    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word))
        count++;
    return count;
}

static char *page_of(const char *folder, const char *title)
{
    coc_report_axes axes;
    coc_report report;
    char *text = NULL;
    size_t bytes;
    FILE *page = open_memstream(&text, &bytes);

    if (page == NULL || coc_report_read(folder, &report) != COC_OK) return NULL;
    if (coc_report_axes_find(&report, &axes) != COC_OK ||
        coc_report_page(page, title, &report, &axes) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    fclose(page);
    free(axes.k);
    coc_report_free(&report);
    return text;
}

static void the_page_needs_nothing_beside_itself(void)
{
    /* No script, no link; names are escaped; a chart for each quantity that there is. */
    const char *folder = coc_test_folder("report_page");
    char *page;

    make_run(folder, "a <b> & c", 32, 1, 40);
    make_run(folder, "k8", 8, 1, 40);
    page = page_of(folder, "\"<title>\"");
    REQUIRE(page != NULL);
    CHECK(count_of(page, "<svg ") == 5 && count_of(page, "</svg>") == 5);
    CHECK(count_of(page, "<script") == 0 && count_of(page, "<link") == 0);
    CHECK(count_of(page, "http") == 5); /* the name of SVG's own namespace */
    CHECK(count_of(page, "No control runs") == 1 && count_of(page, "Nats of leak") == 0);
    CHECK(count_of(page, "a &lt;b&gt; &amp; c") == 1 && count_of(page, "<b> & c") == 0);
    CHECK(count_of(page, "<h1>&quot;&lt;title&gt;&quot;</h1>") == 1);
    CHECK(count_of(page, "nan") == 0 && count_of(page, "inf\"") == 0);
    CHECK(count_of(page, "<tr>") == 2 + 2 + 2); /* heads, two Ks, two runs */
    free(page);
    make_run(folder, "leak", 8, 1, 40);
    write_text(folder, "leak/control.json", "{}");
    page = page_of(folder, "t");
    REQUIRE(page != NULL);
    CHECK(count_of(page, "<svg ") == 6 && count_of(page, "<b>Nats of leak<") == 1);
    free(page);
}

static void axes_have_round_marks(void)
{
    /* Marks stand at multiples of 1, 2 or 5 times a power of ten, written without lost digits. */
    int decimals;

    CHECK_NEAR(coc_chart_step(0, 100, 6, &decimals), 20, 1e-12);
    CHECK(decimals == 0);
    CHECK_NEAR(coc_chart_step(0.1, 0.112, 6, &decimals), 0.002, 1e-12);
    CHECK(decimals == 3);
    CHECK_NEAR(coc_chart_step(-3, 3, 6, &decimals), 1, 1e-12);
    CHECK(decimals == 0);
    CHECK_NEAR(coc_chart_step(0, 3.1e6, 6, &decimals), 5e5, 1e-6);
    CHECK(decimals == 0);
}

/* Height of the n-th mark (a circle of the first series) of a chart of three values. */
static double height_of(const char *svg, int n)
{
    const char *at = svg;

    for (int i = 0; i <= n && at != NULL; i++)
        at = strstr(at + 1, "<circle cx=");
    at = at != NULL ? strstr(at, "cy=\"") : NULL;
    return at != NULL ? strtod(at + 4, NULL) : NAN;
}

static void values_stand_at_their_height(void)
{
    /* A chart is linear in the value, grows upwards, and leaves out what is not a number. */
    static const int64_t k[] = {8, 16, 32, 64};
    const coc_chart_point line[] = {
        {8, 1, NAN, NAN}, {16, 2, 1.5, 2.5}, {32, NAN, NAN, NAN}, {64, 5, NAN, NAN}};
    const coc_chart_series series = {.label = "a & b", .line = line, .points = 4};
    const coc_chart chart = {
        .title = "t", .x_name = "x", .y_name = "y", .k = k, .ks = 4, .series = &series, .count = 1};
    char *svg = NULL;
    size_t bytes;
    FILE *out = open_memstream(&svg, &bytes);

    REQUIRE(out != NULL);
    coc_chart_draw(out, &chart);
    fclose(out);
    CHECK(count_of(svg, "<circle") == 4); /* three values, and one beside the label */
    CHECK(count_of(svg, "a &amp; b") == 1 && count_of(svg, "nan") == 0);
    CHECK_NEAR((height_of(svg, 0) - height_of(svg, 1)) * 3, height_of(svg, 1) - height_of(svg, 2),
               0.5); /* written to a tenth */
    CHECK(height_of(svg, 0) > height_of(svg, 2) + 100);
    free(svg);
}

int main(void)
{
    RUN(means_have_students_interval);
    RUN(a_log_is_summarized);
    RUN(a_diverged_run_has_no_loss);
    RUN(runs_are_grouped_by_k);
    RUN(other_differences_are_told);
    RUN(a_broken_run_is_left_out);
    RUN(the_page_needs_nothing_beside_itself);
    RUN(axes_have_round_marks);
    RUN(values_stand_at_their_height);
    return coc_test_result();
}
