/* reply.c - answers: their heads, their order, and their way to the socket.
 *
 * A sendmsg takes as many PDUs as it may have pieces; what the socket does not take
 * waits until it is writable.  Data of a read that needs several PDUs is sent one PDU
 * after the other out of the command's own: when one has gone, the next is built in
 * its place. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/crc32c.h"
#include "base/fault.h"
#include "resource/storage/iscsi/bytes.h"
#include "resource/storage/iscsi/private.h"

#define PIECES_MOST 384

/* ---- heads ---- */

struct pdu *iscsi_pdu(size_t data_bytes, uint8_t **ret_data)
{
    struct pdu *p = fault_calloc(1, sizeof *p + data_bytes);

    if (p != NULL) {
        p->data_bytes = data_bytes;
        p->data = (uint8_t *)(p + 1);
        *ret_data = (uint8_t *)(p + 1);
    }
    return p;
}

static void stamp(struct connection *c, uint8_t *head)
{
    put32(head + 28, c->command_sn);
    put32(head + 32, c->command_sn + ISCSI_WINDOW - c->live_count - 1);
}

/* Length, padding and digests: nothing of head and data changes any more. */
static void seal(const struct connection *c, struct pdu *p)
{
    unsigned pad = (unsigned)(-p->data_bytes & 3);

    p->head_bytes = ISCSI_HEAD_BYTES;
    p->tail_bytes = pad;
    put24(p->head + 5, (uint32_t)p->data_bytes);
    if (c->settings.header_digest) {
        uint32_t sum = crc32c(0, p->head, ISCSI_HEAD_BYTES);

        memcpy(p->head + ISCSI_HEAD_BYTES, &sum, sizeof sum); /* low byte first */
        p->head_bytes += 4;
    }
    memset(p->tail, 0, sizeof p->tail);
    if (c->settings.data_digest && p->data_bytes > 0) {
        uint32_t sum = crc32c(0, p->data, p->data_bytes);

        sum = crc32c(sum, p->tail, pad);
        memcpy(p->tail + pad, &sum, sizeof sum);
        p->tail_bytes += 4;
    }
}

static void queue(struct connection *c, struct pdu *p)
{
    p->next = NULL;
    if (c->out_first == NULL) {
        c->out_first = p;
    } else {
        c->out_last->next = p;
    }
    c->out_last = p;
    c->out_pdus++;
    loop_later(c->server->loop, &c->send_task);
}

void iscsi_send(struct connection *c, struct pdu *p, bool counts)
{
    if (c->broken) {
        free(p);
        return;
    }
    put32(p->head + 24, c->stat_sn);
    c->stat_sn += counts;
    stamp(c, p->head);
    seal(c, p);
    c->out_extra += sizeof *p + p->data_bytes;
    queue(c, p);
}

int iscsi_refuse(struct connection *c, enum iscsi_reject why)
{
    uint8_t *data = NULL;
    struct pdu *p = iscsi_pdu(ISCSI_HEAD_BYTES, &data);

    if (p == NULL) {
        return -ENOMEM;
    }
    p->head[0] = ISCSI_REJECT;
    p->head[1] = ISCSI_FINAL;
    p->head[2] = (uint8_t)why;
    put32(p->head + 16, ISCSI_NO_TAG);
    memcpy(data, c->incoming.head, ISCSI_HEAD_BYTES);
    iscsi_send(c, p, true);
    return 0;
}

void iscsi_ask_data(struct command *m)
{
    struct connection *c = m->c;
    uint32_t left = m->total - m->got;
    uint32_t bytes = left < c->settings.burst ? left : c->settings.burst;
    uint8_t *none;
    struct pdu *p = iscsi_pdu(0, &none);

    if (p == NULL) { /* the initiator would wait for ever */
        iscsi_connection_end(c);
        return;
    }
    m->transfer_tag = c->next_tag++;
    if (m->transfer_tag == ISCSI_NO_TAG) {
        m->transfer_tag = c->next_tag++;
    }
    m->burst_end = m->got + bytes;
    m->data_sn = 0;
    p->head[0] = ISCSI_R2T;
    p->head[1] = ISCSI_FINAL;
    memcpy(p->head + 8, m->lun, 8);
    put32(p->head + 16, m->tag);
    put32(p->head + 20, m->transfer_tag);
    put32(p->head + 36, m->r2t_sn++);
    put32(p->head + 40, m->got);
    put32(p->head + 44, bytes);
    iscsi_send(c, p, false);
}

/* ---- commands ---- */

/* What was announced and what was moved (11.4.5.1). */
static uint8_t set_residual(struct command *m)
{
    const struct scsi_command *s = &m->scsi;
    bool way = s->out ? (m->flags & ISCSI_COMMAND_WRITE) != 0
                      : (m->flags & ISCSI_COMMAND_READ) != 0;
    uint32_t may = way ? m->announced : 0;
    uint32_t would = s->out ? s->wanted : (uint32_t)s->in_bytes;

    if (!way) {
        would = s->wanted;
    }
    if (s->status == SCSI_CHECK_CONDITION && m->over) {
        would = 0;
    }
    m->in_total = !s->out && may < s->in_bytes ? may : (uint32_t)s->in_bytes;
    if (s->out) {
        m->in_total = 0;
    }
    if (!way && m->announced > 0) {
        m->residual = m->announced;
        return ISCSI_UNDERFLOW;
    }
    if (would > may) {
        m->residual = would - may;
        return ISCSI_OVERFLOW;
    }
    m->residual = may - would;
    return would < may ? ISCSI_UNDERFLOW : 0;
}

