/* The plan of a sweep: the same samples for every run, the rules for the learning rate, what is
 * refused; where runs stand. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tests/test.h"
#include "train/sweep.h"

/* 6400 pairs in 100 steps of 64. */
static coc_sweep usual(void)
{
    coc_sweep s = {.k = {.value = {8, 16, 64}, .count = 3}};

    coc_settings_default(&s.base);
    snprintf(s.base.data.train, sizeof s.base.data.train, "store");
    s.base.train.batch = 64;
    s.base.train.steps = 100;
    s.base.train.warmup = 10;
    s.base.train.log_every = 5;
    s.base.train.valid_every = 0;
    s.base.train.checkpoint_every = 1;
    s.base.train.learning_rate = 0.004;
    s.base.model.bn_group = 8;
    return s;
}

static void k_varies_alone(void)
{
    /* With loss.k, runs differ in nothing but that, seed and rate. */
    coc_sweep s = usual();
    coc_sweep_plan plan;

    s.seeds = (coc_numbers){.value = {3, 5}, .count = 2};
    REQUIRE_OK(coc_sweep_make_plan(&s, &plan));
    REQUIRE(plan.count == 6);
    for (int i = 0; i < 6; i++) {
        coc_settings same = plan.run[i].settings;
        char *differences;

        CHECK(same.loss.k == s.k.value[i % 3] && plan.run[i].k == s.k.value[i % 3]);
        CHECK(same.train.seed == (i < 3 ? 3 : 5) && !plan.run[i].control);
        same.loss.k = 0;
        same.train.seed = s.base.train.seed;
        differences = coc_settings_differences(&same, &s.base);
        CHECK(differences != NULL && differences[0] == '\0');
        free(differences);
        CHECK(same.train.log_every == 5);
    }
    CHECK(strcmp(plan.run[4].name, "k16-s5") == 0);
    free(plan.run);
}

static void batches_see_the_same_samples(void)
{
    /* Where the batch is varied, steps times batch stays, and so does the place of all that is
     * counted in steps. */
    coc_sweep s = usual();
    coc_sweep_plan plan;

    s.vary = COC_VARY_BATCH;
    s.k = (coc_numbers){.value = {32, 128, 1280}, .count = 3};
    REQUIRE_OK(coc_sweep_make_plan(&s, &plan));
    REQUIRE(plan.count == 3);
    for (int i = 0; i < 3; i++) {
        const coc_settings *run = &plan.run[i].settings;

        CHECK(run->train.batch == s.k.value[i] && run->loss.k == 0);
        CHECK(run->train.steps * run->train.batch == 6400);
        CHECK(run->train.seed == s.base.train.seed && run->train.valid_every == 0);
    }
    CHECK(plan.run[0].settings.train.warmup == 20 && plan.run[0].settings.train.log_every == 10);
    CHECK(plan.run[0].settings.train.checkpoint_every == 2);
    CHECK(plan.run[1].settings.train.warmup == 5);
    CHECK(plan.run[1].settings.train.log_every == 3); /* 2.5 */
    CHECK(plan.run[2].settings.train.warmup == 1);    /* 0.5: not none */
    CHECK(plan.run[2].settings.train.log_every == 1 && plan.run[2].settings.train.steps == 5);
    free(plan.run);
}

static void the_rate_follows_its_rule(void)
{
    /* constant, sqrt and linear in K, from the K at which the rate is given. */
    coc_sweep s = usual();
    coc_sweep_plan plan;

    CHECK_NEAR(coc_rate_at_k(COC_RATE_CONSTANT, 0.1, 1000, 10), 0.1, 0);
    CHECK_NEAR(coc_rate_at_k(COC_RATE_SQRT, 0.1, 1000, 10), 1, 1e-12);
    CHECK_NEAR(coc_rate_at_k(COC_RATE_LINEAR, 0.1, 10, 1000), 0.001, 1e-15);
    s.rule = COC_RATE_SQRT;
    REQUIRE_OK(coc_sweep_make_plan(&s, &plan));
    CHECK_NEAR(plan.run[1].settings.train.learning_rate, 0.002, 1e-15); /* 16 of 64 */
    CHECK_NEAR(plan.run[2].settings.train.learning_rate, 0.004, 0);
    free(plan.run);
    s.rule = COC_RATE_LINEAR;
    s.rate_at = 16;
    REQUIRE_OK(coc_sweep_make_plan(&s, &plan));
    CHECK_NEAR(plan.run[0].settings.train.learning_rate, 0.002, 1e-15);
    CHECK_NEAR(plan.run[2].settings.train.learning_rate, 0.016, 1e-15);
    free(plan.run);
    s.base.loss.k = 8; /* then the rate of the base is that of K = 8 */
    s.rate_at = 0;
    REQUIRE_OK(coc_sweep_make_plan(&s, &plan));
    CHECK_NEAR(plan.run[1].settings.train.learning_rate, 0.008, 1e-15);
    free(plan.run);
}

