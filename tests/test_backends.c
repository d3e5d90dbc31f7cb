#include <math.h>
#include <stdio.h>
#include <string.h>

#include "configs/table.h"
#include "model/timed_ops.h"
#include "preprocess/features.h"
#include "tests/test.h"

/* A backend that does not exist is refused with the names of those that do. */
static void unknown_names_are_refused(void)
{
    coc_backend *b = NULL;

    CHECK(coc_backend_create("gpu", 1, &b) == COC_ERR_SETTING);
    CHECK(b == NULL);
    CHECK(strstr(coc_error_text(), "'gpu'") != NULL);
    for (int i = 0; coc_backend_names()[i] != NULL; i++)
        CHECK(strstr(coc_error_text(), coc_backend_names()[i]) != NULL);
}

static void check_table(coc_backend *b)
{
    void (*entry[sizeof(coc_ops) / sizeof(void (*)(void))])(void);

    CHECK(b->device != NULL && b->threads >= 1);
    memcpy(entry, b->ops, sizeof entry);
    for (size_t k = 0; k < sizeof entry / sizeof entry[0]; k++)
        CHECK(entry[k] != NULL);
    CHECK(b->ops->finish(b) == COC_OK);
}

/* A GPU is a thing that a machine can lack: said, then passed over. */
static bool backend_works(const char *name)
{
    coc_backend *b;
    const coc_status status = coc_backend_create(name, 0, &b);

    if (status != COC_ERR_DEVICE) {
        coc_backend_destroy(&b);
        return true;
    }
    fprintf(stderr, "  left out: %s\n", coc_error_text());
    return false;
}

/* Every backend opens under its name, with a device, at least one thread, and every operation: a
 * hole in a table would be a crash in the middle of training. */
static void tables_are_complete(void)
{
    CHECK(coc_backend_names()[0] != NULL);
    for (int i = 0; coc_backend_names()[i] != NULL; i++) {
        coc_backend *b;

        if (!backend_works(coc_backend_names()[i])) continue;
        REQUIRE_OK(coc_backend_create(coc_backend_names()[i], 0, &b));
        CHECK(strcmp(b->ops->name, coc_backend_names()[i]) == 0);
        check_table(b);
        coc_backend_destroy(&b);
        CHECK(b == NULL);
    }
}

/* A timed backend has every operation, passes it on, and has counted it under its kind and no
 * other. */
static void timed_table_is_complete(void)
{
    const float x[4] = {1, 2, 3, 4};
    coc_model_settings settings = {.backend = "ref"};
    coc_now now;
    coc_backend *b;

    REQUIRE_OK(coc_timed_backend_open(&settings, &b));
    check_table(b);
    b->ops->clip_gradient(b, 4, x, 0, &now);
    CHECK_NEAR(now.norm, sqrt(30), 1e-15);
    for (int k = 0; k < COC_TIME_KINDS; k++)
        CHECK((coc_timed_backend_times(b)[k].seconds > 0) == (k == COC_TIME_UPDATE));
    coc_backend_destroy(&b);
    strcpy(settings.backend, "gpu");
    CHECK(coc_timed_backend_open(&settings, &b) == COC_ERR_SETTING && b == NULL);
}

static int count_choices(const char *key)
{
    const coc_setting *setting = coc_setting_find(key, strlen(key));
    int count = 0;

    while (setting->choices[count] != NULL)
        count++;
    return count;
}

/* A precision that a backend does not have is refused with what can be done. */
static void precisions_are_checked(void)
{
    const coc_model_settings settings = {.backend = "ref", .precision = COC_BF16};
    coc_backend *b;

    CHECK(coc_backend_open(&settings, &b) == COC_ERR_SETTING && b == NULL);
    CHECK(strstr(coc_error_text(), "model.precision: bf16") != NULL);
    CHECK(strstr(coc_error_text(), "model.backend: cuda") != NULL);
}

/* Convolutions that a backend does not have are refused with what can be done. */
static void convolutions_are_checked(void)
{
    coc_model_settings settings = {.backend = "cpu", .conv = COC_CONV_CUDNN};
    coc_backend *b;

    CHECK(coc_backend_open(&settings, &b) == COC_ERR_SETTING && b == NULL);
    CHECK(strstr(coc_error_text(), "model.conv: cudnn") != NULL);
    CHECK(strstr(coc_error_text(), "model.backend: cuda") != NULL);
}

/* The choices of model.backend and model.profile are the rows of the tables that they choose from,
 * and every backend has features: a row that cannot be chosen, or a choice without a row, fails.
 * Only cuda may be a choice that is not built in: the message then says how to build it. */
static void choices_are_the_rows(void)
{
    const coc_profile *profiles;
    const int count = coc_profiles(&profiles);
    char assignment[64];
    coc_settings s;
    int backends = 0;

    coc_settings_default(&s);
    for (; coc_backend_names()[backends] != NULL; backends++) {
        coc_features *features;

        snprintf(assignment, sizeof assignment, "model.backend=%s", coc_backend_names()[backends]);
        CHECK(coc_settings_set(&s, assignment) == COC_OK);
        if (!backend_works(coc_backend_names()[backends])) continue;
        CHECK(coc_features_create(coc_backend_names()[backends], 1, &features) == COC_OK);
        coc_features_destroy(&features);
    }
    if (strcmp(coc_backend_names()[backends - 1], "cuda") != 0) {
        coc_backend *b;

        CHECK(coc_backend_create("cuda", 1, &b) == COC_ERR_SETTING);
        CHECK(strstr(coc_error_text(), "COCOLA_CUDA=ON") != NULL);
        backends++;
    }
    CHECK(count_choices("model.backend") == backends);
    for (int i = 0; i < count; i++) {
        snprintf(assignment, sizeof assignment, "model.profile=%s", profiles[i].name);
        CHECK(coc_settings_set(&s, assignment) == COC_OK);
        CHECK(profiles[i].channels == coc_feature_channels(profiles[i].features));
    }
    CHECK(count_choices("model.profile") == count + 1); /* and none */
}

/* How the loss is rounded follows from the precision of activations, or is said; what a backend
 * does not have is refused with what can be done. */
static void loss_precisions_are_checked(void)
{
    coc_model_settings settings = {.backend = "cpu", .loss_precision = COC_LOSS_TF32X3};
    coc_backend *b;

    CHECK(coc_backend_open(&settings, &b) == COC_ERR_SETTING && b == NULL);
    CHECK(strstr(coc_error_text(), "loss.precision: tf32x3: backend cpu") != NULL);
    settings.loss_precision = COC_LOSS_FP32;
    REQUIRE_OK(coc_backend_open(&settings, &b));
    CHECK(b->loss_precision == COC_LOSS_FP32);
    coc_backend_destroy(&b);
    settings.loss_precision = COC_LOSS_AUTO;
    REQUIRE_OK(coc_backend_open(&settings, &b));
    CHECK(b->loss_precision == COC_LOSS_FP32);
    coc_backend_destroy(&b);
    settings.precision = COC_BF16;
    CHECK(coc_loss_precision_of(&settings) == COC_LOSS_TF32);
    settings.loss_precision = COC_LOSS_BF16;
    CHECK(coc_loss_precision_of(&settings) == COC_LOSS_BF16);
}

int main(void)
{
    RUN(unknown_names_are_refused);
    RUN(tables_are_complete);
    RUN(timed_table_is_complete);
    RUN(precisions_are_checked);
    RUN(convolutions_are_checked);
    RUN(loss_precisions_are_checked);
    RUN(choices_are_the_rows);
    return coc_test_result();
}
