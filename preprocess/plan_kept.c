/* preprocess/plan_kept.c - what earlier runs have finished, and whether it still holds. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "preprocess/plan.h"
#include "preprocess/stem_read.h"

uint64_t coc_track_signature(const char *root, const coc_source_track *track)
{
    uint64_t hash = (uint64_t)track->stems;

    for (int64_t i = 0; i < track->stems; i++) {
        const coc_source_stem *s = &track->stem[i];
        const uint64_t words[] = {hash, coc_hash(s->source, strlen(s->source)),
                                  coc_hash(s->instrument, strlen(s->instrument)),
                                  coc_stem_signature(root, s)};

        hash = coc_hash(words, sizeof words);
    }
    return hash != 0 ? hash : 1; /* 0 stands for "look again" */
}

/* One more stem in the hash of a track's content. */
static uint64_t mix_stem(uint64_t hash, const char *source, const char *instrument, uint64_t file)
{
    const uint64_t words[] = {hash, coc_hash(source, strlen(source)),
                              coc_hash(instrument, strlen(instrument)), file};

    return coc_hash(words, sizeof words);
}

uint64_t coc_track_content(const char *root, const coc_source_track *track)
{
    uint64_t hash = (uint64_t)track->stems;

    for (int64_t i = 0; i < track->stems; i++) {
        const coc_source_stem *s = &track->stem[i];
        uint64_t file = 0;

        if (coc_stem_hash(root, s, &file) != COC_OK) file = 0; /* it cannot be read */
        hash = mix_stem(hash, s->source, s->instrument, file);
    }
    return hash != 0 ? hash : 1;
}

/* The same of a track as a shard holds it. */
static uint64_t stored_content(const coc_shard_index *x, const coc_shard_track *track)
{
    uint64_t hash = (uint64_t)track->stems;

    for (int64_t i = track->first_stem; i < track->first_stem + track->stems; i++)
        hash = mix_stem(hash, x->stem[i].source, x->stem[i].instrument, x->stem[i].source_hash);
    return hash != 0 ? hash : 1;
}

/* ---- what the shards say, on rank 0 ---------------------------------------------------------- */

/* A track that a shard holds or has skipped. */
typedef struct {
    int64_t place;      /* in the list, -1: not there */
    uint64_t signature; /* 0: it could not be read then */
    uint64_t content;
} claim;

typedef struct {
    char file[COC_SHARD_NAME];
    int64_t first, claims;
} claimed_shard;

typedef struct {
    const char *store;
    const coc_store_settings *settings;
    const coc_source_list *list;
    claim *claim;
    char **name; /* [claims] of the tracks */
    int64_t claims, claim_capacity, name_capacity;
    claimed_shard *shard;
    int64_t shards, shard_capacity;
    coc_names *stale;
    int64_t stale_capacity;
} search;

static coc_status add_stale(search *s, const char *file)
{
    coc_names *stale = s->stale;

    COC_TRY(coc_grow(&stale->name, &s->stale_capacity, stale->count + 1, sizeof *stale->name));
    stale->name[stale->count] = coc_strdup(file);
    if (stale->name[stale->count] == NULL) return COC_FAIL(COC_ERR_MEMORY, "%s: no memory", file);
    stale->count++;
    return COC_OK;
}

static int compare_name(const void *key, const void *track)
{
    return strcmp(key, ((const coc_source_track *)track)->name);
}

/* Place of a track in the list, or -1. */
static int64_t find_track(const coc_source_list *list, const char *name)
{
    const coc_source_track *found =
        bsearch(name, list->track, (size_t)list->tracks, sizeof *list->track, compare_name);

    return found != NULL ? found - list->track : -1;
}

