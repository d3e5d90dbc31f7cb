/* Settings: the table, files, one assignment, printing, differences. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "configs/list.h"
#include "configs/settings.h"
#include "configs/table.h"
#include "tests/test.h"

static coc_status read_text(const char *text, coc_settings *settings)
{
    coc_settings_default(settings);
    return coc_settings_read_text(settings, text, "x.yaml");
}

/* The text must be refused with a message that has every one of the parts. */
static void check_refused(int line, const char *text, const char *a, const char *b)
{
    coc_settings settings, before;

    coc_settings_default(&before);
    if (read_text(text, &settings) != COC_ERR_SETTING)
        coc_test_fail(__FILE__, line, "accepted: %s", text);
    else if (strstr(coc_error_text(), a) == NULL || strstr(coc_error_text(), b) == NULL)
        coc_test_fail(__FILE__, line, "'%s' lacks '%s' or '%s'", coc_error_text(), a, b);
    if (memcmp(&settings, &before, sizeof settings) != 0)
        coc_test_fail(__FILE__, line, "a refused text changed the settings: %s", text);
}
#define REFUSED(text, a, b) check_refused(__LINE__, text, a, b)

/* Fails when a default in the table cannot be read, lies out of its range, or a key stands twice or
 * in no section. */
static void the_table_is_sound(void)
{
    int rows, sections, in_sections = 0;
    const coc_setting *table = coc_setting_table(&rows);
    const coc_setting_section *section = coc_setting_sections(&sections);
    coc_settings settings;

    coc_settings_default(&settings);
    CHECK(rows > 30);
    for (int i = 0; i < rows; i++) {
        char value[COC_SETTING_YAML];

        REQUIRE_OK(coc_setting_parse(&table[i], table[i].value, "", &settings));
        CHECK(coc_setting_find(table[i].key, strlen(table[i].key)) == &table[i]);
        CHECK(table[i].offset + table[i].room <= sizeof settings);
        CHECK(strlen(table[i].help) > 10);
        coc_setting_format(&table[i], &settings, value);
        CHECK(strcmp(value, table[i].value) == 0 || strcmp(value, "''") == 0);
        for (int s = 0; s < sections; s++)
            in_sections += coc_setting_in_section(&table[i], section[s].name);
        for (int j = 0; j < i; j++)
            CHECK(table[j].offset + table[j].room <= table[i].offset ||
                  table[i].offset + table[i].room <= table[j].offset);
    }
    CHECK(in_sections == rows);
}

/* Fails when a default is not the published one. */
static void defaults_are_the_published_ones(void)
{
    coc_settings s;

    coc_settings_default(&s);
    CHECK(s.train.batch == 32);
    CHECK_NEAR(s.train.learning_rate, 1e-3, 0);
    CHECK(s.train.schedule == COC_SCHEDULE_CONSTANT);
    CHECK(s.train.warmup == 0);
    CHECK_NEAR(s.train.clip, 0, 0);
    CHECK_NEAR(s.train.weight_decay, 0, 0);
    CHECK(s.train.keep == 5);
    CHECK_NEAR(s.model.bn_momentum, 0.01, 0);
    CHECK(s.model.bn_group == 32);
    CHECK(s.model.similarity_init == COC_SIMILARITY_NORMAL);
    CHECK_NEAR(s.model.similarity_scale, 0.05, 0);
    CHECK_NEAR(s.model.dropout, 0.1, 0);
    CHECK_NEAR(s.model.stochastic_depth, 0.2, 0);
    CHECK_NEAR(s.model.width, 1, 0);
    CHECK_NEAR(s.model.depth, 1, 0);
    CHECK(s.data.features == COC_FEATURES_HPS);
    CHECK(s.data.channel_mode == COC_CHANNELS_PAIR);
    CHECK(s.data.windows == COC_WINDOWS_GRID);
    CHECK_NEAR(s.data.overlap, 0.5, 0);
    CHECK_NEAR(s.data.noise, 1e-3, 0);
    CHECK(s.data.submixtures);
    CHECK(s.eval.bn_reestimate == 0);
    CHECK_NEAR(s.comm.deadline, 120, 0);
    CHECK(strcmp(s.model.backend, "cpu") == 0);
    CHECK(strcmp(s.comm.backend, "auto") == 0);
    CHECK(!s.comm.share_gpu && s.comm.nccl_channels == 0);
}

