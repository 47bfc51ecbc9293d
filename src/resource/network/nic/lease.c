/* lease.c - a network interface whose user is told its address by DHCP.
 *
 * A network gives each guest its address when the guest is created; nobody has to be asked
 * for it.  So whoever asks is answered right here, on its way out, by the one who runs
 * the guest: there is no server, no state, and nobody who could be asked by other guests.
 * Frames that are no requests of this card go through untouched, both ways.
 *
 * An answer is made at once and handed over at the next turn of the loop, so that the user
 * is not called inside a call of its own.  There is room for one: who asks again meanwhile
 * asks once more, as over a wire that loses packets.
 *
 * Sources: RFC 2131, 2, 4.1, 4.3; RFC 2132, 3 and 9; RFC 951, 3. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "host/loop/loop.h"
#include "resource/network/nic/nic.h"
#include "resource/network/nic/private.h"

#define ETHER      14 /* addresses, type */
#define IP         ETHER
#define IP_BYTES   20 /* without options: as we send it */
#define UDP_BYTES  8
#define BOOTP      236        /* its fixed part */
#define COOKIE     0x63825363 /* RFC 2131, 3 */
#define ASK_LEAST  (ETHER + IP_BYTES + UDP_BYTES + BOOTP + 4)
#define ASK_MOST   1514
#define HEAD_BYTES (ETHER + 60 + UDP_BYTES) /* with all options of IP */
#define SERVER     67
#define CLIENT     68
#define LEASE_S    86400 /* renewed by the same answer */
#define ROOM       600

enum {
    DISCOVER = 1,
    OFFER,
    REQUEST,
    DECLINE,
    ACK,
    NAK
}; /* 9.6 */

struct lease {
    struct nic nic;    /* first */
    struct nic *below; /* owned */
    struct loop *loop;
    struct loop_timer timer; /* hands the answer over */
    struct nic_lease is;
    uint32_t bytes; /* of the answer; 0: none waits */
    uint8_t answer[ROOM];
};

/* What somebody asked. */
struct ask {
    uint8_t frame[ASK_MOST];
    size_t bytes;         /* up to the end of its IP packet */
    const uint8_t *bootp; /* in it */
    uint8_t type;
    const uint8_t *wanted, *server; /* addresses; NULL: not said */
};

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

/* ---- what was asked ---- */

static size_t gather(const struct nic_frame *f, uint8_t *to, size_t most)
{
    size_t n = 0;

    for (unsigned i = 0; i < f->pieces && n < most; i++) {
        size_t part = f->iov[i].iov_len < most - n ? f->iov[i].iov_len : most - n;

        memcpy(to + n, f->iov[i].iov_base, part);
        n += part;
    }
    return n;
}

/* Whether the first bytes of a frame are those of a datagram to a server. */
static bool is_asking(const uint8_t *p, size_t n)
{
    size_t udp = IP + (size_t)(p[IP] & 15) * 4;

    return n == HEAD_BYTES && get16(p + 12) == 0x0800 && p[IP] >> 4 == 4 &&
           udp >= IP + IP_BYTES && udp + UDP_BYTES <= n && p[IP + 9] == 17 &&
           (get16(p + IP + 6) & 0x3fff) == 0 && get16(p + udp) == CLIENT &&
           get16(p + udp + 2) == SERVER;
}

static void read_options(struct ask *a, const uint8_t *at, const uint8_t *end)
{
    while (at < end && *at != 255) {
        size_t left = (size_t)(end - at);

        if (*at == 0) {
            at += 1;
            continue;
        }
        if (left < 2 || left - 2 < at[1]) {
            return;
        }
        if (at[0] == 53 && at[1] == 1) {
            a->type = at[2];
        } else if (at[0] == 50 && at[1] == 4) {
            a->wanted = at + 2;
        } else if (at[0] == 54 && at[1] == 4) {
            a->server = at + 2;
        }
        at += 2 + at[1];
    }
}

/* Whether the frame is a request of this card. */
static bool read_ask(const struct lease *s, const struct nic_frame *f, struct ask *a)
{
    uint8_t head[HEAD_BYTES];
    size_t udp;

    if (f->bytes < ASK_LEAST || f->bytes > ASK_MOST || f->offload.gso_type != 0 ||
        !is_asking(head, gather(f, head, sizeof head))) {
        return false;
    }
    memset(a, 0, sizeof *a);
    a->bytes = gather(f, a->frame, sizeof a->frame);
    udp = IP + (size_t)(a->frame[IP] & 15) * 4;
    if (IP + get16(a->frame + IP + 2) <
        a->bytes) { /* what is behind it fills the frame */
        a->bytes = IP + get16(a->frame + IP + 2);
    }
    a->bootp = a->frame + udp + UDP_BYTES;
    if (a->bytes < udp + UDP_BYTES + BOOTP + 4 || a->bootp[0] != 1 || a->bootp[1] != 1 ||
        a->bootp[2] != 6 || memcmp(a->bootp + 28, s->is.mac, 6) != 0 ||
        (get16(a->bootp + BOOTP) << 16 | get16(a->bootp + BOOTP + 2)) != COOKIE) {
        return false;
    }
    read_options(a, a->bootp + BOOTP + 4, a->frame + a->bytes);
    return true;
}

