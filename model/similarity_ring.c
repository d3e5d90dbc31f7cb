/* model/similarity_ring.c - columns pass by all ranks, one rank's after another.
 *
 * The slab of a rank is its columns P_s and what rows need to know of them. In step t a rank holds
 * the slab of the rank t before it, while the next one comes:
 *
 *     forward   t = 0 .. N-1   every row sees the slab (ops->tile_forward)
 *               then loss and counts of every row, which know its sum of exponentials now
 *     backward  t = 1 .. N-1   similarities of the slab once more, dA += dS P_s, dP_s = dS' A;
 *                              the sum of dP_s over the ranks of before comes one step behind the
 *                              slab, takes in this rank's, and goes on
 *               t = 0          the rank's own slab; the sum over all others has come home
 *
 * So all that travels does it beside a tile's work where collectives move without the host (NCCL);
 * over MPI most of it moves in the wait behind the tile. Memory six slabs, whatever K is at fixed
 * n; 8 n K d operations; 3 K d numbers received. */
#include <stdlib.h>

#include "base/clock.h"
#include "model/similarity_exchange.h"

typedef struct {
    int64_t most;     /* columns of the largest slab */
    int64_t *columns; /* [ranks] of each one's */
    /* Of the slabs of ranks 0, 1, ..., N-1, 0, 1, ..., N-1: in the order in which ranks hold them
     * at any step. */
    int64_t *bytes, *values; /* [2 ranks]: of the slab, numbers in its gradient */
    char *own, *passing[2];  /* slabs: the rank's own, the one at hand and the next */
    real *gradient[2];       /* [most][d] of the slab at hand, and of that of before, on its way */
    real *arriving;          /* [most][d] sum over the ranks of before */
    coc_contrast_row *row;   /* [n] */
    coc_request *slab, *sum; /* on their way */
    uint64_t *found;         /* [ranks] hashes of the slabs as they came */
    void *chunk;             /* of a comparison */
} ring;

/* Where things are in a slab of so many columns. */
typedef struct {
    int64_t columns;
    uint64_t *track; /* [columns] */
    int64_t *number; /* [columns] which of the batch's */
    real *p;         /* [columns][d] */
    int32_t *set;    /* [columns] */
} slab;

static ring *of(const coc_similarity *s)
{
    return s->state;
}

static slab slab_in(const coc_similarity *s, char *memory, int64_t columns)
{
    slab in = {.columns = columns};

    in.track = (uint64_t *)(void *)memory;
    in.number = (int64_t *)(in.track + columns);
    in.p = (real *)(in.number + columns);
    in.set = (int32_t *)(void *)(in.p + columns * s->d);
    return in;
}

static int64_t slab_bytes(int64_t columns, int d)
{
    return columns * (int64_t)(sizeof(uint64_t) + sizeof(int64_t) + sizeof(int32_t) +
                               (size_t)d * sizeof(real));
}

/* ---- making --------------------------------------------------------------------------------- */

static int64_t rows_of(const coc_parts *parts, int rank)
{
    coc_parts p = *parts;
    coc_batch_part last;

    p.rank = rank;
    last = coc_part_at(&p, p.count - 1);
    return last.row + last.pairs;
}

static int64_t most_columns(const coc_parts *parts)
{
    return rows_of(parts, 0); /* larger shares come first */
}

