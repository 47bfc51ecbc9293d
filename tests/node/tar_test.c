/* tar_test.c - tar streams: what is written comes back; damaged ones are refused. */
#include "node/disk/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "tests/node/fixture.h"

#define LONG_NAME 180

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

/* A stream of the tree "from/tree": a file with a long name, a link, an empty file. */
static int stream(const struct fixture *f)
{
    SCOPED(scope_close) int from = open_dir(f, "from");
    char name[LONG_NAME + 32];
    int fd = memfd_create("tar", MFD_CLOEXEC);
    struct err e = {0};

    (void)str_print(name, sizeof name, "from/tree/%0*d", LONG_NAME, 7);
    fixture_write(f, name, "the content");
    fixture_write(f, "from/tree/empty", "");
    assert_int_equal(symlinkat("empty", from, "tree/link"), 0);
    assert_int_equal(totar(from, "tree", fd, &plainly, &e), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void what_is_written_comes_back(void **state)
{
    const struct fixture *f = *state;
    SCOPED(scope_close) int fd = stream(f);
    SCOPED(scope_close) int to = open_dir(f, "to");
    SCOPED(scope_free) char *text = NULL;
    char name[LONG_NAME + 32];
    char link[32] = "";
    struct err e = {0};

    if (untar(fd, to, &plainly, &e) < 0) {
        fail_msg("%s", e.text);
    }
    (void)str_print(name, sizeof name, "tree/%0*d", LONG_NAME, 7);
    assert_int_equal(file_read(to, name, 100, &text, NULL), 0);
    assert_string_equal(text, "the content");
    assert_int_equal(readlinkat(to, "tree/link", link, sizeof link - 1), 5);
    assert_string_equal(link, "empty");
}

/* Whatever is cut off, or changed in a header: an error or another tree, never more. */
static void a_stream_cut_off_anywhere_is_refused(void **state)
{
    const struct fixture *f = *state;
    SCOPED(scope_close) int fd = stream(f);
    SCOPED(scope_close) int to = open_dir(f, "to");
    off_t size = lseek(fd, 0, SEEK_END);

    for (off_t at = size - TAR_BLOCK_BYTES * 2; at >= 0; at -= 64) {
        struct err e = {0};

        assert_int_equal(ftruncate(fd, at), 0);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_int_equal(untar(fd, to, &plainly, &e), -EPIPE);
        assert_non_null(strstr(e.text, "cut off"));
    }
}

static void changed_bytes_are_noticed(void **state)
{
    const struct fixture *f = *state;
    SCOPED(scope_close) int fd = stream(f);
    SCOPED(scope_close) int to = open_dir(f, "to");

    for (off_t at = 0; at < TAR_BLOCK_BYTES; at++) {
        struct err e = {0};
        char was;
        char now;

        assert_int_equal(pread(fd, &was, 1, at), 1);
        now = (char)(was ^ 1);
        assert_int_equal(pwrite(fd, &now, 1, at), 1);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_true(untar(fd, to, &plainly, &e) < 0 ||
                    at >= 148); /* within the sum's own field */
        assert_int_equal(pwrite(fd, &was, 1, at), 1);
    }
}

/* One header with a right sum. */
static int header(const char *name, char type, const char *size, const char *body)
{
    unsigned char b[3 * TAR_BLOCK_BYTES] = {0};
    unsigned sum = 0;
    int fd = memfd_create("tar", MFD_CLOEXEC);

    (void)str_print((char *)b, 100, "%s", name);
    memcpy(b + 100, "0000644", 7);
    memcpy(b + 124, size, strlen(size));
    memcpy(b + 148, "        ", 8);
    b[156] = (unsigned char)type;
    memcpy(b + 257, "ustar\00000", 8);
    for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
        sum += b[i];
    }
    (void)str_print((char *)b + 148, 8, "%06o", sum);
    memcpy(b + TAR_BLOCK_BYTES, body, strlen(body));
    assert_int_equal(write(fd, b, sizeof b), sizeof b);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void hostile_headers_are_refused(void **state)
{
    static const struct {
        const char *name;
        char type;
        const char *size;
        const char *body;
    } rows[] = {
        {"x", 'S', "00000000000", ""},             /* sparse */
        {"x", 'x', "77777777777", ""},             /* an extended header of 8 GiB */
        {"x", 'x', "00000000013", "11 path=../x"}, /* no newline where it says */
        {"x", 'x', "00000000013", "99 path=x\n"},  /* longer than it is */
        {"x", 'x', "00000000003", "2 \n"},         /* no pair */
        {"x", 'x', "00000000003", "0 \n"},         /* would not end */
        {"x", 'x', "00000000024", "20 GNU.sparse.map=\n\n"},
        {"x", '0', "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", ""},
        {"x", '0', "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", ""},
        {"x", '0', "0000000z", ""},
        {"", '0', "00000000000", ""},
        {"../x", '0', "00000000000", ""},
        {"a/../../x", '5', "00000000000", ""},
        {"x", '1', "00000000000", ""}, /* a hard link to nothing */
    };
    const struct fixture *f = *state;
    SCOPED(scope_close) int to = open_dir(f, "to/below");

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        SCOPED(scope_close)
        int fd = header(rows[i].name, rows[i].type, rows[i].size, rows[i].body);
        struct err e = {0};

        if (untar(fd, to, &plainly, &e) == 0) {
            fail_msg("row %zu was accepted", i);
        }
        assert_true(e.text[0] != '\0');
        assert_int_equal(faccessat(to, "../x", F_OK, AT_SYMLINK_NOFOLLOW), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_comes_back, fixture_begin,
                                        fixture_end),
        cmocka_unit_test_setup_teardown(a_stream_cut_off_anywhere_is_refused,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(changed_bytes_are_noticed, fixture_begin,
                                        fixture_end),
        cmocka_unit_test_setup_teardown(hostile_headers_are_refused, fixture_begin,
                                        fixture_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
