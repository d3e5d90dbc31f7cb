/* Rendering all songs, some at a time. Every song has a process of its own: a song that makes a
 * synthesiser library crash or run without end is then a broken song like others, and a stop needs
 * no cooperation of the libraries. A song's bytes depend on nothing but the song and the settings.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "comm/comm.h"
#include "preprocess/render_song.h"

enum { TEXT_BYTES = 1000, POLL_MILLISECONDS = 200, PLAIN_SECONDS = 10 };

/* What a song's process says at its end; small enough for one write to a pipe. */
typedef struct {
    int status; /* coc_status */
    bool track; /* else: left out, `text` says why */
    int32_t stems;
    int64_t samples;
    char text[TEXT_BYTES];
} outcome;

typedef struct {
    pid_t process; /* 0: free */
    int pipe;      /* its outcome comes here */
    const coc_song *song;
} job;

typedef struct {
    const coc_render_settings *settings;
    coc_render_report *report;
    coc_dataset dataset;
    coc_songs songs;
    int64_t next; /* song to start */
    int64_t done; /* earlier ones too */
    int running;
    job jobs[COC_RENDER_JOBS];
} work;

/* ---- one song, in its own process ------------------------------------------------------------ */

static coc_status publish(const work *w, const coc_song *song, const coc_stems *stems)
{
    char path[COC_PATH_BYTES], temporary[COC_PATH_BYTES];
    coc_status status;

    COC_TRY(coc_track_path(w->settings->out, song, path));
    COC_TRY(coc_new_file_path(path, temporary));
    status = coc_track_write(song, w->settings, stems, temporary);
    if (status == COC_OK) status = coc_file_publish(temporary, path);
    if (status != COC_OK) coc_remove_tree(temporary);
    return status;
}

static coc_status render_song(const work *w, const coc_song *song, outcome *end)
{
    coc_stems stems = {0};
    char *bytes;
    coc_status status;

    COC_TRY(coc_song_read(song, &bytes));
    status = song->kind == COC_SONG_MIDI
                 ? coc_render_midi(w->settings, bytes, song->bytes, 16, &stems)
                 : coc_render_module(w->settings, bytes, song->bytes, false, &stems);
    free(bytes);
    if (status == COC_OK) {
        end->track = coc_stems_keep(&stems, w->settings->rate, end->text);
        end->stems = stems.count;
        end->samples = stems.samples;
        if (end->track) status = publish(w, song, &stems);
    }
    coc_stems_free(&stems);
    return status;
}

/* Loading is tried here, not in our own process: a damaged file may bring a library down, and some
 * write to the standard error output when they fail. */
static coc_status check_soundfont(const work *w, const coc_song *song, outcome *end)
{
    (void)song;
    (void)end;
    if (freopen("/dev/null", "w", stderr) == NULL)
        return COC_FAIL(COC_ERR_IO, "/dev/null: cannot be opened: %s", strerror(errno));
    return coc_soundfont_check(w->settings->soundfont);
}

typedef coc_status child_task(const work *w, const coc_song *song, outcome *end);

