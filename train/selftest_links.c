/* train/selftest_links.c - what carries tensors between ranks: are its numbers right, and how long
 * does it take. On the communicator of training, in the memory where training has its tensors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "comm/device_comm.h"
#include "train/selftest.h"

typedef struct {
    coc_backend *backend;
    coc_comm *comm; /* of the device */
    float *device;  /* two buffers of `room` numbers */
    float *host;    /* [room] */
    int64_t room;
    int64_t *counts; /* [ranks] */
} carrier;

static void carrier_close(const coc_selftest *test, carrier *c)
{
    if (c->comm != NULL && c->comm != test->comm) coc_comm_destroy(&c->comm);
    if (c->backend != NULL) c->backend->device->release(c->backend->device, c->device);
    coc_backend_destroy(&c->backend);
    free(c->host);
    free(c->counts);
}

static coc_status open_memory(const coc_selftest *test, int64_t room, carrier *c)
{
    const coc_settings *s = &test->settings;
    int sharers;

    *c = (carrier){.room = room};
    COC_TRY(coc_backend_choose_device(s->model.backend, test->comm->local_rank,
                                      test->comm->local_size, s->comm.share_gpu, &sharers));
    COC_TRY(coc_backend_open(&s->model, &c->backend));
    COC_TRY(coc_alloc(room, sizeof *c->host, &c->host));
    COC_TRY(coc_alloc(test->comm->size, sizeof *c->counts, &c->counts));
    return coc_device_alloc(c->backend->device, 2 * room, sizeof *c->device, &c->device);
}

static coc_status carrier_open(const coc_selftest *test, int64_t room, carrier *c)
{
    COC_TRY(coc_comm_agree(test->comm, "memory of a self-test", open_memory(test, room, c)));
    return coc_comm_for_device(test->comm, c->backend->device, &test->settings.comm, &c->comm);
}

/* ---- collectives ---------------------------------------------------------------------------- */

/* Whole numbers whose sums over any ranks are exact in a float: another one for each rank and
 * place. */
static float number(int rank, int64_t i)
{
    return (float)((((uint32_t)i * 2654435761u) >> 22) + 31u * (uint32_t)(rank % 61));
}

static double sum_of_numbers(int ranks, int64_t i)
{
    double sum = 0;

    for (int r = 0; r < ranks; r++)
        sum += (double)number(r, i);
    return sum;
}

/* Shares as training has them: even; one more for the first ranks; and, as no training has them,
 * one rank with nothing. */
typedef enum { EVEN, UNEVEN, EMPTY, SHAPES } shape;
static const char *const shape_names[SHAPES] = {"even", "uneven", "empty"};
enum { SHARE = 3 * 4096 + 5 };

/* Sets counts; *first is where this rank's numbers begin. */
static int64_t share_out(carrier *c, shape how, int64_t *first)
{
    int64_t total = *first = 0;

    for (int r = 0; r < c->comm->size; r++) {
        c->counts[r] = how == EVEN ? SHARE : SHARE - 1 - r % 3;
        if (how == EMPTY && r == c->comm->size / 2) c->counts[r] = 0;
        if (r == c->comm->rank) *first = total;
        total += c->counts[r];
    }
    return total;
}

/* host -> device, at an offset. */
static coc_status put(const carrier *c, int64_t at, int64_t count)
{
    return coc_selftest_send(c->backend, c->device + at, c->host, count * (int64_t)sizeof(float));
}

static coc_status get(const carrier *c, int64_t at, int64_t count)
{
    COC_TRY(coc_comm_wait_device(c->comm, c->backend->device, NULL));
    return coc_selftest_fetch(c->backend, c->host, c->device + at, count * (int64_t)sizeof(float));
}

static coc_status try_gather(carrier *c, shape how, int64_t *wrong)
{
    int64_t first, place = 0;
    const int64_t total = share_out(c, how, &first);

    for (int64_t i = 0; i < c->counts[c->comm->rank]; i++)
        c->host[i] = number(c->comm->rank, i);
    COC_TRY(put(c, c->room, c->counts[c->comm->rank]));
    COC_TRY(coc_all_gather(c->comm, "self-test of all-gather", c->device + c->room, c->device,
                           c->counts, COC_FLOAT));
    COC_TRY(get(c, 0, total));
    for (int r = 0; r < c->comm->size; r++)
        for (int64_t i = 0; i < c->counts[r]; i++, place++)
            *wrong += c->host[place] != number(r, i);
    return COC_OK;
}

