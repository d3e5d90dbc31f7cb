/* The reference operations behind the encoder's pool, and the small ones: linear, layer norm,
 * contrast; running statistics, multiply. */
#include <math.h>
#include <string.h>

#include "model/ops.h"
#include "tests/gradients.h"
#include "tests/test.h"

static coc_backend *b;

/* ---- the dense end ---- */

enum { ROWS = 5, COLUMNS = 7, WIDTH = 6, D = 4 };

typedef struct {
    coc_test_numbers all;
    coc_contrast contrast;
    int64_t x, w, bias, gamma, beta, p;
    double y[ROWS * D], h[ROWS * D], mean[ROWS], inverse_std[ROWS];
    double results[COC_CONTRAST_RESULTS];
} head;

static const int64_t label[ROWS] = {3, 0, 6, 2, 4}; /* columns 1 and 5 belong to nobody here */
static const int32_t row_set[ROWS] = {0, 0, 1, 1, 0};
static const int32_t column_set[COLUMNS] = {0, 0, 1, 0, 0, 1, 1};
static const uint64_t row_track[ROWS] = {10, 11, 12, 13, 10};
static const uint64_t column_track[COLUMNS] = {11, 12, 13, 10, 10, 14, 12};

static void make_head(head *m, bool sets, bool tracks, bool mask)
{
    memset(m, 0, sizeof *m);
    m->x = coc_test_part(&m->all, "x", ROWS * WIDTH);
    m->w = coc_test_part(&m->all, "w", D * WIDTH);
    m->bias = coc_test_part(&m->all, "bias", D);
    m->gamma = coc_test_part(&m->all, "gamma", D);
    m->beta = coc_test_part(&m->all, "beta", D);
    m->p = coc_test_part(&m->all, "p", COLUMNS * D);
    coc_test_make_numbers(&m->all, 5);
    m->contrast = (coc_contrast){.rows = ROWS,
                                 .columns = COLUMNS,
                                 .d = D,
                                 .a = m->h,
                                 .p = m->all.value + m->p,
                                 .label = label,
                                 .row_set = sets ? row_set : NULL,
                                 .column_set = sets ? column_set : NULL,
                                 .row_track = tracks ? row_track : NULL,
                                 .column_track = tracks ? column_track : NULL,
                                 .mask_track = mask,
                                 .scale = 0.25};
}

static void head_forward(head *m)
{
    const double *value = m->all.value;

    b->ops->linear_forward(b, ROWS, WIDTH, D, value + m->x, value + m->w, value + m->bias, m->y);
    b->ops->layer_norm_tanh_forward(b, ROWS, D, m->y, value + m->gamma, value + m->beta, 1e-5, m->h,
                                    m->mean, m->inverse_std);
    memset(m->results, 0, sizeof m->results);
}

static double head_loss(void *context)
{
    head *m = context;

    head_forward(m);
    b->ops->contrast(b, &m->contrast, NULL, NULL, m->results);
    return m->results[COC_CONTRAST_LOSS];
}

static void check_head(bool sets, bool tracks, bool mask)
{
    double dh[ROWS * D], dy[ROWS * D];
    const double *value;
    double *grad;
    head m;

    make_head(&m, sets, tracks, mask);
    value = m.all.value;
    grad = m.all.grad;
    head_forward(&m);
    b->ops->contrast(b, &m.contrast, dh, grad + m.p, m.results);
    b->ops->layer_norm_tanh_backward(b, ROWS, D, m.y, m.h, m.mean, m.inverse_std, value + m.gamma,
                                     dh, dy, grad + m.gamma, grad + m.beta);
    b->ops->linear_backward(b, ROWS, WIDTH, D, value + m.x, value + m.w, dy, grad + m.x, grad + m.w,
                            grad + m.bias);
    coc_test_gradients(&m.all, head_loss, &m);
    coc_test_free_numbers(&m.all);
}

/* Gradients of linear layer, layer norm and contrast are those of differences, with all kinds of
 * columns left out. */
static void head_gradients_are_differences(void)
{
    check_head(false, false, false);
    check_head(true, false, false);
    check_head(false, true, true);
    check_head(true, true, true);
}

/* The contrast is the formula, written out directly, and counts the columns that a hand counts. */
static void contrast_counts_columns(void)
{
    static const struct {
        bool sets, tracks, mask;
        double counted, same;
    } kind[] = {
        {false, false, false, ROWS * COLUMNS, 0},
        {false, true, false, ROWS * COLUMNS, 3}, /* row 2: column 1; rows 0, 4: columns 4, 3 */
        {false, true, true, ROWS * COLUMNS - 3, 3},
        {true, false, false, 4 + 4 + 3 + 3 + 4, 0},
        {true, true, false, 4 + 4 + 3 + 3 + 4, 2}, /* row 2 no longer sees column 1 */
        {true, true, true, 3 + 4 + 3 + 3 + 3, 2},
    };

    for (size_t i = 0; i < sizeof kind / sizeof kind[0]; i++) {
        head m;

        make_head(&m, kind[i].sets, kind[i].tracks, kind[i].mask);
        (void)head_loss(&m);
        CHECK_NEAR(m.results[COC_CONTRAST_COUNTED], kind[i].counted, 0);
        CHECK_NEAR(m.results[COC_CONTRAST_SAME_TRACK], kind[i].same, 0);
        coc_test_free_numbers(&m.all);
    }
}

