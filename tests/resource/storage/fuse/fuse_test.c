/* fuse_test.c - the server against a kernel that the test plays, over a socket of packets.
 *
 * Structures and numbers are those of <linux/fuse.h>; what the answers must be is told by
 * the manual pages of the calls that they serve, and by a model in memory.  `mount_test`
 * does the same with the real kernel. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/fuse.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/fuse/fuse.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"

#define SIZE_BYTES  (256u * 1024)
#define BLOCK_BYTES 512u
#define PACKET_MOST (SIZE_BYTES + 4096)
#define TURNS_MOST  20000

struct test {
    struct loop *loop;
    struct fuse_server *server;
    struct blk *disk;  /* the fault filter, borrowed from the server */
    struct blk *lower; /* memory; an edge of the test keeps it */
    struct blk_edge edge;
    struct filter_fault_plan plan;
    struct fuse_options options;
    int fd; /* the kernel's end */
    unsigned gone;
    uint64_t unique;
    char got[PACKET_MOST];
    size_t got_bytes; /* of the body of the last answer */
};

static void count_gone(void *arg)
{
    ((struct test *)arg)->gone++;
}

static int begin(void *arg)
{
    struct test *t = arg;
    struct fuse_options o = t->options;
    int pair[2];
    int bytes = 2 * PACKET_MOST;

    must_be_0(leaf_memory_create(loop_strands(t->loop), SIZE_BYTES, BLOCK_BYTES,
                                 &t->lower, NULL));
    t->edge = (struct blk_edge){.user = "the test", .lets = BLK_USE_ALL};
    must_be_0(blk_attach(&t->edge, t->lower, NULL));
    must_be_0(filter_fault_create(t->loop, t->lower, &t->plan, &t->disk, NULL));
    must_be_0(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair));
    for (unsigned i = 0; i < 2; i++) {
        (void)setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    }
    t->fd = pair[0];
    o.disk = t->disk;
    o.gone = count_gone;
    o.arg = t;
    must_be_0(fuse_server_create(t->loop, pair[1], &o, &t->server, NULL));
    return 0;
}

static int end(void *arg)
{
    struct test *t = arg;

    fuse_server_destroy(t->server);
    blk_detach(&t->edge);
    return 0;
}

static void ask(struct test *t, uint32_t opcode, const void *head, size_t head_bytes,
                const void *data, size_t data_bytes)
{
    struct fuse_in_header in = {.len = (uint32_t)(sizeof in + head_bytes + data_bytes),
                                .opcode = opcode,
                                .unique = ++t->unique,
                                .nodeid = FUSE_ROOT_ID};
    struct iovec iov[3] = {{&in, sizeof in},
                           {(void *)(uintptr_t)head, head_bytes},
                           {(void *)(uintptr_t)data, data_bytes}};

    assert_true(writev(t->fd, iov, 3) == (ssize_t)in.len);
}

/* The next answer: whose, and its error. */
static int hear(struct test *t, uint64_t *ret_unique)
{
    struct fuse_out_header out;
    ssize_t n = -1;

    for (unsigned i = 0; n < 0 && i < TURNS_MOST; i++) {
        n = recv(t->fd, t->got, sizeof t->got, 0);
        assert_true(n >= 0 || errno == EAGAIN);
        if (n < 0) {
            assert_int_equal(loop_turn(t->loop, 1), 0);
        }
    }
    assert_true(n >= (ssize_t)sizeof out);
    memcpy(&out, t->got, sizeof out);
    assert_int_equal(out.len, n);
    t->got_bytes = (size_t)n - sizeof out;
    memmove(t->got, t->got + sizeof out, t->got_bytes);
    assert_true(out.error <= 0 && (out.error == 0 || t->got_bytes == 0));
    *ret_unique = out.unique;
    return out.error;
}

static int answer(struct test *t)
{
    uint64_t unique;
    int r = hear(t, &unique);

    assert_true(unique == t->unique);
    return r;
}

static int init_as(struct test *t, uint32_t major, uint32_t minor)
{
    struct fuse_init_in in = {.major = major,
                              .minor = minor,
                              .flags = FUSE_MAX_PAGES | FUSE_ASYNC_DIO | FUSE_POSIX_ACL |
                                       FUSE_WRITEBACK_CACHE};

    ask(t, FUSE_INIT, &in, sizeof in, NULL, 0);
    return answer(t);
}

