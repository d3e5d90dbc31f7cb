#include "tests/device_collectives.h"

#include <stdlib.h>
#include <string.h>

#include "tests/test.h"

enum { MOST = 16, LARGEST = 7 }; /* ranks; elements of one */

/* ---- device memory */

static void *take(coc_comm *comm, int64_t count, size_t size)
{
    void *memory = NULL;

    if (comm->ops->alloc(comm, (size_t)count * size, &memory) != COC_OK)
        coc_test_fail(__FILE__, __LINE__, "no memory: %s", coc_error_text());
    return memory;
}

static void put(const coc_device *device, void *to, const void *from, size_t bytes)
{
    CHECK(bytes == 0 || device->copy(device, to, from, bytes, NULL) == COC_OK);
    CHECK(device->wait(device, NULL) == COC_OK);
}

/* After all that the main stream was given, collectives too. */
static void get(coc_comm *comm, const coc_device *device, void *to, const void *from, size_t bytes)
{
    CHECK(device->copy(device, to, from, bytes, NULL) == COC_OK);
    CHECK(coc_comm_wait_device(comm, device, NULL) == COC_OK);
}

/* ---- collectives */

static int64_t counts_of(int64_t *counts, int size, bool equal)
{
    static const int64_t pattern[] = {3, 0, 7, 2};
    int64_t total = 0;

    for (int rank = 0; rank < size; rank++)
        total += counts[rank] = equal ? 5 : pattern[rank % 4];
    return total;
}

static int64_t begin_of(const int64_t *counts, int rank)
{
    int64_t first = 0;

    for (int i = 0; i < rank; i++)
        first += counts[i];
    return first;
}

static void gathers(coc_comm *comm, const coc_device *device, bool equal, bool in_place)
{
    int64_t counts[MOST] = {0};
    const int64_t total = counts_of(counts, comm->size, equal);
    const int64_t first = begin_of(counts, comm->rank), own = counts[comm->rank];
    int32_t values[LARGEST * MOST + 1], *send, *recv;

    send = take(comm, LARGEST, sizeof *send);
    recv = take(comm, total + 1, sizeof *recv);
    for (int64_t i = 0; i <= total; i++)
        values[i] = -1;
    put(device, recv, values, (size_t)(total + 1) * sizeof *values);
    for (int64_t i = 0; i < own; i++)
        values[i] = (int32_t)(100 * comm->rank + i);
    put(device, in_place ? recv + first : send, values, (size_t)own * sizeof *values);
    CHECK(coc_all_gather(comm, "gather", in_place ? recv + first : send, recv, counts, COC_INT32) ==
          COC_OK);
    get(comm, device, values, recv, (size_t)(total + 1) * sizeof *values);
    for (int rank = 0, at = 0; rank < comm->size; rank++)
        for (int64_t i = 0; i < counts[rank]; i++)
            CHECK(values[at++] == 100 * rank + i);
    CHECK(values[total] == -1);
    comm->ops->release(comm, send);
    comm->ops->release(comm, recv);
}

static void scatters(coc_comm *comm, const coc_device *device, bool equal)
{
    int64_t counts[MOST] = {0};
    const int64_t total = counts_of(counts, comm->size, equal);
    const int64_t first = begin_of(counts, comm->rank), own = counts[comm->rank];
    const int sum = comm->size * (comm->size + 1) / 2;
    float values[LARGEST * MOST + 1], *send, *recv;

    send = take(comm, total, sizeof *send);
    recv = take(comm, LARGEST + 1, sizeof *recv);
    for (int64_t i = 0; i <= LARGEST; i++)
        values[i] = -1;
    put(device, recv, values, (LARGEST + 1) * sizeof *values);
    for (int64_t i = 0; i < total; i++)
        values[i] = (float)((comm->rank + 1) * (i + 1));
    put(device, send, values, (size_t)total * sizeof *values);
    CHECK(coc_reduce_scatter(comm, "scatter", send, recv, counts, COC_FLOAT) == COC_OK);
    get(comm, device, values, recv, (LARGEST + 1) * sizeof *values);
    for (int64_t i = 0; i < own; i++)
        CHECK(values[i] == (float)(sum * (first + i + 1)));
    CHECK(values[own] == -1);
    comm->ops->release(comm, send);
    comm->ops->release(comm, recv);
}

