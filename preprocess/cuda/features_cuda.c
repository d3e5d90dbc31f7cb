/* The features on the GPU: memory, streams, and the order of the kernels.
 *
 * Everything happens on a background stream (features->stream), which gives way to the training
 * step. Stems come from the store's mapped files: they are gathered into page-locked memory by all
 * threads and copied as 16-bit numbers on a stream of their own, so that the copies of the next
 * clips run beside the kernels of these. Two such loads take turns.
 *
 * A feed (preprocess/features.h) lies in page-locked memory as a whole; its samples are read there
 * by the kernel that mixes, whose blocks are few. Nothing in that way depends on numbers of the
 * batch, so it can be recorded. */
#include "preprocess/cuda/features_cuda.h"

#include <math.h>
#include <omp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cuda/device.h"
#include "base/memory.h"
#include "preprocess/features_backends.h"

enum {
    CHUNK = 2 * COC_CUDA_CLIPS, /* clips that are best handed over at a time */
    LOADS = 2,
    CHANNEL = COC_BANDS * COC_FRAMES,
    POWERS = COC_CUDA_CLIPS * COC_CUDA_POWERS, /* floats */
    LOUDEST = COC_CUDA_CLIPS * 2 * COC_CUDA_PARTS,
};

typedef struct {
    coc_cuda_load *host;   /* page-locked; free again after `copied` */
    coc_cuda_load *device; /* free again after `mixed` */
    cudaEvent_t copied, mixed;
} load_slot;

typedef struct {
    coc_stream *copies;
    load_slot slot[LOADS];
    int next; /* slot */
    /* Of feeds: where features->stream stood when this call and the one before it were made, and
     * the end of the last mix. */
    cudaEvent_t reached[2], fed;
    int turn;              /* of `reached`, for the next call */
    const float *fed_wave; /* of the last mix */
    coc_cuda_tables *tables;
    float *power;   /* [COC_CUDA_CLIPS][COC_BINS][COC_CUDA_ROW] */
    float *loudest; /* [COC_CUDA_CLIPS][2][COC_CUDA_PARTS] */
} cuda_features;

/* ---- tables */

static coc_cuda_number unit(double turns)
{
    const double angle = -2 * acos(-1.0) * turns;

    return (coc_cuda_number){cos(angle), sin(angle)};
}

static void fill_bank(coc_cuda_bank *bank, coc_mel_scale scale)
{
    double weight[COC_BANDS][COC_BINS];
    int used = 0;

    coc_mel_bank(scale, weight);
    for (int band = 0; band < COC_BANDS; band++) {
        int begin = 0, end = COC_BINS;

        while (begin < COC_BINS - 1 && weight[band][begin] == 0)
            begin++;
        while (end > begin + 1 && weight[band][end - 1] == 0)
            end--;
        bank->begin[band] = begin;
        bank->end[band] = end;
        bank->weights[band] = used;
        for (int bin = begin; bin < end; bin++)
            bank->weight[used++] = (float)weight[band][bin];
    }
}

static void fill_tables(coc_cuda_tables *tables)
{
    const double pi = acos(-1.0);

    for (int i = 0; i < COC_FFT_WINDOW; i++) /* periodic Hann */
        tables->window[i] = 0.5 - 0.5 * cos(2 * pi * i / COC_FFT_WINDOW);
    for (int k = 0; k < 8; k++) {
        for (int n = 0; n < 64; n++)
            tables->of_512[k][n] = unit(k * n / 512.0);
        for (int n = 0; n < 8; n++)
            tables->of_64[k][n] = unit(k * n / 64.0);
    }
    for (int k = 0; k < COC_BINS / 2; k++)
        tables->half_turn[k] = unit(k / 1024.0);
    fill_bank(&tables->slaney, COC_MEL_SLANEY);
    fill_bank(&tables->htk, COC_MEL_HTK);
}

/* Waits: the host's copy of the tables lives until then. */
static coc_status create_tables(coc_features *features, cuda_features *cuda)
{
    const coc_device *device = features->device;
    coc_cuda_tables *tables;
    coc_status status;

    COC_TRY(coc_device_alloc(device, 1, sizeof *cuda->tables, &cuda->tables));
    COC_TRY(coc_alloc(1, sizeof *tables, &tables));
    fill_tables(tables);
    status = device->copy(device, cuda->tables, tables, sizeof *tables, features->stream);
    if (status == COC_OK) status = device->wait(device, features->stream);
    free(tables);
    return status;
}

/* ---- creation */

static coc_status create_slot(const coc_device *device, load_slot *slot)
{
    void *memory;

    COC_TRY(device->alloc_host(device, sizeof *slot->host, &memory));
    slot->host = memory;
    COC_TRY(coc_device_alloc(device, 1, sizeof *slot->device, &slot->device));
    COC_TRY(coc_cuda_event(&slot->copied));
    return coc_cuda_event(&slot->mixed);
}