/* Fails when a value of any kind is not taken from YAML, or another key changes with it. */
static void a_file_sets_what_it_names(void)
{
    coc_settings s, want;

    coc_settings_default(&want);
    snprintf(want.data.train, sizeof want.data.train, "%s", "a b'c");
    want.data.submixtures = false;
    want.data.channel_mode = COC_CHANNELS_STEP;
    want.data.threads = 3;
    snprintf(want.model.profile, sizeof want.model.profile, "%s", "cocola-hps");
    want.model.width = 0.35;
    want.train.seed = 9007199254740992;
    want.train.learning_rate = 3e-3;
    REQUIRE_OK(read_text("# comment\n"
                         "data: {train: 'a b''c', submixtures: false, channel_mode: \"step\",\n"
                         "       threads: 3}\n"
                         "model:\n  profile: cocola-hps\n  width: .35\n"
                         "train:\n  seed: 9007199254740992\n  learning_rate: 3e-3\n"
                         "eval:\n",
                         &s));
    CHECK(memcmp(&s, &want, sizeof s) == 0);
    REQUIRE_OK(read_text("data:\n  valid: ~\n  train:\n", &s));
    CHECK(s.data.valid[0] == '\0');
    REQUIRE_OK(read_text("", &s));
    REQUIRE_OK(read_text("# nothing\n", &s));
}

/* Fails when something wrong is taken, or refused without its place, value or nearest name. */
static void wrong_files_are_refused_with_their_place(void)
{
    REFUSED("train:\n  bacth: 4\n", "x.yaml:2:3: ", "train.batch");
    REFUSED("train:\n  features: hps\n", "x.yaml:2:3: ", "data.features");
    REFUSED("eval:\n  bacht: 4\n", "x.yaml:2:3: ", "eval.batch");
    REFUSED("trian:\n  batch: 4\n", "x.yaml:1:1: ", "train");
    REFUSED("optimizer:\n  batch: 4\n", "x.yaml:1:1: ", "known are data, model, loss, train");
    REFUSED("train.batch: 4\n", "x.yaml:1:1: ", "train.batch");
    REFUSED("train:\n  batch: 4\n  seed: 1\n  batch: 8\n", "x.yaml:4:3: ", "line 2");
    REFUSED("train:\n  batch: 4\ntrain:\n  batch: 8\n", "x.yaml:4:3: ", "line 2");
    REFUSED("train:\n  batch: many\n", "x.yaml:2:10: train.batch", "'many'");
    REFUSED("train:\n  batch: 4.5\n", "x.yaml:2:10: train.batch", "'4.5'");
    REFUSED("train:\n  batch: '4'\n", "x.yaml:2:10: train.batch", "quotes");
    REFUSED("train:\n  batch:\n", "train.batch", "no value");
    REFUSED("train:\n  batch: [4]\n", "x.yaml:2:10: train.batch", "list");
    REFUSED("train:\n  batch: 1\n", "x.yaml:2:10: train.batch: 1 ", "2 to ");
    REFUSED("train:\n  batch: 99999999999999999999\n", "train.batch", "out of range");
    REFUSED("data:\n  prefetch: 9\n", "data.prefetch: 9 ", "0 to 8");
    REFUSED("train:\n  learning_rate: -1\n", "train.learning_rate: -1 ", "0 to ");
    REFUSED("train:\n  learning_rate: .nan\n", "train.learning_rate", "'.nan'");
    REFUSED("train:\n  learning_rate: nan\n", "train.learning_rate", "no number");
    REFUSED("train:\n  learning_rate: 0x1p-3\n", "train.learning_rate", "no number");
    REFUSED("data:\n  submixtures: 1\n", "data.submixtures", "true");
    REFUSED("data:\n  features: hsp\n", "'hsp'", "did you mean hps");
    REFUSED("data: 4\n", "x.yaml:1:7: ", "data");
    REFUSED("- data\n", "x.yaml:1:1: ", "sections");
    REFUSED("data: {train: x\n", "x.yaml:", "not YAML");
    REFUSED("data:\n\ttrain: x\n", "x.yaml:2:1: ", "not YAML");
    REFUSED("data: {train: \"a\\0b\"}\n", "x.yaml:1:15: ", "data.train");
    REFUSED("data: {train: \"a\\nb\"}\n", "data.train", "byte 2");
    REFUSED("data: {train: \xff}\n", "x.yaml", "UTF-8");
    REFUSED("data: {train: x}\n---\ndata: {train: y}\n", "x.yaml:2", "second");
    REFUSED("{[1, 2]: 3}\n", "x.yaml:1:2: ", "section");
}

