/* frames.c - a network interface over a unix socket: one message, one frame.
 *
 * Messages are read and sent many in a call.  What the user does not take stays here,
 * and nothing more is read meanwhile: the socket's buffer fills, and its other end waits
 * or drops. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "host/loop/loop.h"
#include "resource/network/nic/nic.h"
#include "resource/network/nic/private.h"

#define SOCKET_BYTES (1 << 20)

struct frames {
    struct nic nic; /* first */
    struct loop *loop;
    struct loop_watch watch; /* its descriptor is owned */
    struct nic_inbox inbox;
    bool has_end;    /* SOCK_SEQPACKET: an empty message is the end */
    bool is_blocked; /* the socket's buffer is full */
    bool is_gone;    /* the other end has closed */
};

static void choose_events(struct frames *s)
{
    bool reads = s->nic.received != NULL && s->inbox.at == s->inbox.count;

    if (s->watch.loop != NULL) {
        (void)loop_watch_change(&s->watch,
                                (reads ? EPOLLIN : 0u) | (s->is_blocked ? EPOLLOUT : 0u));
    }
}

static void lose(struct frames *s)
{
    s->is_gone = true;
    loop_unwatch(&s->watch);
    if (s->is_blocked) {
        s->is_blocked = false;
        if (s->nic.writable != NULL) {
            s->nic.writable(&s->nic);
        }
    }
}

/* One batch of messages into the empty inbox. */
static void read_batch(struct frames *s)
{
    struct mmsghdr m[NIC_BATCH];
    struct iovec iov[NIC_BATCH];
    int n;

    memset(m, 0, sizeof m);
    for (unsigned i = 0; i < NIC_BATCH; i++) {
        iov[i] = (struct iovec){nic_inbox_slot(&s->inbox, i), s->inbox.frame_bytes};
        m[i].msg_hdr.msg_iov = &iov[i];
        m[i].msg_hdr.msg_iovlen = 1;
    }
    s->inbox.at = 0;
    s->inbox.count = 0;
    n = recvmmsg(s->watch.fd, m, NIC_BATCH, MSG_DONTWAIT, NULL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        lose(s);
    }
    for (int i = 0; i < n; i++) {
        bool is_cut = (m[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;

        if (m[i].msg_len == 0 && s->has_end) {
            lose(s);
            break;
        }
        if (!is_cut && m[i].msg_len > 0) {
            unsigned to = s->inbox.count++;

            if (to != (unsigned)i) {
                memcpy(nic_inbox_slot(&s->inbox, to), iov[i].iov_base, m[i].msg_len);
            }
            s->inbox.bytes[to] = m[i].msg_len;
        }
    }
}

static void on_event(struct loop_watch *w, uint32_t events)
{
    struct frames *s = (struct frames *)((char *)w - offsetof(struct frames, watch));

    if (s->is_blocked && (events & EPOLLOUT) != 0) {
        s->is_blocked = false;
        if (s->nic.writable != NULL) {
            s->nic.writable(&s->nic);
        }
    }
    if ((w->events & EPOLLIN) != 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        read_batch(s);
        (void)nic_inbox_deliver(&s->inbox, &s->nic);
    } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        lose(s);
    }
    choose_events(s);
}

static void frames_more(struct nic *n)
{
    struct frames *s = (struct frames *)n;

    (void)nic_inbox_deliver(&s->inbox, n);
    choose_events(s);
}

/* Send some in one call: how many went; -EAGAIN: there is no room; or that one cannot go. */
static int send_some(struct frames *s, const struct nic_frame *f, unsigned count)
{
    struct mmsghdr m[NIC_BATCH];
    int n;

    memset(m, 0, sizeof m);
    count = count < NIC_BATCH ? count : NIC_BATCH;
    for (unsigned i = 0; i < count; i++) {
        m[i].msg_hdr.msg_iov = (struct iovec *)(uintptr_t)f[i].iov;
        m[i].msg_hdr.msg_iovlen = f[i].pieces;
    }
    n = sendmmsg(s->watch.fd, m, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

static unsigned frames_send(struct nic *n, const struct nic_frame *f, unsigned count)
{
    struct frames *s = (struct frames *)n;
    unsigned done = 0;

    while (done < count && !s->is_gone) {
        int r = send_some(s, f + done, count - done);

        if (r == -EAGAIN) {
            s->is_blocked = true;
            choose_events(s);
            return done;
        }
        if (r == -EPIPE || r == -ECONNRESET || r == -ECONNREFUSED || r == -ENOTCONN) {
            lose(s);
        }
        done += r > 0 ? (unsigned)r : r == -EINTR ? 0 : 1; /* too large, or no memory */
    }
    return count;
}

static void frames_accept(struct nic *n, unsigned offers)
{
    (void)n;
    (void)offers;
}

static void frames_destroy(struct nic *n)
{
    struct frames *s = (struct frames *)n;

    loop_unwatch(&s->watch);
    (void)close(s->watch.fd);
    nic_inbox_fini(&s->inbox);
    free(s);
}

static const struct nic_ops nic_frames_ops = {
    .name = "frames",
    .send = frames_send,
    .more = frames_more,
    .accept = frames_accept,
    .destroy = frames_destroy,
};

/* SOCK_SEQPACKET or SOCK_DGRAM, or -EINVAL. */
static int kind_of(int fd)
{
    int domain = 0;
    int type = 0;
    socklen_t bytes = sizeof type;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) < 0) {
        return -errno;
    }
    return domain == AF_UNIX && (type == SOCK_SEQPACKET || type == SOCK_DGRAM) ? type
                                                                               : -EINVAL;
}

int nic_frames_create(struct loop *l, int take_fd, uint16_t mtu, struct nic **ret,
                      struct err *e)
{
    int kind = kind_of(take_fd);
    struct frames *s;
    int r;

    if (nic_check_mtu(mtu, e) < 0) {
        return -EINVAL;
    }
    if (kind < 0) {
        return err_sys(e, kind, "descriptor %d is no socket of frames", take_fd);
    }
    s = fault_calloc(1, sizeof *s);
    if (s == NULL || !nic_inbox_init(&s->inbox, mtu + (size_t)NIC_ETHER_BYTES)) {
        free(s);
        return err_set(e, -ENOMEM, "cannot use a socket of frames: out of memory");
    }
    s->nic = (struct nic){.ops = &nic_frames_ops, .mtu = mtu};
    s->loop = l;
    /* room for some large frames, as far as the host allows */
    (void)setsockopt(take_fd, SOL_SOCKET, SO_SNDBUF, &(int){SOCKET_BYTES}, sizeof(int));
    s->has_end = kind == SOCK_SEQPACKET;
    s->watch = (struct loop_watch){.fd = take_fd, .fn = on_event};
    r = loop_watch(l, &s->watch);
    if (r != 0) {
        nic_inbox_fini(&s->inbox);
        free(s);
        return err_sys(e, r, "cannot watch descriptor %d", take_fd);
    }
    *ret = &s->nic;
    return 0;
}
