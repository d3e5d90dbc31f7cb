/* Batches from page-locked memory to features as one launch of recorded work: the same bits as call
 * by call, in any order that the streams allow, and the memory that is said to be taken.
 *
 * Stems come from a store made up here: the coc_store_* functions below stand in for the reader.
 * What is taken is seen at the runtime's own functions, which the linker wraps. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cuda_runtime_api.h>

#include "base/memory.h"
#include "preprocess/features.h"
#include "preprocess/store.h"
#include "tests/test.h"
#include "train/clips.h"
#include "train/loader.h"

/* ---- memory that is taken -------------------------------------------------------------------- */

static int64_t taken_device, taken_pinned;

cudaError_t __real_cudaMalloc(void **memory, size_t bytes);
cudaError_t __wrap_cudaMalloc(void **memory, size_t bytes);
cudaError_t __real_cudaMallocHost(void **memory, size_t bytes);
cudaError_t __wrap_cudaMallocHost(void **memory, size_t bytes);

cudaError_t __wrap_cudaMalloc(void **memory, size_t bytes)
{
    taken_device += (int64_t)bytes;
    return __real_cudaMalloc(memory, bytes);
}

cudaError_t __wrap_cudaMallocHost(void **memory, size_t bytes)
{
    taken_pinned += (int64_t)bytes;
    return __real_cudaMallocHost(memory, bytes);
}

/* ---- a store in memory ----------------------------------------------------------------------- */

enum { TRACKS = 3, STEMS = 5, SECONDS = 11, SAMPLES = SECONDS * COC_SAMPLE_RATE };

struct coc_store {
    coc_track track[TRACKS];
    coc_stem stem[TRACKS * STEMS];
};

static coc_store store;

static void make_store(void)
{
    for (int t = 0; t < TRACKS; t++)
        store.track[t] = (coc_track){.id = (uint64_t)t + 1,
                                     .split = COC_TRAIN,
                                     .name = "t",
                                     .samples = SAMPLES,
                                     .first_stem = t * STEMS,
                                     .stems = STEMS};
    for (int s = 0; s < TRACKS * STEMS; s++)
        store.stem[s] = (coc_stem){.track = s / STEMS, .exponent = -s % 4};
}

const char *coc_store_path(const coc_store *s)
{
    (void)s;
    return "made-up-store";
}

int coc_store_sources(const coc_store *s)
{
    return s != NULL;
}

const char *coc_store_source(const coc_store *s, int source)
{
    (void)s, (void)source;
    return "made up";
}

int64_t coc_store_tracks(const coc_store *s)
{
    (void)s;
    return TRACKS;
}

const coc_track *coc_store_track(const coc_store *s, int64_t track)
{
    return &s->track[track];
}

const coc_stem *coc_store_stem(const coc_store *s, int64_t stem)
{
    return &s->stem[stem];
}

double coc_store_mean_square(const coc_store *s, int64_t stem, int64_t first, int64_t count)
{
    (void)s, (void)stem, (void)first, (void)count;
    return 1e-2;
}

/* A saw tooth of its own for every stem. */
coc_status coc_store_read(coc_store *s, int64_t stem, int64_t first, int64_t count, int16_t *pcm)
{
    (void)s;
    for (int64_t i = 0; i < count; i++)
        pcm[i] = (int16_t)(first + i < SAMPLES
                               ? (first + i) * (97 + 31 * stem) % 20011 - 10000 + (first + i) % 77
                               : 0);
    return COC_OK;
}

/* ---- mixes of a feed ------------------------------------------------------------------------- */

enum { CLIPS = 6, PART = 2, MOST = 20 };

static coc_features *cuda;

