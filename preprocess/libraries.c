#include "preprocess/libraries.h"

#include <string.h>

#include <sndfile.h>
#include <soxr.h>

#include "preprocess/fft.h"

void coc_preprocess_libraries(coc_libraries *list)
{
    const char *sndfile = sf_version_string(), *soxr = soxr_version();
    const char *dash = strchr(sndfile, '-'); /* libsndfile-1.2.0 */

    coc_libraries_add(list, "libsndfile", COC_SNDFILE_BUILT, dash != NULL ? dash + 1 : sndfile);
    dash = strchr(soxr, '-');
    coc_libraries_add(list, "soxr", SOXR_THIS_VERSION_STR, dash != NULL ? dash + 1 : soxr);
    coc_libraries_add(list, "FFT", coc_fft_name(), NULL);
    coc_render_libraries(list);
}
