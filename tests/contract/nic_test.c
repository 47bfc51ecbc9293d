/* nic_test.c - every network interface through the promises of contract/nic.h.
 *
 * A tap is made in a network namespace of this process; where that is not allowed it is
 * skipped. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "host/loop/loop.h"
#include "resource/network/nic/nic.h"
#include "tests/contract/nic_suite.h"

#define must(x) must_be((x), __LINE__, #x)

static void must_be(bool so, int line, const char *what)
{
    if (!so) {
        fprintf(stderr, "nic_test.c:%d: %s\n", line, what);
        exit(1);
    }
}

/* ---- a socket of frames ---- */

static int make_frames(struct nic_world *w, int kind)
{
    int pair[2];

    must(socketpair(AF_UNIX, kind | SOCK_CLOEXEC, 0, pair) == 0);
    must(nic_frames_create(w->loop, pair[0], NIC_SUITE_MTU, &w->nic, NULL) == 0);
    w->fd = pair[1];
    return 0;
}

static int make_packets(struct nic_world *w)
{
    return make_frames(w, SOCK_SEQPACKET);
}

static int make_datagrams(struct nic_world *w)
{
    return make_frames(w, SOCK_DGRAM);
}

static int fd_send(struct nic_world *w, const uint8_t *frame, size_t bytes)
{
    return send(w->fd, frame, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)bytes
               ? 0
               : -EAGAIN;
}

static ssize_t fd_receive(struct nic_world *w, uint8_t *frame, size_t room)
{
    ssize_t n = recv(w->fd, frame, room, MSG_DONTWAIT);

    return n < 0 ? -EAGAIN : n;
}

static void fd_close(struct nic_world *w)
{
    if (w->fd >= 0) {
        (void)close(w->fd);
        w->fd = -1;
    }
}

/* ---- two in memory ---- */

/* What came to the other end, one frame at a time. */
struct held {
    uint8_t bytes[2000];
    uint32_t count;
};

static unsigned hold(struct nic *n, const struct nic_frame *f, unsigned count)
{
    struct held *h = n->who;

    if (h->count > 0 || count == 0) {
        return 0;
    }
    memcpy(h->bytes, f[0].iov[0].iov_base, f[0].bytes);
    h->count = f[0].bytes;
    return 1;
}

static int make_pair(struct nic_world *w)
{
    struct nic *two[2];

    must(nic_pair_create(w->loop, NIC_SUITE_MTU, 0, two, NULL) == 0);
    w->nic = two[0];
    w->other = two[1];
    w->other->who = calloc(1, sizeof(struct held));
    w->other->received = hold;
    return 0;
}

static int pair_send(struct nic_world *w, const uint8_t *frame, size_t bytes)
{
    struct iovec iov = {(void *)(uintptr_t)frame, bytes};
    struct nic_frame f = {.iov = &iov, .pieces = 1, .bytes = (uint32_t)bytes};

    return w->other->ops->send(w->other, &f, 1) == 1 ? 0 : -EAGAIN;
}

static ssize_t pair_receive(struct nic_world *w, uint8_t *frame, size_t room)
{
    struct held *h = w->other->who;
    uint32_t n;

    if (h->count == 0) {
        w->other->ops->more(w->other);
        must(loop_turn(w->loop, 0) == 0);
    }
    n = h->count;
    must(n <= room);
    memcpy(frame, h->bytes, n);
    h->count = 0;
    return n > 0 ? (ssize_t)n : -EAGAIN;
}

static void pair_close(struct nic_world *w)
{
    if (w->other != NULL) {
        free(w->other->who);
        w->other->ops->destroy(w->other);
        w->other = NULL;
    }
}

/* The first of two in memory, with addresses by DHCP in front. */
static int make_lease(struct nic_world *w)
{
    const struct nic_lease is = {.mac = {2, 0, 0, 0, 0, 1}, .prefix = 24};

    must(make_pair(w) == 0);
    must(nic_lease_create(w->loop, w->nic, &is, &w->nic, NULL) == 0);
    return 0;
}

/* ---- an interface of the kernel ---- */

static bool may_make_taps;