/* Clips of 0, 1, 4, 7, 3 and 5 stems, the third and the last with noise. */
static void describe(coc_feed_clip *clip, float *gain, coc_mix *mix, const int16_t **pcm,
                     const int16_t *samples)
{
    static const int counts[CLIPS] = {0, 1, 4, 7, 3, 5};
    int64_t stems = 0;

    for (int s = 0; s < MOST; s++) {
        gain[s] = 0x1p-15f / (float)(1 + s);
        pcm[s] = samples + (int64_t)s * COC_CLIP_SAMPLES;
    }
    for (int i = 0; i < CLIPS; i++) {
        clip[i] = (coc_feed_clip){.noise_key = {.seed = UINT64_C(0x123456789abcdef0),
                                                .draw = COC_DRAW_NOISE,
                                                .item = (uint32_t)i,
                                                .step = 5,
                                                .view = 1,
                                                .layer = 300},
                                  .noise = i == 2 || i == CLIPS - 1 ? 0.25f : 0.0f,
                                  .stems = counts[i],
                                  .stem = stems,
                                  .first_frame = 3 * i};
        mix[i] = (coc_mix){counts[i], pcm + stems, gain + stems, clip[i].noise, clip[i].noise_key};
        stems += counts[i];
    }
}

/* Where a feed's parts are put, and what is made of them, by a features object of any side. */
typedef struct {
    coc_feed feed, host;
    void *block, *host_block, *pcm;
    size_t bytes;
    float *wave[2], *features, *parts;
} feeding;

enum { FRAMES = 40, ROWS = COC_BANDS, MEL = COC_BANDS * COC_FRAMES };

static coc_status feeding_create(const coc_features *f, feeding *w)
{
    const coc_device *device = f->device;
    coc_arena counted = {.memory = NULL}, arena;

    memset(w, 0, sizeof *w);
    coc_feed_layout(&w->feed, &counted, CLIPS, MOST);
    w->bytes = counted.used;
    COC_TRY(device->alloc(device, w->bytes, &w->block));
    COC_TRY(device->alloc_host(device, w->bytes, &w->host_block));
    COC_TRY(device->alloc_host(device, coc_feed_pcm_bytes(MOST), &w->pcm));
    arena = (coc_arena){.memory = w->block, .bytes = w->bytes};
    coc_feed_layout(&w->feed, &arena, CLIPS, MOST);
    arena = (coc_arena){.memory = w->host_block, .bytes = w->bytes};
    coc_feed_layout(&w->host, &arena, CLIPS, MOST);
    w->feed.pcm = w->pcm;
    for (int i = 0; i < 2; i++)
        COC_TRY(coc_device_alloc(device, PART * COC_CLIP_SAMPLES, sizeof(float), &w->wave[i]));
    COC_TRY(coc_device_alloc(device, PART * MEL, sizeof(float), &w->features));
    return coc_device_alloc(device, CLIPS * ROWS * FRAMES, sizeof(float), &w->parts);
}

static void feeding_destroy(const coc_features *f, feeding *w)
{
    const coc_device *device = f->device;

    device->release(device, w->block);
    device->release_host(device, w->host_block);
    device->release_host(device, w->pcm);
    for (int i = 0; i < 2; i++)
        device->release(device, w->wave[i]);
    device->release(device, w->features);
    device->release(device, w->parts);
}

/* Parts of log-mel features of a whole feed, two clips at a time; no wait between. */
static coc_status feed_through(coc_features *f, feeding *w)
{
    const coc_device *device = f->device;

    COC_TRY(device->copy(device, w->block, w->host_block, w->bytes, f->stream));
    for (int64_t i = 0; i < CLIPS; i += PART) {
        float *wave = w->wave[i / PART % 2];

        COC_TRY(f->ops->mix_feed(f, &w->feed, i, PART, wave));
        COC_TRY(f->ops->mel(f, wave, PART, w->features));
        COC_TRY(f->ops->crop(f, &w->feed, i, PART, ROWS, FRAMES, w->features,
                             w->parts + i * ROWS * FRAMES));
    }
    return COC_OK;
}

