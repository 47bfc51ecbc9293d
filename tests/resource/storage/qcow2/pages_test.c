/* pages_test.c - bytes that go between images and sockets past memory: lent as pages of the
 * file, taken from pipes. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/qcow2/files.h"
#include "tests/resource/storage/qcow2/judge.h"

#define CLUSTER    65536u
#define SIZE_BYTES (64u * CLUSTER)

/* A file that takes from a pipe only as often as it is told, and then has it all read. */
struct reluctant {
    struct blk blk;
    struct blk_edge edge;
    unsigned takes;
};

static struct reluctant *reluctant_of(struct blk *b)
{
    return (struct reluctant *)b;
}

static int pass_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return blk_readv(reluctant_of(b)->edge.disk, to, off);
}

static int pass_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    int r = blk_writev(reluctant_of(b)->edge.disk, from, off, flags);

    b->size_bytes = blk_size(reluctant_of(b)->edge.disk);
    return r;
}

static int pass_pipe(struct blk *b, int from, uint64_t bytes, uint64_t off)
{
    struct reluctant *x = reluctant_of(b);

    if (x->takes == 0) {
        return -EOPNOTSUPP;
    }
    x->takes--;
    return blk_write_pipe(x->edge.disk, from, bytes, off, 0);
}

static int pass_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    int r = blk_resize(reluctant_of(b)->edge.disk, size_bytes, e);

    b->size_bytes = blk_size(reluctant_of(b)->edge.disk);
    return r;
}

static void pass_destroy(struct blk *b)
{
    blk_detach(&reluctant_of(b)->edge);
    free(b);
}

static const struct blk_ops reluctant_ops = {
    .name = "reluctant",
    .read = pass_read,
    .write = pass_write,
    .write_pipe = pass_pipe,
    .resize = pass_resize,
    .destroy = pass_destroy,
};

struct test {
    struct loop *loop;
    struct reluctant *below;
    struct blk_edge edge;
    int pipe[2];
    char *noise; /* owned, SIZE_BYTES */
    char *back;  /* owned, SIZE_BYTES */
};

static int start(void **state)
{
    static struct test t;
    unsigned seed = 7;

    t = (struct test){.noise = malloc(SIZE_BYTES), .back = malloc(SIZE_BYTES)};
    for (size_t i = 0; i < SIZE_BYTES; i++) {
        seed = seed * 1664525u + 1013904223u;
        t.noise[i] = (char)(seed >> 24 | 1);
    }
    assert_int_equal(pipe2(t.pipe, O_CLOEXEC | O_NONBLOCK), 0);
    assert_true(fcntl(t.pipe[1], F_SETPIPE_SZ, 1 << 20) >= 1 << 20);
    *state = &t;
    return loop_create(LOOP_DRIVER_AUTO, &t.loop, NULL);
}

static int stop(void **state)
{
    struct test *t = *state;

    (void)close(t->pipe[0]);
    (void)close(t->pipe[1]);
    free(t->noise);
    free(t->back);
    loop_destroy(t->loop);
    return 0;
}

/* A new image over a file that takes from pipes `takes` times. */
static void make(struct test *t, const struct qcow2_create_options *o, unsigned takes)
{
    struct qcow2_open_options how = {.loop = t->loop};
    struct blk *file = NULL;
    struct blk *disk = NULL;

    file_create_image(t->loop, "image", o);
    must_be_0(file_open_raw(t->loop, "image", false, false, &file));
    t->below = calloc(1, sizeof *t->below);
    blk_init_like(&t->below->blk, &reluctant_ops, file);
    t->below->blk.grows = true;
    t->below->edge = (struct blk_edge){.user = "reluctant", .uses = BLK_USE_ALL};
    t->below->takes = takes;
    must_be_0(blk_attach(&t->below->edge, file, NULL));
    t->below->blk.edge = &t->below->edge;
    t->below->blk.edge_count = 1;
    must_be_0(qcow2_open(&t->below->blk, &how, &disk, NULL));
    t->edge = (struct blk_edge){.user = "test", .uses = BLK_USE_ALL};
    must_be_0(blk_attach(&t->edge, disk, NULL));
}

static int put(struct test *t, uint64_t off, size_t bytes)
{
    must(write(t->pipe[1], t->noise + off, bytes) == (ssize_t)bytes);
    return blk_write_pipe(t->edge.disk, t->pipe[0], bytes, off, 0);
}

static bool pipe_is_empty(struct test *t)
{
    char byte;

    return read(t->pipe[0], &byte, 1) < 0 && errno == EAGAIN;
}

static void expect(struct test *t, uint64_t off, size_t bytes)
{
    must_be_0(blk_read(t->edge.disk, t->back, bytes, off));
    must(memcmp(t->back, t->noise + off, bytes) == 0);
}

