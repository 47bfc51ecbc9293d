/* Ports of the host that lead to a guest: listeners and the loop.
 *
 * One process, one thread, one epoll.  Whatever is closed within a turn is freed at
 * its end, for later events of the same turn may still name it. */
#include "resource/network/forward/forward.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/epoll.h>
#include <sys/resource.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/network/forward/private.h"
#include "resource/network/network.h"

#define EVENTS_AT_ONCE 64
#define BACKLOG        1024
#define FDS_OF_OURS    64
#define FDS_OF_CLIENT  8 /* two sockets, two pipes; one UDP client's */
#define PACKET_BYTES   65536

int64_t forward_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

int forward_watch(struct forward *f, struct watch *w, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};
    return epoll_ctl(f->epoll, EPOLL_CTL_ADD, w->fd, &ev) < 0 ? -errno : 0;
}

socklen_t forward_fill(union forward_address *a, const struct network_ip *ip,
                       uint16_t port)
{
    memset(a, 0, sizeof *a);
    if (ip->version == 4) {
        a->four.sin_family = AF_INET;
        a->four.sin_port = htons(port);
        memcpy(&a->four.sin_addr, ip->bytes, sizeof a->four.sin_addr);
        return sizeof a->four;
    }
    a->six.sin6_family = AF_INET6;
    a->six.sin6_port = htons(port);
    memcpy(&a->six.sin6_addr, ip->bytes, sizeof a->six.sin6_addr);
    return sizeof a->six;
}

const struct network_ip *forward_target(const struct forward *f, uint8_t version,
                                        unsigned which)
{
    unsigned first = f->to[0].version == version ? 0 : 1;
    if (f->to[first].version != version) { /* the guest has no address of the family */
        first = f->to[0].version != 0 ? 0 : 1;
    }
    return &f->to[which == 0 ? first : 1 - first];
}

int forward_connect(const struct network_ip *to, uint16_t port, int type)
{
    union forward_address a;
    if (to->version == 0) {
        return -ECONNREFUSED;
    }
    socklen_t len = forward_fill(&a, to, port);
    SCOPED(scope_close)
    int fd = socket(a.any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, &a.any, len) < 0 && errno != EINPROGRESS) {
        return -errno;
    }
    return scope_take_fd(&fd);
}

