#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/memory.h"

bool coc_file_exists(const char *path)
{
    struct stat s;

    return lstat(path, &s) == 0;
}

bool coc_is_folder(const char *path)
{
    struct stat s;

    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

int64_t coc_file_bytes(const char *path)
{
    struct stat s;

    if (stat(path, &s) != 0 || !S_ISREG(s.st_mode)) return -1;
    return (int64_t)s.st_size;
}

coc_status coc_path_join(char out[COC_PATH_BYTES], const char *folder, const char *name)
{
    const int n = snprintf(out, COC_PATH_BYTES, "%s/%s", folder, name);

    if (n < 0 || n >= COC_PATH_BYTES)
        return COC_FAIL(COC_ERR_USAGE, "%s/...: path of over %d bytes; use a shorter folder name",
                        folder, COC_PATH_BYTES - 1);
    return COC_OK;
}

coc_status coc_make_folders(const char *path)
{
    char part[COC_PATH_BYTES];
    const size_t length = strlen(path);

    if (length == 0 || length >= sizeof part)
        return COC_FAIL(COC_ERR_USAGE, "'%s': not a folder name", path);
    memcpy(part, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (part[i] != '/' && part[i] != '\0') continue;
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && (errno != EEXIST || !coc_is_folder(part)))
            return COC_FAIL(COC_ERR_IO, "%s: cannot create the folder: %s", part,
                            errno == EEXIST ? "a file of that name exists" : strerror(errno));
        if (i < length) part[i] = '/';
    }
    return COC_OK;
}

