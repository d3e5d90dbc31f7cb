#include "preprocess/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"
#include "preprocess/features.h"
#include "preprocess/manifest.h"
#include "preprocess/shard.h"

/* A shard in use: its index, and its file mapped whole. */
typedef struct {
    coc_shard shard;
    const char *file; /* name below the store; the manifest's */
    void *map;
} open_shard;

/* Where a stem's samples and hashes are, beside what is told of it. */
typedef struct {
    int64_t shard;
    const int16_t *pcm;    /* [samples], in the map */
    const uint64_t *block; /* [coc_block_count(samples)] */
    atomic_uchar *seen;    /* the same: 1 after the hash was found right */
} stem_data;

struct coc_store {
    char *path;
    uint64_t hash;
    coc_manifest manifest;
    open_shard *shard;
    coc_track *track;
    coc_stem *stem;
    stem_data *data; /* [stems] */
    atomic_uchar *seen;
    int64_t tracks, stems, blocks;
};

/* ---- opening --------------------------------------------------------------------------------- */

static coc_status map_shard(const char *path, open_shard *s)
{
    const int file = open(path, O_RDONLY);
    void *map = MAP_FAILED;
    int error;

    if (file >= 0) map = mmap(NULL, (size_t)s->shard.bytes, PROT_READ, MAP_SHARED, file, 0);
    error = errno;
    if (file >= 0) close(file);
    if (map == MAP_FAILED)
        return COC_FAIL(COC_ERR_IO, "%s: cannot be mapped into memory: %s", path, strerror(error));
    s->map = map;
    return COC_OK;
}

static coc_status check_shard(const char *path, const coc_store *store, const open_shard *s,
                              const coc_manifest_shard *row)
{
    const coc_store_settings *a = &s->shard.settings, *b = &store->manifest.settings;

    if (strcmp(a->layout, b->layout) != 0 || strcmp(a->resampler, b->resampler) != 0)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: made with other settings (layout %s, resampler %s) than the store "
                        "(layout %s, resampler %s); run `cocola preprocess` again",
                        path, a->layout, a->resampler, b->layout, b->resampler);
    if (s->shard.hash != row->hash || s->shard.index.rows[COC_TABLE_TRACKS] != row->tracks ||
        s->shard.index.rows[COC_TABLE_STEMS] != row->stems)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: content hash %016" PRIx64 ", manifest.json says %016" PRIx64
                        ": a shard of another store; run `cocola preprocess` again",
                        path, s->shard.hash, row->hash);
    return COC_OK;
}

static coc_status open_one(coc_store *store, int64_t i)
{
    const coc_manifest_shard *row = &store->manifest.shard[i];
    char path[COC_PATH_BYTES];
    int64_t bytes;

    store->shard[i].file = row->file;
    COC_TRY(coc_path_join(path, store->path, row->file));
    bytes = coc_file_bytes(path);
    if (bytes < 0)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: missing; copy it, or run `cocola preprocess` again, which makes it",
                        path);
    if (bytes != row->bytes)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: %" PRId64 " bytes, should be %" PRId64
                        ": cut or exchanged; copy it again, or run `cocola preprocess` again",
                        path, bytes, row->bytes);
    COC_TRY(coc_shard_read(path, &store->shard[i].shard));
    COC_TRY(check_shard(path, store, &store->shard[i], row));
    return map_shard(path, &store->shard[i]);
}

static coc_status open_shards(coc_store *store)
{
    COC_TRY(coc_alloc(store->manifest.shards, sizeof *store->shard, &store->shard));
    for (int64_t i = 0; i < store->manifest.shards; i++) {
        const coc_shard_index *x = &store->shard[i].shard.index;

        COC_TRY(open_one(store, i));
        store->tracks += x->rows[COC_TABLE_TRACKS];
        store->stems += x->rows[COC_TABLE_STEMS];
        store->blocks += x->rows[COC_TABLE_BLOCKS];
    }
    return COC_OK;
}

/* ---- one list of tracks and stems ------------------------------------------------------------ */

typedef struct {
    const coc_shard_track *track;
    int64_t shard, first_level, first_block;
} place;

