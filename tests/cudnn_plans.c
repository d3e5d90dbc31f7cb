/* cuDNN's plans for every convolution of the published network on a GPU that is only described
 * (device_h200.json, written by hand): by the code that finds them at run time, without a GPU or a
 * driver.
 *
 *     cudnn_plans DESCRIPTION             engines that come compiled
 *     cudnn_plans DESCRIPTION compiled    those that are compiled when a plan is finished
 *
 * Without a driver cuDNN recommends only the former. With the toolkit's stub of a driver on the
 * path it compiles the latter too, but cannot load them: what is checked of them is that some are
 * recommended and allowed, and fail only there; the search goes on to the next engine, as it would
 * not on a GPU. They take half a second and more each, so one of each kind is tried.
 *
 * -v as a last argument: a line for each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/cuda/cudnn.h"
#include "model/network.h"
#include "tests/test.h"

/* From here on a device can be described. */
enum { LEAST_VERSION = 90800, BANDS = 64, FRAMES = 501, MOST_CALLS = 512 };

/* Batches of a rank, in clips: shares of all sizes up to the largest. */
static const int64_t batches[] = {64, 2048};

static coc_cudnn_target target;
static coc_cudnn_call calls[MOST_CALLS];
static int count;
static bool verbose;

static void add(const coc_conv *s, bool depthwise, bool input_gradient, int64_t clips,
                coc_precision precision)
{
    coc_cudnn_call call = {.precision = precision, .conv = *s, .depthwise = depthwise};

    call.clips = coc_cudnn_share(&call, clips);
    for (int i = 0; i < count; i++)
        if (coc_cudnn_same(&calls[i], &call)) return; /* all its passes are there */
    for (int pass = 0; pass < COC_CUDNN_PASSES; pass++) {
        if (pass == COC_CUDNN_INPUT_GRADIENT && !input_gradient) continue;
        if (count == MOST_CALLS) abort();
        call.pass = (coc_cudnn_pass)pass;
        calls[count++] = call;
    }
}

static void add_network(const coc_network *network, int64_t clips, coc_precision precision)
{
    const coc_conv stem = coc_cudnn_padded(&network->stem);

    add(&stem, false, false, clips, precision);
    for (int i = 0; i < network->blocks; i++) {
        const coc_block *block = &network->block[i];

        if (block->has_expand) add(&block->expand, false, true, clips, precision);
        add(&block->depthwise, true, true, clips, precision);
        add(&block->project, false, true, clips, precision);
    }
    add(&network->head, false, true, clips, precision);
}

static void print(const coc_cudnn_call *c, const coc_cudnn_search *met, const coc_cudnn_plan *plan)
{
    static const char *const passes[] = {"forward", "input gradient", "weight gradient"};

    fprintf(stderr,
            "  %s %dx%d%s /%d %d->%d %dx%d n=%lld %s: %d recommended, %d allowed, %d compiled, "
            "%d too large, %d refused; ",
            coc_precision_name(c->precision), c->conv.kernel, c->conv.kernel,
            c->depthwise ? "d" : "", c->conv.stride, c->conv.in_c, c->conv.out_c, c->conv.in_h,
            c->conv.in_w, (long long)c->clips, passes[c->pass], met->recommended, met->allowed,
            met->compiled, met->too_large, met->refused);
    if (plan->descriptor != NULL)
        fprintf(stderr, "engine %lld%s%s, %.1f MB\n", (long long)plan->engine,
                plan->tensor_cores ? " tensor cores" : "", plan->compiled ? " compiled" : "",
                1e-6 * (double)plan->workspace);
    else
        fprintf(stderr, "%s\n", met->last_text);
}

static bool search(const coc_cudnn_call *call, coc_cudnn_search *met, int64_t *workspace)
{
    coc_cudnn_plan plan;
    const coc_status status = coc_cudnn_plan_build(&target, call, &plan, met);

    if (verbose) print(call, met, &plan);
    if (status != COC_OK) coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    CHECK(met->allowed > 0);
    CHECK(plan.workspace >= 0 && plan.workspace <= COC_CUDNN_WORKSPACE);
    *workspace = plan.workspace;
    coc_cudnn_plan_free(&plan);
    return status == COC_OK;
}

