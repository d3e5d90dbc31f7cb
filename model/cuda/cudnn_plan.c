/* model/cuda/cudnn_plan.c - an operation graph of one convolution, and the engine that runs it. */
#include <stdio.h>
#include <string.h>

#include "model/cuda/cudnn.h"

enum { MOST_CONFIGS = 32, MOST_NOTES = 32, ALIGNMENT = 16 };

coc_status coc_cudnn_check(cudnnStatus_t status, const char *what)
{
    char text[256] = "";

    if (status == CUDNN_STATUS_SUCCESS) return COC_OK;
    cudnnGetLastErrorString(text, sizeof text);
    return COC_FAIL(COC_ERR_DEVICE, "cuDNN: %s: %s%s%.200s", what, cudnnGetErrorString(status),
                    text[0] != '\0' ? ": " : "", text);
}

/* ---- sizes ---------------------------------------------------------------------------------- */

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t coc_cudnn_share(const coc_cudnn_call *call, int64_t left)
{
    const coc_conv *s = &call->conv;
    const int64_t in = (int64_t)s->in_h * s->in_w * s->in_c;
    const int64_t out = (int64_t)s->out_h * s->out_w * s->out_c;
    const int64_t bytes = (2 * in + out) * (call->precision == COC_BF16 ? 2 : 4);
    int64_t clips = 1;

    while (2 * clips <= left && 2 * clips * most(in, out) <= INT32_MAX &&
           2 * clips * bytes <= COC_CUDNN_TENSORS)
        clips *= 2;
    return clips;
}

bool coc_cudnn_same(const coc_cudnn_call *a, const coc_cudnn_call *b)
{
    return a->pass == b->pass && a->precision == b->precision && a->clips == b->clips &&
           a->depthwise == b->depthwise && memcmp(&a->conv, &b->conv, sizeof a->conv) == 0;
}

coc_conv coc_cudnn_padded(const coc_conv *s)
{
    coc_conv padded = *s;

    padded.in_c = (s->in_c + 7) / 8 * 8;
    return padded;
}

/* Rows or columns of zeros after the last one that is read. Where the last ones are not read, none.
 */
static int64_t padding_after(int in, int out, const coc_conv *s)
{
    return most(0, (int64_t)(out - 1) * s->stride + s->kernel - in - s->pad);
}

/* ---- descriptors: after the first failure nothing is done any more -------------------------- */

typedef struct {
    coc_cudnn_plan *plan;
    cudnnStatus_t status;
} builder;

static void note(builder *b, cudnnStatus_t status)
{
    if (b->status == CUDNN_STATUS_SUCCESS) b->status = status;
}

/* One that the plan is made from, and keeps. */
static cudnnBackendDescriptor_t create(builder *b, cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t made = NULL;

    if (b->status == CUDNN_STATUS_SUCCESS) note(b, cudnnBackendCreateDescriptor(type, &made));
    if (made != NULL) b->plan->made[b->plan->count++] = made;
    return made;
}

static void set(builder *b, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
    if (b->status == CUDNN_STATUS_SUCCESS)
        note(b, cudnnBackendSetAttribute(to, name, type, count, values));
}

static void set_numbers(builder *b, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
                        int64_t count, const int64_t *values)
{
    set(b, to, name, CUDNN_TYPE_INT64, count, values);
}

