/* attach_test.c - what is told about disks, and what loop devices keep.
 *
 * What is on a disk is put there by the programs that make file systems. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
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

/* Sectors of a table are put there by hand, as in the specifications. */
static void put_entry(struct test *t, off_t table, unsigned number, uint8_t type,
                      const uint32_t blocks[2])
{
    uint8_t entry[16] = {0};

    entry[4] = type;
    memcpy(entry + 8, blocks, 8); /* the test's host is little-endian, like the table */
    assert_int_equal(pwrite(t->fd, entry, 16, table + 446 + 16 * (off_t)number), 16);
    assert_int_equal(pwrite(t->fd, "\x55\xAA", 2, table + 510), 2);
}

static void finds_partitions_of_the_older_table(void **state)
{
    struct test *t = *state;
    struct attach_part part;
    struct err e = {0};

    assert_int_equal(attach_partition(t->fd, 1, 0, &part, &e), -ENOENT);
    put_entry(t, 0, 0, 0x83, (const uint32_t[]){2048, 4096});
    put_entry(t, 0, 1, 0x05, (const uint32_t[]){10000, 5000});
    put_entry(t, 10000 * 512, 0, 0x83, (const uint32_t[]){8, 100});
    put_entry(t, 10000 * 512, 1, 0x05, (const uint32_t[]){1000, 200});
    put_entry(t, 11000 * 512, 0, 0x83, (const uint32_t[]){16, 64});
    assert_int_equal(attach_partition(t->fd, 1, 0, &part, NULL), 0);
    assert_true(part.off == 2048 * 512 && part.bytes == 4096 * 512);
    assert_int_equal(attach_partition(t->fd, 5, 0, &part, NULL), 0);
    assert_true(part.off == 10008 * 512 && part.bytes == 100 * 512);
    assert_int_equal(attach_partition(t->fd, 6, 0, &part, NULL), 0);
    assert_true(part.off == 11016 * 512 && part.bytes == 64 * 512);
    assert_int_equal(attach_partition(t->fd, 2, 0, &part, NULL), -ENOENT);
    assert_int_equal(attach_partition(t->fd, 7, 0, &part, NULL), -ENOENT);
    assert_int_equal(attach_partition(t->fd, 0, 0, &part, NULL), -ENOENT);
    put_entry(t, 11000 * 512, 1, 0x05, (const uint32_t[]){1000, 200}); /* a ring */
    assert_int_equal(attach_partition(t->fd, 4000, 0, &part, NULL), -EUCLEAN);
    put_entry(t, 0, 0, 0x83, (const uint32_t[]){2048, 0x7FFFFFFF});
    assert_int_equal(attach_partition(t->fd, 1, 0, &part, NULL), -EUCLEAN);
}

/* What the disk says of errors would count else: ext4 can say that the host shall stop. */
static void a_disk_does_not_say_what_the_host_does(void **state)
{
    (void)state;
    assert_non_null(strstr(attach_options("ext4", true), "errors=remount-ro"));
    assert_non_null(strstr(attach_options("ext4", false), "errors=remount-ro"));
}

static void a_mount_in_no_tree_is_read_only_and_goes(void **state)
{
    struct test *t = *state;
    struct attach_loop o = {.file = t->fd, .read_only = true};
    char path[ATTACH_PATH_BYTES];
    struct statvfs s;
    struct stat device_now;
    struct stat root_now;
    int device;
    int root;

    if (!run("command -v", "mkfs.ext4") || !run("mkfs.ext4 -q -F", t->path) ||
        attach_loop(&o, path, &device, NULL) != 0) {
        skip();
    }
    assert_int_equal(attach_mount_alone(path, "ext4", true, &root, NULL), 0);
    assert_int_equal(fstatvfs(root, &s), 0);
    assert_int_equal(s.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC),
                     ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC);
    assert_true(openat(root, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0);
    assert_int_equal(fstat(device, &device_now), 0);
    assert_int_equal(fstat(root, &root_now), 0);
    assert_true(root_now.st_dev == device_now.st_rdev);
    (void)close(device);
    (void)close(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(knows_what_is_on_a_disk, start, stop),
        cmocka_unit_test_setup_teardown(does_not_guess, start, stop),
        cmocka_unit_test_setup_teardown(a_device_keeps_the_lock, start, stop),
        cmocka_unit_test_setup_teardown(two_devices_are_two, start, stop),
        cmocka_unit_test_setup_teardown(says_what_cannot_be, start, stop),
        cmocka_unit_test_setup_teardown(finds_partitions_of_the_older_table, start, stop),
        cmocka_unit_test(a_disk_does_not_say_what_the_host_does),
        cmocka_unit_test_setup_teardown(a_mount_in_no_tree_is_read_only_and_goes, start,
                                        stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
