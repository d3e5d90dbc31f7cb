#include "model/tree.h"

#include <stdlib.h>

#include "base/memory.h"

enum { LEVELS = 62, SIDES = 2 };

/* Level 0 are the leaves; a node's two children are 2 n and 2 n + 1, its left and its right one. */
typedef struct {
    int levels; /* below the root */
    /* Which node of a level waits for its sibling, left or right; -1: none. */
    int64_t waits[LEVELS][SIDES];
} places;

struct coc_tree {
    coc_backend *backend;
    int64_t count;
    coc_tree_values values;
    places at;
    void *sum[LEVELS][SIDES]; /* of the nodes that wait; NULL where none ever does */
};

static places places_of(int64_t leaves)
{
    places p = {.levels = 0};

    while (INT64_C(1) << p.levels < leaves)
        p.levels++;
    for (int level = 0; level < p.levels; level++)
        p.waits[level][0] = p.waits[level][1] = -1;
    return p;
}

static int side_of(int64_t leaf, int level)
{
    return (int)(leaf >> level & 1);
}

/* A leaf has come: the level of the node, with the leaf under it, that is now complete and has to
 * wait, or the root. Its siblings below wait no more. */
static int climb(places *p, int64_t leaf)
{
    for (int level = 0; level < p->levels; level++) {
        const int64_t node = leaf >> level;
        const int side = side_of(leaf, level);

        if (p->waits[level][1 - side] != (node ^ 1)) {
            p->waits[level][side] = node;
            return level;
        }
        p->waits[level][1 - side] = -1;
    }
    return p->levels;
}

static int64_t bytes_of(int64_t count, coc_tree_values values)
{
    return count * (int64_t)(values == COC_TREE_REALS ? sizeof(real) : sizeof(double));
}

/* Where sums wait while all leaves come in order: the number of such places. */
static int find_places(int64_t leaves, int64_t first, bool used[LEVELS][SIDES])
{
    places p = places_of(leaves);
    int count = 0;

    for (int64_t i = 0; i < leaves; i++) {
        const int64_t leaf = (first + i) % leaves;
        const int level = climb(&p, leaf);

        if (level == p.levels || used[level][side_of(leaf, level)]) continue;
        used[level][side_of(leaf, level)] = true;
        count++;
    }
    return count;
}

int64_t coc_tree_bytes(int64_t leaves, int64_t first, int64_t count, coc_tree_values values)
{
    bool used[LEVELS][SIDES] = {{false}};

    return find_places(leaves, first, used) * bytes_of(count, values);
}

static coc_status create_sums(coc_tree *t, int64_t leaves, int64_t first)
{
    const coc_device *device = t->backend->device;
    bool used[LEVELS][SIDES] = {{false}};

    (void)find_places(leaves, first, used);
    for (int level = 0; level < t->at.levels; level++)
        for (int side = 0; side < SIDES; side++)
            if (used[level][side])
                COC_TRY(device->alloc(device, (size_t)bytes_of(t->count, t->values),
                                      &t->sum[level][side]));
    return COC_OK;
}

coc_status coc_tree_create(coc_backend *backend, int64_t leaves, int64_t first, int64_t count,
                           coc_tree_values values, coc_tree **tree)
{
    coc_status status;

    COC_TRY(coc_alloc(1, sizeof **tree, tree));
    **tree =
        (coc_tree){.backend = backend, .count = count, .values = values, .at = places_of(leaves)};
    status = create_sums(*tree, leaves, first);
    if (status != COC_OK) coc_tree_destroy(tree);
    return status;
}

void coc_tree_destroy(coc_tree **tree)
{
    coc_tree *t = *tree;

    if (t == NULL) return;
    for (int level = 0; level < t->at.levels; level++)
        for (int side = 0; side < SIDES; side++)
            t->backend->device->release(t->backend->device, t->sum[level][side]);
    free(t);
    *tree = NULL;
}

static void add(const coc_tree *t, const void *sum, void *buffer)
{
    const coc_ops *ops = t->backend->ops;

    if (t->values == COC_TREE_REALS)
        ops->add(t->backend, t->count, sum, buffer);
    else
        ops->add_sums(t->backend, t->count, sum, buffer);
}

/* The two sides of a sum may change places: its bits stay. */
coc_status coc_tree_add(coc_tree *t, int64_t leaf, void *buffer)
{
    const coc_device *device = t->backend->device;
    const size_t bytes = (size_t)bytes_of(t->count, t->values);
    const int top = climb(&t->at, leaf);

    for (int level = 0; level < top; level++)
        add(t, t->sum[level][1 - side_of(leaf, level)], buffer);
    if (top == t->at.levels) return COC_OK;
    COC_TRY(device->copy(device, t->sum[top][side_of(leaf, top)], buffer, bytes, NULL));
    return device->zero(device, buffer, bytes, NULL);
}