/* The same of the mixes, clip by clip with a wait after each. */
static coc_status mix_through(coc_features *f, feeding *w, const coc_mix *mix, float *parts)
{
    static float mel[MEL];
    const coc_device *device = f->device;

    for (int i = 0; i < CLIPS; i++) {
        COC_TRY(f->ops->mix(f, &mix[i], 1, w->wave[0]));
        COC_TRY(f->ops->mel(f, w->wave[0], 1, w->features));
        COC_TRY(device->copy(device, mel, w->features, sizeof mel, f->stream));
        COC_TRY(device->wait(device, f->stream));
        for (int row = 0; row < ROWS; row++)
            memcpy(parts + (i * ROWS + row) * FRAMES, mel + row * COC_FRAMES + 3 * i,
                   FRAMES * sizeof *parts);
    }
    return COC_OK;
}

static void check_feed(coc_features *f)
{
    static float want[CLIPS * ROWS * FRAMES], got[CLIPS * ROWS * FRAMES];
    const coc_device *device = f->device;
    const int16_t *pcm[MOST];
    coc_mix mix[CLIPS];
    feeding w;

    REQUIRE_OK(feeding_create(f, &w));
    for (int s = 0; s < MOST; s++)
        REQUIRE_OK(coc_store_read(&store, s, 0, COC_CLIP_SAMPLES,
                                  w.feed.pcm + (int64_t)s * COC_CLIP_SAMPLES));
    describe(w.host.clip, w.host.gain, mix, pcm, w.feed.pcm);
    REQUIRE_OK(mix_through(f, &w, mix, want));
    for (int round = 0; round < 2; round++) {
        REQUIRE_OK(feed_through(f, &w));
        REQUIRE_OK(device->copy(device, got, w.parts, sizeof got, f->stream));
        REQUIRE_OK(device->wait(device, f->stream));
        CHECK(memcmp(got, want, sizeof got) == 0);
    }
    feeding_destroy(f, &w);
}

/* Mixes, features and parts of a feed are those of the same clips one by one, bit for bit, also
 * where mixes of the next clips overtake features of these. */
static void a_feed_is_its_clips(void)
{
    coc_features *ref = NULL;

    check_feed(cuda);
    REQUIRE_OK(coc_features_create("ref", 1, &ref));
    check_feed(ref);
    coc_features_destroy(&ref);
}

/* ---- batches --------------------------------------------------------------------------------- */

static coc_settings settings_of(int64_t pairs, coc_feature_kind kind, double crop)
{
    coc_settings s;

    coc_settings_default(&s);
    snprintf(s.model.backend, sizeof s.model.backend, "cuda");
    s.model.graphs = false;
    s.loss.negatives = COC_NEGATIVES_SAME_MODE;
    s.data.features = kind;
    s.data.crop = crop;
    s.data.noise = 0.01;
    s.data.prefetch = 0;
    s.data.threads = 2;
    s.train.batch = pairs;
    s.train.steps = 100;
    return s;
}

/* Everything of a batch, on the host. */
typedef struct {
    size_t bytes;
    char *content;
    coc_batch_way way;
} copied;

static coc_status copy_batch(const coc_batch *b, const coc_settings *s, copied *c)
{
    const int64_t clips = 2 * b->pairs, channels = coc_feature_channels(s->data.features);
    const int64_t floats = coc_clip_floats(s->data.features, coc_crop_frames(&s->data));
    const struct {
        const void *from;
        int64_t bytes;
    } array[] = {{b->x, clips * floats * 4},
                 {b->keep, clips * channels * 4},
                 {b->label, b->pairs * 8},
                 {b->row_track, b->pairs * 8},
                 {b->row_set, b->pairs * 4},
                 {b->column_track, b->pairs * 8},
                 {b->pair, clips * 4},
                 {b->column_set, s->train.batch * 4},
                 {b->view, clips}};
    const coc_device *device = cuda->device;

    c->bytes = 0;
    c->way = b->way;
    for (size_t i = 0; i < sizeof array / sizeof array[0]; i++)
        c->bytes += (size_t)array[i].bytes;
    COC_TRY(coc_alloc((int64_t)c->bytes, 1, &c->content));
    for (size_t i = 0, at = 0; i < sizeof array / sizeof array[0]; i++) {
        COC_TRY(device->copy(device, c->content + at, array[i].from, (size_t)array[i].bytes, NULL));
        at += (size_t)array[i].bytes;
    }
    return device->wait(device, NULL);
}

