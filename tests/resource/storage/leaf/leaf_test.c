/* leaf_test.c - files and devices of the host, with QEMU's tools as the other side. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/loop.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"

#define SIZE_BYTES (1024 * 1024)

struct file {
    struct loop *loop;
    char name[64];
    struct blk_edge edge;
};

static int start(void **state)
{
    static struct file f;

    f = (struct file){.edge = {.user = "test", .uses = BLK_USE_ALL}};
    (void)strcpy(f.name, "/var/tmp/leaf-test-XXXXXX");
    int fd = mkostemp(f.name, O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, SIZE_BYTES), 0);
    (void)close(fd);
    assert_int_equal(loop_create(LOOP_DRIVER_AUTO, &f.loop, NULL), 0);
    *state = &f;
    return 0;
}

static int stop(void **state)
{
    struct file *f = *state;

    loop_destroy(f->loop);
    return unlink(f->name);
}

static int open_disk(struct file *f, const char *path, struct leaf_file_options o,
                     struct err *e)
{
    int fd = open(path, (o.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    struct blk *b = NULL;
    int r;

    must(fd >= 0);
    o.label = "scratch";
    r = leaf_file_create(f->loop, fd, &o, &b, e);
    if (r == 0) {
        f->edge.uses = o.read_only ? BLK_USE_READ : BLK_USE_ALL;
        must_be_0(blk_attach(&f->edge, b, e));
    }
    return r;
}

/* The exit status of a command; 127: there is none of that name. */
static int shell(const char *command, const char *name)
{
    char line[256];

    (void)snprintf(line, sizeof line, "file='%s'; %s", name, command);
    return WEXITSTATUS(system(line));
}

static void need_qemu(void)
{
    if (shell("command -v qemu-io >/dev/null 2>&1", "") != 0) {
        print_message("skipped: qemu-io is not installed\n");
        skip();
    }
}

#define QEMU_WRITES "qemu-io -f raw -c 'write 0 4096' \"$file\" >/dev/null 2>&1"
#define QEMU_READS  "qemu-io -r -f raw -c 'read 0 4096' \"$file\" >/dev/null 2>&1"

static int keep_qemu_away(void *arg)
{
    struct file *f = arg;
    struct leaf_file_options writer = {0};
    struct leaf_file_options shown = {.let_others_read = true};
    struct leaf_file_options reader = {.read_only = true};
    pid_t child;

    must_be_0(open_disk(f, f->name, writer, NULL));
    must(shell(QEMU_WRITES, f->name) != 0);
    must(shell(QEMU_READS, f->name) != 0);
    blk_detach(&f->edge);
    must(shell(QEMU_WRITES, f->name) == 0);

    must_be_0(open_disk(f, f->name, writer, NULL));
    child = fork(); /* holds the open file a little longer */
    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    blk_detach(&f->edge);
    must(shell(QEMU_WRITES, f->name) == 0);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);

    must_be_0(open_disk(f, f->name, shown, NULL));
    must(shell(QEMU_WRITES, f->name) != 0);
    blk_detach(&f->edge);

    must_be_0(open_disk(f, f->name, reader, NULL));
    must(shell(QEMU_WRITES, f->name) != 0);
    must(shell(QEMU_READS, f->name) == 0);
    blk_detach(&f->edge);
    return 0;
}

static void qemu_honours_our_locks(void **state)
{
    struct file *f = *state;

    need_qemu();
    assert_int_equal(loop_do(f->loop, keep_qemu_away, f), 0);
}

static int find_locked(void *arg)
{
    struct file *f = arg;
    struct err e = {0};

    must(open_disk(f, f->name, (struct leaf_file_options){0}, &e) == -EBUSY);
    must(strstr(e.text, "scratch") != NULL && strstr(e.text, "another process") != NULL);
    return 0;
}

static int find_free(void *arg)
{
    struct file *f = arg;

    must_be_0(open_disk(f, f->name, (struct leaf_file_options){0}, NULL));
    blk_detach(&f->edge);
    return 0;
}

/* QEMU holds the image while it waits at its standard input; killed, it leaves no
 * lock behind. */
static void we_honour_qemus_locks(void **state)
{
    struct file *f = *state;
    int in[2];
    int out[2];
    char first;
    pid_t child;

    need_qemu();
    assert_int_equal(pipe(in) | pipe(out), 0);
    child = fork();
    if (child == 0) {
        (void)dup2(in[0], 0);
        (void)dup2(out[1], 1);
        (void)close(in[1]);
        (void)close(out[0]);
        (void)execlp("qemu-io", "qemu-io", "-f", "raw", f->name, (char *)NULL);
        _exit(127);
    }
    (void)close(out[1]);
    assert_int_equal(write(in[1], "read 0 512\n", 11), 11);
    assert_int_equal(read(out[0], &first, 1), 1); /* it has opened the image */
    assert_int_equal(loop_do(f->loop, find_locked, f), 0);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    assert_int_equal(loop_do(f->loop, find_free, f), 0);
    (void)close(in[0]);
    (void)close(in[1]);
    (void)close(out[0]);
}