static void control_runs_are_beside(void)
{
    /* The same once more on the other store, as long as it is asked to be, on windows that need no
     * padding. */
    coc_sweep s = usual();
    coc_sweep_plan plan;

    s.control = "noise";
    s.control_samples = 640;
    REQUIRE_OK(coc_sweep_make_plan(&s, &plan));
    REQUIRE(plan.count == 6);
    CHECK(!plan.run[2].control && plan.run[3].control);
    CHECK(strcmp(plan.run[5].name, "control-k64-s1") == 0);
    CHECK(strcmp(plan.run[5].settings.data.train, "noise") == 0);
    CHECK(plan.run[5].settings.train.steps == 10 && plan.run[2].settings.train.steps == 100);
    CHECK(plan.run[5].settings.data.overlap == 0);
    CHECK(plan.run[4].settings.loss.k == 16);
    free(plan.run);
}

#define REFUSED(status, words)                                                                     \
    do {                                                                                           \
        CHECK(coc_sweep_make_plan(&s, &plan) == (status));                                         \
        CHECK(plan.run == NULL && strstr(coc_error_text(), words) != NULL);                        \
        s = usual();                                                                               \
    } while (0)

static void what_does_not_fit_is_refused(void)
{
    /* Each with the K that does not fit, and what would. */
    coc_sweep_plan plan;
    coc_sweep s = usual();

    s.k.value[1] = 48;
    REFUSED(COC_ERR_SETTING, "k48-s1: loss.k: 48 does not divide train.batch (64)");
    s.vary = COC_VARY_BATCH;
    s.k.value[1] = 48;
    REFUSED(COC_ERR_SETTING, "k48-s1: 6400 pairs are no whole number of batches of 48; give "
                             "--samples a multiple, as 6432");
    s.vary = COC_VARY_BATCH;
    s.k.value[1] = 100;
    REFUSED(COC_ERR_SETTING, "k100-s1: train.batch: 100 is no multiple of model.bn_group (8)");
    s.rule = COC_RATE_LINEAR;
    s.rate_at = 8;
    s.base.train.learning_rate = 9;
    REFUSED(COC_ERR_SETTING, "k16-s1: train.learning_rate: 18 is out of range");
    s.base.train.steps = 0;
    s.base.train.minutes = 3;
    REFUSED(COC_ERR_SETTING, "give --samples");
    s.base.data.train[0] = '\0';
    REFUSED(COC_ERR_SETTING, "data.train");
    s.samples = 65;
    REFUSED(COC_ERR_SETTING, "65 pairs");
    s.base.train.steps = 0;
    s.base.train.minutes = 3;
    s.base.train.warmup = 0;
    s.samples = 128;
    REQUIRE_OK(coc_sweep_make_plan(&s, &plan));
    CHECK(plan.run[0].settings.train.steps == 2 && plan.run[0].settings.train.minutes == 0);
    free(plan.run);
}

static void lists_are_parsed(void)
{
    /* Whole numbers with commas between them, each once. */
    static const char *const wrong[] = {
        "", "8,", ",8", "8;9", "8,9,8", "1", "8,x8", "2.5", "99999999999999999999"};
    coc_numbers n;

    REQUIRE_OK(coc_numbers_parse("--k", "32,8,128", 2, &n));
    CHECK(n.count == 3 && n.value[0] == 32 && n.value[1] == 8 && n.value[2] == 128);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK(coc_numbers_parse("--k", wrong[i], 2, &n) == COC_ERR_USAGE);
        CHECK(strncmp(coc_error_text(), "--k: ", 5) == 0);
    }
}

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[COC_PATH_BYTES];

    REQUIRE_OK(coc_path_join(path, folder, name));
    REQUIRE_OK(coc_file_write(path, text, strlen(text)));
}

