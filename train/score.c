#include "train/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/similarity.h"
#include "preprocess/audio.h"

/* A row that is still being filled. */
typedef struct {
    coc_score_row row;
    double sum[COC_MODES];
    int64_t scored; /* windows that are in the sums */
} open_row;

struct coc_scorer {
    const coc_model *model;
    coc_backend *backend;
    coc_score_settings settings;
    int64_t window, hop; /* samples */
    coc_features *features;
    coc_encoder *encoder;

    int64_t room, filled; /* windows: of the batch, now in it */
    float *cut;           /* [COC_CLIP_SAMPLES] a window on its way to wave; host */
    double *s;            /* [room]; host */
    int64_t *owner;       /* [room] row of each window */
    /* on the backend's device */
    float *wave[2];        /* [room][COC_CLIP_SAMPLES] of contexts, of outputs */
    float *x;              /* [2 filled][C][F][T]: contexts, then outputs */
    real *keep[COC_MODES]; /* [2 room][C] */
    real *h;               /* [2 filled][d] */

    open_row *rows; /* [n] of the run */
    int64_t n, delivered;
    coc_score_done done;
    void *context;
};

int64_t coc_score_windows(int64_t length, int64_t window, int64_t hop)
{
    return length <= window ? 1 : 1 + (length - window) / hop;
}

/* ---- making --------------------------------------------------------------------------------- */

static coc_status create_parts(coc_scorer *s)
{
    const coc_network *network = &s->model->network;
    const coc_device *device = s->backend->device;
    const int64_t clips = 2 * s->room;
    const int64_t floats = (int64_t)network->channels * network->bands * network->frames;

    COC_TRY(coc_features_create(s->settings.backend, 0, &s->features));
    COC_TRY(coc_encoder_create(s->backend, network, clips, false, &s->encoder));
    COC_TRY(coc_alloc(COC_CLIP_SAMPLES, sizeof *s->cut, &s->cut));
    COC_TRY(coc_alloc(s->room, sizeof *s->s, &s->s));
    COC_TRY(coc_alloc(s->room, sizeof *s->owner, &s->owner));
    for (int side = 0; side < 2; side++)
        COC_TRY(
            coc_device_alloc(device, s->room * COC_CLIP_SAMPLES, sizeof(float), &s->wave[side]));
    COC_TRY(coc_device_alloc(device, clips * floats, sizeof *s->x, &s->x));
    for (int m = 0; m < s->settings.mode_count; m++)
        COC_TRY(coc_mode_mask(s->settings.modes[m], network->channels, clips, device, &s->keep[m]));
    return coc_device_alloc(device, clips * network->embedding, sizeof *s->h, &s->h);
}

coc_status coc_scorer_create(const coc_model *model, coc_backend *backend,
                             const coc_score_settings *settings, coc_scorer **scorer)
{
    coc_status status;
    coc_scorer *s;

    COC_TRY(coc_alloc(1, sizeof *s, scorer));
    s = *scorer;
    s->model = model;
    s->backend = backend;
    s->settings = *settings;
    s->window = llround(settings->window * COC_SAMPLE_RATE);
    s->hop = llround(settings->hop * COC_SAMPLE_RATE);
    s->room = settings->batch / 2;
    status = create_parts(s);
    if (status != COC_OK) coc_scorer_destroy(scorer);
    return status;
}

void coc_scorer_destroy(coc_scorer **scorer)
{
    coc_scorer *s = *scorer;
    const coc_device *device;

    if (s == NULL) return;
    device = s->backend->device;
    coc_features_destroy(&s->features);
    coc_encoder_destroy(&s->encoder);
    for (int m = 0; m < COC_MODES; m++)
        device->release(device, s->keep[m]);
    device->release(device, s->wave[0]);
    device->release(device, s->wave[1]);
    device->release(device, s->x);
    device->release(device, s->h);
    free(s->cut);
    free(s->s);
    free(s->owner);
    free(s);
    *scorer = NULL;
}

/* ---- windows to scores ---------------------------------------------------------------------- */

static coc_status score_mode(coc_scorer *s, int m)
{
    const int64_t n = s->filled, d = s->model->network.embedding;

    COC_TRY(coc_encoder_embed(s->encoder, s->model->params, 2 * n, s->x, s->keep[m], s->h));
    COC_TRY(coc_similarity_pairs(s->backend, s->model->params, n, s->h, s->h + n * d, s->s));
    for (int64_t i = 0; i < n; i++)
        s->rows[s->owner[i]].sum[s->settings.modes[m]] += s->s[i];
    return COC_OK;
}

