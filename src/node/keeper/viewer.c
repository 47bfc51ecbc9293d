/* viewer.c - those who are connected to the control socket.
 *
 * Output waits for its readers: while a viewer's socket is full nothing more is
 * read from the guest, so that a slow pipe behind `strata run` loses nothing.
 * A viewer that only looks on (not the owner) and stays stuck for
 * STUCK_MOST_MS is let go instead, so that it cannot hold the guest up. */
#include "node/keeper/private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fault.h"

#define STUCK_MOST_MS 5000

static void drop(struct keeper *k, struct keeper_viewer *v)
{
    (void)close(v->fd);
    v->fd = -1;
    if (v == &k->viewers[0]) {
        k->c.owner = false;
    }
}

static void set_nonblocking(int fd)
{
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

void keeper_viewers_init(struct keeper *k)
{
    for (int i = 0; i < KEEPER_VIEWERS_MAX; i++) {
        struct keeper_viewer *v = &k->viewers[i];

        v->fd = (uint64_t)i < k->c.n_viewers ? k->c.viewers[i] : -1;
        v->wants_output = v->fd >= 0;
        if (v->fd >= 0) {
            set_nonblocking(v->fd);
        }
    }
}

void keeper_viewer_accept(struct keeper *k)
{
    int fd = accept4(k->c.control, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        return;
    }
    (void)fault_step("keeper.viewer.accepted");
    /* Place 0 is the owner's: it is not given to somebody else. */
    for (int i = 1; i < KEEPER_VIEWERS_MAX; i++) {
        struct keeper_viewer *v = &k->viewers[i];

        if (v->fd < 0) {
            *v = (struct keeper_viewer){.fd = fd, .is_new = true};
            return;
        }
    }
    (void)close(fd);
}

static uint32_t read_u32(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void first_packet(struct keeper *k, struct keeper_viewer *v,
                         const unsigned char *packet, size_t len)
{
    v->is_new = false;
    switch (packet[0]) {
    case KEEPER_ATTACH:
        v->wants_output = true;
        return;
    case KEEPER_WAIT:
        return;
    case KEEPER_STOP:
        if (len == 9) {
            keeper_stop(k, (int)read_u32(packet + 1), read_u32(packet + 5));
            return;
        }
        break;
    default:
        break;
    }
    drop(k, v);
}

static void later_packet(struct keeper *k, struct keeper_viewer *v,
                         const unsigned char *packet, size_t len)
{
    struct winsize size = {0};

    switch (packet[0]) {
    case KEEPER_ATTACH: /* said before a restart, read after it */
    case KEEPER_WAIT:
        v->wants_output = packet[0] == KEEPER_ATTACH;
        return;
    case KEEPER_INPUT:
        keeper_input_take(k, (const char *)packet + 1, len - 1);
        return;
    case KEEPER_EOF:
        keeper_input_end(k);
        return;
    case KEEPER_RESIZE:
        if (len == 5 && k->c.master >= 0) {
            size.ws_row = (unsigned short)(packet[1] | packet[2] << 8);
            size.ws_col = (unsigned short)(packet[3] | packet[4] << 8);
            (void)ioctl(k->c.master, TIOCSWINSZ, &size);
        }
        return;
    case KEEPER_STOP:
        if (len == 9) {
            keeper_stop(k, (int)read_u32(packet + 1), read_u32(packet + 5));
        }
        return;
    default:
        drop(k, v);
    }
}

void keeper_viewer_read(struct keeper *k, struct keeper_viewer *v)
{
    unsigned char packet[KEEPER_PACKET_BYTES + 1];
    ssize_t n = recv(v->fd, packet, sizeof packet, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        drop(k, v);
    } else if (v->is_new) {
        (void)fault_step("keeper.viewer.asked");
        first_packet(k, v, packet, (size_t)n);
    } else {
        later_packet(k, v, packet, (size_t)n);
    }
}

static bool send_packet(struct keeper_viewer *v, char type, const void *bytes, size_t len)
{
    struct iovec parts[2] = {
        {.iov_base = &type, .iov_len = 1},
        {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len},
    };
    struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};

    return sendmsg(v->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

/* The caller read no more than one packet since `keeper_viewers_stuck` was
 * false, so a packet that does not fit now is sent with patience here. */
static void send_patiently(struct keeper *k, struct keeper_viewer *v, char type,
                           const void *bytes, size_t len)
{
    bool is_owner = v == &k->viewers[0] && k->c.owner;
    int64_t until = keeper_now_ms() + STUCK_MOST_MS;

    while (!send_packet(v, type, bytes, len)) {
        struct pollfd p = {.fd = v->fd, .events = POLLOUT};

        if ((errno != EAGAIN && errno != EINTR) ||
            (!is_owner && keeper_now_ms() > until)) {
            drop(k, v);
            return;
        }
        (void)poll(&p, 1, is_owner ? 1000 : 100);
        if ((p.revents & (POLLHUP | POLLERR)) != 0) {
            drop(k, v);
            return;
        }
    }
}

void keeper_viewers_send(struct keeper *k, char type, const char *bytes, size_t len)
{
    for (int i = 0; i < KEEPER_VIEWERS_MAX; i++) {
        struct keeper_viewer *v = &k->viewers[i];

        if (v->fd >= 0 && v->wants_output) {
            send_patiently(k, v, type, bytes, len);
        }
    }
}

bool keeper_viewers_stuck(struct keeper *k)
{
    bool stuck = false;

    for (int i = 0; i < KEEPER_VIEWERS_MAX; i++) {
        struct keeper_viewer *v = &k->viewers[i];
        struct pollfd p = {.fd = v->fd, .events = POLLOUT};

        v->is_stuck = v->fd >= 0 && v->wants_output && poll(&p, 1, 0) == 0;
        v->stuck_since_ms = !v->is_stuck             ? 0
                            : v->stuck_since_ms != 0 ? v->stuck_since_ms
                                                     : keeper_now_ms();
        if (v->is_stuck && !(v == &k->viewers[0] && k->c.owner) &&
            keeper_now_ms() - v->stuck_since_ms > STUCK_MOST_MS) {
            drop(k, v);
            v->is_stuck = false;
        }
        stuck = stuck || v->is_stuck;
    }
    return stuck;
}

void keeper_viewers_finish(struct keeper *k)
{
    uint32_t code = (uint32_t)k->exit_code;
    unsigned char bytes[4] = {code & 255, code >> 8 & 255, code >> 16 & 255, code >> 24};

    for (int i = 0; i < KEEPER_VIEWERS_MAX; i++) {
        struct keeper_viewer *v = &k->viewers[i];

        if (v->fd >= 0 && !v->is_new) {
            send_patiently(k, v, KEEPER_EXIT, bytes, sizeof bytes);
        }
    }
}
