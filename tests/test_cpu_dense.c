/* The fast operations that are not convolutions against the reference ones, on shapes that are no
 * multiples of vectors, blocks or threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "model/ops.h"
#include "tests/test.h"

/* Products of up to 2,000 terms in float: rounding of about sqrt(2,000) * 6e-8. */
static const double TOLERANCE = 3e-6;

static coc_backend *ref, *cpu;

static uint32_t seed;

/* Numbers that differ from call to call; freed by the caller. */
static float *numbers(int64_t n, float scale)
{
    float *values = malloc((size_t)n * sizeof *values);

    if (values == NULL) abort();
    coc_test_random(values, n, ++seed);
    for (int64_t i = 0; i < n; i++)
        values[i] *= scale;
    return values;
}

/* Two buffers with the same numbers: one for each backend. */
typedef struct {
    int64_t n;
    float *ref, *cpu;
} twin;

static twin make_twin(int64_t n)
{
    const twin t = {n, numbers(n, 1), malloc((size_t)n * sizeof(float))};

    if (t.cpu == NULL) abort();
    memcpy(t.cpu, t.ref, (size_t)n * sizeof(float));
    return t;
}

/* Both must hold the same, by norm; frees them. */
static void check_twin(const char *what, twin t, double tolerance)
{
    const double error = coc_test_relative_error(t.cpu, t.ref, t.n);

    if (!(error <= tolerance)) coc_test_fail(__FILE__, __LINE__, "%s is off by %g", what, error);
    free(t.ref);
    free(t.cpu);
}

/* ---- between convolutions ---- */

typedef struct {
    int64_t n, positions;
    int channels;
} shape;

static const shape shapes[] = {{3, 1, 8},    {5, 33, 24},   {2, 70, 40},
                               {4, 500, 16}, {1, 129, 112}, {7, 65, 3}};
enum { SHAPES = sizeof shapes / sizeof shapes[0], GROUPS = 3 };

static const int32_t group[7] = {0, 2, 1, 0, 2, 1, 1};

static coc_norm make_norm(int channels, bool silu)
{
    return (coc_norm){.scale = numbers(GROUPS * channels, 2),
                      .shift = numbers(GROUPS * channels, 1),
                      .group = group,
                      .silu = silu};
}

static void free_norm(const coc_norm *norm)
{
    free((void *)norm->scale);
    free((void *)norm->shift);
}

static void check_pool(const shape *s, const coc_norm *norm)
{
    float *x = numbers(s->n * s->positions * s->channels, 1);
    const twin out = make_twin(s->n * s->channels);

    ref->ops->pool_forward(ref, s->n, s->positions, s->channels, x, norm, out.ref);
    cpu->ops->pool_forward(cpu, s->n, s->positions, s->channels, x, norm, out.cpu);
    check_twin("pool", out, TOLERANCE);
    free(x);
}

/* The pool is the reference's for every way of reading a tensor. */
static void pools_agree(void)
{
    for (int i = 0; i < SHAPES; i++) {
        const coc_norm silu = make_norm(shapes[i].channels, true);
        const coc_norm plain = make_norm(shapes[i].channels, false);

        check_pool(&shapes[i], &silu);
        check_pool(&shapes[i], &plain);
        check_pool(&shapes[i], NULL);
        free_norm(&silu);
        free_norm(&plain);
    }
}

static void check_join(const shape *s, const float *clip, bool skip)
{
    const int64_t count = s->n * s->positions * s->channels;
    const coc_norm norm = make_norm(s->channels, false);
    float *x = numbers(count, 1), *other = numbers(count, 1);
    const twin out = make_twin(count);

    ref->ops->join_forward(ref, s->n, s->positions, s->channels, x, &norm, clip,
                           skip ? other : NULL, out.ref);
    cpu->ops->join_forward(cpu, s->n, s->positions, s->channels, x, &norm, clip,
                           skip ? other : NULL, out.cpu);
    check_twin("join", out, 3e-7); /* one rounding a value */
    free(x);
    free(other);
    free_norm(&norm);
}

