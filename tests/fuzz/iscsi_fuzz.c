/* iscsi_fuzz.c - any bytes into a connection: answers or an end, within bounded memory.
 *
 * The first byte chooses where they begin: at the first login, or behind a login that
 * went well (with header and data digests, or discovery), where most of them matter. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/iscsi/iscsi.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/fuzz/target.h"

#define DISK_BYTES (256 * 1024)
#define TURNS_MOST 2000
#define HEAD       48

struct world {
    struct loop *loop;
    struct iscsi_server *server;
    int fd;
    const uint8_t *data;
    size_t size;
};

static int store(void *arg, const void *bytes, size_t count)
{
    (void)arg;
    (void)bytes;
    return count > 0 ? 0 : -EINVAL;
}

static void send_all(struct world *w, const void *data, size_t bytes)
{
    char drain[4096];

    while (bytes > 0) {
        ssize_t n = send(w->fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n > 0) {
            data = (const char *)data + n;
            bytes -= (size_t)n;
        } else if (errno != EAGAIN || loop_turn(w->loop, 0) != 0) {
            return;
        }
        while (recv(w->fd, drain, sizeof drain, MSG_DONTWAIT) > 0) {
        }
        if (iscsi_server_counts(w->server).sessions == 0) {
            return;
        }
    }
}

/* A login in one request, straight to the full feature phase. */
static void log_in(struct world *w, unsigned how)
{
    static const char normal[] =
        "InitiatorName=iqn.t:i\0TargetName=iqn.t:a\0InitialR2T=No";
    static const char digests[] = "InitiatorName=iqn.t:i\0TargetName=iqn.t:a\0"
                                  "HeaderDigest=CRC32C\0DataDigest=CRC32C";
    static const char discovery[] = "InitiatorName=iqn.t:i\0SessionType=Discovery";
    const char *texts[] = {normal, digests, discovery};
    const size_t bytes[] = {sizeof normal, sizeof digests, sizeof discovery};
    uint8_t pdu[HEAD + 128] = {0x43, 0x87};

    how %= 3;
    pdu[7] = (uint8_t)bytes[how];
    pdu[8] = 0x40;
    memcpy(pdu + HEAD, texts[how], bytes[how]);
    send_all(w, pdu, HEAD + ((bytes[how] + 3) & ~(size_t)3));
    for (unsigned i = 0; i < 4; i++) {
        (void)loop_turn(w->loop, 0);
    }
}

static int begin(void *arg)
{
    struct world *w = arg;
    struct iscsi_server_options o = {0};
    struct iscsi_target_options plain = {.name = "iqn.t:a"};
    struct iscsi_target_options secret = {.name = "iqn.t:b",
                                          .chap = {"user", "a secret", "own", "another"}};
    struct iscsi_unit_options u = {.keep = {store, NULL}};

    assert(iscsi_server_create(w->loop, &o, &w->server, NULL) == 0);
    assert(iscsi_server_add_target(w->server, &plain, NULL) == 0);
    assert(iscsi_server_add_target(w->server, &secret, NULL) == 0);
    assert(leaf_memory_create(loop_strands(w->loop), DISK_BYTES, 512, &u.disk, NULL) ==
           0);
    assert(iscsi_server_add_unit(w->server, "iqn.t:a", &u, NULL) == 0);
    return 0;
}

static int end(void *arg)
{
    iscsi_server_destroy(((struct world *)arg)->server);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {.data = data, .size = size};
    int pair[2];
    char drain[4096];

    if (size < 1 || size > 65536) {
        return 0;
    }
    assert(loop_create(LOOP_DRIVER_CREW, &w.loop, NULL) == 0);
    assert(loop_do(w.loop, begin, &w) == 0);
    assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    w.fd = pair[0];
    assert(iscsi_server_serve(w.server, pair[1], NULL) == 0);
    if (data[0] % 4 != 0) {
        log_in(&w, data[0] % 4 - 1u);
    }
    send_all(&w, data + 1, size - 1);
    (void)shutdown(w.fd, SHUT_WR);
    for (unsigned i = 0; iscsi_server_counts(w.server).sessions > 0; i++) {
        assert(i < TURNS_MOST); /* a connection whose end has come goes */
        (void)loop_turn(w.loop, 1);
        while (recv(w.fd, drain, sizeof drain, 0) > 0) {
        }
    }
    (void)close(w.fd);
    assert(loop_do(w.loop, end, &w) == 0);
    loop_destroy(w.loop);
    return 0;
}
