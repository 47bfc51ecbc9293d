/* file_test.c - whole files, directories and descriptors. */
#include "host/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "tests/base/check.h"

/* Each test works in a fresh directory: `*state` is its path. */
static int make_scratch(void **state)
{
    char template[] = "/tmp/strata-file-XXXXXX";

    if (mkdtemp(template) == NULL) {
        return -1;
    }
    *state = strdup(template);
    return 0;
}

static int drop_scratch(void **state)
{
    int r = file_remove_tree(AT_FDCWD, *state);

    free(*state);
    return r;
}

/* "SCRATCH/name" in one of a few rotating buffers. */
static const char *at(void **state, const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 4];

    assert_int_equal(str_print(path, PATH_MAX, "%s/%s", (const char *)*state, name), 0);
    return path;
}

static void put(const char *path, const char *text)
{
    assert_int_equal(file_replace(AT_FDCWD, path, text, strlen(text), 0644, false), 0);
}

static void holds(const char *path, const char *want)
{
    SCOPED(scope_free) char *text = NULL;
    size_t len = 0;

    assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &text, &len), 0);
    assert_int_equal(len, strlen(want));
    assert_string_equal(text, want);
}

static size_t count_entries(const char *path)
{
    SCOPED(scope_dir) DIR *d = opendir(path);
    size_t n = 0;

    assert_non_null(d);
    while (readdir(d) != NULL) {
        n++;
    }
    return n - 2; /* "." and ".." */
}

static void a_file_is_read_whole_and_terminated(void **state)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 100000};
    char *bytes = calloc(1, 100001);

    assert_non_null(bytes);
    memset(bytes, 'x', 100000);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        SCOPED(scope_free) char *text = NULL;
        const char *path = at(state, "f");
        size_t len = 77;

        assert_int_equal(file_replace(AT_FDCWD, path, bytes, sizes[i], 0600, false), 0);
        assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &text, &len), 0);
        assert_int_equal(len, sizes[i]);
        assert_memory_equal(text, bytes, len);
        assert_int_equal(text[len], '\0');
    }
    free(bytes);
}

static void a_copy_has_all_bytes_and_no_more_blocks(void **state)
{
    int in = open(at(state, "in"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int out = open(at(state, "out"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    static const off_t places[] = {0, 3 << 20, (5 << 20) - 3};
    struct stat was;
    struct stat st;
    char byte;

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        assert_int_equal(pwrite(in, "abc", 3, places[i]), 3);
    }
    assert_int_equal(ftruncate(in, 9 << 20), 0);
    assert_int_equal(file_copy(in, out), 0);
    assert_int_equal(fstat(in, &was), 0);
    assert_int_equal(fstat(out, &st), 0);
    assert_int_equal(st.st_size, 9 << 20);
    assert_true(st.st_blocks <= was.st_blocks + 8);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        assert_int_equal(pread(out, &byte, 1, places[i] + 2), 1);
        assert_int_equal(byte, 'c');
    }
    assert_int_equal(pread(out, &byte, 1, 1 << 20), 1);
    assert_int_equal(byte, 0);
    assert_int_equal(file_copy(-1, out), -EBADF);
    (void)close(in);
    (void)close(out);
}

static void a_file_above_the_limit_is_refused(void **state)
{
    const char *path = at(state, "f");
    char *text = NULL;

    put(path, "12345");
    assert_int_equal(file_read(AT_FDCWD, path, 4, &text, NULL), -EFBIG);
    assert_null(text);
    assert_int_equal(file_read(AT_FDCWD, path, 5, &text, NULL), 0);
    free(text);
    assert_int_equal(file_read(AT_FDCWD, at(state, "none"), 5, &text, NULL), -ENOENT);
    assert_int_equal(file_read(AT_FDCWD, *state, 5, &text, NULL), -EISDIR);
}

static void proc_files_without_a_size_are_read(void **state)
{
    SCOPED(scope_free) char *text = NULL;

    (void)state;
    assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", 1 << 24, &text, NULL),
                     0);
    assert_non_null(strstr(text, " /proc "));
}

static int read_it(void *arg)
{
    SCOPED(scope_free) char *text = NULL;

    return file_read(AT_FDCWD, arg, 1 << 20, &text, NULL);
}

static void a_failed_allocation_while_reading_leaks_nothing(void **state)
{
    char bytes[20000];
    char path[PATH_MAX];

    memset(bytes, 'y', sizeof bytes);
    assert_int_equal(str_print(path, sizeof path, "%s", at(state, "f")), 0);
    assert_int_equal(file_replace(AT_FDCWD, path, bytes, sizeof bytes, 0600, false), 0);
    assert_true(check_each_allocation(read_it, path, -ENOMEM) >= 3);
}

static void replace_makes_the_new_content_and_leaves_no_temporary(void **state)
{
    const char *path = at(state, "f");
    struct stat st;

    put(path, "old");
    assert_int_equal(file_replace(AT_FDCWD, path, "new", 3, 0600, true), 0);
    holds(path, "new");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(count_entries(*state), 1);
}

static void a_replace_that_fails_keeps_the_old_content(void **state)
{
    const char *path = at(state, "d");

    assert_int_equal(mkdir(path, 0755), 0);
    put(at(state, "d/kept"), "old");
    assert_int_equal(file_replace(AT_FDCWD, path, "x", 1, 0600, false), -EISDIR);
    assert_int_equal(file_replace(AT_FDCWD, at(state, "no/f"), "x", 1, 0600, false),
                     -ENOENT);
    holds(at(state, "d/kept"), "old");
    assert_int_equal(count_entries(*state), 1);
}

static void a_full_disk_is_told(void **state)
{
    SCOPED(scope_close) int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, "x", 1), -ENOSPC);
    assert_int_equal(file_write_existing(AT_FDCWD, "/dev/full", "x"), -ENOSPC);
}

