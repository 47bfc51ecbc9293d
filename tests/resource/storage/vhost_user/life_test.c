/* life_test.c - servers that begin and end: failures on the way leave nothing behind. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/vhost_user/vhost_user.h"
#include "tests/contract/blk_suite.h"

#define GUEST     0x100000000u
#define USER      0x7f0000000000u
#define MEM_BYTES 65536

struct life {
    struct loop *loop;
    struct blk *disk;
    struct blk_edge other; /* keeps the disk while servers come and go */
    int memfd;
    int event;
    long fail_at;
    bool failed;
};

static int attach(void *arg)
{
    struct life *x = arg;

    must_be_0(leaf_memory_create(loop_strands(x->loop), 1 << 20, 512, &x->disk, NULL));
    x->other = (struct blk_edge){.user = "test", .lets = BLK_USE_ALL};
    return blk_attach(&x->other, x->disk, NULL);
}

static int detach(void *arg)
{
    struct life *x = arg;

    blk_detach(&x->other);
    return 0;
}

static void tell(int fd, uint32_t request, const void *payload, uint32_t bytes, int with)
{
    uint32_t head[3] = {request, 1, bytes};

    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov[2] = {{head, sizeof head}, {(void *)(uintptr_t)payload, bytes}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};

    if (with >= 0) {
        m.msg_control = &control;
        m.msg_controllen = sizeof control;
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.head), &with, sizeof with);
    }
    (void)sendmsg(fd, &m, MSG_NOSIGNAL);
}

/* All that a front end says until a request is in the queue. */
static void say_all(const struct life *x, int fd)
{
    uint64_t features = 1ull << 30 | 1ull << 32;
    uint64_t protocol = 1ull << 12;
    uint64_t zero = 0;
    uint64_t table[5] = {1, GUEST, MEM_BYTES, USER, 0};
    uint16_t shape[12] = {[8] = 1, [9] = 8};
    uint64_t addr[5] = {0, USER, USER + 8192, USER + 4096, 0};

    tell(fd, 16, &protocol, 8, -1);
    tell(fd, 2, &features, 8, -1);
    tell(fd, 5, table, sizeof table, x->memfd);
    tell(fd, 31, shape, sizeof shape, -1);
    tell(fd, 8, (uint32_t[2]){0, 8}, 8, -1);
    tell(fd, 9, addr, sizeof addr, -1);
    tell(fd, 13, &zero, 8, x->event);
    tell(fd, 12, &zero, 8, x->event);
    tell(fd, 18, (uint32_t[2]){0, 1}, 8, -1);
    tell(fd, 11, (uint32_t[2]){0, 0}, 8, -1);
}

static int live(void *arg)
{
    struct life *x = arg;
    struct vhost_user_options o = {.disk = x->disk, .id = "disk"};
    struct vhost_user_server *server = NULL;
    int pair[2];
    int r;

    must_be_0(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    fault_fail_alloc_at(x->fail_at);
    r = vhost_user_server_create(x->loop, &o, &server, NULL);
    if (r != 0) {
        (void)close(pair[1]);
    } else {
        r = vhost_user_server_serve(server, pair[1], NULL);
        say_all(x, pair[0]);
        for (unsigned i = 0; r == 0 && i < 10; i++) {
            loop_sleep(x->loop, 100000);
        }
    }
    fault_fail_alloc_at(-1);
    x->failed = r != 0;
    must(r == 0 || r == -ENOMEM);
    vhost_user_server_destroy(server);
    (void)close(pair[0]);
    return 0;
}

static void set_up(struct life *x)
{
    /* one write of a sector: head at 16384, data behind it, status at 20480 */
    uint64_t desc[6] = {GUEST + 16384, 16 | 1ull << 32 | 1ull << 48,
                        GUEST + 16400, 512 | 1ull << 32 | 2ull << 48,
                        GUEST + 20480, 1 | 2ull << 32};
    uint64_t head[2] = {1, 0};
    uint16_t avail[3] = {0, 1, 0};

    *x = (struct life){.fail_at = -1};
    assert_int_equal(loop_create(LOOP_DRIVER_AUTO, &x->loop, NULL), 0);
    x->memfd = memfd_create("guest", MFD_CLOEXEC);
    x->event = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(ftruncate(x->memfd, MEM_BYTES), 0);
    assert_int_equal(pwrite(x->memfd, desc, sizeof desc, 0), sizeof desc);
    assert_int_equal(pwrite(x->memfd, avail, sizeof avail, 4096), sizeof avail);
    assert_int_equal(pwrite(x->memfd, head, sizeof head, 16384), sizeof head);
    assert_int_equal(loop_do(x->loop, attach, x), 0);
}

static void tear_down(struct life *x)
{
    assert_int_equal(loop_do(x->loop, detach, x), 0);
    loop_destroy(x->loop);
    (void)close(x->memfd);
    (void)close(x->event);
}

static void no_memory_leaves_nothing(void **state)
{
    struct life x;
    uint32_t used[3];

    (void)state;
    set_up(&x);
    for (x.fail_at = 0; x.fail_at < 40; x.fail_at++) {
        assert_int_equal(loop_do(x.loop, live, &x), 0);
    }
    assert_false(x.failed); /* 40 are more than it takes */
    assert_int_equal(pread(x.memfd, used, sizeof used, 8192), sizeof used);
    assert_true(used[0] >> 16 > 1); /* and the request is done, each time it could be */
    tear_down(&x);
}

static int try_options(void *arg)
{
    struct life *x = arg;
    struct vhost_user_options o = {.disk = x->disk, .queues = 65};
    struct vhost_user_server *server = NULL;
    struct err e = {0};

    must(vhost_user_server_create(x->loop, &o, &server, &e) == -EINVAL && e.code != 0);
    o.queues = 64;
    o.id = "twenty-one characters";
    must(vhost_user_server_create(x->loop, &o, &server, NULL) == -EINVAL);
    o.id = "twenty characters ..";
    must_be_0(vhost_user_server_create(x->loop, &o, &server, NULL));
    must(vhost_user_server_listen(server, dup(x->memfd), NULL) != 0);
    vhost_user_server_destroy(server);
    vhost_user_server_destroy(NULL);
    return 0;
}

static void impossible_options_are_refused(void **state)
{
    struct life x;

    (void)state;
    set_up(&x);
    assert_int_equal(loop_do(x.loop, try_options, &x), 0);
    tear_down(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_memory_leaves_nothing),
        cmocka_unit_test(impossible_options_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
