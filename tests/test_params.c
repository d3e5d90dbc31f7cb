#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/params.h"
#include "tests/test.h"

static coc_network network;

static coc_params *make_params(double width, double depth)
{
    const coc_profile *profile;
    coc_params *params;

    if (coc_profile_find("cocola-hps", 2, &profile) != COC_OK) return NULL;
    if (coc_network_build(profile, width, depth, 64, 501, &network) != COC_OK) return NULL;
    if (coc_params_create(&network, coc_device_host(), true, &params) != COC_OK) return NULL;
    return params;
}

/* A tensor of that name and shape must exist; 0 stands for "no further dimension". */
static void expect(const coc_params *params, const char *name, int64_t a, int64_t b, int64_t c,
                   int64_t d)
{
    const coc_tensor *tensor = coc_params_find(params, name);
    const int64_t shape[4] = {a, b, c, d};
    int dims = 0;

    if (tensor == NULL) {
        coc_test_fail(__FILE__, __LINE__, "%s is missing", name);
        return;
    }
    while (dims < 4 && shape[dims] != 0)
        dims++;
    if (tensor->dims != dims || memcmp(tensor->shape, shape, sizeof(int64_t) * (size_t)dims) != 0)
        coc_test_fail(__FILE__, __LINE__, "%s has another shape", name);
}

static void expect_norm(const coc_params *params, const char *prefix, int64_t channels)
{
    static const char *const part[4] = {"weight", "bias", "running_mean", "running_var"};
    char name[160];

    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.%s", prefix, part[i]);
        expect(params, name, channels, 0, 0, 0);
    }
    snprintf(name, sizeof name, "%s.num_batches_tracked", prefix);
    expect(params, name, 0, 0, 0, 0);
}

/* What the published weights hold for each block: kernel, and channels in, expanded, squeezed, out
 */
static const int published[16][5] = {
    {3, 32, 32, 8, 16},      {3, 16, 96, 4, 24},      {3, 24, 144, 6, 24},
    {5, 24, 144, 6, 40},     {5, 40, 240, 10, 40},    {3, 40, 240, 10, 80},
    {3, 80, 480, 20, 80},    {3, 80, 480, 20, 80},    {5, 80, 480, 20, 112},
    {5, 112, 672, 28, 112},  {5, 112, 672, 28, 112},  {5, 112, 672, 28, 192},
    {5, 192, 1152, 48, 192}, {5, 192, 1152, 48, 192}, {5, 192, 1152, 48, 192},
    {3, 192, 1152, 48, 320},
};

static void expect_block(const coc_params *params, int number)
{
    const int *p = published[number];
    char prefix[64], name[128];

    snprintf(prefix, sizeof prefix, "encoder.encoder.model.0._blocks.%d.", number);
#define NAME(end) (snprintf(name, sizeof name, "%s%s", prefix, end), name)
    if (number > 0) {
        expect(params, NAME("_expand_conv.weight"), p[2], p[1], 1, 1);
        expect_norm(params, NAME("_bn0"), p[2]);
    }
    expect(params, NAME("_depthwise_conv.weight"), p[2], 1, p[0], p[0]);
    expect_norm(params, NAME("_bn1"), p[2]);
    expect(params, NAME("_se_reduce.weight"), p[3], p[2], 1, 1);
    expect(params, NAME("_se_reduce.bias"), p[3], 0, 0, 0);
    expect(params, NAME("_se_expand.weight"), p[2], p[3], 1, 1);
    expect(params, NAME("_se_expand.bias"), p[2], 0, 0, 0);
    expect(params, NAME("_project_conv.weight"), p[4], p[2], 1, 1);
    expect_norm(params, NAME("_bn2"), p[4]);
#undef NAME
}

/* The full encoder has the 363 tensors of the published weights, by name and shape, and no other;
 * else files could not be exchanged. */
static void published_names_and_shapes(void)
{
    coc_params *params = make_params(1, 1);

    REQUIRE(params != NULL);
    CHECK(params->tensors == 363);
    expect(params, "encoder.encoder.model.0._conv_stem.weight", 32, 2, 3, 3);
    expect_norm(params, "encoder.encoder.model.0._bn0", 32);
    for (int i = 0; i < 16; i++)
        expect_block(params, i);
    expect(params, "encoder.encoder.model.0._conv_head.weight", 1280, 320, 1, 1);
    expect_norm(params, "encoder.encoder.model.0._bn1", 1280);
    expect(params, "encoder.projection.weight", 512, 1280, 0, 0);
    expect(params, "encoder.projection.bias", 512, 0, 0, 0);
    expect(params, "layer_norm.weight", 512, 0, 0, 0);
    expect(params, "layer_norm.bias", 512, 0, 0, 0);
    expect(params, "similarity.w", 512, 512, 0, 0);
    CHECK(coc_params_find(params, "encoder.encoder.model.0._blocks.0._expand_conv.weight") == NULL);
    coc_params_destroy(&params);
    CHECK(params == NULL);
}

