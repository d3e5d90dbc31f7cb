/* Gradients of the loss over the entries that matter: against all entries, the reference, and what
 * is left out counted by hand. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "model/ops.h"
#include "tests/test.h"

static coc_backend *ref, *cpu;

enum { SETS = 1, TRACKS = 2, MASK = 4, KINDS = 8 };

typedef struct {
    coc_contrast c;
    float *a, *p;
    int64_t *label;
    int32_t *row_set, *column_set;
    uint64_t *row_track, *column_track;
} loss;

typedef struct {
    float *da, *dp;
    double results[COC_CONTRAST_RESULTS];
} gradient;

static void *room(int64_t count, size_t size)
{
    void *memory = calloc((size_t)count, size);

    if (memory == NULL) abort();
    return memory;
}

static float *normals(int64_t n, double std, uint64_t seed)
{
    const coc_rng_key key = {.seed = seed, .draw = COC_DRAW_TEST};
    float *x = room(n, sizeof *x);

    coc_rng_normal(&key, 0, n, x);
    for (int64_t i = 0; i < n; i++)
        x[i] *= (float)std;
    return x;
}

/* Embeddings whose logits have the given standard deviation. */
static loss make_loss(int64_t rows, int64_t columns, int d, double std, int kind)
{
    const double each = sqrt(std / sqrt(d));
    loss l = {.a = normals(rows * d, each, 3),
              .p = normals(columns * d, each, 4),
              .label = room(rows, sizeof *l.label),
              .row_set = room(rows, sizeof *l.row_set),
              .column_set = room(columns, sizeof *l.column_set),
              .row_track = room(rows, sizeof *l.row_track),
              .column_track = room(columns, sizeof *l.column_track)};

    for (int64_t i = 0; i < rows; i++) {
        l.label[i] = (i * 7 + 3) % columns;
        l.row_set[i] = (int32_t)(i * 11 % 3);
        l.row_track[i] = (uint64_t)(i * 5 % 41);
    }
    for (int64_t j = 0; j < columns; j++) {
        l.column_set[j] = (int32_t)(j * 13 % 3);
        l.column_track[j] = (uint64_t)(j * 17 % 41);
    }
    l.c = (coc_contrast){.rows = rows,
                         .columns = columns,
                         .d = d,
                         .a = l.a,
                         .p = l.p,
                         .label = l.label,
                         .row_set = kind & SETS ? l.row_set : NULL,
                         .column_set = kind & SETS ? l.column_set : NULL,
                         .row_track = kind & (TRACKS | MASK) ? l.row_track : NULL,
                         .column_track = kind & (TRACKS | MASK) ? l.column_track : NULL,
                         .mask_track = (kind & MASK) != 0,
                         .scale = 1.0 / (double)columns};
    return l;
}

static void free_loss(loss *l)
{
    free(l->a);
    free(l->p);
    free(l->label);
    free(l->row_set);
    free(l->column_set);
    free(l->row_track);
    free(l->column_track);
}

static gradient differentiate(coc_backend *b, const loss *l, bool screen)
{
    coc_contrast c = l->c;
    gradient g = {.da = room(c.rows * c.d, sizeof *g.da),
                  .dp = room(c.columns * c.d, sizeof *g.dp)};

    c.screen = screen;
    b->ops->contrast(b, &c, g.da, g.dp, g.results);
    return g;
}

static void free_gradient(gradient *g)
{
    free(g->da);
    free(g->dp);
}

static void check_error(const char *what, const float *got, const float *want, int64_t n,
                        double most)
{
    const double error = coc_test_relative_error(got, want, n);

    if (!(error <= most)) coc_test_fail(__FILE__, __LINE__, "%s is off by %g", what, error);
}

/* Loss, right rows and counts are those of the dense calculation, to the bit. */
static void check_same_loss(const gradient *a, const gradient *b)
{
    CHECK(memcmp(a->results, b->results, COC_CONTRAST_KEPT * sizeof(double)) == 0);
}

