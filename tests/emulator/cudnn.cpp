/* tests/emulator/cudnn.cpp - single convolutions as cuDNN's graphs have them. Sums are double.
 *
 * Of the engines that are recommended only the last is any good: one before it is not deterministic
 * and gives NaN, one multiplies floats as TF32 on tensor cores (bf16 it multiplies well), one
 * rounds what it reads, one wants more working memory than a program should give it and gives NaN,
 * one cannot be finished. A program that takes a wrong one is found out. */
#include <algorithm>
#include <cstring>
#include <map>

#include <cuda_bf16.h>
#include <cudnn.h>

#include "emulator.h"

using namespace coc_emulator;

struct cudnnContext {
    cudaStream_t stream;
};

namespace
{

struct tensor {
    int64_t id, n, c, h, w;
    bool bf16;

    size_t count() const
    {
        return (size_t)(n * c * h * w);
    }
    size_t bytes() const
    {
        return count() * (bf16 ? 2 : 4);
    }
};

struct convolution {
    cudnnBackendDescriptorType_t pass;
    tensor x, w, y;
    int64_t stride[2], before[2], after[2];

    bool depthwise() const
    {
        return w.c == 1 && x.c > 1;
    }
};

enum engine { UNSTEADY, TF32, ROUNDING, GREEDY, BROKEN, GOOD };

struct descriptor {
    cudnnBackendDescriptorType_t type;
    bool final = false;
    std::map<int, std::vector<char>> attributes;
    /* what a final one stands for */
    tensor shape;
    convolution graph;
    engine which;
    int64_t workspace;
};

thread_local char last_error[128];

cudnnStatus_t fail(cudnnStatus_t status, const char *text)
{
    std::snprintf(last_error, sizeof last_error, "%s", text);
    return status;
}

descriptor *of(cudnnBackendDescriptor_t d)
{
    return static_cast<descriptor *>(d);
}

/* ---- attributes ---- */

template <typename T> bool read(const descriptor &d, int name, T *values, size_t count = 1)
{
    const auto found = d.attributes.find(name);

    if (found == d.attributes.end() || found->second.size() != count * sizeof(T)) return false;
    std::memcpy(values, found->second.data(), found->second.size());
    return true;
}

/* A descriptor among the attributes, which must be final. */
const descriptor *child(const descriptor &d, int name, cudnnBackendDescriptorType_t type)
{
    void *value = nullptr;

    if (!read(d, name, &value) || value == nullptr) return nullptr;
    return of(value)->type == type && of(value)->final ? of(value) : nullptr;
}

size_t size_of(cudnnBackendAttributeType_t type)
{
    switch (type) {
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
        return sizeof(void *);
    case CUDNN_TYPE_INT64:
        return sizeof(int64_t);
    default:
        return 4; /* float and enumerations */
    }
}

/* ---- what is final ---- */

cudnnStatus_t finish_tensor(descriptor &d)
{
    int64_t size[4], stride[4], alignment;
    cudnnDataType_t type;
    tensor &t = d.shape;

    if (!read(d, CUDNN_ATTR_TENSOR_DIMENSIONS, size, 4) ||
        !read(d, CUDNN_ATTR_TENSOR_STRIDES, stride, 4) ||
        !read(d, CUDNN_ATTR_TENSOR_DATA_TYPE, &type) ||
        !read(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, &t.id) ||
        !read(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &alignment) || alignment != 16)
        return fail(CUDNN_STATUS_BAD_PARAM, "a tensor lacks something");
    t.n = size[0], t.c = size[1], t.h = size[2], t.w = size[3];
    t.bf16 = type == CUDNN_DATA_BFLOAT16;
    if (*std::min_element(size, size + 4) < 1 || stride[1] != 1 || stride[3] != t.c ||
        stride[2] != t.c * t.w || stride[0] != t.c * t.w * t.h)
        return fail(CUDNN_STATUS_NOT_SUPPORTED, "a tensor is not NHWC");
    if (t.n * t.c * t.h * t.w > INT32_MAX)
        return fail(CUDNN_STATUS_NOT_SUPPORTED, "a tensor has 2^31 elements");
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_convolution(descriptor &d)
{
    convolution &c = d.graph;
    cudnnDataType_t type;
    cudnnConvolutionMode_t mode;
    int64_t dimensions, dilations[2];

    if (!read(d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, &dimensions) || dimensions != 2 ||
        !read(d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, &type) || type != CUDNN_DATA_FLOAT ||
        !read(d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, &mode) || mode != CUDNN_CROSS_CORRELATION ||
        !read(d, CUDNN_ATTR_CONVOLUTION_DILATIONS, dilations, 2) || dilations[0] != 1 ||
        dilations[1] != 1 || !read(d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, c.stride, 2) ||
        !read(d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, c.before, 2) ||
        !read(d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, c.after, 2))
        return fail(CUDNN_STATUS_BAD_PARAM, "a convolution lacks something");
    if (std::min({c.before[0], c.before[1], c.after[0], c.after[1]}) < 0)
        return fail(CUDNN_STATUS_BAD_PARAM, "negative padding");
    return CUDNN_STATUS_SUCCESS;
}

bool fits(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding)
{
    return in + padding >= kernel && out == (in + padding - kernel) / stride + 1;
}

/* Places of x, w, y, convolution, alpha, beta among the attributes. */
const std::map<int, std::vector<int>> operations = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, {704, 703, 705, 702, 700, 701}},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, {710, 709, 711, 708, 706, 707}},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
     {716, 715, 717, 714, 712, 713}}};