/* Split into folder ("." when there is none) and name. */
static void split_path(const char *path, char folder[COC_PATH_BYTES], const char **name)
{
    const char *slash = strrchr(path, '/');

    *name = slash != NULL ? slash + 1 : path;
    if (slash == NULL)
        snprintf(folder, COC_PATH_BYTES, ".");
    else
        snprintf(folder, COC_PATH_BYTES, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

/* The new file takes the place of what has its name: of a file, but never of a device or a pipe
 * (/dev/stdout is a link to one), which root could replace. */
static coc_status check_place(const char *path)
{
    struct stat s;

    if (lstat(path, &s) != 0 || S_ISREG(s.st_mode)) return COC_OK;
    if (S_ISDIR(s.st_mode))
        return COC_FAIL(COC_ERR_IO, "%s: cannot be written: a folder; name a file", path);
    return COC_FAIL(COC_ERR_IO, "%s: cannot be written: a link, device or pipe; name a file", path);
}

coc_status coc_new_file_path(const char *path, char temporary[COC_PATH_BYTES])
{
    char folder[COC_PATH_BYTES], host[64] = "host", leaf[COC_PATH_BYTES];
    const char *name;
    int n;

    COC_TRY(check_place(path));
    split_path(path, folder, &name);
    gethostname(host, sizeof host - 1);
    n = snprintf(leaf, sizeof leaf, ".%s.partial-%s-%ld", name, host, (long)getpid());
    if (n < 0 || n >= COC_PATH_BYTES) return COC_FAIL(COC_ERR_USAGE, "%s: name too long", path);
    return coc_path_join(temporary, folder, leaf);
}

static coc_status sync_path(const char *path, int flags)
{
    const int file = open(path, flags);
    int rc = -1, error = errno;

    if (file >= 0) {
        rc = fsync(file);
        error = errno;
        if (close(file) != 0 && rc == 0) {
            rc = -1;
            error = errno;
        }
    }
    if (rc != 0 && error != EINVAL) /* some network folders cannot be synced */
        return COC_FAIL(COC_ERR_IO, "%s: cannot be written to the disk: %s", path, strerror(error));
    return COC_OK;
}

coc_status coc_file_publish(const char *temporary, const char *path)
{
    char folder[COC_PATH_BYTES];
    const char *name;

    COC_TRY(sync_path(temporary, O_RDONLY));
    if (rename(temporary, path) != 0)
        return COC_FAIL(COC_ERR_IO, "%s: cannot be put in place: %s", path, strerror(errno));
    split_path(path, folder, &name);
    return sync_path(folder, O_RDONLY | O_DIRECTORY);
}

void coc_file_discard(const char *temporary)
{
    if (temporary[0] != '\0') unlink(temporary);
}

void coc_sweep_partials(const char *folder)
{
    char path[COC_PATH_BYTES];
    coc_names names;

    if (!coc_is_folder(folder) || coc_list_folder(folder, &names) != COC_OK) return;
    for (int64_t i = 0; i < names.count; i++)
        if (names.name[i][0] == '.' && strstr(names.name[i], ".partial-") != NULL &&
            coc_path_join(path, folder, names.name[i]) == COC_OK)
            coc_remove_tree(path);
    coc_names_free(&names);
}

void coc_remove_tree(const char *path)
{
    coc_names names;
    struct stat s;

    if (lstat(path, &s) != 0) return;
    if (S_ISDIR(s.st_mode) && coc_list_folder(path, &names) == COC_OK) {
        for (int64_t i = 0; i < names.count; i++) {
            char *entry = coc_format("%s/%s", path, names.name[i]);

            if (entry != NULL) coc_remove_tree(entry);
            free(entry);
        }
        coc_names_free(&names);
    }
    remove(path);
}

coc_status coc_file_write(const char *path, const void *bytes, size_t count)
{
    char temporary[COC_PATH_BYTES];
    coc_status status;
    FILE *file;
    bool good;

    COC_TRY(coc_new_file_path(path, temporary));
    file = fopen(temporary, "wb");
    if (file == NULL)
        return COC_FAIL(COC_ERR_IO, "%s: cannot be created: %s", path, strerror(errno));
    good = fwrite(bytes, 1, count, file) == count;
    if (fclose(file) != 0) good = false;
    if (!good) {
        const int error = errno;

        coc_file_discard(temporary);
        return COC_FAIL(COC_ERR_IO, "%s: cannot be written: %s", path, strerror(error));
    }
    status = coc_file_publish(temporary, path);
    if (status != COC_OK) coc_file_discard(temporary);
    return status;
}

static coc_status copy_bytes(const char *from, FILE *in, const char *to, FILE *out)
{
    enum { PIECE = 1 << 20 };
    char *piece = malloc(PIECE);
    coc_status status = COC_OK;
    size_t count;

    if (piece == NULL) return COC_FAIL(COC_ERR_MEMORY, "%s: no memory to copy it", from);
    while (status == COC_OK && (count = fread(piece, 1, PIECE, in)) > 0)
        if (fwrite(piece, 1, count, out) != count)
            status = COC_FAIL(COC_ERR_IO, "%s: cannot be written: %s", to, strerror(errno));
    if (status == COC_OK && ferror(in))
        status = COC_FAIL(COC_ERR_IO, "%s: cannot be read: %s", from, strerror(errno));
    free(piece);
    return status;
}

coc_status coc_file_move(const char *from, const char *to)
{
    char temporary[COC_PATH_BYTES];
    FILE *in, *out;
    coc_status status;

    COC_TRY(coc_new_file_path(to, temporary));
    in = fopen(from, "rb");
    if (in == NULL) return COC_FAIL(COC_ERR_IO, "%s: cannot be opened: %s", from, strerror(errno));
    out = fopen(temporary, "wb");
    status = out != NULL ? copy_bytes(from, in, to, out)
                         : COC_FAIL(COC_ERR_IO, "%s: cannot be created: %s", to, strerror(errno));
    fclose(in);
    if (out != NULL && fclose(out) != 0 && status == COC_OK)
        status = COC_FAIL(COC_ERR_IO, "%s: cannot be written: %s", to, strerror(errno));
    if (status == COC_OK) status = coc_file_publish(temporary, to);
    if (status == COC_OK)
        coc_file_discard(from);
    else
        coc_file_discard(temporary);
    return status;
}

coc_status coc_file_read(const char *path, int64_t limit, char **bytes, size_t *count)
{
    const int64_t size = coc_file_bytes(path);
    struct stat info;
    FILE *file;
    size_t got;

    *bytes = NULL;
    *count = 0;
    if (size < 0 && stat(path, &info) == 0) /* opening a pipe would wait for its writer */
        return COC_FAIL(COC_ERR_IO, "%s: cannot be opened: not a regular file", path);
    if (size > limit)
        return COC_FAIL(COC_ERR_INPUT,
                        "%s: %lld bytes, more than the %lld that such a file may have", path,
                        (long long)size, (long long)limit);
    file = size >= 0 ? fopen(path, "rb") : NULL;
    if (file == NULL)
        return COC_FAIL(COC_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    if (coc_alloc(size + 1, 1, bytes) != COC_OK) {
        fclose(file);
        return COC_ERR_MEMORY;
    }
    got = fread(*bytes, 1, (size_t)size, file);
    fclose(file);
    if (got != (size_t)size) {
        free(*bytes);
        *bytes = NULL;
        return COC_FAIL(COC_ERR_IO, "%s: read %zu of %lld bytes", path, got, (long long)size);
    }
    *count = got;
    return COC_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

coc_status coc_list_folder(const char *path, coc_names *names)
{
    coc_status status = COC_OK;
    int64_t capacity = 0;
    DIR *folder = opendir(path);

    *names = (coc_names){0};
    if (folder == NULL)
        return COC_FAIL(COC_ERR_IO, "%s: cannot be listed: %s", path, strerror(errno));
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        status = coc_grow(&names->name, &capacity, names->count + 1, sizeof *names->name);
        if (status != COC_OK) break;
        names->name[names->count] = coc_strdup(entry->d_name);
        if (names->name[names->count] == NULL) {
            status = COC_FAIL(COC_ERR_MEMORY, "%s: no memory for its names", path);
            break;
        }
        names->count++;
    }
    closedir(folder);
    if (status != COC_OK) {
        coc_names_free(names);
        return status;
    }
    if (names->count > 1)
        qsort(names->name, (size_t)names->count, sizeof *names->name, compare_names);
    return COC_OK;
}

void coc_names_free(coc_names *names)
{
    for (int64_t i = 0; i < names->count; i++)
        free(names->name[i]);
    free(names->name);
    *names = (coc_names){0};
}

uint64_t coc_hash(const void *bytes, size_t count)
{
    return XXH3_64bits(bytes, count);
}

coc_status coc_hash_file(const char *path, uint64_t *hash)
{
    enum { CHUNK = 1 << 20 };
    coc_status status = COC_OK;
    XXH3_state_t *state = XXH3_createState();
    char *chunk = malloc(CHUNK);
    FILE *file = fopen(path, "rb");
    size_t got;

    *hash = 0;
    if (file == NULL)
        status = COC_FAIL(COC_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    else if (state == NULL || chunk == NULL)
        status = COC_FAIL(COC_ERR_MEMORY, "%s: no memory to read it", path);
    else {
        XXH3_64bits_reset(state);
        while ((got = fread(chunk, 1, CHUNK, file)) > 0)
            XXH3_64bits_update(state, chunk, got);
        if (ferror(file))
            status = COC_FAIL(COC_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
        *hash = XXH3_64bits_digest(state);
    }
    if (file != NULL) fclose(file);
    free(chunk);
    XXH3_freeState(state);
    return status;
}
