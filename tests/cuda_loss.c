/* The loss, the optimizer and random masks on the GPU against the reference; recorded calls, which
 * give the same bits as called ones. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/on_device.h"
#include "tests/test.h"

static coc_backend *ref, *cuda;

/* The same formula in double, or nearly. */
static void check_same(const char *what, coc_twin t)
{
    coc_twin_check(what, t, 2e-7, 4e-7);
}

/* ---- loss ---- */

enum { TIES = 1, SETS = 2, TRACKS = 4, MASK = 8, GRADIENTS = 16, ALL_OPTIONS = 32 };

typedef struct {
    coc_twin a, p, label, row_set, column_set, row_track, column_track;
} contrast_data;

/* Whole numbers where ties are wanted: exact products, and many equal ones. */
static contrast_data make_contrast(int64_t rows, int64_t columns, int d, uint32_t o)
{
    contrast_data c = {.a = coc_twin_numbers(rows * d, -1, 1),
                       .p = coc_twin_numbers(columns * d, -1, 1)};
    int64_t *label = malloc((size_t)rows * sizeof *label);
    int32_t *set = malloc((size_t)(rows + columns) * sizeof *set);
    uint64_t *track = malloc((size_t)(rows + columns) * sizeof *track);

    for (int64_t i = 0; i < (rows + columns) * d && o & TIES; i++) {
        float *value = i < rows * d ? (float *)c.a.ref + i : (float *)c.p.ref + (i - rows * d);

        *value = roundf(*value);
    }
    c.a = coc_twin_copy(c.a.ref, rows * d, sizeof(float));
    c.p = coc_twin_copy(c.p.ref, columns * d, sizeof(float));
    for (int64_t i = 0; i < rows; i++)
        label[i] = (i * 31 + 5) % columns;
    for (int64_t i = 0; i < rows + columns; i++) {
        set[i] = (int32_t)((i < rows ? i : i - rows) * 5 % 3);
        track[i] = (uint64_t)1 << 40 | (uint64_t)((i < rows ? label[i] : i - rows) / 2 % 7);
    }
    c.label = coc_twin_copy(label, rows, sizeof *label);
    if (o & SETS) {
        c.row_set = coc_twin_copy(set, rows, sizeof *set);
        c.column_set = coc_twin_copy(set + rows, columns, sizeof *set);
    }
    if (o & TRACKS) {
        c.row_track = coc_twin_copy(track, rows, sizeof *track);
        c.column_track = coc_twin_copy(track + rows, columns, sizeof *track);
    }
    free(label);
    free(set);
    free(track);
    return c;
}

static void check_contrast(int64_t rows, int64_t columns, int d, uint32_t o)
{
    const contrast_data data = make_contrast(rows, columns, d, o);
    const coc_twin da = coc_twin_numbers(rows * d, 0, 1),
                   dp = coc_twin_numbers(columns * d, -0.01f, 0.01f);
    const coc_twin results = coc_twin_doubles(COC_CONTRAST_RESULTS, 1, 2);
    double got[COC_CONTRAST_RESULTS];
    const bool half = cuda->precision == COC_BF16; /* products may be rounded to TF32 */

    for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
        const coc_contrast c = {.rows = rows,
                                .columns = columns,
                                .d = d,
                                .a = coc_twin_on(b, data.a),
                                .p = coc_twin_on(b, data.p),
                                .label = coc_twin_on(b, data.label),
                                .row_set = coc_twin_on(b, data.row_set),
                                .column_set = coc_twin_on(b, data.column_set),
                                .row_track = coc_twin_on(b, data.row_track),
                                .column_track = coc_twin_on(b, data.column_track),
                                .mask_track = (o & MASK) != 0,
                                .scale = 1.0 / (double)rows};

        b->ops->contrast(b, &c, o & GRADIENTS ? coc_twin_on(b, da) : NULL,
                         o & GRADIENTS ? coc_twin_on(b, dp) : NULL, coc_twin_on(b, results));
    }
    if (o & GRADIENTS) {
        coc_twin_check("da", da, half ? 2e-3 : 5e-6, half ? 5e-3 : 2e-5);
        coc_twin_check("dp", dp, half ? 2e-3 : 5e-6, half ? 5e-3 : 2e-5);
    }
    coc_test_get(cuda, results.cuda, COC_CONTRAST_RESULTS, sizeof *got, got);
    for (int i = 0; i < COC_CONTRAST_RESULTS; i++) {
        const double want = ((double *)results.ref)[i];
        const bool counted = i != COC_CONTRAST_LOSS && (i != COC_CONTRAST_RIGHT || o & TIES);

        if (i == COC_CONTRAST_RIGHT && half && !(o & TIES)) continue;
        CHECK_NEAR(got[i], want, counted ? 1e-9 : (half ? 1e-3 : 2e-6) * fabs(want));
    }
    coc_twins_free();
}