static coc_status add_claim(search *s, const char *name, uint64_t signature, uint64_t content)
{
    COC_TRY(coc_grow(&s->claim, &s->claim_capacity, s->claims + 1, sizeof *s->claim));
    COC_TRY(coc_grow(&s->name, &s->name_capacity, s->claims + 1, sizeof *s->name));
    s->claim[s->claims] = (claim){find_track(s->list, name), signature, content};
    s->name[s->claims] = coc_strdup(name);
    if (s->name[s->claims] == NULL) return COC_FAIL(COC_ERR_MEMORY, "%s: no memory", s->store);
    s->claims++;
    return COC_OK;
}

/* A store of other settings is somebody's work: it is not for us to remove. */
static coc_status check_settings(const search *s, const char *file, const coc_store_settings *old)
{
    const coc_store_settings *now = s->settings;

    if (strcmp(old->layout, now->layout) == 0 && strcmp(old->resampler, now->resampler) == 0)
        return COC_OK;
    return COC_FAIL(COC_ERR_SETTING,
                    "%s/%s: made with layout %s, resampler %s; asked for is layout %s, resampler "
                    "%s: name another folder by --out, or remove this store first",
                    s->store, file, old->layout, old->resampler, now->layout, now->resampler);
}

static coc_status add_shard(search *s, const char *file, const coc_shard *shard)
{
    const coc_shard_index *x = &shard->index;
    claimed_shard *row;

    COC_TRY(check_settings(s, file, &shard->settings));
    COC_TRY(coc_grow(&s->shard, &s->shard_capacity, s->shards + 1, sizeof *s->shard));
    row = &s->shard[s->shards++];
    *row = (claimed_shard){.first = s->claims};
    coc_shard_name(coc_shard_number(file), row->file);
    for (int64_t i = 0; i < x->rows[COC_TABLE_TRACKS]; i++)
        COC_TRY(
            add_claim(s, x->track[i].name, x->track[i].signature, stored_content(x, &x->track[i])));
    for (int64_t i = 0; i < x->rows[COC_TABLE_SKIPPED]; i++)
        COC_TRY(add_claim(s, x->skip[i].name, x->skip[i].signature, x->skip[i].content));
    row->claims = s->claims - row->first;
    return COC_OK;
}

static coc_status read_shard(search *s, const char *file)
{
    char path[COC_PATH_BYTES];
    coc_shard shard;
    coc_status status;

    COC_TRY(coc_path_join(path, s->store, file));
    status = coc_shard_read(path, &shard);
    if (status == COC_ERR_INPUT) { /* any other failure says nothing about the shard */
        coc_log_warn("%s (that is what happens now)", coc_error_text());
        return add_stale(s, file);
    }
    if (status == COC_OK) status = add_shard(s, file, &shard);
    coc_shard_free(&shard);
    return status;
}

static coc_status read_shards(search *s)
{
    coc_names names;
    coc_status status = COC_OK;

    if (!coc_is_folder(s->store)) return COC_OK;
    COC_TRY(coc_list_folder(s->store, &names));
    for (int64_t i = 0; i < names.count && status == COC_OK; i++)
        if (coc_shard_number(names.name[i]) >= 0) status = read_shard(s, names.name[i]);
    coc_names_free(&names);
    return status;
}

/* ---- whether it still holds, on all ranks ---------------------------------------------------- */

/* Where times have changed the content decides. */
static bool has_changed(const char *root, const coc_source_list *list, const claim *c)
{
    const coc_source_track *track;

    if (c->place < 0 || c->signature == 0) return false; /* there is nothing to compare */
    track = &list->track[c->place];
    return c->signature != coc_track_signature(root, track) &&
           c->content != coc_track_content(root, track);
}

/* changed [claims]: the ranks share the files, which may all have to be read. */
static coc_status compare(coc_comm *comm, const char *root, const coc_source_list *list,
                          const claim *claims, int64_t count, int64_t *changed)
{
    const double begin = coc_clock_seconds(), deadline = comm->deadline;
    double seconds;
    coc_status status;

    for (int64_t i = comm->rank; i < count; i += comm->size)
        changed[i] = has_changed(root, list, &claims[i]);
    seconds = coc_clock_seconds() - begin;
    if (comm->deadline < COC_PATIENCE * seconds) comm->deadline = COC_PATIENCE * seconds;
    status = coc_all_reduce(comm, "changed tracks", changed, count, COC_INT64);
    comm->deadline = deadline;
    return status;
}

