/* archive_test.c - names and lists of backups of directories. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "host/file.h"
#include "node/volume/archive/private.h"
#include "tests/node/fixture.h"

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

static void any_name_comes_back_from_its_text(void **state)
{
    char name[256];
    char back[256];

    (void)state;
    for (int i = 1; i < 256; i++) {
        name[i - 1] = (char)i;
    }
    name[255] = '\0';
    {
        SCOPED(scope_free) char *text = archive_quote(name);

        assert_non_null(text);
        for (const char *c = text; *c != '\0'; c++) {
            assert_true(*c > ' ' && *c < 0x7f && *c != '"' && *c != '\\');
        }
        assert_int_equal(archive_unquote(text, back, sizeof back), 0);
        assert_string_equal(back, name);
        assert_int_equal(archive_unquote(text, back, 255), -ENAMETOOLONG);
    }
}

static void text_that_is_no_name_is_refused(void **state)
{
    static const char *const bad[] = {"%", "%4", "%zz", "a%00b", "%4g", "%4a"};
    char back[16];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(archive_unquote(bad[i], back, sizeof back), -EINVAL);
    }
}

static void what_is_in_a_directory_stands_right_behind_it(void **state)
{
    static const char *const order[] = {".",     "a",   "a/b",   "a/b/c", "a/c", "a b",
                                        "a b/x", "a.d", "a.d/x", "b",     "\xff"};
    const int count = sizeof order / sizeof order[0];

    (void)state;
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < count; k++) {
            int got = archive_compare(order[i], order[k]);

            assert_int_equal(got < 0 ? -1 : got > 0, i < k ? -1 : i > k);
        }
    }
}

static void a_path_that_leads_elsewhere_has_no_parent(void **state)
{
    static const char *const bad[] = {
        "",        "/",   "..",     "../x", "/etc/passwd", "a/..",
        "a/../..", "a/.", "link/x", "a/",   "a/../../x"};
    const struct fixture *f = *state;
    SCOPED(scope_close) int top = open_dir(f, "top");
    char name[NAME_MAX + 1];
    int fd;

    assert_int_equal(mkdirat(top, "a", 0700), 0);
    assert_int_equal(symlinkat("/", top, "link"), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_true(archive_parent(top, bad[i], name) < 0);
    }
    fd = archive_parent(top, "a/x", name);
    assert_true(fd >= 0);
    assert_string_equal(name, "x");
    (void)close(fd);
}

/* A scan of a tree, as its lines. */
static int scan(int top, int before, int out, struct archive_scan *s)
{
    struct err e = {0};

    *s = (struct archive_scan){.top = top, .before = before, .stage = -1, .out = out};
    return archive_scan(s, &e);
}

static int scratch(const struct fixture *f, const char *name)
{
    char path[PATH_MAX];
    int fd;

    (void)str_print(path, sizeof path, "%s/%s", f->dir, name);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

static void put(int dir, const char *name, const char *text)
{
    SCOPED(scope_close) int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
}

static int pack(int top, int lines, int list, int data, struct archive_pack *p)
{
    struct err e = {0};

    *p = (struct archive_pack){.top = top,
                               .stage = -1,
                               .lines = lines,
                               .list = list,
                               .data = data,
                               .name = "0001"};
    return archive_pack(p, &e);
}

static void a_file_is_read_again_only_when_it_changed(void **state)
{
    const struct fixture *f = *state;
    SCOPED(scope_close) int top = open_dir(f, "top");
    SCOPED(scope_close) int lines = scratch(f, "lines");
    SCOPED(scope_close) int list = scratch(f, "list");
    SCOPED(scope_close) int data = scratch(f, "data");
    SCOPED(scope_close) int again = scratch(f, "again");
    struct archive_scan s;
    struct archive_pack p;

    put(top, "a", "one");
    put(top, "b", "two");
    assert_int_equal(scan(top, -1, lines, &s), 0);
    assert_int_equal(s.files, 2);
    assert_int_equal(s.bytes, 6);
    assert_int_equal(pack(top, lines, list, data, &p), 0);
    assert_int_equal(p.entries, 3);
    assert_int_equal(p.bytes, 6);
    assert_int_equal(p.changed, 0);
    /* Both were written within a tick of the walk: nothing says that they are as they were. */
    assert_int_equal(scan(top, list, again, &s), 0);
    assert_int_equal(s.files, 2);
}

/* Lines of a list that is somebody's: no end of them is a crash. */
static void a_list_that_is_cut_off_is_refused(void **state)
{
    static const char whole[] = "{\"path\":\".\",\"type\":\"directory\"}\n";
    const struct fixture *f = *state;

    for (size_t n = 1; n + 2 < sizeof whole; n++) {
        struct archive_reader r;
        struct err e = {0};
        json_t *entry = NULL;
        int fd = scratch(f, "list");

        assert_int_equal(file_write_all(fd, whole, n), 0);
        assert_int_equal(archive_reader_open(&r, fd, &e), 0);
        assert_true(archive_read(&r, &entry, &e) < 0);
        assert_null(entry);
        archive_reader_fini(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_name_comes_back_from_its_text),
        cmocka_unit_test(text_that_is_no_name_is_refused),
        cmocka_unit_test(what_is_in_a_directory_stands_right_behind_it),
        cmocka_unit_test_setup_teardown(a_path_that_leads_elsewhere_has_no_parent,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(a_file_is_read_again_only_when_it_changed,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(a_list_that_is_cut_off_is_refused, fixture_begin,
                                        fixture_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