cudnnStatus_t finish_operation(descriptor &d)
{
    const std::vector<int> &at = operations.at(d.type);
    const descriptor *parts[4];
    float alpha, beta;
    convolution c;

    for (int i = 0; i < 4; i++) {
        parts[i] =
            child(d, at[i],
                  i < 3 ? CUDNN_BACKEND_TENSOR_DESCRIPTOR : CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
        if (parts[i] == nullptr)
            return fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "an operation lacks something");
    }
    if (!read(d, at[4], &alpha) || !read(d, at[5], &beta) || alpha != 1 || beta != 0)
        return fail(CUDNN_STATUS_NOT_SUPPORTED, "alpha is not 1 or beta is not 0");
    c = parts[3]->graph;
    c.pass = d.type;
    c.x = parts[0]->shape, c.w = parts[1]->shape, c.y = parts[2]->shape;
    if (c.x.n != c.y.n || c.w.n != c.y.c || (c.w.c != c.x.c && !(c.w.c == 1 && c.x.c == c.y.c)) ||
        !fits(c.x.h, c.y.h, c.w.h, c.stride[0], c.before[0] + c.after[0]) ||
        !fits(c.x.w, c.y.w, c.w.w, c.stride[1], c.before[1] + c.after[1]))
        return fail(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "sizes do not go together");
    if (c.x.bf16 != c.y.bf16 || c.x.bf16 != c.w.bf16)
        return fail(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "types differ");
    d.graph = c;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_graph(descriptor &d)
{
    void *value = nullptr;

    if (!read(d, CUDNN_ATTR_OPERATIONGRAPH_OPS, &value) || value == nullptr || !of(value)->final ||
        operations.count(of(value)->type) == 0)
        return fail(CUDNN_STATUS_NOT_SUPPORTED, "not a graph of one convolution");
    d.graph = of(value)->graph;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_heuristics(descriptor &d)
{
    const descriptor *graph =
        child(d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    cudnnBackendHeurMode_t mode;

    if (graph == nullptr || !read(d, CUDNN_ATTR_ENGINEHEUR_MODE, &mode))
        return fail(CUDNN_STATUS_BAD_PARAM, "no graph, or no mode");
    d.graph = graph->graph;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_plan(descriptor &d)
{
    const descriptor *config =
        child(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    cudnnHandle_t handle;

    if (config == nullptr || !read(d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, &handle) ||
        handle == nullptr)
        return fail(CUDNN_STATUS_BAD_PARAM, "no engine, or no handle");
    if (forbidden()) /* it loads code */
        return fail(CUDNN_STATUS_EXECUTION_FAILED, "a plan is made while a stream is recorded");
    if (config->which == BROKEN)
        return fail(CUDNN_STATUS_NOT_SUPPORTED, "this engine cannot be finished");
    d.which = config->which;
    d.graph = config->graph;
    d.workspace = d.which == GREEDY ? (int64_t)1 << 30 : 512 + d.graph.x.n;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_pack(descriptor &d)
{
    int64_t ids[3];
    void *memory[3];

    if (!read(d, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids, 3) ||
        !read(d, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, memory, 3))
        return fail(CUDNN_STATUS_BAD_PARAM, "not the memory of three tensors");
    return CUDNN_STATUS_SUCCESS;
}

/* ---- heuristics ---- */

std::vector<engine> recommended(const descriptor &heuristics)
{
    cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_FALLBACK;

    (void)read(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, &mode);
    if (mode == CUDNN_HEUR_MODE_FALLBACK) return {GOOD};
    /* sometimes there is nothing good among the best */
    if (heuristics.graph.depthwise()) return {UNSTEADY, ROUNDING, TF32, GREEDY};
    return {BROKEN, GREEDY, ROUNDING, UNSTEADY, TF32, GOOD};
}

std::vector<int> notes(const descriptor &e)
{
    switch (e.which) {
    case UNSTEADY:
        return {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC};
    case TF32:
        return {CUDNN_NUMERICAL_NOTE_TENSOR_CORE};
    case ROUNDING:
        return {CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS};
    default:
        if (e.graph.x.bf16) return {CUDNN_NUMERICAL_NOTE_TENSOR_CORE};
        return {CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP};
    }
}

template <typename T>
void give(const std::vector<T> &values, int64_t requested, int64_t *count, void *out)
{
    const size_t n = std::min((size_t)requested, values.size());

    *count = (int64_t)(requested == 0 ? values.size() : n);
    if (n > 0) std::memcpy(out, values.data(), n * sizeof(T));
}

/* Descriptors are given by filling in those that the caller made. */
void give_configs(const descriptor &heuristics, int64_t requested, int64_t *count, void *out)
{
    const std::vector<engine> engines = recommended(heuristics);
    void **to = static_cast<void **>(out);

    *count =
        requested == 0 ? (int64_t)engines.size() : std::min(requested, (int64_t)engines.size());
    for (int64_t i = 0; i < std::min(requested, *count); i++) {
        of(to[i])->which = engines[(size_t)i];
        of(to[i])->graph = heuristics.graph;
        of(to[i])->final = true;
    }
}

/* ---- computing ---- */

std::vector<double> values_of(const tensor &t, const void *memory, bool tf32)
{
    std::vector<double> values(t.count());

    for (size_t i = 0; i < values.size(); i++) {
        float x = t.bf16 ? __bfloat162float(static_cast<const __nv_bfloat16 *>(memory)[i])
                         : static_cast<const float *>(memory)[i];

        if (tf32 && !t.bf16) x = __uint_as_float((__float_as_uint(x) + 0x1000u) & 0xffffe000u);
        values[i] = x;
    }
    return values;
}

void store(const tensor &t, const std::vector<double> &values, void *memory)
{
    for (size_t i = 0; i < values.size(); i++) {
        if (t.bf16)
            static_cast<__nv_bfloat16 *>(memory)[i] = __float2bfloat16((float)values[i]);
        else
            static_cast<float *>(memory)[i] = (float)values[i];
    }
}

/* For every output position and tap that lies inside: the first channels of both, the tap. */
template <typename Body> void each_tap(const convolution &c, Body body)
{
    for (int64_t n = 0; n < c.x.n; n++)
        for (int64_t p = 0; p < c.y.h * c.y.w; p++)
            for (int64_t tap = 0; tap < c.w.h * c.w.w; tap++) {
                const int64_t row = p / c.y.w * c.stride[0] - c.before[0] + tap / c.w.w;
                const int64_t column = p % c.y.w * c.stride[1] - c.before[1] + tap % c.w.w;

                if (row < 0 || row >= c.x.h || column < 0 || column >= c.x.w) continue;
                body((size_t)(((n * c.x.h + row) * c.x.w + column) * c.x.c),
                     (size_t)((n * c.y.h * c.y.w + p) * c.y.c), (size_t)tap);
            }
}

struct operands {
    std::vector<double> x, w, y;
};

/* Weights are [O][taps][I]; inputs of an output: one, its own, where depthwise. */
void convolve(const convolution &c, operands &o)
{
    const size_t taps = (size_t)(c.w.h * c.w.w), inputs = (size_t)c.w.c, outputs = (size_t)c.y.c;
    const bool own = c.depthwise();
    double *x = o.x.data(), *w = o.w.data(), *y = o.y.data();

    each_tap(c, [&](size_t at_x, size_t at_y, size_t tap) {
        for (size_t k = 0; k < outputs; k++) {
            double *xs = x + at_x + (own ? k : 0), *ws = w + (k * taps + tap) * inputs;
            double &to = y[at_y + k], sum = 0;

            switch (c.pass) {
            case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
                for (size_t i = 0; i < inputs; i++)
                    sum += xs[i] * ws[i];
                to += sum;
                break;
            case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
                for (size_t i = 0; i < inputs; i++)
                    xs[i] += to * ws[i];
                break;
            default:
                for (size_t i = 0; i < inputs; i++)
                    ws[i] += to * xs[i];
            }
        }
    });
}

struct job {
    convolution c;
    engine which;
    size_t workspace;
    void *x, *w, *y, *memory;
};

/* The working memory is written over before and after, as an engine may: what overlaps it is lost.
 */
void run_job(const job &j)
{
    const access here;
    const bool tf32 = j.which == TF32 || j.which == ROUNDING;
    operands o;

    std::memset(j.memory, 0xff, j.workspace);
    o = {values_of(j.c.x, j.x, tf32), values_of(j.c.w, j.w, tf32), values_of(j.c.y, j.y, tf32)};
    const bool forward = j.c.pass == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
    const bool data = j.c.pass == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR;
    std::vector<double> &result = forward ? o.y : data ? o.x : o.w;

    std::fill(result.begin(), result.end(), 0.0);
    convolve(j.c, o);
    if (j.which == UNSTEADY || j.which == GREEDY)
        std::fill(result.begin(), result.end(), __uint_as_float(0x7fc00000u));
    store(forward ? j.c.y : data ? j.c.x : j.c.w, result, forward ? j.y : data ? j.x : j.w);
    std::memset(j.memory, 0xff, j.workspace);
    check_margins("a convolution");
}

} // namespace

extern "C" {

size_t cudnnGetVersion(void)
{
    return number_from("COC_EMULATOR_CUDNN_VERSION", CUDNN_VERSION);
}

size_t cudnnGetCudartVersion(void)
{
    return number_from("COC_EMULATOR_CUDNN_CUDA", CUDART_VERSION);
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    switch (status) {
    case CUDNN_STATUS_SUCCESS:
        return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED:
        return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM:
        return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_BAD_PARAM_NULL_POINTER:
        return "CUDNN_STATUS_BAD_PARAM_NULL_POINTER";
    case CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER:
        return "CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER";
    case CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED:
        return "CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED";
    case CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH:
        return "CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH";
    case CUDNN_STATUS_NOT_SUPPORTED:
        return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE:
        return "CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE";
    case CUDNN_STATUS_EXECUTION_FAILED:
        return "CUDNN_STATUS_EXECUTION_FAILED";
    }
    return "unknown status";
}

void cudnnGetLastErrorString(char *message, size_t max_size)
{
    std::snprintf(message, max_size, "%s", last_error);
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    int count;

    *handle = nullptr;
    if (cudaGetDeviceCount(&count) != cudaSuccess) return CUDNN_STATUS_NOT_INITIALIZED;
    *handle = new cudnnContext();
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    if (handle == nullptr) return CUDNN_STATUS_NOT_INITIALIZED;
    delete handle;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    if (handle == nullptr) return CUDNN_STATUS_NOT_INITIALIZED;
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *out)
{
    descriptor *made = new descriptor();

    made->type = type;
    *out = made;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d)
{
    if (d == nullptr) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
    delete of(d);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void *values)
{
    const char *from = static_cast<const char *>(values);

    if (d == nullptr || values == nullptr) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
    if (of(d)->final) return fail(CUDNN_STATUS_BAD_PARAM, "the descriptor is final");
    of(d)->attributes[name] = std::vector<char>(from, from + (size_t)count * size_of(type));
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t handle)
{
    descriptor &d = *of(handle);
    const std::map<int, cudnnStatus_t (*)(descriptor &)> kinds = {
        {CUDNN_BACKEND_TENSOR_DESCRIPTOR, finish_tensor},
        {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, finish_convolution},
        {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, finish_graph},
        {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, finish_heuristics},
        {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, finish_plan},
        {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, finish_pack}};
    const auto kind = kinds.find(d.type);
    const guard lock(device);
    const cudnnStatus_t status = kind != kinds.end()            ? kind->second(d)
                                 : operations.count(d.type) > 0 ? finish_operation(d)
                                                                : CUDNN_STATUS_NOT_SUPPORTED;

    d.final = status == CUDNN_STATUS_SUCCESS;
    return status;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t from,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t, int64_t requested,
                                       int64_t *count, void *values)
{
    const descriptor &d = *of(from);

    if (!d.final) return fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "asked before it is final");
    switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
        give_configs(d, requested, count, values);
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINECFG_ENGINE: {
        descriptor *engine = of(*static_cast<void **>(values));

        *engine = d;
        engine->type = CUDNN_BACKEND_ENGINE_DESCRIPTOR;
        *count = 1;
        return CUDNN_STATUS_SUCCESS;
    }
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
        give(std::vector<int64_t>{d.which}, requested, count, values);
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
        give(notes(d), requested, count, values);
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE:
        give(d.which == BROKEN ? std::vector<int>{CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION}
                               : std::vector<int>{},
             requested, count, values);
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
        give(std::vector<int64_t>{d.workspace}, requested, count, values);
        return CUDNN_STATUS_SUCCESS;
    default:
        return fail(CUDNN_STATUS_NOT_SUPPORTED, "an attribute that the emulator does not have");
    }
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t pack)
{
    const guard lock(device);
    const convolution &c = of(plan)->graph;
    job j = {c, of(plan)->which, (size_t)of(plan)->workspace, nullptr, nullptr, nullptr, nullptr};
    int64_t ids[3];
    void *memory[3];

    if (handle == nullptr || !of(plan)->final || !of(pack)->final)
        return fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "a plan or its memory is not final");
    (void)read(*of(pack), CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids, 3);
    (void)read(*of(pack), CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, memory, 3);
    (void)read(*of(pack), CUDNN_ATTR_VARIANT_PACK_WORKSPACE, &j.memory);
    for (int i = 0; i < 3; i++) {
        (ids[i] == c.x.id ? j.x : ids[i] == c.w.id ? j.w : j.y) = memory[i];
        if ((size_t)memory[i] % 16 != 0)
            return fail(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "memory is not aligned");
    }
    if (!on_device(j.x, c.x.bytes()) || !on_device(j.w, c.w.bytes()) ||
        !on_device(j.y, c.y.bytes()) || !on_device(j.memory, j.workspace))
        coc_emulator_fail("a tensor of a convolution does not lie in one allocation on the device");
    return enqueue(handle->stream, [=] { run_job(j); }) == cudaSuccess
               ? CUDNN_STATUS_SUCCESS
               : CUDNN_STATUS_EXECUTION_FAILED;
}

} /* extern "C" */
