/* Tracker modules through libopenmpt. Stems are instruments, not channels: trackers fake an echo by
 * copying a line to the next channel, so a quarter of all modules have channels that are near
 * copies of each other. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <libopenmpt/libopenmpt.h>
#include <libopenmpt/libopenmpt_ext.h>

#include "base/memory.h"
#include "preprocess/render_song.h"

enum { BLOCK = 4096, MAX_INSTRUMENTS = 4096, PROBE_BYTES = 4096, NOTES = 120 };

const char *coc_openmpt_version(void)
{
    static char text[64];
    const char *version = openmpt_get_string("library_version");

    snprintf(text, sizeof text, "%s", version != NULL ? version : "unknown");
    openmpt_free_string(version);
    return text;
}

bool coc_module_extension(const char *extension)
{
    return openmpt_is_extension_supported(extension) == 1;
}

bool coc_module_probe(const char *bytes, int64_t count)
{
    const int64_t probed = count < PROBE_BYTES ? count : PROBE_BYTES;

    return openmpt_probe_file_header(OPENMPT_PROBE_FILE_HEADER_FLAGS_DEFAULT, bytes, (size_t)probed,
                                     (uint64_t)count, openmpt_log_func_silent, NULL,
                                     openmpt_error_func_ignore, NULL, NULL,
                                     NULL) == OPENMPT_PROBE_FILE_HEADER_RESULT_SUCCESS;
}

/* ---- one pass -------------------------------------------------------------------------------- */

typedef struct {
    openmpt_module_ext *owner;
    openmpt_module *module; /* the owner's */
    openmpt_module_ext_interface_interactive control;
} module_pass;

/* Instruments, or samples where the module has none: the muting calls count the same way. */
static int instruments_of(openmpt_module *module)
{
    const int instruments = openmpt_module_get_num_instruments(module);
    const int count = instruments > 0 ? instruments : openmpt_module_get_num_samples(module);

    return count < MAX_INSTRUMENTS ? count : MAX_INSTRUMENTS;
}

/* Load the module and mute all instruments but one (none, if -1). */
static coc_status open_pass(const char *bytes, int64_t count, int solo, module_pass *pass)
{
    *pass = (module_pass){0};
    pass->owner =
        openmpt_module_ext_create_from_memory(bytes, (size_t)count, openmpt_log_func_silent, NULL,
                                              openmpt_error_func_ignore, NULL, NULL, NULL, NULL);
    if (pass->owner == NULL)
        return COC_FAIL(COC_ERR_INPUT, "libopenmpt cannot read it: cut short or damaged");
    pass->module = openmpt_module_ext_get_module(pass->owner);
    openmpt_module_set_repeat_count(pass->module, 0);
    if (openmpt_module_ext_get_interface(pass->owner, LIBOPENMPT_EXT_C_INTERFACE_INTERACTIVE,
                                         &pass->control, sizeof pass->control) == 0 ||
        pass->control.set_instrument_mute_status == NULL)
        return COC_FAIL(COC_ERR_INTERNAL, "libopenmpt lacks its interactive interface");
    for (int i = 0; solo >= 0 && i < instruments_of(pass->module); i++)
        if (i != solo) pass->control.set_instrument_mute_status(pass->owner, i, 1);
    return COC_OK;
}

static void close_pass(module_pass *pass)
{
    if (pass->owner != NULL) openmpt_module_ext_destroy(pass->owner);
    *pass = (module_pass){0};
}

/* Play to the end, at most `most` samples. *out is the caller's. */
static coc_status play(module_pass *pass, int64_t rate, int64_t most, float **out, int64_t *samples)
{
    int64_t capacity = 0;

    *samples = 0;
    while (*samples < most) {
        const int64_t left = most - *samples;
        size_t got;

        COC_TRY(coc_grow(out, &capacity, *samples + BLOCK, sizeof **out));
        got = openmpt_module_read_float_mono(
            pass->module, (int32_t)rate, (size_t)(left < BLOCK ? left : BLOCK), *out + *samples);
        if (got == 0) break;
        *samples += (int64_t)got;
    }
    return COC_OK;
}

/* ---- which instruments have notes ------------------------------------------------------------ */

