#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/test.h"

/* What another process gets that asks for the lock; it lets go of it when it has it. */
static coc_status ask_elsewhere(const char *folder)
{
    const pid_t child = fork();
    int result = -1;

    if (child == 0) {
        coc_lock lock;
        const coc_status status = coc_lock_take(folder, ".work.lock", "cocola train", &lock);

        coc_lock_release(&lock);
        _exit((int)status);
    }
    waitpid(child, &result, 0);
    return (coc_status)WEXITSTATUS(result);
}

/* A second process is refused as long as the first holds the lock, and gets it after that; the file
 * is gone in the end. */
static void test_lock_excludes(void)
{
    const char *folder = coc_test_folder("lock");
    coc_lock lock;

    REQUIRE_OK(coc_lock_take(folder, ".work.lock", "cocola train", &lock));
    CHECK(ask_elsewhere(folder) == COC_ERR_IO);
    coc_lock_release(&lock);
    coc_lock_release(&lock);
    CHECK(ask_elsewhere(folder) == COC_OK);
    CHECK(!coc_file_exists("scratch_lock/.work.lock"));
}

/* A process that was killed leaves its file, which stops nobody. */
static void test_killed_holder(void)
{
    const char *folder = coc_test_folder("killed_lock");
    const pid_t child = fork();
    coc_lock lock;

    if (child == 0) {
        (void)!coc_lock_take(folder, ".work.lock", "cocola train", &lock);
        raise(SIGKILL);
    }
    waitpid(child, NULL, 0);
    CHECK(coc_file_exists("scratch_killed_lock/.work.lock"));
    REQUIRE_OK(coc_lock_take(folder, ".work.lock", "cocola train", &lock));
    coc_lock_release(&lock);
}

/* Sweeping removes unfinished files and folders, and nothing else. */
static void test_sweep(void)
{
    const char *folder = coc_test_folder("sweep");

    REQUIRE_OK(coc_file_write("scratch_sweep/kept.partial-x", "a", 1));
    REQUIRE_OK(coc_file_write("scratch_sweep/.best-8.h5.partial-host-12", "a", 1));
    REQUIRE_OK(coc_make_folders("scratch_sweep/.Track00001.partial-host-12/stems"));
    REQUIRE_OK(coc_file_write("scratch_sweep/.Track00001.partial-host-12/stems/a", "a", 1));
    coc_sweep_partials(folder);
    coc_sweep_partials("scratch_sweep/no_such_folder");
    CHECK(coc_file_exists("scratch_sweep/kept.partial-x"));
    CHECK(!coc_file_exists("scratch_sweep/.best-8.h5.partial-host-12"));
    CHECK(!coc_file_exists("scratch_sweep/.Track00001.partial-host-12"));
}

/* Reading a pipe that nobody writes to is refused at once; a missing file says so. */
static void test_read_refuses(void)
{
    char *bytes;
    size_t count;

    coc_test_folder("read");
    REQUIRE(mkfifo("scratch_read/pipe", 0666) == 0);
    alarm(10); /* opening the pipe would wait for ever */
    CHECK(coc_file_read("scratch_read/pipe", 100, &bytes, &count) == COC_ERR_IO);
    alarm(0);
    CHECK(strstr(coc_error_text(), "not a regular file") != NULL);
    CHECK(coc_file_read("scratch_read/none", 100, &bytes, &count) == COC_ERR_IO);
    CHECK(strstr(coc_error_text(), "No such file") != NULL);
    REQUIRE_OK(coc_file_write("scratch_read/long", "12345", 5));
    CHECK(coc_file_read("scratch_read/long", 4, &bytes, &count) == COC_ERR_INPUT);
    REQUIRE_OK(coc_file_read("scratch_read/long", 5, &bytes, &count));
    CHECK(count == 5 && memcmp(bytes, "12345", 6) == 0);
    free(bytes);
}

int main(void)
{
    RUN(test_lock_excludes);
    RUN(test_killed_holder);
    RUN(test_sweep);
    RUN(test_read_refuses);
    return coc_test_result();
}