static coc_status share_claims(coc_comm *comm, search *s, int64_t **changed)
{
    coc_status status = COC_OK;

    *changed = NULL;
    COC_TRY(coc_broadcast(comm, "tracks of shards", &s->claims, 1, COC_INT64, 0));
    if (comm->rank != 0) status = coc_alloc(s->claims, sizeof *s->claim, &s->claim);
    if (status == COC_OK) status = coc_alloc(s->claims, sizeof **changed, changed);
    COC_TRY(coc_comm_agree(comm, "memory for finished tracks", status));
    return coc_broadcast(comm, "finished tracks", s->claim,
                         s->claims * (int64_t)(sizeof *s->claim / sizeof(int64_t)), COC_INT64, 0);
}

/* ---- the verdict, on rank 0 ------------------------------------------------------------------ */

/* What parts a track from the data set; NULL: nothing. */
static const char *fault(const claim *c, bool changed, const int64_t *kept)
{
    if (c->place < 0) return "is no longer in the data set";
    if (c->signature == 0) return "could not be read";
    if (kept[c->place] >= 0) return "is in another shard too";
    return changed ? "has changed" : NULL;
}

static coc_status judge_shard(search *s, const claimed_shard *shard, const int64_t *changed,
                              int64_t *kept)
{
    for (int64_t i = shard->first; i < shard->first + shard->claims; i++) {
        const char *how = fault(&s->claim[i], changed[i] != 0, kept);

        if (how == NULL) continue;
        coc_log_root("%s: track %s %s: the shard goes, what is left of it is made again",
                     shard->file, s->name[i], how);
        return add_stale(s, shard->file);
    }
    for (int64_t i = shard->first; i < shard->first + shard->claims; i++)
        kept[s->claim[i].place] = coc_shard_number(shard->file);
    return COC_OK;
}

static coc_status judge(search *s, const char *root, const int64_t *changed, int64_t *kept)
{
    int64_t known = 0;

    for (int64_t i = 0; i < s->claims; i++)
        known += s->claim[i].place >= 0;
    if (known == 0 && s->claims > 0)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: holds %lld tracks, none of which is in %s; name another folder by "
                        "--out, or remove this store first",
                        s->store, (long long)s->claims, root);
    for (int64_t i = 0; i < s->shards; i++)
        COC_TRY(judge_shard(s, &s->shard[i], changed, kept));
    return COC_OK;
}

static void free_search(search *s)
{
    for (int64_t i = 0; s->name != NULL && i < s->claims; i++)
        free(s->name[i]);
    free(s->name);
    free(s->claim);
    free(s->shard);
}

coc_status coc_find_kept(coc_comm *comm, const char *root, const char *store,
                         const coc_store_settings *settings, const coc_source_list *list,
                         int64_t *kept, coc_names *stale)
{
    search s = {.store = store, .settings = settings, .list = list, .stale = stale};
    int64_t *changed = NULL;
    coc_status status = COC_OK;

    *stale = (coc_names){0};
    for (int64_t t = 0; t < list->tracks; t++)
        kept[t] = -1;
    if (comm->rank == 0) status = read_shards(&s);
    COC_TRY_GOTO(status, coc_comm_agree(comm, "looking for finished shards", status), done);
    COC_TRY_GOTO(status, share_claims(comm, &s, &changed), done);
    COC_TRY_GOTO(status, compare(comm, root, list, s.claim, s.claims, changed), done);
    if (comm->rank == 0) status = judge(&s, root, changed, kept);
    COC_TRY_GOTO(status, coc_comm_agree(comm, "comparing finished shards", status), done);
    status = coc_broadcast(comm, "finished shards", kept, list->tracks, COC_INT64, 0);

done:
    free_search(&s);
    free(changed);
    if (status != COC_OK) coc_names_free(stale);
    return status;
}
