/* The figures of an evaluation against their definitions, from the whole matrix of similarities.
 * Embeddings are small whole numbers: every product is exact, in any order of its sum, and many
 * similarities are equal. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "tests/test.h"
#include "train/measure.h"
#include "train/orders.h"

enum { N = 131, D = 6, TRACKS = 9, ORDERS = 7, RESAMPLINGS = 60, SEED = 5 };

static coc_comm *comm;
static coc_backend *backend;

/* ---- pairs, and what the definitions say of them --------------------------------------------- */

typedef struct {
    float h1[N * D], p[N * D], s[N][N];
    uint64_t track[N];
    int64_t rank[N];
} pairs;

static pairs all;

static coc_embedded embedded_of(pairs *x, int64_t n)
{
    return (coc_embedded){.n = n, .count = n, .d = D, .h1 = x->h1, .p = x->p, .track = x->track};
}

static void fill_similarities(pairs *x)
{
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < N; j++) {
            x->s[i][j] = 0;
            for (int c = 0; c < D; c++)
                x->s[i][j] += x->h1[i * D + c] * x->p[j * D + c];
        }
    for (int64_t i = 0; i < N; i++) {
        x->rank[i] = 1;
        for (int64_t j = 0; j < N; j++)
            x->rank[i] += j != i && !(x->s[i][j] < x->s[i][i]);
    }
}

/* Whole numbers of at most `size`; a positive is like its anchor in every other value, so that
 * ranks are neither all 1 nor by chance. Tracks of uneven sizes, whose ids are no neighbours. */
static void fill_pairs(pairs *x, float size)
{
    coc_test_random(x->h1, N * D, 1);
    coc_test_random(x->p, N * D, 2);
    for (int i = 0; i < N * D; i++) {
        x->h1[i] = rintf(size * x->h1[i]);
        x->p[i] = i % 2 == 0 ? x->h1[i] : rintf(size * x->p[i]);
    }
    for (int i = 0; i < N; i++)
        x->track[i] =
            UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)((i % 3 == 0 ? i / 3 : i * i) % TRACKS + 1);
    fill_similarities(x);
}

/* One batch of the definition: rows that are right, loss, columns of the own track. */
typedef struct {
    double right[N], seen[N], loss, same_track;
    int64_t batches;
} brute;

static void brute_batch(const pairs *x, const int32_t *member, int64_t k, brute *b)
{
    for (int64_t i = 0; i < k; i++) {
        const float *s = x->s[member[i]];
        int64_t best = 0;
        double sum = 0;

        for (int64_t j = 0; j < k; j++) {
            if (s[member[j]] > s[member[best]]) best = j;
            b->same_track += j != i && x->track[member[j]] == x->track[member[i]];
        }
        for (int64_t j = 0; j < k; j++)
            sum += exp((double)s[member[j]] - (double)s[member[best]]);
        b->right[member[i]] += best == i;
        b->seen[member[i]] += 1;
        b->loss += log(sum) + (double)s[member[best]] - (double)s[member[i]];
    }
    b->batches++;
}

static void brute_accuracy(const pairs *x, int64_t k, int64_t orders, bool file_order, brute *b)
{
    coc_orders o;

    memset(b, 0, sizeof *b);
    REQUIRE_OK(coc_orders_create(N, 0, N, orders, file_order, SEED, 1 << 20, &o));
    CHECK(o.held == o.all);
    coc_orders_fill(&o, 0);
    for (int64_t f = 0; f < (k == N ? 1 : o.all); f++)
        for (int64_t at = 0; at + k <= N; at += k)
            brute_batch(x, o.order + f * N + at, k, b);
    coc_orders_free(&o);
}