/* Of the buffers between ranks one rank alone needs none. */
static void layout(coc_similarity *s)
{
    const int ranks = s->parts.ranks;
    coc_arena *arena = &s->arena;
    ring *r = of(s);

    r->most = most_columns(&s->parts);
    r->own = coc_arena_take(arena, slab_bytes(r->most, s->d), 1);
    for (int i = 0; i < 2 && ranks > 1; i++)
        r->passing[i] = coc_arena_take(arena, slab_bytes(r->most, s->d), 1);
    for (int i = 0; i < 2; i++)
        if (ranks > 1 || i == ranks % 2)
            r->gradient[i] = coc_arena_take(arena, r->most * s->d, sizeof *r->gradient[i]);
    if (ranks > 1) r->arriving = coc_arena_take(arena, r->most * s->d, sizeof *r->arriving);
    s->results = coc_arena_take(arena, COC_CONTRAST_RESULTS, sizeof *s->results);
    r->row = coc_arena_take(arena, s->parts.rows, sizeof *r->row);
    s->p = r->own != NULL ? slab_in(s, r->own, s->parts.rows).p : NULL;
    s->dp = r->gradient[ranks % 2];
}

static int64_t bytes(const coc_parts *parts, int d)
{
    ring r = {.most = 0};
    coc_similarity s = {.state = &r, .parts = *parts, .d = d};

    layout(&s); /* an arena without memory only counts */
    return (int64_t)s.arena.used;
}

/* Sums travel with the slabs, and are added by the backend. */
static int64_t sum_bytes(const coc_parts *parts, int d)
{
    (void)parts, (void)d;
    return 0;
}

static coc_status make(coc_similarity *s)
{
    const coc_device *device = s->backend->device;
    const int ranks = s->comm->size;
    ring *r = of(s);

    COC_TRY(coc_alloc(ranks, sizeof *r->columns, &r->columns));
    COC_TRY(coc_alloc(2 * ranks, sizeof *r->bytes, &r->bytes));
    COC_TRY(coc_alloc(2 * ranks, sizeof *r->values, &r->values));
    COC_TRY(coc_alloc(ranks, sizeof *r->found, &r->found));
    for (int i = 0; i < 2 * ranks; i++) {
        r->columns[i % ranks] = rows_of(&s->parts, i % ranks);
        r->bytes[i] = slab_bytes(r->columns[i % ranks], s->d);
        r->values[i] = r->columns[i % ranks] * s->d;
    }
    return device->alloc_host(device, coc_exchange_chunk, &r->chunk);
}

static void unmake(coc_similarity *s)
{
    ring *r = of(s);

    s->backend->device->release_host(s->backend->device, r->chunk);
    free(r->columns);
    free(r->bytes);
    free(r->values);
    free(r->found);
}

/* Which columns are this rank's never changes. */
static coc_status begin(coc_similarity *s)
{
    const coc_device *device = s->backend->device;
    const int64_t rows = s->parts.rows;
    const slab own = slab_in(s, of(s)->own, rows);
    int64_t *number;
    coc_status status;

    COC_TRY(coc_alloc(rows, sizeof *number, &number));
    for (int64_t i = 0; i < s->parts.count; i++) {
        const coc_batch_part part = coc_part_at(&s->parts, i);

        for (int64_t k = 0; k < part.pairs; k++)
            number[part.row + k] = part.first + k;
    }
    COC_TRY_GOTO(status, device->zero(device, of(s)->own, (size_t)slab_bytes(rows, s->d), NULL),
                 done);
    COC_TRY_GOTO(status,
                 device->copy(device, own.number, number, (size_t)rows * sizeof *number, NULL),
                 done);
    status = device->wait(device, NULL);

done:
    free(number);
    return status;
}

/* Nothing is sent before all columns of the rank are there. */
static coc_status share(coc_similarity *s, const coc_similarity_batch *batch, int64_t i)
{
    const coc_device *device = s->backend->device;
    const coc_batch_part part = coc_part_at(&s->parts, i);
    const slab own = slab_in(s, of(s)->own, s->parts.rows);

    COC_TRY(device->copy(device, own.track + part.row, batch->column_track + part.row,
                         (size_t)part.pairs * sizeof *own.track, NULL));
    if (batch->column_set == NULL) return COC_OK;
    return device->copy(device, own.set + part.row, batch->column_set + part.first,
                        (size_t)part.pairs * sizeof *own.set, NULL);
}

/* ---- going round ---------------------------------------------------------------------------- */

