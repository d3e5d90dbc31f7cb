/* preprocess/render_song.h - what the parts of rendering hand to each other: songs, and their
 * stems. Only render_*.c and their tests include it.
 */
#ifndef COC_PREPROCESS_RENDER_SONG_H
#define COC_PREPROCESS_RENDER_SONG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"
#include "base/status.h"
#include "preprocess/render.h"

/* ---- songs (render_songs.c) ------------------------------------------------------------------ */

typedef enum { COC_SONG_MIDI, COC_SONG_MODULE } coc_song_kind;

typedef struct {
    char *path;            /* of the file that holds it */
    char *name;            /* for people: "music/a.mid", "freedoom1.wad:D_E1M1"; UTF-8 */
    int64_t offset, bytes; /* where in the file */
    int64_t order;         /* when it was found */
    uint64_t hash;         /* of its bytes: the song's identity */
    coc_song_kind kind;
    coc_split split;
    int32_t number; /* of its track: "TrackNNNNN"; -1 until coc_dataset_number */
} coc_song;

typedef struct {
    coc_song *song; /* sorted by hash, each once */
    int64_t count, capacity;
    int64_t duplicates, broken;
} coc_songs;

/* All songs below the paths. Files that look like songs and are none are named in a warning and
 * counted. Below a folder names that begin with a dot are left out, and links to folders are not
 * followed. *songs is to be freed in any case. Errors: COC_ERR_IO, COC_ERR_MEMORY, COC_ERR_STOPPED.
 */
coc_status coc_songs_collect(const char *const *paths, int64_t count, coc_songs *songs);
void coc_songs_free(coc_songs *songs);

/* The split that a song belongs to whatever other songs there are: 80 % train, 10 % each of the
 * others. */
coc_split coc_song_split(uint64_t hash);

/* The song's bytes, the caller's, freed with free(). Errors: COC_ERR_INPUT (the file has changed),
 * COC_ERR_IO, COC_ERR_MEMORY. */
coc_status coc_song_read(const coc_song *song, char **bytes);

/* ---- stems (render_midi.c, render_module.c) -------------------------------------------------- */

enum { COC_RENDER_STEMS = 128, COC_STEM_NAME_BYTES = 96 };

typedef struct {
    float *samples;                 /* [coc_stems.samples], mono */
    char name[COC_STEM_NAME_BYTES]; /* of the program or instrument */
    const char *instrument;         /* the class, as Slakh2100 names it */
    int program; /* General MIDI, 128 for drums; number of a module's instrument */
    bool drums;
} coc_rendered_stem;

typedef struct {
    coc_rendered_stem stem[COC_RENDER_STEMS];
    int count;
    int64_t samples;
} coc_stems;

void coc_stems_free(coc_stems *stems);

/* Render a MIDI file's bytes: one stem a channel that has notes, level as the synthesiser gives it.
 * With `buses` 16 each MIDI channel goes to a bus of its own in one pass; with 1 all channels go to
 * one, which gives the full mix as stem 0 (tests compare it with the sum). *stems is to be freed in
 * any case. Errors: COC_ERR_INPUT (broken song), COC_ERR_MEMORY, COC_ERR_INTERNAL. */
coc_status coc_render_midi(const coc_render_settings *settings, const char *bytes, int64_t count,
                           int buses, coc_stems *stems);

/* Whether FluidSynth can load the soundfont. Errors: COC_ERR_IO, COC_ERR_INPUT. */
coc_status coc_soundfont_check(const char *path);
const char *coc_fluidsynth_version(void);

/* The same for a tracker module: one stem an instrument (or sample, where it has no instruments)
 * that has notes, each from a pass with all others muted. With `full_mix` one pass with nothing
 * muted gives stem 0. */
coc_status coc_render_module(const coc_render_settings *settings, const char *bytes, int64_t count,
                             bool full_mix, coc_stems *stems);

/* Whether libopenmpt knows a file name's ending (without the dot), or the first bytes of a file. */
bool coc_module_extension(const char *extension);
bool coc_module_probe(const char *bytes, int64_t count);
const char *coc_openmpt_version(void);

/* General MIDI (render_program.c): names of programs 0..127 and of their classes. */
const char *coc_program_name(int program);
const char *coc_program_class(int program);

/* ---- tracks (render_track.c) ----------------------------------------------------------------- */

/* Keep the stems that sound (mean square over -60 dBFS in at least 10 of the whole seconds and in
 * 15 % of them, at the level of coc_stems_level), free the others. Returns whether a track can be
 * made: three stems and 15 s; if not, `why` says it. */
bool coc_stems_keep(coc_stems *stems, int64_t rate, char why[128]);

/* The one gain of all stems after which the largest sample of them and of their sum is -1 dBFS;
 * 0 when all are silent. */
double coc_stems_gain(const coc_stems *stems);

/* Write stems/SNN.flac and metadata.yaml into a new folder, flushed to the disk. Errors:
 * COC_ERR_IO, COC_ERR_MEMORY. */
coc_status coc_track_write(const coc_song *song, const coc_render_settings *settings,
                           const coc_stems *stems, const char *folder);

/* A text as a JSON string with quotes, which YAML reads too; bytes that are no UTF-8 become '?'.
 * Freed with free(); NULL without memory. */
char *coc_quoted(const char *text);

/* ---- the data set's folder (render_dataset.c) ------------------------------------------------ */

typedef struct {
    uint64_t song; /* hash */
    coc_split split;
    int32_t number;
} coc_numbered;

typedef struct {
    uint64_t song;
    bool broken; /* else: left out by the rule of coc_stems_keep */
    char *name, *why;
} coc_skipped;

typedef struct {
    const char *path;
    coc_lock lock;
    coc_numbered *numbered; /* its tracks, sorted by song */
    int64_t tracks;
    coc_skipped *skipped; /* sorted by song when written */
    int64_t skips, skip_capacity;
    int64_t skips_on_disk;
} coc_dataset;

/* Make or open the folder: take its lock, compare or write render.json, remove what a killed run
 * left half written, list its tracks. Close in any case. Errors: COC_ERR_IO, COC_ERR_SETTING,
 * COC_ERR_INPUT. */
coc_status coc_dataset_open(const coc_render_settings *settings, coc_dataset *dataset);
void coc_dataset_close(coc_dataset *dataset);
void coc_dataset_clean(const coc_dataset *dataset); /* removes half-written tracks */

const coc_numbered *coc_dataset_track(const coc_dataset *dataset, uint64_t song);
const coc_skipped *coc_dataset_skipped(const coc_dataset *dataset, uint64_t song);

/* Give every song the number of its track: the one it has, else from its hash, else the next free
 * one. Errors: COC_ERR_USAGE (more than 100,000 songs in a split). */
coc_status coc_dataset_number(const coc_dataset *dataset, coc_songs *songs);

coc_status coc_dataset_skip(coc_dataset *dataset, const coc_song *song, bool broken,
                            const char *why);
/* Nothing is written when nothing was added. */
coc_status coc_dataset_write_skipped(coc_dataset *dataset);

/* "PATH/train/Track00042", and the name it has until it is complete. */
coc_status coc_track_path(const char *dataset, const coc_song *song, char path[COC_PATH_BYTES]);

#endif