static int end_in_a_block(void *arg)
{
    struct file *f = arg;
    char room[1024];

    must_be_0(truncate(f->name, 700));
    must_be_0(shell("printf '%700s' '' | tr ' ' x >\"$file\"", f->name));
    must_be_0(open_disk(f, f->name, (struct leaf_file_options){0}, NULL));
    must(blk_size(f->edge.disk) == 1024);
    must_be_0(blk_read(f->edge.disk, room, 1024, 0));
    must(room[699] == 'x' && room[700] == 0 && room[1023] == 0);
    must_be_0(truncate(f->name, 100)); /* behind our back */
    must(blk_read(f->edge.disk, room, 1024, 0) == -EIO);
    blk_detach(&f->edge);
    return 0;
}

static void a_file_may_end_inside_a_block(void **state)
{
    struct file *f = *state;

    assert_int_equal(loop_do(f->loop, end_in_a_block, f), 0);
}

/* Calls of fdatasync(2), which this stands for in the whole program. */
static unsigned syncs;

int fdatasync(int fd)
{
    syncs++;
    return fsync(fd);
}

static unsigned syncs_since(unsigned *before)
{
    unsigned n = syncs - *before;

    *before = syncs;
    return n;
}

/* Zeros that are to be durable are; where new room is zeros anyway, too. */
static int sync_zeros(void *arg)
{
    struct file *f = arg;
    struct leaf_file_options o = {.grows = true};
    unsigned before = syncs;
    char room[4096];

    must_be_0(open_disk(f, f->name, o, NULL));
    memset(room, 'x', sizeof room);
    must_be_0(blk_write(f->edge.disk, room, sizeof room, 65536, 0));
    must_be_0(blk_zero(f->edge.disk, 65536, 4096, BLK_UNMAP));
    must(syncs_since(&before) == 0);
    must_be_0(blk_zero(f->edge.disk, 65536, 4096, BLK_UNMAP | BLK_FUA));
    must(syncs_since(&before) == 1);
    must_be_0(blk_zero(f->edge.disk, SIZE_BYTES, 65536, BLK_UNMAP | BLK_FUA));
    must(syncs_since(&before) == 1 && blk_size(f->edge.disk) == SIZE_BYTES + 65536);
    must_be_0(blk_zero(f->edge.disk, SIZE_BYTES + 61440, 8192, BLK_UNMAP));
    must(syncs_since(&before) == 0 && blk_size(f->edge.disk) == SIZE_BYTES + 69632);
    must_be_0(blk_read(f->edge.disk, room, sizeof room, SIZE_BYTES + 65536));
    must(room[0] == 0 && memcmp(room, room + 1, sizeof room - 1) == 0);
    leaf_file_skip_flushes(f->edge.disk);
    must_be_0(blk_zero(f->edge.disk, 65536, 4096, BLK_UNMAP | BLK_FUA));
    must_be_0(blk_write(f->edge.disk, room, sizeof room, 65536, BLK_FUA));
    must_be_0(blk_flush(f->edge.disk));
    must(syncs_since(&before) == 0);
    blk_detach(&f->edge);
    return 0;
}

static void zeros_are_durable_when_asked(void **state)
{
    struct file *f = *state;
    struct loop *ring = f->loop;

    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &f->loop, NULL), 0);
    assert_int_equal(loop_do(f->loop, sync_zeros, f), 0);
    loop_destroy(f->loop);
    f->loop = ring;
}

