#include "train/logit_rows.h"

/* Of 512 rows each value of a positive is used as often as it costs little to bring it; the least
 * keeps the product from becoming one of vectors where rows are very long. */
enum { MOST_ROWS = 512, LEAST_ROWS = 16, MOST_COLUMNS = 8192, LEAST_COLUMNS = 16 };

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t within(int64_t low, int64_t value, int64_t high)
{
    return value < low ? low : least(value, high);
}

/* From what all ranks know, whatever their shares: they go through slabs together. */
static void choose(int64_t n, int64_t memory, int64_t *rows, int64_t *columns)
{
    const int64_t floats = memory / (int64_t)sizeof(float);

    *rows = least(within(LEAST_ROWS, floats / n, MOST_ROWS), n);
    *columns = least(within(LEAST_COLUMNS, floats / *rows, MOST_COLUMNS), n);
}

void coc_logit_rows_bytes(int64_t n, int d, int64_t memory, coc_side side, int64_t *device,
                          int64_t *host)
{
    int64_t rows, columns;

    choose(n, memory, &rows, &columns);
    *host = rows * n * (int64_t)sizeof(float);
    *device =
        side == COC_HOST ? 0 : ((rows + columns) * d + rows * columns) * (int64_t)sizeof(float);
}

coc_status coc_logit_rows_create(coc_comm *comm, coc_backend *backend, const coc_embedded *e,
                                 int64_t memory, coc_logit_rows *l)
{
    const coc_device *device = backend->device;
    void *slab;

    *l = (coc_logit_rows){.comm = comm, .backend = backend, .e = e};
    choose(e->n, memory, &l->rows, &l->columns);
    COC_TRY(device->alloc_host(device, (size_t)(l->rows * e->n) * sizeof *l->slab, &slab));
    l->slab = slab;
    if (device->side == COC_HOST) return COC_OK;
    COC_TRY(coc_device_alloc(device, l->rows * e->d, sizeof *l->a, &l->a));
    COC_TRY(coc_device_alloc(device, l->columns * e->d, sizeof *l->p, &l->p));
    return coc_device_alloc(device, l->rows * l->columns, sizeof *l->s, &l->s);
}

void coc_logit_rows_free(coc_logit_rows *l)
{
    const coc_device *device;

    if (l->backend == NULL) return;
    device = l->backend->device;
    device->release_host(device, l->slab);
    device->release(device, l->a);
    device->release(device, l->p);
    device->release(device, l->s);
    *l = (coc_logit_rows){0};
}

/* On an accelerator: column blocks one after another, each to its place in the slab. */
static coc_status compute_tiles(coc_logit_rows *l, int64_t first, int64_t count)
{
    const coc_device *device = l->backend->device;
    const coc_embedded *e = l->e;
    const size_t row = (size_t)e->d * sizeof(float), value = sizeof *l->s;

    COC_TRY(device->copy(device, l->a, e->h1 + first * e->d, (size_t)count * row, NULL));
    for (int64_t c = 0; c < e->n; c += l->columns) {
        const int64_t columns = least(e->n - c, l->columns);
        const size_t bytes = (size_t)columns * value;

        COC_TRY(device->copy(device, l->p, e->p + c * e->d, (size_t)columns * row, NULL));
        l->backend->ops->linear_forward(l->backend, count, e->d, (int)columns, l->a, l->p, NULL,
                                        l->s);
        COC_TRY(device->copy_rows(device, l->slab + c, (size_t)e->n * value, l->s, bytes, bytes,
                                  count, NULL));
    }
    return COC_OK;
}

coc_status coc_logit_rows_compute(coc_logit_rows *l, int64_t first, int64_t count)
{
    const coc_embedded *e = l->e;

    if (l->backend->device->side == COC_HOST)
        l->backend->ops->linear_forward(l->backend, count, e->d, (int)e->n, e->h1 + first * e->d,
                                        e->p, NULL, l->slab);
    else
        COC_TRY(compute_tiles(l, first, count));
    COC_TRY(coc_comm_wait_device(l->comm, l->backend->device, NULL));
    return l->backend->ops->finish(l->backend);
}