static void start_with(struct test *t)
{
    assert_int_equal(loop_create(LOOP_DRIVER_AUTO, &t->loop, NULL), 0);
    assert_int_equal(loop_do(t->loop, begin, t), 0);
}

static int start(void **state)
{
    static struct test t;

    t = (struct test){.unique = 100};
    *state = &t;
    return 0;
}

static void start_ready(struct test *t)
{
    start_with(t);
    assert_int_equal(init_as(t, 7, 31), 0);
}

static int stop(void **state)
{
    struct test *t = *state;

    (void)close(t->fd);
    assert_int_equal(loop_do(t->loop, end, t), 0);
    loop_destroy(t->loop);
    return 0;
}

/* ---- calls ---- */

static int do_read(struct test *t, uint64_t off, uint32_t bytes)
{
    struct fuse_read_in in = {.offset = off, .size = bytes};

    ask(t, FUSE_READ, &in, sizeof in, NULL, 0);
    return answer(t);
}

/* Bytes written, or -errno. */
static int do_write(struct test *t, uint64_t off, const void *data, uint32_t bytes)
{
    struct fuse_write_in in = {.offset = off, .size = bytes, .fh = 1};
    struct fuse_write_out out;
    int r;

    ask(t, FUSE_WRITE, &in, sizeof in, data, bytes);
    r = answer(t);
    if (r == 0) {
        assert_int_equal(t->got_bytes, sizeof out);
        memcpy(&out, t->got, sizeof out);
        return (int)out.size;
    }
    return r;
}

static int do_allocate(struct test *t, uint32_t mode, uint64_t off, uint64_t bytes)
{
    struct fuse_fallocate_in in = {.offset = off, .length = bytes, .mode = mode};

    ask(t, FUSE_FALLOCATE, &in, sizeof in, NULL, 0);
    return answer(t);
}

static int64_t do_seek(struct test *t, uint64_t off, uint32_t whence)
{
    struct fuse_lseek_in in = {.offset = off, .whence = whence};
    struct fuse_lseek_out out;
    int r;

    ask(t, FUSE_LSEEK, &in, sizeof in, NULL, 0);
    r = answer(t);
    memcpy(&out, t->got, sizeof out);
    return r == 0 ? (int64_t)out.offset : r;
}

static int do_open(struct test *t, uint32_t flags)
{
    struct fuse_open_in in = {.flags = flags};

    ask(t, FUSE_OPEN, &in, sizeof in, NULL, 0);
    return answer(t);
}

static int do_resize(struct test *t, uint64_t size)
{
    struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = size};

    ask(t, FUSE_SETATTR, &in, sizeof in, NULL, 0);
    return answer(t);
}

static int do_fsync(struct test *t)
{
    struct fuse_fsync_in in = {.fh = 1};

    ask(t, FUSE_FSYNC, &in, sizeof in, NULL, 0);
    return answer(t);
}

static struct fuse_attr attr(struct test *t)
{
    struct fuse_getattr_in in = {0};
    struct fuse_attr_out out;

    ask(t, FUSE_GETATTR, &in, sizeof in, NULL, 0);
    assert_int_equal(answer(t), 0);
    assert_int_equal(t->got_bytes, sizeof out);
    memcpy(&out, t->got, sizeof out);
    return out.attr;
}

/* ---- tests ---- */

static void speaks_the_kernels_version(void **state)
{
    struct test *t = *state;
    struct fuse_init_out out;
    struct fuse_getattr_in in = {0};

    start_with(t);
    ask(t, FUSE_GETATTR, &in, sizeof in, NULL, 0);
    assert_int_equal(answer(t), -EIO); /* nothing before INIT */
    assert_int_equal(init_as(t, 6, 31), -EPROTO);
    assert_int_equal(init_as(t, 7, 27), -EPROTO);
    assert_int_equal(init_as(t, 8, 0), 0); /* the kernel comes back with 7 */
    assert_false(fuse_server_counts(t->server).ready);
    assert_int_equal(init_as(t, 7, 44), 0);
    memcpy(&out, t->got, sizeof out);
    assert_int_equal(out.major, 7);
    assert_int_equal(out.flags, FUSE_MAX_PAGES | FUSE_ASYNC_DIO);
    assert_int_equal(out.max_write, 1 << 20);
    assert_int_equal(out.max_pages, 256);
    assert_true(fuse_server_counts(t->server).ready);
}

