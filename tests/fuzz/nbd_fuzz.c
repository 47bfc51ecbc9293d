/* nbd_fuzz.c - any bytes that a client may send to the NBD server.
 *
 * The first byte chooses how the rest comes in: as it is, behind a handshake that works, or
 * behind one that asks for structured replies and extended heads; and whether the disk lies
 * in memory or in a file. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/nbd/nbd.h"
#include "tests/fuzz/target.h"

#define TURNS      24
#define SIZE_BYTES (1 << 20)

struct world {
    struct loop *loop;
    struct nbd_server *server;
    bool in_file;
};

/* A file takes big payloads from pipes. */
static int make_disk(struct world *w, struct blk **ret_disk)
{
    struct leaf_file_options o = {.label = "scratch"};
    int fd;

    if (!w->in_file) {
        return leaf_memory_create(loop_strands(w->loop), SIZE_BYTES, 512, ret_disk, NULL);
    }
    fd = memfd_create("disk", MFD_CLOEXEC);
    return fd < 0 || ftruncate(fd, SIZE_BYTES) != 0
               ? -1
               : leaf_file_create(w->loop, fd, &o, ret_disk, NULL);
}

static int begin(void *arg)
{
    struct world *w = arg;
    struct nbd_server_options o = {.idle_seconds = 1};
    struct nbd_export x = {.name = "", .resizable = true};

    return make_disk(w, &x.disk) != 0 ||
                   nbd_server_create(w->loop, &o, &w->server, NULL) != 0 ||
                   nbd_server_add(w->server, &x, NULL) != 0
               ? -1
               : 0;
}

static int end(void *arg)
{
    struct world *w = arg;

    nbd_server_destroy(w->server);
    return 0;
}

static const char plain[] = "\0\0\0\3IHAVEOPT\0\0\0\7\0\0\0\6\0\0\0\0\0\0";
static const char wide[] = "\0\0\0\3IHAVEOPT\0\0\0\13\0\0\0\0"
                           "IHAVEOPT\0\0\0\12\0\0\0\31\0\0\0\0\0\0\0\1\0\0\0\17base:"
                           "allocationIHAVEOPT\0\0\0\7\0\0\0\6\0\0\0\0\0\0";

static void drain(int fd)
{
    char room[65536];

    while (recv(fd, room, sizeof room, MSG_DONTWAIT) > 0) {
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {0};
    int pair[2];

    if (size < 1) {
        return 0;
    }
    w.in_file = data[0] % 2 == 1;
    if (loop_create(LOOP_DRIVER_CREW, &w.loop, NULL) != 0 ||
        loop_do(w.loop, begin, &w) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0) {
        abort();
    }
    if (data[0] % 3 == 1) {
        (void)send(pair[0], plain, sizeof plain - 1, MSG_NOSIGNAL);
    } else if (data[0] % 3 == 2) {
        (void)send(pair[0], wide, sizeof wide - 1, MSG_NOSIGNAL);
    }
    (void)send(pair[0], data + 1, size - 1, MSG_NOSIGNAL);
    (void)nbd_server_serve(w.server, pair[1], NULL);
    for (unsigned i = 0; i < TURNS; i++) {
        (void)loop_turn(w.loop, 0);
        drain(pair[0]);
    }
    (void)close(pair[0]);
    if (loop_do(w.loop, end, &w) != 0) {
        abort();
    }
    loop_destroy(w.loop);
    return 0;
}