/* Fails when a file of over 1 MiB, or one that is not there, is not refused by name. */
static void files_are_read_by_name(void)
{
    const char *folder = coc_test_folder("settings");
    char path[COC_PATH_BYTES], *big = malloc(2 << 20);
    coc_settings s;

    coc_settings_default(&s);
    REQUIRE_OK(coc_path_join(path, folder, "a.yaml"));
    CHECK(coc_settings_read_file(&s, path) == COC_ERR_IO);
    CHECK(strstr(coc_error_text(), "a.yaml") != NULL);
    REQUIRE_OK(coc_file_write(path, "train: {batch: 64}\n", 19));
    REQUIRE_OK(coc_settings_read_file(&s, path));
    CHECK(s.train.batch == 64);
    REQUIRE(big != NULL);
    memset(big, '#', 2 << 20);
    REQUIRE_OK(coc_file_write(path, big, 2 << 20));
    CHECK(coc_settings_read_file(&s, path) == COC_ERR_SETTING);
    CHECK(strstr(coc_error_text(), "a.yaml") != NULL);
    free(big);
}

/* Fails when an assignment is not taken, or a wrong one not refused with a hint. */
static void an_assignment_sets_one_key(void)
{
    coc_settings s;
    char long_path[2 * COC_SETTING_TEXT];

    coc_settings_default(&s);
    REQUIRE_OK(coc_settings_set(&s, "train.steps=12"));
    CHECK(s.train.steps == 12);
    REQUIRE_OK(coc_settings_set(&s, "data.train=a=b"));
    CHECK(strcmp(s.data.train, "a=b") == 0);
    REQUIRE_OK(coc_settings_set(&s, "data.train="));
    CHECK(s.data.train[0] == '\0');
    CHECK(coc_settings_set(&s, "train.steps") == COC_ERR_SETTING);
    CHECK(coc_settings_set(&s, "train.stesp=1") == COC_ERR_SETTING);
    CHECK(strstr(coc_error_text(), "train.steps") != NULL);
    CHECK(coc_settings_set(&s, "steps=1") == COC_ERR_SETTING);
    CHECK(strstr(coc_error_text(), "train.steps") != NULL);
    CHECK(coc_settings_set(&s, "train.steps= 1") == COC_ERR_SETTING);
    CHECK(coc_settings_set(&s, "train.steps=") == COC_ERR_SETTING);
    CHECK(coc_settings_set(&s, "=1") == COC_ERR_SETTING);
    CHECK(coc_settings_set(&s, "model.backend=cuda9") == COC_ERR_SETTING);
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    memcpy(long_path, "data.train=", 11);
    CHECK(coc_settings_set(&s, long_path) == COC_ERR_SETTING);
    CHECK(s.train.steps == 12);
}