static int compare_places(const void *a, const void *b)
{
    const coc_shard_track *x = ((const place *)a)->track, *y = ((const place *)b)->track;

    if (x->split != y->split) return x->split < y->split ? -1 : 1;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    return strcmp(x->name, y->name); /* the same audio twice */
}

static void list_places(const coc_store *store, place *places)
{
    int64_t count = 0;

    for (int64_t i = 0; i < store->manifest.shards; i++) {
        const coc_shard_index *x = &store->shard[i].shard.index;
        int64_t level = 0, block = 0;

        for (int64_t t = 0; t < x->rows[COC_TABLE_TRACKS]; t++) {
            const coc_shard_track *track = &x->track[t];

            places[count++] = (place){track, i, level, block};
            for (int64_t s = track->first_stem; s < track->first_stem + track->stems; s++) {
                level += coc_level_count(x->stem[s].samples);
                block += coc_block_count(x->stem[s].samples);
            }
        }
    }
    if (count > 1) qsort(places, (size_t)count, sizeof *places, compare_places);
}

/* Take the stems of a track over; *stems and *seen count on. */
static void take_stems(coc_store *store, const place *p, int64_t track, int64_t *stems,
                       int64_t *blocks)
{
    const open_shard *o = &store->shard[p->shard];
    const coc_shard_index *x = &o->shard.index;
    const char *audio = (const char *)o->map;
    int64_t level = p->first_level, block = p->first_block;

    for (int64_t s = p->track->first_stem; s < p->track->first_stem + p->track->stems; s++) {
        const coc_shard_stem *from = &x->stem[s];

        store->stem[*stems] = (coc_stem){.track = track,
                                         .name = from->name,
                                         .instrument = from->instrument,
                                         .source = from->source,
                                         .samples = from->samples,
                                         .exponent = (int32_t)from->exponent,
                                         .levels = coc_level_count(from->samples),
                                         .mean_square = x->level + level};
        store->data[*stems] =
            (stem_data){.shard = p->shard,
                        .pcm = (const int16_t *)(const void *)(audio + from->file_offset),
                        .block = x->block + block,
                        .seen = store->seen + *blocks};
        level += coc_level_count(from->samples);
        block += coc_block_count(from->samples);
        *blocks += coc_block_count(from->samples);
        (*stems)++;
    }
}

static coc_status join_shards(coc_store *store)
{
    int64_t stems = 0, blocks = 0;
    place *places;

    COC_TRY(coc_alloc(store->tracks, sizeof *store->track, &store->track));
    COC_TRY(coc_alloc(store->stems, sizeof *store->stem, &store->stem));
    COC_TRY(coc_alloc(store->stems, sizeof *store->data, &store->data));
    COC_TRY(coc_alloc(store->blocks, sizeof *store->seen, &store->seen));
    COC_TRY(coc_alloc(store->tracks, sizeof *places, &places));
    list_places(store, places);
    for (int64_t t = 0; t < store->tracks; t++) {
        const coc_shard_track *from = places[t].track;

        store->track[t] = (coc_track){.id = from->id,
                                      .split = (coc_split)from->split,
                                      .name = from->name,
                                      .samples = from->samples,
                                      .first_stem = stems,
                                      .stems = (int32_t)from->stems};
        take_stems(store, &places[t], t, &stems, &blocks);
    }
    free(places);
    return COC_OK;
}

coc_status coc_store_open(const char *path, coc_store **store)
{
    coc_status status;
    coc_store *s;

    COC_TRY(coc_alloc(1, sizeof *s, store));
    s = *store;
    s->path = coc_strdup(path);
    if (s->path == NULL) {
        status = COC_FAIL(COC_ERR_MEMORY, "%s: no memory", path);
        goto fail;
    }
    COC_TRY_GOTO(status, coc_manifest_read(path, &s->manifest), fail);
    s->hash = coc_manifest_hash(&s->manifest);
    COC_TRY_GOTO(status, open_shards(s), fail);
    COC_TRY_GOTO(status, join_shards(s), fail);
    return COC_OK;

fail:
    coc_store_close(store);
    return status;
}