static coc_status try_scatter(carrier *c, shape how, int64_t *wrong)
{
    int64_t first;
    const int64_t total = share_out(c, how, &first), own = c->counts[c->comm->rank];

    for (int64_t i = 0; i < total; i++)
        c->host[i] = number(c->comm->rank, i);
    COC_TRY(put(c, 0, total));
    COC_TRY(coc_reduce_scatter(c->comm, "self-test of reduce-scatter", c->device,
                               c->device + c->room, c->counts, COC_FLOAT));
    COC_TRY(get(c, c->room, own));
    for (int64_t i = 0; i < own; i++)
        *wrong += (double)c->host[i] != sum_of_numbers(c->comm->size, first + i);
    return COC_OK;
}

static coc_status try_reduce(carrier *c, shape how, int64_t *wrong)
{
    int64_t first;
    const int64_t total = share_out(c, how, &first);

    for (int64_t i = 0; i < total; i++)
        c->host[i] = number(c->comm->rank, i);
    COC_TRY(put(c, 0, total));
    COC_TRY(coc_all_reduce(c->comm, "self-test of all-reduce", c->device, total, COC_FLOAT));
    COC_TRY(get(c, 0, total));
    for (int64_t i = 0; i < total; i++)
        *wrong += (double)c->host[i] != sum_of_numbers(c->comm->size, i);
    return COC_OK;
}

/* From each rank in turn; `how` only gives the length. */
static coc_status try_broadcast(carrier *c, shape how, int64_t *wrong)
{
    int64_t first;
    const int64_t total = share_out(c, how, &first) / c->comm->size;

    for (int root = 0; root < c->comm->size; root++) {
        for (int64_t i = 0; i < total; i++)
            c->host[i] = number(c->comm->rank, i);
        COC_TRY(put(c, 0, total));
        COC_TRY(
            coc_broadcast(c->comm, "self-test of broadcast", c->device, total, COC_FLOAT, root));
        COC_TRY(get(c, 0, total));
        for (int64_t i = 0; i < total; i++)
            *wrong += c->host[i] != number(root, i);
    }
    return COC_OK;
}

static coc_status try_rotate(carrier *c, shape how, int64_t *wrong)
{
    const int previous = (c->comm->rank + c->comm->size - 1) % c->comm->size;
    int64_t first;

    (void)share_out(c, how, &first);
    for (int64_t i = 0; i < c->counts[c->comm->rank]; i++)
        c->host[i] = number(c->comm->rank, i);
    COC_TRY(put(c, c->room, c->counts[c->comm->rank]));
    COC_TRY(coc_rotate(c->comm, "self-test of rotate", c->device + c->room, c->device, c->counts,
                       COC_FLOAT));
    COC_TRY(get(c, 0, c->counts[previous]));
    for (int64_t i = 0; i < c->counts[previous]; i++)
        *wrong += c->host[i] != number(previous, i);
    return COC_OK;
}

static const struct {
    const char *name;
    coc_status (*run)(carrier *c, shape how, int64_t *wrong);
} collectives[] = {{"all-gather", try_gather},
                   {"reduce-scatter", try_scatter},
                   {"all-reduce", try_reduce},
                   {"broadcast", try_broadcast},
                   {"rotate", try_rotate}};

static coc_status try_collectives(coc_selftest *test, const char *name, carrier *c)
{
    for (size_t k = 0; k < sizeof collectives / sizeof collectives[0]; k++) {
        int64_t wrong[SHAPES] = {0};
        double all = 0;

        for (shape how = 0; how < SHAPES; how++) {
            COC_TRY(collectives[k].run(c, how, &wrong[how]));
            all += (double)wrong[how];
        }
        COC_TRY(coc_selftest_add(test, name, collectives[k].name, all, 0,
                                 "wrong numbers, by shares: %s %lld, %s %lld, %s %lld",
                                 shape_names[EVEN], (long long)wrong[EVEN], shape_names[UNEVEN],
                                 (long long)wrong[UNEVEN], shape_names[EMPTY],
                                 (long long)wrong[EMPTY]));
    }
    return COC_OK;
}

coc_status coc_selftest_collectives(coc_selftest *test, const char *name)
{
    carrier c;
    coc_status status = carrier_open(test, (int64_t)SHARE * test->comm->size, &c);

    if (status == COC_OK) status = try_collectives(test, name, &c);
    carrier_close(test, &c);
    return status;
}

/* ---- links ---------------------------------------------------------------------------------- */