/* Fails when printed settings read back to other bytes, for odd texts and numbers too. */
static void printed_settings_read_back_identically(void)
{
    static const char *const texts[] = {"",          "it's # a: 'test', {x}",
                                        "\"q\" \\ ", " \xc3\xa9\xe2\x82\xac\xf0\x9f\x8e\xb5",
                                        "~",         "- a",
                                        "null",      "true",
                                        "%YAML",     "&a *b",
                                        "'",         "''"};

    for (int i = 0; i < (int)(sizeof texts / sizeof texts[0]); i++) {
        coc_settings wrote, got;
        char assignment[256], *text;

        coc_settings_default(&wrote);
        snprintf(assignment, sizeof assignment, "data.train=%s", texts[i]);
        REQUIRE_OK(coc_settings_set(&wrote, assignment));
        wrote.train.learning_rate = 0.1 + 0.01 * i / 3;
        wrote.train.minutes = 1.0 / 3;
        wrote.train.seed = 9007199254740992 - i;
        wrote.data.features = COC_FEATURES_MEL;
        wrote.data.submixtures = i % 2 == 0;
        text = coc_settings_print(&wrote, i % 3 == 0);
        REQUIRE(text != NULL);
        REQUIRE_OK(read_text(text, &got));
        CHECK(memcmp(&wrote, &got, sizeof got) == 0);
        free(text);
    }
}

/* Fails when bytes that YAML would change or refuse between quotes are taken. */
static void texts_that_yaml_would_change_are_refused(void)
{
    static const char *const texts[] = {"a\tb",         "a\nb",         "\x7f",
                                        "\xc2\x85",     "\xe2\x80\xa8", "\xef\xbb\xbf",
                                        "\xc3",         "\xc0\x80",     "\xed\xa0\x80",
                                        "\xff",         "a\x80",        "\xf5\x80\x80\x80",
                                        "\xef\xbf\xbf", "\xe0\x80\x80", "\xf4\x90\x80\x80"};
    coc_settings s;

    coc_settings_default(&s);
    for (int i = 0; i < (int)(sizeof texts / sizeof texts[0]); i++) {
        char assignment[64];

        snprintf(assignment, sizeof assignment, "data.train=%s", texts[i]);
        if (coc_settings_set(&s, assignment) != COC_ERR_SETTING)
            coc_test_fail(__FILE__, __LINE__, "text %d was taken", i);
    }
}

static char *differences(const char *there, const char *here)
{
    coc_settings a, b;

    if (read_text(there, &a) != COC_OK || read_text(here, &b) != COC_OK) return NULL;
    return coc_settings_differences(&a, &b);
}

/* Fails when a key that decides what is computed is passed over, or a harmless one listed. */
static void differences_list_what_decides_a_run(void)
{
    static const struct {
        const char *there, *here, *want;
    } cases[] = {
        {"", "", ""},
        {"train: {batch: 32}", "train: {batch: 64}", "train.batch: 32 there, 64 here"},
        {"train: {batch: 32}", "train: {batch: 64, seed: 7}",
         "train.batch: 32 there, 64 here\ntrain.seed: 1 there, 7 here"},
        {"", "train: {log_every: 3, checkpoint_every: 4, keep: 9}", ""},
        {"", "data: {train: elsewhere, threads: 4, prefetch: 0}", ""},
        {"", "model: {threads: 4, backend: ref}\ncomm: {deadline: 9}", ""},
        {"train: {steps: 10}", "train: {steps: 20}", ""},
        {"train: {steps: 10, schedule: cosine}", "train: {steps: 20, schedule: cosine}",
         "train.steps: 10 there, 20 here"},
        {"train: {steps: 10}\ndata: {both_first: 0.5}",
         "train: {steps: 20}\ndata: {both_first: 0.5}", "train.steps: 10 there, 20 here"},
        {"data: {features: hps}", "data: {features: mel}", "data.features: hps there, mel here"},
    };

    for (int i = 0; i < (int)(sizeof cases / sizeof cases[0]); i++) {
        char *got = differences(cases[i].there, cases[i].here);

        REQUIRE(got != NULL);
        if (strcmp(got, cases[i].want) != 0)
            coc_test_fail(__FILE__, __LINE__, "case %d: '%s', wanted '%s'", i, got, cases[i].want);
        free(got);
    }
}