/* Rows fewer and more than a block of the kernel's, columns that fill no vector; every combination
 * of what may be left out; the first of equal logits is the best. */
static void contrasts_equal_reference(void)
{
    for (uint32_t o = 0; o < ALL_OPTIONS; o++)
        check_contrast(5 + o % 3, 9 + 7 * (o % 5), 8, o);
    check_contrast(33, 700, 24, SETS | TRACKS | MASK | GRADIENTS);
    check_contrast(3, 5000, 8, TIES | TRACKS | GRADIENTS);
    check_contrast(4, 40001, 8, SETS | GRADIENTS);
    check_contrast(1050, 3, 8, TRACKS | GRADIENTS);
    check_contrast(1, 1, 8, GRADIENTS);
}

/* ---- rounding of the loss's products ---- */

enum { ROUNDED_ROWS = 48, ROUNDED_COLUMNS = 2048, ROUNDED_WIDE = 512 };

/* Of the norm of the reference's. */
static double error_of(const char *what, coc_twin t)
{
    const float *want = t.ref;
    float *got = malloc((size_t)t.count * sizeof *got);
    double off = 0, norm = 0;

    coc_test_get(cuda, t.cuda, t.count, sizeof *got, got);
    for (int64_t i = 0; i < t.count; i++) {
        off += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        norm += (double)want[i] * (double)want[i];
    }
    free(got);
    fprintf(stderr, "  %-6s %-2s %.1e of its norm off\n",
            coc_loss_precision_name(cuda->loss_precision), what, sqrt(off / norm));
    return sqrt(off / norm);
}

static void check_error(const char *what, coc_twin t, double least, double most)
{
    const double error = error_of(what, t);
    char name[32];

    snprintf(name, sizeof name, "%s, %s", what, coc_loss_precision_name(cuda->loss_precision));
    coc_test_record(name, cuda->precision, error, most);
    CHECK(error >= least && error <= most);
}

/* Numbers of a size at which COCOLA's logits have a standard deviation of 10. An error below the
 * least says that the factors were not rounded as the setting says. */
static void check_rounding(double least, double most)
{
    const coc_twin a = coc_twin_numbers(ROUNDED_ROWS * ROUNDED_WIDE, -1, 1),
                   p = coc_twin_numbers(ROUNDED_COLUMNS * ROUNDED_WIDE, -1.33f, 1.33f),
                   da = coc_twin_numbers(ROUNDED_ROWS * ROUNDED_WIDE, 0, 0),
                   dp = coc_twin_numbers(ROUNDED_COLUMNS * ROUNDED_WIDE, 0, 0),
                   results = coc_twin_doubles(COC_CONTRAST_RESULTS, 0, 0);
    int64_t label[ROUNDED_ROWS];
    coc_twin labels;

    for (int i = 0; i < ROUNDED_ROWS; i++)
        label[i] = 37 * i;
    labels = coc_twin_copy(label, ROUNDED_ROWS, sizeof *label);
    for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
        const coc_contrast c = {.rows = ROUNDED_ROWS,
                                .columns = ROUNDED_COLUMNS,
                                .d = ROUNDED_WIDE,
                                .a = coc_twin_on(b, a),
                                .p = coc_twin_on(b, p),
                                .label = coc_twin_on(b, labels),
                                .scale = 1.0 / ROUNDED_ROWS};

        b->ops->contrast(b, &c, coc_twin_on(b, da), coc_twin_on(b, dp), coc_twin_on(b, results));
    }
    check_error("da", da, least, most);
    check_error("dp", dp, least, most);
    coc_twins_free();
}

