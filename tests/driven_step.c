/* Training on ranks, in which rank 1 does not come to one collective, for e2e_watchdog.sh:
 *
 *     driven_step DEADLINE COLLECTIVE HOW EXCHANGE
 *
 *     HOW        stall: it computes for ever; die: it is killed
 *     EXCHANGE   allgather or ring (loss.exchange)
 *
 * That happens in step 1. Steps are those of a small model whose batch norm spans both ranks; after
 * each come the stop flag, an agreement ("saving") and a broadcast ("weights"), as between steps of
 * a run. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "tests/small_run.h"
#include "train/run.h"

enum { STEPS = 3 };

static const char *chosen, *how;
static coc_columns_exchange exchange;
static const coc_comm_ops *inner; /* the table that is passed on to */
static coc_comm *world, *alone;

/* ---- a table that fails ---------------------------------------------------------------------- */

static void come_to(const coc_comm *comm, const char *what)
{
    if (world->step != 1 || world->rank != 1 || strcmp(what, chosen) != 0) return;
    (void)comm;
    printf("rank 1 pid %d is to %s\n", (int)getpid(), how);
    fflush(stdout);
    if (strcmp(how, "die") == 0) raise(SIGKILL);
    for (;;)
        coc_sleep_seconds(1);
}

static coc_status all_gather(coc_comm *c, const char *what, const void *send, void *recv,
                             const int64_t *counts, coc_type type, coc_stream *stream,
                             coc_request **request)
{
    come_to(c, what);
    return inner->start_all_gather(c, what, send, recv, counts, type, stream, request);
}

static coc_status reduce_scatter(coc_comm *c, const char *what, const void *send, void *recv,
                                 const int64_t *counts, coc_type type, coc_stream *stream,
                                 coc_request **request)
{
    come_to(c, what);
    return inner->start_reduce_scatter(c, what, send, recv, counts, type, stream, request);
}

static coc_status all_reduce(coc_comm *c, const char *what, void *buffer, int64_t count,
                             coc_type type, coc_stream *stream, coc_request **request)
{
    come_to(c, what);
    return inner->start_all_reduce(c, what, buffer, count, type, stream, request);
}

static coc_status broadcast(coc_comm *c, const char *what, void *buffer, int64_t count,
                            coc_type type, int root, coc_stream *stream, coc_request **request)
{
    come_to(c, what);
    return inner->start_broadcast(c, what, buffer, count, type, root, stream, request);
}

static coc_status rotate(coc_comm *c, const char *what, const void *send, void *recv,
                         const int64_t *counts, coc_type type, coc_stream *stream,
                         coc_request **request)
{
    come_to(c, what);
    return inner->start_rotate(c, what, send, recv, counts, type, stream, request);
}

static coc_comm_ops failing;

static coc_status subgroup(coc_comm *c, int first, int last, coc_comm **sub)
{
    COC_TRY(inner->subgroup(c, first, last, sub));
    (*sub)->ops = &failing;
    return COC_OK;
}

static void put_failing_table(void)
{
    inner = world->ops;
    failing = *inner;
    failing.start_all_gather = all_gather;
    failing.start_reduce_scatter = reduce_scatter;
    failing.start_all_reduce = all_reduce;
    failing.start_broadcast = broadcast;
    failing.start_rotate = rotate;
    failing.subgroup = subgroup;
    world->ops = &failing;
}

/* ---- training -------------------------------------------------------------------------------- */

static coc_status step(coc_trainer *t)
{
    coc_step_result result;
    bool stop;

    COC_TRY(coc_train_step(t, &result));
    t->comm->step = t->step - 1; /* what follows belongs to the step */
    COC_TRY(coc_comm_any(world, "stop flag", false, &stop));
    COC_TRY(coc_comm_agree(world, "saving", COC_OK));
    return coc_run_share_weights(t);
}

static coc_status train(const char *folder)
{
    coc_settings settings = coc_test_settings(folder, 4, 0);
    coc_trainer *t;

    settings.loss.exchange = exchange;
    COC_TRY(coc_trainer_create(&settings, world, folder, &t));
    COC_TRY(coc_trainer_start_loader(t));
    for (int i = 0; i < STEPS; i++)
        COC_TRY(step(t));
    return COC_OK;
}

static coc_status run(void)
{
    const char *folder = "scratch_driven_step";
    coc_status status = COC_OK;

    if (world->rank == 0 && !coc_file_exists("scratch_driven_step/store/manifest.json"))
        status = coc_test_store(folder, alone);
    COC_TRY(coc_comm_agree(world, "the store", status));
    put_failing_table();
    return train(folder);
}

int main(int argc, char **argv)
{
    coc_comm_settings settings = {.backend = "mpi"};
    coc_status status;

    if (argc < 5) return 2;
    settings.deadline = atof(argv[1]);
    chosen = argv[2];
    how = argv[3];
    exchange = strcmp(argv[4], "ring") == 0 ? COC_EXCHANGE_RING : COC_EXCHANGE_ALL_GATHER;
    status = coc_comm_start(&settings, &world);
    if (status == COC_OK) status = coc_comm_self(&alone);
    if (status == COC_OK) status = run();
    if (status != COC_OK) coc_comm_abort(status);
    coc_comm_finish();
    return 0;
}