static void check_screened(int64_t rows, int64_t columns, int d, double std, int kind)
{
    loss l = make_loss(rows, columns, d, std, kind);
    gradient want = differentiate(ref, &l, true), dense = differentiate(cpu, &l, false);
    gradient got = differentiate(cpu, &l, true);
    const double *r = got.results;

    check_same_loss(&got, &dense);
    CHECK(r[COC_CONTRAST_BLOCKS] > 0 && r[COC_CONTRAST_DENSE] == 0);
    CHECK(r[COC_CONTRAST_KEPT] >= (double)rows);
    CHECK(r[COC_CONTRAST_KEPT] < 0.1 * r[COC_CONTRAST_COUNTED]);
    CHECK(r[COC_CONTRAST_DROPPED] > 0 && r[COC_CONTRAST_DROPPED] <= 1e-7 * (double)rows);
    CHECK(want.results[COC_CONTRAST_KEPT] == want.results[COC_CONTRAST_COUNTED]);
    /* logits of up to 90 in float: 1e-5 of an exponential; to each other they are closer */
    check_error("da", got.da, want.da, rows * d, 1e-5);
    check_error("dp", got.dp, want.dp, columns * d, 1e-5);
    check_error("da beside dense", got.da, dense.da, rows * d, 5e-7);
    check_error("dp beside dense", got.dp, dense.dp, columns * d, 5e-7);
    free_gradient(&want);
    free_gradient(&dense);
    free_gradient(&got);
    free_loss(&l);
}

/* Peaked rows: few entries are kept, and the gradients are those of all of them, for every kind of
 * column that is left out, several blocks, and shapes that fill neither vectors nor tiles. */
static void few_entries_give_the_gradient(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        check_screened(131, 1301, 24, 20, kind);
    check_screened(1100, 1201, 64, 20, TRACKS);
    check_screened(70, 9001, 33, 10, SETS);
}

/* Columns are the unit vectors, so that da holds the entries themselves: those that are 0 have been
 * left out, and their weight is summed here, in double. It is what the results say, and no more of
 * any row than 1e-7 of its other columns' weight. A threshold that is too high fails. */
static void what_is_left_out_is_what_is_said(void)
{
    enum { ROWS = 90, D = 1500 };
    loss l = make_loss(ROWS, D, D, 1, 0);
    double dropped = 0, most = 0;
    int64_t kept = 0;
    gradient g;

    free(l.a);
    l.c.a = l.a = normals(ROWS * D, 16, 8);
    memset(l.p, 0, sizeof(float) * D * D);
    for (int i = 0; i < D; i++)
        l.p[i * D + i] = 1;
    g = differentiate(cpu, &l, true);
    CHECK(g.results[COC_CONTRAST_DENSE] == 0);
    for (int i = 0; i < ROWS; i++) {
        double sum = 0, zeros = 0, top = -INFINITY;

        for (int j = 0; j < D; j++)
            top = fmax(top, l.a[i * D + j]);
        for (int j = 0; j < D; j++) {
            const double e = j == l.label[i] ? 0 : exp(l.a[i * D + j] - top);

            sum += e;
            zeros += g.da[i * D + j] == 0 ? e : 0;
            kept += g.da[i * D + j] != 0;
        }
        CHECK(g.da[i * D + l.label[i]] < 0);
        dropped += zeros / sum;
        most = fmax(most, zeros / sum);
    }
    CHECK(most <= 1e-7 * (1 + 1e-5));
    CHECK(most > 2e-8); /* and not much less than is allowed, or nothing is gained */
    CHECK_NEAR(g.results[COC_CONTRAST_DROPPED], dropped, 1e-5 * dropped);
    CHECK_NEAR(g.results[COC_CONTRAST_KEPT], (double)kept, 0);
    free_gradient(&g);
    free_loss(&l);
}

