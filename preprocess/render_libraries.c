#include <fluidsynth.h>
#include <libopenmpt/libopenmpt.h>
#include <libopenmpt/libopenmpt_version.h>

#include "preprocess/libraries.h"

void coc_render_libraries(coc_libraries *list)
{
    const char *openmpt = openmpt_get_string("library_version");

    coc_libraries_add(list, "FluidSynth", FLUIDSYNTH_VERSION, fluid_version_str());
    coc_libraries_add(list, "libopenmpt", OPENMPT_API_VERSION_STRING, openmpt);
    openmpt_free_string(openmpt);
}