static coc_status cuda_create(coc_features *features)
{
    const coc_device *device;
    cuda_features *cuda;

    COC_TRY(coc_cuda_device(&features->device));
    device = features->device;
    if (features->threads < 1) features->threads = omp_get_max_threads();
    COC_TRY(coc_alloc(1, sizeof *cuda, &features->impl));
    cuda = features->impl;
    COC_TRY(device->stream_create(device, true, &features->stream));
    COC_TRY(device->stream_create(device, true, &cuda->copies));
    COC_TRY(coc_cuda_event(&cuda->reached[0]));
    COC_TRY(coc_cuda_event(&cuda->reached[1]));
    COC_TRY(coc_cuda_event(&cuda->fed));
    COC_TRY(create_tables(features, cuda));
    for (int i = 0; i < LOADS; i++)
        COC_TRY(create_slot(device, &cuda->slot[i]));
    COC_TRY(coc_device_alloc(device, POWERS, sizeof *cuda->power, &cuda->power));
    return coc_device_alloc(device, LOUDEST, sizeof *cuda->loudest, &cuda->loudest);
}

static void cuda_bytes(int64_t *device, int64_t *pinned)
{
    const int64_t loads = LOADS * (int64_t)sizeof(coc_cuda_load);

    *pinned = loads;
    *device =
        loads + (int64_t)sizeof(coc_cuda_tables) + (POWERS + LOUDEST) * (int64_t)sizeof(float);
}

/* Also after a failed creation, and after a failure of the device, when waiting fails, too. */
static void cuda_destroy(coc_features *features)
{
    const coc_device *device = features->device;
    cuda_features *cuda = features->impl;

    if (cuda == NULL) return;
    if (cuda->copies != NULL) (void)device->wait(device, cuda->copies);
    if (features->stream != NULL) (void)device->wait(device, features->stream);
    for (int i = 0; i < LOADS; i++) {
        load_slot *slot = &cuda->slot[i];

        if (slot->copied != NULL) cudaEventDestroy(slot->copied);
        if (slot->mixed != NULL) cudaEventDestroy(slot->mixed);
        device->release_host(device, slot->host);
        device->release(device, slot->device);
    }
    for (int i = 0; i < 2; i++)
        if (cuda->reached[i] != NULL) cudaEventDestroy(cuda->reached[i]);
    if (cuda->fed != NULL) cudaEventDestroy(cuda->fed);
    device->release(device, cuda->tables);
    device->release(device, cuda->power);
    device->release(device, cuda->loudest);
    device->stream_destroy(device, cuda->copies);
    device->stream_destroy(device, features->stream);
    free(cuda);
    features->stream = NULL;
    features->impl = NULL;
}

/* ---- mixes */

/* What lies in a slot so far, and where it comes from. */
typedef struct {
    load_slot *slot;
    const int16_t *pcm[COC_CUDA_STEMS];
    int mixes, stems;
} pending;

/* The next slot, once its last copy is done: waits for that copy alone. */
static coc_status begin_load(cuda_features *cuda, pending *p)
{
    p->slot = &cuda->slot[cuda->next];
    p->mixes = 0;
    p->stems = 0;
    cuda->next = (cuda->next + 1) % LOADS;
    return coc_cuda_check(cudaEventSynchronize(p->slot->copied), "copies of stems");
}

/* Copies the stems to the device and mixes them there. The copy waits for the mix that last read
 * this slot's device memory, not for the features after it. */
static coc_status send_load(coc_features *features, cuda_features *cuda, pending *p, float *wave)
{
    const coc_device *device = features->device;
    const cudaStream_t copies = coc_cuda_stream(cuda->copies);
    const cudaStream_t stream = coc_cuda_stream(features->stream);
    load_slot *slot = p->slot;

    if (p->mixes == 0) return COC_OK;
#pragma omp parallel for schedule(dynamic, 1) num_threads(features->threads)
    for (int s = 0; s < p->stems; s++)
        memcpy(slot->host->pcm[s], p->pcm[s], sizeof slot->host->pcm[s]);
    COC_TRY(coc_cuda_check(cudaStreamWaitEvent(copies, slot->mixed, 0), "order of copies"));
    COC_TRY(device->copy(
        device, slot->device, slot->host,
        offsetof(coc_cuda_load, pcm) + (size_t)p->stems * sizeof slot->host->pcm[0], cuda->copies));
    COC_TRY(coc_cuda_check(cudaEventRecord(slot->copied, copies), "copies of stems"));
    COC_TRY(coc_cuda_check(cudaStreamWaitEvent(stream, slot->copied, 0), "order of mixes"));
    coc_cuda_mix_stems(slot->device, p->mixes, wave, stream);
    COC_TRY(coc_cuda_check(cudaGetLastError(), "mix"));
    return coc_cuda_check(cudaEventRecord(slot->mixed, stream), "mix");
}

/* Some stems of clip `clip` from `stem` on, as many as there is room for; gives their number. */
static int add_mix(pending *p, const coc_mix *mix, int64_t clip, int stem)
{
    const int left = mix->stems - stem, room = COC_CUDA_STEMS - p->stems;
    const int taken = left < room ? left : room;
    coc_cuda_load *load = p->slot->host;
    coc_cuda_mix *m = &load->mix[p->mixes++];

    *m = coc_cuda_noise(mix->noise, &mix->noise_key);
    m->clip = clip;
    m->first = p->stems;
    m->stems = taken;
    m->adds = stem > 0;
    for (int i = 0; i < taken; i++, p->stems++) {
        load->gain[p->stems] = mix->gain[stem + i];
        p->pcm[p->stems] = mix->pcm[stem + i];
    }
    return taken;
}