static void describes_the_file(void **state)
{
    struct test *t = *state;
    struct fuse_attr a;
    struct fuse_statfs_out fs;
    struct fuse_open_out o;

    start_ready(t);
    a = attr(t);
    assert_int_equal(a.size, SIZE_BYTES);
    assert_int_equal(a.mode, S_IFREG | 0600);
    assert_true(a.blocks > 0 && a.blocks < SIZE_BYTES / 512);
    ask(t, FUSE_STATFS, NULL, 0, NULL, 0);
    assert_int_equal(answer(t), 0);
    memcpy(&fs, t->got, sizeof fs);
    assert_int_equal(fs.st.blocks * fs.st.frsize, SIZE_BYTES);
    assert_int_equal(do_open(t, O_RDWR), 0);
    memcpy(&o, t->got, sizeof o);
    assert_true((o.open_flags & FOPEN_DIRECT_IO) != 0);
    assert_int_equal(fuse_server_counts(t->server).opened, 1);
    ask(t, FUSE_GETXATTR, NULL, 0, NULL, 0);
    assert_int_equal(answer(t), -ENOSYS);
    ask(t, 4000000, NULL, 0, NULL, 0);
    assert_int_equal(answer(t), -ENOSYS);
}

static void keeps_any_bytes(void **state)
{
    struct test *t = *state;
    static const char text[] = "any bytes";

    start_ready(t);
    assert_int_equal(do_write(t, 1021, text, sizeof text), sizeof text);
    assert_int_equal(do_read(t, 1021, sizeof text), 0);
    assert_int_equal(t->got_bytes, sizeof text);
    assert_memory_equal(t->got, text, sizeof text);
    assert_int_equal(do_read(t, 0, SIZE_BYTES), 0);
    assert_int_equal(t->got_bytes, SIZE_BYTES);
    assert_int_equal(t->got[1020] | t->got[1021 + sizeof text], 0);
}

static void ends_at_its_end(void **state)
{
    struct test *t = *state;
    static char data[1024];

    start_ready(t);
    assert_int_equal(do_read(t, SIZE_BYTES - 100, 1024), 0);
    assert_int_equal(t->got_bytes, 100);
    assert_int_equal(do_read(t, SIZE_BYTES, 1024), 0);
    assert_int_equal(t->got_bytes, 0);
    assert_int_equal(do_read(t, UINT64_MAX - 10, 1024), 0);
    assert_int_equal(t->got_bytes, 0);
    assert_int_equal(do_write(t, SIZE_BYTES - 100, data, 1024), 100);
    assert_int_equal(do_write(t, SIZE_BYTES, data, 1024), -ENOSPC);
    assert_int_equal(do_write(t, UINT64_MAX - 10, data, 1024), -ENOSPC);
    assert_int_equal(do_read(t, 0, UINT32_MAX), -EINVAL);
}

static void punches_holes(void **state)
{
    struct test *t = *state;
    static char data[8192];

    start_ready(t);
    memset(data, 'x', sizeof data);
    assert_int_equal(do_write(t, 0, data, sizeof data), sizeof data);
    assert_int_equal(
        do_allocate(t, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 700, 3000), 0);
    assert_int_equal(do_allocate(t, FALLOC_FL_ZERO_RANGE, 5000, 10), 0);
    memset(data + 700, 0, 3000);
    memset(data + 5000, 0, 10);
    assert_int_equal(do_read(t, 0, sizeof data), 0);
    assert_memory_equal(t->got, data, sizeof data);
    assert_int_equal(do_allocate(t, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 SIZE_BYTES - 1, UINT64_MAX - SIZE_BYTES),
                     0);
    assert_int_equal(do_allocate(t, FALLOC_FL_ZERO_RANGE, SIZE_BYTES - 1, 2), -ENOSPC);
    assert_int_equal(do_allocate(t, 0, 0, 4096), -EOPNOTSUPP);
    assert_int_equal(do_allocate(t, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), -EOPNOTSUPP);
}

