/* nic_suite.c - the promises of contract/nic.h. */
#include "tests/contract/nic_suite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/loop/loop.h"

#define SEEN_MOST 4096

#define must(x) must_be((x), __LINE__, #x)

static void must_be(bool so, int line, const char *what)
{
    if (!so) {
        fprintf(stderr, "nic_suite.c:%d: %s\n", line, what);
        exit(1);
    }
}

/* The user of the interface under test. */
struct user {
    unsigned seen;
    unsigned number[SEEN_MOST];
    unsigned most; /* takes no more */
    unsigned calls;
    unsigned writable;
};

static void fill(uint8_t *b, uint32_t bytes, unsigned number)
{
    for (uint32_t i = 0; i < bytes; i++) {
        b[i] = (uint8_t)(i * 5 + number);
    }
    memset(b, 0xff, 6);
    memcpy(b + 6, "\x52\x54\x00\x00\x00\x07", 6);
    b[12] = NIC_SUITE_TYPE >> 8;
    b[13] = NIC_SUITE_TYPE & 0xff;
    b[14] = (uint8_t)(number >> 8);
    b[15] = (uint8_t)number;
}

static uint32_t bytes_of(unsigned number)
{
    return 60 + number * 131 % (NIC_SUITE_MTU + 14 - 60 + 1);
}

/* The number of a frame of ours, whole; -1: it is none of ours. */
static int number_of(const uint8_t *b, uint32_t bytes)
{
    uint8_t right[NIC_SUITE_MTU + 18];
    unsigned number;

    if (bytes < 60 || (b[12] << 8 | b[13]) != NIC_SUITE_TYPE) {
        return -1;
    }
    number = (unsigned)(b[14] << 8 | b[15]);
    must(bytes == bytes_of(number));
    fill(right, bytes, number);
    must(memcmp(b, right, bytes) == 0);
    return (int)number;
}

static unsigned received(struct nic *n, const struct nic_frame *f, unsigned count)
{
    struct user *u = n->who;
    unsigned i = 0;

    u->calls++;
    for (; i < count && u->seen < u->most; i++) {
        uint8_t b[NIC_SUITE_MTU + 18];
        uint32_t have = 0;
        int number;

        for (unsigned p = 0; p < f[i].pieces; p++) {
            must(have + f[i].iov[p].iov_len <= sizeof b);
            memcpy(b + have, f[i].iov[p].iov_base, f[i].iov[p].iov_len);
            have += (uint32_t)f[i].iov[p].iov_len;
        }
        must(have == f[i].bytes);
        must(f[i].offload.flags == 0 && f[i].offload.gso_type == 0);
        number = number_of(b, have);
        if (number >= 0) {
            must(u->seen < SEEN_MOST);
            u->number[u->seen++] = (unsigned)number;
        }
    }
    return i;
}

static void writable(struct nic *n)
{
    ((struct user *)n->who)->writable++;
}

static void use(struct nic_world *w, struct user *u)
{
    memset(u, 0, sizeof *u);
    u->most = SEEN_MOST;
    w->nic->who = u;
    w->nic->writable = writable;
    w->nic->received = received;
    w->nic->ops->accept(w->nic, 0);
    w->nic->ops->more(w->nic);
}

static void turn(struct nic_world *w)
{
    for (unsigned i = 0; i < 8; i++) {
        must(loop_turn(w->loop, 0) == 0);
    }
}

/* `count` frames from `first` on in one call; how many were taken. */
static unsigned send_some(struct nic_world *w, unsigned first, unsigned count)
{
    static uint8_t b[32][NIC_SUITE_MTU + 18];
    struct iovec iov[32][3];
    struct nic_frame f[32];

    for (unsigned i = 0; i < count; i++) {
        uint32_t bytes = bytes_of(first + i);

        fill(b[i], bytes, first + i);
        iov[i][0] = (struct iovec){b[i], 1};
        iov[i][1] = (struct iovec){b[i] + 1, 20};
        iov[i][2] = (struct iovec){b[i] + 21, bytes - 21};
        f[i] = (struct nic_frame){.iov = iov[i], .pieces = 3, .bytes = bytes};
    }
    return w->nic->ops->send(w->nic, f, count);
}

static int far_send(const struct suite_nic *s, struct nic_world *w, unsigned number)
{
    uint8_t b[NIC_SUITE_MTU + 18];

    fill(b, bytes_of(number), number);
    return s->far_send(w, b, bytes_of(number));
}

/* The next of ours at the other end, or -1. */
static int far_receive(const struct suite_nic *s, struct nic_world *w)
{
    uint8_t b[70000];
    ssize_t n;

    while ((n = s->far_receive(w, b, sizeof b)) >= 0) {
        int number = number_of(b, (uint32_t)n);

        if (number >= 0) {
            return number;
        }
    }
    return -1;
}

/* ---- promises ---- */

static void frames_go_out_in_order(const struct suite_nic *s, struct nic_world *w)
{
    unsigned sent = 0;
    unsigned got = 0;
    struct user u;

    use(w, &u);
    while (got < 1000) {
        unsigned want = 1 + sent % 30;

        want = want < 1000 - sent ? want : 1000 - sent;
        sent += want > 0 ? send_some(w, sent, want) : 0;
        turn(w);
        for (int n; (n = far_receive(s, w)) >= 0; got++) {
            must((unsigned)n == got);
        }
    }
}