static coc_status score_batch(coc_scorer *s)
{
    const coc_network *network = &s->model->network;
    const coc_device *device = s->backend->device;
    const int64_t n = s->filled;
    const int64_t floats = (int64_t)network->channels * network->bands * network->frames;

    if (n == 0) return COC_OK;
    for (int side = 0; side < 2; side++)
        COC_TRY(coc_features_compute(s->features, s->model->info.features, s->wave[side], n,
                                     s->x + side * n * floats));
    COC_TRY(device->order(device, NULL, s->features->stream));
    for (int m = 0; m < s->settings.mode_count; m++)
        COC_TRY(score_mode(s, m));
    for (int64_t i = 0; i < n; i++)
        s->rows[s->owner[i]].scored++;
    s->filled = 0;
    return COC_OK;
}

/* Hand over the rows from the front that have all their windows. */
static coc_status deliver(coc_scorer *s, int64_t begun)
{
    while (s->delivered < begun) {
        open_row *r = &s->rows[s->delivered];

        if (r->row.error == NULL && r->scored < r->row.windows) return COC_OK;
        for (int m = 0; m < s->settings.mode_count && r->row.error == NULL; m++) {
            const coc_mode mode = s->settings.modes[m];

            r->row.score[mode] = r->sum[mode] / (double)r->row.windows;
        }
        COC_TRY(s->done(s->context, s->delivered, &r->row));
        s->delivered++;
    }
    return COC_OK;
}

/* ---- files to windows ----------------------------------------------------------------------- */

static coc_status cut_window(coc_scorer *s, const coc_audio *audio, int64_t start, int64_t length,
                             float *wave)
{
    const coc_device *device = s->backend->device;
    int64_t count = length - start;

    if (count > s->window) count = s->window;
    memset(s->cut, 0, COC_CLIP_SAMPLES * sizeof *s->cut);
    memcpy(s->cut, audio->samples + start, (size_t)count * sizeof *s->cut);
    COC_TRY(
        device->copy(device, wave, s->cut, COC_CLIP_SAMPLES * sizeof *wave, s->features->stream));
    return device->wait(device, s->features->stream); /* cut is used again */
}

static coc_status add_windows(coc_scorer *s, int64_t index, const coc_audio audio[2],
                              int64_t length)
{
    const int64_t windows = s->rows[index].row.windows;

    for (int64_t w = 0; w < windows; w++) {
        for (int side = 0; side < 2; side++)
            COC_TRY(cut_window(s, &audio[side], w * s->hop, length,
                               s->wave[side] + s->filled * COC_CLIP_SAMPLES));
        s->owner[s->filled++] = index;
        if (s->filled == s->room) COC_TRY(score_batch(s));
    }
    return COC_OK;
}

static coc_status add_pair(coc_scorer *s, int64_t index, const coc_audio audio[2])
{
    coc_score_row *row = &s->rows[index].row;
    const int64_t a = audio[0].count, b = audio[1].count, length = a < b ? a : b;

    row->context_seconds = (double)a / COC_SAMPLE_RATE;
    row->output_seconds = (double)b / COC_SAMPLE_RATE;
    row->seconds = (double)length / COC_SAMPLE_RATE;
    row->padded = length < COC_CLIP_SAMPLES || s->window < COC_CLIP_SAMPLES;
    row->windows = coc_score_windows(length, s->window, s->hop);
    return add_windows(s, index, audio, length);
}

static coc_status note_error(coc_scorer *s, int64_t index, coc_status status)
{
    if (!s->settings.keep_going || (status != COC_ERR_INPUT && status != COC_ERR_IO)) return status;
    s->rows[index].row.error = coc_strdup(coc_error_text());
    return s->rows[index].row.error != NULL ? COC_OK : COC_ERR_MEMORY;
}

static coc_status take_pair(coc_scorer *s, int64_t index, const coc_score_pair *pair)
{
    coc_audio audio[2] = {{0}, {0}};
    coc_status status = coc_audio_read(pair->context, COC_SAMPLE_RATE, &audio[0]);

    if (status == COC_OK) status = coc_audio_read(pair->output, COC_SAMPLE_RATE, &audio[1]);
    status = status == COC_OK ? add_pair(s, index, audio) : note_error(s, index, status);
    coc_audio_free(&audio[0]);
    coc_audio_free(&audio[1]);
    return status;
}

static coc_status run_all(coc_scorer *s, const coc_score_pair *pairs)
{
    for (int64_t i = 0; i < s->n; i++) {
        for (int m = 0; m < COC_MODES; m++)
            s->rows[i].row.score[m] = NAN;
        COC_TRY(take_pair(s, i, &pairs[i]));
        COC_TRY(deliver(s, i + 1));
    }
    COC_TRY(score_batch(s));
    return deliver(s, s->n);
}

coc_status coc_scorer_run(coc_scorer *s, const coc_score_pair *pairs, int64_t n,
                          coc_score_done done, void *context)
{
    coc_status status;

    COC_TRY(coc_alloc(n, sizeof *s->rows, &s->rows));
    s->n = n;
    s->delivered = s->filled = 0;
    s->done = done;
    s->context = context;
    status = run_all(s, pairs);
    for (int64_t i = 0; i < n; i++)
        free(s->rows[i].row.error);
    free(s->rows);
    s->rows = NULL;
    return status;
}
