/* copy_test.c - trees are copied as they are, and never through a link. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/disk/private.h"
#include "tests/node/fixture.h"

static const struct copy_how plainly = {0};

static int open_dir(const struct fixture *f, const char *name)
{
    char path[PATH_MAX];
    int fd;

    (void)str_print(path, sizeof path, "%s/%s", f->dir, name);
    assert_int_equal(file_make_dirs(path, 0700), 0);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static mode_t mode_of(int dir, const char *name)
{
    struct stat st;

    assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    return st.st_mode;
}

static void a_link_put_in_the_way_keeps_the_mode_of_what_it_leads_to(void **state)
{
    const struct fixture *f = *state;
    SCOPED(scope_close) int dir = open_dir(f, "a");

    fixture_write(f, "secret", "x");
    assert_int_equal(symlinkat("../secret", dir, "link"), 0);
    assert_int_equal(copy_set_mode(dir, "link", 0777), -ELOOP);
    assert_int_equal(mode_of(dir, "../secret") & 07777, 0600);
    fixture_write(f, "a/file", "x");
    assert_int_equal(copy_set_mode(dir, "file", 04755), 0);
    assert_int_equal(mode_of(dir, "file") & 07777, 04755);
}

/* Snapshots and clones keep them: the copy takes the room of one file. */
static void names_of_one_file_stay_names_of_one_file(void **state)
{
    static const struct copy_how exact = {.keep_owner = true, .raw = true};
    const struct fixture *f = *state;
    SCOPED(scope_close) int from = open_dir(f, "from");
    SCOPED(scope_close) int to = open_dir(f, "to");
    struct err e = {0};
    struct stat a;
    struct stat b;

    fixture_write(f, "from/tree/one", "x");
    fixture_write(f, "from/tree/other", "y");
    assert_int_equal(mkdirat(from, "tree/sub", 0755), 0);
    assert_int_equal(linkat(from, "tree/one", from, "tree/sub/two", 0), 0);
    assert_int_equal(linkat(from, "tree/one", from, "three", 0), 0); /* not copied */
    assert_int_equal(symlinkat("one", from, "tree/link"), 0);
    assert_int_equal(linkat(from, "tree/link", from, "tree/sub/link", 0), 0);
    for (unsigned round = 0; round < 2; round++) { /* the second over the first */
        assert_int_equal(copy_tree(from, "tree", to, "copy", &exact, &e), 0);
        assert_int_equal(fstatat(to, "copy/one", &a, 0), 0);
        assert_int_equal(fstatat(to, "copy/sub/two", &b, 0), 0);
        assert_int_equal(a.st_ino, b.st_ino);
        assert_int_equal(a.st_nlink, 2);
        assert_int_equal(fstatat(to, "copy/link", &a, AT_SYMLINK_NOFOLLOW), 0);
        assert_int_equal(fstatat(to, "copy/sub/link", &b, AT_SYMLINK_NOFOLLOW), 0);
        assert_int_equal(a.st_ino, b.st_ino);
        assert_int_equal(fstatat(to, "copy/other", &a, 0), 0);
        assert_int_equal(a.st_nlink, 1);
    }
    assert_int_equal(copy_tree(from, "tree", to, "plain", &plainly, &e), 0);
    assert_int_equal(fstatat(to, "plain/one", &a, 0), 0);
    assert_int_equal(a.st_nlink, 1);
}

static void a_tree_arrives_with_links_and_modes(void **state)
{
    const struct fixture *f = *state;
    SCOPED(scope_close) int from = open_dir(f, "from");
    SCOPED(scope_close) int to = open_dir(f, "to");
    char text[32] = "";
    struct err e = {0};

    fixture_write(f, "from/tree/sub/deep", "x");
    assert_int_equal(symlinkat("/etc/shadow", from, "tree/link"), 0);
    assert_int_equal(mkfifoat(from, "tree/pipe", 0640), 0);
    assert_int_equal(fchmodat(from, "tree/sub", 0751, 0), 0);
    assert_int_equal(copy_tree(from, "tree", to, "copy", &plainly, &e), 0);
    assert_int_equal(mode_of(to, "copy/sub") & 07777, 0751);
    assert_true(S_ISFIFO(mode_of(to, "copy/pipe")));
    assert_int_equal(readlinkat(to, "copy/link", text, sizeof text - 1), 11);
    assert_string_equal(text, "/etc/shadow");
}

/* The destination has links where the source has directories and files. */
static void links_at_the_destination_are_not_followed(void **state)
{
    const struct fixture *f = *state;
    SCOPED(scope_close) int from = open_dir(f, "from");
    SCOPED(scope_close) int to = open_dir(f, "to/copy");
    SCOPED(scope_close) int host = open_dir(f, "host");
    struct err e = {0};

    fixture_write(f, "host/file", "kept");
    fixture_write(f, "from/tree/file", "new");
    assert_int_equal(symlinkat("../../host/file", to, "file"), 0);
    assert_int_equal(copy_tree(from, "tree", to, "../copy", &plainly, &e), 0);
    assert_true(S_ISREG(mode_of(to, "file"))); /* the link was replaced */
    fixture_write(f, "from/tree/sub/x", "new");
    assert_int_equal(symlinkat("../../host", to, "sub"), 0);
    assert_true(copy_tree(from, "tree", to, "../copy", &plainly, &e) < 0);
    assert_int_equal(faccessat(host, "x", F_OK, 0), -1);
}

static void ids_stay_within_the_guests_range(void **state)
{
    const struct copy_how in = {.shift_to = 1048576};
    const struct copy_how out = {.shift_from = 1048576};
    const struct copy_how raw = {.raw = true, .shift_from = 1048576, .shift_to = 2097152};

    (void)state;
    assert_int_equal(copy_shifted(0, &in), 1048576);
    assert_int_equal(copy_shifted(65535, &in), 1048576 + 65535);
    assert_int_equal(copy_shifted(65536, &in), 1048576 + 65534); /* nobody */
    assert_int_equal(copy_shifted(UINT64_MAX, &in), 1048576 + 65534);
    assert_int_equal(copy_shifted(1048577, &out), 1);
    assert_int_equal(copy_shifted(5, &out), 5);
    assert_int_equal(copy_shifted(1048577, &raw), 2097153);
    assert_int_equal(copy_shifted(5, &raw), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_link_put_in_the_way_keeps_the_mode_of_what_it_leads_to, fixture_begin,
            fixture_end),
        cmocka_unit_test_setup_teardown(names_of_one_file_stay_names_of_one_file,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(a_tree_arrives_with_links_and_modes,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(links_at_the_destination_are_not_followed,
                                        fixture_begin, fixture_end),
        cmocka_unit_test(ids_stay_within_the_guests_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
