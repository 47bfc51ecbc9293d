/* vhost_user_fuzz.c - any messages that a front end may send, with descriptors.
 *
 * The input is a list of records: the kind of message, a byte that says which
 * descriptors come along and whether the head lies about the length, the length of the
 * payload, and the payload.  Behind a 0 the rest goes out as it is. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/vhost_user/vhost_user.h"
#include "tests/fuzz/target.h"

#define RECORDS_MOST 64
#define MEM_BYTES    65536
#define TURNS        6

struct world {
    struct loop *loop;
    struct vhost_user_server *server;
    int fd;
    int memfd;
    int event;
};

static int begin(void *arg)
{
    struct world *w = arg;
    struct vhost_user_options o = {.queues = 4};

    if (leaf_memory_create(loop_strands(w->loop), 1 << 20, 512, &o.disk, NULL) != 0) {
        return -ENOMEM;
    }
    return vhost_user_server_create(w->loop, &o, &w->server, NULL);
}

static int end(void *arg)
{
    struct world *w = arg;

    vhost_user_server_destroy(w->server);
    return 0;
}

static void turn(struct world *w)
{
    char room[4096];

    for (unsigned i = 0; i < TURNS; i++) {
        (void)loop_turn(w->loop, 0);
    }
    while (recv(w->fd, room, sizeof room, MSG_DONTWAIT) > 0) {
    }
}

/* `how`: bits 0-1 which descriptors, 2-3 how many more of them, 4 the answer flag, 5 a
 * length that is not true. */
static void send_record(struct world *w, uint8_t kind, uint8_t how,
                        const uint8_t *payload, uint32_t bytes)
{
    uint32_t head[3] = {kind, 1u | ((how & 16) != 0 ? 8u : 0u),
                        bytes + ((how & 32) != 0 ? 1u : 0u)};

    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int) * 4)];
    } control = {0};
    struct iovec iov[2] = {{head, sizeof head}, {(void *)(uintptr_t)payload, bytes}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
    unsigned count = (how & 3) == 0 ? 0 : 1u + (how >> 2 & 3);
    int fds[4];

    for (unsigned i = 0; i < count; i++) {
        fds[i] = (how & 3) == 1 ? w->memfd : (how & 3) == 2 ? w->event : w->fd;
    }
    if (count > 0) {
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(&control.head), fds, sizeof(int) * count);
    }
    (void)sendmsg(w->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    turn(w);
}

static void converse(struct world *w, const uint8_t *data, size_t size)
{
    for (unsigned i = 0; i < RECORDS_MOST && size >= 3; i++) {
        uint32_t bytes = data[2];

        if (data[0] == 0) {
            (void)send(w->fd, data + 1, size - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
            turn(w);
            return;
        }
        bytes = bytes < size - 3 ? bytes : (uint32_t)size - 3;
        send_record(w, data[0], data[1], data + 3, bytes);
        data += 3 + bytes;
        size -= 3 + bytes;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {.memfd = memfd_create("guest", MFD_CLOEXEC),
                      .event = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)};
    int pair[2];

    if (w.memfd < 0 || w.event < 0 || ftruncate(w.memfd, MEM_BYTES) != 0 ||
        loop_create(LOOP_DRIVER_CREW, &w.loop, NULL) != 0 ||
        loop_do(w.loop, begin, &w) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        abort();
    }
    if (pwrite(w.memfd, data, size < MEM_BYTES ? size : MEM_BYTES, 0) < 0) {
        abort();
    }
    w.fd = pair[0];
    if (vhost_user_server_serve(w.server, pair[1], NULL) == 0) {
        converse(&w, data, size);
    }
    (void)close(w.fd);
    if (loop_do(w.loop, end, &w) != 0) {
        abort();
    }
    loop_destroy(w.loop);
    (void)close(w.memfd);
    (void)close(w.event);
    return 0;
}