static void shows_holes(void **state)
{
    struct test *t = *state;
    static char data[512];

    start_ready(t);
    assert_int_equal(do_seek(t, 5, SEEK_HOLE), 5);
    assert_int_equal(do_seek(t, 5, SEEK_DATA), -ENXIO);
    memset(data, 'x', sizeof data);
    assert_int_equal(do_write(t, 131072, data, sizeof data), sizeof data);
    assert_true(do_seek(t, 5, SEEK_DATA) > 5 && do_seek(t, 5, SEEK_DATA) <= 131072);
    assert_int_equal(do_seek(t, 131073, SEEK_DATA), 131073);
    assert_true(do_seek(t, 131073, SEEK_HOLE) >= 131072 + 512);
    assert_int_equal(do_seek(t, SIZE_BYTES, SEEK_DATA), -ENXIO);
    assert_int_equal(do_seek(t, 0, SEEK_SET), -EINVAL);
}

static void may_be_read_only(void **state)
{
    struct test *t = *state;
    static char data[512];

    t->options.read_only = true;
    t->options.resizable = true;
    start_ready(t);
    assert_int_equal(attr(t).mode, S_IFREG | 0400);
    assert_int_equal(do_open(t, O_RDWR), -EROFS);
    assert_int_equal(do_open(t, O_RDONLY), 0);
    assert_int_equal(do_write(t, 0, data, sizeof data), -EROFS);
    assert_int_equal(do_allocate(t, FALLOC_FL_ZERO_RANGE, 0, 512), -EROFS);
    assert_int_equal(do_resize(t, 2 * SIZE_BYTES), -EROFS);
    assert_int_equal(do_fsync(t), 0);
    assert_int_equal(filter_fault_writes(t->disk), 0);
}

static void grows_where_allowed(void **state)
{
    struct test *t = *state;

    t->options.resizable = true;
    start_ready(t);
    assert_int_equal(do_resize(t, 2 * SIZE_BYTES), 0);
    assert_int_equal(attr(t).size, 2 * SIZE_BYTES);
    assert_int_equal(do_resize(t, 0), -EPERM);          /* open(2) with O_TRUNC */
    assert_int_equal(do_resize(t, SIZE_BYTES), -EPERM); /* what is behind is lost */
    assert_int_equal(do_resize(t, 4 * SIZE_BYTES + 1), -EINVAL);
    assert_int_equal(do_resize(t, UINT64_MAX), -EINVAL);
    assert_int_equal(attr(t).size, 2 * SIZE_BYTES);
}

static void stays_as_long_as_it_is(void **state)
{
    struct test *t = *state;
    struct fuse_setattr_in touch = {.valid = FATTR_MTIME | FATTR_ATIME};
    struct fuse_setattr_in owner = {.valid = FATTR_UID, .uid = 7};

    start_ready(t);
    assert_int_equal(do_resize(t, 2 * SIZE_BYTES), -EPERM);
    assert_int_equal(do_resize(t, SIZE_BYTES), 0);
    ask(t, FUSE_SETATTR, &touch, sizeof touch, NULL, 0);
    assert_int_equal(answer(t), 0);
    ask(t, FUSE_SETATTR, &owner, sizeof owner, NULL, 0);
    assert_int_equal(answer(t), -EPERM);
}

static void tells_errors(void **state)
{
    struct test *t = *state;
    static char data[1000];

    start_ready(t);
    t->plan = (struct filter_fault_plan){.fail_kinds = 1 << BLK_READ | 1 << BLK_WRITE |
                                                       1 << BLK_FLUSH | 1 << BLK_ZERO,
                                         .fail_from = 1,
                                         .fail_until = 6,
                                         .error = -EIO};
    filter_fault_plan(t->disk, &t->plan);
    assert_int_equal(do_read(t, 0, 512), -EIO);
    assert_int_equal(do_write(t, 0, data, 512), -EIO);
    assert_int_equal(do_write(t, 3, data, 5), -EIO); /* reads first */
    assert_int_equal(do_fsync(t), -EIO);
    assert_int_equal(do_allocate(t, FALLOC_FL_ZERO_RANGE, 0, 512), -EIO);
    assert_int_equal(do_write(t, 3, data, 5), 5);
}

