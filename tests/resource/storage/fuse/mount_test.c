/* mount_test.c - disks served to the real kernel: as files, and as block devices under ext4.
 *
 * Each server is a child, as a worker would be.  Mounts are made in a mount namespace of the
 * test and loop devices clear themselves, so that nothing stays, however the test ends. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/falloc.h>

#include "base/err.h"
#include "base/strand.h"
#include "contract/blk_graph.h"
#include "host/attach/attach.h"
#include "host/loop/loop.h"
#include "resource/storage/fuse/fuse.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/qcow2/qcow2.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"

#define SIZE_BYTES (64u << 20)
#define HOT_BYTES  (2u << 20) /* of a history */

struct test {
    char place[64]; /* a directory of this test */
    bool qcow2;
    bool read_only;
    pid_t server;
    int file;
    int device;
    char device_path[ATTACH_PATH_BYTES];
    int mount;
};

/* ---- the server's process ---- */

struct serving {
    struct loop *loop;
    const struct test *t;
    int fd;
    struct strand_queue end;
    bool over;
};

static void gone(void *arg)
{
    struct serving *s = arg;

    s->over = true;
    (void)strand_wake_all(&s->end);
}

static struct blk *open_disk(struct serving *s)
{
    struct leaf_file_options raw = {
        .label = "disk", .grows = s->t->qcow2, .read_only = s->t->read_only};
    struct qcow2_open_options o = {.read_only = s->t->read_only};
    struct qcow2_create_options made = {.size_bytes = SIZE_BYTES};
    struct blk *disk;
    char path[128];
    struct stat st;
    int fd;

    (void)snprintf(path, sizeof path, "%s/disk", s->t->place);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0 && fstat(fd, &st) == 0);
    if (!s->t->qcow2 && st.st_size == 0) {
        must_be_0(ftruncate(fd, SIZE_BYTES));
    }
    must_be_0(leaf_file_create(s->loop, fd, &raw, &disk, NULL));
    if (s->t->qcow2) {
        if (st.st_size == 0) {
            must_be_0(qcow2_create(disk, &made, NULL));
        }
        must_be_0(qcow2_open(disk, &o, &disk, NULL));
    }
    return disk;
}

static int serve(void *arg)
{
    struct serving *s = arg;
    struct fuse_server *server;
    struct fuse_options o = {
        .read_only = s->t->read_only, .disk = open_disk(s), .gone = gone, .arg = s};

    must_be_0(fuse_server_create(s->loop, s->fd, &o, &server, NULL));
    while (!s->over) {
        strand_wait(loop_strands(s->loop), &s->end);
    }
    fuse_server_destroy(server);
    return 0;
}

static pid_t start_server(const struct test *t, int fd, int mount)
{
    pid_t pid = fork();

    if (pid == 0) {
        struct serving s = {.t = t, .fd = fd};

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close(mount);
        must_be_0(loop_create(LOOP_DRIVER_AUTO, &s.loop, NULL));
        must_be_0(loop_do(s.loop, serve, &s));
        loop_destroy(s.loop);
        _exit(0);
    }
    assert_true(pid > 0);
    (void)close(fd);
    return pid;
}

/* ---- the disk as file and device ---- */

static void open_file(struct test *t)
{
    struct err e = {0};
    int fd;

    assert_int_equal(attach_fuse(t->read_only, &fd, &t->mount, &e), 0);
    t->server = start_server(t, fd, t->mount);
    assert_int_equal(attach_fuse_open(t->mount, t->read_only, &t->file, &e), 0);
    (void)close(t->mount);
    t->mount = -1;
}