/* Every convolution of the network, in both precisions and all passes, has an engine that may be
 * taken, with a plan within its working memory. */
static void every_convolution_has_a_plan(void)
{
    int64_t workspace, largest = 0;
    int planned = 0;

    for (int i = 0; i < count; i++) {
        coc_cudnn_search met;

        planned += search(&calls[i], &met, &workspace);
        CHECK(met.refused == 0);
        largest = workspace > largest ? workspace : largest;
    }
    CHECK(count > 300);
    fprintf(stderr, "  %d of %d have a plan, with at most %.1f MB of working memory\n", planned,
            count, 1e-6 * (double)largest);
}

static bool same_kind(const coc_cudnn_call *a, const coc_cudnn_call *b)
{
    return a->pass == b->pass && a->precision == b->precision && a->depthwise == b->depthwise &&
           a->conv.kernel == b->conv.kernel && a->conv.stride == b->conv.stride;
}

/* Engines that have to be compiled are, for one depthwise convolution of each kind; all that is
 * missing then is a driver that loads them. */
static void engines_compile(void)
{
    int tried = 0, compiled = 0;
    int64_t workspace;

    for (int i = 0; i < count; i++) {
        bool seen = !calls[i].depthwise || calls[i].precision != COC_BF16;
        coc_cudnn_search met;

        for (int j = 0; j < i && !seen; j++)
            seen = same_kind(&calls[j], &calls[i]);
        if (seen) continue;
        tried++;
        (void)search(&calls[i], &met, &workspace);
        CHECK(met.refused == met.uncompiled);
        if (met.uncompiled == 0) continue;
        compiled++;
        if (met.last_status != CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER)
            coc_test_fail(__FILE__, __LINE__, "%s: %s", cudnnGetErrorString(met.last_status),
                          met.last_text);
    }
    CHECK(tried == 12);
    CHECK(compiled > 0);
    fprintf(stderr,
            "  for %d of %d the first engine was compiled, but not loaded: that takes a driver\n",
            compiled, tried);
}

static coc_status describe(const char *path)
{
    char *text;
    FILE *file = fopen(path, "r");
    size_t got;

    if (file == NULL) return COC_FAIL(COC_ERR_IO, "%s: cannot open", path);
    text = malloc(1 << 16);
    got = fread(text, 1, 1 << 16, file);
    fclose(file);
    target = (coc_cudnn_target){.described = true,
                                .of_heuristics = CUDNN_ATTR_ENGINEHEUR_DEVICEPROP,
                                .of_plan = CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP};
    COC_TRY(coc_cudnn_check(
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &target.on.properties),
        "a described device"));
    COC_TRY(coc_cudnn_check(cudnnBackendSetAttribute(target.on.properties,
                                                     CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                                     CUDNN_TYPE_CHAR, (int64_t)got, text),
                            path));
    free(text);
    return coc_cudnn_check(cudnnBackendFinalize(target.on.properties), path);
}

int main(int argc, char **argv)
{
    const coc_profile *profile;
    coc_network network;

    if (argc < 2 || coc_profile_find("cocola-hps", 2, &profile) != COC_OK ||
        coc_network_build(profile, 1, 1, BANDS, FRAMES, &network) != COC_OK)
        return 1;
    if (cudnnGetVersion() < LEAST_VERSION) {
        fprintf(stderr, "skipped: cuDNN %zu cannot be told of a device; 9.8 is the first\n",
                cudnnGetVersion());
        return COC_TEST_SKIPPED;
    }
    verbose = strcmp(argv[argc - 1], "-v") == 0;
    if (describe(argv[1]) != COC_OK) {
        fprintf(stderr, "%s\n", coc_error_text());
        return 1;
    }
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        add_network(&network, batches[i], COC_FP32);
        add_network(&network, batches[i], COC_BF16);
    }
    if (argc > 2 && strcmp(argv[2], "compiled") == 0)
        RUN(engines_compile);
    else
        RUN(every_convolution_has_a_plan);
    (void)cudnnBackendDestroyDescriptor(target.on.properties);
    return coc_test_result();
}