/* Fails when settings that contradict each other pass, or good ones do not. */
static void contradictions_are_refused(void)
{
    coc_settings s;

    REQUIRE_OK(read_text("", &s));
    CHECK(coc_settings_check(&s) == COC_ERR_SETTING); /* no length */
    CHECK(strstr(coc_error_text(), "train.steps") != NULL);
    REQUIRE_OK(read_text("train: {minutes: 1}", &s));
    CHECK(coc_settings_check(&s) == COC_OK);
    REQUIRE_OK(read_text("train: {steps: 10, batch: 48}", &s));
    CHECK(coc_settings_check(&s) == COC_ERR_SETTING);
    CHECK(strstr(coc_error_text(), "model.bn_group") != NULL);
    REQUIRE_OK(read_text("train: {steps: 10, batch: 24}", &s));
    CHECK(coc_settings_check(&s) == COC_OK); /* smaller than a group: the batch is the group */
    REQUIRE_OK(read_text("train: {steps: 10, batch: 48}\nmodel: {bn_group: 0}", &s));
    CHECK(coc_settings_check(&s) == COC_OK);
    REQUIRE_OK(read_text("train: {steps: 10, batch: 64, micro_batch: 48}", &s));
    CHECK(coc_settings_check(&s) == COC_ERR_SETTING); /* of groups of 32 */
    CHECK(strstr(coc_error_text(), "train.micro_batch: 48") != NULL);
    REQUIRE_OK(
        read_text("train: {steps: 10, batch: 64, micro_batch: 32}\nmodel: {bn_group: 0}", &s));
    CHECK(coc_settings_check(&s) == COC_ERR_SETTING);
    CHECK(strstr(coc_error_text(), "a batch-norm group is the whole batch") != NULL);
    for (int k = 24; k <= 128; k += 104) { /* no divisor; more than there are */
        char text[64];

        snprintf(text, sizeof text, "train: {steps: 10, batch: 64}\nloss: {k: %d}", k);
        REQUIRE_OK(read_text(text, &s));
        CHECK(coc_settings_check(&s) == COC_ERR_SETTING);
        CHECK(strstr(coc_error_text(), "does not divide train.batch (64)") != NULL);
    }
    REQUIRE_OK(read_text("train: {steps: 1}\nloss: {reduction: fixed-tree}", &s));
    CHECK(coc_settings_check(&s) == COC_OK);
    REQUIRE_OK(
        read_text("train: {steps: 1}\nloss: {reduction: fixed-tree}\ncomm: {backend: nccl}", &s));
    CHECK(coc_settings_check(&s) == COC_ERR_SETTING);
    CHECK(strstr(coc_error_text(), "comm.backend: nccl") != NULL);
    REQUIRE_OK(read_text("train: {steps: 10, warmup: 11}", &s));
    CHECK(coc_settings_check(&s) == COC_ERR_SETTING);
}

/* Fails when a preset cannot be read, or does not say what its name says. */
static void presets_are_good(void)
{
    static const char *const names[] = {"quickstart", "cocola-hps", "cocola-mel"};
    const char *source = getenv("COCOLA_SOURCE");

    for (int i = 0; i < 3; i++) {
        coc_settings s, published;
        char path[COC_PATH_BYTES], *text;

        snprintf(path, sizeof path, "%s/configs/%s.yaml", source != NULL ? source : "..", names[i]);
        coc_settings_default(&s);
        coc_settings_default(&published);
        REQUIRE_OK(coc_settings_read_file(&s, path));
        REQUIRE_OK(coc_settings_check(&s));
        CHECK((s.data.features == COC_FEATURES_MEL) == (i == 2));
        if (i != 1) continue;
        memcpy(published.model.profile, s.model.profile, sizeof s.model.profile);
        text = coc_settings_differences(&published, &s);
        REQUIRE(text != NULL);
        CHECK(strcmp(text, "") == 0);
        free(text);
    }
}

/* Fails when docs/settings.md was not made anew after the table changed:
 * build/cocola help settings --markdown > docs/settings.md */
static void the_reference_page_is_current(void)
{
    const char *source = getenv("COCOLA_SOURCE");
    char path[COC_PATH_BYTES], *page, *file;
    size_t bytes;

    snprintf(path, sizeof path, "%s/docs/settings.md", source != NULL ? source : "..");
    page = coc_settings_document(true);
    REQUIRE(page != NULL);
    REQUIRE_OK(coc_file_read(path, 1 << 20, &file, &bytes));
    CHECK(strcmp(page, file) == 0);
    free(page);
    free(file);
    page = coc_settings_document_part(false, "train.batch");
    REQUIRE(page != NULL);
    CHECK(strstr(page, "train.batch: 32") != NULL);
    CHECK(strstr(page, "train.steps") == NULL);
    free(page);
    page = coc_settings_document_part(false, "no such");
    REQUIRE(page != NULL);
    CHECK(page[0] == '\0');
    free(page);
}

