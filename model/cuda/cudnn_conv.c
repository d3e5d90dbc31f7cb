/* model/cuda/cudnn_conv.c - the six convolutions by cuDNN (model.conv: cudnn), and its handle.
 *
 * What the own kernels do on the way is done here in passes of its own (passes.cu): read through
 * norm, SiLU and gate into scratch, convolve, add up sums; backward, form the gradient at the raw
 * output, then both gradients. So much more memory is moved: this is the other way of computing
 * the same, to check and to compare with.
 *
 * Plans are found when a shape is first met, which takes up to a second each, and kept. That is
 * before a recording: what is recorded has been called before.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "model/cuda/cuda.h"
#include "model/cuda/cudnn.h"

/* With weights, and with what coc_cuda_scratch takes to spare. */
_Static_assert((COC_CUDNN_WORKSPACE + COC_CUDNN_TENSORS + (48 << 20)) * 5 / 4 <=
                   COC_CUDNN_MOST_SCRATCH,
               "the plan of memory has to know of it");

/* coc_cuda.cudnn */
struct coc_cudnn {
    cudnnHandle_t handle; /* on the stream */
    coc_cudnn_plan *plan;
    int64_t plans, room;
    coc_ops ops; /* the own table with other convolutions */
};

/* ---- plans ---------------------------------------------------------------------------------- */

static coc_cudnn_plan *find_known(struct coc_cudnn *dnn, const coc_cudnn_call *call)
{
    for (int64_t i = 0; i < dnn->plans; i++)
        if (coc_cudnn_same(&dnn->plan[i].call, call)) return &dnn->plan[i];
    return NULL;
}

static coc_status find_plan(coc_backend *b, const coc_cudnn_call *call, const coc_cudnn_plan **plan)
{
    struct coc_cudnn *dnn = coc_cuda_of(b)->cudnn;
    const coc_cudnn_target target = {.described = false, .on.handle = dnn->handle};
    coc_cudnn_plan *made;
    coc_status status;

    *plan = find_known(dnn, call);
    if (*plan != NULL) return COC_OK;
    if (coc_cuda_recording(b))
        return COC_FAIL(COC_ERR_DEVICE, "a recorded convolution has not been called before");
    COC_TRY(coc_grow(&dnn->plan, &dnn->room, dnn->plans + 1, sizeof *dnn->plan));
    made = &dnn->plan[dnn->plans];
    status = coc_cudnn_plan_build(&target, call, made, NULL);
    if (status != COC_OK) {
        coc_cudnn_plan_free(made);
        return status;
    }
    dnn->plans++;
    *plan = made;
    return COC_OK;
}

/* The largest working memory of a pass over all of the clips, whose plans are found on the way. */
static coc_status measure(coc_backend *b, coc_cudnn_call call, int64_t n, int64_t *workspace)
{
    const coc_cudnn_plan *plan;

    for (int64_t left = n; left > 0; left -= call.clips) {
        call.clips = coc_cudnn_share(&call, left);
        COC_TRY(find_plan(b, &call, &plan));
        *workspace = plan->workspace > *workspace ? plan->workspace : *workspace;
    }
    return COC_OK;
}

static coc_status set_pack(cudnnBackendDescriptor_t pack, void *x, void *w, void *y,
                           void *workspace)
{
    const int64_t ids[] = {COC_CUDNN_X, COC_CUDNN_W, COC_CUDNN_Y};
    void *const memory[] = {x, w, y};

    COC_TRY(coc_cudnn_check(cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
                                                     CUDNN_TYPE_INT64, 3, ids),
                            "tensors"));
    COC_TRY(coc_cudnn_check(cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                                                     CUDNN_TYPE_VOID_PTR, 3, memory),
                            "memory of tensors"));
    COC_TRY(coc_cudnn_check(cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
                                                     CUDNN_TYPE_VOID_PTR, 1, &workspace),
                            "working memory"));
    return coc_cudnn_check(cudnnBackendFinalize(pack), "memory of a convolution");
}

/* One call, of tensors as cuDNN reads them. */
static coc_status execute(coc_backend *b, const coc_cudnn_call *call, const void *x, const void *w,
                          const void *y, void *workspace)
{
    struct coc_cudnn *dnn = coc_cuda_of(b)->cudnn;
    cudnnBackendDescriptor_t pack = NULL;
    const coc_cudnn_plan *plan;
    coc_status status;

    COC_TRY(find_plan(b, call, &plan));
    COC_TRY(
        coc_cudnn_check(cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack),
                        "memory of a convolution"));
    status = set_pack(pack, (void *)x, (void *)w, (void *)y, workspace);
    if (status == COC_OK)
        status = coc_cudnn_check(cudnnBackendExecute(dnn->handle, plan->descriptor, pack),
                                 "a convolution");
    (void)cudnnBackendDestroyDescriptor(pack);
    return status;
}