static void flushes(void **state)
{
    struct test *t = *state;
    struct fuse_flush_in in = {.fh = 1};

    start_ready(t);
    t->plan = (struct filter_fault_plan){
        .fail_kinds = 1 << BLK_FLUSH, .fail_from = 1, .fail_until = 9, .error = -EIO};
    filter_fault_plan(t->disk, &t->plan);
    ask(t, FUSE_FLUSH, &in, sizeof in, NULL, 0);
    assert_int_equal(answer(t), -EIO);
    in.fh = 0; /* opened for reading */
    ask(t, FUSE_FLUSH, &in, sizeof in, NULL, 0);
    assert_int_equal(answer(t), 0);
}

static int read_lower(void *arg)
{
    struct test *t = arg;

    filter_fault_cut(t->disk);
    must_be_0(blk_read(t->lower, t->got, SIZE_BYTES, 0));
    return 0;
}

static void makes_durable(void **state)
{
    struct test *t = *state;
    static char data[SIZE_BYTES];

    t->plan = (struct filter_fault_plan){.seed = 11, .holds_back = true};
    start_ready(t);
    memset(data, 'd', SIZE_BYTES);
    assert_int_equal(do_write(t, 100, data + 100, 65000), 65000);
    assert_int_equal(do_fsync(t), 0);
    assert_int_equal(do_write(t, 70000, data, 5000), 5000); /* not flushed */
    assert_int_equal(loop_do(t->loop, read_lower, t), 0);
    assert_memory_equal(t->got + 100, data + 100, 65000);
    assert_int_equal(do_read(t, 0, 512), -ENODEV);
}

/* ---- histories ---- */

#define SIDE_MOST 8

struct side {
    uint64_t unique; /* 0: none */
    uint32_t opcode;
    uint64_t off;
    uint64_t bytes;
};

static bool overlaps(const struct side *list, uint64_t off, uint64_t bytes)
{
    for (unsigned i = 0; i < SIDE_MOST; i++) {
        if (list[i].unique != 0 && off < list[i].off + list[i].bytes &&
            list[i].off < off + bytes) {
            return true;
        }
    }
    return false;
}

/* One request of a history; what it writes is in the model at once, since no request
 * in flight has a byte in common with it. */
static void begin_one(struct test *t, struct side *x, char *model, uint64_t *seed)
{
    static char data[16384];

    if (x->opcode == FUSE_READ) {
        struct fuse_read_in in = {.offset = x->off, .size = (uint32_t)x->bytes};

        ask(t, FUSE_READ, &in, sizeof in, NULL, 0);
    } else if (x->opcode == FUSE_WRITE) {
        struct fuse_write_in in = {.offset = x->off, .size = (uint32_t)x->bytes, .fh = 1};

        for (uint64_t i = 0; i < x->bytes; i++) {
            data[i] = (char)suite_random(seed);
        }
        memcpy(model + x->off, data, x->bytes);
        ask(t, FUSE_WRITE, &in, sizeof in, data, x->bytes);
    } else {
        struct fuse_fallocate_in in = {
            .offset = x->off,
            .length = x->bytes,
            .mode =
                FALLOC_FL_KEEP_SIZE |
                (suite_random(seed) % 2 ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE)};

        memset(model + x->off, 0, x->bytes);
        ask(t, FUSE_FALLOCATE, &in, sizeof in, NULL, 0);
    }
    x->unique = t->unique;
}

static void finish_one(struct test *t, struct side *list, const char *model)
{
    uint64_t unique;
    int r = hear(t, &unique);

    assert_int_equal(r, 0);
    for (unsigned i = 0; i < SIDE_MOST; i++) {
        if (list[i].unique == unique) {
            if (list[i].opcode == FUSE_READ) {
                assert_int_equal(t->got_bytes, list[i].bytes);
                assert_memory_equal(t->got, model + list[i].off, list[i].bytes);
            }
            list[i].unique = 0;
            return;
        }
    }
    fail_msg("an answer to nobody");
}

/* Requests side by side that share blocks and no bytes: no write may put back old bytes of
 * another one. */