static double largest_difference(const double *got, const double *want, int n)
{
    double largest = 0;

    for (int i = 0; i < n; i++)
        largest = fmax(largest, fabs(got[i] - want[i]));
    return largest;
}

/* Tiles of columns, in another order than the columns', one of them with no column that counts for
 * any row of set 0, give results and gradients of the whole contrast. */
static void tiles_are_the_contrast(void)
{
    static const int64_t tile[3][4] = {{2, 5, 6}, {0, 4}, {1, 3}}, length[3] = {3, 2, 2};

    for (int kind = 0; kind < 8; kind++) {
        double da[ROWS * D], da_tiles[ROWS * D] = {0}, dp[COLUMNS * D] = {0}, p[4 * D],
                                             dp_tile[4 * D];
        double got[COC_CONTRAST_RESULTS] = {0};
        coc_contrast_row row[ROWS] = {{0}};
        head m;

        make_head(&m, kind & 1, kind & 6, (kind & 4) != 0);
        head_forward(&m);
        b->ops->contrast(b, &m.contrast, da, m.all.grad + m.p, m.results);
        for (int step = 0; step < 6; step++) {
            const int64_t *number = tile[step % 3], columns = length[step % 3];
            int32_t set[4];
            uint64_t track[4];
            coc_contrast c = m.contrast;

            for (int64_t j = 0; j < columns; j++) {
                memcpy(p + j * D, c.p + number[j] * D, D * sizeof *p);
                set[j] = column_set[number[j]];
                track[j] = column_track[number[j]];
            }
            c.columns = columns;
            c.p = p;
            c.number = number;
            c.column_set = c.row_set != NULL ? set : NULL;
            c.column_track = c.row_track != NULL ? track : NULL;
            if (step < 3) b->ops->tile_forward(b, &c, row);
            if (step == 2) b->ops->tile_results(b, &c, row, got);
            if (step < 3) continue;
            memset(dp_tile, 0, sizeof dp_tile);
            b->ops->tile_backward(b, &c, row, da_tiles, dp_tile);
            for (int64_t j = 0; j < columns; j++)
                memcpy(dp + number[j] * D, dp_tile + j * D, D * sizeof *dp);
        }
        for (int i = 0; i < COC_CONTRAST_RESULTS; i++)
            CHECK_NEAR(got[i], m.results[i], i == COC_CONTRAST_LOSS ? 1e-14 : 0);
        CHECK(largest_difference(da_tiles, da, ROWS * D) < 1e-14);
        CHECK(largest_difference(dp, m.all.grad + m.p, COLUMNS * D) < 1e-14);
        coc_test_free_numbers(&m.all);
    }
}

/* Of equal logits in several tiles the first column of all is the largest, in whatever order the
 * tiles come. */
static void first_of_equal_logits_over_tiles(void)
{
    const double a[2] = {1, 0}, p[4] = {2, 5, 2, -5};
    const int64_t own[1] = {3}, number[2][2] = {{3, 7}, {1, 3}};

    for (int order = 0; order < 2; order++) {
        coc_contrast_row row = {0};
        double results[COC_CONTRAST_RESULTS] = {0};
        coc_contrast c = {
            .rows = 1, .columns = 2, .d = 2, .a = a, .p = p, .label = own, .scale = 1};

        for (int t = 0; t < 2; t++) {
            c.number = number[(t + order) % 2];
            c.columns = c.number == number[1] ? 1 : 2; /* column 1, and columns 3 and 7 */
            b->ops->tile_forward(b, &c, &row);
            if (t == 0) CHECK(row.best == (order == 0 ? 3 : 1));
        }
        b->ops->tile_results(b, &c, &row, results);
        CHECK(row.best == 1 && row.counted == 3);
        CHECK_NEAR(results[COC_CONTRAST_RIGHT], 0, 0);
        CHECK_NEAR(results[COC_CONTRAST_LOSS], log(3), 1e-15);
    }
}

/* A loss of logits near 1e4 is finite and right: the largest is subtracted first. Without that the
 * exponential overflows. */
