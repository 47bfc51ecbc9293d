/* pair.c - two network interfaces joined in memory.
 *
 * Each end has an inbox of frames that are on their way to it.  They are handed over at
 * the next turn of the loop, so that neither end is called inside a call of its own. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "host/loop/loop.h"
#include "resource/network/nic/nic.h"
#include "resource/network/nic/private.h"

struct pair;

struct end {
    struct nic nic; /* first */
    struct pair *pair;
    struct end *other;
    struct nic_inbox inbox;  /* on their way to this end */
    struct loop_timer timer; /* hands them over */
    unsigned accepts;
    bool is_blocked; /* has frames that the other end had no room for */
    bool is_gone;
};

struct pair {
    struct loop *loop; /* borrowed */
    struct end end[2];
};

static void on_timer(struct loop_timer *t)
{
    struct end *n = (struct end *)((char *)t - offsetof(struct end, timer));
    struct end *other = n->other;

    if (!nic_inbox_deliver(&n->inbox, &n->nic)) {
        return; /* `more` goes on */
    }
    n->inbox.at = 0;
    n->inbox.count = 0;
    if (other->is_blocked) {
        other->is_blocked = false;
        if (other->nic.writable != NULL) {
            other->nic.writable(&other->nic);
        }
    }
}

/* Whether the other end can do with what was left undone. */
static bool is_accepted(const struct end *to, const struct nic_offload *o)
{
    unsigned needs = (o->flags & 1) != 0 ? NIC_CHECKSUM : 0;

    needs |= o->gso_type == 1 ? NIC_TSO4 : 0;
    needs |= o->gso_type == 4 ? NIC_TSO6 : 0;
    return (needs & ~to->accepts) == 0;
}

static void put(struct end *to, const struct nic_frame *f)
{
    struct nic_inbox *b = &to->inbox;
    uint8_t *at = nic_inbox_slot(b, b->count);

    if (f->bytes > b->frame_bytes || !is_accepted(to, &f->offload)) {
        return;
    }
    for (unsigned i = 0; i < f->pieces; i++) {
        memcpy(at, f->iov[i].iov_base, f->iov[i].iov_len);
        at += f->iov[i].iov_len;
    }
    b->bytes[b->count] = f->bytes;
    b->offload[b->count++] = f->offload;
}

static unsigned pair_send(struct nic *n, const struct nic_frame *f, unsigned count)
{
    struct end *from = (struct end *)n;
    struct end *to = from->other;
    unsigned i = 0;

    if (to->is_gone) {
        return count;
    }
    for (; i < count && to->inbox.count < NIC_BATCH; i++) {
        put(to, &f[i]);
    }
    from->is_blocked = i < count;
    if (!to->timer.set) {
        loop_timer_set(to->pair->loop, &to->timer, 1);
    }
    return i;
}

static void pair_more(struct nic *n)
{
    struct end *own = (struct end *)n;

    loop_timer_set(own->pair->loop, &own->timer, 1);
}

static void pair_accept(struct nic *n, unsigned offers)
{
    ((struct end *)n)->accepts = offers & n->offers;
}

static void pair_free(struct pair *p)
{
    nic_inbox_fini(&p->end[0].inbox);
    nic_inbox_fini(&p->end[1].inbox);
    free(p);
}

static void pair_destroy(struct nic *n)
{
    struct end *own = (struct end *)n;
    struct end *other = own->other;

    own->is_gone = true;
    loop_timer_clear(own->pair->loop, &own->timer);
    if (other->is_gone) {
        pair_free(own->pair);
    } else if (other->is_blocked) {
        other->is_blocked = false;
        if (other->nic.writable != NULL) {
            other->nic.writable(&other->nic);
        }
    }
}

static const struct nic_ops nic_pair_ops = {
    .name = "pair",
    .send = pair_send,
    .more = pair_more,
    .accept = pair_accept,
    .destroy = pair_destroy,
};

int nic_pair_create(struct loop *l, uint16_t mtu, unsigned offers, struct nic *ret[2],
                    struct err *e)
{
    size_t bytes = (offers & (NIC_TSO4 | NIC_TSO6)) != 0 ? (size_t)NIC_LARGE_BYTES
                                                         : mtu + (size_t)NIC_ETHER_BYTES;
    struct pair *p;

    if (nic_check_mtu(mtu, e) < 0) {
        return -EINVAL;
    }
    p = fault_calloc(1, sizeof *p);
    if (p == NULL || !nic_inbox_init(&p->end[0].inbox, bytes) ||
        !nic_inbox_init(&p->end[1].inbox, bytes)) {
        if (p != NULL) {
            pair_free(p);
        }
        return err_set(e, -ENOMEM, "cannot join two interfaces: out of memory");
    }
    p->loop = l;
    for (unsigned i = 0; i < 2; i++) {
        p->end[i].nic = (struct nic){.ops = &nic_pair_ops, .offers = offers, .mtu = mtu};
        p->end[i].pair = p;
        p->end[i].other = &p->end[1 - i];
        p->end[i].timer.fn = on_timer;
        ret[i] = &p->end[i].nic;
    }
    return 0;
}