/* Numbers that go there and back: a message that only costs its start, and one long enough for the
 * start to be little beside it. The shortest of so many times counts, as others use the machine. */
enum { SHORT = 2, LONG = 1 << 20, TIMES = 12 };

/* More than so many times the median of the links of its kind, and a link is called broken. */
static const double far_slower = 4;

typedef struct {
    double start, bytes_a_second; /* seconds one way; of the link from this rank to the next */
    char host[64];                /* of this rank */
} link_report;

static coc_status there_and_back(const carrier *c, coc_comm *link, int64_t count, double *seconds)
{
    *seconds = INFINITY;
    for (int i = 0; i < TIMES; i++) {
        const double begin = coc_clock_seconds();

        COC_TRY(coc_broadcast(link, "self-test of a link", c->device, count, COC_FLOAT, 0));
        COC_TRY(coc_broadcast(link, "self-test of a link", c->device, count, COC_FLOAT, 1));
        COC_TRY(coc_comm_wait_device(link, c->backend->device, NULL));
        if (i > 0) *seconds = fmin(*seconds, coc_clock_seconds() - begin); /* the first connects */
    }
    return COC_OK;
}

static coc_status time_link(const carrier *c, int low, link_report *report)
{
    coc_comm *link = NULL;
    double few, many;
    coc_status status;

    COC_TRY(c->comm->ops->subgroup(c->comm, low, low + 1, &link));
    COC_TRY_GOTO(status, there_and_back(c, link, SHORT, &few), done);
    COC_TRY_GOTO(status, there_and_back(c, link, LONG, &many), done);
    if (low == c->comm->rank) {
        report->start = few / 2;
        report->bytes_a_second = 2 * (double)LONG * sizeof(float) / many;
    }

done:
    coc_comm_destroy(&link);
    return status;
}

/* One at a time, so that they do not share what is between them. */
static coc_status time_links(const carrier *c, link_report *report)
{
    for (int low = 0; low + 1 < c->comm->size; low++) {
        if (c->comm->rank == low || c->comm->rank == low + 1) COC_TRY(time_link(c, low, report));
        COC_TRY(coc_barrier(c->comm, "self-test of links"));
    }
    return COC_OK;
}

static bool within(const link_report *r)
{
    return strcmp(r[0].host, r[1].host) == 0;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Speed of the middle one of the links within a machine, or between machines. */
static double median_speed(const link_report *all, int links, bool within_one, double *speeds)
{
    int n = 0;

    for (int i = 0; i < links; i++)
        if (within(&all[i]) == within_one) speeds[n++] = all[i].bytes_a_second;
    qsort(speeds, (size_t)n, sizeof *speeds, by_value);
    return n > 0 ? speeds[(n - 1) / 2] : NAN;
}

static coc_status add_links(coc_selftest *test, const char *name, const link_report *all,
                            double *speeds)
{
    const int links = test->comm->size - 1;

    for (int i = 0; i < links; i++) {
        const double median = median_speed(all, links, within(&all[i]), speeds);
        char of[48];

        snprintf(of, sizeof of, "ranks %d - %d", i, i + 1);
        COC_TRY(coc_selftest_add(test, name, of, median / all[i].bytes_a_second, far_slower,
                                 "%.1f us, %.2f GB/s, %s - %s", 1e6 * all[i].start,
                                 1e-9 * all[i].bytes_a_second, all[i].host, all[i + 1].host));
    }
    return COC_OK;
}

static coc_status measure_links(coc_selftest *test, const char *name, const carrier *c)
{
    link_report own = {.start = 0}, *all = NULL;
    double *speeds = NULL;
    coc_status status;

    memcpy(own.host, test->comm->host, sizeof own.host);
    COC_TRY(time_links(c, &own));
    COC_TRY_GOTO(status, coc_alloc(test->comm->size, sizeof *all, &all), done);
    COC_TRY_GOTO(status, coc_alloc(test->comm->size, sizeof *speeds, &speeds), done);
    COC_TRY_GOTO(status, coc_gather_each(test->comm, "times of links", &own, sizeof own, all),
                 done);
    status = add_links(test, name, all, speeds);

done:
    free(all);
    free(speeds);
    return status;
}

coc_status coc_selftest_links(coc_selftest *test, const char *name)
{
    carrier c;
    coc_status status;

    if (test->comm->size == 1) return COC_OK; /* there is none */
    status = carrier_open(test, LONG, &c);
    if (status == COC_OK) status = measure_links(test, name, &c);
    carrier_close(test, &c);
    return status;
}
