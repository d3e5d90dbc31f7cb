/* preprocess/plan_kept.c - what earlier runs have finished, and whether it still holds. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/memory.h"
#include "preprocess/plan.h"

uint64_t coc_track_signature(const char *root, const coc_source_track *track)
{
    uint64_t hash = (uint64_t)track->stems;

    for (int64_t i = 0; i < track->stems; i++) {
        const coc_source_stem *s = &track->stem[i];
        char path[COC_PATH_BYTES];
        struct stat info = {.st_size = -1};

        if (coc_path_join(path, root, s->source) == COC_OK && stat(path, &info) != 0)
            info = (struct stat){.st_size = -1};
        const uint64_t words[] = {hash,
                                  coc_hash(s->source, strlen(s->source)),
                                  coc_hash(s->instrument, strlen(s->instrument)),
                                  (uint64_t)info.st_size,
                                  (uint64_t)info.st_mtim.tv_sec,
                                  (uint64_t)info.st_mtim.tv_nsec};
        hash = coc_hash(words, sizeof words);
    }
    return hash != 0 ? hash : 1; /* 0 stands for "look again" */
}

uint64_t coc_track_content(const char *root, const coc_source_track *track)
{
    uint64_t hash = (uint64_t)track->stems;

    for (int64_t i = 0; i < track->stems; i++) {
        const coc_source_stem *s = &track->stem[i];
        uint64_t words[] = {hash, coc_hash(s->source, strlen(s->source)),
                            coc_hash(s->instrument, strlen(s->instrument)), 0};
        char path[COC_PATH_BYTES];

        /* a file that cannot be read counts as 0 */
        if (coc_path_join(path, root, s->source) == COC_OK) (void)!coc_hash_file(path, &words[3]);
        hash = coc_hash(words, sizeof words);
    }
    return hash != 0 ? hash : 1;
}

/* Times may have changed without the content: then the content is compared. */
static bool same_content(const char *root, const coc_source_track *track,
                         const coc_shard_track *old, const coc_shard_stem *stem)
{
    if (track->stems != old->stems) return false;
    for (int64_t i = 0; i < track->stems; i++) {
        const coc_source_stem *s = &track->stem[i];
        const coc_shard_stem *o = &stem[old->first_stem + i];
        char path[COC_PATH_BYTES];
        uint64_t hash;

        if (strcmp(s->source, o->source) != 0 || strcmp(s->instrument, o->instrument) != 0 ||
            coc_path_join(path, root, s->source) != COC_OK ||
            coc_file_bytes(path) != o->source_bytes || coc_hash_file(path, &hash) != COC_OK ||
            hash != o->source_hash)
            return false;
    }
    return true;
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

typedef struct {
    const char *root;
    const coc_store_settings *settings;
    const coc_source_list *list;
    int64_t *kept;
    int64_t known, unknown; /* tracks of shards that are in the list, and that are not */
    const char *changed;    /* the first track that parts a shard from the data set */
    const char *how;
} search;

static void note_change(search *s, const char *name, const char *how)
{
    if (s->changed != NULL) return;
    s->changed = name;
    s->how = how;
}

static void look_at_track(search *s, const coc_shard *shard, const coc_shard_track *old)
{
    const int64_t t = find_track(s->list, old->name);

    if (t < 0) {
        s->unknown++;
        note_change(s, old->name, "is no longer in the data set");
        return;
    }
    s->known++;
    if (s->kept[t] >= 0)
        note_change(s, old->name, "is in another shard too");
    else if (old->signature != coc_track_signature(s->root, &s->list->track[t]) &&
             !same_content(s->root, &s->list->track[t], old, shard->index.stem))
        note_change(s, old->name, "has changed");
}

static void look_at_skip(search *s, const coc_shard_skip *old)
{
    const int64_t t = find_track(s->list, old->name);

    if (t < 0) {
        s->unknown++;
        note_change(s, old->name, "is no longer in the data set");
        return;
    }
    s->known++;
    if (old->signature == 0)
        note_change(s, old->name, "could not be read");
    else if (s->kept[t] >= 0)
        note_change(s, old->name, "is in another shard too");
    else if (old->signature != coc_track_signature(s->root, &s->list->track[t]) &&
             old->content != coc_track_content(s->root, &s->list->track[t]))
        note_change(s, old->name, "has changed");
}

/* Whether the shard still holds; if so its tracks are marked. */
static bool holds(search *s, const char *name, const coc_shard *shard)
{
    const coc_shard_index *x = &shard->index;
    const int64_t number = coc_shard_number(name);

    if (strcmp(shard->settings.layout, s->settings->layout) != 0 ||
        strcmp(shard->settings.resampler, s->settings->resampler) != 0) {
        coc_log_root("%s: made with other settings (layout %s, resampler %s): it is made again",
                     name, shard->settings.layout, shard->settings.resampler);
        return false;
    }
    s->changed = NULL;
    for (int64_t i = 0; i < x->rows[COC_TABLE_TRACKS]; i++)
        look_at_track(s, shard, &x->track[i]);
    for (int64_t i = 0; i < x->rows[COC_TABLE_SKIPPED]; i++)
        look_at_skip(s, &x->skip[i]);
    if (s->changed != NULL) {
        coc_log_root("%s: track %s %s: the shard is made again", name, s->changed, s->how);
        return false;
    }
    for (int64_t i = 0; i < x->rows[COC_TABLE_TRACKS]; i++)
        s->kept[find_track(s->list, x->track[i].name)] = number;
    for (int64_t i = 0; i < x->rows[COC_TABLE_SKIPPED]; i++)
        s->kept[find_track(s->list, x->skip[i].name)] = number;
    return true;
}

static coc_status look_at_shard(search *s, const char *store, const char *name, coc_names *stale)
{
    char path[COC_PATH_BYTES];
    int64_t capacity = stale->count; /* grown one by one: there are few */
    coc_shard shard;
    bool good;

    COC_TRY(coc_path_join(path, store, name));
    good = coc_shard_read(path, &shard) == COC_OK;
    if (!good) coc_log_warn("%s (that is what happens now)", coc_error_text());
    good = good && holds(s, name, &shard);
    coc_shard_free(&shard);
    if (good) return COC_OK;
    COC_TRY(coc_grow(&stale->name, &capacity, stale->count + 1, sizeof *stale->name));
    stale->name[stale->count] = coc_strdup(name);
    if (stale->name[stale->count] == NULL) return COC_FAIL(COC_ERR_MEMORY, "%s: no memory", path);
    stale->count++;
    return COC_OK;
}

coc_status coc_find_kept(const char *root, const char *store, const coc_store_settings *settings,
                         const coc_source_list *list, int64_t *kept, coc_names *stale)
{
    search s = {.root = root, .settings = settings, .list = list, .kept = kept};
    coc_names names;
    coc_status status = COC_OK;

    *stale = (coc_names){0};
    for (int64_t t = 0; t < list->tracks; t++)
        kept[t] = -1;
    if (!coc_is_folder(store)) return COC_OK;
    COC_TRY(coc_list_folder(store, &names));
    for (int64_t i = 0; i < names.count && status == COC_OK; i++)
        if (coc_shard_number(names.name[i]) >= 0)
            status = look_at_shard(&s, store, names.name[i], stale);
    coc_names_free(&names);
    if (status == COC_OK && s.known == 0 && s.unknown > 0)
        status = COC_FAIL(COC_ERR_INPUT,
                          "%s: holds %lld tracks, none of which is in %s; name another folder by "
                          "--out, or remove this store first",
                          store, (long long)s.unknown, root);
    if (status != COC_OK) coc_names_free(stale);
    return status;
}
