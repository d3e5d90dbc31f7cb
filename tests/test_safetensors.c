#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "preprocess/features.h"
#include "tests/test.h"
#include "train/checkpoint.h"
#include "train/safetensors.h"

enum { LIMIT = 1 << 30 };

static char path[COC_PATH_BYTES];

/* A small model's file, and its bytes. */
static char *write_model(size_t *count)
{
    const coc_profile *profile;
    coc_network network;
    coc_params *p = NULL;
    char *bytes = NULL;

    *count = 0;
    if (coc_path_join(path, coc_test_folder("safetensors"), "a.safetensors") != COC_OK ||
        coc_profile_find("cocola-hps", 0, &profile) != COC_OK ||
        coc_network_build(profile, 0.1, 0.1, COC_BANDS, COC_FRAMES, &network) != COC_OK ||
        coc_params_create(&network, coc_device_host(), true, &p) != COC_OK) {
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
        return NULL;
    }
    coc_test_random(p->value, p->weights, 1);
    coc_test_random(p->running, p->runnings, 2);
    p->batches = 99;
    if (coc_safetensors_write(path, p) != COC_OK ||
        coc_file_read(path, LIMIT, &bytes, count) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    coc_params_destroy(&p);
    return bytes;
}

/* The file is refused as bad input, with a message that holds the word. */
static void check_refused(const char *word)
{
    coc_model *model = NULL;

    CHECK(coc_model_open(path, coc_device_host(), &model) == COC_ERR_INPUT);
    CHECK(model == NULL);
    CHECK(strstr(coc_error_text(), path) != NULL);
    if (strstr(coc_error_text(), word) == NULL)
        coc_test_fail(__FILE__, __LINE__, "'%s' lacks '%s'", coc_error_text(), word);
}

/* Write a header of our own in front of `data` zero bytes. */
static void write_header(const char *json, uint64_t stated_length, size_t data)
{
    const size_t length = strlen(json);
    char *bytes = calloc(8 + length + data, 1);

    if (bytes == NULL) exit(1);
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(stated_length >> 8 * i);
    memcpy(bytes + 8, json, length);
    if (coc_file_write(path, bytes, 8 + length + data) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    free(bytes);
}

/* Replace a text in the header by one of the same length, and write the file. */
static void write_edited(const char *bytes, size_t count, const char *from, const char *to)
{
    char *copy = malloc(count);
    const size_t n = strlen(from);
    bool found = false;

    if (copy == NULL) exit(1);
    memcpy(copy, bytes, count);
    for (size_t i = 0; i + n <= count && !found; i++) {
        if (memcmp(copy + i, from, n) != 0) continue;
        memcpy(copy + i, to, n);
        found = true;
    }
    CHECK(found && strlen(to) == n);
    CHECK(coc_file_write(path, copy, count) == COC_OK);
    free(copy);
}

/* Weights read and written again give the same file, byte for byte. */
static void test_round_trip(void)
{
    size_t count, again_count = 0;
    char *bytes = write_model(&count), *again = NULL;
    coc_model *model = NULL;

    REQUIRE(bytes != NULL);
    REQUIRE_OK(coc_model_open(path, coc_device_host(), &model));
    CHECK(model->params->batches == 99);
    CHECK(model->network.channels == 2);
    CHECK(coc_safetensors_write(path, model->params) == COC_OK);
    coc_model_close(&model);
    REQUIRE_OK(coc_file_read(path, LIMIT, &again, &again_count));
    CHECK(again_count == count && memcmp(bytes, again, count) == 0);
    free(bytes);
    free(again);
}

/* The length of the header is compared with the file before memory is taken. */
static void test_header_length(void)
{
    size_t count;
    char *bytes = write_model(&count);

    REQUIRE(bytes != NULL);
    free(bytes);
    write_header("{}", UINT64_MAX, 0);
    check_refused("header");
    write_header("{}", 1ULL << 62, 0);
    check_refused("header");
    write_header("{}", 3, 0);
    check_refused("header");
    write_header("{}", 0, 0);
    check_refused("header");
    write_header("", 0, 0);
    check_refused("header");
    REQUIRE_OK(coc_file_write(path, "1234567", 7));
    check_refused("too short");
}

/* A header that is no JSON object of tensors is refused. */
static void test_header_text(void)
{
    static const char *const texts[] = {
        "[]",
        "{\"a\":",
        "{\"a\":1}",
        ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"), /* one name twice */
        "{\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,2],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}",
    };
    size_t count;
    char *bytes = write_model(&count);

    REQUIRE(bytes != NULL);
    free(bytes);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_header(texts[i], strlen(texts[i]), 4);
        check_refused("");
    }
}

/* Tensors that overlap, leave a gap, or reach beyond the end of the file are refused. */
static void test_offsets(void)
{
    static const char *const texts[] = {
        ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}"), /* overlap */
        ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"), /* twice the same */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",  /* gap in front */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",  /* bytes left over */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", /* beyond the end */
    };
    size_t count;
    char *bytes = write_model(&count);

    REQUIRE(bytes != NULL);
    free(bytes);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_header(texts[i], strlen(texts[i]), 8);
        check_refused("");
    }
}

/* A missing tensor, one too many, another type, another shape and a NaN are refused by name. */
static void test_tensors(void)
{
    size_t count;
    char *bytes = write_model(&count);
    const float nan = NAN;

    REQUIRE(bytes != NULL);
    write_edited(bytes, count, "\"similarity.w\"", "\"similarity.x\"");
    check_refused("similarity.w");
    write_edited(bytes, count, "\"shape\":[512,512]", "\"shape\":[51,5120]");
    check_refused("similarity.w");
    memcpy(bytes + count - 4, &nan, sizeof nan); /* similarity.w is the last by name */
    REQUIRE_OK(coc_file_write(path, bytes, count));
    check_refused("similarity.w");
    free(bytes);
}

/* Anywhere the file is cut, it is refused. */
static void test_cut(void)
{
    size_t count;
    char *bytes = write_model(&count);

    REQUIRE(bytes != NULL);
    for (int i = 0; i < 12; i++) {
        REQUIRE_OK(coc_file_write(path, bytes, count - 1 - (size_t)i * (count / 12)));
        check_refused("");
    }
    free(bytes);
}

int main(void)
{
    RUN(test_round_trip);
    RUN(test_header_length);
    RUN(test_header_text);
    RUN(test_offsets);
    RUN(test_tensors);
    RUN(test_cut);
    return coc_test_result();
}