/* Never returns. */
static void be_child(const work *w, child_task *task, const coc_song *song, int pipe, pid_t parent)
{
    const rlim_t seconds = (rlim_t)(60 + 20 * w->settings->max_seconds);
    const struct rlimit limit = {.rlim_cur = seconds, .rlim_max = seconds + 1};
    outcome end = {0};
    coc_status status;

    /* an interrupt from the terminal reaches all processes: the parent decides what it means */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    /* A song outlives nobody: the next run sweeps what is unfinished, and would find it in use. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    setrlimit(RLIMIT_CPU, &limit);
    status = task(w, song, &end);
    end.status = (int)status;
    if (status != COC_OK) snprintf(end.text, sizeof end.text, "%s", coc_error_text());
    _exit(write(pipe, &end, sizeof end) == (ssize_t)sizeof end ? 0 : 1);
}

/* ---- starting and ending processes ----------------------------------------------------------- */

static coc_status start_job(work *w, job *j, child_task *task, const coc_song *song)
{
    pid_t parent;
    int ends[2];

    if (pipe(ends) != 0)
        return COC_FAIL(COC_ERR_IO, "no pipe to a process for a song: %s", strerror(errno));
    fflush(NULL); /* or the child would print it again */
    parent = getpid();
    j->process = fork();
    if (j->process == 0) {
        close(ends[0]);
        be_child(w, task, song, ends[1], parent);
    }
    close(ends[1]);
    if (j->process < 0) {
        j->process = 0;
        close(ends[0]);
        return COC_FAIL(COC_ERR_IO, "no process for a song: %s; try fewer --jobs", strerror(errno));
    }
    j->pipe = ends[0];
    j->song = song;
    w->running++;
    return COC_OK;
}

static coc_status start_jobs(work *w)
{
    for (int64_t i = 0; i < w->settings->jobs && w->next < w->songs.count; i++) {
        if (w->jobs[i].process != 0) continue;
        for (; w->next < w->songs.count; w->next++)
            if (coc_dataset_track(&w->dataset, w->songs.song[w->next].hash) == NULL &&
                coc_dataset_skipped(&w->dataset, w->songs.song[w->next].hash) == NULL)
                break;
        if (w->next == w->songs.count) break;
        COC_TRY(start_job(w, &w->jobs[i], render_song, &w->songs.song[w->next]));
        w->next++;
    }
    return COC_OK;
}

static int wait_for(job *j)
{
    int code = 0;

    while (waitpid(j->process, &code, 0) < 0 && errno == EINTR)
        continue;
    close(j->pipe);
    j->process = 0;
    return code;
}

static void stop_jobs(work *w)
{
    for (int i = 0; i < COC_RENDER_JOBS; i++)
        if (w->jobs[i].process != 0) kill(w->jobs[i].process, SIGTERM);
    for (int i = 0; i < COC_RENDER_JOBS; i++)
        if (w->jobs[i].process != 0) wait_for(&w->jobs[i]);
    w->running = 0;
    coc_dataset_clean(&w->dataset);
}

/* ---- what became of a song ------------------------------------------------------------------- */

static coc_status note_broken(work *w, const coc_song *song, const char *why)
{
    w->report->broken++;
    coc_log_warn("%s: left out: %s", song->name, why);
    return coc_dataset_skip(&w->dataset, song, true, why);
}

static coc_status note_track(work *w, const coc_song *song, const outcome *end)
{
    const double hours = (double)end->samples / (double)w->settings->rate / 3600;

    w->report->tracks[song->split]++;
    w->report->stems += end->stems;
    w->report->song_hours += hours;
    w->report->stem_hours += hours * end->stems;
    return COC_OK;
}

static coc_status note_outcome(work *w, const coc_song *song, const outcome *end)
{
    const coc_status status = (coc_status)end->status;

    if (status == COC_ERR_INPUT || status == COC_ERR_INTERNAL)
        return note_broken(w, song, end->text);
    if (status != COC_OK) return COC_FAIL(status, "%s", end->text);
    if (end->track) return note_track(w, song, end);
    w->report->left_out++;
    coc_log_root("%s: left out: %s", song->name, end->text);
    return coc_dataset_skip(&w->dataset, song, false, end->text);
}

/* A process that ended without a word. */
static coc_status note_death(work *w, const coc_song *song, int code)
{
    const int number = WIFSIGNALED(code) ? WTERMSIG(code) : 0;
    char why[128];

    if (number == SIGTERM || number == SIGINT)
        return COC_FAIL(COC_ERR_STOPPED, "%s: its process was ended; run the same command again",
                        song->name);
    if (number == SIGKILL)
        return COC_FAIL(COC_ERR_MEMORY,
                        "%s: its process was killed, as the system does without memory; try fewer "
                        "--jobs",
                        song->name);
    snprintf(why, sizeof why, "its process ended by itself: %s",
             number != 0 ? strsignal(number) : "no reason given");
    return note_broken(w, song, why);
}

static coc_status finish_job(work *w, job *j)
{
    const coc_song *song = j->song;
    outcome end;
    const ssize_t got = read(j->pipe, &end, sizeof end);
    int code;

    if (got < 0 && errno == EINTR) return COC_OK;
    code = wait_for(j);
    w->running--;
    w->done++;
    if (got != (ssize_t)sizeof end) return note_death(w, song, code);
    end.text[TEXT_BYTES - 1] = '\0';
    return note_outcome(w, song, &end);
}

static coc_status try_soundfont(work *w)
{
    const char *path = w->settings->soundfont;
    outcome end;
    ssize_t got;

    COC_TRY(start_job(w, &w->jobs[0], check_soundfont, NULL));
    do
        got = read(w->jobs[0].pipe, &end, sizeof end);
    while (got < 0 && errno == EINTR);
    wait_for(&w->jobs[0]);
    w->running--;
    if (got != (ssize_t)sizeof end)
        return COC_FAIL(COC_ERR_INPUT, "%s: no soundfont: FluidSynth crashes when it loads it",
                        path);
    end.text[TEXT_BYTES - 1] = '\0';
    return end.status == COC_OK ? COC_OK : COC_FAIL((coc_status)end.status, "%s", end.text);
}

static coc_status finish_jobs(work *w)
{
    struct pollfd waited[COC_RENDER_JOBS];
    job *jobs[COC_RENDER_JOBS];
    int count = 0;

    for (int i = 0; i < COC_RENDER_JOBS; i++) {
        if (w->jobs[i].process == 0) continue;
        waited[count] = (struct pollfd){.fd = w->jobs[i].pipe, .events = POLLIN};
        jobs[count++] = &w->jobs[i];
    }
    if (poll(waited, (nfds_t)count, POLL_MILLISECONDS) <= 0) return COC_OK; /* time, or a signal */
    for (int i = 0; i < count; i++)
        if (waited[i].revents != 0) COC_TRY(finish_job(w, jobs[i]));
    return COC_OK;
}

/* ---- all songs ------------------------------------------------------------------------------- */

/* What an earlier run had done with these songs. */
static void count_done(work *w)
{
    for (int64_t i = 0; i < w->songs.count; i++) {
        const coc_song *song = &w->songs.song[i];
        const coc_skipped *skipped = coc_dataset_skipped(&w->dataset, song->hash);

        if (coc_dataset_track(&w->dataset, song->hash) != NULL) {
            w->report->tracks[song->split]++;
        } else if (skipped == NULL) {
            continue;
        } else if (skipped->broken) {
            w->report->broken++;
            coc_log_warn("%s: left out: %s", song->name, skipped->why);
        } else {
            w->report->left_out++;
        }
        w->done++;
    }
    w->report->before = w->done;
}

static coc_status render_all(work *w)
{
    coc_status status = COC_OK;

    coc_progress_begin("render", w->done, w->songs.count, PLAIN_SECONDS);
    while (status == COC_OK) {
        status = start_jobs(w);
        if (status != COC_OK || w->running == 0) break;
        status = finish_jobs(w);
        coc_progress_update(w->done, "%" PRId64 " stems, %.1f hours of them", w->report->stems,
                            w->report->stem_hours);
        if (status == COC_OK && coc_stop_requested())
            status = COC_FAIL(COC_ERR_STOPPED,
                              "stopped with %" PRId64 " of %" PRId64
                              " songs done; run the same command again to go on",
                              w->done, w->songs.count);
    }
    coc_progress_end();
    if (status != COC_OK) stop_jobs(w);
    return status;
}

static coc_status prepare(work *w, const char *const *paths, int64_t count)
{
    COC_TRY(try_soundfont(w));
    COC_TRY(coc_songs_collect(paths, count, &w->songs));
    w->report->songs = w->songs.count;
    w->report->duplicates = w->songs.duplicates;
    w->report->broken = w->songs.broken;
    if (w->songs.count == 0)
        return COC_FAIL(COC_ERR_INPUT,
                        "no songs in %s%s: looked for MIDI files, Doom WADs with MIDI music and "
                        "tracker modules",
                        paths[0], count > 1 ? ", ..." : "");
    COC_TRY(coc_dataset_open(w->settings, &w->dataset));
    return coc_dataset_number(&w->dataset, &w->songs);
}

static coc_status run(work *w, const char *const *paths, int64_t count)
{
    coc_status status, written;
    char text[TEXT_BYTES], place[160];

    COC_TRY(prepare(w, paths, count));
    count_done(w);
    status = render_all(w);
    snprintf(text, sizeof text, "%s", coc_error_text());
    snprintf(place, sizeof place, "%s", coc_error_place());
    written = coc_dataset_write_skipped(&w->dataset);
    if (status == COC_OK) return written;
    coc_error_set(text, place); /* the first failure is the one to tell */
    return status;
}

coc_status coc_render(const coc_render_settings *settings, const char *const *paths, int64_t count,
                      coc_render_report *report)
{
    work w = {.settings = settings, .report = report};
    coc_status status;

    *report = (coc_render_report){0};
    if (settings->jobs < 1 || settings->jobs > COC_RENDER_JOBS)
        return COC_FAIL(COC_ERR_USAGE, "%" PRId64 " jobs; 1 to %d are possible", settings->jobs,
                        COC_RENDER_JOBS);
    coc_stop_install();
    status = run(&w, paths, count);
    coc_dataset_close(&w.dataset);
    coc_songs_free(&w.songs);
    return status;
}