/* The join is the reference's with and without factor and skip. */
static void joins_agree(void)
{
    static const float clip[7] = {1.25f, 0, 1.25f, 2, 0, 1, 3};

    for (int i = 0; i < SHAPES; i++)
        for (int kind = 0; kind < 4; kind++)
            check_join(&shapes[i], kind % 2 != 0 ? clip : NULL, kind / 2 != 0);
}

/* Squeeze and excitation, both directions; weight gradients are added to what is there. */
static void squeezes_agree(void)
{
    static const int size[][3] = {{5, 8, 1}, {3, 96, 4}, {64, 672, 28}, {1, 40, 10}, {2, 7, 3}};

    for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
        const int64_t n = size[i][0];
        const int c = size[i][1], r = size[i][2];
        float *pooled = numbers(n * c, 1), *w1 = numbers(r * c, 0.3f), *b1 = numbers(r, 1);
        float *w2 = numbers(c * r, 1), *b2 = numbers(c, 1), *dgate = numbers(n * c, 1);
        const twin hidden = make_twin(n * r), gate = make_twin(n * c), dpooled = make_twin(n * c);
        const twin dw1 = make_twin(r * c), db1 = make_twin(r), dw2 = make_twin(c * r);
        const twin db2 = make_twin(c);

        ref->ops->squeeze_forward(ref, n, c, r, pooled, w1, b1, w2, b2, hidden.ref, gate.ref);
        cpu->ops->squeeze_forward(cpu, n, c, r, pooled, w1, b1, w2, b2, hidden.cpu, gate.cpu);
        ref->ops->squeeze_backward(ref, n, c, r, pooled, hidden.ref, gate.ref, dgate, w1, w2, 0.01,
                                   dpooled.ref, dw1.ref, db1.ref, dw2.ref, db2.ref);
        cpu->ops->squeeze_backward(cpu, n, c, r, pooled, hidden.cpu, gate.cpu, dgate, w1, w2, 0.01,
                                   dpooled.cpu, dw1.cpu, db1.cpu, dw2.cpu, db2.cpu);
        check_twin("hidden", hidden, TOLERANCE);
        check_twin("gate", gate, TOLERANCE);
        check_twin("dpooled", dpooled, TOLERANCE);
        check_twin("dw1", dw1, TOLERANCE);
        check_twin("db1", db1, TOLERANCE);
        check_twin("dw2", dw2, TOLERANCE);
        check_twin("db2", db2, TOLERANCE);
        free(pooled);
        free(w1);
        free(b1);
        free(w2);
        free(b2);
        free(dgate);
    }
}

/* ---- dense ---- */

static void check_linear(int64_t n, int in, int out, bool bias, bool input)
{
    float *x = numbers(n * in, 1), *w = numbers((int64_t)out * in, 1), *v = numbers(out, 1);
    float *dy = numbers(n * out, 1);
    const twin y = make_twin(n * out), dx = make_twin(n * in);
    const twin dw = make_twin((int64_t)out * in), db = make_twin(out);

    ref->ops->linear_forward(ref, n, in, out, x, w, bias ? v : NULL, y.ref);
    cpu->ops->linear_forward(cpu, n, in, out, x, w, bias ? v : NULL, y.cpu);
    ref->ops->linear_backward(ref, n, in, out, x, w, dy, input ? dx.ref : NULL, dw.ref,
                              bias ? db.ref : NULL);
    cpu->ops->linear_backward(cpu, n, in, out, x, w, dy, input ? dx.cpu : NULL, dw.cpu,
                              bias ? db.cpu : NULL);
    check_twin("linear", y, TOLERANCE);
    check_twin("dx", dx, TOLERANCE);
    check_twin("dw", dw, TOLERANCE);
    check_twin("dbias", db, TOLERANCE);
    free(x);
    free(w);
    free(v);
    free(dy);
}

/* Linear layers of any size, with and without bias and input gradient: outputs are set (whatever
 * was there), weight gradients added to. */
