/* train/bench_preprocess.c - `cocola bench preprocess`: a data set to a store, which is thrown
 * away. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "preprocess/build.h"
#include "preprocess/features.h"
#include "train/bench.h"
#include "train/cli.h"

typedef struct {
    const char *layout, *in, *scratch;
} arguments;

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    const coc_option options[] = {
        {"--in", "DIR", COC_OPTION_TEXT, &a->in, true, 0, 0, "the data set"},
        {"--layout", "NAME", COC_OPTION_TEXT, &a->layout, false, 0, 0,
         "how it lies on disk (default slakh2100); see cocola preprocess --help"},
        {"--scratch", "DIR", COC_OPTION_TEXT, &a->scratch, false, 0, 0,
         "an existing folder that all ranks see, for the temporary store (default /tmp)"},
    };
    const coc_cli cli = {
        .usage = "cocola bench preprocess --in DIR [options]",
        .purpose = "Time of `cocola preprocess`: reading, decoding, resampling, writing, hashing.\n"
                   "The store is made in a temporary folder and removed. Runs on MPI ranks.",
        .details = "Example:\n  mpirun -n 2 cocola bench preprocess --in slakh\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };

    return coc_cli_parse(&cli, argc, argv, done);
}

static coc_status check_scratch(const char *folder)
{
    struct stat info;

    if (stat(folder, &info) == 0 && S_ISDIR(info.st_mode) && access(folder, W_OK) == 0)
        return COC_OK;
    return COC_FAIL(COC_ERR_IO, "--scratch: %s is no folder that can be written to; name one",
                    folder);
}

/* The same fresh name on all ranks. */
static coc_status choose_store(coc_comm *comm, const char *scratch, char **store)
{
    coc_request *request = NULL;
    int64_t number = (int64_t)getpid();

    COC_TRY(comm->ops->start_broadcast(comm, "name of the store", &number, 1, COC_INT64, 0, NULL,
                                       &request));
    COC_TRY(comm->ops->wait(comm, &request));
    *store = coc_format("%s/cocola-bench-%lld", scratch, (long long)number);
    return *store != NULL ? COC_OK : COC_FAIL(COC_ERR_MEMORY, "no memory for a path");
}

static coc_status run(coc_comm *comm, const arguments *a, const coc_layout *layout,
                      const char *store)
{
    const coc_build_settings settings = {.in = a->in, .out = store, .layout = layout};
    coc_build_result result;
    coc_request *request = NULL;
    double begin, core, seconds, hours;

    begin = coc_clock_seconds();
    core = coc_core_seconds();
    COC_TRY(coc_build_store(comm, &settings, &result));
    seconds = coc_clock_seconds() - begin;
    core = coc_core_seconds() - core;
    hours = (double)result.manifest.samples / COC_SAMPLE_RATE / 3600;
    COC_TRY(
        comm->ops->start_all_reduce(comm, "core seconds", &core, 1, COC_DOUBLE, NULL, &request));
    COC_TRY(comm->ops->wait(comm, &request));
    if (comm->rank == 0) {
        printf("stems     %lld, %.2f hours, %.0f MB of 16-bit audio\n",
               (long long)result.manifest.stems, hours, 2e-6 * (double)result.manifest.samples);
        printf("time      %.1f s on %d ranks, %.1f core seconds\n", seconds, comm->size, core);
        printf("speed     %.0f times real time, %.2f stem-hours a core second, %.0f MB/s written\n",
               3600 * hours / seconds, hours / core,
               2e-6 * (double)result.manifest.samples / seconds);
        printf("memory    %.0f MB of rank 0\n", coc_peak_megabytes());
    }
    coc_manifest_free(&result.manifest);
    return COC_OK;
}

coc_status coc_bench_preprocess(int argc, char **argv)
{
    arguments a = {.layout = "slakh2100", .scratch = "/tmp"};
    coc_settings settings;
    coc_comm *comm;
    const coc_layout *layout = NULL;
    char *store = NULL;
    bool done;
    coc_status status = parse_arguments(argc, argv, &a, &done);

    if (done) return status;
    if (status == COC_OK) status = coc_layout_find(a.layout, &layout);
    if (status == COC_OK) status = check_scratch(a.scratch);
    coc_settings_default(&settings);
    COC_TRY(coc_comm_start(&settings.comm, &comm));
    COC_TRY(coc_comm_agree(comm, "command line", status));
    COC_TRY(choose_store(comm, a.scratch, &store));
    status = run(comm, &a, layout, store);
    if (comm->rank == 0) coc_remove_tree(store);
    free(store);
    coc_comm_destroy(&comm);
    return status;
}
