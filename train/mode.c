/* train/mode.c - the three scores: which channels the encoder sees. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/evaluate.h"

const char *coc_mode_name(coc_mode mode)
{
    static const char *const names[COC_MODES] = {"both", "harmonic", "percussive"};

    return names[mode];
}

void coc_mode_keep(coc_mode mode, int channels, int64_t n, real *keep)
{
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < channels; c++)
            keep[i * channels + c] = mode == COC_MODE_BOTH || (int)mode == c + 1;
}

coc_status coc_mode_mask(coc_mode mode, int channels, int64_t n, const coc_device *device,
                         real **keep)
{
    const int64_t count = n * channels;
    coc_status status;
    real *host;

    *keep = NULL;
    COC_TRY(coc_alloc(count, sizeof *host, &host));
    coc_mode_keep(mode, channels, n, host);
    status = coc_device_alloc(device, count, sizeof *host, keep);
    if (status == COC_OK)
        status = device->copy(device, *keep, host, (size_t)count * sizeof *host, NULL);
    if (status == COC_OK) status = device->wait(device, NULL);
    free(host);
    return status;
}

coc_status coc_mode_parse(const char *text, int channels, coc_mode modes[COC_MODES], int *count)
{
    *count = 0;
    for (int m = 0; m < COC_MODES; m++) {
        const bool named = strcmp(text, coc_mode_name((coc_mode)m)) == 0;

        if (channels < 2 && m > 0) {
            if (named)
                return COC_FAIL(COC_ERR_USAGE,
                                "--mode %s: this model has one channel and only the score 'both'",
                                text);
            continue;
        }
        if (named || strcmp(text, "all") == 0) modes[(*count)++] = (coc_mode)m;
    }
    if (*count == 0)
        return COC_FAIL(COC_ERR_USAGE,
                        "--mode: '%s' is unknown; known: both, harmonic, percussive, all", text);
    return COC_OK;
}
