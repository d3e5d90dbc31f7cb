/* base/log.h - what the program says while it works. Everything here goes to standard error;
 * results (tables, scores) go to standard output and are printed by the commands themselves.
 *
 * "root" calls print on rank 0 only and state what is true of the whole run; coc_log_rank() prints
 * on every rank, with its number, and is for what is true of one rank only.
 */
#ifndef COC_BASE_LOG_H
#define COC_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

/* Say once which rank this process is. Before that a process counts as rank 0 of 1. */
void coc_log_set_rank(int rank, int size);

/* Warnings and errors only: no information lines, no progress (a command's --quiet). */
void coc_log_set_quiet(bool quiet);

void coc_log_root(const char *format, ...) __attribute__((format(printf, 1, 2)));
void coc_log_warn(const char *format, ...) __attribute__((format(printf, 1, 2))); /* root */
void coc_log_rank(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A progress line. On a terminal it is redrawn in place a few times a second; otherwise a plain
 * line is printed every `plain_seconds`. Rank 0 only; one at a time; log lines interleave cleanly.
 *
 *     coc_progress_begin("preprocess", files, 10.0);
 *     coc_progress_update(done, "%.0f MB/s", rate);
 *     coc_progress_end();
 *
 * shows "preprocess  12/40  30%  85 MB/s  0:41 left". Time left is estimated from the share done
 * since `first` (what an earlier run had finished). */
void coc_progress_begin(const char *what, int64_t first, int64_t total, double plain_seconds);
void coc_progress_update(int64_t done, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void coc_progress_end(void);

/* "1:02:03", "4:05" into text; returns text. */
char *coc_format_duration(double seconds, char text[16]);

#endif
