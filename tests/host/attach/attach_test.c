/* attach_test.c - what is told about disks, and what loop devices keep.
 *
 * What is on a disk is put there by the programs that make file systems. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "host/attach/attach.h"
#include "tests/base/check.h"

#define SIZE_BYTES (320 << 20) /* the least that XFS takes is 300 MiB */

struct test {
    char path[64];
    int fd;
};

static int start(void **state)
{
    static struct test t;

    (void)snprintf(t.path, sizeof t.path, "/var/tmp/attach-test-XXXXXX");
    t.fd = mkostemp(t.path, O_CLOEXEC);
    *state = &t;
    return t.fd < 0 || ftruncate(t.fd, SIZE_BYTES) != 0;
}

static int stop(void **state)
{
    struct test *t = *state;

    (void)close(t->fd);
    return unlink(t->path);
}

static bool run(const char *format, const char *path)
{
    char command[256];

    (void)snprintf(command, sizeof command, "%s %s >/dev/null 2>&1", format, path);
    return system(command) == 0; /* a test's own words */
}

static void expect_type(struct test *t, const char *maker, const char *want)
{
    char type[ATTACH_TYPE_BYTES];
    char word[32];

    (void)snprintf(word, sizeof word, "%.*s", (int)strcspn(maker, " "), maker);
    if (!run("command -v", word)) {
        return; /* not installed */
    }
    assert_true(run(maker, t->path));
    assert_int_equal(attach_probe(t->fd, type, NULL), 0);
    assert_string_equal(type, want);
    assert_int_equal(ftruncate(t->fd, 0), 0);
    assert_int_equal(ftruncate(t->fd, SIZE_BYTES), 0);
}

static void knows_what_is_on_a_disk(void **state)
{
    expect_type(*state, "mkfs.ext4 -q -F", "ext4");
    expect_type(*state, "mkfs.xfs -f", "xfs");
    expect_type(*state, "mkfs.btrfs -f", "btrfs");
}

static void does_not_guess(void **state)
{
    struct test *t = *state;
    char type[ATTACH_TYPE_BYTES] = "kept";
    struct err e = {0};

    assert_int_equal(attach_probe(t->fd, type, &e), -ENODATA);
    assert_int_equal(pwrite(t->fd, "XFSB", 4, 0), 4);
    assert_int_equal(pwrite(t->fd, "\x53\xEF", 2, 1024 + 0x38), 2);
    assert_int_equal(attach_probe(t->fd, type, NULL), -EINVAL);
    assert_int_equal(ftruncate(t->fd, 3), 0); /* shorter than any */
    assert_int_equal(attach_probe(t->fd, type, NULL), -ENODATA);
    assert_string_equal(type, "kept");
}

static bool is_locked(const struct test *t)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(t->path, O_RDWR | O_CLOEXEC);
    bool locked;

    assert_true(fd >= 0 && fcntl(fd, F_OFD_GETLK, &l) == 0);
    locked = l.l_type != F_UNLCK;
    (void)close(fd);
    return locked;
}

/* The kernel has the file open for the device, so the lock is its own from then on. */
static void a_device_keeps_the_lock(void **state)
{
    struct test *t = *state;
    struct flock l = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1};
    char path[ATTACH_PATH_BYTES];
    struct attach_loop o = {.file = open(t->path, O_RDWR | O_CLOEXEC)};
    struct err e = {0};
    int device;
    int r;

    assert_int_equal(fcntl(o.file, F_OFD_SETLK, &l), 0);
    r = attach_loop(&o, path, &device, &e);
    (void)close(o.file);
    if (r == -ENOENT || r == -EACCES || r == -EPERM) {
        print_message("no loop devices: %s\n", e.text);
        skip();
    }
    assert_int_equal(r, 0);
    assert_true(is_locked(t));
    (void)close(device);
    for (unsigned i = 0; i < 500 && is_locked(t); i++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    assert_false(is_locked(t));
}

static void two_devices_are_two(void **state)
{
    struct test *t = *state;
    struct attach_loop o = {.file = t->fd, .read_only = true};
    char path[2][ATTACH_PATH_BYTES];
    int device[2];

    if (attach_loop(&o, path[0], &device[0], NULL) != 0) {
        skip();
    }
    assert_int_equal(attach_loop(&o, path[1], &device[1], NULL), 0);
    assert_string_not_equal(path[0], path[1]);
    assert_int_equal(lseek(device[1], 0, SEEK_END), SIZE_BYTES);
    (void)close(device[0]);
    (void)close(device[1]);
}

static void says_what_cannot_be(void **state)
{
    struct test *t = *state;
    struct attach_loop o = {.file = -1};
    char path[ATTACH_PATH_BYTES];
    struct err e = {0};
    int device;

    assert_true(attach_loop(&o, path, &device, &e) < 0);
    assert_true(e.text[0] != '\0');
    err_clear(&e);
    assert_true(attach_mount(t->path, "ext4", true, "/nowhere/at/all", &e) < 0);
    assert_true(e.text[0] != '\0');
    assert_int_equal(attach_unmount("/nowhere/at/all", NULL), 0);
    assert_int_equal(attach_unmount(t->path, NULL), 0); /* no mount */
    assert_non_null(attach_type(0));
    assert_null(attach_type(100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(knows_what_is_on_a_disk, start, stop),
        cmocka_unit_test_setup_teardown(does_not_guess, start, stop),
        cmocka_unit_test_setup_teardown(a_device_keeps_the_lock, start, stop),
        cmocka_unit_test_setup_teardown(two_devices_are_two, start, stop),
        cmocka_unit_test_setup_teardown(says_what_cannot_be, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