/* Each loss.precision has the error of gradients that it is said to have (docs/gpu.md), with
 * either precision of activations. */
static void precisions_have_their_errors(void)
{
    static const struct {
        coc_loss_precision precision;
        double least, most;
    } expected[] = {{COC_LOSS_FP32, 0, 5e-6},
                    {COC_LOSS_TF32, 1e-4, 2e-3},
                    {COC_LOSS_TF32X3, 0, 1e-6},
                    {COC_LOSS_BF16, 1e-3, 1e-2}};

    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const coc_model_settings settings = {.backend = "cuda",
                                             .threads = 1,
                                             .precision = i % 2 == 0 ? COC_FP32 : COC_BF16,
                                             .loss_precision = expected[i].precision};

        REQUIRE_OK(coc_backend_open(&settings, &cuda));
        CHECK(cuda->loss_precision == expected[i].precision);
        coc_twins_begin(ref, cuda, 5);
        check_rounding(expected[i].least, expected[i].most);
        coc_backend_destroy(&cuda);
    }
}

/* What is not finite stays so, in every precision: training that diverges is to be seen. */
static void what_is_not_finite_stays_so(void)
{
    enum { ROWS = 3, COLUMNS = 5, WIDE = 8 };

    for (int precision = COC_LOSS_FP32; precision <= COC_LOSS_BF16; precision++) {
        const coc_model_settings settings = {
            .backend = "cuda", .threads = 1, .loss_precision = (coc_loss_precision)precision};
        const int64_t label[ROWS] = {0, 1, 2};
        const uint32_t bits = 0x7fffffff; /* the NaN that a GPU makes */
        float a[ROWS * WIDE] = {0}, da[ROWS * WIDE];
        coc_twin here, columns, gradient, dp, results, labels;
        coc_contrast c = {.rows = ROWS, .columns = COLUMNS, .d = WIDE, .scale = 1};

        REQUIRE_OK(coc_backend_open(&settings, &cuda));
        coc_twins_begin(ref, cuda, 6);
        memcpy(&a[WIDE], &bits, sizeof bits);
        here = coc_twin_copy(a, ROWS * WIDE, sizeof *a);
        columns = coc_twin_numbers(COLUMNS * WIDE, -1, 1);
        gradient = coc_twin_numbers(ROWS * WIDE, 0, 0);
        dp = coc_twin_numbers(COLUMNS * WIDE, 0, 0);
        results = coc_twin_doubles(COC_CONTRAST_RESULTS, 0, 0);
        labels = coc_twin_copy(label, ROWS, sizeof *label);
        c.a = here.cuda;
        c.p = columns.cuda;
        c.label = labels.cuda;
        cuda->ops->contrast(cuda, &c, gradient.cuda, dp.cuda, results.cuda);
        coc_test_get(cuda, gradient.cuda, ROWS * WIDE, sizeof *da, da);
        CHECK(isfinite(da[0]) && isnan(da[WIDE]) && isfinite(da[2 * WIDE]));
        coc_twins_free();
        coc_backend_destroy(&cuda);
    }
}

/* ---- the loss, tile by tile ---- */