static void run_history(struct test *t, uint64_t seed)
{
    static const uint32_t opcodes[] = {FUSE_READ, FUSE_WRITE, FUSE_WRITE, FUSE_FALLOCATE};
    static char model[SIZE_BYTES];
    struct side list[SIDE_MOST] = {0};

    memset(model, 0, sizeof model);
    for (unsigned step = 0; step < 3000; step++) {
        struct side *x = &list[suite_random(&seed) % SIDE_MOST];

        if (x->unique != 0) {
            finish_one(t, list, model);
            continue;
        }
        x->opcode = opcodes[suite_random(&seed) % 4];
        x->off = suite_random(&seed) % 8192; /* close together */
        x->bytes = 1 + suite_random(&seed) % 3000;
        if (suite_random(&seed) % 3 == 0) {
            x->off &= ~(uint64_t)511;
            x->bytes = (x->bytes + 511) & ~(uint64_t)511;
        }
        if (!overlaps(list, x->off, x->bytes)) {
            begin_one(t, x, model, &seed);
        }
    }
    for (unsigned i = 0; i < SIDE_MOST; i++) {
        if (list[i].unique != 0) {
            finish_one(t, list, model);
            i = (unsigned)-1;
        }
    }
    assert_int_equal(do_read(t, 0, SIZE_BYTES), 0);
    assert_memory_equal(t->got, model, SIZE_BYTES);
}

static void keeps_a_history(void **state)
{
    struct test *t = *state;

    start_ready(t);
    run_history(t, 1);
}

static void keeps_a_slow_history(void **state)
{
    struct test *t = *state;

    t->plan = (struct filter_fault_plan){.seed = 5, .delay_one_in = 2, .delay_ns = 50000};
    start_ready(t);
    run_history(t, 2);
}

/* Two writes at once that overlap: the bytes that only the larger one has are its own. */
static void loses_no_neighbour(void **state)
{
    struct test *t = *state;
    static char whole[1024];
    struct fuse_write_in w = {.offset = 0, .size = sizeof whole, .fh = 1};
    struct fuse_write_in part = {.offset = 100, .size = 4, .fh = 1};
    uint64_t unique;

    t->plan =
        (struct filter_fault_plan){.seed = 3, .delay_one_in = 2, .delay_ns = 300000};
    start_ready(t);
    for (int round = 1; round < 100; round++) {
        bool first = round % 2 == 0;

        memset(whole, round, sizeof whole);
        if (first) {
            ask(t, FUSE_WRITE, &part, sizeof part, "part", 4);
        }
        ask(t, FUSE_WRITE, &w, sizeof w, whole, sizeof whole);
        if (!first) {
            ask(t, FUSE_WRITE, &part, sizeof part, "part", 4);
        }
        assert_int_equal(hear(t, &unique), 0);
        assert_int_equal(hear(t, &unique), 0);
        assert_int_equal(do_read(t, 0, sizeof whole), 0);
        assert_memory_equal(t->got, whole, 100);
        assert_memory_equal(t->got + 104, whole + 104, sizeof whole - 104);
    }
}

/* ---- bad and many ---- */

static void bounds_what_is_in_work(void **state)
{
    struct test *t = *state;
    struct fuse_read_in in = {.size = 512};
    uint64_t unique;

    t->plan =
        (struct filter_fault_plan){.seed = 5, .delay_one_in = 1, .delay_ns = 30000000};
    start_ready(t);
    for (unsigned i = 0; i < 100; i++) {
        ask(t, FUSE_READ, &in, sizeof in, NULL, 0);
    }
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(hear(t, &unique), 0);
    }
    assert_int_equal(fuse_server_counts(t->server).served, 101);
}

static void survives_nonsense(void **state)
{
    struct test *t = *state;
    struct fuse_in_header in = {.len = sizeof in, .opcode = FUSE_READ, .unique = 5};
    struct fuse_write_in w = {.offset = 0, .size = 4096};
    struct fuse_read_in far = {.offset = 0, .size = 512};

    start_ready(t);
    assert_int_equal(send(t->fd, &in, 7, 0), 7); /* no head */
    in.len = 4096;
    assert_int_equal(send(t->fd, &in, sizeof in, 0), sizeof in); /* longer than it is */
    for (uint32_t op = 0; op < 60; op++) {                       /* no arguments */
        if (op == FUSE_FORGET || op == FUSE_BATCH_FORGET) {
            continue;
        }
        ask(t, op, NULL, 0, NULL, 0);
        (void)answer(t);
    }
    ask(t, FUSE_WRITE, &w, sizeof w, "short", 5);
    assert_int_equal(answer(t), -EINVAL);
    in = (struct fuse_in_header){.len = sizeof in + sizeof far,
                                 .opcode = FUSE_READ,
                                 .unique = ++t->unique,
                                 .nodeid = 2};
    memcpy(t->got, &in, sizeof in);
    memcpy(t->got + sizeof in, &far, sizeof far);
    assert_int_equal(send(t->fd, t->got, in.len, 0), in.len);
    assert_int_equal(answer(t), -EINVAL); /* there is one file */
    assert_int_equal(do_read(t, 0, 512), 0);
}