void coc_store_close(coc_store **store)
{
    coc_store *s = *store;

    if (s == NULL) return;
    for (int64_t i = 0; s->shard != NULL && i < s->manifest.shards; i++) {
        if (s->shard[i].map != NULL) munmap(s->shard[i].map, (size_t)s->shard[i].shard.bytes);
        coc_shard_free(&s->shard[i].shard);
    }
    coc_manifest_free(&s->manifest);
    free(s->shard);
    free(s->track);
    free(s->stem);
    free(s->data);
    free(s->seen);
    free(s->path);
    free(s);
    *store = NULL;
}

/* ---- what it holds --------------------------------------------------------------------------- */

const char *coc_store_path(const coc_store *store)
{
    return store->path;
}

uint64_t coc_store_hash(const coc_store *store)
{
    return store->hash;
}

int64_t coc_store_tracks(const coc_store *store)
{
    return store->tracks;
}

const coc_track *coc_store_track(const coc_store *store, int64_t track)
{
    return &store->track[track];
}

const coc_stem *coc_store_stem(const coc_store *store, int64_t stem)
{
    return &store->stem[stem];
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Several threads may check the same block at once; all find the same. */
static coc_status check_block(coc_store *store, int64_t stem, int64_t block)
{
    const coc_stem *s = &store->stem[stem];
    const stem_data *d = &store->data[stem];
    const int64_t first = block * COC_STORE_BLOCK, left = s->samples - first;
    const int64_t count = left < COC_STORE_BLOCK ? left : COC_STORE_BLOCK;

    if (atomic_load_explicit(&d->seen[block], memory_order_relaxed)) return COC_OK;
    if (coc_hash(d->pcm + first, (size_t)count * sizeof *d->pcm) != d->block[block])
        return COC_FAIL(COC_ERR_INPUT,
                        "%s/%s: damaged in track %s, stem %s, at %.1f s: the block does not fit "
                        "its hash; remove the shard and run `cocola preprocess` again",
                        store->path, store->shard[d->shard].file, store->track[s->track].name,
                        s->name, (double)first / COC_SAMPLE_RATE);
    atomic_store_explicit(&d->seen[block], 1, memory_order_relaxed);
    return COC_OK;
}

coc_status coc_store_read(coc_store *store, int64_t stem, int64_t first, int64_t count,
                          int16_t *pcm)
{
    const int64_t left = store->stem[stem].samples - first;
    const int64_t inside = left < 0 ? 0 : left < count ? left : count;

    for (int64_t b = first / COC_STORE_BLOCK; b * COC_STORE_BLOCK < first + inside; b++)
        COC_TRY(check_block(store, stem, b));
    if (inside > 0) memcpy(pcm, store->data[stem].pcm + first, (size_t)inside * sizeof *pcm);
    if (inside < count) memset(pcm + inside, 0, (size_t)(count - inside) * sizeof *pcm);
    return COC_OK;
}

double coc_store_mean_square(const coc_store *store, int64_t stem, int64_t first, int64_t count)
{
    const coc_stem *s = &store->stem[stem];
    const int64_t end = first + count < s->samples ? first + count : s->samples;
    double sum = 0;

    for (int64_t at = first; at < end;) {
        const int64_t level = at / COC_STORE_LEVEL_SAMPLES;
        const int64_t next = (level + 1) * COC_STORE_LEVEL_SAMPLES < end
                                 ? (level + 1) * COC_STORE_LEVEL_SAMPLES
                                 : end;

        sum += (double)s->mean_square[level] * (double)(next - at);
        at = next;
    }
    return sum / (double)count;
}

coc_status coc_store_verify(coc_store *store)
{
    for (int64_t s = 0; s < store->stems; s++) {
        const int64_t blocks = coc_block_count(store->stem[s].samples);

        for (int64_t b = 0; b < blocks; b++) {
            atomic_store_explicit(&store->data[s].seen[b], 0, memory_order_relaxed);
            COC_TRY(check_block(store, s, b));
        }
    }
    return COC_OK;
}