static void set_descriptor(builder *b, cudnnBackendDescriptor_t to,
                           cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value)
{
    set(b, to, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void finalize(builder *b, cudnnBackendDescriptor_t what)
{
    if (b->status == CUDNN_STATUS_SUCCESS) note(b, cudnnBackendFinalize(what));
}

/* ---- the graph of one operation ------------------------------------------------------------- */

/* [n][h][w][c] in memory; cuDNN's order of dimensions is n, c, h, w. */
static cudnnBackendDescriptor_t make_tensor(builder *b, int64_t id, coc_precision precision,
                                            int64_t n, int64_t c, int64_t h, int64_t w)
{
    const cudnnBackendDescriptor_t t = create(b, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    const cudnnDataType_t type = precision == COC_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    const int64_t sizes[] = {n, c, h, w}, strides[] = {h * w * c, 1, w * c, c};
    const int64_t alignment = ALIGNMENT;

    set(b, t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set_numbers(b, t, CUDNN_ATTR_TENSOR_DIMENSIONS, 4, sizes);
    set_numbers(b, t, CUDNN_ATTR_TENSOR_STRIDES, 4, strides);
    set_numbers(b, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, 1, &id);
    set_numbers(b, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1, &alignment);
    finalize(b, t);
    return t;
}

static cudnnBackendDescriptor_t make_convolution(builder *b, const coc_conv *s)
{
    const cudnnBackendDescriptor_t c = create(b, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    const cudnnDataType_t type = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t dimensions = 2, ones[] = {1, 1}, strides[] = {s->stride, s->stride};
    const int64_t before[] = {s->pad, s->pad};
    const int64_t after[] = {padding_after(s->in_h, s->out_h, s),
                             padding_after(s->in_w, s->out_w, s)};

    set_numbers(b, c, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 1, &dimensions);
    set(b, c, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(b, c, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set_numbers(b, c, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 2, before);
    set_numbers(b, c, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 2, after);
    set_numbers(b, c, CUDNN_ATTR_CONVOLUTION_DILATIONS, 2, ones);
    set_numbers(b, c, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 2, strides);
    finalize(b, c);
    return c;
}

/* What cuDNN calls the parts of each pass. */
static const struct {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t x, w, y, conv, alpha, beta;
} operations[COC_CUDNN_PASSES] = {
    [COC_CUDNN_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [COC_CUDNN_INPUT_GRADIENT] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [COC_CUDNN_WEIGHT_GRADIENT] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static cudnnBackendDescriptor_t make_graph(builder *b, const coc_cudnn_target *target,
                                           const coc_cudnn_call *call)
{
    const coc_conv *s = &call->conv;
    const float one = 1, zero = 0;
    const cudnnBackendDescriptor_t x =
        make_tensor(b, COC_CUDNN_X, call->precision, call->clips, s->in_c, s->in_h, s->in_w);
    const cudnnBackendDescriptor_t w =
        make_tensor(b, COC_CUDNN_W, call->precision, s->out_c, call->depthwise ? 1 : s->in_c,
                    s->kernel, s->kernel);
    const cudnnBackendDescriptor_t y =
        make_tensor(b, COC_CUDNN_Y, call->precision, call->clips, s->out_c, s->out_h, s->out_w);
    const cudnnBackendDescriptor_t conv = make_convolution(b, s);
    const cudnnBackendDescriptor_t op = create(b, operations[call->pass].type);
    cudnnBackendDescriptor_t graph;

    set_descriptor(b, op, operations[call->pass].x, x);
    set_descriptor(b, op, operations[call->pass].w, w);
    set_descriptor(b, op, operations[call->pass].y, y);
    set_descriptor(b, op, operations[call->pass].conv, conv);
    set(b, op, operations[call->pass].alpha, CUDNN_TYPE_FLOAT, 1, &one);
    set(b, op, operations[call->pass].beta, CUDNN_TYPE_FLOAT, 1, &zero);
    finalize(b, op);
    graph = create(b, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set_descriptor(b, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, op);
    if (!target->described)
        set(b, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &target->on.handle);
    finalize(b, graph);
    return graph;
}

/* ---- choosing an engine --------------------------------------------------------------------- */

typedef struct {
    cudnnBackendDescriptor_t config;
    int64_t engine;
    bool exact, tensor_cores, compiled;
} candidate;

/* Of bf16 a tensor core rounds nothing; of floats it takes ten bits. */
static bool is_exact(coc_precision precision, int64_t count,
                     const cudnnBackendNumericalNote_t *notes)
{
    for (int64_t i = 0; i < count; i++)
        switch (notes[i]) {
        case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
            if (precision == COC_FP32) return false;
            break;
        case CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP:
            break;
        default: /* also notes of versions to come */
            return false;
        }
    return true;
}

static void read_engine(coc_precision precision, candidate *c)
{
    cudnnBackendDescriptor_t engine = NULL;
    cudnnBackendNumericalNote_t numerical[MOST_NOTES];
    cudnnBackendBehaviorNote_t behavior[MOST_NOTES];
    int64_t got = 0, numericals = 0, behaviors = 0;

    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) ==
            CUDNN_STATUS_SUCCESS &&
        cudnnBackendGetAttribute(c->config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &got,
                                 &engine) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &got,
                                 &c->engine) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                 CUDNN_TYPE_NUMERICAL_NOTE, MOST_NOTES, &numericals,
                                 numerical) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE,
                                 MOST_NOTES, &behaviors, behavior) == CUDNN_STATUS_SUCCESS)
        c->exact = is_exact(precision, numericals, numerical);
    for (int64_t i = 0; i < numericals; i++)
        c->tensor_cores |= numerical[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
    for (int64_t i = 0; i < behaviors; i++)
        c->compiled |= behavior[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
    if (engine != NULL) (void)cudnnBackendDestroyDescriptor(engine);
}

/* Engines that cuDNN recommends for the graph, best first; returns how many. Their descriptors are
 * the caller's. */
static int recommend(const coc_cudnn_target *target, cudnnBackendDescriptor_t graph,
                     cudnnBackendHeurMode_t mode, coc_precision precision, candidate *found)
{
    cudnnBackendDescriptor_t configs[MOST_CONFIGS] = {NULL};
    coc_cudnn_plan own = {.count = 0};
    builder b = {&own, CUDNN_STATUS_SUCCESS};
    const cudnnBackendDescriptor_t h = create(&b, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    int64_t got = 0;

    set_descriptor(&b, h, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    set(&b, h, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (target->described) set_descriptor(&b, h, target->of_heuristics, target->on.properties);
    finalize(&b, h);
    for (int i = 0; i < MOST_CONFIGS && b.status == CUDNN_STATUS_SUCCESS; i++)
        note(&b, cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configs[i]));
    if (b.status == CUDNN_STATUS_SUCCESS &&
        cudnnBackendGetAttribute(h, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                 MOST_CONFIGS, &got, configs) != CUDNN_STATUS_SUCCESS)
        got = 0;
    for (int i = 0; i < MOST_CONFIGS; i++) {
        if (i >= got) {
            if (configs[i] != NULL) (void)cudnnBackendDestroyDescriptor(configs[i]);
            continue;
        }
        found[i] = (candidate){.config = configs[i]};
        read_engine(precision, &found[i]);
    }
    coc_cudnn_plan_free(&own);
    return (int)got;
}

/* Whether the candidate became the plan. */
static bool try_candidate(const coc_cudnn_target *target, const candidate *c, coc_cudnn_plan *plan,
                          coc_cudnn_search *search)
{
    const int before = plan->count;
    builder b = {plan, CUDNN_STATUS_SUCCESS};
    const cudnnBackendDescriptor_t p = create(&b, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    int64_t bytes = 0, got;

    if (target->described)
        set_descriptor(&b, p, target->of_plan, target->on.properties);
    else
        set(&b, p, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &target->on.handle);
    set_descriptor(&b, p, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, c->config);
    finalize(&b, p);
    if (b.status == CUDNN_STATUS_SUCCESS)
        note(&b, cudnnBackendGetAttribute(p, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                          CUDNN_TYPE_INT64, 1, &got, &bytes));
    if (b.status == CUDNN_STATUS_SUCCESS && bytes <= COC_CUDNN_WORKSPACE) {
        plan->descriptor = p;
        plan->workspace = bytes;
        plan->engine = c->engine;
        plan->tensor_cores = c->tensor_cores;
        plan->compiled = c->compiled;
        return true;
    }
    if (b.status == CUDNN_STATUS_SUCCESS) {
        search->too_large++;
    } else {
        search->refused++;
        search->uncompiled += c->compiled;
        search->last_status = b.status;
        cudnnGetLastErrorString(search->last_text, sizeof search->last_text);
    }
    while (plan->count > before)
        (void)cudnnBackendDestroyDescriptor(plan->made[--plan->count]);
    return false;
}

static bool search_mode(const coc_cudnn_target *target, cudnnBackendDescriptor_t graph,
                        cudnnBackendHeurMode_t mode, coc_cudnn_plan *plan, coc_cudnn_search *search)
{
    candidate found[MOST_CONFIGS];
    const int count = recommend(target, graph, mode, plan->call.precision, found);
    bool done = false;

    search->recommended += count;
    for (int i = 0; i < count; i++) {
        if (found[i].exact) {
            search->allowed++;
            search->compiled += found[i].compiled;
        }
        if (!done && found[i].exact && try_candidate(target, &found[i], plan, search)) {
            done = true;
            plan->made[plan->count++] = found[i].config; /* a plan may refer to it */
        } else {
            (void)cudnnBackendDestroyDescriptor(found[i].config);
        }
    }
    return done;
}

/* ---- the plan ------------------------------------------------------------------------------- */

static coc_status fail(const coc_cudnn_call *call, const char *why, const char *text)
{
    static const char *const passes[] = {"", ", gradient of its input",
                                         ", gradient of its weights"};
    const coc_conv *s = &call->conv;

    return COC_FAIL(COC_ERR_DEVICE,
                    "cuDNN: %d x %d %sconvolution of stride %d, %d to %d channels, %d x %d, %lld "
                    "clips, %s%s: %s%s%s; choose model.conv: own",
                    s->kernel, s->kernel, call->depthwise ? "depthwise " : "", s->stride, s->in_c,
                    s->out_c, s->in_h, s->in_w, (long long)call->clips,
                    coc_precision_name(call->precision), passes[call->pass], why,
                    text[0] != '\0' ? ": " : "", text);
}

coc_status coc_cudnn_plan_build(const coc_cudnn_target *target, const coc_cudnn_call *call,
                                coc_cudnn_plan *plan, coc_cudnn_search *search)
{
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};
    coc_cudnn_search own, *met = search != NULL ? search : &own;
    builder b = {plan, CUDNN_STATUS_SUCCESS};
    cudnnBackendDescriptor_t graph;
    char text[sizeof met->last_text] = "";

    *plan = (coc_cudnn_plan){.call = *call};
    *met = (coc_cudnn_search){.recommended = 0};
    graph = make_graph(&b, target, call);
    if (b.status != CUDNN_STATUS_SUCCESS) {
        cudnnGetLastErrorString(text, sizeof text);
        return fail(call, cudnnGetErrorString(b.status), text);
    }
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (search_mode(target, graph, modes[i], plan, met)) return COC_OK;
    if (met->allowed == 0)
        return fail(call, "it has no engine that is exact and repeats its results", "");
    if (met->refused == 0) return fail(call, "its engines want too much working memory", "");
    return fail(call, cudnnGetErrorString(met->last_status), met->last_text);
}

void coc_cudnn_plan_free(coc_cudnn_plan *plan)
{
    while (plan->count > 0)
        (void)cudnnBackendDestroyDescriptor(plan->made[--plan->count]);
    plan->descriptor = NULL;
}