/* ---- the answer ---- */

static uint8_t *add_option(uint8_t *at, uint8_t code, const void *bytes, size_t n)
{
    at[0] = code;
    at[1] = (uint8_t)n;
    memcpy(at + 2, bytes, n);
    return at + 2 + n;
}

static uint8_t *add_number(uint8_t *at, uint8_t code, uint32_t v)
{
    uint8_t bytes[4];

    put32(bytes, v);
    return add_option(at, code, bytes, sizeof bytes);
}

/* Behind the cookie; the whole is less than ROOM whatever the lease says. */
static uint8_t *add_options(const struct lease *s, uint8_t *at, uint8_t type)
{
    const struct nic_lease *is = &s->is;
    uint8_t mtu[2];

    at = add_option(at, 53, &type, 1);
    at = add_option(at, 54, is->gateway, 4);
    if (type != NAK) {
        at = add_number(at, 51, LEASE_S);
        at = add_number(at, 1, is->prefix == 0 ? 0 : ~UINT32_C(0) << (32 - is->prefix));
        put16(mtu, s->nic.mtu);
        at = add_option(at, 26, mtu, 2);
        if (is->leads_on) {
            at = add_option(at, 3, is->gateway, 4);
        }
        if (is->servers > 0) {
            at = add_option(at, 6, is->server, (size_t)is->servers * 4);
        }
        if (is->host[0] != '\0') {
            at = add_option(at, 12, is->host, strlen(is->host));
        }
    }
    *at = 255;
    return at + 1;
}

static uint32_t sum(const uint8_t *p, size_t n, uint32_t start)
{
    for (size_t i = 0; i < n; i++) {
        start += (i & 1) == 0 ? (uint32_t)p[i] << 8 : p[i];
    }
    return start;
}

static unsigned folded(uint32_t v)
{
    v = (v & 0xffff) + (v >> 16);
    v = (v & 0xffff) + (v >> 16);
    return ~v & 0xffff;
}

/* The heads before `n` bytes of BOOTP: to everybody, if it has no address yet and says
 * that it hears only so. */
static void put_heads(const struct lease *s, uint8_t *p, size_t n, bool to_all)
{
    uint8_t *ip = p + IP;
    uint8_t *udp = ip + IP_BYTES;
    static const uint8_t server_mac[6] = {0x02, 0x53, 0xff, 0xff, 0xff, 0xff};

    memcpy(p, s->is.mac, 6);
    memcpy(p + 6, server_mac, 6);
    put16(p + 12, 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, (unsigned)(IP_BYTES + UDP_BYTES + n));
    ip[8] = 64;
    ip[9] = 17;
    memcpy(ip + 12, s->is.gateway, 4);
    memcpy(ip + 16, s->is.address, 4);
    if (to_all) {
        memset(p, 255, 6);
        memset(ip + 16, 255, 4);
    }
    put16(ip + 10, folded(sum(ip, IP_BYTES, 0)));
    put16(udp, SERVER);
    put16(udp + 2, CLIENT);
    put16(udp + 4, (unsigned)(UDP_BYTES + n));
    put16(udp + 6, folded(sum(udp, UDP_BYTES + n,
                              sum(ip + 12, 8, (uint32_t)(17 + UDP_BYTES + n)))));
}

static void make_answer(struct lease *s, const struct ask *a, uint8_t type)
{
    uint8_t *to = s->answer + IP + IP_BYTES + UDP_BYTES;
    bool hears_all = (a->bootp[10] & 0x80) != 0 || type == NAK;
    size_t n;

    memset(s->answer, 0, sizeof s->answer);
    to[0] = 2;
    memcpy(to + 1, a->bootp + 1, 2);
    memcpy(to + 4, a->bootp + 4, 4);   /* its number of the exchange */
    memcpy(to + 10, a->bootp + 10, 2); /* flags */
    memcpy(to + 28, a->bootp + 28, 16);
    if (type != NAK) {
        memcpy(to + 12, a->bootp + 12, 4);
        memcpy(to + 16, s->is.address, 4);
        memcpy(to + 20, s->is.gateway, 4);
    }
    put32(to + BOOTP, COOKIE);
    n = (size_t)(add_options(s, to + BOOTP + 4, type) - to);
    n = n < 300 ? 300 : n; /* RFC 1542, 2.1 */
    put_heads(s, s->answer, n, hears_all);
    s->bytes = (uint32_t)(ETHER + IP_BYTES + UDP_BYTES + n);
    loop_timer_set(s->loop, &s->timer, 1);
}

