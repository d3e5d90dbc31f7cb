#include "preprocess/build.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "preprocess/build_shard.h"
#include "preprocess/features.h"
#include "preprocess/plan.h"
#include "preprocess/stem_read.h"

/* While a run goes on its rank 0 holds a lock on this file. A rank that fails removes it; the
 * others see that after their track and stop too, so that none is killed in the middle of a file.
 * Removing works on a full disk. */
#define LOCK ".preprocess.lock"

typedef struct {
    coc_comm *comm;
    const coc_build_settings *settings;
    coc_build_result *result;
    char root[COC_PATH_BYTES]; /* what the paths of sources are below */
    coc_source_list list;
    int64_t *kept;    /* [tracks] */
    int64_t *samples; /* [tracks] */
    coc_names stale;  /* rank 0 */
    coc_plan plan;
    coc_lock lock;     /* held by rank 0; all know its path */
    int64_t own, done; /* tracks of this rank */
    double begun;      /* when it began to write */
    coc_track_work work;
    bool left; /* stopped because another rank did */
} build;

/* ---- what there is --------------------------------------------------------------------------- */

static uint64_t list_hash(const coc_source_list *list)
{
    uint64_t hash = (uint64_t)list->tracks;

    for (int64_t t = 0; t < list->tracks; t++) {
        const coc_source_track *track = &list->track[t];

        for (int64_t s = 0; s < track->stems; s++) {
            const uint64_t words[] = {
                hash, coc_hash(track->name, strlen(track->name)),
                coc_hash(track->stem[s].source, strlen(track->stem[s].source))};

            hash = coc_hash(words, sizeof words);
        }
    }
    return hash;
}

static coc_status list_sources(build *b)
{
    const coc_build_settings *s = b->settings;
    coc_status status = coc_layout_root(s->in, b->root);
    uint64_t mine, first;

    if (status == COC_OK) status = coc_layout_list(s->layout, s->in, &s->options, &b->list);
    COC_TRY(coc_comm_agree(b->comm, "listing the data set", status));
    mine = first = list_hash(&b->list);
    COC_TRY(coc_broadcast(b->comm, "list of tracks", &first, 1, COC_INT64, 0));
    if (mine != first)
        status = COC_FAIL(COC_ERR_IO,
                          "%s: lists other files here than on rank 0; every rank must see the same "
                          "folder, and nobody may change it meanwhile",
                          s->in);
    if (status == COC_OK) status = coc_alloc(b->list.tracks, sizeof *b->kept, &b->kept);
    if (status == COC_OK) status = coc_alloc(b->list.tracks, sizeof *b->samples, &b->samples);
    return coc_comm_agree(b->comm, "comparing the lists", status);
}

static coc_status find_kept(build *b)
{
    const coc_store_settings settings = coc_store_settings_of(b->settings->layout->name);

    return coc_find_kept(b->comm, b->root, b->settings->out, &settings, &b->list, b->kept,
                         &b->stale);
}

/* Whether there is something to write or to remove; the same on all ranks. */
static coc_status is_work_left(const build *b, bool *left)
{
    bool missing = b->stale.count > 0;

    for (int64_t t = 0; t < b->list.tracks; t++)
        missing |= b->kept[t] < 0;
    return coc_comm_any(b->comm, "shards to make or remove", missing, left);
}

/* Lengths from the headers; files that cannot be read count nothing, and are said when it is their
 * turn. */
static coc_status measure_tracks(build *b)
{
    for (int64_t t = b->comm->rank; t < b->list.tracks; t += b->comm->size) {
        const coc_source_track *track = &b->list.track[t];

        for (int64_t s = 0; s < track->stems && track->stems > 1; s++) {
            int64_t count = 0;

            if (coc_stem_probe(b->root, &track->stem[s], COC_SAMPLE_RATE, &count) == COC_OK)
                b->samples[t] += count;
        }
    }
    return coc_all_reduce(b->comm, "lengths of tracks", b->samples, b->list.tracks, COC_INT64);
}

/* ---- the folder ------------------------------------------------------------------------------ */

/* What killed runs have left, shards that no longer hold, and the manifest, which would name them.
 */
static coc_status clear_folder(const build *b)
{
    const char *out = b->settings->out;
    char path[COC_PATH_BYTES];

    COC_TRY(coc_path_join(path, out, "manifest.json"));
    coc_file_discard(path);
    for (int64_t i = 0; i < b->stale.count; i++)
        if (coc_path_join(path, out, b->stale.name[i]) == COC_OK) coc_file_discard(path);
    coc_sweep_partials(out);
    return COC_OK;
}

