/* Sums over leaves: the bits are those of the tree whatever leaf comes first and however many ranks
 * share them. */
#include <stdlib.h>
#include <string.h>

#include "comm/parts.h"
#include "model/tree.h"
#include "tests/test.h"

enum { MOST = 64, COUNT = 5 };

static coc_backend *backend;
static float leaves_of_batch[MOST][COUNT];

/* The sum of leaves at, at + stride, at + 2 stride, ... below n, by the definition in comm/parts.h:
 * the last sum is that of the even and the odd ones. */
static void sum_by_definition(int n, int at, int stride, float *sum)
{
    float odd[COUNT];

    if (at + stride >= n) {
        memcpy(sum, leaves_of_batch[at], sizeof odd);
        return;
    }
    sum_by_definition(n, at, 2 * stride, sum);
    sum_by_definition(n, at + stride, 2 * stride, odd);
    for (int i = 0; i < COUNT; i++)
        sum[i] += odd[i];
}

/* A rank's leaves, one pair each, the first of them in time being number `first`. */
static void sum_of_rank(const coc_parts *parts, int64_t first, float *sum)
{
    coc_tree *tree = NULL;

    REQUIRE_OK(coc_tree_create(backend, parts->count, first, COUNT, COC_TREE_REALS, &tree));
    memset(sum, 0, COUNT * sizeof *sum);
    for (int64_t i = 0; i < parts->count; i++) {
        const int64_t part = (first + i) % parts->count;
        const int64_t leaf = coc_part_at(parts, part).first;

        for (int k = 0; k < COUNT; k++) {
            CHECK(sum[k] == 0);
            sum[k] += leaves_of_batch[leaf][k];
        }
        REQUIRE_OK(coc_tree_add(tree, part, sum));
    }
    coc_tree_destroy(&tree);
}

/* What ranks hold, added as coc_comm_ops.tree_most says. */
static void sum_of_ranks(int n, int size, int64_t first, float *sum)
{
    float of_rank[MOST][COUNT];

    for (int rank = 0; rank < size; rank++) {
        const coc_comm comm = {.rank = rank, .size = size};
        coc_parts parts;

        REQUIRE_OK(coc_parts_make_leaves(&comm, n, 1, &parts));
        CHECK(parts.count == n / size && parts.rows == n / size && parts.most == 1);
        sum_of_rank(&parts, first % parts.count, of_rank[rank]);
    }
    for (int half = size / 2; half > 0; half /= 2)
        for (int rank = 0; rank < half; rank++)
            for (int k = 0; k < COUNT; k++)
                of_rank[rank][k] += of_rank[rank + half][k];
    memcpy(sum, of_rank[0], COUNT * sizeof *sum);
}

static void bits_are_those_of_the_tree(void)
{
    for (int n = 1; n <= MOST; n *= 2) {
        float want[COUNT], got[COUNT];

        sum_by_definition(n, 0, 1, want);
        for (int size = 1; size <= n; size *= 2)
            for (int64_t first = 0; first < n / size; first++) {
                sum_of_ranks(n, size, first, got);
                CHECK(memcmp(got, want, sizeof want) == 0);
            }
    }
}

/* Else the test above would pass with any order. */
static void another_order_has_other_bits(void)
{
    float want[COUNT], got[COUNT] = {0};
    int different = 0;

    sum_by_definition(MOST, 0, 1, want);
    for (int leaf = 0; leaf < MOST; leaf++)
        for (int k = 0; k < COUNT; k++)
            got[k] += leaves_of_batch[leaf][k];
    for (int k = 0; k < COUNT; k++) {
        different += got[k] != want[k];
        CHECK_NEAR(got[k], want[k], 1e-4);
    }
    CHECK(different > 0);
}

/* One sum a level in order, two from any other leaf on; none for one leaf. Doubles too, and a tree
 * can be used again. */
static void few_sums_wait(void)
{
    const int64_t bytes = COUNT * sizeof(float);
    double sum[1] = {0};
    coc_tree *tree = NULL;

    CHECK(coc_tree_bytes(1, 0, COUNT, COC_TREE_REALS) == 0);
    CHECK(coc_tree_bytes(64, 0, COUNT, COC_TREE_REALS) == 6 * bytes);
    CHECK(coc_tree_bytes(64, 63, COUNT, COC_TREE_REALS) == 7 * bytes);
    for (int64_t first = 0; first < 64; first++)
        CHECK(coc_tree_bytes(64, first, COUNT, COC_TREE_REALS) <= 12 * bytes);
    REQUIRE_OK(coc_tree_create(backend, 4, 3, 1, COC_TREE_SUMS, &tree));
    for (int step = 0; step < 3; step++) {
        *sum = 0;
        for (int64_t i = 0; i < 4; i++) {
            CHECK(*sum == 0);
            *sum += (double)(i + 1);
            REQUIRE_OK(coc_tree_add(tree, (3 + i) % 4, sum));
        }
        CHECK(*sum == 10);
    }
    coc_tree_destroy(&tree);
}

int main(void)
{
    if (coc_backend_create("ref", 1, &backend) != COC_OK) return 1;
    coc_test_random(leaves_of_batch[0], MOST * COUNT, 1);
    RUN(bits_are_those_of_the_tree);
    RUN(another_order_has_other_bits);
    RUN(few_sums_wait);
    coc_backend_destroy(&backend);
    return coc_test_result();
}