static void name_stem(openmpt_module *module, int instrument, coc_rendered_stem *stem)
{
    const char *name = openmpt_module_get_num_instruments(module) > 0
                           ? openmpt_module_get_instrument_name(module, instrument)
                           : openmpt_module_get_sample_name(module, instrument);

    if (name != NULL && name[strspn(name, " ")] != '\0')
        snprintf(stem->name, sizeof stem->name, "%s", name);
    else
        snprintf(stem->name, sizeof stem->name, "instrument %d", instrument + 1);
    openmpt_free_string(name);
}

static void mark_pattern(openmpt_module *module, int pattern, int instruments, bool *used)
{
    const int rows = openmpt_module_get_pattern_num_rows(module, pattern);
    const int channels = openmpt_module_get_num_channels(module);

    for (int row = 0; row < rows; row++)
        for (int channel = 0; channel < channels; channel++) {
            const int note = openmpt_module_get_pattern_row_channel_command(
                module, pattern, row, channel, OPENMPT_MODULE_COMMAND_NOTE);
            const int instrument = openmpt_module_get_pattern_row_channel_command(
                module, pattern, row, channel, OPENMPT_MODULE_COMMAND_INSTRUMENT);

            if (note > 0 && note <= NOTES && instrument > 0 && instrument <= instruments)
                used[instrument - 1] = true;
        }
}

static void mark_used(openmpt_module *module, int instruments, bool *used)
{
    const int orders = openmpt_module_get_num_orders(module);
    const int patterns = openmpt_module_get_num_patterns(module);

    for (int pattern = 0; pattern < patterns; pattern++)
        for (int order = 0; order < orders; order++) {
            if (openmpt_module_get_order_pattern(module, order) != pattern) continue;
            mark_pattern(module, pattern, instruments, used);
            break;
        }
}

/* ---- stems ----------------------------------------------------------------------------------- */

/* One pass with all instruments muted but one (none, if -1), as the next stem. */
static coc_status render_pass(const coc_render_settings *settings, const char *bytes, int64_t count,
                              int solo, coc_stems *stems, int64_t *samples)
{
    const int64_t most = llround(settings->max_seconds * (double)settings->rate);
    coc_rendered_stem *stem = &stems->stem[stems->count];
    module_pass pass;
    coc_status status = open_pass(bytes, count, solo, &pass);

    *stem = (coc_rendered_stem){.instrument = "Tracker", .program = solo};
    *samples = 0;
    if (status == COC_OK) {
        stems->count++;
        if (solo >= 0) name_stem(pass.module, solo, stem);
        status = play(&pass, settings->rate, most, &stem->samples, samples);
    }
    close_pass(&pass);
    return status;
}

/* Passes of one module are equally long, but nothing promises it: the longest counts. */
static coc_status pad_stems(coc_stems *stems, const int64_t *samples)
{
    for (int s = 0; s < stems->count; s++)
        if (samples[s] > stems->samples) stems->samples = samples[s];
    for (int s = 0; s < stems->count; s++) {
        int64_t capacity = samples[s];

        COC_TRY(coc_grow(&stems->stem[s].samples, &capacity, stems->samples, sizeof(float)));
        memset(stems->stem[s].samples + samples[s], 0,
               (size_t)(stems->samples - samples[s]) * sizeof(float));
    }
    return COC_OK;
}

static coc_status find_used(const char *bytes, int64_t count, bool used[MAX_INSTRUMENTS])
{
    module_pass pass;
    coc_status status = open_pass(bytes, count, -1, &pass);

    if (status == COC_OK) mark_used(pass.module, instruments_of(pass.module), used);
    close_pass(&pass);
    return status;
}

coc_status coc_render_module(const coc_render_settings *settings, const char *bytes, int64_t count,
                             bool full_mix, coc_stems *stems)
{
    int64_t samples[COC_RENDER_STEMS] = {0};
    bool used[MAX_INSTRUMENTS] = {false};

    *stems = (coc_stems){0};
    if (full_mix) {
        COC_TRY(render_pass(settings, bytes, count, -1, stems, &samples[0]));
        return pad_stems(stems, samples);
    }
    COC_TRY(find_used(bytes, count, used));
    for (int i = 0; i < MAX_INSTRUMENTS; i++) {
        if (!used[i]) continue;
        if (stems->count == COC_RENDER_STEMS)
            return COC_FAIL(COC_ERR_INPUT, "a module of more than %d instruments",
                            COC_RENDER_STEMS);
        COC_TRY(render_pass(settings, bytes, count, i, stems, &samples[stems->count]));
    }
    if (stems->count == 0) return COC_FAIL(COC_ERR_INPUT, "a module without notes");
    return pad_stems(stems, samples);
}
