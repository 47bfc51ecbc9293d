/* tap.c - a network interface of the host's kernel: what we send comes in there.
 *
 * Each read and write is one frame, behind a header of ten bytes where the tap has one
 * (IFF_VNET_HDR): the kernel then leaves checksums and segmentation to us, as far as
 * TUNSETOFFLOAD allows, and does what we left undone.  A tap never has no room: a frame
 * that its queue cannot take is lost, as on a wire.
 *
 * Source: Linux, Documentation/networking/tuntap.rst. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "host/loop/loop.h"
#include "resource/network/nic/nic.h"
#include "resource/network/nic/private.h"

#define PIECES_MOST 256

_Static_assert(sizeof(struct nic_offload) == 10,
               "the header of taps, and VIRTIO 5.1.6's");

struct tap {
    struct nic nic;          /* first */
    struct loop_watch watch; /* its descriptor is owned */
    struct nic_inbox inbox;
    bool has_header;
};

static void choose_events(struct tap *t)
{
    bool reads = t->nic.received != NULL && t->inbox.at == t->inbox.count;

    (void)loop_watch_change(&t->watch, reads ? EPOLLIN : 0u);
}

static void read_batch(struct tap *t)
{
    struct nic_inbox *b = &t->inbox;

    b->at = 0;
    b->count = 0;
    while (b->count < NIC_BATCH) {
        size_t head = t->has_header ? sizeof b->offload[0] : 0;
        struct iovec iov[2] = {{&b->offload[b->count], head},
                               {nic_inbox_slot(b, b->count), b->frame_bytes}};
        ssize_t n = readv(t->watch.fd, iov, 2);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= (ssize_t)head) {
            return; /* none, or the interface is down */
        }
        b->bytes[b->count++] = (uint32_t)((size_t)n - head);
    }
}

static void on_event(struct loop_watch *w, uint32_t events)
{
    struct tap *t = (struct tap *)((char *)w - offsetof(struct tap, watch));

    if ((events & EPOLLERR) != 0) {
        loop_unwatch(w); /* the interface was deleted */
        return;
    }
    if (t->inbox.at == t->inbox.count) {
        read_batch(t);
    }
    (void)nic_inbox_deliver(&t->inbox, &t->nic);
    choose_events(t);
}

static void tap_more(struct nic *n)
{
    struct tap *t = (struct tap *)n;

    (void)nic_inbox_deliver(&t->inbox, n);
    if (t->watch.loop != NULL) {
        choose_events(t);
    }
}

static unsigned tap_send(struct nic *n, const struct nic_frame *f, unsigned count)
{
    struct tap *t = (struct tap *)n;
    struct iovec iov[PIECES_MOST + 1];

    for (unsigned i = 0; i < count; i++) {
        unsigned k = 0;

        if (t->has_header) {
            iov[k++] =
                (struct iovec){(void *)(uintptr_t)&f[i].offload, sizeof f[i].offload};
        }
        for (unsigned p = 0; p < f[i].pieces && p < PIECES_MOST; p++) {
            iov[k++] = f[i].iov[p];
        }
        (void)!writev(t->watch.fd, iov, (int)k);
    }
    return count;
}

/* `enum nic_offers` in the kernel's words. */
static unsigned tun_offload(unsigned offers)
{
    unsigned f = (offers & NIC_CHECKSUM) != 0 ? TUN_F_CSUM : 0;

    f |= (offers & NIC_TSO4) != 0 ? TUN_F_TSO4 : 0;
    return f | ((offers & NIC_TSO6) != 0 ? TUN_F_TSO6 : 0);
}

static void tap_accept(struct nic *n, unsigned offers)
{
    struct tap *t = (struct tap *)n;

    if (t->has_header) {
        (void)ioctl(t->watch.fd, TUNSETOFFLOAD, tun_offload(offers & n->offers));
    }
}

static void tap_destroy(struct nic *n)
{
    struct tap *t = (struct tap *)n;

    loop_unwatch(&t->watch);
    (void)close(t->watch.fd);
    nic_inbox_fini(&t->inbox);
    free(t);
}

static const struct nic_ops nic_tap_ops = {
    .name = "tap",
    .send = tap_send,
    .more = tap_more,
    .accept = tap_accept,
    .destroy = tap_destroy,
};

/* What kind of tap it is, and that none of its calls blocks. */
static int prepare(struct tap *t)
{
    const unsigned all = NIC_CHECKSUM | NIC_TSO4 | NIC_TSO6;
    struct ifreq req = {0};
    int bytes = (int)sizeof(struct nic_offload);
    int fd = t->watch.fd;
    int flags;

    if (ioctl(fd, TUNGETIFF, &req) < 0) {
        return errno == ENOTTY ? -EINVAL : -errno;
    }
    if ((req.ifr_flags & (IFF_TAP | IFF_NO_PI)) != (IFF_TAP | IFF_NO_PI)) {
        return -EINVAL;
    }
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return -errno;
    }
    t->has_header = (req.ifr_flags & IFF_VNET_HDR) != 0;
    if (!t->has_header) {
        return 0;
    }
    if (ioctl(fd, TUNSETVNETHDRSZ, &bytes) < 0) {
        return -errno;
    }
    t->nic.offers = ioctl(fd, TUNSETOFFLOAD, tun_offload(all)) == 0 ? all : 0;
    return ioctl(fd, TUNSETOFFLOAD, 0) < 0 ? -errno : 0;
}

int nic_tap_create(struct loop *l, int take_fd, uint16_t mtu, struct nic **ret,
                   struct err *e)
{
    struct tap *t;
    size_t bytes;
    int r;

    if (nic_check_mtu(mtu, e) < 0) {
        return -EINVAL;
    }
    t = fault_calloc(1, sizeof *t);
    if (t == NULL) {
        return err_set(e, -ENOMEM, "cannot use a tap: out of memory");
    }
    t->nic = (struct nic){.ops = &nic_tap_ops, .mtu = mtu};
    t->watch = (struct loop_watch){.fd = take_fd, .fn = on_event};
    r = prepare(t);
    bytes = t->nic.offers != 0 ? (size_t)NIC_LARGE_BYTES : mtu + (size_t)NIC_ETHER_BYTES;
    r = r == 0 && !nic_inbox_init(&t->inbox, bytes) ? -ENOMEM : r;
    r = r == 0 ? loop_watch(l, &t->watch) : r;
    if (r != 0) {
        nic_inbox_fini(&t->inbox);
        free(t);
        return err_sys(e, r, "descriptor %d is no tap that can be used", take_fd);
    }
    *ret = &t->nic;
    return 0;
}
