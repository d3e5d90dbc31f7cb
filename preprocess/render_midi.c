/* MIDI songs through FluidSynth: one pass, every MIDI channel on a bus of its own. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <fluidsynth.h>

#include "base/memory.h"
#include "preprocess/render_song.h"

enum {
    CHANNELS = 16,
    DRUM_CHANNEL = 9,
    PROGRAMS = 128,
    BLOCK = 1024,     /* samples a call; the player's events keep their places within it */
    TAIL_SECONDS = 2, /* notes may ring this long after the song's end */
    POLYPHONY = 512,
    SAID_BYTES = 200,
};

/* Half of FluidSynth's full scale: full mixes of General MIDI songs then peak below 1. */
static const double synth_gain = 0.5;

typedef struct {
    char said[SAID_BYTES]; /* FluidSynth's first error */
    fluid_settings_t *settings;
    fluid_synth_t *synth;
    fluid_player_t *player;
    int program[CHANNELS];
    int64_t notes[CHANNELS][PROGRAMS];
    float *bus[CHANNELS]; /* [most], zeroed; NULL until the channel has a note */
    int buses;
    int64_t samples, most;
} midi_pass;

/* ---- FluidSynth's voice: kept for our own message, never printed ----------------------------- */

static void remember(int level, const char *message, void *data)
{
    char *said = data;

    if ((level == FLUID_ERR || level == FLUID_PANIC) && said[0] == '\0')
        snprintf(said, SAID_BYTES, "%s", message);
}

static void quieten(char said[SAID_BYTES])
{
    for (int level = FLUID_PANIC; level < LAST_LOG_LEVEL; level++)
        fluid_set_log_function(level, remember, said);
}

/* The log functions outlive the pass whose text they wrote to. */
static void forget(void)
{
    static char nobody[SAID_BYTES];

    quieten(nobody);
}

const char *coc_fluidsynth_version(void)
{
    return fluid_version_str();
}

/* ---- building the synthesiser ---------------------------------------------------------------- */

static coc_status open_synth(midi_pass *pass, const char *soundfont, int64_t rate)
{
    fluid_settings_t *s = pass->settings = new_fluid_settings();

    if (s == NULL) return COC_FAIL(COC_ERR_MEMORY, "FluidSynth gives no settings");
    fluid_settings_setnum(s, "synth.sample-rate", (double)rate);
    fluid_settings_setnum(s, "synth.gain", synth_gain);
    fluid_settings_setint(s, "synth.reverb.active", 0);
    fluid_settings_setint(s, "synth.chorus.active", 0);
    fluid_settings_setint(s, "synth.polyphony", POLYPHONY);
    fluid_settings_setint(s, "synth.audio-channels", pass->buses);
    fluid_settings_setint(s, "synth.audio-groups", pass->buses);
    fluid_settings_setint(s, "synth.cpu-cores", 1);
    fluid_settings_setint(s, "synth.lock-memory", 0);
    fluid_settings_setint(s, "synth.dynamic-sample-loading", 1);
    fluid_settings_setstr(s, "player.timing-source", "sample");
    pass->synth = new_fluid_synth(s);
    if (pass->synth == NULL)
        return COC_FAIL(COC_ERR_INTERNAL, "FluidSynth gives no synthesiser: %s", pass->said);
    if (fluid_synth_sfload(pass->synth, soundfont, 1) < 0)
        return COC_FAIL(COC_ERR_INPUT, "%s: no soundfont that FluidSynth can load (%s)", soundfont,
                        pass->said);
    return COC_OK;
}

static void close_synth(midi_pass *pass)
{
    if (pass->player != NULL) delete_fluid_player(pass->player);
    if (pass->synth != NULL) delete_fluid_synth(pass->synth);
    if (pass->settings != NULL) delete_fluid_settings(pass->settings);
    for (int k = 0; k < CHANNELS; k++)
        free(pass->bus[k]);
    forget();
}

coc_status coc_soundfont_check(const char *path)
{
    midi_pass pass = {.buses = 1};
    FILE *file = coc_is_folder(path) ? NULL : fopen(path, "rb");
    coc_status status;

    if (file == NULL)
        return COC_FAIL(COC_ERR_IO, "%s: the soundfont cannot be opened: %s", path,
                        coc_is_folder(path) ? "it is a folder" : strerror(errno));
    fclose(file);
    quieten(pass.said);
    status = open_synth(&pass, path, 16000);
    close_synth(&pass);
    return status;
}

/* ---- playing --------------------------------------------------------------------------------- */

/* Counts notes a channel and program, then lets the synthesiser play the event. */
static int play_event(void *data, fluid_midi_event_t *event)
{
    enum { NOTE_ON = 0x90, PROGRAM_CHANGE = 0xC0 };
    midi_pass *pass = data;
    const int type = fluid_midi_event_get_type(event);
    const int channel = fluid_midi_event_get_channel(event);

    if (channel >= 0 && channel < CHANNELS) {
        if (type == PROGRAM_CHANGE)
            pass->program[channel] = fluid_midi_event_get_program(event) & (PROGRAMS - 1);
        if (type == NOTE_ON && fluid_midi_event_get_velocity(event) > 0)
            pass->notes[channel][pass->program[channel]]++;
    }
    return fluid_synth_handle_midi_event(pass->synth, event);
}

