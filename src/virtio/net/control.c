/* control.c - the control queue, and which frames the guest wants: VIRTIO 1.2, 5.1.6.5. */
#include <errno.h>
#include <string.h>

#include "virtio/chain.h"
#include "virtio/net/private.h"

#define COMMANDS_A_TURN 16

/* A command as it was read. */
struct command {
    const struct virtq_chain *chain;
    uint8_t class;
    uint8_t kind;
    uint64_t bytes; /* behind these two */
};

static bool read_bytes(const struct command *c, uint64_t off, void *to, uint64_t bytes)
{
    return off <= c->bytes && bytes <= c->bytes - off &&
           virtio_chain_read(c->chain, 2 + off, to, bytes) == bytes;
}

static uint8_t set_mode(struct net *n, const struct command *c)
{
    uint8_t on;
    bool is_extra = c->kind > VIRTIO_NET_CTRL_RX_ALLMULTI;
    uint64_t needs = is_extra ? VIRTIO_NET_F_CTRL_RX_EXTRA : VIRTIO_NET_F_CTRL_RX;

    if (c->kind >= VIRTIO_NET_RX_MODES || (n->work.features & needs) == 0 ||
        c->bytes != 1 || !read_bytes(c, 0, &on, 1) || on > 1) {
        return VIRTIO_NET_ERR;
    }
    n->filter.mode[c->kind] = on;
    return VIRTIO_NET_OK;
}

/* One table from `off` on: where it ends, or 0: it is none. */
static uint64_t read_table(const struct command *c, uint64_t off, struct net_table *ret)
{
    uint32_t count;
    uint64_t bytes;

    if (!read_bytes(c, off, &count, sizeof count)) {
        return 0;
    }
    bytes = (uint64_t)count * NET_MAC_BYTES;
    if (bytes > c->bytes - off - sizeof count) {
        return 0;
    }
    ret->overflowed = count > NET_ADDRESSES_MOST;
    ret->count = ret->overflowed ? 0 : count;
    if (!read_bytes(c, off + sizeof count, ret->mac,
                    (uint64_t)ret->count * NET_MAC_BYTES)) {
        return 0;
    }
    return off + sizeof count + bytes;
}

static uint8_t set_tables(struct net *n, const struct command *c)
{
    struct net_table unicast = {0};
    struct net_table multicast = {0};
    uint64_t end = read_table(c, 0, &unicast);

    end = end != 0 ? read_table(c, end, &multicast) : 0;
    if (end == 0 || end != c->bytes) {
        return VIRTIO_NET_ERR;
    }
    n->filter.unicast = unicast;
    n->filter.multicast = multicast;
    return VIRTIO_NET_OK;
}

static uint8_t set_address(struct net *n, const struct command *c)
{
    uint8_t mac[NET_MAC_BYTES];

    if ((n->work.features & VIRTIO_NET_F_CTRL_MAC_ADDR) == 0 || c->bytes != sizeof mac ||
        !read_bytes(c, 0, mac, sizeof mac) || (mac[0] & 1) != 0) {
        return VIRTIO_NET_ERR;
    }
    vnet_set_mac(n, mac);
    return VIRTIO_NET_OK;
}

static uint8_t set_mac(struct net *n, const struct command *c)
{
    switch (c->kind) {
    case VIRTIO_NET_CTRL_MAC_TABLE_SET:
        return set_tables(n, c);
    case VIRTIO_NET_CTRL_MAC_ADDR_SET:
        return set_address(n, c);
    default:
        return VIRTIO_NET_ERR;
    }
}

static uint8_t announced(struct net *n, const struct command *c)
{
    if (c->kind != VIRTIO_NET_CTRL_ANNOUNCE_ACK ||
        (n->work.features & VIRTIO_NET_F_GUEST_ANNOUNCE) == 0) {
        return VIRTIO_NET_ERR;
    }
    (void)atomic_fetch_and(&n->status, (uint16_t)~VIRTIO_NET_S_ANNOUNCE);
    return VIRTIO_NET_OK;
}

static uint8_t obey(struct net *n, const struct command *c)
{
    switch (c->class) {
    case VIRTIO_NET_CTRL_RX:
        return set_mode(n, c);
    case VIRTIO_NET_CTRL_MAC:
        return set_mac(n, c);
    case VIRTIO_NET_CTRL_ANNOUNCE:
        return announced(n, c);
    default:
        return VIRTIO_NET_ERR;
    }
}

/* -EPROTO: there is nobody to answer to, or nothing to obey. */
static int answer(struct net *n, const struct virtq_chain *chain)
{
    struct virtq *q = &n->q[VIRTIO_NET_CONTROL];
    struct command c = {.chain = chain};
    uint8_t head[2];
    uint8_t said;

    if (chain->write_bytes == 0 ||
        virtio_chain_read(chain, 0, head, sizeof head) != sizeof head) {
        return -EPROTO;
    }
    c.class = head[0];
    c.kind = head[1];
    c.bytes = chain->read_bytes - sizeof head;
    said = obey(n, &c);
    (void)virtio_chain_write(q, chain, 0, &said, 1);
    virtq_give(q, chain, 1);
    return 0;
}

void vnet_control(struct net *n)
{
    unsigned i = 0;

    virtio_work_hush(&n->work, VIRTIO_NET_CONTROL);
    while (i < COMMANDS_A_TURN &&
           virtio_work_take(&n->work, VIRTIO_NET_CONTROL, &n->other) == 1) {
        if (answer(n, &n->other) != 0) {
            virtio_work_break(&n->work, VIRTIO_NET_CONTROL);
            break;
        }
        i++;
    }
    virtio_work_show(&n->work, VIRTIO_NET_CONTROL);
    if (i == COMMANDS_A_TURN) {
        virtio_work_again(&n->work, VIRTIO_NET_CONTROL);
    } else {
        virtio_work_listen(&n->work, VIRTIO_NET_CONTROL);
    }
}

/* Until the driver says what it wants, it gets everything. */
void vnet_filter_reset(struct net_filter *f)
{
    *f = (struct net_filter){.mode[VIRTIO_NET_CTRL_RX_PROMISC] = 1};
}

static bool has(const struct net_table *t, const uint8_t *mac)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (memcmp(t->mac[i], mac, NET_MAC_BYTES) == 0) {
            return true;
        }
    }
    return t->overflowed != 0;
}

bool vnet_filter_passes(const struct net *n, const uint8_t *to)
{
    static const uint8_t everybody[NET_MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const struct net_filter *f = &n->filter;
    uint8_t own[NET_MAC_BYTES];

    if (f->mode[VIRTIO_NET_CTRL_RX_PROMISC] != 0) {
        return true;
    }
    if (memcmp(to, everybody, sizeof everybody) == 0) {
        return f->mode[VIRTIO_NET_CTRL_RX_NOBCAST] == 0;
    }
    if ((to[0] & 1) != 0) {
        return f->mode[VIRTIO_NET_CTRL_RX_NOMULTI] == 0 &&
               (f->mode[VIRTIO_NET_CTRL_RX_ALLMULTI] != 0 || has(&f->multicast, to));
    }
    if (f->mode[VIRTIO_NET_CTRL_RX_NOUNI] != 0) {
        return false;
    }
    vnet_get_mac(n, own);
    return f->mode[VIRTIO_NET_CTRL_RX_ALLUNI] != 0 || memcmp(own, to, sizeof own) == 0 ||
           has(&f->unicast, to);
}
