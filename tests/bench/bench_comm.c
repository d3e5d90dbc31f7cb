/* What a training step's collectives cost: mpirun -n N build/tests/bench_comm [STEPS]. Printed are
 * medians over the steps, of the slowest rank where ranks differ little. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "comm/comm.h"

enum { SMALL = 100, SMALL_COUNT = 256, LARGE_COUNT = 4 << 20 };

static coc_comm *world;
static float *large;

static coc_status small_sums(void)
{
    float values[SMALL_COUNT] = {0};

    for (int i = 0; i < SMALL; i++)
        COC_TRY(coc_all_reduce(world, "small", values, SMALL_COUNT, COC_FLOAT));
    return COC_OK;
}

static coc_status large_sum(void)
{
    return coc_all_reduce(world, "large", large, LARGE_COUNT, COC_FLOAT);
}

static coc_status large_scatter(void)
{
    int64_t counts[1024];

    coc_shares(LARGE_COUNT, world->size, counts);
    return coc_reduce_scatter(world, "scatter", large, large + LARGE_COUNT, counts, COC_FLOAT);
}

static coc_status large_gather(void)
{
    int64_t counts[1024];

    coc_shares(LARGE_COUNT, world->size, counts);
    return coc_all_gather(world, "gather", large + LARGE_COUNT, large, counts, COC_FLOAT);
}

/* A sum that waits 5 ms for the last rank: what is lost beyond those 5 ms. */
static coc_status late_sum(void)
{
    float value = 0;

    if (world->rank == world->size - 1) coc_sleep_seconds(5e-3);
    return coc_all_reduce(world, "late", &value, 1, COC_FLOAT);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static coc_status measure(const char *name, coc_status (*run)(void), int steps)
{
    double *seconds = malloc((size_t)steps * sizeof *seconds);

    if (seconds == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for %d times", steps);
    for (int i = 0; i < steps; i++) {
        double begin;

        COC_TRY(coc_barrier(world, "begin"));
        begin = coc_clock_seconds();
        COC_TRY(run());
        seconds[i] = coc_clock_seconds() - begin;
    }
    qsort(seconds, (size_t)steps, sizeof *seconds, ascending);
    if (world->rank == 0)
        printf("%-36s %9.3f ms median %9.3f ms best\n", name, 1e3 * seconds[steps / 2],
               1e3 * seconds[0]);
    free(seconds);
    return COC_OK;
}

static coc_status run(int steps)
{
    const coc_comm_settings settings = {.backend = "mpi", .deadline = 60};

    COC_TRY(coc_comm_start(&settings, &world));
    large = calloc(2 * LARGE_COUNT, sizeof *large);
    if (large == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for the buffers");
    COC_TRY(measure("100 all-reduces of 1 KB", small_sums, steps));
    COC_TRY(measure("all-reduce of 16 MB", large_sum, steps));
    COC_TRY(measure("reduce-scatter of 16 MB", large_scatter, steps));
    COC_TRY(measure("all-gather of 16 MB", large_gather, steps));
    COC_TRY(measure("all-reduce, last rank 5 ms late", late_sum, steps));
    free(large);
    coc_comm_destroy(&world);
    return COC_OK;
}

int main(int argc, char **argv)
{
    const coc_status status = run(argc > 1 ? atoi(argv[1]) : 20);

    if (status != COC_OK) coc_comm_abort(status);
    coc_comm_finish();
    return 0;
}
