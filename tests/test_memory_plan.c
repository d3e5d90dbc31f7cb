/* What a rank will take of memory is known before it is taken. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "model/similarity.h"
#include "tests/test.h"
#include "train/loader.h"
#include "train/memory_plan.h"

static coc_network network_of(double width, int frames)
{
    const coc_profile *profile;
    coc_network network = {0};

    if (coc_profile_find("cocola-hps", 0, &profile) != COC_OK ||
        coc_network_build(profile, width, width, 64, frames, &network) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    return network;
}

/* The measure of an encoder is, byte by byte, what creating it takes; a part that one of the two
 * forgets fails. */
static void the_measure_is_what_is_taken(void)
{
    const coc_network network = network_of(0.2, 126);
    coc_backend *b;

    REQUIRE_OK(coc_backend_create("ref", 1, &b));
    for (int training = 0; training < 2; training++) {
        int64_t part[COC_ENCODER_PARTS], bytes, sum = 0;
        coc_encoder *e;

        REQUIRE_OK(coc_encoder_measure(&network, 6, training, b->stored_bytes, part, &bytes));
        REQUIRE_OK(coc_encoder_create(b, &network, 6, training, &e));
        CHECK(coc_encoder_bytes(e) == (size_t)bytes);
        for (int i = 0; i < COC_ENCODER_PARTS; i++)
            sum += part[i];
        if (training) {
            coc_encoder *beside;

            CHECK(sum == bytes);
            REQUIRE_OK(coc_encoder_create_beside(e, &beside));
            CHECK(coc_encoder_bytes(beside) == (size_t)(bytes - part[COC_PART_GRADIENTS]));
            coc_encoder_destroy(&beside);
        }
        coc_encoder_destroy(&e);
    }
    coc_backend_destroy(&b);
}

/* The loss's working memory as planned is, byte by byte, what its operations take. */
static void scratch_is_what_the_loss_takes(const char *backend, int64_t rows, int64_t columns,
                                           bool tile, bool screen)
{
    enum { D = 24 };
    coc_settings settings;
    coc_contrast c = {.rows = rows, .columns = columns, .d = D, .screen = screen, .scale = 1};
    float *memory = calloc((size_t)(2 * (rows + columns) * D), sizeof *memory);
    int64_t *label = calloc((size_t)rows, sizeof *label), planned;
    double results[COC_CONTRAST_RESULTS] = {0};
    coc_contrast_row *row = calloc((size_t)rows, sizeof *row);
    float *da, *dp;
    coc_backend *b;

    REQUIRE(memory != NULL && label != NULL && row != NULL);
    coc_settings_default(&settings);
    settings.model.threads = 3;
    snprintf(settings.model.backend, sizeof settings.model.backend, "%s", backend);
    c.a = memory;
    c.p = memory + rows * D;
    da = memory + (rows + columns) * D;
    dp = da + rows * D;
    c.label = label;
    REQUIRE_OK(coc_backend_open(&settings.model, &b));
    REQUIRE_OK(coc_backend_loss_scratch(&settings.model, &c, tile, &planned));
    if (tile) {
        b->ops->tile_forward(b, &c, row);
        b->ops->tile_backward(b, &c, row, da, dp);
    } else {
        b->ops->contrast(b, &c, da, dp, results);
    }
    REQUIRE_OK(b->ops->finish(b));
    CHECK(planned > 0 && b->scratch_bytes == (size_t)planned);
    coc_backend_destroy(&b);
    free(memory);
    free(label);
    free(row);
}

static void scratch_of_the_loss_is_counted(void)
{
    scratch_is_what_the_loss_takes("ref", 30, 500, false, false);
    scratch_is_what_the_loss_takes("ref", 30, 500, true, false);
    scratch_is_what_the_loss_takes("cpu", 30, 500, false, false);
    scratch_is_what_the_loss_takes("cpu", 30, 500, true, false);
    scratch_is_what_the_loss_takes("cpu", 700, 1000, false, false); /* more than a block of rows */
    scratch_is_what_the_loss_takes("cpu", 700, 1000, false, true);
    scratch_is_what_the_loss_takes("cpu", 700, 1000, true, false);
}

/* A million columns: a block of 128 rows of logits, and entries of 8 bytes for a fifth of them with
 * screening; in a ring a tile of one rank's columns. */