static void linear_layers_agree(void)
{
    check_linear(1, 1, 1, true, true);
    check_linear(3, 17, 5, true, false);
    check_linear(64, 1280, 512, true, true);
    check_linear(7, 300, 33, false, true);
    check_linear(129, 31, 257, true, true);
}

/* ---- loss ---- */

typedef struct {
    coc_contrast c;
    float *a, *p;
    int64_t *label;
    int32_t *row_set, *column_set;
    uint64_t *row_track, *column_track;
} loss;

static uint32_t pick(uint32_t element, uint32_t below)
{
    const coc_rng_key key = {.seed = 31, .draw = COC_DRAW_TEST};

    return (uint32_t)((double)coc_rng_uniform(&key, element) * below);
}

/* kind: 1 sets, 2 tracks, 4 tracks masked */
static loss make_loss(int64_t rows, int64_t columns, int d, float scale, int kind)
{
    loss l = {.a = numbers(rows * d, scale),
              .p = numbers(columns * d, scale),
              .label = malloc((size_t)rows * sizeof(int64_t)),
              .row_set = malloc((size_t)rows * sizeof(int32_t)),
              .column_set = malloc((size_t)columns * sizeof(int32_t)),
              .row_track = malloc((size_t)rows * sizeof(uint64_t)),
              .column_track = malloc((size_t)columns * sizeof(uint64_t))};

    for (int64_t i = 0; i < rows; i++) {
        l.label[i] = (i * 7 + 3) % columns;
        l.row_set[i] = (int32_t)pick((uint32_t)i, 2);
        l.row_track[i] = pick((uint32_t)(i + 10000), 9) + ((uint64_t)1 << 40);
    }
    for (int64_t j = 0; j < columns; j++) {
        l.column_set[j] = (int32_t)pick((uint32_t)(j + 20000), 2);
        l.column_track[j] = pick((uint32_t)(j + 30000), 9) + ((uint64_t)1 << 40);
    }
    l.c = (coc_contrast){.rows = rows,
                         .columns = columns,
                         .d = d,
                         .a = l.a,
                         .p = l.p,
                         .label = l.label,
                         .row_set = kind & 1 ? l.row_set : NULL,
                         .column_set = kind & 1 ? l.column_set : NULL,
                         .row_track = kind & 6 ? l.row_track : NULL,
                         .column_track = kind & 6 ? l.column_track : NULL,
                         .mask_track = (kind & 4) != 0,
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

static void check_results(const double *got, const double *want)
{
    CHECK_NEAR(got[COC_CONTRAST_LOSS], want[COC_CONTRAST_LOSS],
               1e-6 * fabs(want[COC_CONTRAST_LOSS]));
    for (int i = COC_CONTRAST_RIGHT; i < COC_CONTRAST_RESULTS; i++)
        CHECK_NEAR(got[i], want[i], 0);
}

static void check_contrast(int64_t rows, int64_t columns, int d, float scale, int kind)
{
    loss l = make_loss(rows, columns, d, scale, kind);
    double want[COC_CONTRAST_RESULTS] = {0}, got[COC_CONTRAST_RESULTS] = {0};
    double only[COC_CONTRAST_RESULTS] = {0};
    const twin da = make_twin(rows * d), dp = make_twin(columns * d);

    ref->ops->contrast(ref, &l.c, da.ref, dp.ref, want);
    cpu->ops->contrast(cpu, &l.c, da.cpu, dp.cpu, got);
    cpu->ops->contrast(cpu, &l.c, NULL, NULL, only);
    check_results(got, want);
    check_results(only, want);
    check_twin("da", da, 1e-5); /* logits of up to 30, in float: 2e-6 of every exponential */
    check_twin("dp", dp, 1e-5);
    free_loss(&l);
}

/* The loss, its counts and gradients for more and fewer rows than columns and than a block of rows,
 * small and large logits, all masks; dP is added to what is there. */
static void contrasts_agree(void)
{
    for (int kind = 0; kind < 8; kind++) {
        check_contrast(1, 1, 4, 1, kind);
        check_contrast(5, 37, 16, 1, kind);
        check_contrast(33, 9, 24, 2, kind);
    }
    check_contrast(300, 210, 64, 1, 0);
    check_contrast(130, 1031, 32, 3, 5);
}

/* What a tile holds: every so many-th column from one on. */
typedef struct {
    int64_t count, *number;
    float *p, *dp;
    int32_t *set;
    uint64_t *track;
} tile;

static tile make_tile(const coc_contrast *c, int64_t first, int64_t step)
{
    tile t = {.number = malloc((size_t)c->columns * sizeof(int64_t)),
              .p = malloc((size_t)(c->columns * c->d) * sizeof(float)),
              .dp = malloc((size_t)(c->columns * c->d) * sizeof(float)),
              .set = malloc((size_t)c->columns * sizeof(int32_t)),
              .track = malloc((size_t)c->columns * sizeof(uint64_t))};

    for (int64_t j = first; j < c->columns; j += step, t.count++) {
        t.number[t.count] = j;
        memcpy(t.p + t.count * c->d, c->p + j * c->d, (size_t)c->d * sizeof(float));
        if (c->column_set != NULL) t.set[t.count] = c->column_set[j];
        if (c->column_track != NULL) t.track[t.count] = c->column_track[j];
    }
    return t;
}

static void free_tile(tile *t)
{
    free(t->number);
    free(t->p);
    free(t->dp);
    free(t->set);
    free(t->track);
}

static coc_contrast contrast_of(const coc_contrast *whole, const tile *t)
{
    coc_contrast c = *whole;

    c.columns = t->count;
    c.number = t->number;
    c.p = t->p;
    if (c.column_set != NULL) c.column_set = t->set;
    if (c.column_track != NULL) c.column_track = t->track;
    return c;
}

/* The contrast of the reference, by `tiles` tiles of the fast backend, the last first. */
static void check_tiles(int64_t rows, int64_t columns, int d, float scale, int kind, int tiles)
{
    loss l = make_loss(rows, columns, d, scale, kind);
    double want[COC_CONTRAST_RESULTS] = {0}, got[COC_CONTRAST_RESULTS] = {0};
    coc_contrast_row *row = calloc((size_t)rows, sizeof *row);
    const twin da = make_twin(rows * d), dp = make_twin(columns * d);

    memset(da.cpu, 0, (size_t)(rows * d) * sizeof(float));
    ref->ops->contrast(ref, &l.c, da.ref, dp.ref, want);
    for (int i = tiles - 1; i >= 0; i--) {
        tile t = make_tile(&l.c, i, tiles);
        const coc_contrast c = contrast_of(&l.c, &t);

        cpu->ops->tile_forward(cpu, &c, row);
        free_tile(&t);
    }
    cpu->ops->tile_results(cpu, &l.c, row, got);
    check_results(got, want);
    for (int i = tiles - 1; i >= 0; i--) {
        tile t = make_tile(&l.c, i, tiles);
        const coc_contrast c = contrast_of(&l.c, &t);

        for (int64_t j = 0; j < t.count; j++)
            memcpy(t.dp + j * d, dp.cpu + t.number[j] * d, (size_t)d * sizeof(float));
        cpu->ops->tile_backward(cpu, &c, row, da.cpu, t.dp);
        for (int64_t j = 0; j < t.count; j++)
            memcpy(dp.cpu + t.number[j] * d, t.dp + j * d, (size_t)d * sizeof(float));
        free_tile(&t);
    }
    check_twin("da of tiles", da, 1e-5); /* as for the contrast */
    check_twin("dp of tiles", dp, 1e-5);
    free(row);
    free_loss(&l);
}

/* The loss tile by tile: results and gradients of the whole, with tiles that hold one column, none
 * of a row's set, or its own; more and fewer rows than a block; gradients are added to what is
 * there. */
static void tiles_agree(void)
{
    for (int kind = 0; kind < 8; kind++) {
        check_tiles(1, 1, 4, 1, kind, 1);
        check_tiles(5, 37, 16, 1, kind, 37);
        check_tiles(33, 9, 24, 2, kind, 2);
    }
    check_tiles(300, 210, 64, 1, 0, 3);
    check_tiles(130, 1031, 32, 3, 5, 4);
    check_tiles(40, 40, 8, 0, 0, 3); /* all logits equal: the first of all counts as the largest */
}

/* Equal logits: the first is the largest, wherever vectors end. Zero embeddings make all equal. */
static void first_of_equal_logits_is_largest(void)
{
    loss l = make_loss(40, 40, 8, 0, 0);
    double results[COC_CONTRAST_RESULTS] = {0};

    for (int64_t i = 0; i < 40; i++)
        l.label[i] = i;
    cpu->ops->contrast(cpu, &l.c, NULL, NULL, results);
    CHECK_NEAR(results[COC_CONTRAST_RIGHT], 1, 0);
    CHECK_NEAR(results[COC_CONTRAST_LOSS], log(40), 1e-6);
    free_loss(&l);
}

/* An embedding that is not a number must show in the loss: the trainer ends on it. */
static void nan_reaches_the_loss(void)
{
    loss l = make_loss(20, 20, 8, 1, 0);
    double results[COC_CONTRAST_RESULTS] = {0};
    coc_contrast_row row[20] = {{0}};

    l.a[5] = NAN;
    cpu->ops->contrast(cpu, &l.c, NULL, NULL, results);
    CHECK(isnan(results[COC_CONTRAST_LOSS]));
    results[COC_CONTRAST_LOSS] = 0;
    cpu->ops->tile_forward(cpu, &l.c, row);
    cpu->ops->tile_results(cpu, &l.c, row, results);
    CHECK(isnan(results[COC_CONTRAST_LOSS]));
    free_loss(&l);
}

/* ---- optimizer ---- */

/* Adam's update is the reference's to float rounding, with decay and clipping. */
static void adam_agrees(void)
{
    enum { N = 50021 };
    const coc_adam adam = {
        .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01, .rate = 0.5};
    const coc_now now = {.learning_rate = 2e-2, .clip_scale = 0.7, .update = 5};
    const twin value = make_twin(N), m = make_twin(N), v = make_twin(N);
    float *grad = numbers(N, 1);

    for (int i = 0; i < N; i++)
        v.cpu[i] = v.ref[i] = v.ref[i] * v.ref[i];
    ref->ops->adam(ref, N, &adam, &now, grad, value.ref, m.ref, v.ref);
    cpu->ops->adam(cpu, N, &adam, &now, grad, value.cpu, m.cpu, v.cpu);
    check_twin("value", value, 3e-7);
    check_twin("m", m, 3e-7);
    check_twin("v", v, 3e-7);
    free(grad);
}

/* A sum of two has one rounding: the same bits. */
static void additions_agree(void)
{
    for (int64_t n = 1; n < 100000; n = 9 * n + 4) {
        const twin out = make_twin(n);
        float *x = numbers(n, 3);

        ref->ops->add(ref, n, x, out.ref);
        cpu->ops->add(cpu, n, x, out.cpu);
        check_twin("addition", out, 0);
        free(x);
    }
}

/* ---- the same bits ---- */

static void run_everything(coc_backend *b, float *out, double *sums)
{
    coc_now now = {0};
    loss l;
    float *x, *w;

    seed = 1000;
    x = numbers(100 * 300, 1);
    w = numbers(70 * 300, 1);
    b->ops->linear_forward(b, 100, 300, 70, x, w, NULL, out);
    memset(out + 7000, 0, 21000 * sizeof *out);
    b->ops->linear_backward(b, 100, 300, 70, x, w, out, NULL, out + 7000, NULL);
    b->ops->clip_gradient(b, 30000, x, 0, &now);
    sums[COC_CONTRAST_RESULTS] = now.norm;
    l = make_loss(150, 140, 20, 1, 2);
    memset(out + 31000, 0, 2800 * sizeof *out);
    b->ops->contrast(b, &l.c, out + 28000, out + 31000, sums);
    free_loss(&l);
    free(x);
    free(w);
}

/* Two runs with the same threads give the same bits, also with more threads than cores; and the sum
 * of squares, from which the clipping factor comes, is the same for any number of threads. */
static void runs_repeat_bit_for_bit(void)
{
    enum { COUNT = 33800 };
    static float first[COUNT], again[COUNT];
    double sums[3][COC_CONTRAST_RESULTS + 1] = {{0}};
    coc_backend *three;

    REQUIRE_OK(coc_backend_create("cpu", 3, &three));
    run_everything(three, first, sums[0]);
    run_everything(three, again, sums[1]);
    CHECK(memcmp(first, again, sizeof first) == 0);
    CHECK(memcmp(sums[0], sums[1], sizeof sums[0]) == 0);
    run_everything(cpu, again, sums[2]);
    CHECK(sums[0][COC_CONTRAST_RESULTS] == sums[2][COC_CONTRAST_RESULTS]);
    coc_backend_destroy(&three);
}

/* What a clip's forward pass gives has the same bits whatever batch it is in and however many
 * threads work: N ranks round as one rank does. A product whose sums depend on the number of rows
 * fails. */
static void rows_do_not_depend_on_the_batch(void)
{
    enum { N = 61, C = 330, R = 21, ROW = 37 };
    float *x = numbers(N * C, 1), *w1 = numbers(R * C, 1), *w2 = numbers(C * R, 1);
    float *b1 = numbers(R, 1), *b2 = numbers(C, 1), *hidden = numbers(N * R, 1);
    float *gate = numbers(N * C, 1), *alone = numbers(C, 1), *y = numbers(N * R, 1);
    coc_backend *three;

    REQUIRE_OK(coc_backend_create("cpu", 3, &three));
    cpu->ops->squeeze_forward(cpu, N, C, R, x, w1, b1, w2, b2, hidden, gate);
    three->ops->squeeze_forward(three, 1, C, R, x + ROW * C, w1, b1, w2, b2, y, alone);
    CHECK(memcmp(alone, gate + ROW * C, C * sizeof(float)) == 0);
    cpu->ops->linear_forward(cpu, N, C, R, x, w1, b1, y);
    three->ops->linear_forward(three, 2, C, R, x + (ROW - 1) * C, w1, b1, alone);
    CHECK(memcmp(alone + R, y + ROW * R, R * sizeof(float)) == 0);
    cpu->ops->pool_forward(cpu, N, C / 10, 10, x, NULL, gate);
    three->ops->pool_forward(three, 1, C / 10, 10, x + ROW * C, NULL, alone);
    CHECK(memcmp(alone, gate + ROW * 10, 10 * sizeof(float)) == 0);
    coc_backend_destroy(&three);
    free(x);
    free(w1);
    free(w2);
    free(b1);
    free(b2);
    free(hidden);
    free(gate);
    free(alone);
    free(y);
}

int main(void)
{
    if (coc_backend_create("ref", 1, &ref) != COC_OK) return 1;
    if (coc_backend_create("cpu", 2, &cpu) != COC_OK) {
        fprintf(stderr, "%s\n", coc_error_text());
        return COC_TEST_SKIPPED;
    }
    RUN(pools_agree);
    RUN(joins_agree);
    RUN(squeezes_agree);
    RUN(linear_layers_agree);
    RUN(contrasts_agree);
    RUN(tiles_agree);
    RUN(first_of_equal_logits_is_largest);
    RUN(nan_reaches_the_loss);
    RUN(adam_agrees);
    RUN(additions_agree);
    RUN(runs_repeat_bit_for_bit);
    RUN(rows_do_not_depend_on_the_batch);
    if (cpu->ops->finish(cpu) != COC_OK) return 1;
    coc_backend_destroy(&ref);
    coc_backend_destroy(&cpu);
    return coc_test_result();
}