/* Columns i, i + tiles, ... as a tile. */
static contrast_data make_tile(const contrast_data *whole, int64_t columns, int d, int i, int tiles,
                               coc_twin *number)
{
    const int64_t most = (columns + tiles - 1) / tiles;
    float *p = malloc((size_t)(most * d) * sizeof *p);
    int64_t *numbers = malloc((size_t)most * sizeof *numbers), count = 0;
    int32_t *set = malloc((size_t)most * sizeof *set);
    uint64_t *track = malloc((size_t)most * sizeof *track);
    contrast_data t = *whole;

    for (int64_t j = i; j < columns; j += tiles, count++) {
        numbers[count] = j;
        memcpy(p + count * d, (float *)whole->p.ref + j * d, (size_t)d * sizeof *p);
        if (whole->column_set.ref != NULL) set[count] = ((int32_t *)whole->column_set.ref)[j];
        if (whole->column_track.ref != NULL)
            track[count] = ((uint64_t *)whole->column_track.ref)[j];
    }
    *number = coc_twin_copy(numbers, count, sizeof *numbers);
    t.p = coc_twin_copy(p, count * d, sizeof *p);
    if (whole->column_set.ref != NULL) t.column_set = coc_twin_copy(set, count, sizeof *set);
    if (whole->column_track.ref != NULL)
        t.column_track = coc_twin_copy(track, count, sizeof *track);
    free(p);
    free(numbers);
    free(set);
    free(track);
    return t;
}

static coc_contrast tile_on(const coc_backend *b, const contrast_data *t, coc_twin number,
                            int64_t rows, int d, uint32_t o)
{
    return (coc_contrast){.rows = rows,
                          .columns = number.count,
                          .d = d,
                          .a = coc_twin_on(b, t->a),
                          .p = coc_twin_on(b, t->p),
                          .label = coc_twin_on(b, t->label),
                          .row_set = coc_twin_on(b, t->row_set),
                          .column_set = coc_twin_on(b, t->column_set),
                          .row_track = coc_twin_on(b, t->row_track),
                          .column_track = coc_twin_on(b, t->column_track),
                          .mask_track = (o & MASK) != 0,
                          .scale = 1.0 / (double)rows,
                          .number = coc_twin_on(b, number)};
}

static void check_tiles(int64_t rows, int64_t columns, int d, uint32_t o, int tiles)
{
    enum { MOST_TILES = 9 };
    const contrast_data data = make_contrast(rows, columns, d, o);
    const coc_twin da = coc_twin_numbers(rows * d, -0.01f, 0.01f);
    const coc_twin results = coc_twin_doubles(COC_CONTRAST_RESULTS, 1, 2);
    coc_contrast_row *none = calloc((size_t)rows, sizeof *none);
    const coc_twin row = coc_twin_copy(none, rows, sizeof *none);
    const bool half = cuda->precision == COC_BF16;
    contrast_data tile[MOST_TILES];
    coc_twin number[MOST_TILES], dp[MOST_TILES];
    double got[COC_CONTRAST_RESULTS];

    for (int i = 0; i < tiles; i++) {
        tile[i] = make_tile(&data, columns, d, i, tiles, &number[i]);
        dp[i] = coc_twin_numbers(number[i].count * d, -0.01f, 0.01f);
    }
    for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
        for (int pass = 0; pass < 2; pass++)
            for (int i = tiles - 1; i >= 0; i--) {
                const coc_contrast c = tile_on(b, &tile[i], number[i], rows, d, o);

                if (pass == 0) b->ops->tile_forward(b, &c, coc_twin_on(b, row));
                if (pass == 0 && i == 0)
                    b->ops->tile_results(b, &c, coc_twin_on(b, row), coc_twin_on(b, results));
                if (pass == 1)
                    b->ops->tile_backward(b, &c, coc_twin_on(b, row), coc_twin_on(b, da),
                                          coc_twin_on(b, dp[i]));
            }
    }
    coc_twin_check("da of tiles", da, half ? 2e-3 : 5e-6, half ? 5e-3 : 2e-5);
    for (int i = 0; i < tiles; i++)
        coc_twin_check("dp of tiles", dp[i], half ? 2e-3 : 5e-6, half ? 5e-3 : 2e-5);
    coc_test_get(cuda, results.cuda, COC_CONTRAST_RESULTS, sizeof *got, got);
    for (int i = 0; i < COC_CONTRAST_RESULTS; i++) {
        const double want = ((double *)results.ref)[i];
        const bool counted = i != COC_CONTRAST_LOSS && (i != COC_CONTRAST_RIGHT || o & TIES);

        if (i == COC_CONTRAST_RIGHT && half && !(o & TIES)) continue;
        CHECK_NEAR(got[i], want, counted ? 1e-9 : (half ? 1e-3 : 2e-6) * fabs(want));
    }
    free(none);
    coc_twins_free();
}

