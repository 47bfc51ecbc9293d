/* libslirp between the guest's frames and this process's own sockets: one thread,
 * one poll loop, a list of timers. */
#include "resource/network/usernet/usernet.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include <libslirp.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "resource/network/usernet/gate.h"

#define CONFIG_VERSION 4
#define FRAME_BYTES    (USERNET_MTU + 64)
#define FRAMES_AT_ONCE 64 /* before the sockets get their turn */
#define SOCKET_WAIT_MS 10
#define SOCKET_BYTES   (1 << 20) /* as many of them as the host allows */
#define OUR_FDS        2         /* the guest and the holder come first */

struct timer {
    struct timer *next;
    struct usernet_stack *stack;
    SlirpTimerId id;
    void *arg;
    int64_t due_ms; /* -1: not set */
};

struct usernet_stack {
    Slirp *slirp;
    int fd; /* borrowed */
    struct timer *timers;
    struct pollfd *polls; /* owned */
    size_t n_polls;
    size_t cap_polls;
    struct gate gate;
    bool is_socket; /* `fd` carries a frame in each message, and may end */
    bool is_over;   /* its other end has closed */
    int broken;     /* -errno of the guest's descriptor, or of an allocation */
};

static int64_t clock_ns(void *opaque)
{
    struct timespec t;
    (void)opaque;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* A socket holds but a few large frames: what finds it full waits a moment for a machine
 * that reads, and no longer than that for one that does not. */
static ssize_t write_frame(const struct usernet_stack *s, const void *buf, size_t len)
{
    ssize_t n = write(s->fd, buf, len);
    if (n < 0 && errno == EAGAIN && s->is_socket) {
        struct pollfd p = {.fd = s->fd, .events = POLLOUT};
        (void)poll(&p, 1, SOCKET_WAIT_MS);
        n = write(s->fd, buf, len);
    }
    return n;
}

/* A full queue drops the frame: TCP sends it again, UDP is like that. */
static ssize_t send_frame(const void *buf, size_t len, void *opaque)
{
    struct usernet_stack *s = opaque;
    uint8_t copy[FRAME_BYTES];
    if (len <= sizeof copy && gate_is_from_loopback6(buf, len)) {
        memcpy(copy, buf, len);
        gate_hide_loopback6(copy);
        buf = copy;
    }
    gate_note(&s->gate, buf, len);
    ssize_t n = write_frame(s, buf, len);
    if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == EINTR)) {
        return (ssize_t)len;
    }
    return n;
}

static void ignore_guest_error(const char *text, void *opaque)
{
    (void)text;
    (void)opaque;
}

static void *new_timer(SlirpTimerId id, void *arg, void *opaque)
{
    struct usernet_stack *s = opaque;
    struct timer *t = calloc(1, sizeof *t);
    if (t == NULL) {
        s->broken = -ENOMEM;
        return NULL;
    }
    *t =
        (struct timer){.next = s->timers, .stack = s, .id = id, .arg = arg, .due_ms = -1};
    s->timers = t;
    return t;
}

static void free_timer(void *timer, void *opaque)
{
    struct usernet_stack *s = opaque;
    for (struct timer **at = &s->timers; *at != NULL; at = &(*at)->next) {
        if (*at == timer) {
            *at = (*at)->next;
            break;
        }
    }
    free(timer);
}

static void set_timer(void *timer, int64_t due_ms, void *opaque)
{
    (void)opaque;
    if (timer != NULL) {
        ((struct timer *)timer)->due_ms = due_ms;
    }
}

static void ignore_fd(int fd, void *opaque)
{
    (void)fd;
    (void)opaque;
}

static void ignore(void *opaque)
{
    (void)opaque;
}

static const SlirpCb callbacks = {
    .send_packet = send_frame,
    .guest_error = ignore_guest_error,
    .clock_get_ns = clock_ns,
    .timer_new_opaque = new_timer,
    .timer_free = free_timer,
    .timer_mod = set_timer,
    .register_poll_fd = ignore_fd,
    .unregister_poll_fd = ignore_fd,
    .notify = ignore,
};

static struct in_addr ip4(const char *text)
{
    struct network_ip ip = {0};
    struct in_addr a;
    (void)network_ip_parse(text, &ip);
    memcpy(&a, ip.bytes, sizeof a);
    return a;
}

static struct in6_addr ip6(const char *text)
{
    struct network_ip ip = {0};
    struct in6_addr a;
    (void)network_ip_parse(text, &ip);
    memcpy(&a, ip.bytes, sizeof a);
    return a;
}