static double read_as(const void *values, int i, coc_type type)
{
    switch (type) {
    case COC_BYTE:
        return ((const uint8_t *)values)[i];
    case COC_INT32:
        return ((const int32_t *)values)[i];
    case COC_INT64:
        return (double)((const int64_t *)values)[i];
    case COC_FLOAT:
        return ((const float *)values)[i];
    case COC_DOUBLE:
        break;
    }
    return ((const double *)values)[i];
}

static void write_as(void *values, int i, coc_type type, int value)
{
    switch (type) {
    case COC_BYTE:
        ((uint8_t *)values)[i] = (uint8_t)value;
        return;
    case COC_INT32:
        ((int32_t *)values)[i] = value;
        return;
    case COC_INT64:
        ((int64_t *)values)[i] = value;
        return;
    case COC_FLOAT:
        ((float *)values)[i] = (float)value;
        return;
    case COC_DOUBLE:
        ((double *)values)[i] = value;
    }
}

static void sums(coc_comm *comm, const coc_device *device, coc_type type)
{
    const int sum = comm->size * (comm->size + 1) / 2;
    double room[5]; /* of the largest type */
    void *buffer = take(comm, 5, coc_type_bytes(type));

    for (int i = 0; i < 5; i++)
        write_as(room, i, type, (comm->rank + 1) * i);
    put(device, buffer, room, 5 * coc_type_bytes(type));
    CHECK(coc_all_reduce(comm, "sum", buffer, 5, type) == COC_OK);
    get(comm, device, room, buffer, 5 * coc_type_bytes(type));
    for (int i = 0; i < 5; i++)
        CHECK(read_as(room, i, type) == sum * i);
    comm->ops->release(comm, buffer);
}

static void broadcasts(coc_comm *comm, const coc_device *device)
{
    double *buffer = take(comm, 20, sizeof *buffer);

    for (int root = 0; root < comm->size; root++) {
        double values[20];

        for (int i = 0; i < 20; i++)
            values[i] = comm->rank == root ? root * 100 + i : -1;
        put(device, buffer, values, sizeof values);
        CHECK(coc_broadcast(comm, "broadcast", buffer, 20, COC_DOUBLE, root) == COC_OK);
        get(comm, device, values, buffer, sizeof values);
        for (int i = 0; i < 20; i++)
            CHECK(values[i] == root * 100 + i);
    }
    comm->ops->release(comm, buffer);
}

/* All the way round, nothing waited for between: each rank's own comes back to it. */
static void rotates(coc_comm *comm, const coc_device *device, bool equal)
{
    int64_t counts[MOST] = {0}, now[MOST] = {0};
    int32_t values[LARGEST + 1], *slab[2];

    (void)counts_of(counts, comm->size, equal);
    for (int i = 0; i < 2; i++)
        slab[i] = take(comm, LARGEST + 1, sizeof **slab);
    for (int64_t i = 0; i <= LARGEST; i++)
        values[i] = -1;
    put(device, slab[1], values, sizeof values);
    for (int64_t i = 0; i < LARGEST; i++)
        values[i] = (int32_t)(100 * comm->rank + i);
    put(device, slab[0], values, sizeof values);
    for (int step = 0; step < comm->size; step++) {
        const int owner = (comm->rank - step - 1 + 2 * comm->size) % comm->size;

        for (int rank = 0; rank < comm->size; rank++)
            now[rank] = counts[(rank - step + comm->size) % comm->size];
        CHECK(coc_rotate(comm, "rotate", slab[step % 2], slab[1 - step % 2], now, COC_INT32) ==
              COC_OK);
        if (step > 0 && step < comm->size - 1) continue; /* without a wait */
        get(comm, device, values, slab[1 - step % 2], sizeof values);
        for (int64_t i = 0; i < counts[owner]; i++)
            CHECK(values[i] == 100 * owner + i);
        if (step == 0) CHECK(values[counts[owner]] == -1);
    }
    for (int i = 0; i < 2; i++)
        comm->ops->release(comm, slab[i]);
}

static void nothing(coc_comm *comm)
{
    int64_t counts[MOST] = {0};

    CHECK(coc_all_gather(comm, "nothing", NULL, NULL, counts, COC_FLOAT) == COC_OK);
    CHECK(coc_reduce_scatter(comm, "nothing", NULL, NULL, counts, COC_FLOAT) == COC_OK);
    CHECK(coc_all_reduce(comm, "nothing", NULL, 0, COC_FLOAT) == COC_OK);
    CHECK(coc_broadcast(comm, "nothing", NULL, 0, COC_FLOAT, 0) == COC_OK);
    CHECK(coc_rotate(comm, "nothing", NULL, NULL, counts, COC_FLOAT) == COC_OK);
}