/* ---- a convolution of n clips, share by share ----------------------------------------------- */

/* What is read: features with keep, or a stored tensor through norm and gate; each may be NULL. */
typedef struct {
    const real *features, *keep;
    const stored *x;
    const coc_norm *norm;
    const real *gate;
} source;

typedef struct {
    coc_cudnn_call call;   /* of the share at hand */
    const coc_conv *s;     /* as it was given: with the channels that there are */
    int64_t in, out;       /* values of a clip, as cuDNN has them */
    int inputs, padded;    /* of an output's weights */
    int64_t weights;       /* values, as cuDNN has them */
    char *w, *dw, *z, *dy; /* in scratch */
    char *dz, *workspace;
} work;

static work work_of(const coc_backend *b, const coc_conv *s, bool depthwise, bool features)
{
    const coc_conv c = features ? coc_cudnn_padded(s) : *s;
    work k = {.call = {.precision = b->precision, .conv = c, .depthwise = depthwise},
              .s = s,
              .in = (int64_t)c.in_h * c.in_w * c.in_c,
              .out = (int64_t)c.out_h * c.out_w * c.out_c,
              .inputs = depthwise ? 1 : s->in_c,
              .padded = depthwise ? 1 : c.in_c};

    k.weights = (int64_t)c.out_c * c.kernel * c.kernel * k.padded;
    return k;
}

/* The pieces of scratch, one after the other; NULL: not wanted. */
static size_t lay_out(const coc_backend *b, char *memory, int64_t values, char **piece)
{
    *piece = memory;
    return ((size_t)values * b->stored_bytes + 255) / 256 * 256;
}

/* reads, forms, adds: whether z, dy and dw, dz are wanted. Tensors are those of the largest share,
 * which is the first. */
static bool take_scratch(coc_backend *b, work *k, int64_t n, bool reads, bool forms, bool adds,
                         int64_t workspace)
{
    const int64_t clips = coc_cudnn_share(&k->call, n);
    const struct {
        int64_t values;
        char **piece;
    } pieces[] = {{k->weights, &k->w},
                  {forms ? k->weights : 0, &k->dw},
                  {reads ? clips * k->in : 0, &k->z},
                  {forms ? clips * k->out : 0, &k->dy},
                  {adds ? clips * k->in : 0, &k->dz},
                  {0, &k->workspace}};
    size_t bytes = (size_t)workspace;
    char *memory, *ignored;

    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        bytes += lay_out(b, NULL, pieces[i].values, &ignored);
    memory = coc_cuda_scratch(b, bytes);
    for (size_t i = 0; memory != NULL && i < sizeof pieces / sizeof pieces[0]; i++)
        memory += lay_out(b, memory, pieces[i].values, pieces[i].piece);
    return memory != NULL;
}

static coc_norm norm_from(const coc_norm *norm, int64_t first)
{
    coc_norm at = *norm;

    at.group += first;
    return at;
}

static const stored *stored_from(const coc_backend *b, const stored *x, int64_t values)
{
    return x != NULL ? (const stored *)((const char *)x + values * (int64_t)b->stored_bytes) : NULL;
}

static const real *real_from(const real *x, int64_t values)
{
    return x != NULL ? x + values : NULL;
}

/* Whether what is read has to be made first. */
static bool is_made(const source *from)
{
    return from->features != NULL || from->norm != NULL || from->gate != NULL;
}

/* The share's input as cuDNN reads it. */
static const void *read_share(coc_backend *b, const work *k, const source *from, int64_t first)
{
    const int64_t n = k->call.clips, positions = (int64_t)k->s->in_h * k->s->in_w;
    const int channels = k->s->in_c;
    const stored *x = stored_from(b, from->x, first * k->in);
    coc_norm norm;

    if (!is_made(from)) return x;
    if (from->features != NULL) {
        coc_cuda_read_channels(b, n, positions, channels, k->call.conv.in_c,
                               from->features + first * positions * channels,
                               real_from(from->keep, first * channels), (stored *)(void *)k->z);
        return k->z;
    }
    if (from->norm != NULL) norm = norm_from(from->norm, first);
    coc_cuda_read(b, n, positions, channels, x, from->norm != NULL ? &norm : NULL,
                  real_from(from->gate, first * channels), (stored *)(void *)k->z);
    return k->z;
}