static coc_status prepare_folder(build *b)
{
    coc_status status = coc_path_join(b->lock.path, b->settings->out, LOCK);

    if (status == COC_OK && b->comm->rank == 0) {
        status = coc_make_folders(b->settings->out);
        if (status == COC_OK)
            status = coc_lock_take(b->settings->out, LOCK, "cocola preprocess", &b->lock);
        if (status == COC_OK) status = clear_folder(b);
    }
    COC_TRY(coc_comm_agree(b->comm, "preparing the store's folder", status));
    if (!coc_file_exists(b->lock.path))
        status = COC_FAIL(COC_ERR_IO,
                          "%s: not the folder that rank 0 sees; the store must lie on a file "
                          "system that all ranks share",
                          b->settings->out);
    return coc_comm_agree(b->comm, "looking at the store's folder", status);
}

/* ---- the work -------------------------------------------------------------------------------- */

/* The ranks' shares are even: rank 0 speaks for all. */
static void show_progress(const build *b)
{
    const double seconds = coc_clock_seconds() - b->begun, ranks = b->comm->size;
    const double heard = (double)b->work.samples / COC_SAMPLE_RATE * ranks;

    coc_progress_update(b->done * b->list.tracks / (b->own > 0 ? b->own : 1),
                        "tracks  %.0f files, %.1f h, %.0f x real time, %.0f MB/s in, %.0f out",
                        ranks * (double)b->work.files, heard / 3600, heard / seconds,
                        1e-6 * ranks * (double)b->work.bytes / seconds,
                        2e-6 * COC_SAMPLE_RATE * heard / seconds);
}

static coc_status track_done(void *context, const coc_track_work *work)
{
    build *b = context;

    b->done++;
    b->work.files += work->files;
    b->work.bytes += work->bytes;
    b->work.samples += work->samples;
    show_progress(b);
    if (coc_stop_requested())
        return COC_FAIL(COC_ERR_STOPPED,
                        "stopped by a signal; run the same command again to go on");
    if (coc_file_exists(b->lock.path)) return COC_OK;
    b->left = true;
    return COC_FAIL(COC_ERR_IO, "%s was removed while the store was written; run again",
                    b->lock.path);
}

static coc_status write_shards(build *b)
{
    coc_status status = COC_OK;

    for (int64_t i = 0; i < b->plan.shards; i++)
        if (b->plan.shard[i].rank == b->comm->rank) b->own += b->plan.shard[i].tracks;
    b->begun = coc_clock_seconds();
    coc_progress_begin("preprocess", 0, b->list.tracks, 10);
    for (int64_t i = 0; i < b->plan.shards && status == COC_OK; i++)
        if (b->plan.shard[i].rank == b->comm->rank)
            status =
                coc_build_shard(b->settings, b->root, &b->list, &b->plan.shard[i], track_done, b);
    coc_progress_end();
    if (status != COC_OK) coc_file_discard(b->lock.path);
    return status;
}

/* All ranks leave together. Those that stopped because another did have nothing to say. */
static coc_status meet(build *b, coc_status status, double seconds)
{
    const double deadline = b->comm->deadline, share = coc_plan_patience(&b->plan, b->comm->size);
    bool stopped, left;

    /* a rank may have no share: its own time then says nothing */
    b->comm->deadline = fmax(deadline, fmax(share, COC_PATIENCE * seconds));
    COC_TRY(coc_comm_any(b->comm, "end of the work", status == COC_ERR_STOPPED, &stopped));
    b->comm->deadline = deadline;
    COC_TRY(coc_comm_agree(b->comm, "writing shards",
                           status == COC_ERR_STOPPED || b->left ? COC_OK : status));
    if (stopped)
        return COC_FAIL(COC_ERR_STOPPED,
                        "stopped by a signal; finished shards stay: run the same command again to "
                        "go on");
    COC_TRY(coc_comm_any(b->comm, "removed lock", b->left, &left));
    return left ? coc_comm_agree(b->comm, "removed lock", b->left ? status : COC_OK) : COC_OK;
}

/* ---- the manifest ---------------------------------------------------------------------------- */

/* What this run has skipped was said when it was found. */
static void say_skipped(const build *b, int64_t number, const coc_shard_index *x)
{
    for (int64_t i = 0; i < b->plan.shards; i++)
        if (b->plan.shard[i].number == number) return;
    for (int64_t i = 0; i < x->rows[COC_TABLE_SKIPPED]; i++)
        coc_log_warn("track %s is skipped: %s", x->skip[i].name, x->skip[i].reason);
}

