#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

/* One a process, as standard error is: who speaks, and the line now on the screen. */
static struct {
    int rank, size;
    bool quiet;
    bool active, terminal, drawn;
    char what[48];
    int64_t first, total;
    double started, last_shown, plain_seconds;
} state = {.size = 1};

void coc_log_set_rank(int rank, int size)
{
    state.rank = rank;
    state.size = size;
}

void coc_log_set_quiet(bool quiet)
{
    state.quiet = quiet;
}

static void clear_drawn_line(void)
{
    if (state.drawn) fputs("\r\033[K", stderr);
    state.drawn = false;
}

static void print_line(const char *prefix, const char *format, va_list arguments)
{
    char line[2400];

    vsnprintf(line, sizeof line, format, arguments);
    clear_drawn_line();
    fprintf(stderr, "%s%s\n", prefix, line); /* one call: lines of several ranks stay whole */
}

void coc_log_root(const char *format, ...)
{
    va_list arguments;

    if (state.rank != 0 || state.quiet) return;
    va_start(arguments, format);
    print_line("", format, arguments);
    va_end(arguments);
}

void coc_log_warn(const char *format, ...)
{
    va_list arguments;

    if (state.rank != 0) return;
    va_start(arguments, format);
    print_line("warning: ", format, arguments);
    va_end(arguments);
}

void coc_log_rank(const char *format, ...)
{
    char prefix[32];
    va_list arguments;

    if (state.quiet) return;
    snprintf(prefix, sizeof prefix, "rank %d: ", state.rank);
    va_start(arguments, format);
    print_line(state.size > 1 ? prefix : "", format, arguments);
    va_end(arguments);
}

char *coc_format_duration(double seconds, char text[16])
{
    const unsigned s = seconds > 0 && seconds < 3e8 ? (unsigned)(seconds + 0.5) : 0;

    if (s >= 3600)
        snprintf(text, 16, "%u:%02u:%02u", s / 3600 % 100000, s / 60 % 60, s % 60);
    else
        snprintf(text, 16, "%u:%02u", s / 60 % 60, s % 60);
    return text;
}

void coc_progress_begin(const char *what, int64_t first, int64_t total, double plain_seconds)
{
    snprintf(state.what, sizeof state.what, "%s", what);
    state.first = first;
    state.total = total;
    state.plain_seconds = plain_seconds;
    state.started = state.last_shown = coc_clock_seconds();
    state.terminal = isatty(STDERR_FILENO) == 1;
    state.active = true;
}

void coc_progress_update(int64_t done, const char *format, ...)
{
    const double now = coc_clock_seconds();
    const double elapsed = now - state.started;
    const int64_t fresh = done - state.first;
    char extra[256], left[32] = "", clock[16];
    va_list arguments;

    if (!state.active || state.rank != 0 || state.quiet) return;
    if (now - state.last_shown < (state.terminal ? 0.2 : state.plain_seconds)) return;
    state.last_shown = now;
    va_start(arguments, format);
    vsnprintf(extra, sizeof extra, format, arguments);
    va_end(arguments);
    if (fresh > 0 && state.total > done)
        snprintf(
            left, sizeof left, "  %s left",
            coc_format_duration(elapsed * (double)(state.total - done) / (double)fresh, clock));
    if (state.terminal) fputs("\r\033[K", stderr);
    fprintf(stderr, "%s  %lld/%lld  %.0f%%%s%s%s%s", state.what, (long long)done,
            (long long)state.total,
            100.0 * (double)done / (double)(state.total > 0 ? state.total : 1),
            extra[0] != '\0' ? "  " : "", extra, left, state.terminal ? "" : "\n");
    state.drawn = state.terminal;
    fflush(stderr);
}

void coc_progress_end(void)
{
    clear_drawn_line();
    state.active = false;
}