/* Tensors of a kind fill their flat buffer from its beginning, each once, in the order of the
 * table, each at the next multiple of 8: an overlap or a larger hole fails. */
static void tensors_fill_the_buffers(void)
{
    coc_params *params = make_params(0.35, 0.6);
    int64_t used[3] = {0};

    REQUIRE(params != NULL);
    for (int i = 0; i < params->tensors; i++) {
        const coc_tensor *tensor = &params->tensor[i];

        if (tensor->kind == COC_TENSOR_COUNTER) continue;
        CHECK(tensor->offset == used[tensor->kind]);
        used[tensor->kind] += (tensor->count + 7) / 8 * 8;
    }
    CHECK(used[COC_TENSOR_WEIGHT] == params->weights);
    CHECK(used[COC_TENSOR_RUNNING] == params->runnings);
    coc_params_destroy(&params);
}

/* The index leads to the same places as the names. */
static void index_agrees_with_names(void)
{
    coc_params *params = make_params(1, 1);
    const coc_block_index *block;

    REQUIRE(params != NULL);
    block = &params->at.block[3];
#define AT(place, name)                                                                            \
    CHECK((place) == coc_params_find(params, "encoder.encoder.model.0." name)->offset)
    AT(params->at.stem, "_conv_stem.weight");
    AT(params->at.stem_norm.beta, "_bn0.bias");
    AT(params->at.head_norm.variance, "_bn1.running_var");
    AT(block->expand, "_blocks.3._expand_conv.weight");
    AT(block->expand_norm.gamma, "_blocks.3._bn0.weight");
    AT(block->depthwise, "_blocks.3._depthwise_conv.weight");
    AT(block->depthwise_norm.mean, "_blocks.3._bn1.running_mean");
    AT(block->reduce_w, "_blocks.3._se_reduce.weight");
    AT(block->reduce_b, "_blocks.3._se_reduce.bias");
    AT(block->widen_w, "_blocks.3._se_expand.weight");
    AT(block->widen_b, "_blocks.3._se_expand.bias");
    AT(block->project, "_blocks.3._project_conv.weight");
    AT(block->project_norm.variance, "_blocks.3._bn2.running_var");
#undef AT
    CHECK(params->at.similarity + 512 * 512 == params->weights); /* used last, so finished first */
    coc_params_destroy(&params);
}

/* New buffers are zero but running variances, which are 1. */
static void new_buffers(void)
{
    coc_params *params = make_params(0.35, 0.6);
    double total = 0, variances = 0;

    REQUIRE(params != NULL);
    for (int64_t i = 0; i < params->runnings; i++)
        total += params->running[i];
    for (int i = 0; i < params->tensors; i++)
        if (strstr(params->tensor[i].name, ".running_var") != NULL)
            for (int64_t k = 0; k < params->tensor[i].count; k++)
                variances += params->running[params->tensor[i].offset + k];
    CHECK_NEAR(total, (double)params->runnings / 2, 0);
    CHECK_NEAR(variances, total, 0);
    for (int64_t i = 0; i < params->weights; i++)
        CHECK(params->value[i] == 0 && params->grad[i] == 0 && params->m[i] == 0 &&
              params->v[i] == 0);
    coc_params_destroy(&params);
}

/* ---- start values ---- */

typedef struct {
    double least, most, mean, variance;
} statistics;

static statistics statistics_of(const coc_params *params, const char *name)
{
    const coc_tensor *tensor = coc_params_find(params, name);
    const float *value = params->value + tensor->offset;
    statistics s = {.least = value[0], .most = value[0]};

    for (int64_t i = 0; i < tensor->count; i++) {
        s.least = fmin(s.least, value[i]);
        s.most = fmax(s.most, value[i]);
        s.mean += value[i] / (double)tensor->count;
    }
    for (int64_t i = 0; i < tensor->count; i++)
        s.variance += (value[i] - s.mean) * (value[i] - s.mean) / (double)tensor->count;
    return s;
}