/* The same by tiles, of one column, of none that counts, of the row's own; rows of several blocks;
 * the first of equal logits of all tiles is the best. */
static void tiles_equal_reference(void)
{
    for (uint32_t o = 0; o < GRADIENTS; o++)
        check_tiles(5 + o % 3, 9 + 7 * (o % 5), 8, o, 1 + (int)(o * 5 % 9));
    check_tiles(33, 700, 24, SETS | TRACKS | MASK, 3);
    check_tiles(3, 40001, 8, TIES | TRACKS, 2);
    check_tiles(1050, 3, 8, TRACKS | SETS, 3);
    check_tiles(1, 1, 8, 0, 1);
}

/* ---- optimizer, masks ---- */

static coc_twin make_now(double rate, int64_t update, int64_t draw_step)
{
    const coc_now now = {
        .learning_rate = rate, .update = update, .draw_step = draw_step, .clip_scale = 1};

    return coc_twin_copy(&now, 1, sizeof now);
}

static void check_updates(int64_t n, double largest)
{
    const coc_adam adam = {0.9, 0.999, 1e-8, 0.01, 0.5};
    const coc_twin grad = coc_twin_numbers(n, -1, 1), value = coc_twin_numbers(n, -1, 1);
    const coc_twin m = coc_twin_numbers(n, -0.1f, 0.1f), v = coc_twin_numbers(n, 0, 0.1f),
                   now = make_now(0.01, 3, 0);
    const coc_now *want = now.ref;
    coc_now got;

    for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b)) {
        b->ops->clip_gradient(b, n, coc_twin_on(b, grad), largest, coc_twin_on(b, now));
        b->ops->adam(b, n, &adam, coc_twin_on(b, now), coc_twin_on(b, grad), coc_twin_on(b, value),
                     coc_twin_on(b, m), coc_twin_on(b, v));
    }
    coc_test_get(cuda, now.cuda, 1, sizeof got, &got);
    CHECK_NEAR(got.norm, want->norm, 1e-12 * want->norm);
    CHECK_NEAR(got.clip_scale, want->clip_scale, 1e-12);
    CHECK(got.learning_rate == 0.01 && got.update == 3);
    check_same("m", m);
    check_same("v", v);
    check_same("value", value);
    coc_twins_free();
}

/* Norm, clipping and Adam; lengths that fill no vector. */
static void updates_equal_reference(void)
{
    check_updates(1, 0);
    check_updates(1003, 1);
    check_updates(300001, 0);
    check_updates(4096, 1e9);
}

/* After a gradient that is not finite no weight changes. */
static void nothing_after_divergence(void)
{
    const coc_adam adam = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .rate = 1};
    const float bad[3] = {1, NAN, 2};
    const coc_twin grad = coc_twin_copy(bad, 3, sizeof *bad), value = coc_twin_numbers(3, -1, 1);
    const coc_twin m = coc_twin_numbers(3, 0, 1), v = coc_twin_numbers(3, 0, 1),
                   now = make_now(0.1, 1, 0);

    cuda->ops->clip_gradient(cuda, 3, grad.cuda, 1, now.cuda);
    cuda->ops->adam(cuda, 3, &adam, now.cuda, grad.cuda, value.cuda, m.cuda, v.cuda);
    coc_twins_finish();
    coc_twin_check("value", value, 0, 0);
    coc_twin_check("m", m, 0, 0);
    coc_twin_check("v", v, 0, 0);
    coc_twins_free();
}