static void write_existing_creates_nothing(void **state)
{
    const char *path = at(state, "f");

    assert_int_equal(file_write_existing(AT_FDCWD, path, "1"), -ENOENT);
    assert_int_equal(count_entries(*state), 0);
    put(path, "");
    assert_int_equal(file_write_existing(AT_FDCWD, path, "42"), 0);
    holds(path, "42");
}

static void read_all_stops_at_the_end(void **state)
{
    char buf[16];
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(file_write_all(ends[1], "abc", 3), 0);
    assert_int_equal(file_write_all(ends[1], "def", 3), 0);
    (void)close(ends[1]);
    assert_int_equal(file_read_all(ends[0], buf, 4), 4);
    assert_int_equal(file_read_all(ends[0], buf, sizeof buf), 2);
    assert_memory_equal(buf, "ef", 2);
    assert_int_equal(file_read_all(ends[0], buf, sizeof buf), 0);
    (void)close(ends[0]);
    assert_int_equal(file_read_all(ends[0], buf, 1), -EBADF);
}

static void make_dirs_makes_all_and_keeps_modes(void **state)
{
    struct stat st;

    assert_int_equal(mkdir(at(state, "a"), 0711), 0);
    assert_int_equal(file_make_dirs(at(state, "a/b//c/"), 0700), 0);
    assert_int_equal(stat(at(state, "a/b/c"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(at(state, "a"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0711);
    assert_int_equal(file_make_dirs(at(state, "a/b/c"), 0700), 0);
}

static void make_dirs_refuses_what_cannot_be(void **state)
{
    char path[PATH_MAX + 10];

    put(at(state, "f"), "x");
    assert_int_equal(file_make_dirs(at(state, "f/d"), 0700), -ENOTDIR);
    assert_int_equal(file_make_dirs("", 0700), -ENOENT);
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(file_make_dirs(path, 0700), -ENAMETOOLONG);
}

static void remove_tree_follows_no_links(void **state)
{
    assert_int_equal(file_make_dirs(at(state, "tree/deep/er"), 0700), 0);
    assert_int_equal(mkdir(at(state, "outside"), 0700), 0);
    put(at(state, "outside/kept"), "x");
    put(at(state, "tree/deep/f"), "x");
    assert_int_equal(symlink(at(state, "outside"), at(state, "tree/link")), 0);
    assert_int_equal(symlink("..", at(state, "tree/deep/up")), 0);
    assert_int_equal(file_remove_tree(AT_FDCWD, at(state, "tree")), 0);
    assert_int_equal(access(at(state, "tree"), F_OK), -1);
    holds(at(state, "outside/kept"), "x");
}

static void removing_what_is_missing_is_fine(void **state)
{
    assert_int_equal(file_remove_tree(AT_FDCWD, at(state, "none")), 0);
    put(at(state, "f"), "x");
    assert_int_equal(file_remove_tree(AT_FDCWD, at(state, "f")), 0);
    assert_int_equal(count_entries(*state), 0);
}

static void opens(void **state, int root, const char *path, int want)
{
    SCOPED(scope_close) int fd = file_open_in_root(root, path, O_RDONLY, 0);

    (void)state;
    if (want < 0 ? fd != want : fd < 0) {
        fail_msg("'%s' gave %d, not %d", path, fd, want);
    }
}

static void no_path_leads_out_of_a_root(void **state)
{
    SCOPED(scope_close) int root = -1;

    assert_int_equal(file_make_dirs(at(state, "root/etc"), 0700), 0);
    put(at(state, "root/etc/inside"), "x");
    put(at(state, "secret"), "x");
    assert_int_equal(symlink("/etc/inside", at(state, "root/absolute")), 0);
    assert_int_equal(symlink("../../secret", at(state, "root/up")), 0);
    assert_int_equal(symlink("/proc/self/root", at(state, "root/magic")), 0);
    assert_int_equal(symlink("loop", at(state, "root/loop")), 0);
    root = open(at(state, "root"), O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(root >= 0);
    opens(state, root, "etc/inside", 0);
    opens(state, root, "/etc/inside", 0);
    opens(state, root, "../../../etc/inside", 0);
    opens(state, root, "absolute", 0);
    opens(state, root, "up", -ENOENT);
    opens(state, root, "../secret", -ENOENT);
    opens(state, root, "magic/etc/passwd", -ENOENT);
    opens(state, root, "loop", -ELOOP);
}

static void open_in_root_creates_inside_only(void **state)
{
    SCOPED(scope_close) int root = -1;
    SCOPED(scope_close) int fd = -1;
    struct stat st;

    assert_int_equal(mkdir(at(state, "root"), 0700), 0);
    root = open(at(state, "root"), O_PATH | O_DIRECTORY | O_CLOEXEC);
    fd = file_open_in_root(root, "../new", O_WRONLY | O_CREAT, 0640);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(stat(at(state, "root/new"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(access(at(state, "new"), F_OK), -1);
}

#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, make_scratch, drop_scratch)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(a_file_is_read_whole_and_terminated),
        SCRATCH_TEST(a_copy_has_all_bytes_and_no_more_blocks),
        SCRATCH_TEST(a_file_above_the_limit_is_refused),
        SCRATCH_TEST(proc_files_without_a_size_are_read),
        SCRATCH_TEST(a_failed_allocation_while_reading_leaks_nothing),
        SCRATCH_TEST(replace_makes_the_new_content_and_leaves_no_temporary),
        SCRATCH_TEST(a_replace_that_fails_keeps_the_old_content),
        SCRATCH_TEST(a_full_disk_is_told),
        SCRATCH_TEST(write_existing_creates_nothing),
        SCRATCH_TEST(read_all_stops_at_the_end),
        SCRATCH_TEST(make_dirs_makes_all_and_keeps_modes),
        SCRATCH_TEST(make_dirs_refuses_what_cannot_be),
        SCRATCH_TEST(remove_tree_follows_no_links),
        SCRATCH_TEST(removing_what_is_missing_is_fine),
        SCRATCH_TEST(no_path_leads_out_of_a_root),
        SCRATCH_TEST(open_in_root_creates_inside_only),
    };

    (void)umask(022);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