/* Fails when a typing error is not recognised, or an unrelated word is offered. */
static void the_nearest_word_is_found(void)
{
    static const char *const words[] = {"train", "preprocess", "score", "render"};
    static const char *const letter = "k";

    CHECK(strcmp(coc_nearest_word("trian", words, 4), "train") == 0);
    CHECK(strcmp(coc_nearest_word("prepocess", words, 4), "preprocess") == 0);
    CHECK(strcmp(coc_nearest_word("scores", words, 4), "score") == 0);
    CHECK(coc_nearest_word("zzzzz", words, 4) == NULL);
    CHECK(coc_nearest_word("word", words, 4) == NULL);
    CHECK(coc_nearest_word("x", &letter, 1) == NULL);
    CHECK(coc_nearest_word("", words, 4) == NULL);
    CHECK(coc_nearest_word("train", words, 0) == NULL);
}

static const char *item(const char *list, int i)
{
    static char text[COC_SETTING_TEXT];

    coc_list_item(list, i, text);
    return text;
}

/* Fails when a list is not what a file or an assignment says, or does not survive being printed. */
static void lists_hold_one_value_or_several(void)
{
    coc_settings settings, again;
    char *text;

    REQUIRE_OK(
        read_text("data: {train: [a b, 'c]', \"it's\"], weights: [3, 0.5, 1e-3]}", &settings));
    CHECK(strcmp(settings.data.train, "[a b, c], it's]") == 0);
    CHECK(coc_list_count(settings.data.train) == 3);
    CHECK(strcmp(item(settings.data.train, 0), "a b") == 0);
    CHECK(strcmp(item(settings.data.train, 1), "c]") == 0);
    CHECK(strcmp(item(settings.data.train, 2), "it's") == 0);
    text = coc_settings_print(&settings, false);
    REQUIRE(text != NULL);
    REQUIRE_OK(read_text(text, &again));
    CHECK(memcmp(&settings, &again, sizeof settings) == 0);
    free(text);
    REQUIRE_OK(coc_settings_set(&settings, "data.train=[x,y ]"));
    CHECK(strcmp(settings.data.train, "[x, y]") == 0);
    REQUIRE_OK(coc_settings_set(&settings, "data.train=[x]"));
    CHECK(strcmp(settings.data.train, "x") == 0);
    REQUIRE_OK(coc_settings_set(&settings, "data.train=a, b"));
    CHECK(coc_list_count(settings.data.train) == 1);
    CHECK(strcmp(item(settings.data.train, 0), "a, b") == 0);
    REQUIRE_OK(read_text("data: {train: []}", &settings));
    CHECK(coc_list_count(settings.data.train) == 0);
    CHECK(coc_settings_set(&settings, "data.train=[x,,y]") == COC_ERR_SETTING);
    CHECK(coc_settings_set(&settings, "data.train=[x") == COC_ERR_SETTING);
    REFUSED("data: {train: ['a,b']}", "x.yaml:1:", "comma");
    REFUSED("data: {train: [[a]]}", "x.yaml:1:", "data.train");
    REFUSED("data: {features: [mel]}", "x.yaml:1:", "a list or map");
}

int main(void)
{
    RUN(the_table_is_sound);
    RUN(defaults_are_the_published_ones);
    RUN(a_file_sets_what_it_names);
    RUN(wrong_files_are_refused_with_their_place);
    RUN(files_are_read_by_name);
    RUN(an_assignment_sets_one_key);
    RUN(printed_settings_read_back_identically);
    RUN(texts_that_yaml_would_change_are_refused);
    RUN(differences_list_what_decides_a_run);
    RUN(lists_hold_one_value_or_several);
    RUN(contradictions_are_refused);
    RUN(presets_are_good);
    RUN(the_reference_page_is_current);
    RUN(the_nearest_word_is_found);
    return coc_test_result();
}