static void check_dense(int64_t rows, int64_t columns, int d, double std)
{
    loss l = make_loss(rows, columns, d, std, 0);
    gradient dense = differentiate(cpu, &l, false), got = differentiate(cpu, &l, true);

    CHECK(got.results[COC_CONTRAST_BLOCKS] > 0);
    CHECK(got.results[COC_CONTRAST_DENSE] == got.results[COC_CONTRAST_BLOCKS]);
    CHECK(got.results[COC_CONTRAST_KEPT] == got.results[COC_CONTRAST_COUNTED]);
    CHECK(got.results[COC_CONTRAST_DROPPED] == 0);
    check_same_loss(&got, &dense);
    CHECK(memcmp(got.da, dense.da, sizeof(float) * (size_t)(rows * d)) == 0);
    CHECK(memcmp(got.dp, dense.dp, sizeof(float) * (size_t)(columns * d)) == 0);
    free_gradient(&dense);
    free_gradient(&got);
    free_loss(&l);
}

/* Flat rows, as of a model that has learned nothing, need all entries: then the bits are those of
 * the dense calculation. */
static void flat_rows_fall_back(void)
{
    check_dense(200, 900, 32, 3);
    check_dense(1030, 700, 16, 0.1);
    check_dense(3, 2, 8, 10); /* nothing to leave out */
    check_dense(1, 1, 4, 10);
}

/* Flat rows take their own block to the dense products, and no other; a single one does not. */
static void blocks_fall_back_alone(void)
{
    enum { ROWS = 1024, COLUMNS = 1301, D = 24, SINGLE = 77, FLAT = 600, FLAT_ROWS = 300 };
    loss l = make_loss(ROWS, COLUMNS, D, 20, 0);
    gradient dense, got;

    for (int k = 0; k < FLAT_ROWS * D; k++)
        l.a[FLAT * D + k] *= 1e-3f;
    for (int k = 0; k < D; k++)
        l.a[SINGLE * D + k] *= 1e-3f;
    dense = differentiate(cpu, &l, false);
    got = differentiate(cpu, &l, true);
    CHECK(got.results[COC_CONTRAST_BLOCKS] == 2 && got.results[COC_CONTRAST_DENSE] == 1);
    CHECK(got.results[COC_CONTRAST_KEPT] > COLUMNS * 513.0);
    CHECK(got.results[COC_CONTRAST_KEPT] < COLUMNS * 512.0 * 1.1);
    check_same_loss(&got, &dense);
    check_error("da", got.da, dense.da, ROWS * D, 5e-7);
    check_error("dp", got.dp, dense.dp, COLUMNS * D, 5e-7);
    CHECK(memcmp(got.da + 512 * D, dense.da + 512 * D, sizeof(float) * 512 * D) == 0);
    free_gradient(&dense);
    free_gradient(&got);
    free_loss(&l);
}

/* The own column becomes the row times a factor: its logit is 16 above all others. */
static void learn_row(loss *l, int64_t row)
{
    const float *a = l->a + row * l->c.d;
    double top = 0, square = 0;

    for (int64_t j = 0; j < l->c.columns; j++) {
        double logit = 0;

        for (int k = 0; k < l->c.d && j != l->label[row]; k++)
            logit += (double)a[k] * (double)l->p[j * l->c.d + k];
        top = fmax(top, logit);
    }
    for (int k = 0; k < l->c.d; k++)
        square += (double)a[k] * (double)a[k];
    for (int k = 0; k < l->c.d; k++)
        l->p[l->label[row] * l->c.d + k] = (float)((top + 16) / square) * a[k];
}

/* Rows that have been learned have a small gradient, of all columns but the own one: its relative
 * error stays what it is elsewhere, with and without screening. */
