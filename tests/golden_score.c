/* The whole program against the published one: weights are imported, sound files read, features
 * computed, encoded and scored. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "model/ops.h"
#include "tests/test.h"

/* Absolute; the published float32 program differs from the true values by up to 1e-3. */
static const double TOLERANCE = 5e-3;

static char folder[256], scores[COC_PATH_BYTES];

static int run_program(const char *format, const char *a, const char *b)
{
    char command[4 * COC_PATH_BYTES];

    snprintf(command, sizeof command, format, getenv("COCOLA"), a, b);
    return system(command);
}

/* The first `count` of the expected pairs as a list. */
static void write_pairs(const json_t *expected, const char *path, size_t count)
{
    FILE *file = fopen(path, "w");

    if (file == NULL) exit(1);
    fprintf(file, "context,output\n");
    for (size_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(expected, i);

        fprintf(file, "%s/%s,%s/%s\n", scores, json_string_value(json_object_get(row, "context")),
                scores, json_string_value(json_object_get(row, "output")));
    }
    fclose(file);
}

static void check_row(const json_t *got, const json_t *want)
{
    static const char *const modes[] = {"both", "harmonic", "percussive"};

    for (int m = 0; m < 3; m++)
        coc_test_near(__FILE__, __LINE__, modes[m], json_real_value(json_object_get(got, modes[m])),
                      json_real_value(json_object_get(want, modes[m])), TOLERANCE);
    CHECK(json_integer_value(json_object_get(got, "windows")) == 1);
}

static void check_backend(const char *backend, size_t count)
{
    char list[COC_PATH_BYTES + 32], out[300], line[3 * COC_PATH_BYTES];
    json_t *expected;
    FILE *file;
    size_t rows = 0;

    snprintf(list, sizeof list, "%s/expected.json", scores);
    expected = json_load_file(list, 0, NULL);
    REQUIRE(json_array_size(expected) >= count);
    snprintf(list, sizeof list, "%s/pairs.csv", folder);
    snprintf(out, sizeof out, "%s/%s.jsonl", folder, backend);
    write_pairs(expected, list, count);
    snprintf(line, sizeof line, "--checkpoint %s/model.h5 --pairs %s --format jsonl", folder, list);
    strcat(line, " --backend ");
    strcat(line, backend);
    REQUIRE(run_program("\"%s\" score %s > %s 2> /dev/null", line, out) == 0);
    file = fopen(out, "r");
    REQUIRE(file != NULL);
    for (; fgets(line, sizeof line, file) != NULL; rows++) {
        json_t *got = json_loads(line, 0, NULL);

        CHECK(got != NULL);
        check_row(got, json_array_get(expected, rows));
        json_decref(got);
    }
    CHECK(rows == count);
    fclose(file);
    json_decref(expected);
}

/* All three scores of every pair are those of the published model, on every backend. The reference
 * backend, which takes seconds a pair, does one. */
static void test_scores(void)
{
    for (const char *const *name = coc_backend_names(); *name != NULL; name++) {
        coc_backend *b;

        if (coc_backend_create(*name, 1, &b) == COC_ERR_DEVICE) continue; /* no GPU here */
        coc_backend_destroy(&b);
        check_backend(*name, strcmp(*name, "ref") == 0 ? 1 : 4);
    }
}

int main(void)
{
    const char *weights = coc_golden_path("weights.safetensors");
    const char *program = getenv("COCOLA");
    char from[COC_PATH_BYTES], to[300];

    if (weights == NULL || program == NULL) return COC_TEST_SKIPPED;
    snprintf(from, sizeof from, "%s", weights);
    if (coc_golden_path("score/expected.json") == NULL) return COC_TEST_SKIPPED;
    snprintf(scores, sizeof scores, "%s", coc_golden_path("score"));
    snprintf(folder, sizeof folder, "%s", coc_test_folder("golden_score"));
    snprintf(to, sizeof to, "%s/model.h5", folder);
    if (run_program("\"%s\" import --in '%s' --out %s", from, to) != 0) return 1;
    RUN(test_scores);
    return coc_test_result();
}