/* Pages of the cache may be sent as they are; holes and the range behind the end are read. */
static int lend_pages(void *arg)
{
    struct file *f = arg;
    static char room[65536];
    static char back[65536];
    uint64_t at = 0;
    int fd = -1;
    int r;

    must_be_0(open_disk(f, f->name, (struct leaf_file_options){0}, NULL));
    memset(room, 'p', sizeof room);
    must_be_0(blk_write(f->edge.disk, room, sizeof room, 131072, 0));
    r = blk_pages(f->edge.disk, 131072, sizeof room, &fd, &at);
    if (r == 0) { /* Linux 6.5 */
        must(pread(fd, back, sizeof back, (off_t)at) == (ssize_t)sizeof back);
        must(memcmp(room, back, sizeof room) == 0);
    }
    must(r == 0 || r == -EOPNOTSUPP);
    must(blk_pages(f->edge.disk, 524288, sizeof room, &fd, &at) == -EOPNOTSUPP);
    must(blk_pages(f->edge.disk, 131072, 512, &fd, &at) == -EOPNOTSUPP);
    must(blk_pages(f->edge.disk, SIZE_BYTES, 4096, &fd, &at) == -ERANGE);
    blk_drain_begin(f->edge.disk);
    must(blk_pages(f->edge.disk, 131072, sizeof room, &fd, &at) == -EOPNOTSUPP);
    blk_drain_end(f->edge.disk);
    blk_detach(&f->edge);
    return 0;
}

static void pages_are_lent_only_if_cached(void **state)
{
    struct file *f = *state;

    assert_int_equal(loop_do(f->loop, lend_pages, f), 0);
}

static struct blk_extent state_at(struct blk *b, uint64_t off)
{
    struct blk_extent x = {0};

    must_be_0(blk_status(b, off, SIZE_BYTES - off, &x));
    return x;
}

static int look_at_stretches(void *arg)
{
    struct file *f = arg;
    char room[65536];
    struct blk_extent x;
    struct blk *b;

    memset(room, 'd', sizeof room);
    must_be_0(open_disk(f, f->name, (struct leaf_file_options){0}, NULL));
    b = f->edge.disk;
    for (uint64_t off = 0; off < 262144; off += sizeof room) {
        must_be_0(blk_write(b, room, sizeof room, off, 0));
    }
    for (unsigned i = 0; i < 2; i++) { /* sought, and remembered */
        x = state_at(b, 4096);
        must((x.state & BLK_DATA) != 0 && x.bytes == 262144 - 4096 && x.at == 4096);
        x = state_at(b, 200000 & ~511);
        must((x.state & BLK_DATA) != 0 && x.bytes == 262144 - (200000 & ~511));
        x = state_at(b, 262144);
        must((x.state & BLK_DATA) == 0 && x.bytes == SIZE_BYTES - 262144);
    }
    must_be_0(blk_discard(b, 65536, 65536));
    must((state_at(b, 65536).state & BLK_DATA) == 0);
    must(state_at(b, 0).bytes == 65536);
    must_be_0(blk_zero(b, 4096, 4096, BLK_UNMAP));
    must((state_at(b, 4096).state & BLK_DATA) == 0);
    (void)state_at(b, 200000 & ~511);
    must_be_0(blk_resize(b, 131072, NULL));
    must_be_0(blk_resize(b, SIZE_BYTES, NULL));
    must((state_at(b, 200000 & ~511).state & BLK_DATA) == 0);
    blk_detach(&f->edge);
    return 0;
}

/* What is remembered of a file's holes is what is there. */
static void holes_are_told_as_they_come_and_go(void **state)
{
    struct file *f = *state;

    assert_int_equal(loop_do(f->loop, look_at_stretches, f), 0);
}

/* What is left in a pipe. */
static int held_by(int pipe)
{
    int bytes = -1;

    must_be_0(ioctl(pipe, FIONREAD, &bytes));
    return bytes;
}

static int take_from_pipe(void *arg)
{
    struct file *f = arg;
    char room[16384];
    char back[sizeof room];
    int pipe[2];
    struct blk *memory = NULL;

    memset(room, 'p', sizeof room);
    must_be_0(pipe2(pipe, O_CLOEXEC | O_NONBLOCK));
    must(write(pipe[1], room, sizeof room) == sizeof room);
    must_be_0(leaf_memory_create(loop_strands(f->loop), SIZE_BYTES, 512, &memory, NULL));
    must(blk_write_pipe(memory, pipe[0], sizeof room, 0, 0) == -EOPNOTSUPP);
    blk_drop(memory);
    must_be_0(open_disk(f, f->name, (struct leaf_file_options){.direct = true}, NULL));
    must(blk_write_pipe(f->edge.disk, pipe[0], sizeof room, 0, 0) == -EOPNOTSUPP);
    blk_detach(&f->edge);
    must_be_0(open_disk(f, f->name, (struct leaf_file_options){0}, NULL));
    must(blk_write_pipe(f->edge.disk, pipe[0], 4096, 100, 0) == -EINVAL);
    must(blk_write_pipe(f->edge.disk, pipe[0], 4096, SIZE_BYTES, 0) == -ERANGE);
    must(held_by(pipe[0]) == sizeof room);
    must_be_0(blk_write_pipe(f->edge.disk, pipe[0], 4096, 8192, 0));
    must_be_0(blk_write_pipe(f->edge.disk, pipe[0], 8192, 65536, BLK_FUA));
    must(held_by(pipe[0]) == 4096);
    must_be_0(blk_read(f->edge.disk, back, 4096, 8192));
    must(memcmp(room, back, 4096) == 0);
    must_be_0(blk_read(f->edge.disk, back, 8192, 65536));
    must(memcmp(room, back, 8192) == 0);
    must_be_0(blk_read(f->edge.disk, back, 512, 65536 + 8192));
    must(back[0] == 0);
    must(blk_write_pipe(f->edge.disk, pipe[0], 8192, 0, 0) < 0); /* it holds less */
    blk_detach(&f->edge);
    (void)close(pipe[0]);
    (void)close(pipe[1]);
    return 0;
}