static coc_status cuda_mix(coc_features *features, const coc_mix *mixes, int64_t n, float *wave)
{
    cuda_features *cuda = features->impl;
    pending p;

    COC_TRY(begin_load(cuda, &p));
    for (int64_t i = 0; i < n; i++) {
        int stem = 0;

        do {
            if (p.mixes == COC_CUDA_MIXES || (p.stems == COC_CUDA_STEMS && mixes[i].stems > 0)) {
                COC_TRY(send_load(features, cuda, &p, wave));
                COC_TRY(begin_load(cuda, &p));
            }
            stem += add_mix(&p, &mixes[i], i, stem);
        } while (stem < mixes[i].stems);
    }
    return send_load(features, cuda, &p, wave);
}

/* On the stream of copies, so that stems of the next clips come over the bus beside the kernels of
 * these. Its wave was read last by features that were asked for before the call before this one:
 * no others are waited for. */
static coc_status cuda_mix_feed(coc_features *features, const coc_feed *feed, int64_t first,
                                int64_t n, float *wave)
{
    cuda_features *cuda = features->impl;
    const cudaStream_t copies = coc_cuda_stream(cuda->copies);
    const cudaStream_t stream = coc_cuda_stream(features->stream);
    const cudaEvent_t now = cuda->reached[cuda->turn], before = cuda->reached[1 - cuda->turn];

    if (first > 0 && wave == cuda->fed_wave)
        return COC_FAIL(COC_ERR_INTERNAL, "a wave of a feed is mixed into while it is read");
    cuda->fed_wave = wave;
    cuda->turn = 1 - cuda->turn;
    COC_TRY(coc_cuda_check(cudaEventRecord(now, stream), "order of mixes"));
    COC_TRY(coc_cuda_check(cudaStreamWaitEvent(copies, first == 0 ? now : before, 0),
                           "order of mixes"));
    coc_cuda_mix_feed(feed, first, n, wave, copies);
    COC_TRY(coc_cuda_check(cudaGetLastError(), "mix"));
    COC_TRY(coc_cuda_check(cudaEventRecord(cuda->fed, copies), "mix"));
    return coc_cuda_check(cudaStreamWaitEvent(stream, cuda->fed, 0), "order of mixes");
}

/* ---- features */

static coc_status cuda_hps(coc_features *features, const float *wave, int64_t n, float *out)
{
    const cuda_features *cuda = features->impl;
    const cudaStream_t stream = coc_cuda_stream(features->stream);

    for (int64_t done = 0; done < n; done += COC_CUDA_CLIPS) {
        const int64_t clips = n - done < COC_CUDA_CLIPS ? n - done : COC_CUDA_CLIPS;
        float *bands = out + done * 2 * CHANNEL;

        coc_cuda_powers(cuda->tables, wave + done * COC_CLIP_SAMPLES, clips, false, cuda->power,
                        stream);
        coc_cuda_hps_bands(&cuda->tables->slaney, cuda->power, clips, bands, cuda->loudest, stream);
        coc_cuda_decibels_relative(cuda->loudest, 2 * clips, bands, stream);
    }
    return coc_cuda_check(cudaGetLastError(), "harmonic and percussive features");
}

static coc_status cuda_mel(coc_features *features, const float *wave, int64_t n, float *out)
{
    const cuda_features *cuda = features->impl;
    const cudaStream_t stream = coc_cuda_stream(features->stream);

    for (int64_t done = 0; done < n; done += COC_CUDA_CLIPS) {
        const int64_t clips = n - done < COC_CUDA_CLIPS ? n - done : COC_CUDA_CLIPS;

        coc_cuda_powers(cuda->tables, wave + done * COC_CLIP_SAMPLES, clips, true, cuda->power,
                        stream);
        coc_cuda_mel_decibels(&cuda->tables->htk, cuda->power, clips, out + done * CHANNEL, stream);
    }
    return coc_cuda_check(cudaGetLastError(), "log-mel features");
}

static coc_status cuda_crop(coc_features *features, const coc_feed *feed, int64_t first, int64_t n,
                            int rows, int frames, const float *whole, float *out)
{
    coc_cuda_crop(feed, first, n, rows, frames, whole, out, coc_cuda_stream(features->stream));
    return coc_cuda_check(cudaGetLastError(), "parts of features");
}

const coc_feature_ops coc_features_cuda = {.name = "cuda",
                                           .chunk = CHUNK,
                                           .records = true,
                                           .bytes = cuda_bytes,
                                           .create = cuda_create,
                                           .destroy = cuda_destroy,
                                           .mix = cuda_mix,
                                           .mix_feed = cuda_mix_feed,
                                           .hps = cuda_hps,
                                           .mel = cuda_mel,
                                           .crop = cuda_crop};
