/* transmit.c - PDUs come in, commands go to the disk, answers to the socket.
 *
 * All on one thread: one recv brings as many PDUs as have come; each command goes to
 * the disk at once and, where the disk need not wait, is done on the spot; at the end
 * of the loop's turn all answers leave in one sendmsg.
 *
 * Data segments of small writes are copied out of the input buffer.  Once they are
 * big, exactly the bytes of a segment and of the next head are asked for, so that they
 * land where they belong.
 *
 * Whatever an initiator announces: `ISCSI_WINDOW` commands are in work for it, their
 * buffers take `ISCSI_HELD_MOST` bytes and what may come unasked, and reading stops
 * while answers that it does not fetch pile up. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/crc32c.h"
#include "base/fault.h"
#include "resource/storage/iscsi/bytes.h"
#include "resource/storage/iscsi/private.h"

#define BIG_BYTES       32768u /* segments from here on are received in place */
#define SEND_PDUS       96u    /* answers of so many PDUs leave at once */
#define SOON_NS         200000 /* one that comes back so fast is waited for awake */
#define TAKES_A_TURN    8      /* calls of recv before others have their turn */
#define HEAD_AND_DIGEST (ISCSI_HEAD_BYTES + 4)

static bool is_full(const struct connection *c)
{
    return c->flight >= ISCSI_FLIGHT_MOST || c->out_extra >= ISCSI_OUT_MOST;
}

/* ---- PDUs that are no commands ---- */

static int answer_nop(struct connection *c)
{
    struct incoming *n = &c->incoming;
    uint8_t *data = NULL;
    struct pdu *p;
    uint32_t bytes = n->bytes < c->settings.segment ? n->bytes : c->settings.segment;

    if (get32(n->head + 16) == ISCSI_NO_TAG) {
        return 0; /* it asks for nothing */
    }
    p = iscsi_pdu(bytes, &data);
    if (p == NULL) {
        return -ENOMEM;
    }
    p->head[0] = ISCSI_NOP_IN;
    p->head[1] = ISCSI_FINAL;
    memcpy(p->head + 8, n->head + 8, 12); /* LUN and tag */
    put32(p->head + 20, ISCSI_NO_TAG);
    if (bytes > 0) {
        memcpy(data, n->own, bytes);
    }
    iscsi_send(c, p, true);
    return 0;
}

static int answer_logout(struct connection *c)
{
    uint8_t *none;
    struct pdu *p = iscsi_pdu(0, &none);
    unsigned reason = c->incoming.head[1] & 0x7f;

    if (p == NULL) {
        return -ENOMEM;
    }
    p->head[0] = ISCSI_LOGOUT_RESPONSE;
    p->head[1] = ISCSI_FINAL;
    memcpy(p->head + 16, c->incoming.head + 16, 4);
    if (reason == 2) {
        p->head[2] = 2; /* there is no recovery of connections */
    } else if (reason == 1 && get16(c->incoming.head + 20) != c->cid) {
        p->head[2] = 1; /* no such connection */
    } else {
        c->leaving = true;
    }
    iscsi_send(c, p, true);
    return 0;
}

/* The next part of the text that waits. */
static int send_text(struct connection *c)
{
    size_t left = c->text_bytes - c->text_at;
    size_t most =
        c->settings.segment < ISCSI_TEXT_MOST ? c->settings.segment : ISCSI_TEXT_MOST;
    size_t n = left < most ? left : most;
    uint8_t *data = NULL;
    struct pdu *p = iscsi_pdu(n, &data);

    if (p == NULL) {
        return -ENOMEM;
    }
    memcpy(data, c->text + c->text_at, n);
    c->text_at += n;
    p->head[0] = ISCSI_TEXT_RESPONSE;
    p->head[1] = n == left ? ISCSI_FINAL : ISCSI_CONTINUE;
    memcpy(p->head + 16, c->incoming.head + 16, 4);
    put32(p->head + 20, n == left ? ISCSI_NO_TAG : 1);
    iscsi_send(c, p, true);
    return 0;
}