static void answer(struct lease *s, const struct ask *a)
{
    static const uint8_t none[4];
    const uint8_t *wanted = a->wanted != NULL ? a->wanted : a->bootp + 12;
    bool knows = memcmp(wanted, none, 4) == 0 || memcmp(wanted, s->is.address, 4) == 0;

    if (s->bytes != 0 ||
        (a->server != NULL && memcmp(a->server, s->is.gateway, 4) != 0)) {
        return; /* it chose another; there is none that we know of */
    }
    if (a->type == DISCOVER) {
        make_answer(s, a, OFFER);
    } else if (a->type == REQUEST) {
        make_answer(s, a, knows ? ACK : NAK);
    }
}

/* ---- the interface ---- */

static void on_timer(struct loop_timer *t)
{
    struct lease *s = (struct lease *)((char *)t - offsetof(struct lease, timer));
    struct iovec iov = {s->answer, s->bytes};
    const struct nic_frame f = {.iov = &iov, .pieces = 1, .bytes = s->bytes};

    if (s->bytes > 0 && s->nic.received != NULL &&
        s->nic.received(&s->nic, &f, 1) == 1) { /* else `more` tries again */
        s->bytes = 0;
    }
}

static unsigned lease_send(struct nic *n, const struct nic_frame *f, unsigned count)
{
    struct lease *s = (struct lease *)n;
    struct ask a;
    unsigned done = 0;

    while (done < count) {
        unsigned plain = done;
        unsigned took;

        while (plain < count && !read_ask(s, &f[plain], &a)) {
            plain += 1;
        }
        took = plain > done ? s->below->ops->send(s->below, f + done, plain - done) : 0;
        done += took;
        if (done < plain) {
            return done;
        }
        if (done < count) {
            answer(s, &a);
            done += 1;
        }
    }
    return count;
}

static unsigned on_received(struct nic *below, const struct nic_frame *f, unsigned count)
{
    struct lease *s = below->who;

    return s->nic.received != NULL ? s->nic.received(&s->nic, f, count) : 0;
}

static void on_writable(struct nic *below)
{
    struct lease *s = below->who;

    if (s->nic.writable != NULL) {
        s->nic.writable(&s->nic);
    }
}

static void lease_more(struct nic *n)
{
    struct lease *s = (struct lease *)n;

    if (s->bytes > 0) {
        loop_timer_set(s->loop, &s->timer, 1);
    }
    s->below->received = n->received != NULL ? on_received : NULL;
    s->below->ops->more(s->below);
}

static void lease_accept(struct nic *n, unsigned offers)
{
    struct nic *below = ((struct lease *)n)->below;

    below->ops->accept(below, offers);
}

static void lease_destroy(struct nic *n)
{
    struct lease *s = (struct lease *)n;

    loop_timer_clear(s->loop, &s->timer);
    s->below->ops->destroy(s->below);
    free(s);
}

static const struct nic_ops nic_lease_ops = {
    .name = "lease",
    .send = lease_send,
    .more = lease_more,
    .accept = lease_accept,
    .destroy = lease_destroy,
};

int nic_lease_create(struct loop *l, struct nic *take_below, const struct nic_lease *is,
                     struct nic **ret, struct err *e)
{
    struct lease *s;

    if (is->prefix > 32 || is->servers > NIC_LEASE_SERVERS_MOST ||
        memchr(is->host, '\0', sizeof is->host) == NULL) {
        return err_set(e, -EINVAL, "such an address cannot be told to a guest");
    }
    s = fault_calloc(1, sizeof *s);
    if (s == NULL) {
        return err_set(e, -ENOMEM, "cannot tell a guest its address: out of memory");
    }
    s->nic = (struct nic){
        .ops = &nic_lease_ops, .offers = take_below->offers, .mtu = take_below->mtu};
    s->below = take_below;
    s->loop = l;
    s->is = *is;
    s->timer.fn = on_timer;
    take_below->who = s;
    take_below->writable = on_writable;
    *ret = &s->nic;
    return 0;
}