/* Uniform in +-bound: 5 standard errors for mean and variance, extremes near the bound for tensors
 * of 200 values or more. */
static void check_uniform(const coc_params *params, const char *name, double fan_in)
{
    const statistics s = statistics_of(params, name);
    const double n = (double)coc_params_find(params, name)->count, bound = 1 / sqrt(fan_in);
    const double variance = bound * bound / 3;

    CHECK(s.least >= -bound && s.most <= bound);
    CHECK(s.most > 0.9 * bound && s.least < -0.9 * bound);
    CHECK_NEAR(s.mean, 0, 5 * sqrt(variance / n));
    CHECK_NEAR(s.variance, variance, 5 * variance * sqrt(0.8 / n)); /* kurtosis 1.8 */
}

/* Weights and biases start as PyTorch's: U(+-1/sqrt fan_in), norms 1 and 0. */
static void start_values_follow_pytorch(void)
{
    const coc_model_settings settings = {.similarity_scale = 0.05};
    coc_params *params = make_params(1, 1);
    statistics s;

    REQUIRE(params != NULL);
    REQUIRE_OK(coc_params_init(params, &settings, 1));
    check_uniform(params, "encoder.encoder.model.0._conv_stem.weight", 2 * 9);
    check_uniform(params, "encoder.encoder.model.0._blocks.3._depthwise_conv.weight", 25);
    check_uniform(params, "encoder.encoder.model.0._blocks.3._expand_conv.weight", 24);
    check_uniform(params, "encoder.encoder.model.0._blocks.12._se_expand.bias", 48);
    check_uniform(params, "encoder.projection.weight", 1280);
    check_uniform(params, "encoder.projection.bias", 1280);
    s = statistics_of(params, "encoder.encoder.model.0._blocks.3._bn1.weight");
    CHECK(s.least == 1 && s.most == 1);
    s = statistics_of(params, "encoder.encoder.model.0._blocks.3._bn1.bias");
    CHECK(s.least == 0 && s.most == 0);
    s = statistics_of(params, "layer_norm.weight");
    CHECK(s.least == 1 && s.most == 1);
    s = statistics_of(params, "layer_norm.bias");
    CHECK(s.least == 0 && s.most == 0);
    s = statistics_of(params, "similarity.w");
    CHECK_NEAR(s.mean, 0, 5 * 0.05 / 512);
    CHECK_NEAR(sqrt(s.variance), 0.05, 5 * 0.05 / (512 * sqrt(2)));
    CHECK(s.most > 0.2); /* 4 deviations: normal, not uniform */
    coc_params_destroy(&params);
}

/* W as a multiple of the identity. */
static void identity_similarity(void)
{
    const coc_model_settings settings = {.similarity_init = COC_SIMILARITY_IDENTITY,
                                         .similarity_scale = 0.3};
    coc_params *params = make_params(0.35, 0.6);

    REQUIRE(params != NULL);
    REQUIRE_OK(coc_params_init(params, &settings, 1));
    for (int64_t i = 0; i < 512 * 512; i++)
        CHECK(params->value[params->at.similarity + i] == (i % 513 == 0 ? 0.3f : 0.0f));
    coc_params_destroy(&params);
}

/* The same seed gives the same bits, another seed others, and tensors of one shape differ. */
static void seeds_decide(void)
{
    const coc_model_settings settings = {.similarity_scale = 0.05};
    coc_params *params = make_params(0.35, 0.6);
    float *first;
    size_t bytes;

    REQUIRE(params != NULL);
    bytes = (size_t)params->weights * sizeof(float);
    first = malloc(bytes);
    REQUIRE(first != NULL);
    REQUIRE_OK(coc_params_init(params, &settings, 7));
    memcpy(first, params->value, bytes);
    REQUIRE_OK(coc_params_init(params, &settings, 7));
    CHECK(memcmp(first, params->value, bytes) == 0);
    REQUIRE_OK(coc_params_init(params, &settings, 8));
    CHECK(memcmp(first, params->value, 18 * sizeof(float)) != 0);
    CHECK(memcmp(first, params->value + params->at.block[0].depthwise, 18 * sizeof(float)) != 0);
    free(first);
    coc_params_destroy(&params);
}

int main(void)
{
    RUN(published_names_and_shapes);
    RUN(tensors_fill_the_buffers);
    RUN(index_agrees_with_names);
    RUN(new_buffers);
    RUN(start_values_follow_pytorch);
    RUN(identity_similarity);
    RUN(seeds_decide);
    return coc_test_result();
}