static int settle_text(struct connection *c, char *in, size_t bytes)
{
    struct text t = {.room = ISCSI_TEXT_MOST};
    char *at = in;
    char *value = NULL;
    char *key;

    t.at = fault_malloc(t.room);
    c->text = t.at;
    if (t.at == NULL) {
        return -ENOMEM;
    }
    while ((key = iscsi_text_next(&at, in + bytes, &value)) != NULL) {
        if (strcmp(key, "SendTargets") == 0) {
            free(c->text);
            c->text = iscsi_send_targets(c, value, &c->text_bytes);
            return c->text == NULL ? -ENOMEM : send_text(c);
        }
        /* What a login has settled stays; only segments may be announced anew. */
        if (strcmp(key, "MaxRecvDataSegmentLength") == 0) {
            (void)iscsi_settle(&c->settings, key, value, &t);
        } else {
            iscsi_text_put(&t, key, "Reject");
        }
    }
    c->text_bytes = t.bytes;
    return send_text(c);
}

static int answer_text(struct connection *c)
{
    struct incoming *n = &c->incoming;

    if (get32(n->head + 20) != ISCSI_NO_TAG) { /* it wants the rest */
        return c->text != NULL ? send_text(c) : iscsi_refuse(c, ISCSI_REJECT_FIELD);
    }
    if ((n->head[1] & ISCSI_CONTINUE) != 0 || n->bytes > ISCSI_TEXT_MOST) {
        return iscsi_refuse(c, ISCSI_REJECT_UNSUPPORTED);
    }
    free(c->text);
    c->text = NULL;
    c->text_at = 0;
    c->text_bytes = 0;
    return settle_text(c, n->own != NULL ? (char *)n->own : (char *)n->tail_bytes,
                       n->bytes);
}

int iscsi_other(struct connection *c)
{
    switch (c->incoming.head[0] & ISCSI_OPCODE_MASK) {
    case ISCSI_NOP_OUT:
        return answer_nop(c);
    case ISCSI_TEXT:
        return answer_text(c);
    case ISCSI_LOGOUT:
        return answer_logout(c);
    case ISCSI_TASK:
        return iscsi_task(c);
    case ISCSI_SNACK:
        return iscsi_refuse(c, ISCSI_REJECT_SNACK);
    case ISCSI_LOGIN:
        return -EPROTO;
    default:
        return iscsi_refuse(c, ISCSI_REJECT_UNSUPPORTED);
    }
}

/* ---- from the socket ---- */

/* Commands in their order; others than the next are ignored (4.2.2.1). */
static bool in_order(struct connection *c)
{
    const uint8_t *h = c->incoming.head;
    unsigned opcode = h[0] & ISCSI_OPCODE_MASK;

    if (opcode == ISCSI_DATA_OUT || opcode == ISCSI_SNACK ||
        (h[0] & ISCSI_IMMEDIATE) != 0) {
        return true;
    }
    if (get32(h + 24) != c->command_sn || c->live_count >= ISCSI_WINDOW) {
        return false;
    }
    c->command_sn++;
    return true;
}

/* Where the data of a PDU goes. */
static int prepare(struct connection *c)
{
    struct incoming *n = &c->incoming;
    unsigned opcode = n->head[0] & ISCSI_OPCODE_MASK;

    if (!in_order(c)) {
        n->ignored = true;
        return 0;
    }
    if (opcode == ISCSI_COMMAND && !c->discovery) {
        return iscsi_command_begin(c);
    }
    if (opcode == ISCSI_DATA_OUT && !c->discovery) {
        return iscsi_data_begin(c);
    }
    if (n->bytes > 0) {
        n->own = fault_malloc((size_t)n->bytes + 1);
        if (n->own == NULL) {
            return -ENOMEM;
        }
        n->own[n->bytes] = '\0';
        n->to = n->own;
        n->keep = n->bytes;
    }
    return 0;
}

static int finish(struct connection *c)
{
    struct incoming *n = &c->incoming;
    unsigned opcode = n->head[0] & ISCSI_OPCODE_MASK;
    int r;

    n->active = false;
    if (n->ignored) {
        return 0;
    }
    if (opcode == ISCSI_COMMAND && !c->discovery) {
        r = iscsi_command_came(c);
    } else if (opcode == ISCSI_DATA_OUT && !c->discovery) {
        r = iscsi_data_came(c);
    } else {
        r = iscsi_other(c);
    }
    free(n->own);
    n->own = NULL;
    return r;
}

