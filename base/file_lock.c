#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

/* Whether the file under that name is still the one that is open: its last holder removes it. */
static bool is_current(const char *path, int file)
{
    struct stat here, there;

    return fstat(file, &here) == 0 && stat(path, &there) == 0 && here.st_ino == there.st_ino &&
           here.st_dev == there.st_dev;
}

coc_status coc_lock_take(const char *folder, const char *name, const char *command, coc_lock *lock)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    *lock = (coc_lock){.file = -1};
    COC_TRY(coc_path_join(lock->path, folder, name));
    for (;;) {
        lock->file = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (lock->file < 0)
            return COC_FAIL(COC_ERR_IO, "%s: cannot be written to: %s", folder, strerror(errno));
        /* a file system that knows no locks gives another error: then there is none to hold */
        if (fcntl(lock->file, F_SETLK, &whole) != 0 && (errno == EACCES || errno == EAGAIN)) {
            close(lock->file);
            return COC_FAIL(COC_ERR_IO,
                            "%s: another `%s` works in it; wait for its end, or name another "
                            "folder by --out",
                            folder, command);
        }
        lock->held = true;
        if (is_current(lock->path, lock->file)) return COC_OK;
        lock->held = false;
        close(lock->file);
    }
}

void coc_lock_release(coc_lock *lock)
{
    if (!lock->held) return;
    /* before it is free: the next holder makes its own */
    if (is_current(lock->path, lock->file)) coc_file_discard(lock->path);
    close(lock->file);
    *lock = (coc_lock){.file = -1};
}
