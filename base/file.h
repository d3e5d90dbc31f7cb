/* base/file.h - files and folders: whole or not at all. Nothing here is collective. */
#ifndef COC_BASE_FILE_H
#define COC_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

bool coc_file_exists(const char *path); /* anything under that name */
bool coc_is_folder(const char *path);
int64_t coc_file_bytes(const char *path); /* -1 when there is no such file */

/* Create a folder and its parents; an existing folder is fine. Errors: COC_ERR_IO. */
coc_status coc_make_folders(const char *path);

/* A file that appears under its name only when it is complete:
 *
 *     coc_new_file_path(path, temporary)      a name beside it: ".<name>.partial-<host>-<pid>"
 *     ... write to `temporary` with any library ...
 *     coc_file_publish(temporary, path)       fsync, rename, fsync of the folder
 *
 * A path that is there and no regular file is refused (COC_ERR_IO).
 * coc_file_discard removes a temporary (also one that does not exist). A crash leaves a
 * ".partial-" file, for coc_sweep_partials. */
enum { COC_PATH_BYTES = 4096 };
coc_status coc_new_file_path(const char *path, char temporary[COC_PATH_BYTES]);
coc_status coc_file_publish(const char *temporary, const char *path);
void coc_file_discard(const char *temporary);

/* Remove all ".partial-" files and folders in a folder, whatever they were for: what killed runs
 * have left. Only whoever holds the folder's lock may call it. */
void coc_sweep_partials(const char *folder);

/* Remove a file, or a folder with all that is in it; links are removed, not followed. What cannot
 * be removed stays. */
void coc_remove_tree(const char *path);

/* A lock that one process holds, on a file which it makes for that; zero: not held. The system lets
 * go of it when the process ends, however that happens, so the file of a killed process stops
 * nobody. It does not hold against the process that has it: take it once. */
typedef struct {
    bool held;
    int file;
    char path[COC_PATH_BYTES];
} coc_lock;

/* Take the lock folder/name, for a command that works in the folder: "cocola train". Does not wait.
 * Errors: COC_ERR_IO when another process has it (names the folder and `command`), or the file
 * cannot be written. */
coc_status coc_lock_take(const char *folder, const char *name, const char *command, coc_lock *lock);

/* Remove the file and let go; a lock that is not held is fine. */
void coc_lock_release(coc_lock *lock);

/* Write a small file in one go, in the way above. Errors: COC_ERR_IO (names the path). */
coc_status coc_file_write(const char *path, const void *bytes, size_t count);

/* Copy a file, of any size, to a place where it appears whole, and remove it where it was; for
 * other file systems too. After a failure nothing has changed. Errors: COC_ERR_IO (names the path).
 */
coc_status coc_file_move(const char *from, const char *to);

/* Read a whole file; one zero byte is appended that does not count. *bytes is the caller's, freed
 * with free(); NULL after a failure. Refuses files over `limit` bytes. Errors: COC_ERR_IO,
 * COC_ERR_INPUT (over the limit), COC_ERR_MEMORY. */
coc_status coc_file_read(const char *path, int64_t limit, char **bytes, size_t *count);

/* Names in a folder ("." and ".." left out), sorted bytewise; the list is the caller's. */
typedef struct {
    char **name;
    int64_t count;
} coc_names;
coc_status coc_list_folder(const char *path, coc_names *names);
void coc_names_free(coc_names *names);

/* XXH3-64 of a range of memory, and of a whole file. */
uint64_t coc_hash(const void *bytes, size_t count);
coc_status coc_hash_file(const char *path, uint64_t *hash);

/* "folder/name" into out; COC_ERR_USAGE when it would not fit. */
coc_status coc_path_join(char out[COC_PATH_BYTES], const char *folder, const char *name);

#endif