/* Masks are those of base/rng.h, bit for bit, for any key. */
static void masks_equal_reference(void)
{
    enum { ROWS = 19 };
    static const int64_t counts[] = {1, 2, 7, 64, 333};
    const coc_rng_key key = {.seed = 0x123456789abcdefu, .draw = COC_DRAW_DEPTH, .layer = 517};
    uint32_t pair[ROWS];
    uint8_t view[ROWS];

    for (int i = 0; i < ROWS; i++) {
        pair[i] = (uint32_t)i * 0x9e3779b9u;
        view[i] = (uint8_t)(i % 2);
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        const coc_twin pairs = coc_twin_copy(pair, ROWS, sizeof *pair),
                       now = make_now(0, 1, 0xfedcba98765);
        const coc_twin views = coc_twin_copy(view, ROWS, sizeof *view);
        const coc_twin out = coc_twin_numbers(ROWS * counts[i], 0, 1);

        for (coc_backend *b = ref; b != NULL; b = coc_twin_next(b))
            b->ops->draw_keep(b, &key, coc_twin_on(b, now), coc_twin_on(b, pairs),
                              coc_twin_on(b, views), ROWS, counts[i], 0.05 + 0.2 * (double)i,
                              coc_twin_on(b, out));
        coc_twin_check("mask", out, 0, 0);
        coc_twins_free();
    }
}

/* ---- recorded, and again ---- */

enum { CLIPS = 70, WIDE = 48, NARROW = 6, COLUMNS = 37 };

typedef struct {
    coc_twin x, dx, dpooled, w, dw, narrow, dnarrow, dbias, results, now, label, moments;
} step_data;

/* Operations that take working memory, one after another. */
static void run_step(const step_data *s)
{
    const coc_adam adam = {0.9, 0.999, 1e-8, 0, 1};
    const coc_contrast c = {.rows = CLIPS,
                            .columns = COLUMNS,
                            .d = WIDE,
                            .a = s->x.cuda,
                            .p = s->w.cuda,
                            .label = s->label.cuda,
                            .scale = 0.1};
    float *moments = s->moments.cuda;

    cuda->ops->contrast(cuda, &c, s->dx.cuda, s->dw.cuda, s->results.cuda);
    cuda->ops->linear_backward(cuda, CLIPS, WIDE, NARROW, s->x.cuda, s->w.cuda, s->narrow.cuda,
                               NULL, s->dw.cuda, s->dbias.cuda);
    cuda->ops->squeeze_backward(cuda, CLIPS, WIDE, NARROW, s->x.cuda, s->narrow.cuda, s->dx.cuda,
                                s->dx.cuda, s->w.cuda, s->w.cuda, 1, s->dpooled.cuda, s->dw.cuda,
                                s->dbias.cuda, s->dw.cuda, s->dnarrow.cuda);
    cuda->ops->clip_gradient(cuda, COLUMNS * WIDE, s->dw.cuda, 0.5, s->now.cuda);
    cuda->ops->adam(cuda, COLUMNS * WIDE, &adam, s->now.cuda, s->dw.cuda, s->w.cuda, moments,
                    moments + COLUMNS * WIDE);
}

static step_data make_step(void)
{
    int64_t label[CLIPS];
    step_data s;

    for (int i = 0; i < CLIPS; i++)
        label[i] = i % COLUMNS;
    coc_twins_begin(ref, cuda, 77);
    s.x = coc_twin_numbers(CLIPS * WIDE, -1, 1);
    s.dx = coc_twin_numbers(CLIPS * WIDE, -1, 1);
    s.dpooled = coc_twin_numbers(CLIPS * WIDE, 0, 1);
    s.w = coc_twin_numbers(COLUMNS * WIDE, -1, 1);
    s.dw = coc_twin_numbers(COLUMNS * WIDE, -1, 1);
    s.narrow = coc_twin_numbers(CLIPS * NARROW, -1, 1);
    s.dnarrow = coc_twin_numbers(CLIPS * NARROW, -1, 1);
    s.dbias = coc_twin_numbers(WIDE, -1, 1);
    s.results = coc_twin_doubles(COC_CONTRAST_RESULTS, 0, 1);
    s.now = make_now(0.01, 1, 0);
    s.label = coc_twin_copy(label, CLIPS, sizeof *label);
    s.moments = coc_twin_numbers(2 * COLUMNS * WIDE, 0, 0.1f);
    return s;
}

