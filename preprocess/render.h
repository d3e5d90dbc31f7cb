/* preprocess/render.h - songs (MIDI files, Doom WADs, tracker modules) to a data set of stems in
 * the layout of Slakh2100:
 *
 *     OUT/{train,validation,test}/TrackNNNNN/{metadata.yaml, stems/SNN.flac}
 *     OUT/render.json     the settings of all its tracks
 *     OUT/skipped.json    songs that gave no track, and why
 *
 * docs/render.md says what becomes of a song. Not collective: it works in processes of its own.
 */
#ifndef COC_PREPROCESS_RENDER_H
#define COC_PREPROCESS_RENDER_H

#include <stdint.h>

#include "base/status.h"
#include "preprocess/store.h"

typedef struct {
    const char *soundfont; /* .sf2 or .sf3 file for MIDI songs */
    const char *out;       /* folder of the data set */
    double max_seconds;    /* songs are cut here */
    int64_t rate;          /* Hz */
    int64_t jobs; /* songs rendered at a time, each in a process; at most COC_RENDER_JOBS */
} coc_render_settings;

enum { COC_RENDER_JOBS = 64 };

typedef struct {
    int64_t songs;                 /* different songs found */
    int64_t duplicates;            /* further copies of them, byte for byte */
    int64_t before;                /* songs that an earlier run had finished */
    int64_t tracks[COC_SPLITS];    /* of these songs, earlier ones too */
    int64_t left_out;              /* too short, or too few stems that sound */
    int64_t broken;                /* cannot be read or rendered; each was named in a warning */
    int64_t stems;                 /* written by this run */
    double song_hours, stem_hours; /* written by this run */
} coc_render_report;

/* Render all songs below the paths (files, or folders searched recursively). Splits and bytes do
 * not depend on the number of jobs, nor on which other songs there are; a track never changes its
 * name in a folder. Run again it finishes what is missing and redoes nothing; a folder of other
 * settings is refused by name. A broken song is named, left out, counted. *report is valid after a
 * failure too. Errors: COC_ERR_IO, COC_ERR_SETTING (other settings), COC_ERR_INPUT (no songs, no
 * soundfont), COC_ERR_STOPPED (SIGINT, SIGTERM: nothing half written is left), COC_ERR_USAGE (this
 * build cannot render). */
coc_status coc_render(const coc_render_settings *settings, const char *const *paths, int64_t count,
                      coc_render_report *report);

#endif