static void scratch_follows_the_exchange(void)
{
    const int64_t columns = (int64_t)1 << 20, logits = columns * 128 * 4;
    const coc_parts parts = {.batch = columns,
                             .size = columns,
                             .count = 1,
                             .ranks = 64,
                             .rank = 0,
                             .rows = columns / 64,
                             .most = columns / 64};
    coc_settings s;
    int64_t bytes;

    coc_settings_default(&s);
    s.model.threads = 1;
    REQUIRE_OK(coc_similarity_scratch(&s.model, &parts, 512, &s.loss, &bytes));
    CHECK(bytes > logits && bytes < logits + logits / 4);
    s.loss.screening = COC_SCREENING_AUTO;
    REQUIRE_OK(coc_similarity_scratch(&s.model, &parts, 512, &s.loss, &bytes));
    CHECK(bytes > logits + 2 * logits / 5 && bytes < 2 * logits);
    s.loss.screening = COC_SCREENING_OFF;
    s.loss.exchange = COC_EXCHANGE_RING;
    REQUIRE_OK(coc_similarity_scratch(&s.model, &parts, 512, &s.loss, &bytes));
    CHECK(bytes == logits / 64);
}

/* Activations at full width as counted by hand: 4.27 million raw values a clip, of them 0.768 in
 * the largest expanded tensor; half the bytes in bf16. */
static void activations_are_counted(void)
{
    const coc_network network = network_of(1, 501);
    int64_t single[COC_ENCODER_PARTS], half[COC_ENCODER_PARTS], bytes;
    double raw = 0;

    REQUIRE_OK(coc_encoder_measure(&network, 64, true, 4, single, &bytes));
    REQUIRE_OK(coc_encoder_measure(&network, 64, true, 2, half, &bytes));
    for (int i = 0; i < COC_PART_GRADIENTS; i++) {
        raw += (double)single[i];
        CHECK_NEAR((double)half[i] / (double)single[i], 0.5, 1e-3);
    }
    CHECK(half[COC_PART_SMALL] == single[COC_PART_SMALL]);
    /* raw outputs, and the outputs of blocks once more (0.38 million) */
    CHECK_NEAR(raw / 4 / 64 / 1e6, 4.27 + 0.38, 0.02);
    CHECK_NEAR((double)single[COC_PART_GRADIENTS] / 4 / 64 / 1e6, 0.256 + 0.288 + 0.768, 0.01);
}

static int64_t left_bytes;

static coc_status small_memory(const coc_device *device, int64_t *left, int64_t *all)
{
    (void)device;
    *left = left_bytes;
    *all = 2 * left_bytes;
    return COC_OK;
}

/* A plan that fits passes; one byte less, or one more rank on the device, is refused with the sizes
 * by part; a device that does not tell is not asked. */
static void what_does_not_fit_is_refused(void)
{
    const coc_network network = network_of(0.2, 501);
    coc_device device = *coc_device_host();
    coc_settings settings;
    const coc_parts parts = {
        .batch = 32, .size = 32, .count = 1, .ranks = 4, .rank = 0, .rows = 8, .most = 8};
    coc_memory_plan plan;
    coc_memory_needs needs = {.settings = &settings,
                              .whole = &network,
                              .seen = &network,
                              .weights = 1000,
                              .parts = &parts,
                              .places = 1,
                              .viewed = 4,
                              .stored_bytes = 4};

    coc_settings_default(&settings);
    device.memory = small_memory;
    settings.model.conv = COC_CONV_CUDNN;
    REQUIRE_OK(coc_memory_plan_make(&needs, &plan));
    left_bytes = plan.bytes - COC_CUDNN_MOST_SCRATCH;
    settings.model.conv = COC_CONV_OWN;
    REQUIRE_OK(coc_memory_plan_make(&needs, &plan));
    CHECK(plan.bytes == left_bytes);
    left_bytes = plan.bytes;
    CHECK(coc_memory_plan_check(&plan, &device, 1) == COC_OK);
    CHECK(coc_memory_plan_check(&plan, &device, 2) == COC_ERR_MEMORY);
    CHECK(strstr(coc_error_text(), "2 ranks") != NULL);
    left_bytes--;
    CHECK(coc_memory_plan_check(&plan, &device, 1) == COC_ERR_MEMORY);
    CHECK(strstr(coc_error_text(), "expanded tensors") != NULL);
    CHECK(strstr(coc_error_text(), "validation") != NULL);
    CHECK(strstr(coc_error_text(), "train.batch") != NULL);
    left_bytes = 0;
    CHECK(coc_memory_plan_check(&plan, &device, 1) == COC_OK);
}

static int64_t part_named(const coc_memory_plan *plan, const char *name)
{
    for (int i = 0; i < plan->parts; i++)
        if (strcmp(plan->part[i].name, name) == 0) return plan->part[i].bytes;
    return 0;
}

/* A validation has windows of a chunk at first, and then embeddings with a slab of similarities,
 * here of 128 MB; on a GPU the slab and the embeddings are the host's. */
