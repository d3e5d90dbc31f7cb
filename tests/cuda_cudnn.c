/* How cuDNN is used: in which shares, when plans are found, of which version. What it computes is
 * tested by cuda_pointwise, cuda_depthwise and cuda_model with the argument "cudnn". */
#include <stdlib.h>
#include <string.h>

#include "model/cuda/cudnn.h"
#include "tests/on_device.h"
#include "tests/test.h"

static coc_conv pointwise(int h, int w, int in, int out)
{
    return (coc_conv){.in_h = h,
                      .in_w = w,
                      .in_c = in,
                      .out_h = h,
                      .out_w = w,
                      .out_c = out,
                      .kernel = 1,
                      .stride = 1};
}

static void check_share(const coc_conv *s, coc_precision precision, int64_t left)
{
    const coc_cudnn_call call = {.precision = precision, .conv = *s};
    const int64_t in = (int64_t)s->in_h * s->in_w * s->in_c;
    const int64_t out = (int64_t)s->out_h * s->out_w * s->out_c, most = in > out ? in : out;
    const int64_t bytes = (2 * in + out) * (precision == COC_BF16 ? 2 : 4);
    const int64_t share = coc_cudnn_share(&call, left);

    CHECK(share >= 1 && share <= left);
    CHECK((share & (share - 1)) == 0);
    CHECK(share == 1 || share * most < (int64_t)1 << 31);
    CHECK(share == 1 || share * bytes <= COC_CUDNN_TENSORS);
    /* and no smaller than it has to be */
    CHECK(2 * share > left || 2 * share * most >= (int64_t)1 << 31 ||
          2 * share * bytes > COC_CUDNN_TENSORS);
}

/* A batch is cut into powers of two, as large as memory and 32-bit indices allow. */
static void shares_are_bounded(void)
{
    const coc_conv shapes[] = {pointwise(32, 250, 16, 96), pointwise(2, 15, 1152, 320),
                               pointwise(1, 1, 8, 8), pointwise(512, 4096, 512, 8),
                               pointwise(4096, 32768, 8, 8)};
    const int64_t batches[] = {1, 2, 3, 64, 100, 4096, 1000000000};

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (size_t j = 0; j < sizeof batches / sizeof batches[0]; j++) {
            check_share(&shapes[i], COC_FP32, batches[j]);
            check_share(&shapes[i], COC_BF16, batches[j]);
        }
}

/* A convolution of a shape that has not been met is refused while it is recorded, since its plan
 * would have to be found then; once it was called it can be recorded. */
static void what_is_recorded_was_called(void)
{
    enum { CLIPS = 2, CHANNELS = 8, VALUES = CLIPS * CHANNELS };
    const coc_conv s = pointwise(1, 1, CHANNELS, CHANNELS);
    coc_backend *b = coc_test_backend_with("cuda", COC_FP32, COC_CONV_CUDNN);
    float x[VALUES], w[CHANNELS * CHANNELS], first[VALUES], again[VALUES] = {0};
    stored *there, *y;
    float *weights;
    coc_graph *graph = NULL;

    REQUIRE(b != NULL);
    coc_test_random(x, VALUES, 1);
    coc_test_random(w, CHANNELS * CHANNELS, 2);
    there = coc_test_put_stored(b, x, VALUES);
    y = coc_test_put_stored(b, again, VALUES);
    weights = coc_test_put(b, w, CHANNELS * CHANNELS, sizeof *w);

    REQUIRE_OK(b->device->record(b->device, NULL));
    b->ops->pointwise_forward(b, &s, CLIPS, there, NULL, NULL, weights, y, NULL, NULL);
    REQUIRE_OK(b->device->recorded(b->device, NULL, &graph));
    CHECK(b->ops->finish(b) == COC_ERR_DEVICE);
    CHECK(strstr(coc_error_text(), "has not been called before") != NULL);
    b->device->graph_destroy(b->device, graph);

    b->ops->pointwise_forward(b, &s, CLIPS, there, NULL, NULL, weights, y, NULL, NULL);
    coc_test_get_stored(b, y, VALUES, first);
    REQUIRE_OK(b->device->record(b->device, NULL));
    b->ops->pointwise_forward(b, &s, CLIPS, there, NULL, NULL, weights, y, NULL, NULL);
    REQUIRE_OK(b->device->recorded(b->device, NULL, &graph));
    REQUIRE_OK(b->device->zero(b->device, y, sizeof first, NULL));
    REQUIRE_OK(b->device->launch(b->device, graph, NULL));
    coc_test_get_stored(b, y, VALUES, again);
    CHECK(first[0] != 0 && memcmp(first, again, sizeof first) == 0);

    b->device->graph_destroy(b->device, graph);
    coc_test_release(b, there);
    coc_test_release(b, y);
    coc_test_release(b, weights);
    coc_backend_destroy(&b);
}

/* A library of another major version than the program was built for, or for another CUDA, is
 * refused. Only the emulator's can be told to be one. */
static void another_version_is_refused(void)
{
    const coc_model_settings settings = {.backend = "cuda", .conv = COC_CONV_CUDNN};
    coc_backend *b;

    setenv("COC_EMULATOR_CUDNN_VERSION", "100100", 1);
    if (cudnnGetVersion() == 100100) {
        CHECK(coc_backend_open(&settings, &b) == COC_ERR_DEVICE && b == NULL);
        CHECK(strstr(coc_error_text(), "cuDNN is of version 10, this program was built for 9") !=
              NULL);
    }
    unsetenv("COC_EMULATOR_CUDNN_VERSION");
    setenv("COC_EMULATOR_CUDNN_CUDA", "12090", 1);
    if (cudnnGetCudartVersion() == 12090) {
        CHECK(coc_backend_open(&settings, &b) == COC_ERR_DEVICE && b == NULL);
        CHECK(strstr(coc_error_text(), "cuDNN is of CUDA 12, this program was built for CUDA 13") !=
              NULL);
    }
    unsetenv("COC_EMULATOR_CUDNN_CUDA");
}

int main(void)
{
    coc_backend *b = coc_test_backend_with("cuda", COC_FP32, COC_CONV_CUDNN);

    if (b == NULL) return COC_TEST_SKIPPED;
    coc_backend_destroy(&b);
    RUN(shares_are_bounded);
    RUN(what_is_recorded_was_called);
    RUN(another_version_is_refused);
    return coc_test_result();
}
