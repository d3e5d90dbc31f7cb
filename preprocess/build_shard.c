#include "preprocess/build_shard.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "preprocess/features.h"
#include "preprocess/shard_writer.h"
#include "preprocess/stem_read.h"

enum { REASON = 512 };

/* What is wrong with the track, "" when nothing is. */
typedef struct {
    char text[REASON];
    bool retry;
} verdict;

/* The message without the data set's place, which is not part of the store's content. */
static void take_error(const char *root, bool retry, verdict *v)
{
    const char *text = coc_error_text();
    const size_t length = strlen(root);

    if (strncmp(text, root, length) == 0 && text[length] == '/') text += length + 1;
    snprintf(v->text, sizeof v->text, "%s", text);
    v->retry = retry;
}

/* A file server may fail once. */
static coc_status read_stem(const char *root, const coc_source_stem *stem, coc_audio *audio)
{
    const coc_status status = coc_stem_read(root, stem, COC_SAMPLE_RATE, audio);

    if (status != COC_ERR_IO && status != COC_ERR_INPUT) return status;
    return coc_stem_read(root, stem, COC_SAMPLE_RATE, audio);
}

/* A failure to read is a verdict on the track, any other is the caller's. */
static coc_status add_stem(coc_shard_writer *w, const char *root, const coc_source_stem *stem,
                           verdict *v, coc_track_work *work)
{
    coc_stem_source source = {
        .name = stem->name, .instrument = stem->instrument, .source = stem->source};
    coc_audio audio;
    coc_status status;

    source.bytes = coc_stem_bytes(root, stem);
    status = read_stem(root, stem, &audio);
    work->files += stem->files;
    work->bytes += source.bytes > 0 ? source.bytes : 0;
    work->samples += status == COC_OK ? audio.count : 0;
    if (status == COC_OK) status = coc_stem_hash(root, stem, &source.hash);
    if (status == COC_ERR_INPUT || status == COC_ERR_IO) {
        take_error(root, status == COC_ERR_IO, v);
        coc_audio_free(&audio);
        return COC_OK;
    }
    if (status == COC_OK) status = coc_shard_writer_add(w, &source, &audio);
    if (status == COC_ERR_INPUT) {
        take_error(root, true, v);
        status = COC_OK;
    }
    coc_audio_free(&audio);
    return status;
}

static coc_status add_track(coc_shard_writer *w, const char *root, const coc_source_track *track,
                            bool strict, coc_track_work *work)
{
    verdict v = {.text = ""};

    COC_TRY(coc_shard_writer_begin(w, track->split, track->name, coc_track_signature(root, track)));
    if (track->stems < 2)
        snprintf(v.text, sizeof v.text, "%lld stem files; a pair needs two",
                 (long long)track->stems);
    for (int64_t i = 0; i < track->stems && v.text[0] == '\0'; i++)
        COC_TRY(add_stem(w, root, &track->stem[i], &v, work));
    if (v.text[0] == '\0' && coc_shard_writer_audible(w) < 2)
        snprintf(v.text, sizeof v.text, "%lld of %lld stems are audible; a pair needs two",
                 (long long)coc_shard_writer_audible(w), (long long)track->stems);
    if (v.text[0] == '\0') return coc_shard_writer_keep(w);
    if (strict)
        return COC_FAIL(COC_ERR_INPUT,
                        "track %s: %s; mend it, name it in --exclude, or leave "
                        "--strict away to skip such tracks",
                        track->name, v.text);
    coc_log_rank("warning: track %s is skipped: %s", track->name, v.text);
    return coc_shard_writer_skip(w, v.text, v.retry ? 0 : coc_track_content(root, track));
}

/* Where the shard is written: at its place, or on a disk of this machine under a name that no other
 * process has. */
static coc_status first_place(const coc_build_settings *settings, const char *name,
                              const char *path, char first[COC_PATH_BYTES])
{
    char own[COC_SHARD_NAME + 40];

    if (settings->scratch == NULL) {
        snprintf(first, COC_PATH_BYTES, "%s", path);
        return COC_OK;
    }
    snprintf(own, sizeof own, "cocola-%ld-%s", (long)getpid(), name);
    return coc_path_join(first, settings->scratch, own);
}

coc_status coc_build_shard(const coc_build_settings *settings, const char *root,
                           const coc_source_list *list, const coc_plan_shard *shard,
                           coc_track_done done, void *context)
{
    const coc_store_settings store = coc_store_settings_of(settings->layout->name);
    char name[COC_SHARD_NAME], path[COC_PATH_BYTES], first[COC_PATH_BYTES];
    coc_shard_writer *w = NULL;
    coc_status status;

    coc_shard_name(shard->number, name);
    COC_TRY(coc_path_join(path, settings->out, name));
    COC_TRY(first_place(settings, name, path, first));
    COC_TRY(coc_shard_writer_create(first, &store, shard->samples, &w));
    for (int64_t t = shard->first; t < shard->first + shard->tracks; t++) {
        coc_track_work work = {0};

        COC_TRY_GOTO(status, add_track(w, root, &list->track[t], settings->strict, &work), fail);
        COC_TRY_GOTO(status, done(context, &work), fail);
    }
    COC_TRY(coc_shard_writer_finish(&w));
    if (settings->scratch == NULL) return COC_OK;
    status = coc_file_move(first, path);
    if (status != COC_OK) coc_file_discard(first);
    return status;

fail:
    coc_shard_writer_discard(&w);
    return status;
}