static int write_whole_clusters(void *arg)
{
    struct test *t = arg;
    struct qcow2_create_options o = {.size_bytes = SIZE_BYTES};

    make(t, &o, UINT32_MAX);
    must_be_0(put(t, 0, 4 * CLUSTER)); /* new ones */
    expect(t, 0, 4 * CLUSTER);
    must_be_0(blk_zero(t->edge.disk, 0, 4 * CLUSTER, 0));
    must_be_0(put(t, CLUSTER, 2 * CLUSTER)); /* zeros that have a place */
    must_be_0(put(t, CLUSTER, 2 * CLUSTER)); /* and data */
    expect(t, CLUSTER, 2 * CLUSTER);
    must_be_0(blk_discard(t->edge.disk, CLUSTER, CLUSTER));
    must_be_0(put(t, 0, 8 * CLUSTER)); /* all kinds in a row */
    expect(t, 0, 8 * CLUSTER);
    must(pipe_is_empty(t));
    must(put(t, 512, CLUSTER) == -EOPNOTSUPP); /* no whole cluster */
    must(read(t->pipe[0], t->back, CLUSTER) == CLUSTER);
    must(pipe_is_empty(t));
    blk_detach(&t->edge);
    return 0;
}

static void whole_clusters_come_from_a_pipe(void **state)
{
    assert_int_equal(loop_do(((struct test *)*state)->loop, write_whole_clusters, *state),
                     0);
    assert_true(!judge_is_there() || judge_check("image") == 0);
}

/* The first stretch is taken, the next is not: the rest comes by memory. */
static int write_with_reluctance(void *arg)
{
    struct test *t = arg;
    struct qcow2_create_options o = {.size_bytes = SIZE_BYTES};

    for (unsigned takes = 0; takes < 3; takes++) {
        int r;

        make(t, &o, 0);
        for (unsigned i = 1; i < 8; i += 2) { /* every other cluster is there already */
            must_be_0(blk_write(t->edge.disk, t->noise, CLUSTER, i * CLUSTER, 0));
        }
        t->below->takes = takes;
        r = put(t, 0, 8 * CLUSTER);
        if (takes == 0) { /* nothing has left the pipe */
            must(r == -EOPNOTSUPP);
            must(read(t->pipe[0], t->back, 8 * CLUSTER) == 8 * CLUSTER);
            must(memcmp(t->back, t->noise, 8 * CLUSTER) == 0);
        } else {
            must_be_0(r);
            expect(t, 0, 8 * CLUSTER);
        }
        must(pipe_is_empty(t));
        blk_detach(&t->edge);
    }
    return 0;
}

static void a_part_may_come_by_memory(void **state)
{
    assert_int_equal(
        loop_do(((struct test *)*state)->loop, write_with_reluctance, *state), 0);
    assert_true(!judge_is_there() || judge_check("image") == 0);
}

static int lend(struct test *t, struct blk *disk, uint64_t off, size_t bytes)
{
    uint64_t at = 0;
    int fd = -1;
    int r = blk_pages(disk, off, bytes, &fd, &at);

    if (r == 0) {
        must(pread(fd, t->back, bytes, (off_t)at) == (ssize_t)bytes);
        must(memcmp(t->back, t->noise + off, bytes) == 0);
    }
    return r;
}

static int lend_pages(void *arg)
{
    struct test *t = arg;
    struct qcow2_create_options base = {.size_bytes = SIZE_BYTES};
    struct qcow2_create_options top = {
        .size_bytes = SIZE_BYTES, .backing_name = "image", .backing_format = "qcow2"};
    struct file_source s = file_source_of(t->loop, 0);
    struct blk *disk = NULL;
    int r;

    file_create_image(t->loop, "image", &base);
    must_be_0(file_open_image(&s, "image", false, NULL, &disk, NULL));
    must_be_0(blk_write(disk, t->noise, 8 * CLUSTER, 0, 0));
    r = lend(t, disk, 0, 8 * CLUSTER); /* a kernel before 6.5 does not tell */
    must(r == 0 || r == -EOPNOTSUPP);
    must(lend(t, disk, 16 * CLUSTER, CLUSTER) == -EOPNOTSUPP); /* a hole */
    must(lend(t, disk, 7 * CLUSTER, 2 * CLUSTER) == -EOPNOTSUPP);
    must_be_0(blk_discard(disk, 2 * CLUSTER, CLUSTER));
    must(lend(t, disk, CLUSTER, 2 * CLUSTER) == -EOPNOTSUPP);
    blk_drop(disk);
    file_create_image(t->loop, "top", &top);
    must_be_0(file_open_image(&s, "top", false, NULL, &disk, NULL));
    must(lend(t, disk, 0, 2 * CLUSTER) == -EOPNOTSUPP); /* its tables are not in memory */
    must_be_0(blk_read(disk, t->back, CLUSTER, 0));
    must(lend(t, disk, 0, 2 * CLUSTER) == r); /* of the one below */
    must_be_0(blk_write(disk, t->noise, CLUSTER, 0, 0));
    must(lend(t, disk, 0, CLUSTER) == r);
    must(lend(t, disk, 0, 2 * CLUSTER) == -EOPNOTSUPP); /* two files */
    blk_drop(disk);
    return 0;
}

static void pages_are_lent_where_they_lie_side_by_side(void **state)
{
    assert_int_equal(loop_do(((struct test *)*state)->loop, lend_pages, *state), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_clusters_come_from_a_pipe, start, stop),
        cmocka_unit_test_setup_teardown(a_part_may_come_by_memory, start, stop),
        cmocka_unit_test_setup_teardown(pages_are_lent_where_they_lie_side_by_side, start,
                                        stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