/* The data's digest, once all has come.  With it wrong the initiator has to come anew:
 * level 0 has no other recovery. */
static int check_data(struct connection *c)
{
    const struct incoming *n = &c->incoming;
    unsigned pad = n->tail - 4;
    uint32_t sum;
    uint32_t told;

    if (!c->settings.data_digest || n->bytes == 0 || n->to == NULL ||
        n->keep < n->bytes) {
        return 0;
    }
    sum = crc32c(0, n->to, n->bytes);
    sum = crc32c(sum, n->tail_bytes, pad);
    memcpy(&told, n->tail_bytes + pad, sizeof told);
    if (sum == told) {
        return 0;
    }
    (void)iscsi_refuse(c, ISCSI_REJECT_DIGEST);
    return -EBADMSG;
}

/* The head at `at` has come whole.  -errno: the initiator makes no sense. */
static int take_head(struct connection *c, const uint8_t *at, size_t bytes)
{
    struct incoming *n = &c->incoming;

    if (c->settings.header_digest) {
        uint32_t told;

        memcpy(&told, at + bytes - 4, sizeof told);
        if (crc32c(0, at, bytes - 4) != told) {
            return -EBADMSG;
        }
    }
    memset(n, 0, sizeof *n);
    memcpy(n->head, at, ISCSI_HEAD_BYTES);
    n->bytes = get24(at + 5);
    if (n->bytes > ISCSI_SEGMENT_MOST) {
        return -EMSGSIZE;
    }
    n->tail = (unsigned)(-n->bytes & 3);
    if (c->settings.data_digest && n->bytes > 0) {
        n->tail += 4;
    }
    n->active = true;
    c->big = n->bytes >= BIG_BYTES;
    return prepare(c);
}

/* Move what is in the buffer already; true: the PDU is whole. */
static bool take_data(struct connection *c)
{
    struct incoming *n = &c->incoming;
    size_t want = n->bytes - n->got;
    size_t have = c->in_end - c->in_at;
    size_t now = want < have ? want : have;

    if (n->to != NULL && n->got < n->keep) {
        size_t kept = n->keep - n->got;

        memcpy(n->to + n->got, c->in + c->in_at, now < kept ? now : kept);
    }
    n->got += (uint32_t)now;
    c->in_at += now;
    while (n->got == n->bytes && n->tail_got < n->tail && c->in_at < c->in_end) {
        n->tail_bytes[n->tail_got++] = c->in[c->in_at++];
    }
    return n->got == n->bytes && n->tail_got == n->tail;
}

/* Bytes of the next head with what belongs to it; 0: not known yet. */
static size_t head_bytes(const struct connection *c)
{
    size_t have = c->in_end - c->in_at;

    if (have < ISCSI_HEAD_BYTES) {
        return 0;
    }
    return ISCSI_HEAD_BYTES + 4u * c->in[c->in_at + 4] +
           (c->settings.header_digest ? 4u : 0u);
}

/* Handle all that is in the buffer.  0, or why the connection ends. */
static int digest(struct connection *c)
{
    int r = 0;

    while (r == 0 && c->phase == PHASE_FULL && !c->leaving) {
        size_t head = head_bytes(c);

        if (c->incoming.active) {
            if (!take_data(c)) {
                break;
            }
            r = check_data(c);
            r = r != 0 ? r : finish(c);
            if (c->out_pdus >= SEND_PDUS) { /* while it is in the processor's cache */
                iscsi_reply_send(c);
            }
        } else if (head != 0 && c->in_end - c->in_at >= head && !is_full(c)) {
            c->in_at += head;
            r = take_head(c, c->in + c->in_at - head, head);
        } else {
            break;
        }
    }
    return c->phase == PHASE_FULL ? r : 0;
}

