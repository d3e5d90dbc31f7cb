#include "preprocess/store_check.h"

#include <math.h>
#include <stdlib.h>

#include <omp.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "comm/comm.h"

/* A track's samples: all stems at once, as they are compared with each other. */
typedef struct {
    int16_t **pcm; /* [stems]; NULL: damaged */
    int64_t stems;
} track_samples;

static void free_samples(track_samples *t)
{
    for (int64_t i = 0; t->pcm != NULL && i < t->stems; i++)
        free(t->pcm[i]);
    free(t->pcm);
}

static coc_status note_damage(coc_store_check *c, int64_t stem)
{
    c->damage[stem] = coc_strdup(coc_error_text());
    return c->damage[stem] != NULL ? COC_OK : COC_FAIL(COC_ERR_MEMORY, "no memory for a message");
}

static coc_status read_stem(coc_store *store, int64_t stem, coc_store_check *c, int16_t **pcm)
{
    const coc_stem *s = coc_store_stem(store, stem);
    coc_status status;

    COC_TRY(coc_alloc(s->samples, sizeof **pcm, pcm));
    status = coc_store_read(store, stem, 0, s->samples, *pcm);
    if (status == COC_OK) {
        c->facts[stem] = coc_stem_facts_of(s, *pcm);
        return COC_OK;
    }
    free(*pcm);
    *pcm = NULL;
    return status == COC_ERR_INPUT ? note_damage(c, stem) : status;
}

/* Several threads add. */
static coc_status add_echo(coc_store_check *c, coc_echo echo)
{
    coc_status status;

#pragma omp critical(coc_echo)
    {
        status = coc_grow(&c->echo, &c->echo_room, c->echoes + 1, sizeof *c->echo);
        if (status == COC_OK) c->echo[c->echoes++] = echo;
    }
    return status;
}

static coc_status compare_stems(coc_store *store, const coc_track *track, const track_samples *t,
                                coc_store_check *c)
{
    for (int64_t i = 0; i < t->stems; i++)
        for (int64_t j = i + 1; j < t->stems; j++) {
            coc_echo e = {.stem = {track->first_stem + i, track->first_stem + j}};

            if (t->pcm[i] == NULL || t->pcm[j] == NULL) continue;
            COC_TRY(coc_stem_likeness(coc_store_stem(store, e.stem[0]), t->pcm[i],
                                      coc_store_stem(store, e.stem[1]), t->pcm[j], &e.likeness,
                                      &e.lag));
            if (fabs(e.likeness) >= COC_ECHO) COC_TRY(add_echo(c, e));
        }
    return COC_OK;
}

static coc_status check_track(coc_store *store, int64_t number, coc_store_check *c)
{
    const coc_track *track = coc_store_track(store, number);
    track_samples t = {.stems = track->stems};
    coc_status status;

    COC_TRY(coc_alloc(t.stems, sizeof *t.pcm, &t.pcm));
    status = COC_OK;
    for (int64_t i = 0; i < t.stems && status == COC_OK; i++)
        status = read_stem(store, track->first_stem + i, c, &t.pcm[i]);
    if (status == COC_OK) status = compare_stems(store, track, &t, c);
    free_samples(&t);
    return status;
}

/* Every thread takes the next track; the first one shows how far all are. */
static coc_status check_tracks(coc_store *store, int threads, coc_store_check *c)
{
    coc_status worst = COC_OK;
    int64_t done = 0;

    coc_progress_begin("check", 0, c->tracks, 10);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t t = 0; t < c->tracks; t++) {
        coc_status status, before;
        int64_t now;

#pragma omp atomic read
        before = worst;
        if (before != COC_OK) continue;
        status = coc_stop_requested() ? COC_ERR_STOPPED : check_track(store, t, c);
        if (status != COC_OK)
#pragma omp atomic write
            worst = status;
#pragma omp atomic capture
        now = ++done;
        if (omp_get_thread_num() == 0) coc_progress_update(now, "tracks");
    }
    coc_progress_end();
    if (worst == COC_ERR_STOPPED) return COC_FAIL(COC_ERR_STOPPED, "stopped by a signal");
    return worst == COC_OK ? COC_OK : COC_FAIL(worst, "no memory to check the store");
}

/* ---- the same audio twice ------------------------------------------------------------------- */

typedef struct {
    uint64_t id;
    int64_t track;
} numbered;

static int compare_ids(const void *a, const void *b)
{
    const numbered *x = a, *y = b;

    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    return (x->track > y->track) - (x->track < y->track);
}

static coc_status find_twice(const coc_store *store, coc_store_check *c)
{
    coc_status status = COC_OK;
    numbered *all;

    COC_TRY(coc_alloc(c->tracks, sizeof *all, &all));
    for (int64_t t = 0; t < c->tracks; t++)
        all[t] = (numbered){coc_store_track(store, t)->id, t};
    qsort(all, (size_t)c->tracks, sizeof *all, compare_ids);
    for (int64_t t = 1; t < c->tracks && status == COC_OK; t++) {
        if (all[t].id != all[t - 1].id) continue;
        status = coc_grow(&c->twice, &c->twice_room, c->twices + 1, sizeof *c->twice);
        if (status != COC_OK) break;
        c->twice[c->twices][0] = all[t - 1].track;
        c->twice[c->twices++][1] = all[t].track;
    }
    free(all);
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static int compare_echoes(const void *a, const void *b)
{
    const coc_echo *x = a, *y = b;

    if (x->stem[0] != y->stem[0]) return x->stem[0] < y->stem[0] ? -1 : 1;
    return (x->stem[1] > y->stem[1]) - (x->stem[1] < y->stem[1]);
}

static void count(const coc_store *store, coc_store_check *c)
{
    for (int64_t t = 0; t < c->tracks; t++) {
        const coc_track *track = coc_store_track(store, t);

        c->summary.tracks[track->split]++;
        for (int64_t i = track->first_stem; i < track->first_stem + track->stems; i++) {
            const coc_stem *s = coc_store_stem(store, i);

            coc_summary_add(&c->summary, track->split, s->instrument, s->name, s->samples);
            c->bytes += 2 * (double)s->samples;
            c->damaged += c->damage[i] != NULL;
        }
    }
    if (c->echoes > 1) qsort(c->echo, (size_t)c->echoes, sizeof *c->echo, compare_echoes);
}

coc_status coc_store_check_all(coc_store *store, int threads, coc_store_check *c)
{
    const double begin = coc_clock_seconds();

    *c = (coc_store_check){.tracks = coc_store_tracks(store)};
    for (int64_t t = 0; t < c->tracks; t++)
        c->stems += coc_store_track(store, t)->stems;
    COC_TRY(coc_alloc(c->stems, sizeof *c->facts, &c->facts));
    COC_TRY(coc_alloc(c->stems, sizeof *c->damage, &c->damage));
    COC_TRY(check_tracks(store, threads > 0 ? threads : omp_get_max_threads(), c));
    COC_TRY(find_twice(store, c));
    count(store, c);
    c->seconds = coc_clock_seconds() - begin;
    return COC_OK;
}

void coc_store_check_free(coc_store_check *c)
{
    for (int64_t i = 0; c->damage != NULL && i < c->stems; i++)
        free(c->damage[i]);
    free(c->damage);
    free(c->facts);
    free(c->echo);
    free(c->twice);
    *c = (coc_store_check){0};
}
