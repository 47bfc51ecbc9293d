/* ctnetlink: tracked connections, listed and forgotten. */
#include "host/netlink/conntrack.h"

#include <errno.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>

#include "base/scope.h"
#include "host/netlink/message.h"

#define CT_NEW    (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW)
#define CT_GET    (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET)
#define CT_DELETE (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE)

static void begin(struct netlink_batch *b, unsigned type, unsigned flags, uint8_t family)
{
    struct nfgenmsg head = {.nfgen_family = family, .version = NFNETLINK_V0};
    netlink_begin(b, (uint16_t)type, (uint16_t)flags, &head, sizeof head);
}

static size_t ip_bytes(uint8_t family)
{
    return family == AF_INET ? 4 : 16;
}

static int read_address(const struct nlattr *a, uint8_t family, uint8_t out[16])
{
    if (a == NULL || netlink_len(a) != ip_bytes(family)) {
        return -EBADMSG;
    }
    memcpy(out, netlink_data(a), ip_bytes(family));
    return 0;
}

static int read_ips(const struct nlattr *a, uint8_t family, struct conntrack_tuple *t)
{
    const struct nlattr *tb[CTA_IP_MAX + 1];
    bool four = family == AF_INET;
    if (a == NULL ||
        netlink_attrs(netlink_data(a), netlink_len(a), 0, tb, CTA_IP_MAX) < 0) {
        return -EBADMSG;
    }
    int r = read_address(tb[four ? CTA_IP_V4_SRC : CTA_IP_V6_SRC], family, t->src);
    return r < 0 ? r
                 : read_address(tb[four ? CTA_IP_V4_DST : CTA_IP_V6_DST], family, t->dst);
}

/* Protocols without ports have zeros. */
static uint16_t port_of(const struct nlattr *a)
{
    uint16_t port = 0;
    if (a != NULL && netlink_len(a) >= sizeof port) {
        memcpy(&port, netlink_data(a), sizeof port);
    }
    return ntohs(port);
}

static int read_tuple(const struct nlattr *a, uint8_t family, struct conntrack_tuple *t,
                      uint8_t *ret_proto)
{
    const struct nlattr *tb[CTA_TUPLE_PROTO + 1];
    const struct nlattr *proto[CTA_PROTO_DST_PORT + 1];
    if (a == NULL ||
        netlink_attrs(netlink_data(a), netlink_len(a), 0, tb, CTA_TUPLE_PROTO) < 0 ||
        tb[CTA_TUPLE_PROTO] == NULL ||
        netlink_attrs(netlink_data(tb[CTA_TUPLE_PROTO]), netlink_len(tb[CTA_TUPLE_PROTO]),
                      0, proto, CTA_PROTO_DST_PORT) < 0 ||
        proto[CTA_PROTO_NUM] == NULL || netlink_len(proto[CTA_PROTO_NUM]) < 1) {
        return -EBADMSG;
    }
    *ret_proto = *(const uint8_t *)netlink_data(proto[CTA_PROTO_NUM]);
    t->sport = port_of(proto[CTA_PROTO_SRC_PORT]);
    t->dport = port_of(proto[CTA_PROTO_DST_PORT]);
    return read_ips(tb[CTA_TUPLE_IP], family, t);
}

int conntrack_read(const struct netlink_message *m, struct conntrack_flow *ret)
{
    const struct nlattr *tb[CTA_ZONE + 1];
    struct nfgenmsg head;
    uint8_t proto;
    if (m->type != CT_NEW || m->len < sizeof head ||
        netlink_attrs(m->data, m->len, sizeof head, tb, CTA_ZONE) < 0) {
        return -EBADMSG;
    }
    memcpy(&head, m->data, sizeof head);
    if (head.nfgen_family != AF_INET && head.nfgen_family != AF_INET6) {
        return -EBADMSG;
    }
    *ret = (struct conntrack_flow){.family = head.nfgen_family,
                                   .status = netlink_be32(tb[CTA_STATUS], 0),
                                   .zone = port_of(tb[CTA_ZONE])};
    int r = read_tuple(tb[CTA_TUPLE_ORIG], ret->family, &ret->orig, &ret->proto);
    return r < 0 ? r : read_tuple(tb[CTA_TUPLE_REPLY], ret->family, &ret->reply, &proto);
}

static void put_tuple(struct netlink_batch *b, const struct conntrack_flow *flow)
{
    bool four = flow->family == AF_INET;
    size_t n = ip_bytes(flow->family);
    netlink_nest(b, CTA_TUPLE_ORIG);
    netlink_nest(b, CTA_TUPLE_IP);
    netlink_put(b, four ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, flow->orig.src, n);
    netlink_put(b, four ? CTA_IP_V4_DST : CTA_IP_V6_DST, flow->orig.dst, n);
    netlink_end(b);
    netlink_nest(b, CTA_TUPLE_PROTO);
    netlink_put_u8(b, CTA_PROTO_NUM, flow->proto);
    netlink_put_be16(b, CTA_PROTO_SRC_PORT, flow->orig.sport);
    netlink_put_be16(b, CTA_PROTO_DST_PORT, flow->orig.dport);
    netlink_end(b);
    netlink_end(b);
}

void conntrack_add_delete(struct netlink_batch *b, const struct conntrack_flow *flow)
{
    begin(b, CT_DELETE, NLM_F_ACK, flow->family);
    put_tuple(b, flow);
    if (flow->zone != 0) {
        netlink_put_be16(b, CTA_ZONE, flow->zone);
    }
}

struct each {
    conntrack_fn *fn;
    void *arg;
};

static int tell(void *arg, const struct netlink_message *m)
{
    struct each *each = arg;
    struct conntrack_flow flow;
    int r = conntrack_read(m, &flow);
    return r < 0 ? r : each->fn(each->arg, &flow);
}

int conntrack_each(struct netlink *nl, uint8_t family, conntrack_fn *fn, void *arg)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    struct each each = {.fn = fn, .arg = arg};
    begin(&b, CT_GET, NLM_F_DUMP, family);
    return netlink_send(nl, &b, tell, &each, NULL);
}