/* Two steps, called or recorded once and launched twice, give the same bits. */
static void recorded_calls_give_the_same_bits(void)
{
    const step_data called = make_step(), recorded = make_step();
    float want[COLUMNS * WIDE], got[COLUMNS * WIDE];
    coc_graph *graph = NULL;

    run_step(&called);
    run_step(&called);
    coc_twins_finish();
    REQUIRE_OK(cuda->device->record(cuda->device, NULL));
    run_step(&recorded);
    REQUIRE_OK(cuda->device->recorded(cuda->device, NULL, &graph));
    REQUIRE_OK(cuda->device->launch(cuda->device, graph, NULL));
    REQUIRE_OK(cuda->device->launch(cuda->device, graph, NULL));
    coc_twins_finish();
    coc_test_get(cuda, called.w.cuda, COLUMNS * WIDE, sizeof *want, want);
    coc_test_get(cuda, recorded.w.cuda, COLUMNS * WIDE, sizeof *got, got);
    CHECK(memcmp(got, want, sizeof got) == 0);
    coc_test_get(cuda, called.dpooled.cuda, COLUMNS * WIDE, sizeof *want, want);
    coc_test_get(cuda, recorded.dpooled.cuda, COLUMNS * WIDE, sizeof *got, got);
    CHECK(memcmp(got, want, sizeof got) == 0);
    cuda->device->graph_destroy(cuda->device, graph);
    coc_twins_free();
}

/* A recorded operation that needs memory which is not there fails with that text, and leaves the
 * recording and the backend of use. */
static void recording_takes_no_memory(void)
{
    enum { N = 1 << 14, D = 1 << 12 }; /* half a gigabyte */
    const step_data s = make_step();
    coc_graph *graph = NULL;

    REQUIRE_OK(cuda->device->record(cuda->device, NULL));
    cuda->ops->layer_norm_tanh_backward(cuda, N, D, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                                        NULL);
    cuda->ops->multiply(cuda, WIDE, 2, s.w.cuda, NULL, s.w.cuda);
    REQUIRE_OK(cuda->device->recorded(cuda->device, NULL, &graph));
    CHECK(cuda->ops->finish(cuda) == COC_ERR_DEVICE);
    CHECK(strstr(coc_error_text(), "working memory") != NULL);
    REQUIRE_OK(cuda->device->launch(cuda->device, graph, NULL));
    cuda->device->graph_destroy(cuda->device, graph);
    ref->ops->multiply(ref, WIDE, 2, s.w.ref, NULL, s.w.ref);
    coc_twins_finish();
    check_same("w", s.w);
    coc_twins_free();
}

int main(void)
{
    ref = coc_test_backend("ref", COC_FP32);
    for (int p = 0; p < 2; p++) {
        cuda = coc_test_backend("cuda", p == 0 ? COC_FP32 : COC_BF16);
        if (cuda == NULL) return COC_TEST_SKIPPED;
        fprintf(stderr, "%s\n", coc_precision_name(cuda->precision));
        coc_twins_begin(ref, cuda, 1);
        RUN(contrasts_equal_reference);
        RUN(tiles_equal_reference);
        RUN(updates_equal_reference);
        RUN(nothing_after_divergence);
        RUN(masks_equal_reference);
        RUN(recorded_calls_give_the_same_bits);
        RUN(recording_takes_no_memory);
        coc_backend_destroy(&cuda);
    }
    RUN(precisions_have_their_errors);
    RUN(what_is_not_finite_stays_so);
    coc_backend_destroy(&ref);
    return coc_test_result();
}