/* The tracks of a resampling, by their place among sorted ids, as often as they were drawn. */
static int64_t drawn_rows(const pairs *x, int64_t number, int64_t *row)
{
    coc_rng_sequence draws = coc_rng_sequence_begin(
        (coc_rng_key){.seed = SEED, .draw = COC_DRAW_BOOTSTRAP, .item = (uint32_t)number});
    uint64_t id[TRACKS];
    int64_t ids = 0, rows = 0;

    for (uint64_t last = 0;; last = id[ids++]) { /* ids from the least on */
        uint64_t next = UINT64_MAX;

        for (int i = 0; i < N; i++)
            if (x->track[i] > last && x->track[i] < next) next = x->track[i];
        if (next == UINT64_MAX) break;
        id[ids] = next;
    }
    for (int64_t t = 0; t < ids; t++) {
        const uint64_t it = id[coc_rng_next_below(&draws, (uint32_t)ids)];

        for (int64_t i = 0; i < N; i++)
            if (x->track[i] == it) row[rows++] = i;
    }
    return rows;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* value [RESAMPLINGS] of a figure; its interval must be this one. */
static void check_interval(double *value, double low, double high)
{
    qsort(value, RESAMPLINGS, sizeof *value, compare_doubles);
    CHECK_NEAR(low, value[1], 1e-12);                /* 0.025 * 59 = 1.475, down */
    CHECK_NEAR(high, value[RESAMPLINGS - 2], 1e-12); /* 0.975 * 59 = 57.525, up */
}

static void check_accuracy(const pairs *x, const coc_accuracy *a, int64_t k, bool file_order)
{
    static int64_t row[N * TRACKS];
    double right = 0, seen = 0, value[RESAMPLINGS];
    static brute b;

    brute_accuracy(x, k, ORDERS, file_order, &b);
    for (int i = 0; i < N; i++) {
        right += b.right[i];
        seen += b.seen[i];
    }
    CHECK(a->k == k && a->pairs == N && a->tracks == TRACKS && a->batches == b.batches);
    CHECK_NEAR(a->accuracy, right / seen, 1e-15);
    CHECK_NEAR(a->loss, b.loss / seen, 1e-12 * (1 + fabs(b.loss / seen)));
    CHECK_NEAR(a->same_track, b.same_track / seen, 1e-12);
    CHECK_NEAR(a->chance, 1 / (double)k, 1e-15);
    for (int r = 0; r < RESAMPLINGS; r++) {
        const int64_t rows = drawn_rows(x, r, row);

        right = seen = 0;
        for (int64_t i = 0; i < rows; i++) {
            right += b.right[row[i]];
            seen += b.seen[row[i]];
        }
        value[r] = right / seen;
    }
    check_interval(value, a->low, a->high);
}

/* ---- accuracy ------------------------------------------------------------------------------- */

static void check_accuracies(bool file_order, int64_t memory)
{
    static const int64_t ks[] = {2, 5, 32, N - 1, N};
    enum { KS = sizeof ks / sizeof ks[0] };
    const coc_embedded e = embedded_of(&all, N);
    const coc_measure_settings settings = {.k = ks,
                                           .ks = KS,
                                           .orders = ORDERS,
                                           .file_order = file_order,
                                           .bootstrap = RESAMPLINGS,
                                           .seed = SEED,
                                           .memory = memory};
    coc_accuracy a[KS];

    REQUIRE_OK(coc_measure(comm, backend, &e, &settings, a, NULL));
    for (int i = 0; i < KS; i++)
        check_accuracy(&all, &a[i], ks[i], file_order);
}

/* Accuracy, loss, columns of the own track and intervals at any K up to all pairs are those of the
 * batches taken one by one, in shuffled and in file order; with so little memory that there are
 * many slabs of rows (16 each) and one order at a time, too. */
static void accuracy_is_that_of_batches(void)
{
    fill_pairs(&all, 2.4f);
    check_accuracies(false, 0);
    check_accuracies(true, 0);
    check_accuracies(false, 1);
}

/* The same where logits differ by so much that a batch's exponentials vanish beside the largest of
 * the row (exp(-745) is 0 in double). */
static void far_logits_keep_their_loss(void)
{
    fill_pairs(&all, 40.0f);
    check_accuracies(false, 0);
}

/* Orders that do not fit into memory together are the ones that come when they do. */
static void orders_do_not_depend_on_memory(void)
{
    coc_orders whole, parts;

    REQUIRE_OK(coc_orders_create(N, 10, 50, 5, false, SEED, 1 << 20, &whole));
    REQUIRE_OK(coc_orders_create(N, 10, 50, 5, false, SEED, 2 * 2 * N * 4, &parts));
    CHECK(whole.held == 5 && parts.held == 2);
    coc_orders_fill(&whole, 0);
    for (int64_t begin = 0; begin < 5; begin += parts.held) {
        coc_orders_fill(&parts, begin);
        CHECK(parts.filled == (begin == 4 ? 1 : 2));
        CHECK(memcmp(parts.order, whole.order + begin * N,
                     (size_t)(parts.filled * N) * sizeof *parts.order) == 0);
        for (int64_t f = 0; f < parts.filled; f++)
            for (int64_t i = 0; i < 50; i++)
                CHECK(parts.order[f * N + parts.place[f * 50 + i]] == 10 + i);
    }
    coc_orders_free(&whole);
    coc_orders_free(&parts);
}

/* ---- ranks ---------------------------------------------------------------------------------- */

static int compare_ranks(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

enum { MEDIAN, RECALL, RECIPROCAL = RECALL + COC_RECALLS, FIGURES };

/* Of some rows, each as often as it is there. */
static void brute_figures(const pairs *x, const int64_t *row, int64_t rows, double *figure)
{
    static int64_t rank[N * TRACKS];

    memset(figure, 0, FIGURES * sizeof *figure);
    for (int64_t i = 0; i < rows; i++) {
        rank[i] = x->rank[row[i]];
        for (int r = 0; r < COC_RECALLS; r++)
            figure[RECALL + r] += (rank[i] <= coc_recall_at[r]) / (double)rows;
        figure[RECIPROCAL] += 1 / (double)rank[i] / (double)rows;
    }
    qsort(rank, (size_t)rows, sizeof *rank, compare_ranks);
    figure[MEDIAN] = (double)(rank[(rows - 1) / 2] + rank[rows / 2]) / 2;
}

static void check_figures(const pairs *x, const coc_retrieval *r)
{
    const coc_figure *got[FIGURES] = {&r->median_rank, &r->recall[0], &r->recall[1], &r->recall[2],
                                      &r->mean_reciprocal_rank};
    static double value[FIGURES][RESAMPLINGS];
    static int64_t row[N * TRACKS];
    double want[FIGURES];

    for (int64_t i = 0; i < N; i++)
        row[i] = i;
    brute_figures(x, row, N, want);
    for (int f = 0; f < FIGURES; f++)
        CHECK_NEAR(got[f]->value, want[f], 1e-12);
    for (int b = 0; b < RESAMPLINGS; b++) {
        brute_figures(x, row, drawn_rows(x, b, row), want);
        for (int f = 0; f < FIGURES; f++)
            value[f][b] = want[f];
    }
    for (int f = 0; f < FIGURES; f++)
        check_interval(value[f], got[f]->low, got[f]->high);
}

static coc_status retrieve(pairs *x, int64_t n, int64_t memory, coc_retrieval *r)
{
    const int64_t k = n;
    const coc_embedded e = embedded_of(x, n);
    const coc_measure_settings settings = {.k = &k,
                                           .ks = 1,
                                           .orders = ORDERS,
                                           .bootstrap = RESAMPLINGS,
                                           .seed = SEED,
                                           .memory = memory};
    coc_accuracy a;

    return coc_measure(comm, backend, &e, &settings, &a, r);
}

/* Median rank, recall, mean reciprocal rank and their intervals, ties and all. */
static void ranks_are_those_of_all_similarities(void)
{
    coc_retrieval r, small;
    double same = 0;

    fill_pairs(&all, 2.4f);
    REQUIRE_OK(retrieve(&all, N, 0, &r));
    REQUIRE_OK(retrieve(&all, N, 1, &small));
    check_figures(&all, &r);
    check_figures(&all, &small);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            same += j != i && all.track[i] == all.track[j];
    CHECK(r.pairs == N && r.tracks == TRACKS);
    CHECK_NEAR(r.same_track, same / N, 1e-12);
    CHECK_NEAR(r.median_rank.chance, (N + 1) / 2.0, 1e-12);
    CHECK_NEAR(r.recall[2].chance, 10.0 / N, 1e-12);
}

/* Both curves begin and end where they must, and accuracy at K is the mean over every batch of K
 * that could be drawn. */
static void curves_are_exact(void)
{
    enum { FEW = 9, K = 4 };
    coc_retrieval r;
    double right = 0, batches = 0;
    int within = 0;

    fill_pairs(&all, 2.4f);
    REQUIRE_OK(retrieve(&all, FEW, 0, &r));
    REQUIRE(r.points == FEW && r.k[0] == 1 && r.k[K - 1] == K && r.k[FEW - 1] == FEW);
    for (int i = 0; i < FEW; i++) {
        int rank = 0;

        for (int j = 0; j < FEW; j++)
            rank += !(all.s[i][j] < all.s[i][i]);
        within += rank <= K;
        for (unsigned set = 0; set < 1u << FEW; set++) {
            bool first = true;

            if (__builtin_popcount(set) != K || (set >> i & 1) == 0) continue;
            for (int j = 0; j < FEW; j++)
                if (j != i && (set >> j & 1) != 0) first = first && all.s[i][j] < all.s[i][i];
            right += first;
            batches++;
        }
    }
    CHECK_NEAR(r.accuracy_curve[K - 1], right / batches, 1e-12);
    CHECK_NEAR(r.recall_curve[K - 1], within / (double)FEW, 1e-12);
    CHECK_NEAR(r.accuracy_curve[0], 1, 1e-12);
    CHECK_NEAR(r.accuracy_curve[FEW - 1], r.recall[0].value, 1e-12);
    CHECK_NEAR(r.recall_curve[FEW - 1], 1, 1e-12);
}

/* With an even number of rows the median lies between the two in the middle. */
static void median_of_two_is_between(void)
{
    coc_retrieval r;

    memset(&all, 0, sizeof all);
    all.h1[0] = all.h1[D] = all.p[0] = 1; /* both anchors are like the first positive */
    all.track[1] = 1;
    REQUIRE_OK(retrieve(&all, 2, 0, &r));
    CHECK_NEAR(r.median_rank.value, 1.5, 0);
    CHECK_NEAR(r.median_rank.low, 1, 0); /* the first track, twice */
    CHECK_NEAR(r.median_rank.high, 2, 0);
    CHECK_NEAR(r.mean_reciprocal_rank.value, 0.75, 1e-15);
}

/* An encoder that gives everything one embedding finds nothing: it is not rewarded for ties. */
static void one_embedding_for_all_ranks_last(void)
{
    coc_retrieval r;

    fill_pairs(&all, 2.4f);
    for (int i = 0; i < N * D; i++)
        all.h1[i] = all.p[i] = 1;
    REQUIRE_OK(retrieve(&all, N, 0, &r));
    CHECK_NEAR(r.median_rank.value, N, 0);
    CHECK_NEAR(r.recall[2].value, 0, 0);
    CHECK_NEAR(r.mean_reciprocal_rank.value, 1.0 / N, 1e-12);
}

/* A positive that is no number comes last in its own row and before the own one in every other. */
static void no_number_is_never_found(void)
{
    coc_retrieval sound, broken;
    double want = 0;

    fill_pairs(&all, 2.4f);
    REQUIRE_OK(retrieve(&all, N, 0, &sound));
    all.p[3 * D] = NAN;
    fill_similarities(&all);
    CHECK(all.rank[3] == N);
    REQUIRE_OK(retrieve(&all, N, 0, &broken));
    for (int i = 0; i < N; i++)
        want += 1 / (double)all.rank[i] / N;
    CHECK_NEAR(broken.mean_reciprocal_rank.value, want, 1e-12);
    CHECK(broken.mean_reciprocal_rank.value < sound.mean_reciprocal_rank.value);
}

/* A K that no batch can have is refused. */
static void too_large_a_batch_is_refused(void)
{
    const int64_t k = N + 1;
    const coc_embedded e = embedded_of(&all, N);
    const coc_measure_settings settings = {.k = &k, .ks = 1, .orders = 1};
    coc_accuracy a;

    CHECK(coc_measure(comm, backend, &e, &settings, &a, NULL) == COC_ERR_USAGE);
    CHECK(strstr(coc_error_text(), "K = 132") != NULL);
}

static void run_on_backend(void)
{
    RUN(accuracy_is_that_of_batches);
    RUN(far_logits_keep_their_loss);
    RUN(ranks_are_those_of_all_similarities);
    RUN(curves_are_exact);
    RUN(median_of_two_is_between);
    RUN(one_embedding_for_all_ranks_last);
    RUN(no_number_is_never_found);
    RUN(too_large_a_batch_is_refused);
}

int main(void)
{
    if (coc_comm_self(&comm) != COC_OK) return 1;
    RUN(orders_do_not_depend_on_memory);
    for (const char *const *b = coc_backend_names(); *b != NULL; b++) {
        const coc_status status = coc_backend_create(*b, 0, &backend);

        if (status == COC_ERR_DEVICE) { /* a GPU is a thing that a machine can lack */
            fprintf(stderr, "  left out: %s\n", coc_error_text());
            continue;
        }
        fprintf(stderr, "  backend %s\n", *b);
        run_on_backend();
        coc_backend_destroy(&backend);
    }
    coc_comm_destroy(&comm);
    return coc_test_result();
}
