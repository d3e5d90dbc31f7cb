/* train/cmd_render.c - `cocola render`: songs to a data set of stems. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "preprocess/render.h"
#include "train/cli.h"
#include "train/commands.h"

static coc_status parse_arguments(int argc, char **argv, coc_render_settings *settings,
                                  coc_words *paths, bool *done)
{
    const coc_option options[] = {
        {"--soundfont", "F.sf2", COC_OPTION_TEXT, &settings->soundfont, true, 0, 0,
         "sounds for MIDI songs, as TimGM6mb.sf2"},
        {"--out", "DIR", COC_OPTION_TEXT, &settings->out, true, 0, 0,
         "folder of the data set; made if missing, continued if it is there"},
        {"--max-seconds", "S", COC_OPTION_NUMBER, &settings->max_seconds, false, 15, 3600,
         "songs are cut after this long (default 90)"},
        {"--rate", "HZ", COC_OPTION_INT, &settings->rate, false, 8000, 96000,
         "sampling rate (default 16000, what models are trained on)"},
        {"--jobs", "N", COC_OPTION_INT, &settings->jobs, false, 1, COC_RENDER_JOBS,
         "songs rendered at a time (default: one a processor)"},
    };
    const coc_cli cli = {
        .usage = "cocola render --soundfont F.sf2 --out DIR [options] PATH...",
        .purpose =
            "Renders songs to stems, one FLAC file an instrument, in the layout of "
            "Slakh2100:\n"
            "DIR/{train,validation,test}/TrackNNNNN/{metadata.yaml,stems/SNN.flac}. A PATH "
            "is a file or a\n"
            "folder searched recursively for MIDI files, Doom WADs and tracker modules (mod, "
            "xm, s3m, it, ...).",
        .details = "A song's own bytes decide its split (80/10/10). Run again it finishes what is "
                   "missing.\n\n"
                   "example:\n"
                   "  scripts/songs.sh songs\n"
                   "  cocola render --soundfont songs/timgm6mb-soundfont/usr/share/sounds/sf2/"
                   "TimGM6mb.sf2 --out stems songs\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words = paths,
        .min_words = 1,
        .max_words = -1,
    };

    return coc_cli_parse(&cli, argc, argv, done);
}

static void print_report(const coc_render_settings *settings, const coc_render_report *r)
{
    printf("songs       %" PRId64 " different (%" PRId64 " further copies), %" PRId64
           " done by an earlier run\n",
           r->songs, r->duplicates, r->before);
    printf("tracks      %" PRId64 " train, %" PRId64 " validation, %" PRId64 " test in %s\n",
           r->tracks[COC_TRAIN], r->tracks[COC_VALIDATION], r->tracks[COC_TEST], settings->out);
    printf("this run    %" PRId64 " stems, %.2f hours of them, %.2f hours of music\n", r->stems,
           r->stem_hours, r->song_hours);
    printf("no tracks   %" PRId64 " songs left out (too short or too few stems), %" PRId64
           " broken\n",
           r->left_out, r->broken);
}

static coc_status render(const coc_render_settings *settings, const coc_words *paths)
{
    coc_render_report report;

    COC_TRY(coc_render(settings, paths->word, paths->count, &report));
    print_report(settings, &report);
    if (report.tracks[COC_TRAIN] + report.tracks[COC_VALIDATION] + report.tracks[COC_TEST] == 0)
        return COC_FAIL(COC_ERR_INPUT,
                        "none of the songs gave a track; %s/skipped.json says why, docs/render.md "
                        "what a song needs",
                        settings->out);
    return COC_OK;
}

coc_status coc_cmd_render(int argc, char **argv)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    coc_render_settings settings = {
        .max_seconds = 90,
        .rate = 16000,
        .jobs = processors < 1                 ? 1
                : processors > COC_RENDER_JOBS ? COC_RENDER_JOBS
                                               : processors,
    };
    coc_words paths = {0};
    bool done;
    coc_status status = parse_arguments(argc, argv, &settings, &paths, &done);

    if (status == COC_OK && !done) status = render(&settings, &paths);
    coc_words_free(&paths);
    return status;
}
