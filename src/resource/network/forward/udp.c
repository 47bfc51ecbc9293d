/* UDP: one connected socket towards the guest per client.
 *
 * A client is known by its address and by the address of ours that it spoke to, for
 * the answer must come from there.  A flow whose client and guest were silent for
 * `idle_ms` goes; with too many the one silent for longest goes.
 *
 * The first packet is kept until something is answered: when the guest's first address
 * refuses it, it is sent to the other one. */
#include "resource/network/forward/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/epoll.h>

#include "base/fault.h"
#include "base/scope.h"

#define PACKET_BYTES 65536
#define AT_ONCE      64 /* packets of one socket in one turn */

/* Where a packet came from, and to which of our addresses. */
struct ends {
    union forward_address client;
    socklen_t client_len;

    union {
        struct in_pktinfo four;
        struct in6_pktinfo six;
    } own;
};

struct flow {
    struct watch watch;
    struct flow *same; /* of the bucket */
    struct flow *older;
    struct flow *newer;
    const struct listener *by;
    struct ends ends;
    int64_t seen_ms;
    uint8_t which; /* of the guest's addresses */
    bool answered;
    uint8_t *pending; /* owned; the packet to send again */
    size_t pending_len;
};

union control {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

int udp_prepare(const struct listener *l)
{
    int on = 1;
    int r = l->version == 4
                ? setsockopt(l->watch.fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on)
                : setsockopt(l->watch.fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
    return r < 0 ? -errno : 0;
}

static unsigned bucket_of(const struct ends *s)
{
    const uint8_t *b = (const void *)&s->client;
    uint32_t h = 2166136261U; /* FNV-1a */
    for (size_t i = 0; i < sizeof s->client; i++) {
        h = (h ^ b[i]) * 16777619U;
    }
    return h % FLOW_BUCKETS;
}

static void take_out(struct forward *f, struct flow *w)
{
    *(w->older != NULL ? &w->older->newer : &f->oldest) = w->newer;
    *(w->newer != NULL ? &w->newer->older : &f->newest) = w->older;
}

static void put_newest(struct forward *f, struct flow *w)
{
    w->newer = NULL;
    w->older = f->newest;
    *(w->older != NULL ? &w->older->newer : &f->oldest) = w;
    f->newest = w;
    w->seen_ms = forward_now_ms();
}

static void forget(struct forward *f, struct flow *w)
{
    struct flow **at = &f->buckets[bucket_of(&w->ends)];
    while (*at != w) {
        at = &(*at)->same;
    }
    *at = w->same;
    take_out(f, w);
    scope_close(&w->watch.fd);
    w->watch.fd = -1;
    free(w->pending);
    w->pending = NULL;
    w->same = f->dead_flows;
    f->dead_flows = w;
    f->n_flows--;
}

void udp_free_dead(struct forward *f)
{
    while (f->dead_flows != NULL) {
        struct flow *w = f->dead_flows;
        f->dead_flows = w->same;
        free(w);
    }
}

void udp_close_all(struct forward *f)
{
    while (f->oldest != NULL) {
        forget(f, f->oldest);
    }
    udp_free_dead(f);
}

void udp_expire(struct forward *f, int64_t now)
{
    while (f->oldest != NULL && now - f->oldest->seen_ms >= f->idle_ms) {
        forget(f, f->oldest);
    }
}

int udp_next_ms(const struct forward *f, int64_t now)
{
    if (f->oldest == NULL) {
        return -1;
    }
    int64_t left = f->oldest->seen_ms + f->idle_ms - now;
    return left < 0 ? 0 : (int)left;
}

static void send_back(const struct flow *w, const uint8_t *packet, size_t len)
{
    union forward_address to = w->ends.client;
    union control control = {0};
    struct iovec iov = {(void *)(uintptr_t)packet, len};
    bool four = w->by->version == 4;
    size_t size = four ? sizeof w->ends.own.four : sizeof w->ends.own.six;
    struct msghdr m = {.msg_name = &to,
                       .msg_namelen = w->ends.client_len,
                       .msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       .msg_controllen = CMSG_SPACE(size)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = four ? IPPROTO_IP : IPPROTO_IPV6;
    c->cmsg_type = four ? IP_PKTINFO : IPV6_PKTINFO;
    c->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(c), &w->ends.own, size);
    (void)sendmsg(w->by->watch.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void on_flow(struct forward *f, struct watch *watch, uint32_t events);

static int approach(struct forward *f, struct flow *w, uint8_t which)
{
    int r = -ECONNREFUSED;
    for (; which < 2; which++) {
        r = forward_connect(forward_target(f, w->by->version, which), w->by->to_port,
                            SOCK_DGRAM);
        if (r >= 0) {
            w->which = which;
            w->watch = (struct watch){.fd = r, .ready = on_flow};
            return forward_watch(f, &w->watch, EPOLLIN);
        }
    }
    return r;
}

/* The guest has no such port at this address: try the other, once. */
static void refused(struct forward *f, struct flow *w)
{
    if (w->answered || w->pending == NULL) {
        return;
    }
    scope_close(&w->watch.fd);
    w->watch.fd = -1;
    if (approach(f, w, (uint8_t)(w->which + 1)) < 0) {
        forget(f, w);
        return;
    }
    (void)send(w->watch.fd, w->pending, w->pending_len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void on_flow(struct forward *f, struct watch *watch, uint32_t events)
{
    struct flow *w = (struct flow *)(void *)watch;
    (void)events;
    for (unsigned i = 0; i < AT_ONCE && w->watch.fd >= 0; i++) {
        ssize_t n = recv(w->watch.fd, f->packet, PACKET_BYTES, MSG_DONTWAIT);
        if (n < 0) {
            if (errno == ECONNREFUSED) {
                refused(f, w);
            }
            return;
        }
        w->answered = true;
        free(w->pending);
        w->pending = NULL;
        take_out(f, w);
        put_newest(f, w);
        send_back(w, f->packet, (size_t)n);
    }
}

static struct flow *find(struct forward *f, const struct listener *by,
                         const struct ends *s)
{
    struct flow *w = f->buckets[bucket_of(s)];
    while (w != NULL && (w->by != by || memcmp(&w->ends, s, sizeof *s) != 0)) {
        w = w->same;
    }
    return w;
}

static struct flow *begin(struct forward *f, const struct listener *by,
                          const struct ends *s, size_t len)
{
    if (f->n_flows >= f->clients_most) {
        forget(f, f->oldest);
    }
    struct flow *w = fault_calloc(1, sizeof *w);
    uint8_t *copy = fault_malloc(len == 0 ? 1 : len);
    if (w == NULL || copy == NULL) {
        free(w);
        free(copy);
        return NULL;
    }
    memcpy(copy, f->packet, len);
    w->watch.fd = -1;
    w->by = by;
    w->ends = *s;
    w->pending = copy;
    w->pending_len = len;
    w->same = f->buckets[bucket_of(s)];
    f->buckets[bucket_of(s)] = w;
    put_newest(f, w);
    f->n_flows++;
    if (approach(f, w, 0) < 0) {
        forget(f, w);
        return NULL;
    }
    return w;
}

/* Read one packet and who it is from; its length or -errno. */
static ssize_t receive(struct forward *f, const struct listener *l, struct ends *s)
{
    union control control = {0};
    struct iovec iov = {f->packet, PACKET_BYTES};
    struct msghdr m = {.msg_name = &s->client,
                       .msg_namelen = sizeof s->client,
                       .msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       .msg_controllen = sizeof control.room};
    memset(s, 0, sizeof *s);
    ssize_t n = recvmsg(l->watch.fd, &m, MSG_DONTWAIT);
    if (n < 0) {
        return -errno;
    }
    s->client_len = m.msg_namelen;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            memcpy(&s->own.four, CMSG_DATA(c), sizeof s->own.four);
            s->own.four.ipi_ifindex = 0; /* the answer may take another way */
            s->own.four.ipi_spec_dst = s->own.four.ipi_addr;
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            memcpy(&s->own.six, CMSG_DATA(c), sizeof s->own.six);
            if (!IN6_IS_ADDR_LINKLOCAL(&s->own.six.ipi6_addr)) {
                s->own.six.ipi6_ifindex = 0;
            }
        }
    }
    return n;
}

void udp_receive(struct forward *f, struct watch *watch, uint32_t events)
{
    const struct listener *l = (const struct listener *)(const void *)watch;
    struct ends s;
    (void)events;
    for (unsigned i = 0; i < AT_ONCE; i++) {
        ssize_t n = receive(f, l, &s);
        if (n < 0) {
            return;
        }
        struct flow *w = find(f, l, &s);
        if (w == NULL) {
            w = begin(f, l, &s, (size_t)n);
        } else {
            take_out(f, w);
            put_newest(f, w);
        }
        if (w != NULL &&
            send(w->watch.fd, f->packet, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
            errno == ECONNREFUSED) {
            refused(f, w);
        }
    }
}