static void bytes_come_from_a_pipe(void **state)
{
    struct file *f = *state;

    assert_int_equal(loop_do(f->loop, take_from_pipe, f), 0);
}

static int refuse_others(void *arg)
{
    struct file *f = arg;
    struct err e = {0};

    must(open_disk(f, "/dev/null", (struct leaf_file_options){.no_lock = true}, &e) ==
         -EINVAL);
    must(strstr(e.text, "neither") != NULL);
    return 0;
}

static void other_kinds_of_file_are_refused(void **state)
{
    struct file *f = *state;

    assert_int_equal(loop_do(f->loop, refuse_others, f), 0);
}

/* A file behind a loop device with sectors of 4096 bytes. */
struct device {
    struct file *file;
    char path[32];
};

static int use_device(void *arg)
{
    struct device *d = arg;
    struct file *f = d->file;
    static char room[8192];
    static char back[8192];

    for (int direct = 0; direct < 2; direct++) {
        must_be_0(open_disk(f, d->path, (struct leaf_file_options){.direct = direct != 0},
                            NULL));
        must(blk_size(f->edge.disk) == SIZE_BYTES);
        must(blk_block_bytes(f->edge.disk) == 4096);
        memset(room, 'a' + direct, sizeof room);
        must_be_0(blk_write(f->edge.disk, room, sizeof room, 4096, BLK_FUA));
        must_be_0(blk_read(f->edge.disk, back, sizeof back, 4096));
        must(memcmp(room, back, sizeof room) == 0);
        must_be_0(blk_zero(f->edge.disk, 4096, 4096, BLK_UNMAP));
        must_be_0(blk_read(f->edge.disk, back, sizeof back, 4096));
        must(back[0] == 0 && back[4095] == 0 && back[4096] == room[0]);
        must(blk_resize(f->edge.disk, 2 * SIZE_BYTES, NULL) == -EOPNOTSUPP);
        must_be_0(blk_flush(f->edge.disk));
        blk_detach(&f->edge);
    }
    return 0;
}

static void a_device_of_the_host_is_a_disk(void **state)
{
    struct device d = {.file = *state};
    struct loop_config c = {.block_size = 4096};
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int number = control >= 0 ? ioctl(control, LOOP_CTL_GET_FREE) : -1;
    int fd;

    if (number < 0) {
        print_message("skipped: no loop devices (%s)\n", strerror(errno));
        skip();
    }
    (void)snprintf(d.path, sizeof d.path, "/dev/loop%d", number);
    fd = open(d.path, O_RDWR | O_CLOEXEC);
    c.fd = (unsigned)open(d.file->name, O_RDWR | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, LOOP_CONFIGURE, &c) != 0) {
        print_message("skipped: no loop device to be had (%s)\n", strerror(errno));
        skip();
    }
    assert_int_equal(loop_do(d.file->loop, use_device, &d), 0);
    assert_int_equal(ioctl(fd, LOOP_CLR_FD), 0);
    (void)close((int)c.fd);
    (void)close(fd);
    (void)close(control);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(qemu_honours_our_locks, start, stop),
        cmocka_unit_test_setup_teardown(we_honour_qemus_locks, start, stop),
        cmocka_unit_test_setup_teardown(a_file_may_end_inside_a_block, start, stop),
        cmocka_unit_test_setup_teardown(zeros_are_durable_when_asked, start, stop),
        cmocka_unit_test_setup_teardown(pages_are_lent_only_if_cached, start, stop),
        cmocka_unit_test_setup_teardown(holes_are_told_as_they_come_and_go, start, stop),
        cmocka_unit_test_setup_teardown(bytes_come_from_a_pipe, start, stop),
        cmocka_unit_test_setup_teardown(other_kinds_of_file_are_refused, start, stop),
        cmocka_unit_test_setup_teardown(a_device_of_the_host_is_a_disk, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
