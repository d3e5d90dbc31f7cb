#include "train/batch.h"

#include <math.h>

#include "train/clips.h"

coc_status coc_batch_feed_room(const coc_settings *settings, int64_t clips, int64_t *stems)
{
    const coc_data_settings *d = &settings->data;
    const double most = d->submixtures ? COC_MAX_STEMS : 1; /* of a clip */
    const coc_feature_ops *ops;

    *stems = 0;
    COC_TRY(coc_feature_ops_find(settings->model.backend, &ops));
    if (settings->model.graphs && ops->records)
        *stems = (int64_t)ceil((double)clips * fmin(d->feed_stems, most));
    return COC_OK;
}

/* Run twice: see coc_arena. */
static void lay_out(coc_batch_place *place, coc_arena *arena, const coc_settings *settings,
                    int64_t pairs, int64_t stems)
{
    const int64_t clips = 2 * pairs;
    const int64_t channels = coc_feature_channels(settings->data.features);
    coc_batch *b = &place->batch;

    b->pairs = pairs;
    b->keep = coc_arena_take(arena, clips * channels, sizeof *b->keep);
    b->pair = coc_arena_take(arena, clips, sizeof *b->pair);
    b->view = coc_arena_take(arena, clips, sizeof *b->view);
    b->label = coc_arena_take(arena, pairs, sizeof *b->label);
    b->row_track = coc_arena_take(arena, pairs, sizeof *b->row_track);
    b->column_track = coc_arena_take(arena, pairs, sizeof *b->column_track);
    if (coc_deal_has_sets(settings)) {
        b->row_set = coc_arena_take(arena, pairs, sizeof *b->row_set);
        b->column_set = coc_arena_take(arena, settings->train.batch, sizeof *b->column_set);
    }
    b->column_label = coc_arena_take(arena, pairs, sizeof *b->column_label);
    if (coc_deal_has_sets(settings) && settings->loss.symmetric) {
        b->positive_set = coc_arena_take(arena, pairs, sizeof *b->positive_set);
        b->anchor_set = coc_arena_take(arena, settings->train.batch, sizeof *b->anchor_set);
    }
    if (stems > 0) coc_feed_layout(&place->feed, arena, clips, stems);
}

static size_t block_bytes(const coc_settings *settings, int64_t pairs, int64_t stems)
{
    coc_batch_place unused = {.block = NULL};
    coc_arena counted = {.memory = NULL};

    lay_out(&unused, &counted, settings, pairs, stems);
    return counted.used;
}

static coc_status begin_place(coc_batch_place *place, const coc_device *device,
                              const coc_settings *settings, int64_t pairs, int64_t stems)
{
    place->bytes = block_bytes(settings, pairs, stems);
    return device->mark_create(device, &place->mark);
}

static void cut_block(coc_batch_place *place, const coc_settings *settings, int64_t pairs,
                      int64_t stems)
{
    coc_arena arena = {.memory = place->block, .bytes = place->bytes};

    lay_out(place, &arena, settings, pairs, stems);
}

coc_status coc_batch_create_host(coc_batch_place *place, const coc_device *device,
                                 const coc_settings *settings, int64_t pairs, int64_t stems)
{
    const size_t bytes = coc_feed_pcm_bytes(stems);
    void *pcm = NULL;

    COC_TRY(begin_place(place, device, settings, pairs, stems));
    COC_TRY(device->alloc_host(device, place->bytes, &place->block));
    cut_block(place, settings, pairs, stems);
    if (stems == 0) return COC_OK;
    if (device->alloc_host(device, bytes, &pcm) != COC_OK)
        return COC_FAIL(COC_ERR_MEMORY,
                        "no page-locked memory for the stems of a batch, %d times %.1f MB: lower "
                        "data.feed_stems (0: do without)",
                        COC_HOST_PLACES, 1e-6 * (double)bytes);
    place->feed.pcm = pcm;
    return COC_OK;
}

void coc_batch_destroy_host(coc_batch_place *place, const coc_device *device)
{
    device->release_host(device, place->feed.pcm);
    device->release_host(device, place->block);
    device->mark_destroy(device, place->mark);
    *place = (coc_batch_place){.block = NULL};
}

static int64_t features_floats(const coc_settings *settings, int64_t pairs)
{
    return 2 * pairs * coc_clip_floats(settings->data.features, coc_crop_frames(&settings->data));
}

coc_status coc_batch_create(coc_batch_place *place, const coc_device *device,
                            const coc_settings *settings, int64_t pairs, int64_t stems)
{
    float **x = &place->batch.x;

    COC_TRY(begin_place(place, device, settings, pairs, stems));
    COC_TRY(device->alloc(device, place->bytes, &place->block));
    cut_block(place, settings, pairs, stems);
    return coc_device_alloc(device, features_floats(settings, pairs), sizeof **x, x);
}

void coc_batch_destroy(coc_batch_place *place, const coc_device *device)
{
    device->release(device, place->batch.x);
    device->release(device, place->block);
    device->mark_destroy(device, place->mark);
    *place = (coc_batch_place){.block = NULL};
}

coc_status coc_loader_bytes(const coc_settings *settings, const coc_parts *parts, int held,
                            int64_t *device, int64_t *pinned)
{
    const int64_t slots = settings->data.prefetch + held, pairs = parts->most;
    int64_t stems, block;

    *device = *pinned = 0;
    COC_TRY(coc_batch_feed_room(settings, 2 * pairs, &stems));
    COC_TRY(coc_clips_bytes(settings->model.backend, settings->data.features,
                            coc_crop_frames(&settings->data), stems > 0, device, pinned));
    block = (int64_t)block_bytes(settings, pairs, stems);
    *device += slots * (block + features_floats(settings, pairs) * (int64_t)sizeof(float));
    *pinned += COC_HOST_PLACES * (block + (int64_t)coc_feed_pcm_bytes(stems));
    return COC_OK;
}

coc_batch_clip coc_batch_clip_at(const coc_deal *deal, const coc_batch_part *part, int64_t i)
{
    const int view = i >= part->pairs;
    const int64_t row = view ? i - part->pairs : i;

    return (coc_batch_clip){i, row, view, coc_deal_at(deal, part->first + row, view)};
}

void coc_batch_describe_sets(coc_batch *b, const coc_deal *deal)
{
    if (b->column_set != NULL) coc_deal_sets(deal, 1, b->column_set);
    if (b->anchor_set != NULL) coc_deal_sets(deal, 0, b->anchor_set);
}

void coc_batch_describe(coc_batch *b, const coc_batch_clip *clip, int channels, uint64_t track)
{
    const coc_dealt *dealt = &clip->dealt;

    b->pair[clip->i] = dealt->pair;
    b->view[clip->i] = (uint8_t)clip->view;
    for (int c = 0; c < channels; c++)
        b->keep[clip->i * channels + c] = (float)(dealt->kept >> c & 1);
    if (clip->view) {
        b->column_track[clip->row] = track;
        b->column_label[clip->row] = dealt->other;
        if (b->positive_set != NULL) b->positive_set[clip->row] = dealt->set;
        return;
    }
    b->row_track[clip->row] = track;
    b->label[clip->row] = dealt->other;
    if (b->row_set != NULL) b->row_set[clip->row] = dealt->set;
}