/* The host's loopback is open here, for answers to its clients; the gate lets
 * nothing else through. */
static Slirp *open_slirp(struct usernet_stack *s, bool no_ipv6)
{
    SlirpConfig c = {.version = CONFIG_VERSION,
                     .in_enabled = true,
                     .vnetwork = ip4("10.0.2.0"),
                     .vnetmask = ip4("255.255.255.0"),
                     .vhost = ip4(USERNET_GATEWAY4),
                     .vdhcp_start = ip4(USERNET_GUEST4),
                     .vnameserver = ip4(USERNET_DNS4),
                     .in6_enabled = !no_ipv6,
                     .vprefix_addr6 = ip6("fd00::"),
                     .vprefix_len = 64,
                     .vhost6 = ip6(USERNET_GATEWAY6),
                     .vnameserver6 = ip6(USERNET_DNS6),
                     .if_mtu = USERNET_MTU,
                     .if_mru = USERNET_MTU,
                     .disable_dhcp = !s->is_socket};
    return slirp_new(&c, &callbacks, s);
}

/* A socket address of either family. */
union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

static socklen_t fill_address(union address *a, const struct network_ip *ip,
                              uint8_t version, unsigned port)
{
    memset(a, 0, sizeof *a);
    if (version == 4) {
        a->four.sin_family = AF_INET;
        a->four.sin_port = htons((uint16_t)port);
        memcpy(&a->four.sin_addr, ip->bytes, 4);
        return sizeof a->four;
    }
    a->six.sin6_family = AF_INET6;
    a->six.sin6_port = htons((uint16_t)port);
    memcpy(&a->six.sin6_addr, ip->bytes, 16);
    return sizeof a->six;
}

static int forward_one(struct usernet_stack *s, const struct network_publish *p,
                       uint8_t version, unsigned i, struct err *e)
{
    union address host;
    union address guest;
    struct network_ip inner = {0};
    (void)network_ip_parse(version == 4 ? USERNET_GUEST4 : USERNET_GUEST6, &inner);
    socklen_t len = fill_address(&host, &p->host, version, p->host_port + i);
    (void)fill_address(&guest, &inner, version, p->guest_port + i);
    int flags =
        (p->udp ? SLIRP_HOSTFWD_UDP : 0) | (version == 6 ? SLIRP_HOSTFWD_V6ONLY : 0);
    if (slirp_add_hostxfwd(s->slirp, &host.any, len, &guest.any, len, flags) == 0) {
        return 0;
    }
    int r = errno == 0 ? -EIO : -errno;
    if (r == -EADDRINUSE) {
        char holder[ERR_TEXT_BYTES / 2];
        network_port_holder(p->udp, p->host_port + i, holder, sizeof holder);
        return err_set(e, r, "cannot publish port %u/%s: %s has it", p->host_port + i,
                       p->udp ? "udp" : "tcp", holder);
    }
    return err_sys(e, r, "cannot publish port %u/%s", p->host_port + i,
                   p->udp ? "udp" : "tcp");
}

static bool lacks_family(int r)
{
    return r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL;
}

static int forward(struct usernet_stack *s, const struct network_publish *p, bool no_ipv6,
                   struct err *e)
{
    unsigned count = p->count == 0 ? 1 : p->count;
    for (unsigned i = 0; i < count; i++) {
        int r = p->host.version == 6 ? 0 : forward_one(s, p, 4, i, e);
        if (r == 0 && p->host.version != 4 && !no_ipv6) {
            struct err six = {0};
            r = forward_one(s, p, 6, i, &six);
            if (r < 0 && (p->host.version == 6 || !lacks_family(r))) {
                return err_set(e, r, "%s", six.text);
            }
            r = 0;
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

int usernet_use_socket(int fd, struct err *e)
{
    int type = 0;
    socklen_t bytes = sizeof type;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) < 0) {
        return err_sys(e, -errno, "descriptor %d is no socket of frames", fd);
    }
    if (type != SOCK_SEQPACKET && type != SOCK_DGRAM) {
        return err_set(e, -EINVAL, "descriptor %d is no socket of frames", fd);
    }
    bytes = SOCKET_BYTES;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0
               ? err_sys(e, -errno, "cannot use descriptor %d", fd)
               : 0;
}

int usernet_stack_create(int fd, const struct usernet_options *o,
                         struct usernet_stack **ret, struct err *e)
{
    struct usernet_stack *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return err_set(e, -ENOMEM, "cannot start the user-mode network: no memory");
    }
    s->fd = fd;
    s->is_socket = o->frames >= 0;
    s->gate.lets_dhcp = s->is_socket;
    s->slirp = open_slirp(s, o->no_ipv6);
    int r = s->slirp == NULL ? err_set(e, -EIO, "cannot start the user-mode network") : 0;
    for (size_t i = 0; i < o->n_publishes && r == 0; i++) {
        r = forward(s, &o->publishes[i], o->no_ipv6, e);
    }
    if (r < 0) {
        usernet_stack_destroy(s);
        return r;
    }
    *ret = s;
    return 0;
}