static void count_track(const coc_shard_index *x, const coc_shard_track *track, coc_manifest *m,
                        coc_summary *summary)
{
    m->tracks[track->split]++;
    summary->tracks[track->split]++;
    for (int64_t s = track->first_stem; s < track->first_stem + track->stems; s++)
        coc_summary_add(summary, (coc_split)track->split, x->stem[s].instrument, x->stem[s].name,
                        x->stem[s].samples);
}

static coc_status count_shard(build *b, const char *name, coc_manifest *m)
{
    coc_manifest_shard *row = &m->shard[m->shards];
    char path[COC_PATH_BYTES];
    coc_shard shard;
    const coc_shard_index *x = &shard.index;
    coc_status status;

    COC_TRY(coc_path_join(path, b->settings->out, name));
    COC_TRY(coc_shard_read(path, &shard));
    *row = (coc_manifest_shard){.bytes = shard.bytes,
                                .hash = shard.hash,
                                .tracks = x->rows[COC_TABLE_TRACKS],
                                .stems = x->rows[COC_TABLE_STEMS],
                                .skipped = x->rows[COC_TABLE_SKIPPED]};
    coc_shard_name(coc_shard_number(name), row->file);
    m->shards++;
    m->stems += row->stems;
    m->skipped += row->skipped;
    m->samples += shard.audio_samples;
    for (int64_t t = 0; t < row->tracks; t++)
        count_track(x, &x->track[t], m, &b->result->summary);
    say_skipped(b, coc_shard_number(name), x);
    status = coc_manifest_skip(m, x);
    coc_shard_free(&shard);
    return status;
}

static coc_status count_shards(build *b, coc_manifest *m)
{
    coc_names names;
    coc_status status;

    m->settings = coc_store_settings_of(b->settings->layout->name);
    COC_TRY(coc_list_folder(b->settings->out, &names));
    status = coc_alloc(names.count, sizeof *m->shard, &m->shard);
    for (int64_t i = 0; i < names.count && status == COC_OK; i++)
        if (coc_shard_number(names.name[i]) >= 0) status = count_shard(b, names.name[i], m);
    coc_names_free(&names);
    return status;
}

/* Whether the manifest that stands says the same. */
static bool is_written(const char *store, const coc_manifest *m)
{
    coc_manifest old;
    bool same;

    if (!coc_manifest_exists(store) || coc_manifest_read(store, &old) != COC_OK) return false;
    same = old.shards == m->shards && coc_manifest_hash(&old) == coc_manifest_hash(m);
    for (int64_t i = 0; same && i < m->shards; i++)
        same = strcmp(old.shard[i].file, m->shard[i].file) == 0 &&
               old.shard[i].bytes == m->shard[i].bytes;
    coc_manifest_free(&old);
    return same;
}

static coc_status finish_store(build *b)
{
    coc_manifest *m = &b->result->manifest;

    COC_TRY(count_shards(b, m));
    if (m->stems == 0)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: no track is left: all %lld were skipped, for the reasons above",
                        b->settings->in, (long long)m->skipped);
    if (is_written(b->settings->out, m)) return COC_OK;
    return coc_manifest_write(b->settings->out, m);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static coc_status make_missing(build *b)
{
    const coc_build_settings *s = b->settings;
    double begin;

    COC_TRY(measure_tracks(b));
    COC_TRY(coc_comm_agree(b->comm, "planning",
                           coc_plan_make(b->kept, b->samples, b->list.tracks, s->shard_bytes / 2,
                                         b->comm->size, &b->plan)));
    COC_TRY(prepare_folder(b));
    begin = coc_clock_seconds();
    return meet(b, write_shards(b), coc_clock_seconds() - begin);
}

static coc_status run(build *b)
{
    coc_status status = COC_OK;
    bool left;

    COC_TRY(list_sources(b));
    COC_TRY(find_kept(b));
    COC_TRY(is_work_left(b, &left));
    if (left) COC_TRY(make_missing(b));
    if (b->comm->rank == 0) status = finish_store(b);
    return coc_comm_agree(b->comm, "writing the manifest", status);
}

coc_status coc_build_store(coc_comm *comm, const coc_build_settings *settings,
                           coc_build_result *result)
{
    build b = {.comm = comm, .settings = settings, .result = result};
    coc_status status;

    *result = (coc_build_result){0};
    coc_stop_install();
    status = run(&b);
    coc_lock_release(&b.lock);
    result->made = b.plan.shards;
    result->kept = result->manifest.shards - result->made;
    coc_source_list_free(&b.list);
    coc_names_free(&b.stale);
    free(b.kept);
    free(b.samples);
    free(b.plan.shard);
    return status;
}