/* A tap and a socket on its interface, in the namespace of this process. */
static int make_tap_with(struct nic_world *w, short flags)
{
    struct ifreq req = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | flags)};
    struct sockaddr_ll at = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(NIC_SUITE_TYPE)};
    int room = 4 << 20;
    int fd = may_make_taps ? open("/dev/net/tun", O_RDWR | O_CLOEXEC) : -1;

    (void)strcpy(req.ifr_name, "suite%d");
    if (fd < 0 || ioctl(fd, TUNSETIFF, &req) < 0) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return -EPERM;
    }
    must(nic_tap_create(w->loop, fd, NIC_SUITE_MTU, &w->nic, NULL) == 0);
    w->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(NIC_SUITE_TYPE));
    must(w->fd >= 0 && ioctl(w->fd, SIOCGIFINDEX, &req) == 0);
    at.sll_ifindex = req.ifr_ifindex;
    must(setsockopt(w->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) == 0);
    must(ioctl(w->fd, SIOCGIFFLAGS, &req) == 0);
    req.ifr_flags |= IFF_UP;
    must(ioctl(w->fd, SIOCSIFFLAGS, &req) == 0);
    must(bind(w->fd, (struct sockaddr *)&at, sizeof at) == 0);
    return 0;
}

static int make_tap(struct nic_world *w)
{
    return make_tap_with(w, IFF_VNET_HDR);
}

static int make_plain_tap(struct nic_world *w)
{
    return make_tap_with(w, 0);
}

static const struct suite_nic nics[] = {
    {"pair", false, make_pair, pair_send, pair_receive, pair_close},
    {"lease", false, make_lease, pair_send, pair_receive, pair_close},
    {"frames, packets", false, make_packets, fd_send, fd_receive, fd_close},
    {"frames, datagrams", false, make_datagrams, fd_send, fd_receive, fd_close},
    {"tap", true, make_tap, fd_send, fd_receive, fd_close},
    {"tap without header", true, make_plain_tap, fd_send, fd_receive, fd_close},
};

/* ---- what is refused ---- */

static void wrong_descriptors_are_refused(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int stream[2];
    int packet[2];
    struct loop *l;
    struct nic *n = NULL;
    struct nic *two[2];
    struct err e = {0};

    must(loop_create(LOOP_DRIVER_AUTO, &l, NULL) == 0);
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0);
    must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packet) == 0);
    must(nic_frames_create(l, null, 1500, &n, &e) == -ENOTSOCK);
    must(nic_frames_create(l, stream[0], 1500, &n, NULL) == -EINVAL);
    must(nic_frames_create(l, -1, 1500, &n, NULL) == -EBADF);
    must(nic_frames_create(l, packet[0], 67, &n, NULL) == -EINVAL);
    must(nic_frames_create(l, packet[0], 65521, &n, NULL) == -EINVAL);
    must(nic_tap_create(l, null, 1500, &n, NULL) < 0);
    must(nic_tap_create(l, -1, 1500, &n, NULL) == -EBADF);
    must(nic_tap_create(l, null, 0, &n, NULL) == -EINVAL);
    must(nic_pair_create(l, 0, 0, two, NULL) == -EINVAL);
    must(n == NULL);
    for (long at = 0; at < 8; at++) { /* memory runs out at each place */
        int r;

        fault_fail_alloc_at(at);
        r = nic_pair_create(l, 1500, 0, two, NULL);
        fault_fail_alloc_at(-1);
        must(r == 0 || r == -ENOMEM);
        if (r == 0) {
            two[0]->ops->destroy(two[0]);
            two[1]->ops->destroy(two[1]);
        }
        fault_fail_alloc_at(at);
        r = nic_frames_create(l, packet[0], 1500, &n, NULL);
        fault_fail_alloc_at(-1);
        must(r == 0 || r == -ENOMEM);
        if (r == 0) {
            n->ops->destroy(n);
            break;
        }
    }
    (void)close(packet[1]);
    (void)close(stream[0]);
    (void)close(stream[1]);
    (void)close(null);
    loop_destroy(l);
}

static void enter_namespace(void)
{
    int fd;

    if (unshare(CLONE_NEWNET) != 0) {
        return;
    }
    may_make_taps = true;
    fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) { /* no frames of the kernel's own */
        (void)!write(fd, "1", 1);
        (void)close(fd);
    }
}

int main(void)
{
    enter_namespace();
    wrong_descriptors_are_refused();
    return nic_suite_main(nics, sizeof nics / sizeof nics[0]);
}