/* The share's gradient at the raw output. */
static void form_share(coc_backend *b, const work *k, const coc_gradient *dy, int64_t first)
{
    const int channels = k->s->out_c;
    const coc_norm norm = norm_from(dy->norm, first);
    coc_gradient g = *dy;

    g.x = stored_from(b, dy->x, first * k->out);
    g.norm = &norm;
    g.dz = stored_from(b, dy->dz, first * k->out);
    g.gate = real_from(dy->gate, first * channels);
    g.pooled = real_from(dy->pooled, first * channels);
    g.clip = real_from(dy->clip, first);
    coc_cuda_form(b, k->call.clips, (int64_t)k->s->out_h * k->s->out_w, channels, &g,
                  (stored *)(void *)k->dy);
}

static coc_status forward(coc_backend *b, work *k, int64_t n, const source *from, const real *w,
                          stored *y)
{
    int64_t workspace = 0;

    k->call.pass = COC_CUDNN_FORWARD;
    COC_TRY(measure(b, k->call, n, &workspace));
    if (!take_scratch(b, k, n, is_made(from), false, false, workspace)) return COC_OK; /* noted */
    coc_cuda_put_weights(b, k->s->out_c, k->inputs, k->s->kernel * k->s->kernel, k->padded, w,
                         k->w);
    for (int64_t first = 0; first < n; first += k->call.clips) {
        k->call.clips = coc_cudnn_share(&k->call, n - first);
        COC_TRY(execute(b, &k->call, read_share(b, k, from, first), k->w,
                        stored_from(b, y, first * k->out), k->workspace));
    }
    return COC_OK;
}

/* The share's gradient at the input: dz =, or +=. */
static coc_status input_gradient(coc_backend *b, work *k, stored *dz, bool accumulate,
                                 int64_t first)
{
    stored *to = (stored *)(void *)stored_from(b, dz, first * k->in);

    k->call.pass = COC_CUDNN_INPUT_GRADIENT;
    COC_TRY(
        execute(b, &k->call, accumulate ? (void *)k->dz : (void *)to, k->w, k->dy, k->workspace));
    if (accumulate)
        coc_cuda_add_stored(b, k->call.clips * k->in, (const stored *)(void *)k->dz, to);
    return COC_OK;
}

/* dz NULL: not wanted. */
static coc_status backward(coc_backend *b, work *k, int64_t n, const source *from,
                           const coc_gradient *dy, const real *w, stored *dz, bool accumulate,
                           real *dw)
{
    const int taps = k->s->kernel * k->s->kernel;
    int64_t workspace = 0;

    k->call.pass = COC_CUDNN_WEIGHT_GRADIENT;
    COC_TRY(measure(b, k->call, n, &workspace));
    k->call.pass = COC_CUDNN_INPUT_GRADIENT;
    if (dz != NULL) COC_TRY(measure(b, k->call, n, &workspace));
    if (!take_scratch(b, k, n, is_made(from), true, accumulate, workspace))
        return COC_OK; /* noted */
    if (dz != NULL) coc_cuda_put_weights(b, k->s->out_c, k->inputs, taps, k->padded, w, k->w);
    for (int64_t first = 0; first < n; first += k->call.clips) {
        k->call.clips = coc_cudnn_share(&k->call, n - first);
        form_share(b, k, dy, first);
        if (dz != NULL) COC_TRY(input_gradient(b, k, dz, accumulate, first));
        k->call.pass = COC_CUDNN_WEIGHT_GRADIENT;
        COC_TRY(execute(b, &k->call, read_share(b, k, from, first), k->dw, k->dy, k->workspace));
        coc_cuda_add_weights(b, k->s->out_c, k->inputs, taps, k->padded, k->dw, dw);
    }
    return COC_OK;
}

/* ---- the operations ------------------------------------------------------------------------- */

static void note(coc_backend *b, coc_status status)
{
    if (status != COC_OK) coc_cuda_note(b, status, coc_error_text(), "");
}

static void add_sums(coc_backend *b, const coc_conv *s, int64_t n, const stored *y,
                     const int32_t *group, double *sums)
{
    if (sums == NULL) return;
    coc_cuda_output_sums(b, n, (int64_t)s->out_h * s->out_w, s->out_c, y, group, sums);
}

static void stem_forward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                         const real *keep, const real *w, stored *y, const int32_t *group,
                         double *sums)
{
    work k = work_of(b, s, false, true);

    note(b, forward(b, &k, n, &(source){.features = x, .keep = keep}, w, y));
    add_sums(b, s, n, y, group, sums);
}