/* Whose slab this rank holds in a step. */
static int owner_at(const coc_similarity *s, int step)
{
    return (s->comm->rank - step + s->comm->size) % s->comm->size;
}

/* Counts of what the ranks hold in a step, from those of two rounds. */
static const int64_t *counts_at(const coc_similarity *s, const int64_t *twice, int step)
{
    return twice + (s->comm->size - step) % s->comm->size;
}

/* The slab of this step goes on, the next one comes. */
static coc_status pass_slab(coc_similarity *s, int step, const char *held, char *next,
                            double *seconds)
{
    const double started = coc_clock_seconds();
    ring *r = of(s);
    const coc_status status =
        s->comm->ops->start_rotate(s->comm, "columns of the similarity", held, next,
                                   counts_at(s, r->bytes, step), COC_BYTE, NULL, &r->slab);

    *seconds += coc_clock_seconds() - started;
    return status;
}

/* So does the sum of the gradient at it. */
static coc_status pass_gradient(coc_similarity *s, int step, double *seconds)
{
    const double started = coc_clock_seconds();
    ring *r = of(s);
    const coc_status status = s->comm->ops->start_rotate(
        s->comm, "gradient of the columns", r->gradient[step % 2], r->arriving,
        counts_at(s, r->values, step), COC_REAL_TYPE, NULL, &r->sum);

    *seconds += coc_clock_seconds() - started;
    return status;
}

static coc_status wait_for(coc_similarity *s, coc_request **request, double *seconds)
{
    const double started = coc_clock_seconds();
    const coc_status status = s->comm->ops->wait(s->comm, request);

    *seconds += coc_clock_seconds() - started;
    return status;
}

static coc_status note_slab(coc_similarity *s, int step, const char *held)
{
    const int owner = owner_at(s, step);
    ring *r = of(s);

    r->found[owner] = 0;
    return coc_exchange_hash(s, held, r->bytes[owner], r->chunk, &r->found[owner]);
}

/* After a round: every slab has come as its owner has it. */
static coc_status check_round(const coc_similarity *s, const char *what)
{
    return coc_check_slabs(s->comm, what, of(s)->found[s->comm->rank], of(s)->found);
}

/* The contrast of the rows with the slab of this step. */
static coc_contrast tile_of(const coc_similarity *s, const coc_contrast *rows, int step, char *held)
{
    const slab in = slab_in(s, held, of(s)->columns[owner_at(s, step)]);
    coc_contrast c = *rows;

    c.columns = in.columns;
    c.p = in.p;
    c.number = in.number;
    c.column_track = in.track;
    c.column_set = c.row_set != NULL ? in.set : NULL;
    return c;
}

/* ---- the loss ------------------------------------------------------------------------------- */

/* Where a slab lies: of the first round, and of the second, which begins beside the last step of
 * the first. Of two ranks each has the other's already. */
static char *first_round(const ring *r, int step)
{
    return step == 0 ? r->own : r->passing[(step - 1) % 2];
}

static char *second_round(const coc_similarity *s, int step)
{
    const int begin = s->comm->size > 2 ? s->comm->size - 1 : 0;

    return of(s)->passing[(begin + step - 1) % 2];
}

static coc_status forward(coc_similarity *s, const coc_contrast *rows, bool checking,
                          double *seconds)
{
    const int ranks = s->comm->size;
    ring *r = of(s);

    for (int step = 0; step < ranks; step++) {
        char *held = first_round(r, step);
        const coc_contrast tile = tile_of(s, rows, step, held);

        if (step < ranks - 1)
            COC_TRY(pass_slab(s, step, held, first_round(r, step + 1), seconds));
        else if (ranks > 2)
            COC_TRY(pass_slab(s, 0, r->own, second_round(s, 1), seconds));
        if (checking) COC_TRY(note_slab(s, step, held));
        s->backend->ops->tile_forward(s->backend, &tile, r->row);
        COC_TRY(wait_for(s, &r->slab, seconds));
    }
    s->backend->ops->tile_results(s->backend, rows, r->row, s->results);
    return checking ? check_round(s, "check of the columns") : COC_OK;
}

