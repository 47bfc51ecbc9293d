/* control_fuzz.c - any messages that somebody may send to a worker.
 *
 * Messages end with the byte ff.  The first byte of each says how many descriptors go with
 * it: files in memory, then a listening socket. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/loop/loop.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/tool/worker.h"
#include "tests/fuzz/target.h"

#define TURNS     40
#define FDS       4
#define FILE_SIZE (256 * 1024)
#define MESSAGES  24

struct world {
    struct loop *loop;
    struct graph *graph;
    struct worker *worker;
    int fds[FDS];
};

static int begin(void *arg)
{
    struct world *w = arg;
    struct blk *top;

    if (graph_create(w->loop, &w->graph, NULL) != 0 ||
        graph_add(w->graph, "d,memory,size=256k", NULL) != 0 ||
        graph_add(w->graph, "t,throttle,file=d,iops=100000", NULL) != 0) {
        return -1;
    }
    top = graph_top(w->graph, NULL);
    return serve_create(w->loop, w->graph, top, &w->worker, NULL);
}

static int end(void *arg)
{
    struct world *w = arg;

    (void)serve_destroy(w->worker);
    graph_destroy(w->graph);
    return 0;
}

static void make_fds(struct world *w)
{
    struct sockaddr a = {.sa_family = AF_UNIX}; /* the kernel chooses a name */

    for (unsigned i = 0; i + 1 < FDS; i++) {
        w->fds[i] = memfd_create("fuzz", MFD_CLOEXEC);
        if (w->fds[i] < 0 || ftruncate(w->fds[i], FILE_SIZE) != 0) {
            abort();
        }
    }
    w->fds[FDS - 1] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(w->fds[FDS - 1], &a, sizeof a.sa_family) != 0 ||
        listen(w->fds[FDS - 1], 4) != 0) {
        abort();
    }
}

static void send_one(struct world *w, int to, const uint8_t *data, size_t size)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(FDS * sizeof(int))] = {0};
    struct iovec piece = {(void *)(uintptr_t)(data + 1), size - 1};
    struct msghdr head = {.msg_iov = &piece, .msg_iovlen = 1};
    size_t count = data[0] % (FDS + 1);

    if (count > 0) {
        struct cmsghdr *c;

        head.msg_control = control;
        head.msg_controllen = CMSG_SPACE(count * sizeof(int));
        c = CMSG_FIRSTHDR(&head);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), w->fds + FDS - count, count * sizeof(int));
    }
    (void)sendmsg(to, &head, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void turn(struct world *w, int fd)
{
    char room[65536];

    for (unsigned i = 0; i < TURNS; i++) {
        (void)loop_turn(w->loop, 0);
        while (recv(fd, room, sizeof room, MSG_DONTWAIT) > 0) {
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {0};
    int pair[2];

    if (loop_create(LOOP_DRIVER_CREW, &w.loop, NULL) != 0 ||
        loop_do(w.loop, begin, &w) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) !=
            0 ||
        serve_talk(w.worker, pair[1], NULL) != 0) {
        abort();
    }
    make_fds(&w);
    for (unsigned i = 0; i < MESSAGES && size > 0; i++) {
        const uint8_t *stop = memchr(data, 0xff, size);
        size_t n = stop != NULL ? (size_t)(stop - data) : size;

        if (n > 1) {
            send_one(&w, pair[0], data, n);
            turn(&w, pair[0]);
        }
        n += stop != NULL ? 1 : 0;
        data += n;
        size -= n;
    }
    (void)close(pair[0]);
    turn(&w, -1);
    if (loop_do(w.loop, end, &w) != 0) {
        abort();
    }
    loop_destroy(w.loop);
    for (unsigned i = 0; i < FDS; i++) {
        (void)close(w.fds[i]);
    }
    return 0;
}