static void open_device(struct test *t)
{
    struct attach_loop o = {.file = t->file, .read_only = t->read_only};

    assert_int_equal(attach_loop(&o, t->device_path, &t->device, NULL), 0);
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

/* The server ends by itself when nobody has its file any more. */
static void expect_end(struct test *t)
{
    int status = -1;

    close_fd(&t->device);
    close_fd(&t->file);
    for (unsigned i = 0; i < 1000 && waitpid(t->server, &status, WNOHANG) == 0; i++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    assert_int_equal(status, 0);
    t->server = 0;
}

static void kill_server(struct test *t)
{
    if (t->server > 0) {
        (void)kill(t->server, SIGKILL);
        (void)waitpid(t->server, NULL, 0);
        t->server = 0;
    }
}

static int start(void **state)
{
    static struct test t;

    t = (struct test){.file = -1, .device = -1, .mount = -1};
    (void)snprintf(t.place, sizeof t.place, "/var/tmp/fuse-test-XXXXXX");
    assert_non_null(mkdtemp(t.place));
    *state = &t;
    return 0;
}

static int run(const char *command)
{
    int status = system(command); /* a test's own words */

    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int stop(void **state)
{
    struct test *t = *state;
    char path[128];

    (void)snprintf(path, sizeof path, "%s/m", t->place);
    (void)umount2(path, MNT_DETACH);
    close_fd(&t->mount);
    close_fd(&t->device);
    close_fd(&t->file);
    kill_server(t);
    (void)rmdir(path);
    (void)snprintf(path, sizeof path, "%s/disk", t->place);
    (void)unlink(path);
    return rmdir(t->place);
}

static bool have(const char *program)
{
    char command[128];

    (void)snprintf(command, sizeof command, "command -v %s >/dev/null", program);
    return run(command) == 0;
}

static void must_run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void must_run(const char *format, ...)
{
    char command[1024];
    va_list words;

    va_start(words, format);
    (void)vsnprintf(command, sizeof command, format, words);
    va_end(words);
    if (run(command) != 0) {
        fail_msg("failed: %s", command);
    }
}

/* ---- as a file ---- */

static void check_part(const struct test *t, const char *model, uint64_t off, size_t n)
{
    static char got[HOT_BYTES];

    assert_int_equal(pread(t->file, got, n, (off_t)off), n);
    assert_memory_equal(got, model + off, n);
}

static void run_history(struct test *t, uint64_t seed, unsigned steps)
{
    static char model[HOT_BYTES];

    memset(model, 0, sizeof model);
    for (unsigned i = 0; i < steps; i++) {
        uint64_t off = suite_random(&seed) % HOT_BYTES;
        size_t n =
            1 + suite_random(&seed) % (suite_random(&seed) % 16 == 0 ? HOT_BYTES : 20000);

        n = n < HOT_BYTES - off ? n : (size_t)(HOT_BYTES - off);
        switch (suite_random(&seed) % 6) {
        case 0:
        case 1:
            memset(model + off, (int)suite_random(&seed), n);
            assert_int_equal(pwrite(t->file, model + off, n, (off_t)off), n);
            break;
        case 2:
            memset(model + off, 0, n);
            assert_int_equal(fallocate(t->file,
                                       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                       (off_t)off, (off_t)n),
                             0);
            break;
        case 3:
            memset(model + off, 0, n);
            assert_int_equal(
                fallocate(t->file, FALLOC_FL_ZERO_RANGE, (off_t)off, (off_t)n), 0);
            break;
        case 4:
            assert_int_equal(fsync(t->file), 0);
            break;
        default:
            check_part(t, model, off, n);
        }
    }
    check_part(t, model, 0, HOT_BYTES);
}

static void check_holes(const struct test *t)
{
    off_t data;

    assert_int_equal(
        fallocate(t->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE_BYTES), 0);
    assert_int_equal(pwrite(t->file, "x", 1, 32 << 20), 1);
    data = lseek(t->file, 0, SEEK_DATA);
    assert_true(data > 0 && data <= 32 << 20);
    assert_true(lseek(t->file, 32 << 20, SEEK_HOLE) < SIZE_BYTES);
}

static void raw_file_keeps_a_history(void **state)
{
    struct test *t = *state;

    open_file(t);
    run_history(t, 1, 3000);
    check_holes(t);
    expect_end(t);
}

static void qcow2_file_keeps_a_history(void **state)
{
    struct test *t = *state;

    t->qcow2 = true;
    open_file(t);
    run_history(t, 2, 3000);
    check_holes(t);
    expect_end(t);
    if (have("qemu-img")) {
        must_run("qemu-img check -q %s/disk", t->place);
    }
}

static void file_has_an_end(void **state)
{
    struct test *t = *state;
    struct stat st;
    char path[64];

    open_file(t);
    assert_int_equal(fstat(t->file, &st), 0);
    assert_true(S_ISREG(st.st_mode) && st.st_size == SIZE_BYTES);
    assert_int_equal(pwrite(t->file, "bytes", 5, SIZE_BYTES - 2), 2);
    assert_true(pwrite(t->file, "bytes", 5, SIZE_BYTES) < 0 && errno == ENOSPC);
    assert_true(ftruncate(t->file, 0) < 0 && errno == EPERM);
    assert_true(fallocate(t->file, 0, 0, 4096) < 0 && errno == EOPNOTSUPP);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", t->file);
    assert_true(open(path, O_RDWR | O_TRUNC) < 0 && errno == EPERM);
    expect_end(t);
}

static void other_programs_use_it(void **state)
{
    struct test *t = *state;

    if (!have("fio") || !have("qemu-img")) {
        skip();
    }
    open_file(t);
    must_run(
        "fio --name=x --filename=/proc/%d/fd/%d --rw=randrw --bs=512-64k --verify=crc32c "
        "--ioengine=libaio --iodepth=16 --direct=1 --size=16M --output=/dev/null",
        (int)getpid(), t->file);
    must_run("fio --name=x --filename=/proc/%d/fd/%d --rw=randwrite --bsrange=300-9000 "
             "--bs_unaligned --verify=crc32c --size=4M --output=/dev/null",
             (int)getpid(), t->file);
    must_run("cmp /proc/%d/fd/%d %s/disk", (int)getpid(), t->file, t->place);
    must_run("qemu-img convert -f raw -O qcow2 /proc/%d/fd/%d %s/m", (int)getpid(),
             t->file, t->place);
    must_run("qemu-img convert -n -f qcow2 -O raw %s/m /proc/%d/fd/%d", t->place,
             (int)getpid(), t->file);
    must_run("qemu-img compare -q -f qcow2 -F raw %s/m /proc/%d/fd/%d && rm %s/m",
             t->place, (int)getpid(), t->file, t->place);
    expect_end(t);
}

static void nobody_writes_on_a_read_only_one(void **state)
{
    struct test *t = *state;
    char path[64];
    int fd;

    open_file(t);
    assert_int_equal(pwrite(t->file, "before", 6, 0), 6);
    expect_end(t);
    t->read_only = true;
    open_file(t);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", t->file);
    assert_true(open(path, O_RDWR) < 0 && errno == EROFS);
    open_device(t);
    fd = open(t->device_path, O_RDWR | O_CLOEXEC);
    assert_true(fd < 0 || pwrite(fd, path, sizeof path, 0) < 0);
    close_fd(&fd);
    expect_end(t);
}

static void a_killed_server_hangs_nobody(void **state)
{
    struct test *t = *state;
    char byte;

    open_file(t);
    open_device(t);
    (void)alarm(30); /* a hang ends the test */
    kill_server(t);
    assert_true(pread(t->file, &byte, 1, 0) < 0 &&
                (errno == ENOTCONN || errno == ECONNABORTED));
    assert_true(fsync(t->file) < 0);
    assert_true(pread(t->device, &byte, 1, 0) < 0 && errno == EIO);
    (void)alarm(0);
}

/* ---- under ext4 ---- */

static void mount_it(struct test *t, char path[128])
{
    (void)snprintf(path, 128, "%s/m", t->place);
    (void)mkdir(path, 0700);
    assert_int_equal(attach_mount(t->device_path, "ext4", false, path, NULL), 0);
}

static void carry_a_file_system(struct test *t)
{
    char type[ATTACH_TYPE_BYTES];
    char m[128];
    struct err e = {0};

    if (!have("mkfs.ext4")) {
        skip();
    }
    open_file(t);
    open_device(t);
    assert_int_equal(attach_probe(t->device, type, &e), -ENODATA);
    must_run("mkfs.ext4 -q %s", t->device_path);
    assert_int_equal(attach_probe(t->device, type, NULL), 0);
    assert_string_equal(type, "ext4");
    mount_it(t, m);
    close_fd(&t->device);
    close_fd(&t->file); /* the mount keeps both */
    must_run("cp -r /usr/include/linux %s/x && diff -r /usr/include/linux %s/x", m, m);
    must_run("rm -r %s/x/netfilter && sync -f %s", m, m);
    assert_int_equal(attach_unmount(m, NULL), 0);
    expect_end(t);
    open_file(t);
    open_device(t);
    must_run("e2fsck -fn %s >/dev/null 2>&1", t->device_path);
    mount_it(t, m);
    must_run("diff -r --exclude=netfilter /usr/include/linux %s/x", m);
    assert_int_equal(attach_unmount(m, NULL), 0);
    expect_end(t);
}

static void raw_carries_ext4(void **state)
{
    carry_a_file_system(*state);
}

static void qcow2_carries_ext4(void **state)
{
    struct test *t = *state;

    t->qcow2 = true;
    carry_a_file_system(t);
    if (have("qemu-img")) {
        must_run("qemu-img check -q %s/disk", t->place);
    }
}

static void room_comes_back(void **state)
{
    struct test *t = *state;
    struct stat full;
    struct stat empty;
    char path[128];
    char m[128];

    if (!have("mkfs.ext4")) {
        skip();
    }
    open_file(t);
    open_device(t);
    must_run("mkfs.ext4 -q %s", t->device_path);
    mount_it(t, m);
    must_run("head -c 20M /dev/urandom >%s/x && sync -f %s", m, m);
    (void)snprintf(path, sizeof path, "%s/disk", t->place);
    assert_int_equal(stat(path, &full), 0);
    must_run("rm %s/x && sync -f %s && fstrim %s", m, m, m);
    assert_int_equal(stat(path, &empty), 0);
    assert_true(empty.st_blocks + (19 << 20) / 512 < full.st_blocks);
    assert_int_equal(attach_unmount(m, NULL), 0);
    expect_end(t);
}

/* What fsync(2) had promised is there after the server was killed in the middle. */
static void survives_kills(struct test *t, unsigned rounds)
{
    char m[128];

    if (!have("mkfs.ext4")) {
        skip();
    }
    for (unsigned i = 0; i < rounds; i++) {
        open_file(t);
        open_device(t);
        if (i == 0) {
            must_run("mkfs.ext4 -q %s", t->device_path);
        }
        mount_it(t, m);
        for (unsigned k = 0; k < i; k++) {
            must_run("test $(cat %s/%u) = %u", m, k, k);
        }
        must_run("echo %u >%s/%u && sync %s/%u && sync %s", i, m, i, m, i, m);
        must_run("head -c 8M /dev/urandom >%s/rest%u", m, i % 3); /* not flushed */
        kill_server(t);
        assert_int_equal(umount2(m, MNT_DETACH), 0);
        close_fd(&t->device);
        close_fd(&t->file);
    }
    open_file(t);
    open_device(t);
    mount_it(t, m); /* plays the journal */
    assert_int_equal(attach_unmount(m, NULL), 0);
    must_run("e2fsck -fn %s >/dev/null 2>&1", t->device_path);
    expect_end(t);
}

static void raw_survives_kills(void **state)
{
    survives_kills(*state, 5);
}

static void qcow2_survives_kills(void **state)
{
    struct test *t = *state;

    t->qcow2 = true;
    survives_kills(t, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(raw_file_keeps_a_history, start, stop),
        cmocka_unit_test_setup_teardown(qcow2_file_keeps_a_history, start, stop),
        cmocka_unit_test_setup_teardown(file_has_an_end, start, stop),
        cmocka_unit_test_setup_teardown(other_programs_use_it, start, stop),
        cmocka_unit_test_setup_teardown(nobody_writes_on_a_read_only_one, start, stop),
        cmocka_unit_test_setup_teardown(a_killed_server_hangs_nobody, start, stop),
        cmocka_unit_test_setup_teardown(raw_carries_ext4, start, stop),
        cmocka_unit_test_setup_teardown(qcow2_carries_ext4, start, stop),
        cmocka_unit_test_setup_teardown(room_comes_back, start, stop),
        cmocka_unit_test_setup_teardown(raw_survives_kills, start, stop),
        cmocka_unit_test_setup_teardown(qcow2_survives_kills, start, stop),
    };
    int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    if (fuse < 0 || access("/dev/loop-control", R_OK | W_OK) != 0 ||
        unshare(CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        (void)puts("skipped: needs root, /dev/fuse and loop devices");
        return 77;
    }
    (void)close(fuse);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