/* The program with most notes; -1 when the channel has none. */
static int main_program(const int64_t notes[PROGRAMS])
{
    int best = -1;

    for (int p = 0; p < PROGRAMS; p++)
        if (notes[p] > 0 && (best < 0 || notes[p] > notes[best])) best = p;
    return best;
}

/* A channel's memory is taken when its first note comes: most songs leave most channels silent, and
 * pages that are never written cost nothing. */
static coc_status add_block(midi_pass *pass, float block[CHANNELS][BLOCK], int count)
{
    for (int k = 0; k < pass->buses; k++) {
        if (pass->buses == CHANNELS && main_program(pass->notes[k]) < 0) continue;
        if (pass->bus[k] == NULL) COC_TRY(coc_alloc(pass->most, sizeof(float), &pass->bus[k]));
        memcpy(pass->bus[k] + pass->samples, block[k], (size_t)count * sizeof(float));
    }
    pass->samples += count;
    return COC_OK;
}

/* Left and right of a bus share one buffer: FluidSynth adds into what it is given. */
static coc_status play_block(midi_pass *pass, int count)
{
    float block[CHANNELS][BLOCK] = {{0}}, *out[2 * CHANNELS];

    for (int k = 0; k < pass->buses; k++)
        out[2 * k] = out[2 * k + 1] = block[k];
    if (fluid_synth_process(pass->synth, count, 0, NULL, 2 * pass->buses, out) != FLUID_OK)
        return COC_FAIL(COC_ERR_INTERNAL, "FluidSynth fails: %s", pass->said);
    return add_block(pass, block, count);
}

static coc_status play(midi_pass *pass, const coc_render_settings *settings)
{
    const int64_t most_tail = TAIL_SECONDS * settings->rate;
    int64_t tail = 0;

    pass->most = llround(settings->max_seconds * (double)settings->rate);
    while (pass->samples < pass->most && tail < most_tail) {
        const int64_t left = pass->most - pass->samples;
        const int count = left < BLOCK ? (int)left : BLOCK;

        if (fluid_player_get_status(pass->player) != FLUID_PLAYER_PLAYING) {
            if (fluid_synth_get_active_voice_count(pass->synth) == 0) break;
            tail += count;
        }
        COC_TRY(play_block(pass, count));
    }
    return COC_OK;
}

/* ---- stems ----------------------------------------------------------------------------------- */

static void hand_over(midi_pass *pass, int bus, int program, bool drums, coc_stems *stems)
{
    coc_rendered_stem *stem = &stems->stem[stems->count++];

    for (int64_t i = 0; i < pass->samples; i++)
        pass->bus[bus][i] *= 0.5f; /* the mean of left and right */
    *stem = (coc_rendered_stem){.samples = pass->bus[bus],
                                .program = drums ? PROGRAMS : program,
                                .instrument = coc_program_class(drums ? PROGRAMS : program),
                                .drums = drums};
    snprintf(stem->name, sizeof stem->name, "%s", coc_program_name(stem->program));
    pass->bus[bus] = NULL;
}

static coc_status take_stems(midi_pass *pass, coc_stems *stems)
{
    bool notes = false;

    stems->samples = pass->samples;
    for (int k = 0; k < CHANNELS; k++) {
        const int program = main_program(pass->notes[k]);

        if (program < 0) continue;
        notes = true;
        if (pass->buses == CHANNELS) hand_over(pass, k, program, k == DRUM_CHANNEL, stems);
    }
    if (!notes && pass->said[0] != '\0')
        return COC_FAIL(COC_ERR_INPUT, "FluidSynth cannot read it: %s", pass->said);
    if (!notes) return COC_FAIL(COC_ERR_INPUT, "a MIDI file without notes");
    if (pass->buses == 1) hand_over(pass, 0, 0, false, stems);
    return COC_OK;
}

static coc_status run(midi_pass *pass, const coc_render_settings *settings, const char *bytes,
                      int64_t count, coc_stems *stems)
{
    COC_TRY(open_synth(pass, settings->soundfont, settings->rate));
    pass->said[0] = '\0';
    pass->player = new_fluid_player(pass->synth);
    if (pass->player == NULL) return COC_FAIL(COC_ERR_MEMORY, "FluidSynth gives no player");
    fluid_player_set_playback_callback(pass->player, play_event, pass);
    if (fluid_player_add_mem(pass->player, bytes, (size_t)count) != FLUID_OK ||
        fluid_player_play(pass->player) != FLUID_OK)
        return COC_FAIL(COC_ERR_INPUT, "FluidSynth cannot play it: %s", pass->said);
    COC_TRY(play(pass, settings));
    return take_stems(pass, stems);
}

coc_status coc_render_midi(const coc_render_settings *settings, const char *bytes, int64_t count,
                           int buses, coc_stems *stems)
{
    midi_pass pass = {.buses = buses};
    coc_status status;

    *stems = (coc_stems){0};
    quieten(pass.said);
    status = run(&pass, settings, bytes, count, stems);
    close_synth(&pass);
    return status;
}
