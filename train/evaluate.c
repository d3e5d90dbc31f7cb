#include "train/evaluate.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"

void coc_embedded_free(coc_embedded *embedded)
{
    free(embedded->h1);
    free(embedded->p);
    free(embedded->track);
    *embedded = (coc_embedded){0};
}

/* Pairs embedded at a time, and what that needs. */
typedef struct {
    int64_t pairs;
    coc_pair *pair;
    coc_clip_request *request;
    float *x, *keep, *h, *p; /* on the backend's device */
} chunk;

static void chunk_free(const coc_embedder *e, chunk *c)
{
    const coc_device *device = e->backend->device;

    free(c->pair);
    free(c->request);
    device->release(device, c->x);
    device->release(device, c->keep);
    device->release(device, c->h);
    device->release(device, c->p);
}

static int64_t clip_floats(const coc_network *network)
{
    return (int64_t)network->channels * network->bands * network->frames;
}

void coc_embed_bytes(const coc_network *network, int64_t capacity, int64_t pairs, int64_t share,
                     int64_t *work, int64_t *kept)
{
    const int64_t clips = capacity / 2 * 2, d = network->embedding;

    *work = (clips * (clip_floats(network) + network->channels + d) + clips / 2 * d) *
            (int64_t)sizeof(float);
    *kept = (share + pairs) * d * (int64_t)sizeof(float) + pairs * (int64_t)sizeof(uint64_t);
}

static coc_status chunk_create(const coc_embedder *e, coc_mode mode, chunk *c)
{
    const coc_network *network = e->params->network;
    const coc_device *device = e->backend->device;
    const int64_t clips = 2 * c->pairs, d = network->embedding;

    COC_TRY(coc_alloc(clips, sizeof *c->pair, &c->pair));
    COC_TRY(coc_alloc(clips, sizeof *c->request, &c->request));
    COC_TRY(coc_device_alloc(device, clips * clip_floats(network), sizeof *c->x, &c->x));
    COC_TRY(coc_device_alloc(device, clips * d, sizeof *c->h, &c->h));
    COC_TRY(coc_device_alloc(device, c->pairs * d, sizeof *c->p, &c->p));
    return coc_mode_mask(mode, network->channels, clips, device, &c->keep);
}

/* Embed n pairs whose windows are given; rows go to h1, p [n][d]. */
static coc_status embed_chunk(const coc_embedder *e, const coc_sampler *sampler, chunk *c,
                              const int64_t *window, int64_t n, float *h1, float *p,
                              uint64_t *track)
{
    const int d = e->params->network->embedding;
    const size_t bytes = (size_t)(n * d) * sizeof(float);
    const coc_device *device = e->backend->device;

    for (int64_t i = 0; i < n; i++) {
        coc_sampler_draw_fixed(sampler, window[i], &c->pair[i]);
        c->request[i] = (coc_clip_request){&c->pair[i], 0, window[i], 0, 0};
        c->request[n + i] = (coc_clip_request){&c->pair[i], 1, window[i], 0, 0};
        track[i] = c->pair[i].track_id;
    }
    COC_TRY(coc_clips_compute(e->clips, sampler, c->request, 2 * n, c->x, NULL, NULL));
    COC_TRY(device->order(device, NULL, coc_clips_stream(e->clips)));
    COC_TRY(coc_encoder_embed(e->encoder, e->params, 2 * n, c->x, c->keep, c->h));
    e->backend->ops->linear_forward(e->backend, n, d, d, c->h + n * d,
                                    e->params->value + e->params->at.similarity, NULL, c->p);
    COC_TRY(device->copy(device, h1, c->h, bytes, NULL));
    COC_TRY(device->copy(device, p, c->p, bytes, NULL));
    return e->backend->ops->finish(e->backend);
}

/* This rank's pairs, to their places. */
static coc_status embed_share(const coc_embedder *e, const coc_sampler *sampler, coc_mode mode,
                              const int64_t *window, bool progress, coc_embedded *to)
{
    chunk c = {.pairs = e->capacity / 2};
    /* the stream may still hold work that waits for other ranks; what follows waits for none */
    coc_status status = coc_comm_wait_device(e->comm, e->backend->device, NULL);

    if (status == COC_OK) status = chunk_create(e, mode, &c);
    for (int64_t i = 0; i < to->count && status == COC_OK; i += c.pairs) {
        const int64_t left = to->count - i, n = left < c.pairs ? left : c.pairs;
        const int64_t at = to->first + i;

        status = embed_chunk(e, sampler, &c, window + at, n, to->h1 + i * to->d, to->p + at * to->d,
                             to->track + at);
        if (progress) coc_progress_update(i + n, "pairs embedded on rank 0");
    }
    chunk_free(e, &c);
    return status;
}

static coc_status embedded_create(const coc_comm *comm, int64_t n, int d, coc_embedded *e)
{
    *e = (coc_embedded){.n = n, .d = d};
    e->count = coc_share(n, comm->size, comm->rank, &e->first);
    COC_TRY(coc_alloc(e->count * d, sizeof *e->h1, &e->h1));
    COC_TRY(coc_alloc(n * d, sizeof *e->p, &e->p));
    return coc_alloc(n, sizeof *e->track, &e->track);
}

/* Everybody's positives to everybody. */
static coc_status gather(coc_comm *comm, coc_embedded *e)
{
    coc_comm *host = coc_comm_over_host(comm);
    int64_t *counts, *values;
    coc_status status;

    COC_TRY(coc_alloc(2 * comm->size, sizeof *counts, &counts));
    values = counts + comm->size;
    coc_shares(e->n, comm->size, counts);
    for (int r = 0; r < comm->size; r++)
        values[r] = counts[r] * e->d;
    status = coc_all_gather(host, "positives' embeddings", e->p + e->first * e->d, e->p, values,
                            COC_FLOAT);
    if (status == COC_OK)
        status = coc_all_gather(host, "tracks", e->track + e->first, e->track, counts, COC_INT64);
    free(counts);
    return status;
}

/* Which windows are evaluated: all in file order, or the first of a seeded order. */
static coc_status choose_windows(const coc_sampler *sampler, int64_t pairs, uint64_t seed,
                                 int64_t **window, int64_t *n)
{
    const int64_t windows = coc_sampler_windows(sampler);
    const coc_rng_key key = {.seed = seed, .draw = COC_DRAW_EVAL};

    *n = pairs > 0 && pairs < windows ? pairs : windows;
    COC_TRY(coc_alloc(*n, sizeof **window, window));
    for (int64_t i = 0; i < *n; i++)
        (*window)[i] = *n < windows ? coc_rng_permute(&key, windows, i) : i;
    return COC_OK;
}

coc_status coc_embed_windows(const coc_embedder *e, const coc_sampler *sampler, int64_t pairs,
                             uint64_t seed, coc_mode mode, const char *progress,
                             coc_embedded *embedded)
{
    int64_t *window = NULL, n = 0;
    coc_status status;

    *embedded = (coc_embedded){0};
    status = choose_windows(sampler, pairs, seed, &window, &n);
    if (status == COC_OK)
        status = embedded_create(e->comm, n, e->params->network->embedding, embedded);
    if (status == COC_OK) {
        if (progress != NULL) coc_progress_begin(progress, 0, embedded->count, 10);
        status = embed_share(e, sampler, mode, window, progress != NULL, embedded);
        if (progress != NULL) coc_progress_end();
    }
    status = coc_comm_agree(e->comm, "embedding", status);
    if (status == COC_OK) status = gather(e->comm, embedded);
    free(window);
    if (status != COC_OK) coc_embedded_free(embedded);
    return status;
}