static coc_parts one_part(const coc_settings *s)
{
    const int64_t k = s->train.batch;

    return (coc_parts){.batch = k, .size = k, .count = 1, .ranks = 1, .rows = k, .most = k};
}

/* The first batches of a loader. Between them the thread has time to make others. */
static coc_status run_loader(const coc_settings *s, int count, copied *out)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    const coc_parts parts = one_part(s);
    const coc_loader_needs needs = {.parts = &parts, .held = 1, .groups = 2};
    coc_sampler *sampler = NULL;
    coc_loader *loader = NULL;
    coc_status status;

    memset(out, 0, (size_t)count * sizeof *out);
    status = coc_sampler_create(&store, COC_TRAIN, &s->data, 1, &sampler);
    if (status == COC_OK) status = coc_loader_create(s, sampler, &needs, &loader);
    for (int i = 0; i < count && status == COC_OK; i++) {
        const coc_batch *batch;

        status = coc_loader_next(loader, &batch);
        if (s->data.prefetch > 0) nanosleep(&pause, NULL);
        if (status == COC_OK) status = copy_batch(batch, s, &out[i]);
    }
    coc_loader_destroy(&loader);
    coc_sampler_destroy(&sampler);
    return status;
}

/* Batches of these settings are, to the bit, those that are made call by call and one at a time;
 * from the second on they are made as `way` says. */
static void compare_batches(const coc_settings *plain, const coc_settings *other, int count,
                            coc_batch_way first, coc_batch_way way)
{
    copied want[8], got[8];

    REQUIRE(count <= 8);
    REQUIRE_OK(run_loader(plain, count, want));
    REQUIRE_OK(run_loader(other, count, got));
    for (int i = 0; i < count; i++) {
        CHECK(want[i].way == COC_MADE_BY_CALLS);
        CHECK(got[i].way == (i == 0 ? first : way));
        CHECK(want[i].bytes == got[i].bytes &&
              memcmp(want[i].content, got[i].content, want[i].bytes) == 0);
        CHECK(i == 0 || memcmp(want[i - 1].content, want[i].content, want[i].bytes) != 0);
    }
    for (int i = 0; i < count; i++) {
        free(want[i].content);
        free(got[i].content);
    }
}

/* Recorded and launched again, with no, one and two batches ahead, of whole windows and of parts:
 * the batches are the same, and none has anything of another. */
static void recorded_batches_are_the_same(void)
{
    coc_settings plain = settings_of(2, COC_FEATURES_MEL, 5);

    for (int prefetch = 0; prefetch < 3; prefetch++) {
        coc_settings recorded;

        plain.data.crop = prefetch == 0 ? 5 : 2;
        recorded = plain;
        recorded.model.graphs = true;
        recorded.data.prefetch = prefetch;
        compare_batches(&plain, &recorded, 8, COC_MADE_BY_FEED, COC_MADE_BY_RECORDING);
    }
    plain = settings_of(1, COC_FEATURES_HPS, 3);
    plain.train.batch = 2;
    {
        coc_settings recorded = plain;

        recorded.model.graphs = true;
        recorded.data.prefetch = 1;
        compare_batches(&plain, &recorded, 3, COC_MADE_BY_FEED, COC_MADE_BY_RECORDING);
    }
}

