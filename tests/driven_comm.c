/* A program on ranks that goes wrong as it is told, for e2e_watchdog.sh:
 *
 *     driven_comm DEADLINE SCENARIO [RANK]
 *
 *     run      steps of a gather, a sum and a rotation until a signal asks to stop; then all
 *              stop at one step
 *     absent   RANK starts MPI and then never comes to the others
 *     compute  as run, but from step 3 RANK computes for ever
 *     fail     as run, but in step 3 RANK returns a failure of its own
 *     agree    as fail, but all ranks agree on it first
 *     apart    in step 3 rank 0 waits in its group of two; a second later all others go on in the
 *              world, rank 1 of that group too
 *     rotate   as run, but from step 3 RANK computes for ever before it rotates; the others say
 *              when they have
 *     rotate-much
 *              the same with so much that it counts as large (comm/mpi.c)
 *     every    in step 3 every rank returns a failure at the same time
 *
 * Every rank first prints "rank R pid P ready" to standard output. It ends as train/main.c does. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "comm/comm.h"

static coc_comm *world, *pair;
static const char *scenario;
static int chosen;

static _Noreturn void compute_for_ever(void)
{
    for (;;)
        coc_sleep_seconds(1);
}

static _Noreturn void say_and_compute(void)
{
    printf("computing\n");
    fflush(stdout);
    compute_for_ever();
}

/* Takes the place of MPI's own, which has this second name for it. */
int MPI_Init_thread(int *argc, char ***argv, int required, int *provided)
{
    const int code = PMPI_Init_thread(argc, argv, required, provided);
    int rank = -1;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (strcmp(scenario, "absent") == 0 && rank == chosen) compute_for_ever();
    return code;
}

static coc_status go_apart(void)
{
    if (world->rank == 0) return coc_barrier(pair, "batch norm");
    coc_sleep_seconds(1);
    return COC_OK;
}

static coc_status go_wrong(void)
{
    const bool me = world->rank == chosen;

    if (strcmp(scenario, "compute") == 0 && me) say_and_compute();
    if (strcmp(scenario, "apart") == 0) return go_apart();
    if (strcmp(scenario, "agree") == 0)
        return coc_comm_agree(world, "reading",
                              me ? COC_FAIL(COC_ERR_INPUT, "song.wav: 0 samples; remove it")
                                 : COC_OK);
    if ((strcmp(scenario, "fail") == 0 && me) || strcmp(scenario, "every") == 0)
        return COC_FAIL(COC_ERR_INPUT, "song.wav: 0 samples; remove it");
    return COC_OK;
}

/* 64 KiB, of which one number counts where little is rotated. */
static coc_status rotate(int64_t *counts)
{
    enum { MUCH = 16 << 10 };
    static float sent[MUCH], brought[MUCH];
    const bool tells = strncmp(scenario, "rotate", 6) == 0 && world->step == 3;

    if (tells && world->rank == chosen) say_and_compute();
    for (int rank = 0; rank < world->size; rank++)
        counts[rank] = strcmp(scenario, "rotate-much") == 0 ? MUCH : 1;
    COC_TRY(coc_rotate(world, "columns", sent, brought, counts, COC_FLOAT));
    if (tells) {
        printf("rank %d rotated\n", world->rank);
        fflush(stdout);
    }
    return COC_OK;
}

static coc_status step(float *sum, bool *stop)
{
    int64_t counts[64];
    float one = 1, all[64];

    for (int rank = 0; rank < world->size; rank++)
        counts[rank] = 1;
    COC_TRY(coc_all_gather(world, "embeddings", &one, all, counts, COC_FLOAT));
    if (world->step == 3) COC_TRY(go_wrong());
    *sum = 1;
    COC_TRY(coc_all_reduce(world, "gradient", sum, 1, COC_FLOAT));
    COC_TRY(rotate(counts));
    coc_sleep_seconds(0.005);
    return coc_comm_any(world, "stop", coc_stop_requested(), stop);
}

static coc_status run(void)
{
    bool stop = false;
    float sum = 0;
    const int first = world->rank / 2 * 2, last = first + 1;
    coc_status status =
        world->ops->subgroup(world, first, last < world->size ? last : first, &pair);

    for (world->step = 1; status == COC_OK && !stop; world->step++)
        status = step(&sum, &stop);
    /* A rank that was suspended while the others gave up on it may find their shares of the last
     * collective, and be told to stop by the launcher: as in training, none has stopped before all
     * have saved. */
    if (status == COC_OK) status = coc_barrier(world, "saving");
    if (status == COC_OK)
        status = COC_FAIL(COC_ERR_STOPPED, "stopped in step %lld", (long long)world->step - 1);
    return status;
}

int main(int argc, char **argv)
{
    coc_comm_settings settings = {.backend = "mpi"};
    coc_status status;

    if (argc < 3) return 2;
    settings.deadline = atof(argv[1]);
    scenario = argv[2];
    chosen = argc > 3 ? atoi(argv[3]) : -1;
    coc_stop_install();
    status = coc_comm_start(&settings, &world);
    if (status == COC_OK) {
        printf("rank %d pid %d ready\n", world->rank, (int)getpid());
        fflush(stdout);
        status = run();
        coc_comm_destroy(&pair);
        coc_comm_destroy(&world);
    }
    if (status == COC_ERR_STOPPED) coc_log_root("cocola: %s", coc_error_text());
    if (status != COC_OK && status != COC_ERR_STOPPED) coc_comm_abort(status);
    coc_comm_finish();
    return coc_exit_code(status);
}