static void tells_its_end(void **state)
{
    struct test *t = *state;

    start_ready(t);
    assert_int_equal(shutdown(t->fd, SHUT_WR), 0); /* read(2) gives 0: unmounted */
    for (unsigned i = 0; i < 100 && t->gone == 0; i++) {
        assert_int_equal(loop_turn(t->loop, 1), 0);
    }
    assert_int_equal(t->gone, 1);
    assert_true(fuse_server_counts(t->server).gone);
}

static void ends_with_requests_in_work(void **state)
{
    struct test *t = *state;
    struct fuse_read_in in = {.size = 512};
    struct fuse_write_in w = {.offset = 3, .size = 5, .fh = 1};

    t->plan =
        (struct filter_fault_plan){.seed = 5, .delay_one_in = 1, .delay_ns = 5000000};
    start_ready(t);
    for (unsigned i = 0; i < 20; i++) {
        ask(t, FUSE_READ, &in, sizeof in, NULL, 0);
        ask(t, FUSE_WRITE, &w, sizeof w, "bytes", 5);
    }
    assert_int_equal(loop_turn(t->loop, 1), 0); /* and `stop` */
}

static int try_create(void *arg)
{
    struct loop *l = arg;
    struct fuse_options o = {0};
    struct fuse_server *s = NULL;
    int pair[2];
    int r;

    must_be_0(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
    r = leaf_memory_create(loop_strands(l), SIZE_BYTES, 512, &o.disk, NULL);
    if (r == 0) {
        r = fuse_server_create(l, pair[1], &o, &s, NULL);
        if (r != 0) {
            blk_drop(o.disk);
        }
    } else {
        (void)close(pair[1]);
    }
    fuse_server_destroy(s);
    (void)close(pair[0]);
    return r;
}

static int do_create(void *loop)
{
    return loop_do(loop, try_create, loop);
}

static void needs_memory(void **state)
{
    struct loop *l;

    (void)state;
    assert_int_equal(loop_create(LOOP_DRIVER_AUTO, &l, NULL), 0);
    assert_true(check_each_allocation(do_create, l, -ENOMEM) > 2);
    loop_destroy(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(speaks_the_kernels_version, start, stop),
        cmocka_unit_test_setup_teardown(describes_the_file, start, stop),
        cmocka_unit_test_setup_teardown(keeps_any_bytes, start, stop),
        cmocka_unit_test_setup_teardown(ends_at_its_end, start, stop),
        cmocka_unit_test_setup_teardown(punches_holes, start, stop),
        cmocka_unit_test_setup_teardown(shows_holes, start, stop),
        cmocka_unit_test_setup_teardown(may_be_read_only, start, stop),
        cmocka_unit_test_setup_teardown(grows_where_allowed, start, stop),
        cmocka_unit_test_setup_teardown(stays_as_long_as_it_is, start, stop),
        cmocka_unit_test_setup_teardown(tells_errors, start, stop),
        cmocka_unit_test_setup_teardown(flushes, start, stop),
        cmocka_unit_test_setup_teardown(makes_durable, start, stop),
        cmocka_unit_test_setup_teardown(keeps_a_history, start, stop),
        cmocka_unit_test_setup_teardown(keeps_a_slow_history, start, stop),
        cmocka_unit_test_setup_teardown(loses_no_neighbour, start, stop),
        cmocka_unit_test_setup_teardown(bounds_what_is_in_work, start, stop),
        cmocka_unit_test_setup_teardown(survives_nonsense, start, stop),
        cmocka_unit_test_setup_teardown(tells_its_end, start, stop),
        cmocka_unit_test_setup_teardown(ends_with_requests_in_work, start, stop),
        cmocka_unit_test(needs_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