static void frames_come_in_order(const struct suite_nic *s, struct nic_world *w)
{
    struct user u;
    unsigned sent = 0;

    use(w, &u);
    while (u.seen < 1000) {
        for (unsigned i = 0; i < 8 && sent < 1000; i++) {
            sent += far_send(s, w, sent) == 0 ? 1 : 0;
        }
        turn(w);
    }
    for (unsigned i = 0; i < 1000; i++) {
        must(u.number[i] == i);
    }
    must(u.calls < 1000); /* more than one in a call */
}

static void nothing_is_read_before_it_is_wanted(const struct suite_nic *s,
                                                struct nic_world *w)
{
    struct user u;

    must(far_send(s, w, 1) == 0);
    turn(w);
    use(w, &u);
    turn(w);
    must(u.seen == 1);
    w->nic->received = NULL;
    must(far_send(s, w, 2) == 0);
    must(far_send(s, w, 3) == 0);
    turn(w);
    use(w, &u);
    turn(w);
    must(u.seen == 2 && u.number[0] == 2 && u.number[1] == 3);
}

/* A few are taken at a time; the others come later, none is lost, and nobody spins. */
static void a_user_without_buffers_loses_nothing(const struct suite_nic *s,
                                                 struct nic_world *w)
{
    struct user u;
    unsigned calls;

    use(w, &u);
    u.most = 0;
    for (unsigned i = 0; i < 9; i++) {
        must(far_send(s, w, i) == 0);
    }
    turn(w);
    must(u.seen == 0);
    for (unsigned n = 1; n <= 9; n++) {
        calls = u.calls;
        turn(w);
        must(u.calls == calls);
        u.most = n;
        w->nic->ops->more(w->nic);
        turn(w);
        must(u.seen == n && u.number[n - 1] == n - 1);
    }
}

static void a_full_cable_says_when_there_is_room(const struct suite_nic *s,
                                                 struct nic_world *w)
{
    struct user u;
    unsigned sent = 0;
    unsigned got = 0;
    unsigned taken;

    if (s->loses) {
        return;
    }
    use(w, &u);
    for (unsigned round = 0; round < 5; round++) {
        unsigned told = u.writable;

        do {
            taken = send_some(w, sent, 20);
            sent += taken;
            turn(w);
            must(sent < 40000);
        } while (taken == 20);
        must(u.writable == told);
        for (int n; (n = far_receive(s, w)) >= 0; got++) {
            must((unsigned)n == got % 65536);
            turn(w);
        }
        turn(w);
        must(got == sent);
        must(u.writable == told + 1);
    }
}

/* Frames go nowhere, all of them, and the loop sleeps. */
static void nobody_at_the_other_end(const struct suite_nic *s, struct nic_world *w)
{
    struct user u;
    unsigned calls;

    use(w, &u);
    (void)send_some(w, 0, 20);
    s->far_close(w);
    turn(w);
    for (unsigned i = 0; i < 20; i++) {
        must(send_some(w, 0, 20) == 20);
    }
    turn(w);
    calls = u.calls;
    turn(w);
    must(u.calls == calls);
}

/* Whoever waited for room has it when the other end goes. */
static void the_other_end_goes_while_it_is_full(const struct suite_nic *s,
                                                struct nic_world *w)
{
    struct user u;
    unsigned taken = 20;

    if (s->loses) {
        return;
    }
    use(w, &u);
    for (unsigned i = 0; i < 2000 && taken == 20; i++) {
        taken = send_some(w, 0, 20);
    }
    must(taken < 20);
    s->far_close(w);
    turn(w);
    must(u.writable == 1);
    must(send_some(w, 0, 20) == 20);
}

static void goes_with_frames_in_hand(const struct suite_nic *s, struct nic_world *w)
{
    struct user u;

    use(w, &u);
    u.most = 1;
    for (unsigned i = 0; i < 5; i++) {
        must(far_send(s, w, i) == 0);
    }
    turn(w);
    (void)send_some(w, 0, 20);
}

static const struct promise {
    const char *name;
    void (*fn)(const struct suite_nic *s, struct nic_world *w);
} promises[] = {
    {"frames_go_out_in_order", frames_go_out_in_order},
    {"frames_come_in_order", frames_come_in_order},
    {"nothing_is_read_before_it_is_wanted", nothing_is_read_before_it_is_wanted},
    {"a_user_without_buffers_loses_nothing", a_user_without_buffers_loses_nothing},
    {"a_full_cable_says_when_there_is_room", a_full_cable_says_when_there_is_room},
    {"nobody_at_the_other_end", nobody_at_the_other_end},
    {"the_other_end_goes_while_it_is_full", the_other_end_goes_while_it_is_full},
    {"goes_with_frames_in_hand", goes_with_frames_in_hand},
};

/* -EPERM: skipped. */
static int run(const struct suite_nic *s, const struct promise *p)
{
    struct nic_world w = {.fd = -1};
    int r;

    must(loop_create(LOOP_DRIVER_AUTO, &w.loop, NULL) == 0);
    r = s->make(&w);
    if (r == 0) {
        must(w.nic->mtu == NIC_SUITE_MTU);
        p->fn(s, &w);
        w.nic->ops->destroy(w.nic);
        w.nic = NULL;
        s->far_close(&w);
    }
    loop_destroy(w.loop);
    must(r == 0 || r == -EPERM);
    return r;
}

int nic_suite_main(const struct suite_nic *nics, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        for (unsigned k = 0; k < sizeof promises / sizeof promises[0]; k++) {
            int r = run(&nics[i], &promises[k]);

            printf("%s: %s: %s\n", nics[i].name, promises[k].name,
                   r == 0 ? "kept" : "skipped");
            (void)fflush(stdout);
        }
    }
    return 0;
}
