/* Stands in for render_*.c in a build without libfluidsynth or libopenmpt. */
#include "preprocess/libraries.h"
#include "preprocess/render.h"

coc_status coc_render(const coc_render_settings *settings, const char *const *paths, int64_t count,
                      coc_render_report *report)
{
    (void)settings;
    (void)paths;
    (void)count;
    *report = (coc_render_report){0};
    return COC_FAIL(
        COC_ERR_USAGE,
        "this build cannot render: install libfluidsynth (2.2 or later) and libopenmpt "
        "with their headers (Debian: libfluidsynth-dev libopenmpt-dev) and build again");
}

void coc_render_libraries(coc_libraries *list)
{
    coc_libraries_add(list, "FluidSynth", NULL, NULL);
    coc_libraries_add(list, "libopenmpt", NULL, NULL);
}