static void a_validation_is_counted(void)
{
    enum { PAIRS = 100000 };
    const coc_network network = network_of(0.2, 501);
    const coc_parts parts = {
        .batch = 32, .size = 32, .count = 1, .ranks = 4, .rank = 0, .rows = 8, .most = 8};
    const int64_t embeddings = (int64_t)PAIRS * 5 / 4 * network.embedding * 4, slab = 128 << 20;
    coc_settings settings;
    coc_memory_plan plan;
    coc_memory_needs needs = {.settings = &settings,
                              .whole = &network,
                              .seen = &network,
                              .weights = 1000,
                              .parts = &parts,
                              .places = 1,
                              .stored_bytes = 4};

    coc_settings_default(&settings);
    REQUIRE_OK(coc_memory_plan_make(&needs, &plan));
    CHECK(part_named(&plan, "validation") == 0);
    needs.validated = 8; /* windows of 16 clips are more than what 8 pairs take later */
    REQUIRE_OK(coc_memory_plan_make(&needs, &plan));
    CHECK(part_named(&plan, "validation") > 16 * 2 * 64 * 501 * 4);
    needs.validated = PAIRS;
    REQUIRE_OK(coc_memory_plan_make(&needs, &plan));
    CHECK_NEAR((double)part_named(&plan, "validation") / (double)(embeddings + slab), 1.1, 0.1);
    needs.side = COC_ACCELERATOR;
    REQUIRE_OK(coc_memory_plan_make(&needs, &plan));
    CHECK(part_named(&plan, "validation") < 48 << 20);
    REQUIRE_OK(coc_memory_plan_host(&needs, &plan));
    CHECK(part_named(&plan, "validation") > embeddings + slab / 2);
}

/* Beside a GPU the host's memory is planned, too, page-locked memory of the batches before all;
 * where it does not do, that is refused with its parts and what makes them smaller. For a backend
 * of the host there is one plan. */
static void the_host_beside_a_gpu_is_planned(void)
{
    const coc_network network = network_of(0.2, 501);
    coc_device host = *coc_device_host();
    coc_settings settings;
    const coc_parts parts = {
        .batch = 32, .size = 32, .count = 1, .ranks = 4, .rank = 0, .rows = 8, .most = 8};
    const int64_t staged = (40 * network.embedding + 1000) * 4 + 32 * network.embedding * 4;
    int64_t device, pinned, one;
    coc_memory_plan plan;
    coc_memory_needs needs = {.settings = &settings,
                              .whole = &network,
                              .seen = &network,
                              .weights = 1000,
                              .parts = &parts,
                              .places = 1,
                              .stored_bytes = 4};

    coc_settings_default(&settings);
    settings.eval.bn_reestimate = 0;
    strcpy(settings.comm.backend, "nccl");
    REQUIRE_OK(coc_memory_plan_host(&needs, &plan));
    CHECK(plan.parts == 0 && plan.bytes == 0);
    needs.side = COC_ACCELERATOR;
    REQUIRE_OK(coc_memory_plan_host(&needs, &plan));
    REQUIRE_OK(coc_loader_bytes(&settings, &parts, 1, &device, &pinned));
    CHECK(pinned > 0 && plan.part[0].bytes == pinned && plan.bytes > pinned);
    one = plan.bytes;
    strcpy(settings.comm.backend, "mpi"); /* all columns come through the host, which sums them */
    REQUIRE_OK(coc_memory_plan_host(&needs, &plan));
    CHECK(plan.bytes == one + staged);
    strcpy(settings.comm.backend, "auto"); /* which is NCCL, where that is built in and allowed */
    settings.comm.share_gpu = true;
    REQUIRE_OK(coc_memory_plan_host(&needs, &plan));
    CHECK(plan.bytes == one + staged);
    settings.comm.share_gpu = false;
    settings.loss.reduction = COC_REDUCTION_FIXED_TREE;
    REQUIRE_OK(coc_memory_plan_host(&needs, &plan));
    CHECK(plan.bytes == one + staged);

    host.memory = small_memory;
    left_bytes = 4 * plan.bytes;
    CHECK(coc_memory_plan_check(&plan, &host, 4) == COC_OK);
    left_bytes--;
    CHECK(coc_memory_plan_check(&plan, &host, 4) == COC_ERR_MEMORY);
    CHECK(strstr(coc_error_text(), "on the host (page-locked batches and stems ") != NULL);
    CHECK(strstr(coc_error_text(), "data.feed_stems") != NULL);
}

int main(void)
{
    RUN(the_measure_is_what_is_taken);
    RUN(scratch_of_the_loss_is_counted);
    RUN(scratch_follows_the_exchange);
    RUN(activations_are_counted);
    RUN(what_does_not_fit_is_refused);
    RUN(a_validation_is_counted);
    RUN(the_host_beside_a_gpu_is_planned);
    return coc_test_result();
}
