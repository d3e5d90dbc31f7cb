/* Feeds: their memory, and what the rows of the host do with them. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "preprocess/features_backends.h"

void coc_feed_layout(coc_feed *feed, coc_arena *arena, int64_t clips, int64_t stems)
{
    feed->clips = clips;
    feed->stems = stems;
    feed->clip = coc_arena_take(arena, clips, sizeof *feed->clip);
    feed->gain = coc_arena_take(arena, stems, sizeof *feed->gain);
}

size_t coc_feed_pcm_bytes(int64_t stems)
{
    return (size_t)stems * COC_CLIP_SAMPLES * sizeof(int16_t);
}

void coc_features_no_bytes(int64_t *device, int64_t *pinned)
{
    *device = *pinned = 0;
}

coc_status coc_features_mix_feed(coc_features *features, const coc_feed *feed, int64_t first,
                                 int64_t n, float *wave)
{
    const int16_t **pcm = NULL;
    coc_mix *mixes = NULL;
    coc_status status;

    status = coc_alloc(n, sizeof *mixes, &mixes);
    if (status == COC_OK) status = coc_alloc(feed->stems, sizeof *pcm, &pcm);
    if (status == COC_OK) {
        for (int64_t s = 0; s < feed->stems; s++)
            pcm[s] = feed->pcm + s * COC_CLIP_SAMPLES;
        for (int64_t i = 0; i < n; i++) {
            const coc_feed_clip *c = &feed->clip[first + i];

            mixes[i] =
                (coc_mix){c->stems, pcm + c->stem, feed->gain + c->stem, c->noise, c->noise_key};
        }
        status = features->ops->mix(features, mixes, n, wave);
    }
    free(pcm);
    free(mixes);
    return status;
}

coc_status coc_features_crop(coc_features *features, const coc_feed *feed, int64_t first, int64_t n,
                             int rows, int frames, const float *whole, float *out)
{
    (void)features;
    for (int64_t row = 0; row < n * rows; row++)
        memcpy(out + row * frames,
               whole + row * COC_FRAMES + feed->clip[first + row / rows].first_frame,
               (size_t)frames * sizeof *out);
    return COC_OK;
}