/* What this rank's rows say of a slab, and what came of it from the ranks of before. */
static coc_status gradient_of(coc_similarity *s, const coc_contrast *rows, int step, char *held,
                              real *d_h1, double *seconds)
{
    const coc_device *device = s->backend->device;
    const coc_ops *ops = s->backend->ops;
    const coc_contrast tile = tile_of(s, rows, step % s->comm->size, held);
    const int64_t values = tile.columns * s->d;
    ring *r = of(s);
    real *gradient = r->gradient[step % 2];

    COC_TRY(device->zero(device, gradient, (size_t)values * sizeof *gradient, NULL));
    ops->tile_backward(s->backend, &tile, r->row, d_h1, gradient);
    if (step == 1) return COC_OK; /* the first rank that has it, or alone */
    COC_TRY(wait_for(s, &r->sum, seconds));
    ops->add(s->backend, values, r->arriving, gradient);
    return COC_OK;
}

static coc_status backward(coc_similarity *s, const coc_contrast *rows, bool checking, real *d_h1,
                           double *seconds)
{
    const int ranks = s->comm->size;
    ring *r = of(s);

    for (int step = 1; step < ranks; step++) {
        char *held = second_round(s, step);

        if (step < ranks - 1) COC_TRY(pass_slab(s, step, held, second_round(s, step + 1), seconds));
        if (checking) COC_TRY(note_slab(s, step, held));
        COC_TRY(gradient_of(s, rows, step, held, d_h1, seconds));
        COC_TRY(pass_gradient(s, step, seconds));
        COC_TRY(wait_for(s, &r->slab, seconds));
    }
    COC_TRY(gradient_of(s, rows, ranks, r->own, d_h1, seconds));
    return checking ? check_round(s, "check of the columns, second round") : COC_OK;
}

static coc_status go_round(coc_similarity *s, const coc_contrast *rows, bool checking, real *d_h1,
                           double *seconds)
{
    const coc_device *device = s->backend->device;
    const size_t of_d_h1 = (size_t)(s->parts.rows * s->d) * sizeof *d_h1;
    double started;
    coc_status status;

    COC_TRY(device->zero(device, of(s)->row, (size_t)s->parts.rows * sizeof *of(s)->row, NULL));
    COC_TRY(device->zero(device, d_h1, of_d_h1, NULL));
    COC_TRY(forward(s, rows, checking, seconds));
    COC_TRY(coc_exchange_sum_results(s));
    COC_TRY(backward(s, rows, checking, d_h1, seconds));
    started = coc_clock_seconds();
    status = coc_exchange_wait_all(s);
    *seconds += coc_clock_seconds() - started;
    return status;
}

static coc_status loss(coc_similarity *s, const coc_contrast *rows,
                       const coc_similarity_batch *batch, bool checking, real *d_h1,
                       double *seconds)
{
    const coc_status status = go_round(s, rows, checking, d_h1, seconds);
    ring *r = of(s);

    (void)batch; /* what is to be known of columns is in their slabs */
    if (status == COC_OK) return COC_OK;
    (void)s->comm->ops->wait(s->comm, &r->slab); /* so that none is left */
    (void)s->comm->ops->wait(s->comm, &r->sum);
    (void)coc_exchange_wait_all(s);
    return status;
}

const coc_exchange coc_exchange_ring = {.name = "ring",
                                        .state_bytes = sizeof(ring),
                                        .bytes = bytes,
                                        .sum_bytes = sum_bytes,
                                        .columns = most_columns,
                                        .tiles = true,
                                        .layout = layout,
                                        .make = make,
                                        .unmake = unmake,
                                        .begin = begin,
                                        .share = share,
                                        .loss = loss};
