#include "preprocess/survey.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "preprocess/features.h"
#include "preprocess/stem_read.h"

/* Files that are read whole for the time, and the seconds after which no further one is. */
enum { READ_FILES = 8, READ_SECONDS = 3 };

static int64_t stems_of(const coc_source_list *list)
{
    int64_t stems = 0;

    for (int64_t t = 0; t < list->tracks; t++)
        stems += list->track[t].stems;
    return stems;
}

/* Every rank its tracks; sums are of all. */
static coc_status measure(coc_comm *comm, coc_survey *s)
{
    int64_t stem = 0;

    coc_progress_begin("reading headers", 0, s->list.tracks, 10);
    for (int64_t t = 0; t < s->list.tracks; t++) {
        const coc_source_track *track = &s->list.track[t];

        for (int64_t i = 0; i < track->stems; i++, stem++) {
            int64_t bytes;

            if (t % comm->size != comm->rank) continue;
            bytes = coc_stem_bytes(s->root, &track->stem[i]);
            s->bytes += bytes > 0 ? bytes : 0;
            if (coc_stem_probe(s->root, &track->stem[i], COC_SAMPLE_RATE, &s->samples[stem]) ==
                COC_OK)
                continue;
            s->samples[stem] = 0;
            coc_log_rank("warning: track %s: %s", track->name, coc_error_text());
        }
        coc_progress_update(t + 1, "tracks");
    }
    coc_progress_end();
    COC_TRY(coc_all_reduce(comm, "lengths of stems", s->samples, stem, COC_INT64));
    return coc_all_reduce(comm, "bytes of stems", &s->bytes, 1, COC_INT64);
}

static void summarise(coc_survey *s)
{
    int64_t stem = 0;

    for (int64_t t = 0; t < s->list.tracks; t++) {
        const coc_source_track *track = &s->list.track[t];
        int64_t good = 0;

        for (int64_t i = 0; i < track->stems; i++, stem++) {
            if (s->samples[stem] == 0) {
                s->unreadable++;
                continue;
            }
            good++;
            coc_summary_add(&s->summary, track->split, track->stem[i].instrument,
                            track->stem[i].name, s->samples[stem]);
        }
        s->unpaired += good < 2;
        s->summary.tracks[track->split]++;
    }
}

/* Some stems from all over the list, so that one odd album does not decide. */
static void time_reading(coc_survey *s)
{
    const int64_t stems = stems_of(&s->list), step = stems / READ_FILES + 1;
    double seconds = 0, samples = 0;
    int64_t stem = 0;

    for (int64_t t = 0; t < s->list.tracks; t++)
        for (int64_t i = 0; i < s->list.track[t].stems; i++, stem++) {
            const double begin = coc_clock_seconds();
            coc_audio audio;

            if (stem % step != step / 2 || s->samples[stem] == 0 || seconds > READ_SECONDS)
                continue;
            if (coc_stem_read(s->root, &s->list.track[t].stem[i], COC_SAMPLE_RATE, &audio) !=
                COC_OK)
                continue;
            seconds += coc_clock_seconds() - begin;
            samples += (double)audio.count;
            coc_audio_free(&audio);
        }
    if (samples > 0) s->seconds_per_hour = seconds / (samples / COC_SAMPLE_RATE / 3600);
}

coc_status coc_survey_make(coc_comm *comm, const coc_layout *layout,
                           const coc_layout_options *options, const char *in, coc_survey *s)
{
    coc_status status;

    *s = (coc_survey){0};
    status = coc_layout_root(in, s->root);
    if (status == COC_OK) status = coc_layout_list(layout, in, options, &s->list);
    if (status == COC_OK) status = coc_alloc(stems_of(&s->list), sizeof *s->samples, &s->samples);
    COC_TRY(coc_comm_agree(comm, "listing the data set", status));
    COC_TRY(measure(comm, s));
    summarise(s);
    if (comm->rank == 0) time_reading(s);
    return coc_broadcast(comm, "time of reading", &s->seconds_per_hour, 1, COC_DOUBLE, 0);
}

void coc_survey_free(coc_survey *s)
{
    coc_source_list_free(&s->list);
    free(s->samples);
    *s = (coc_survey){0};
}
