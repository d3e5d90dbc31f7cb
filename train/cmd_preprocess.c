/* train/cmd_preprocess.c - `cocola preprocess`: a data set of stems to a store. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "preprocess/build.h"
#include "preprocess/features.h"
#include "preprocess/survey.h"
#include "train/cli.h"
#include "train/commands.h"

typedef struct {
    const char *layout, *in, *out, *ensembles, *exclude, *stems, *scratch;
    double shard_mb;
    bool dry_run, strict;
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
         "the data set: the folder that holds train, validation, test; of csv the table"},
        {"--out", "STORE", COC_OPTION_TEXT, &a->out, false, 0, 0,
         "the store, a folder; it is made"},
        {"--exclude", "FILE", COC_OPTION_TEXT, &a->exclude, false, 0, 0,
         "leave out what it names: TRACK or TRACK/STEM a line"},
        {"--ensembles", "LIST", COC_OPTION_TEXT, &a->ensembles, false, 0, 0,
         "cocochorales: which of string, brass, woodwind, random (default all)"},
        {"--stems", "WHAT", COC_OPTION_TEXT, &a->stems, false, 0, 0,
         "moisesdb: files (default, as published: each is a stem) or folders (one stem each, the "
         "sum of its files)"},
        {"--strict", NULL, COC_OPTION_FLAG, &a->strict, false, 0, 0,
         "end at the first track that cannot be used, instead of skipping it"},
        {"--dry-run", NULL, COC_OPTION_FLAG, &a->dry_run, false, 0, 0,
         "print what every file is taken for, what cannot be read, hours, bytes and time; write "
         "nothing"},
        {"--scratch", "DIR", COC_OPTION_TEXT, &a->scratch, false, 0, 0,
         "write each shard into this folder of the machine first, then copy it to the store in one "
         "go: for stores on slow network disks"},
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
    const bool folders = a->stems != NULL && strcmp(a->stems, "folders") == 0;

    *settings = (coc_build_settings){
        .in = a->in,
        .out = a->out,
        .options = {a->ensembles, folders, a->exclude},
        .scratch = a->scratch,
        .strict = a->strict,
        .shard_bytes = (int64_t)(a->shard_mb * (1 << 20)),
    };
    COC_TRY(coc_layout_find(a->layout, &settings->layout));
    if (a->out == NULL && !a->dry_run)
        return COC_FAIL(COC_ERR_USAGE, "--out is missing: where the store goes");
    if (a->stems != NULL && !folders && strcmp(a->stems, "files") != 0)
        return COC_FAIL(COC_ERR_USAGE, "--stems: '%s' is unknown; known: files, folders", a->stems);
    if (a->stems != NULL && strcmp(a->layout, "moisesdb") != 0)
        return COC_FAIL(COC_ERR_USAGE, "--stems is of the layout moisesdb only");
    if (a->ensembles != NULL && strcmp(a->layout, "cocochorales") != 0)
        return COC_FAIL(COC_ERR_USAGE, "--ensembles is of the layout cocochorales only");
    return COC_OK;
}

/* ---- what there is ------------------------------------------------------------------------------
 */

/* A line a file, for eyes and for awk: the last field may hold blanks. */
static void print_files(const coc_survey *s)
{
    int64_t stem = 0;

    printf("%-10s %-11s %8s  %-30s %-20s %s\n", "split", "class", "minutes", "track", "stem",
           "files");
    for (int64_t t = 0; t < s->list.tracks; t++) {
        const coc_source_track *track = &s->list.track[t];

        for (int64_t i = 0; i < track->stems; i++, stem++) {
            const coc_source_stem *one = &track->stem[i];
            const double seconds = (double)s->samples[stem] / COC_SAMPLE_RATE;

            printf("%-10s %-11s ", coc_split_name(track->split),
                   coc_stem_class_name(coc_stem_class_of(one->instrument, one->name)));
            if (s->samples[stem] > 0)
                printf("%5d:%02d", (int)(seconds / 60), (int)fmod(seconds, 60));
            else
                printf("%8s", "bad");
            printf("  %-30s %-20s %s", track->name, one->name, one->source);
            if (one->files > 1) printf(" (%lld files)", (long long)one->files);
            printf("\n");
        }
    }
}

static void print_survey(const coc_survey *s, int ranks)
{
    int64_t samples = 0;
    double hours;

    for (int split = 0; split < COC_SPLITS; split++)
        for (int c = 0; c < COC_STEM_CLASSES; c++)
            samples += s->summary.samples[split][c];
    hours = (double)samples / COC_SAMPLE_RATE / 3600;
    print_files(s);
    printf("\n");
    coc_summary_print(&s->summary, stdout);
    printf("\nproblems  %" PRId64 " stems cannot be read, %" PRId64
           " tracks have fewer than two that can; such tracks will be skipped\n",
           s->unreadable, s->unpaired);
    printf("to read   %.3f GB; the store: %.3f GB; about %.0f s on %d rank%s\n",
           1e-9 * (double)s->bytes, 2e-9 * (double)samples, hours * s->seconds_per_hour / ranks,
           ranks, ranks > 1 ? "s" : "");
}

static coc_status look(coc_comm *comm, const coc_build_settings *build)
{
    coc_survey survey;
    const coc_status status =
        coc_survey_make(comm, build->layout, &build->options, build->in, &survey);

    if (status == COC_OK && comm->rank == 0) print_survey(&survey, comm->size);
    coc_survey_free(&survey);
    return status;
}

/* ---- the store ----------------------------------------------------------------------------------
 */

static void print_result(const arguments *a, const coc_build_result *r, double seconds)
{
    const coc_manifest *m = &r->manifest;
    const double hours = (double)m->samples / COC_SAMPLE_RATE / 3600;

    printf("store    %s (%016" PRIx64 ")\n", a->out, coc_manifest_hash(m));
    coc_summary_print(&r->summary, stdout);
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
    if (a.dry_run) {
        COC_TRY(look(comm, &build));
    } else {
        COC_TRY(coc_build_store(comm, &build, &result));
        if (comm->rank == 0) print_result(&a, &result, coc_clock_seconds() - begin);
        coc_manifest_free(&result.manifest);
    }
    coc_comm_destroy(&comm);
    return COC_OK;
}