static void runs_stand_where_their_files_say(void)
{
    /* A run is done when its log has the last step and its evaluation all that is wanted. */
    coc_sweep s = usual();
    char path[COC_PATH_BYTES];
    coc_sweep_plan plan;
    double loss;
    int64_t step;

    s.out = coc_test_folder("sweep_state");
    s.split[COC_TEST] = true;
    s.eval_k = (coc_numbers){.value = {2, 8}, .count = 2};
    REQUIRE_OK(coc_sweep_make_plan(&s, &plan));
    CHECK(!coc_sweep_look(&s, &plan.run[0]).done && coc_sweep_look(&s, &plan.run[0]).step == 0);
    coc_sweep_measure(&s, &plan);
    CHECK(isnan(coc_sweep_time_left(&s, &plan, &plan.run[0])));
    REQUIRE_OK(coc_path_join(path, s.out, "k8-s1"));
    REQUIRE_OK(coc_make_folders(path));
    write_text(path, "log.jsonl",
               "{\"kind\":\"train\",\"step\":40,\"loss\":2.5,\"pairs_per_second\":32}\n"
               "{\"kind\":\"validation\",\"step\":40,\"loss\":7}\n{\"kind\":\"tr");
    CHECK(coc_sweep_look(&s, &plan.run[0]).step == 40);
    coc_sweep_measure(&s, &plan);
    CHECK_NEAR(coc_sweep_time_left(&s, &plan, &plan.run[0]), 60 * 64 / 32.0, 1e-9);
    CHECK_NEAR(coc_sweep_time_left(&s, &plan, &plan.run[1]), 100 * 64 / 32.0, 1e-9);
    write_text(path, "eval.json",
               "{\"split\":\"test\",\"rows\":[{\"mode\":\"both\",\"k\":2},"
               "{\"mode\":\"both\",\"k\":8}]}");
    CHECK(!coc_sweep_look(&s, &plan.run[0]).done);
    write_text(path, "log.jsonl",
               "{\"kind\":\"train\",\"step\":100,\"loss\":null,\"pairs_per_second\":32}\n");
    CHECK(coc_sweep_look(&s, &plan.run[0]).done);
    s.eval_k.value[s.eval_k.count++] = 16;
    CHECK(!coc_sweep_look(&s, &plan.run[0]).done);
    s.eval_k.count--;
    s.split[COC_VALIDATION] = true;
    CHECK(!coc_sweep_look(&s, &plan.run[0]).done);
    strcat(path, "/log.jsonl");
    coc_sweep_last_line(path, &step, &loss);
    CHECK(step == 100 && isnan(loss));
    coc_sweep_last_line("nowhere", &step, &loss);
    CHECK(step == 0);
    free(plan.run);
}

static void a_folder_is_of_one_sweep(void)
{
    /* K, seeds and evaluations may be added; rule, samples and settings may not change. */
    coc_sweep s = usual(), other;
    char path[COC_PATH_BYTES];

    s.out = coc_test_folder("sweep_folder");
    REQUIRE_OK(coc_sweep_take_folder(&s));
    other = s;
    other.k.value[other.k.count++] = 32;
    other.seeds = (coc_numbers){.value = {1, 2}, .count = 2};
    other.eval_k = (coc_numbers){.value = {2}, .count = 1};
    other.base.train.log_every = 1;
    REQUIRE_OK(coc_sweep_take_folder(&other));
    other.control = "noise";
    REQUIRE_OK(coc_sweep_take_folder(&other)); /* added */
    REQUIRE_OK(coc_sweep_take_folder(&other));
    other.control = NULL;
    REQUIRE_OK(coc_sweep_take_folder(&other)); /* not given: not forgotten */
    other.control = "more noise";
    CHECK(coc_sweep_take_folder(&other) == COC_ERR_SETTING);
    CHECK(strstr(coc_error_text(), "control_store: \"noise\" there, \"more noise\" here") != NULL);
    other = s;
    other.rule = COC_RATE_SQRT;
    CHECK(coc_sweep_take_folder(&other) == COC_ERR_SETTING);
    CHECK(strstr(coc_error_text(), "rate_rule: \"constant\" there, \"sqrt\" here") != NULL);
    other = s;
    other.samples = 12800;
    CHECK(coc_sweep_take_folder(&other) == COC_ERR_SETTING);
    CHECK(strstr(coc_error_text(), "samples: 6400 there, 12800 here") != NULL);
    other = s;
    other.base.model.width = 2;
    CHECK(coc_sweep_take_folder(&other) == COC_ERR_SETTING);
    CHECK(strstr(coc_error_text(), "model.width: 1 there, 2 here") != NULL);
    REQUIRE_OK(coc_path_join(path, s.out, "sweep.json"));
    REQUIRE_OK(coc_file_write(path, "{}", 2));
    CHECK(coc_sweep_take_folder(&s) == COC_ERR_INPUT);
    REQUIRE_OK(coc_file_write(path, "{", 1));
    CHECK(coc_sweep_take_folder(&s) == COC_ERR_INPUT);
}

int main(void)
{
    RUN(k_varies_alone);
    RUN(batches_see_the_same_samples);
    RUN(the_rate_follows_its_rule);
    RUN(control_runs_are_beside);
    RUN(what_does_not_fit_is_refused);
    RUN(lists_are_parsed);
    RUN(runs_stand_where_their_files_say);
    RUN(a_folder_is_of_one_sweep);
    return coc_test_result();
}
