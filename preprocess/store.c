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
#include "configs/list.h"
#include "preprocess/features.h"
#include "preprocess/manifest.h"
#include "preprocess/shard.h"

/* One of the folders that were opened. */
typedef struct {
    char path[COC_SETTING_TEXT];
    uint64_t hash;
    coc_manifest manifest;
    int64_t first_shard; /* of its own among all */
} folder;

/* A shard in use: its index, and its file mapped whole. */
typedef struct {
    coc_shard shard;
    int source;
    const char *file; /* name below the folder; the manifest's */
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
    char *paths;
    uint64_t hash;
    folder *folder; /* [sources] */
    int sources;
    open_shard *shard; /* [shards] */
    int64_t shards;
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

static coc_status check_shard(const char *path, const folder *f, const open_shard *s,
                              const coc_manifest_shard *row)
{
    const coc_store_settings *a = &s->shard.settings, *b = &f->manifest.settings;

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

static coc_status open_one(const folder *f, const coc_manifest_shard *row, open_shard *s)
{
    char path[COC_PATH_BYTES];
    int64_t bytes;

    s->file = row->file;
    COC_TRY(coc_path_join(path, f->path, row->file));
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
    COC_TRY(coc_shard_read(path, &s->shard));
    COC_TRY(check_shard(path, f, s, row));
    return map_shard(path, s);
}

static coc_status open_shards(coc_store *store)
{
    COC_TRY(coc_alloc(store->shards, sizeof *store->shard, &store->shard));
    for (int64_t i = 0, source = 0; i < store->shards; i++) {
        const coc_shard_index *x = &store->shard[i].shard.index;
        const folder *f = &store->folder[source];

        while (i >= f->first_shard + f->manifest.shards)
            f = &store->folder[++source];
        store->shard[i].source = (int)source;
        COC_TRY(open_one(f, &f->manifest.shard[i - f->first_shard], &store->shard[i]));
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
    int source;
} place;

static int compare_places(const void *a, const void *b)
{
    const coc_shard_track *x = ((const place *)a)->track, *y = ((const place *)b)->track;

    if (((const place *)a)->source != ((const place *)b)->source)
        return ((const place *)a)->source - ((const place *)b)->source;
    if (x->split != y->split) return x->split < y->split ? -1 : 1;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    return strcmp(x->name, y->name); /* the same audio twice */
}

static void list_places(const coc_store *store, place *places)
{
    int64_t count = 0;

    for (int64_t i = 0; i < store->shards; i++) {
        const coc_shard_index *x = &store->shard[i].shard.index;
        int64_t level = 0, block = 0;

        for (int64_t t = 0; t < x->rows[COC_TABLE_TRACKS]; t++) {
            const coc_shard_track *track = &x->track[t];

            places[count++] = (place){track, i, level, block, store->shard[i].source};
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
                                      .source = places[t].source,
                                      .name = from->name,
                                      .samples = from->samples,
                                      .first_stem = stems,
                                      .stems = (int32_t)from->stems};
        take_stems(store, &places[t], t, &stems, &blocks);
    }
    free(places);
    return COC_OK;
}

/* Manifests of all folders; a list that holds one twice would see its tracks twice. */
static coc_status open_folders(coc_store *store)
{
    COC_TRY(coc_alloc(store->sources, sizeof *store->folder, &store->folder));
    for (int i = 0; i < store->sources; i++) {
        folder *f = &store->folder[i];

        coc_list_item(store->paths, i, f->path);
        COC_TRY(coc_manifest_read(f->path, &f->manifest));
        f->hash = coc_manifest_hash(&f->manifest);
        f->first_shard = store->shards;
        store->shards += f->manifest.shards;
        for (int j = 0; j < i; j++)
            if (store->folder[j].hash == f->hash)
                return COC_FAIL(COC_ERR_INPUT, "%s: the same store as %s; name each once", f->path,
                                store->folder[j].path);
    }
    return COC_OK;
}

static coc_status hash_folders(coc_store *store)
{
    uint64_t *hash;

    store->hash = store->folder[0].hash;
    if (store->sources == 1) return COC_OK;
    COC_TRY(coc_alloc(store->sources, sizeof *hash, &hash));
    for (int i = 0; i < store->sources; i++)
        hash[i] = store->folder[i].hash;
    store->hash = coc_hash(hash, (size_t)store->sources * sizeof *hash);
    free(hash);
    return COC_OK;
}

coc_status coc_store_open(const char *paths, coc_store **store)
{
    coc_status status;
    coc_store *s;

    COC_TRY(coc_alloc(1, sizeof *s, store));
    s = *store;
    s->paths = coc_strdup(paths);
    if (s->paths == NULL) {
        status = COC_FAIL(COC_ERR_MEMORY, "%s: no memory", paths);
        goto fail;
    }
    s->sources = paths[0] != '\0' ? coc_list_count(paths) : 1; /* which is then missed by name */
    COC_TRY_GOTO(status, open_folders(s), fail);
    COC_TRY_GOTO(status, hash_folders(s), fail);
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
    for (int64_t i = 0; s->shard != NULL && i < s->shards; i++) {
        if (s->shard[i].map != NULL) munmap(s->shard[i].map, (size_t)s->shard[i].shard.bytes);
        coc_shard_free(&s->shard[i].shard);
    }
    for (int i = 0; s->folder != NULL && i < s->sources; i++)
        coc_manifest_free(&s->folder[i].manifest);
    free(s->folder);
    free(s->shard);
    free(s->track);
    free(s->stem);
    free(s->data);
    free(s->seen);
    free(s->paths);
    free(s);
    *store = NULL;
}

/* ---- what it holds --------------------------------------------------------------------------- */

const char *coc_store_path(const coc_store *store)
{
    return store->paths;
}

int coc_store_sources(const coc_store *store)
{
    return store->sources;
}

const char *coc_store_source(const coc_store *store, int source)
{
    return store->folder[source].path;
}

uint64_t coc_store_source_hash(const coc_store *store, int source)
{
    return store->folder[source].hash;
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
                        store->folder[store->shard[d->shard].source].path,
                        store->shard[d->shard].file, store->track[s->track].name, s->name,
                        (double)first / COC_SAMPLE_RATE);
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