static void depthwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                              const coc_norm *norm, const real *w, stored *y, const int32_t *group,
                              double *sums)
{
    work k = work_of(b, s, true, false);

    note(b, forward(b, &k, n, &(source){.x = x, .norm = norm}, w, y));
    add_sums(b, s, n, y, group, sums);
}

static void pointwise_forward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                              const coc_norm *norm, const real *gate, const real *w, stored *y,
                              const int32_t *group, double *sums)
{
    work k = work_of(b, s, false, false);

    note(b, forward(b, &k, n, &(source){.x = x, .norm = norm, .gate = gate}, w, y));
    add_sums(b, s, n, y, group, sums);
}

static void stem_backward(coc_backend *b, const coc_conv *s, int64_t n, const real *x,
                          const real *keep, const coc_gradient *dy, real *dw)
{
    work k = work_of(b, s, false, true);

    note(b, backward(b, &k, n, &(source){.features = x, .keep = keep}, dy, NULL, NULL, false, dw));
}

static void depthwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                               const coc_norm *norm, const coc_gradient *dy, const real *w,
                               stored *dz, bool accumulate, real *dw, double *sums)
{
    work k = work_of(b, s, true, false);
    const coc_gradient at_input = {.x = x, .norm = norm, .dz = dz};

    note(b, backward(b, &k, n, &(source){.x = x, .norm = norm}, dy, w, dz, accumulate, dw));
    if (sums != NULL)
        coc_cuda_norm_backward_sums(b, n, (int64_t)s->in_h * s->in_w, s->in_c, &at_input, sums);
}

static void pointwise_backward(coc_backend *b, const coc_conv *s, int64_t n, const stored *x,
                               const coc_norm *norm, const real *gate, const coc_gradient *dy,
                               const real *w, stored *dz, bool accumulate, real *dw, real *dgate)
{
    work k = work_of(b, s, false, false);

    note(b, backward(b, &k, n, &(source){.x = x, .norm = norm, .gate = gate}, dy, w, dz, accumulate,
                     dw));
    if (dgate != NULL)
        coc_cuda_gate_sums(b, n, (int64_t)s->in_h * s->in_w, s->in_c, x, norm, dz, dgate);
}

/* ---- opening -------------------------------------------------------------------------------- */

/* There is a cuDNN of one version for each of several versions of CUDA. */
static coc_status check_versions(void)
{
    const int major = (int)(cudnnGetVersion() / 10000);
    const int cuda_major = (int)(cudnnGetCudartVersion() / 1000);

    if (major != CUDNN_MAJOR)
        return COC_FAIL(COC_ERR_DEVICE,
                        "cuDNN is of version %d, this program was built for %d: start it with the "
                        "libraries that it was built with, or choose model.conv: own",
                        major, CUDNN_MAJOR);
    if (cuda_major != CUDART_VERSION / 1000)
        return COC_FAIL(COC_ERR_DEVICE,
                        "cuDNN is of CUDA %d, this program was built for CUDA %d: start it with "
                        "the libraries that it was built with, or choose model.conv: own",
                        cuda_major, CUDART_VERSION / 1000);
    return COC_OK;
}

coc_status coc_cudnn_open(coc_backend *b)
{
    coc_cuda *cuda = coc_cuda_of(b);
    coc_ops *ops;

    COC_TRY(check_versions());
    COC_TRY(coc_alloc(1, sizeof *cuda->cudnn, &cuda->cudnn));
    COC_TRY(coc_cudnn_check(cudnnCreate(&cuda->cudnn->handle), "opening it"));
    COC_TRY(coc_cudnn_check(cudnnSetStream(cuda->cudnn->handle, cuda->stream), "its stream"));
    ops = &cuda->cudnn->ops;
    *ops = *b->ops;
    ops->stem_forward = stem_forward;
    ops->depthwise_forward = depthwise_forward;
    ops->pointwise_forward = pointwise_forward;
    ops->stem_backward = stem_backward;
    ops->depthwise_backward = depthwise_backward;
    ops->pointwise_backward = pointwise_backward;
    b->ops = ops;
    return COC_OK;
}

void coc_cudnn_close(coc_backend *b)
{
    struct coc_cudnn *dnn = coc_cuda_of(b)->cudnn;

    if (dnn == NULL) return;
    b->ops = &coc_cuda_ops;
    for (int64_t i = 0; i < dnn->plans; i++)
        coc_cudnn_plan_free(&dnn->plan[i]);
    if (dnn->handle != NULL) (void)cudnnDestroy(dnn->handle);
    free(dnn->plan);
    free(dnn);
    coc_cuda_of(b)->cudnn = NULL;
}