static void learned_rows_keep_their_gradient(void)
{
    enum { ROWS = 64, COLUMNS = 1301, D = 32 };
    loss l = make_loss(ROWS, COLUMNS, D, 20, 0);
    gradient want, got[2];

    for (int i = 0; i < 4 * ROWS; i++) /* again, as a row's own column is another's negative */
        learn_row(&l, i % ROWS);
    want = differentiate(ref, &l, false);
    for (int screen = 0; screen < 2; screen++) {
        got[screen] = differentiate(cpu, &l, screen);
        CHECK(got[screen].results[COC_CONTRAST_DENSE] == 0);
        CHECK_NEAR(got[screen].results[COC_CONTRAST_LOSS], want.results[COC_CONTRAST_LOSS],
                   2e-5 * want.results[COC_CONTRAST_LOSS]);
        for (int i = 0; i < ROWS; i++)
            check_error("a row of da", got[screen].da + i * D, want.da + i * D, D, 5e-5);
    }
    CHECK(want.results[COC_CONTRAST_LOSS] < 1e-3); /* they have been learned */
    free_gradient(&want);
    free_gradient(&got[0]);
    free_gradient(&got[1]);
    free_loss(&l);
}

/* A row that sees no column but its own has loss and gradient 0; one that holds no numbers shows.
 */
static void rows_without_others(void)
{
    enum { ROWS = 64, COLUMNS = 1301, D = 32 };
    loss l = make_loss(ROWS, COLUMNS, D, 20, SETS);
    gradient g;

    l.row_set[5] = 77;
    g = differentiate(cpu, &l, true);
    CHECK(g.results[COC_CONTRAST_DENSE] == 0);
    for (int k = 0; k < D; k++)
        CHECK(g.da[5 * D + k] == 0);
    CHECK(isfinite(g.results[COC_CONTRAST_LOSS]));
    free_gradient(&g);
    l.a[9 * D] = NAN;
    g = differentiate(cpu, &l, true);
    CHECK(isnan(g.results[COC_CONTRAST_LOSS]));
    free_gradient(&g);
    free_loss(&l);
}

/* The same threads give the same bits; another number of them gives the same but for rounding. */
static void threads_change_rounding_alone(void)
{
    enum { ROWS = 600, COLUMNS = 1301, D = 24 };
    loss l = make_loss(ROWS, COLUMNS, D, 20, TRACKS);
    coc_backend *three;
    gradient two, first, again;

    REQUIRE_OK(coc_backend_create("cpu", 3, &three));
    two = differentiate(cpu, &l, true);
    first = differentiate(three, &l, true);
    again = differentiate(three, &l, true);
    CHECK(memcmp(first.da, again.da, sizeof(float) * ROWS * D) == 0);
    CHECK(memcmp(first.dp, again.dp, sizeof(float) * COLUMNS * D) == 0);
    CHECK(memcmp(first.results, again.results, sizeof first.results) == 0);
    check_error("da", first.da, two.da, ROWS * D, 3e-7);
    check_error("dp", first.dp, two.dp, COLUMNS * D, 3e-7);
    free_gradient(&two);
    free_gradient(&first);
    free_gradient(&again);
    coc_backend_destroy(&three);
    free_loss(&l);
}

int main(void)
{
    if (coc_backend_create("ref", 1, &ref) != COC_OK) return 1;
    if (coc_backend_create("cpu", 2, &cpu) != COC_OK) {
        fprintf(stderr, "%s\n", coc_error_text());
        return COC_TEST_SKIPPED;
    }
    RUN(few_entries_give_the_gradient);
    RUN(what_is_left_out_is_what_is_said);
    RUN(flat_rows_fall_back);
    RUN(blocks_fall_back_alone);
    RUN(learned_rows_keep_their_gradient);
    RUN(rows_without_others);
    RUN(threads_change_rounding_alone);
    if (cpu->ops->finish(cpu) != COC_OK) return 1;
    coc_backend_destroy(&ref);
    coc_backend_destroy(&cpu);
    return coc_test_result();
}