void coc_test_collectives(coc_comm *comm, const coc_device *device)
{
    for (int equal = 0; equal < 2; equal++) {
        gathers(comm, device, equal, false);
        gathers(comm, device, equal, true);
        scatters(comm, device, equal);
        rotates(comm, device, equal);
    }
    for (int type = COC_BYTE; type <= COC_DOUBLE; type++)
        sums(comm, device, (coc_type)type);
    broadcasts(comm, device);
    nothing(comm);
    CHECK(coc_barrier(comm, "barrier") == COC_OK);
}

/* ---- order */

enum { BUCKETS = 6, LENGTH = 5000 };

/* Bucket b has LENGTH >> b values; its place in one buffer of all. */
static int64_t place_of(int b)
{
    return (int64_t)b * LENGTH;
}

void coc_test_collectives_in_order(coc_comm *comm, const coc_device *device, coc_stream *stream)
{
    const int sum = comm->size * (comm->size + 1) / 2;
    const size_t bytes = (size_t)BUCKETS * LENGTH * sizeof(float);
    float *buffer = take(comm, BUCKETS * LENGTH, sizeof *buffer);
    float *result = take(comm, BUCKETS * LENGTH, sizeof *result);
    coc_request *request[BUCKETS] = {NULL};
    void *pinned = NULL;
    float *values;

    REQUIRE_OK(device->alloc_host(device, bytes, &pinned));
    values = pinned;
    for (int round = 1; round <= 3; round++) {
        for (int64_t i = 0; i < BUCKETS * LENGTH; i++)
            values[i] = (float)((comm->rank + round) * (i % 100));
        REQUIRE_OK(device->copy(device, buffer, values, bytes, stream));
        for (int b = 0; b < BUCKETS; b++)
            REQUIRE_OK(comm->ops->start_all_reduce(comm, "bucket", buffer + place_of(b),
                                                   LENGTH >> b, COC_FLOAT, stream, &request[b]));
        for (int b = BUCKETS - 1; b >= 0; b--) {
            REQUIRE_OK(comm->ops->wait(comm, &request[b]));
            CHECK(request[b] == NULL);
            REQUIRE_OK(device->copy(device, result + place_of(b), buffer + place_of(b),
                                    (size_t)(LENGTH >> b) * sizeof(float), stream));
        }
        REQUIRE_OK(device->copy(device, values, result, bytes, stream));
        REQUIRE_OK(coc_comm_wait_device(comm, device, stream));
        for (int b = 0; b < BUCKETS; b++)
            for (int64_t i = place_of(b); i < place_of(b) + (LENGTH >> b); i += 7)
                CHECK(values[i] == (float)((sum + comm->size * (round - 1)) * (i % 100)));
    }
    device->release_host(device, pinned);
    comm->ops->release(comm, buffer);
    comm->ops->release(comm, result);
}

/* ---- groups */

void coc_test_collectives_of_groups(coc_comm *comm, const coc_device *device)
{
    const int first = comm->rank / 2 * 2;
    const int last = first + 1 < comm->size ? first + 1 : comm->size - 1;
    coc_comm *pair = NULL, *alone = NULL;

    REQUIRE_OK(comm->ops->subgroup(comm, first, last, &pair));
    CHECK(pair->size == last - first + 1 && pair->rank == comm->rank - first);
    CHECK(pair->ops->side == comm->ops->side && pair->id != comm->id);
    CHECK(pair->first == comm->first + first && pair->deadline == comm->deadline);
    CHECK(pair->local_rank == comm->local_rank && strcmp(pair->host, comm->host) == 0);
    coc_test_collectives(pair, device);
    coc_test_collectives(comm, device);
    REQUIRE_OK(pair->ops->subgroup(pair, pair->rank, pair->rank, &alone));
    CHECK(alone->size == 1 && alone->first == comm->first + comm->rank);
    coc_test_collectives(alone, device);
    coc_comm_destroy(&alone);
    coc_test_collectives(pair, device);
    coc_comm_destroy(&pair);
    coc_test_collectives(comm, device);
}
