/* fuse_fuzz.c - any bytes as if they came from the kernel.
 *
 * The input is a list of packets, each with its length in two bytes before it.  The first byte of
 * all chooses whether the kernel's INIT, which all others wait for, is put in front. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/fuse.h>

#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/fuse/fuse.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/fuzz/target.h"

#define TURNS        8
#define PACKETS_MOST 64

struct world {
    struct loop *loop;
    struct fuse_server *server;
    int fd;
    bool resizable;
};

static int begin(void *arg)
{
    struct world *w = arg;
    struct fuse_options o = {.resizable = w->resizable};

    return leaf_memory_create(loop_strands(w->loop), 1 << 20, 512, &o.disk, NULL) != 0 ||
                   fuse_server_create(w->loop, w->fd, &o, &w->server, NULL) != 0
               ? -1
               : 0;
}

static int end(void *arg)
{
    struct world *w = arg;

    fuse_server_destroy(w->server);
    return 0;
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

static void init(int fd)
{
    struct {
        struct fuse_in_header head;
        struct fuse_init_in in;
    } p = {.head = {.len = sizeof p, .opcode = FUSE_INIT, .unique = 2},
           .in = {.major = 7, .minor = 38, .flags = FUSE_MAX_PAGES}};

    (void)send(fd, &p, sizeof p, MSG_NOSIGNAL);
}

/* Most mutations would change the length of the packet only: it is made right, but for odd
 * first bytes. */
static void tell(int fd, const uint8_t *data, size_t n, bool honest)
{
    char packet[65536 + 4];
    uint32_t length = (uint32_t)n;

    memcpy(packet, data, n);
    if (honest && n >= sizeof length) {
        memcpy(packet, &length, sizeof length);
    }
    (void)send(fd, packet, n, MSG_NOSIGNAL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {0};
    size_t at = 1;
    int pair[2];

    if (size < 1) {
        return 0;
    }
    if (loop_create(LOOP_DRIVER_CREW, &w.loop, NULL) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) != 0) {
        abort();
    }
    w.fd = pair[1];
    w.resizable = (data[0] & 2) != 0;
    if (loop_do(w.loop, begin, &w) != 0) {
        abort();
    }
    if ((data[0] & 1) == 0) {
        init(pair[0]);
    }
    for (unsigned i = 0; i < PACKETS_MOST && at + 2 <= size; i++) {
        size_t n = (size_t)data[at] | (size_t)data[at + 1] << 8;

        at += 2;
        n = n < size - at ? n : size - at;
        tell(pair[0], data + at, n, (data[0] & 4) == 0);
        at += n;
        if (i % 8 == 7) {
            turn(&w, pair[0]);
        }
    }
    turn(&w, pair[0]);
    (void)close(pair[0]);
    if (loop_do(w.loop, end, &w) != 0) {
        abort();
    }
    loop_destroy(w.loop);
    return 0;
}