void usernet_stack_destroy(struct usernet_stack *s)
{
    if (s == NULL) {
        return;
    }
    if (s->slirp != NULL) {
        slirp_cleanup(s->slirp);
    }
    while (s->timers != NULL) {
        free_timer(s->timers, s);
    }
    free(s->polls);
    free(s);
}

/* libslirp's words for events, and poll's. */
static const struct {
    int slirp;
    short poll;
} events[] = {{SLIRP_POLL_IN, POLLIN},
              {SLIRP_POLL_OUT, POLLOUT},
              {SLIRP_POLL_PRI, POLLPRI},
              {SLIRP_POLL_ERR, POLLERR},
              {SLIRP_POLL_HUP, POLLHUP}};

#define N_EVENTS (sizeof events / sizeof events[0])

static int add_poll(int fd, int want, void *opaque)
{
    struct usernet_stack *s = opaque;
    if (s->n_polls == s->cap_polls) {
        size_t cap = s->cap_polls == 0 ? 64 : s->cap_polls * 2;
        struct pollfd *more = realloc(s->polls, cap * sizeof *more);
        if (more == NULL) {
            s->broken = -ENOMEM;
            return -1;
        }
        s->polls = more;
        s->cap_polls = cap;
    }
    struct pollfd *p = &s->polls[s->n_polls];
    *p = (struct pollfd){.fd = fd};
    for (size_t i = 0; i < N_EVENTS; i++) {
        if ((want & events[i].slirp) != 0) {
            p->events = (short)(p->events | events[i].poll);
        }
    }
    return (int)s->n_polls++;
}

static int get_events(int at, void *opaque)
{
    struct usernet_stack *s = opaque;
    int have = 0;
    for (size_t i = 0; at >= 0 && i < N_EVENTS; i++) {
        if ((s->polls[at].revents & events[i].poll) != 0) {
            have |= events[i].slirp;
        }
    }
    return have;
}

static void read_frames(struct usernet_stack *s)
{
    uint8_t frame[FRAME_BYTES];
    for (unsigned i = 0; i < FRAMES_AT_ONCE; i++) {
        ssize_t n = read(s->fd, frame, sizeof frame);
        if (n > 0) {
            if (gate_allows(&s->gate, frame, (size_t)n)) {
                slirp_input(s->slirp, frame, (int)n);
            }
            continue;
        }
        if (s->is_socket && (n == 0 || (n < 0 && errno == ECONNRESET))) {
            s->is_over = true;
        } else if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENETDOWN) {
            s->broken = -errno;
        }
        return;
    }
}

/* Run what is due; milliseconds until the next one, at most `timeout`. */
static uint32_t run_timers(struct usernet_stack *s, uint32_t timeout)
{
    int64_t now = clock_ns(NULL) / 1000000;
    for (struct timer *t = s->timers; t != NULL;) {
        struct timer *next = t->next; /* `t` may go */
        if (t->due_ms >= 0 && t->due_ms <= now) {
            t->due_ms = -1;
            slirp_handle_timer(s->slirp, t->id, t->arg);
        } else if (t->due_ms >= 0 && t->due_ms - now < timeout) {
            timeout = (uint32_t)(t->due_ms - now);
        }
        t = next;
    }
    return timeout;
}

int usernet_stack_run(struct usernet_stack *s, int holder)
{
    while (s->broken == 0 && !s->is_over) {
        uint32_t timeout = 60000;
        s->n_polls = 0;
        (void)add_poll(s->fd, SLIRP_POLL_IN, s);
        (void)add_poll(holder, SLIRP_POLL_IN, s);
        slirp_pollfds_fill(s->slirp, &timeout, add_poll, s);
        timeout = run_timers(s, timeout);
        if (s->broken != 0) {
            break;
        }
        int n = poll(s->polls, s->n_polls, (int)timeout);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0 && s->polls[1].revents != 0) {
            return 0; /* the guest has ended */
        }
        bool frames = n > 0 && s->polls[0].revents != 0;
        slirp_pollfds_poll(s->slirp, n < 0, get_events, s);
        if (frames) {
            read_frames(s);
        }
    }
    return s->broken;
}