/* More clips than are computed at a time. */
static void large_batches_are_the_same(void)
{
    coc_settings plain = settings_of(cuda->ops->chunk + 4, COC_FEATURES_MEL, 2), recorded = plain;

    recorded.model.graphs = true;
    recorded.data.prefetch = 1;
    compare_batches(&plain, &recorded, 2, COC_MADE_BY_FEED, COC_MADE_BY_RECORDING);
}

/* A batch with more stems than there is room for is made call by call, the others are not; without
 * room, or without graphs, all are. */
static void batches_without_room_go_call_by_call(void)
{
    const coc_settings plain = settings_of(2, COC_FEATURES_MEL, 2);
    coc_settings tight = plain;
    copied want[8], got[8];
    int ways[3] = {0, 0, 0};

    tight.model.graphs = true;
    tight.data.prefetch = 1;
    tight.data.feed_stems = 0;
    compare_batches(&plain, &tight, 2, COC_MADE_BY_CALLS, COC_MADE_BY_CALLS);
    tight.data.feed_stems = 2;
    REQUIRE_OK(run_loader(&plain, 8, want));
    REQUIRE_OK(run_loader(&tight, 8, got));
    for (int i = 0; i < 8; i++) {
        ways[got[i].way]++;
        CHECK(memcmp(want[i].content, got[i].content, want[i].bytes) == 0);
        free(want[i].content);
        free(got[i].content);
    }
    CHECK(ways[COC_MADE_BY_CALLS] > 0 && ways[COC_MADE_BY_RECORDING] > 0);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void check_bytes(const coc_settings *s)
{
    const coc_parts parts = one_part(s);
    const coc_loader_needs needs = {.parts = &parts, .held = 1, .groups = 2};
    int64_t device = 0, pinned = 0;
    coc_sampler *sampler = NULL;
    coc_loader *loader = NULL;

    REQUIRE_OK(coc_sampler_create(&store, COC_TRAIN, &s->data, 1, &sampler));
    REQUIRE_OK(coc_loader_bytes(s, &parts, 1, &device, &pinned));
    taken_device = taken_pinned = 0;
    REQUIRE_OK(coc_loader_create(s, sampler, &needs, &loader));
    CHECK(taken_device == device && taken_pinned == pinned);
    CHECK(device > 0 && pinned > 0);
    coc_loader_destroy(&loader);
    coc_sampler_destroy(&sampler);
}

/* A loader takes what coc_loader_bytes says, to the byte, and clips what coc_clips_bytes says. */
static void memory_is_what_is_said(void)
{
    coc_settings s = settings_of(3, COC_FEATURES_MEL, 2);
    int64_t device = 0, pinned = 0;
    coc_clips *clips = NULL;

    check_bytes(&s);
    s.model.graphs = true;
    check_bytes(&s);
    s.data.submixtures = false;
    check_bytes(&s);
    s.data.prefetch = 3;
    s.loss.negatives = COC_NEGATIVES_ALL;
    s.data.crop = 5;
    check_bytes(&s);
    REQUIRE_OK(coc_clips_bytes("cuda", COC_FEATURES_HPS, 100, false, &device, &pinned));
    taken_device = taken_pinned = 0;
    REQUIRE_OK(coc_clips_create("cuda", COC_FEATURES_HPS, 100, 1, &clips));
    CHECK(taken_device == device && taken_pinned == pinned);
    coc_clips_destroy(&clips);
    CHECK(coc_clips_bytes("none", COC_FEATURES_HPS, 100, false, &device, &pinned) ==
          COC_ERR_SETTING);
}

int main(void)
{
    if (coc_features_create("cuda", 2, &cuda) != COC_OK) {
        printf("skipped: %s\n", coc_error_text());
        return COC_TEST_SKIPPED;
    }
    make_store();
    RUN(a_feed_is_its_clips);
    RUN(recorded_batches_are_the_same);
    RUN(large_batches_are_the_same);
    RUN(batches_without_room_go_call_by_call);
    RUN(memory_is_what_is_said);
    coc_features_destroy(&cuda);
    return coc_test_result();
}