static int open_listener(const struct network_ip *ip, uint16_t port, bool udp)
{
    union forward_address a;
    socklen_t len = forward_fill(&a, ip, port);
    int on = 1;
    SCOPED(scope_close)
    int fd = socket(a.any.sa_family,
                    (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    if (!udp) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    if (ip->version == 6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    if (bind(fd, &a.any, len) < 0 || (!udp && listen(fd, BACKLOG) < 0)) {
        return -errno;
    }
    return scope_take_fd(&fd);
}

static int add_listener(struct forward *f, const struct network_publish *p, unsigned i)
{
    struct listener *l = fault_calloc(1, sizeof *l);
    if (l == NULL) {
        return -ENOMEM;
    }
    *l = (struct listener){
        .watch = {.ready = p->udp ? udp_receive : tcp_accept},
        .next = f->listeners,
        .version = p->host.version,
        .udp = p->udp,
        .to_port = (uint16_t)(p->guest_port + i),
    };
    l->watch.fd = open_listener(&p->host, (uint16_t)(p->host_port + i), p->udp);
    int r = l->watch.fd < 0 ? l->watch.fd : 0;
    if (r == 0 && p->udp) {
        r = udp_prepare(l);
    }
    if (r == 0) {
        r = forward_watch(f, &l->watch, EPOLLIN);
    }
    if (r < 0) {
        scope_close(&l->watch.fd);
        free(l);
        return r;
    }
    f->listeners = l;
    return 0;
}

static int add_rule(struct forward *f, const struct forward_rule *rule, struct err *e)
{
    const struct network_publish *p = &rule->from;
    unsigned count = p->count == 0 ? 1 : p->count;
    const char *proto = p->udp ? "udp" : "tcp";
    char holder[ERR_TEXT_BYTES / 2];
    for (unsigned i = 0; i < count; i++) {
        int r = add_listener(f, p, i);
        if (r == -EADDRINUSE) {
            network_port_holder(p->udp, p->host_port + i, holder, sizeof holder);
            return err_set(e, r, "cannot publish port %u/%s: %s has it", p->host_port + i,
                           proto, holder);
        }
        if (r < 0 && rule->optional && (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)) {
            return 0;
        }
        if (r < 0) {
            return err_sys(e, r, "cannot publish port %u/%s", p->host_port + i, proto);
        }
    }
    return 0;
}

static unsigned count_clients(unsigned listeners)
{
    struct rlimit l = {0};
    if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
        l.rlim_cur = l.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &l);
    }
    rlim_t room = l.rlim_cur > listeners + FDS_OF_OURS
                      ? (l.rlim_cur - listeners - FDS_OF_OURS) / FDS_OF_CLIENT
                      : 1;
    return room < FORWARD_CLIENTS_MAX ? (unsigned)room : FORWARD_CLIENTS_MAX;
}

int forward_create(const struct forward_options *o, struct forward **ret, struct err *e)
{
    struct forward *f = fault_calloc(1, sizeof *f);
    unsigned listeners = 0;
    int r = 0;
    if (f == NULL) {
        return err_set(e, -ENOMEM, "cannot publish ports: no memory");
    }
    memcpy(f->to, o->to, sizeof f->to);
    f->idle_ms = o->idle_ms > 0 ? o->idle_ms : FORWARD_IDLE_MS;
    f->epoll = epoll_create1(EPOLL_CLOEXEC);
    f->packet = fault_malloc(PACKET_BYTES);
    if (f->epoll < 0 || f->packet == NULL) {
        r = err_sys(e, f->epoll < 0 ? -errno : -ENOMEM, "cannot publish ports");
    }
    for (size_t i = 0; i < o->n_rules; i++) {
        listeners += o->rules[i].from.count;
    }
    f->clients_most = count_clients(listeners);
    if (o->clients_most > 0 && o->clients_most < f->clients_most) {
        f->clients_most = o->clients_most;
    }
    for (size_t i = 0; i < o->n_rules && r == 0; i++) {
        r = add_rule(f, &o->rules[i], e);
    }
    if (r < 0) {
        forward_destroy(f);
        return r;
    }
    *ret = f;
    return 0;
}

void forward_destroy(struct forward *f)
{
    if (f == NULL) {
        return;
    }
    tcp_close_all(f);
    udp_close_all(f);
    while (f->listeners != NULL) {
        struct listener *l = f->listeners;
        f->listeners = l->next;
        scope_close(&l->watch.fd);
        free(l);
    }
    scope_close(&f->epoll);
    free(f->packet);
    free(f);
}

struct forward_counts forward_counts(const struct forward *f)
{
    return (struct forward_counts){f->n_connections, f->n_flows};
}

static int wait_ms(const struct forward *f, int64_t now, int timeout_ms)
{
    int due = udp_next_ms(f, now);
    if (f->n_unfinished > 0) {
        return 0;
    }
    return due >= 0 && (timeout_ms < 0 || due < timeout_ms) ? due : timeout_ms;
}

int forward_turn(struct forward *f, int timeout_ms)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int n = epoll_wait(f->epoll, events, EVENTS_AT_ONCE,
                       wait_ms(f, forward_now_ms(), timeout_ms));
    if (n < 0 && errno != EINTR) {
        return -errno;
    }
    for (int i = 0; i < n; i++) {
        struct watch *w = events[i].data.ptr;
        if (w == NULL) {
            return 1; /* the holder */
        }
        if (w->fd >= 0) {
            w->ready(f, w, events[i].events);
        }
    }
    tcp_go_on(f);
    udp_expire(f, forward_now_ms());
    tcp_free_dead(f);
    udp_free_dead(f);
    return 0;
}

int forward_run(struct forward *f, int holder)
{
    struct epoll_event ev = {.events = EPOLLIN};
    int r = 0;
    if (holder >= 0 && epoll_ctl(f->epoll, EPOLL_CTL_ADD, holder, &ev) < 0) {
        return -errno;
    }
    while (r == 0) {
        r = forward_turn(f, -1);
    }
    return r > 0 ? 0 : r;
}