static void contrast_of_large_logits(void)
{
    const double a[2] = {100, 0}, p[6] = {100, 0, 100 + 1e-2, 0, 90, 0};
    const int64_t own[1] = {0};
    const coc_contrast c = {
        .rows = 1, .columns = 3, .d = 2, .a = a, .p = p, .label = own, .scale = 1};
    double results[COC_CONTRAST_RESULTS] = {0};

    b->ops->contrast(b, &c, NULL, NULL, results);
    CHECK_NEAR(results[COC_CONTRAST_LOSS], log(1 + exp(1.0)), 1e-9);
    CHECK_NEAR(results[COC_CONTRAST_RIGHT], 0, 0);
}

/* Of equal logits the first counts as the largest: a row whose label is the second is wrong. */
static void first_of_equal_logits_is_largest(void)
{
    const double a[4] = {1, 0, 1, 0}, p[4] = {2, 5, 2, -5};
    const int64_t own[2] = {0, 1};
    const coc_contrast c = {
        .rows = 2, .columns = 2, .d = 2, .a = a, .p = p, .label = own, .scale = 0.5};
    double results[COC_CONTRAST_RESULTS] = {0};

    b->ops->contrast(b, &c, NULL, NULL, results);
    CHECK_NEAR(results[COC_CONTRAST_RIGHT], 1, 0);
    CHECK_NEAR(results[COC_CONTRAST_LOSS], log(2), 1e-15);
}

/* ---- batch norm's running statistics ---- */

/* Running statistics follow PyTorch: mean and unbiased variance, averaged over the owned groups. */
static void running_statistics(void)
{
    /* one channel; group 0: values 1, 2, 3; group 1 (not owned): anything; group 2: 4, 8 */
    const double sums[6] = {6, 14, 100, 9999, 12, 80}, positions[3] = {3, 5, 2};
    const int32_t owned[3] = {1, 0, 1};
    double stat[2] = {0}, running[2] = {10, 20};

    b->ops->norm_collect(b, 1, 3, sums, positions, owned, stat);
    CHECK_NEAR(stat[0], 2 + 6, 1e-14);
    CHECK_NEAR(stat[1], 1 + 8, 1e-12);
    b->ops->running_update(b, 2, stat, 2, 0.25, &(coc_now){.norm = NAN}, running);
    CHECK(running[0] == 10 && running[1] == 20); /* the step is left out */
    b->ops->running_update(b, 2, stat, 2, 0.25, NULL, running);
    CHECK_NEAR(running[0], 0.75 * 10 + 0.25 * 4, 1e-14);
    CHECK_NEAR(running[1], 0.75 * 20 + 0.25 * 4.5, 1e-12);
}

/* In evaluation the coefficients normalise with the running statistics. */
static void fixed_statistics(void)
{
    const double mean[1] = {3}, variance[1] = {4 - 1e-3}, gamma[1] = {6}, beta[1] = {5};
    double m[1], inverse_std[1], scale[1], shift[1];

    b->ops->norm_fixed(b, 1, mean, variance, gamma, beta, 1e-3, m, inverse_std, scale, shift);
    CHECK_NEAR(m[0], 3, 0);
    CHECK_NEAR(inverse_std[0], 0.5, 1e-14);
    CHECK_NEAR(scale[0], 3, 1e-14);
    CHECK_NEAR(scale[0] * 7 + shift[0], 6 * (7 - 3) / 2.0 + 5, 1e-13);
}

/* multiply is factor * x * y, also in place and without y. */
static void multiply_in_place(void)
{
    double x[3] = {1, 2, 3}, y[3] = {4, 5, 6};

    b->ops->multiply(b, 3, 0.5, x, y, x);
    CHECK_NEAR(x[0] + 10 * x[1] + 100 * x[2], 2 + 50 + 900, 0);
    b->ops->multiply(b, 3, 2, x, NULL, y);
    CHECK_NEAR(y[0] + 10 * y[1] + 100 * y[2], 4 + 100 + 1800, 0);
}

static void additions(void)
{
    double x[3] = {1, 2, 3}, y[3] = {40, 50, 60};

    b->ops->add(b, 3, x, y);
    CHECK_NEAR(y[0] + y[1] + y[2], 41 + 52 + 63, 0);
    b->ops->add_sums(b, 2, x, y);
    CHECK_NEAR(y[0] + y[1] + y[2], 42 + 54 + 63, 0);
}

int main(void)
{
    if (coc_backend_create("ref", 1, &b) != COC_OK) return 1;
    RUN(head_gradients_are_differences);
    RUN(contrast_counts_columns);
    RUN(tiles_are_the_contrast);
    RUN(first_of_equal_logits_over_tiles);
    RUN(contrast_of_large_logits);
    RUN(first_of_equal_logits_is_largest);
    RUN(running_statistics);
    RUN(fixed_statistics);
    RUN(multiply_in_place);
    RUN(additions);
    if (b->ops->finish(b) != COC_OK) return 1;
    coc_backend_destroy(&b);
    return coc_test_result();
}