/* Build the next Data-In in the command's PDU. */
static void build_data_in(struct command *m)
{
    struct connection *c = m->c;
    struct pdu *p = &m->pdu;
    uint32_t left = m->in_total - m->in_sent;
    uint32_t n = left < c->settings.segment ? left : c->settings.segment;
    bool last;

    n = n < m->burst_left ? n : m->burst_left;
    last = n == left;
    memset(p->head, 0, sizeof p->head);
    p->head[0] = ISCSI_DATA_IN;
    if (last) {
        p->head[1] = (uint8_t)(ISCSI_FINAL | ISCSI_STATUS | (m->flags & 6));
        p->head[3] = m->scsi.status;
        put32(p->head + 24, m->stat_sn);
        put32(p->head + 44, m->residual);
    } else if (n == m->burst_left) {
        p->head[1] = ISCSI_FINAL;
    }
    put32(p->head + 16, m->tag);
    put32(p->head + 20, ISCSI_NO_TAG);
    put32(p->head + 36, m->data_sn++);
    put32(p->head + 40, m->in_sent);
    p->data = m->scsi.data + m->in_sent;
    p->data_bytes = n;
    m->in_sent += n;
    m->burst_left = m->burst_left == n ? c->settings.burst : m->burst_left - n;
    stamp(c, p->head);
    seal(c, p);
}

static void build_response(struct command *m)
{
    struct pdu *p = &m->pdu;

    memset(p->head, 0, sizeof p->head);
    p->head[0] = ISCSI_RESPONSE;
    p->head[1] = (uint8_t)(ISCSI_FINAL | (m->flags & 6));
    p->head[3] = m->scsi.status;
    put32(p->head + 16, m->tag);
    put32(p->head + 24, m->stat_sn);
    put32(p->head + 44, m->residual);
    p->data = m->sense;
    p->data_bytes = 0;
    if (m->scsi.sense_bytes > 0) {
        put16(m->sense, m->scsi.sense_bytes);
        memcpy(m->sense + 2, m->scsi.sense, m->scsi.sense_bytes);
        p->data_bytes = 2u + m->scsi.sense_bytes;
    }
    stamp(m->c, p->head);
    seal(m->c, p);
}

void iscsi_answer(struct command *m)
{
    struct connection *c = m->c;

    m->flags = set_residual(m);
    m->in_sent = 0;
    m->data_sn = 0;
    m->burst_left = c->settings.burst;
    m->stat_sn = c->stat_sn++;
    m->pdu.command = m;
    c->server->counts.served++;
    if (m->in_total > 0) {
        build_data_in(m);
    } else {
        build_response(m);
    }
    queue(c, &m->pdu);
}

/* ---- to the socket ---- */

static bool has_more(const struct pdu *p)
{
    return p->command != NULL && p->command->in_sent < p->command->in_total;
}

static void add(struct iovec *pieces, int *n, const void *from, size_t bytes,
                size_t *skip)
{
    if (*skip >= bytes) {
        *skip -= bytes;
        return;
    }
    pieces[*n].iov_base = (char *)(uintptr_t)from + *skip;
    pieces[*n].iov_len = bytes - *skip;
    (*n)++;
    *skip = 0;
}

/* The pieces of the PDUs that wait, from the first byte that has not gone. */
static int gather(const struct connection *c, struct iovec *pieces)
{
    size_t skip = c->out_sent;
    int n = 0;

    for (const struct pdu *p = c->out_first; p != NULL && n + 3 <= PIECES_MOST;
         p = p->next) {
        add(pieces, &n, p->head, p->head_bytes, &skip);
        add(pieces, &n, p->data, p->data_bytes, &skip);
        add(pieces, &n, p->tail, p->tail_bytes, &skip);
        if (has_more(p)) {
            break;
        }
    }
    return n;
}

static void done(struct connection *c, struct pdu *p)
{
    c->out_pdus--;
    if (p->command != NULL) {
        iscsi_command_put(p->command);
    } else {
        c->out_extra -= sizeof *p + p->data_bytes;
        free(p);
    }
}

/* So many bytes more have gone. */
static void advance(struct connection *c, size_t bytes)
{
    c->out_sent += bytes;
    while (c->out_first != NULL) {
        struct pdu *p = c->out_first;
        size_t all = p->head_bytes + p->data_bytes + p->tail_bytes;

        if (c->out_sent < all) {
            return;
        }
        c->out_sent -= all;
        if (has_more(p)) {
            build_data_in(p->command);
            return;
        }
        c->out_first = p->next;
        done(c, p);
    }
}

void iscsi_reply_drop(struct connection *c)
{
    while (c->out_first != NULL) {
        struct pdu *p = c->out_first;

        c->out_first = p->next;
        done(c, p);
    }
    c->out_sent = 0;
}

void iscsi_reply_send(struct connection *c)
{
    struct iovec pieces[PIECES_MOST];

    while (c->out_first != NULL && !c->out_blocked && !c->broken) {
        struct msghdr m = {.msg_iov = pieces};
        ssize_t n;

        m.msg_iovlen = (size_t)gather(c, pieces);
        n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            advance(c, (size_t)n);
        } else if (n < 0 && errno == EAGAIN) {
            c->out_blocked = true;
            (void)loop_watch_change(&c->watch, c->watch.events | EPOLLOUT);
        } else if (n == 0 || errno != EINTR) {
            c->broken = true;
        }
    }
    if (c->broken) {
        iscsi_reply_drop(c);
        if (c->phase == PHASE_FULL) {
            iscsi_connection_end(c);
        }
    } else if (c->leaving && c->out_first == NULL && c->phase == PHASE_FULL) {
        iscsi_connection_end(c);
    }
}