/* One recv: into the data that is coming in, and behind it into the buffer. */
static ssize_t fetch(struct connection *c)
{
    struct incoming *in = &c->incoming;
    struct iovec iov[2];
    struct msghdr m = {.msg_iov = iov};
    size_t direct = 0;
    size_t room;
    ssize_t n;

    if (c->in_at > 0) {
        memmove(c->in, c->in + c->in_at, c->in_end - c->in_at);
        c->in_end -= c->in_at;
        c->in_at = 0;
    }
    if (in->active && in->to != NULL && in->keep == in->bytes) {
        direct = in->bytes - in->got;
        iov[m.msg_iovlen++] = (struct iovec){in->to + in->got, direct};
    }
    room = ISCSI_IN_BYTES - c->in_end;
    if (c->big && direct > 0) {
        room = HEAD_AND_DIGEST + in->tail;
    }
    iov[m.msg_iovlen++] = (struct iovec){c->in + c->in_end, room};
    n = recvmsg(c->fd, &m, MSG_DONTWAIT);
    if (n > 0) {
        size_t in_place = (size_t)n < direct ? (size_t)n : direct;

        in->got += (uint32_t)in_place;
        c->in_end += (size_t)n - in_place;
    }
    return n < 0 ? -errno : n;
}

static bool take_once(struct connection *c, bool *ret_any)
{
    ssize_t n;

    if (digest(c) != 0) {
        iscsi_connection_end(c);
        return false;
    }
    if (c->phase != PHASE_FULL) {
        return false;
    }
    if (is_full(c)) {
        (void)loop_watch_change(&c->watch, c->watch.events & ~(uint32_t)EPOLLIN);
        return false;
    }
    n = fetch(c);
    if (n == -EAGAIN || n == -EINTR) {
        return false;
    }
    *ret_any = true;
    if (n <= 0) {
        c->broken = true;
        iscsi_connection_end(c);
        return false;
    }
    if (digest(c) != 0) { /* at once: what came with the last fetch wakes nobody */
        iscsi_connection_end(c);
        return false;
    }
    /* Less: that was all, another recv would find nothing. */
    return c->big || (size_t)n >= ISCSI_IN_BYTES / 2;
}

bool iscsi_transmit_take(struct connection *c)
{
    bool any = false;

    for (unsigned i = 0; i < TAKES_A_TURN && c->phase == PHASE_FULL; i++) {
        if (!take_once(c, &any)) {
            break;
        }
    }
    return any;
}

/* An initiator that keeps coming back at once is waited for without sleeping. */
static void note_pace(struct connection *c)
{
    uint64_t now = loop_now_ns(c->server->loop);

    if (now - c->last_ns < SOON_NS) {
        loop_expect_more(c->server->loop);
    }
    c->last_ns = now;
}

static bool look(struct loop_poller *p)
{
    struct connection *c =
        (struct connection *)((char *)p - offsetof(struct connection, poller));

    if ((c->watch.events & EPOLLIN) == 0 || !iscsi_transmit_take(c)) {
        return false;
    }
    note_pace(c);
    return true;
}

static void came(struct loop_watch *w, uint32_t events)
{
    struct connection *c =
        (struct connection *)((char *)w - offsetof(struct connection, watch));

    if ((events & EPOLLOUT) != 0) {
        c->out_blocked = false;
        (void)loop_watch_change(w, w->events & ~(uint32_t)EPOLLOUT);
        loop_later(c->server->loop, &c->send_task);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) {
        return;
    }
    if (c->phase == PHASE_FULL && (w->events & EPOLLIN) != 0) {
        (void)iscsi_transmit_take(c);
        note_pace(c);
    } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        c->broken = true;
        (void)loop_watch_change(w, 0);
        loop_later(c->server->loop, &c->send_task);
    }
}

static void send_answers(struct loop_task *t)
{
    struct connection *c =
        (struct connection *)((char *)t - offsetof(struct connection, send_task));

    iscsi_reap(c);
    iscsi_reply_send(c);
    if (c->phase == PHASE_FULL && (c->watch.events & EPOLLIN) == 0 && !is_full(c)) {
        (void)loop_watch_change(&c->watch, c->watch.events | EPOLLIN);
        (void)iscsi_transmit_take(c); /* what is in the buffer does not wake us */
    }
    iscsi_connection_maybe_free(c);
}

int iscsi_transmit_begin(struct connection *c)
{
    struct loop *l = c->server->loop;
    int r;

    c->phase = PHASE_FULL;
    c->send_task.fn = send_answers;
    c->poller.fn = look;
    c->watch = (struct loop_watch){.fd = c->fd, .events = EPOLLIN, .fn = came};
    loop_poller_add(l, &c->poller);
    r = loop_watch(l, &c->watch);
    if (r == 0) {
        (void)iscsi_transmit_take(c);
    }
    return r;
}
