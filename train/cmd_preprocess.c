/* train/cmd_preprocess.c - `cocola preprocess`: a data set of stems to a store. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "preprocess/build.h"
#include "preprocess/features.h"
#include "train/cli.h"
#include "train/commands.h"

typedef struct {
    const char *layout, *in, *out;
    double shard_mb;
} arguments;

static coc_status parse_arguments(int argc, char **argv, arguments *a, bool *done)
{
    char *layouts = coc_layout_help();
    char *details = coc_format(
        "layouts:\n%s  valid and val are read as validation.\n\n"
        "A track with a broken file, or with fewer than two audible stems, is skipped with one "
        "line;\nthe exit code is 0 as long as a track is left, else 3.\n\n"
        "example:\n  mpirun -n 2 cocola preprocess --layout folder --in stems --out store\n",
        layouts != NULL ? layouts : "");
    const coc_option options[] = {
        {"--layout", "NAME", COC_OPTION_TEXT, &a->layout, true, 0, 0,
         "how the data set lies on disk: see below"},
        {"--in", "DIR", COC_OPTION_TEXT, &a->in, true, 0, 0,
         "the data set: the folder that holds train, validation, test"},
        {"--out", "STORE", COC_OPTION_TEXT, &a->out, true, 0, 0, "the store, a folder; it is made"},
        {"--shard-mb", "MIB", COC_OPTION_NUMBER, &a->shard_mb, false, 0.01, 65536,
         "audio a shard, MiB (default 1024, less for small data sets); a shard that stands stays "
         "as it is"},
    };
    const coc_cli cli = {
        .usage = "cocola preprocess --layout NAME --in DIR --out STORE [options]",
        .purpose = "Read every stem of a data set once: mean of its channels, resampled to 16 kHz, "
                   "16 bit.\nRuns on MPI ranks. Run again, it finishes what is missing.",
        .details = details,
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };

    coc_status status;

    free(layouts);
    if (details == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for the help page");
    status = coc_cli_parse(&cli, argc, argv, done);
    free(details);
    return status;
}

static coc_status check_arguments(const arguments *a, coc_build_settings *settings)
{
    *settings = (coc_build_settings){
        .in = a->in, .out = a->out, .shard_bytes = (int64_t)(a->shard_mb * (1 << 20))};
    return coc_layout_find(a->layout, &settings->layout);
}

static void print_result(const arguments *a, const coc_build_result *r, double seconds)
{
    const coc_manifest *m = &r->manifest;
    const double hours = (double)m->samples / COC_SAMPLE_RATE / 3600;

    printf("store    %s (%016" PRIx64 ")\n", a->out, coc_manifest_hash(m));
    printf("tracks   train %" PRId64 ", validation %" PRId64 ", test %" PRId64 "\n",
           m->tracks[COC_TRAIN], m->tracks[COC_VALIDATION], m->tracks[COC_TEST]);
    printf("stems    %" PRId64 ", %.2f hours, %.0f MB\n", m->stems, hours,
           (double)m->samples * 2e-6);
    printf("skipped  %" PRId64 " tracks\n", m->skipped);
    printf("shards   %" PRId64 " made in %.1f s, %" PRId64 " from before\n", r->made, seconds,
           r->kept);
}

coc_status coc_cmd_preprocess(int argc, char **argv)
{
    const double begin = coc_clock_seconds();
    arguments a = {0};
    coc_settings settings;
    coc_build_settings build;
    coc_build_result result;
    coc_comm *comm;
    bool done;
    coc_status status = parse_arguments(argc, argv, &a, &done);

    if (done) return status;
    if (status == COC_OK) status = check_arguments(&a, &build);
    coc_settings_default(&settings);
    COC_TRY(coc_comm_start(&settings.comm, &comm));
    COC_TRY(coc_comm_agree(comm, "command line", status));
    COC_TRY(coc_build_store(comm, &build, &result));
    if (comm->rank == 0) print_result(&a, &result, coc_clock_seconds() - begin);
    coc_manifest_free(&result.manifest);
    coc_comm_destroy(&comm);
    return COC_OK;
}
