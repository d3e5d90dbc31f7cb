/* train/sweep_child.c - one run's process: what runs out of memory there takes nothing else along.
 *
 * It has a process group of its own, so that an interrupt from the terminal reaches the sweep
 * alone, which passes it on as SIGUSR1: that is what launchers hand to their ranks (docs/ranks.md).
 * When the sweep is killed the system sends the same. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "train/sweep.h"

enum { MAX_WORDS = 64, TAIL_BYTES = 65536, CANNOT_START = 127 };
static const double poll_seconds = 0.1;

/* What is run: launcher's words, program, command, options; NULL at the end. */
typedef struct {
    char *launch; /* cut into words */
    char program[COC_PATH_BYTES];
    char *word[MAX_WORDS + 1];
    int count;
} command_line;

static coc_status add_word(command_line *line, const char *word)
{
    if (line->count == MAX_WORDS)
        return COC_FAIL(COC_ERR_USAGE, "--launch: more than %d words", MAX_WORDS / 2);
    line->word[line->count++] = (char *)word; /* execvp changes nothing */
    return COC_OK;
}

static coc_status build_line(const coc_child *child, command_line *line)
{
    const ssize_t n = readlink("/proc/self/exe", line->program, sizeof line->program - 1);

    if (n < 0) return COC_FAIL(COC_ERR_IO, "/proc/self/exe: cannot be read: %s", strerror(errno));
    line->program[n] = '\0';
    line->launch = coc_strdup(child->launch != NULL ? child->launch : "");
    if (line->launch == NULL) return COC_FAIL(COC_ERR_MEMORY, "no memory for a command");
    for (char *word = strtok(line->launch, " \t"); word != NULL; word = strtok(NULL, " \t"))
        COC_TRY(add_word(line, word));
    COC_TRY(add_word(line, line->program));
    for (int i = 0; child->words[i] != NULL; i++)
        COC_TRY(add_word(line, child->words[i]));
    return COC_OK;
}

/* ---- the process ---------------------------------------------------------------------------- */

static bool open_as(const char *path, int flags, int stream)
{
    const int file = open(path, flags, 0666);

    return file >= 0 && dup2(file, stream) == stream && (file == stream || close(file) == 0);
}

/* Never returns. */
static void be_child(const coc_child *child, command_line *line, pid_t parent)
{
    const int add = O_WRONLY | O_CREAT | O_APPEND;

    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGUSR1);
    if (getppid() != parent) _exit(CANNOT_START);
    if (!open_as("/dev/null", O_RDONLY, STDIN_FILENO) ||
        !open_as(child->output, add, STDERR_FILENO) ||
        !(child->result != NULL
              ? open_as(child->result, O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO)
              : dup2(STDERR_FILENO, STDOUT_FILENO) == STDOUT_FILENO))
        _exit(CANNOT_START);
    execvp(line->word[0], line->word);
    dprintf(STDERR_FILENO, "cocola: %s: cannot be started: %s\n", line->word[0], strerror(errno));
    _exit(CANNOT_START);
}

static coc_status wait_for(const coc_child *child, pid_t process, int *code)
{
    bool told = false;

    for (;;) {
        const pid_t ended = waitpid(process, code, WNOHANG);

        if (ended == process) return COC_OK;
        if (ended < 0 && errno != EINTR)
            return COC_FAIL(COC_ERR_INTERNAL, "waiting for a run: %s", strerror(errno));
        if (coc_stop_requested() && !told) {
            kill(process, SIGUSR1);
            told = true;
        }
        if (child->watch != NULL) child->watch(child->context);
        coc_sleep_seconds(poll_seconds);
    }
}

/* ---- how it ended --------------------------------------------------------------------------- */

/* The last line "cocola: ..." that was written to the output from `first` on, without the word; ""
 * when there is none. */
static void last_words(const char *path, int64_t first, char *words, size_t room)
{
    const int64_t end = coc_file_bytes(path);
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t line_room = 0;

    words[0] = '\0';
    if (file == NULL) return;
    if (first < end - TAIL_BYTES) first = end - TAIL_BYTES;
    if (fseek(file, (long)first, SEEK_SET) != 0) rewind(file);
    while (getline(&line, &line_room, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "cocola: ", 8) == 0) snprintf(words, room, "%s", line + 8);
    }
    free(line);
    fclose(file);
}

static coc_status status_of(int exit_code)
{
    switch (exit_code) {
    case 2:
        return COC_ERR_SETTING;
    case 3:
        return COC_ERR_INPUT;
    case 4:
    case CANNOT_START:
        return COC_ERR_IO;
    case 5:
        return COC_ERR_MEMORY;
    case 6:
        return COC_ERR_RANKS;
    default:
        return COC_ERR_INTERNAL;
    }
}

static coc_status judge(const coc_child *child, int code, int64_t first)
{
    const int number = WIFSIGNALED(code) ? WTERMSIG(code) : 0;
    char words[1200];

    if (number == 0 && WEXITSTATUS(code) == 0) return COC_OK;
    if (coc_stop_requested() || (number == 0 && WEXITSTATUS(code) == 75))
        return COC_FAIL(COC_ERR_STOPPED, "stopped by a signal");
    last_words(child->output, first, words, sizeof words);
    if (number == SIGKILL)
        return COC_FAIL(COC_ERR_MEMORY, "was killed, as the system does without memory; see %s",
                        child->output);
    if (number != 0)
        return COC_FAIL(COC_ERR_INTERNAL, "ended by signal %d (%s); see %s", number,
                        strsignal(number), child->output);
    if (words[0] == '\0')
        return COC_FAIL(status_of(WEXITSTATUS(code)), "exit code %d; see %s", WEXITSTATUS(code),
                        child->output);
    return COC_FAIL(status_of(WEXITSTATUS(code)), "exit code %d: %s", WEXITSTATUS(code), words);
}

coc_status coc_child_run(const coc_child *child)
{
    const int64_t first = coc_file_bytes(child->output);
    const pid_t parent = getpid();
    command_line line = {0};
    coc_status status = build_line(child, &line);
    pid_t process;
    int code = 0;

    if (status != COC_OK) {
        free(line.launch);
        return status;
    }
    fflush(NULL); /* or the child would print it again */
    process = fork();
    if (process == 0) be_child(child, &line, parent);
    if (process < 0)
        status = COC_FAIL(COC_ERR_IO, "no process for a run: %s", strerror(errno));
    else
        status = wait_for(child, process, &code);
    free(line.launch);
    return status == COC_OK ? judge(child, code, first > 0 ? first : 0) : status;
}
