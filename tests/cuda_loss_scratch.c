/* What the loss takes of a GPU's working memory is known before it is taken. */
#include "base/status.h"
#include "tests/on_device.h"
#include "tests/test.h"

/* Numbers of the device that are 0. */
static void *zeros(const coc_device *device, int64_t count, size_t size)
{
    void *memory = NULL;

    if (device->alloc(device, (size_t)count * size, &memory) != COC_OK ||
        device->zero(device, memory, (size_t)count * size, NULL) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "%s", coc_error_text());
    return memory;
}

static void check_scratch(const coc_model_settings *settings, bool tile)
{
    enum { ROWS = 300, COLUMNS = 700, WIDE = 24 };
    coc_contrast c = {.rows = ROWS, .columns = COLUMNS, .d = WIDE, .scale = 1};
    const int64_t floats = (ROWS + COLUMNS) * WIDE;
    coc_contrast_row *row;
    int64_t planned;
    double *results;
    float *x, *dx;
    coc_backend *b;

    REQUIRE_OK(coc_backend_open(settings, &b));
    REQUIRE_OK(coc_backend_loss_scratch(settings, &c, tile, &planned));
    c.a = x = zeros(b->device, floats, sizeof *x);
    c.p = x + ROWS * WIDE;
    c.label = zeros(b->device, ROWS, sizeof *c.label);
    dx = zeros(b->device, floats, sizeof *dx);
    row = zeros(b->device, ROWS, sizeof *row);
    results = zeros(b->device, COC_CONTRAST_RESULTS, sizeof *results);
    if (tile) {
        b->ops->tile_forward(b, &c, row);
        b->ops->tile_backward(b, &c, row, dx, dx + ROWS * WIDE);
    } else {
        b->ops->contrast(b, &c, dx, dx + ROWS * WIDE, results);
    }
    REQUIRE_OK(b->ops->finish(b));
    CHECK(planned > ROWS * WIDE && (int64_t)b->scratch_bytes == planned + planned / 4);
    b->device->release(b->device, x);
    b->device->release(b->device, (void *)c.label);
    b->device->release(b->device, dx);
    b->device->release(b->device, row);
    b->device->release(b->device, results);
    coc_backend_destroy(&b);
}

/* Of every precision, byte by byte, with the quarter that is taken beside. */
static void scratch_is_what_is_planned(void)
{
    static const coc_loss_precision all[] = {COC_LOSS_FP32, COC_LOSS_TF32, COC_LOSS_TF32X3,
                                             COC_LOSS_BF16};
    coc_model_settings settings = {.backend = "cuda"};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        settings.loss_precision = all[i];
        check_scratch(&settings, false);
        check_scratch(&settings, true);
    }
}

int main(void)
{
    coc_backend *b = coc_test_backend("cuda", COC_FP32);

    if (b == NULL) return COC_TEST_SKIPPED;
    coc_backend_destroy(&b);
    RUN(scratch_is_what_is_planned);
    return coc_test_result();
}
