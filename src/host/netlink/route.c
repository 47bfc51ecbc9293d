/* rtnetlink messages, composed and read. */
#include "host/netlink/route.h"

#include <errno.h>
#include <string.h>

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sys/socket.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/netlink/message.h"

#define MAKE (NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK)

/* How long members of a multicast group may wait with their answer, in 1/100 s; as long
 * after its start a bridge floods all multicast, for it knows no members. */
#define MULTICAST_ANSWER_CS 100

static size_t ip_bytes(int family)
{
    return family == AF_INET ? 4 : 16;
}

static void bridge_head(struct netlink_batch *b, uint16_t flags, const char *name)
{
    struct ifinfomsg head = {0};
    netlink_begin(b, RTM_NEWLINK, flags, &head, sizeof head);
    netlink_put_text(b, IFLA_IFNAME, name);
}

static void bridge_kind(struct netlink_batch *b)
{
    netlink_nest(b, IFLA_LINKINFO);
    netlink_put_text(b, IFLA_INFO_KIND, "bridge");
    netlink_nest(b, IFLA_INFO_DATA);
}

/* Two messages: the time to answer counts for what is switched on behind it. */
void netlink_add_bridge(struct netlink_batch *b, const char *name, const uint8_t mac[6],
                        uint32_t mtu)
{
    const uint64_t answer_within = MULTICAST_ANSWER_CS;
    bridge_head(b, MAKE, name);
    netlink_put(b, IFLA_ADDRESS, mac, 6);
    netlink_put_u32(b, IFLA_MTU, mtu);
    bridge_kind(b);
    netlink_put(b, IFLA_BR_MCAST_QUERY_RESPONSE_INTVL, &answer_within,
                sizeof answer_within);
    netlink_end(b);
    netlink_end(b);
    bridge_head(b, NLM_F_ACK, name);
    bridge_kind(b);
    netlink_put_u8(b, IFLA_BR_MCAST_QUERIER, 1);
    netlink_end(b);
    netlink_end(b);
}

/* A port of a bridge needs no IPv6 address of its own: each would be looked for twice
 * and announced when it comes up.  That must be said before it does. */
static void add_port_up(struct netlink_batch *b, const char *name)
{
    struct ifinfomsg head = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    netlink_begin(b, RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
    netlink_put_text(b, IFLA_IFNAME, name);
    netlink_nest(b, IFLA_AF_SPEC);
    netlink_nest(b, AF_INET6);
    netlink_put_u8(b, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    netlink_end(b);
    netlink_end(b);
}

void netlink_add_veth(struct netlink_batch *b, const struct netlink_veth *v)
{
    struct ifinfomsg head = {0};
    struct ifinfomsg peer = {0};
    if (v->master == 0) {
        head = (struct ifinfomsg){.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    }
    netlink_begin(b, RTM_NEWLINK, MAKE, &head, sizeof head);
    netlink_put_text(b, IFLA_IFNAME, v->name);
    if (v->mtu != 0) {
        netlink_put_u32(b, IFLA_MTU, v->mtu);
    }
    if (v->master != 0) {
        netlink_put_u32(b, IFLA_MASTER, v->master);
    }
    netlink_nest(b, IFLA_LINKINFO);
    netlink_put_text(b, IFLA_INFO_KIND, "veth");
    netlink_nest(b, IFLA_INFO_DATA);
    netlink_nest(b, VETH_INFO_PEER);
    netlink_put_raw(b, &peer, sizeof peer);
    netlink_put_text(b, IFLA_IFNAME, v->peer);
    if (v->peer_mac != NULL) {
        netlink_put(b, IFLA_ADDRESS, v->peer_mac, 6);
    }
    if (v->mtu != 0) {
        netlink_put_u32(b, IFLA_MTU, v->mtu);
    }
    if (v->peer_netns >= 0) {
        netlink_put_u32(b, IFLA_NET_NS_FD, (uint32_t)v->peer_netns);
    }
    netlink_end(b);
    netlink_end(b);
    netlink_end(b);
    if (v->master != 0) {
        add_port_up(b, v->name);
    }
}

void netlink_add_up(struct netlink_batch *b, uint32_t index)
{
    struct ifinfomsg head = {
        .ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    netlink_begin(b, RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
}

void netlink_add_alias(struct netlink_batch *b, uint32_t index, const char *text)
{
    struct ifinfomsg head = {.ifi_index = (int)index};
    netlink_begin(b, RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
    netlink_put(b, IFLA_IFALIAS, text, strlen(text));
}

void netlink_add_master(struct netlink_batch *b, const char *name, uint32_t master)
{
    struct ifinfomsg head = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    netlink_begin(b, RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
    netlink_put_text(b, IFLA_IFNAME, name);
    netlink_put_u32(b, IFLA_MASTER, master);
}

void netlink_add_hairpin(struct netlink_batch *b, const char *name)
{
    struct ifinfomsg head = {0};
    netlink_begin(b, RTM_NEWLINK, NLM_F_ACK, &head, sizeof head);
    netlink_put_text(b, IFLA_IFNAME, name);
    netlink_nest(b, IFLA_LINKINFO);
    netlink_put_text(b, IFLA_INFO_SLAVE_KIND, "bridge");
    netlink_nest(b, IFLA_INFO_SLAVE_DATA);
    netlink_put_u8(b, IFLA_BRPORT_MODE, 1);
    netlink_end(b);
    netlink_end(b);
}

void netlink_add_delete(struct netlink_batch *b, const char *name)
{
    struct ifinfomsg head = {0};
    netlink_begin(b, RTM_DELLINK, NLM_F_ACK, &head, sizeof head);
    netlink_put_text(b, IFLA_IFNAME, name);
}

void netlink_add_address(struct netlink_batch *b, uint32_t index, int family,
                         const uint8_t *ip, uint8_t prefix)
{
    struct ifaddrmsg head = {.ifa_family = (uint8_t)family,
                             .ifa_prefixlen = prefix,
                             .ifa_scope = RT_SCOPE_UNIVERSE,
                             .ifa_index = index};
    if (family == AF_INET6) {
        head.ifa_flags = IFA_F_NODAD; /* the subnet is ours alone: do not wait a second */
    }
    netlink_begin(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, &head,
                  sizeof head);
    netlink_put(b, IFA_LOCAL, ip, ip_bytes(family));
    netlink_put(b, IFA_ADDRESS, ip, ip_bytes(family));
    if (family == AF_INET && prefix < 31) {
        uint8_t broadcast[4];
        for (unsigned i = 0; i < 4; i++) {
            int bits = (int)prefix - (int)(8 * i);
            bits = bits < 0 ? 0 : bits > 8 ? 8 : bits;
            broadcast[i] = (uint8_t)(ip[i] | (0xff >> bits));
        }
        netlink_put(b, IFA_BROADCAST, broadcast, sizeof broadcast);
    }
}

void netlink_add_default_route(struct netlink_batch *b, uint32_t index, int family,
                               const uint8_t *gateway)
{
    struct rtmsg head = {.rtm_family = (uint8_t)family,
                         .rtm_table = RT_TABLE_MAIN,
                         .rtm_protocol = RTPROT_STATIC,
                         .rtm_scope = RT_SCOPE_UNIVERSE,
                         .rtm_type = RTN_UNICAST};
    netlink_begin(b, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, &head,
                  sizeof head);
    netlink_put(b, RTA_GATEWAY, gateway, ip_bytes(family));
    netlink_put_u32(b, RTA_OIF, index);
}

/* Copy a text that fits with its NUL; else "". */
static void keep_text(char *out, size_t size, const struct nlattr *a)
{
    const char *text = netlink_text(a);
    if (text == NULL || str_print(out, size, "%s", text) < 0) {
        out[0] = '\0';
    }
}

int netlink_read_link(const struct netlink_message *m, struct netlink_link *ret)
{
    const struct nlattr *tb[IFLA_IFALIAS + 1];
    const struct nlattr *info[IFLA_INFO_KIND + 1];
    struct ifinfomsg head;
    if ((m->type != RTM_NEWLINK && m->type != RTM_DELLINK) || m->len < sizeof head ||
        netlink_attrs(m->data, m->len, sizeof head, tb, IFLA_IFALIAS) < 0) {
        return -EBADMSG;
    }
    memcpy(&head, m->data, sizeof head);
    *ret = (struct netlink_link){.index = (uint32_t)head.ifi_index,
                                 .master = netlink_u32(tb[IFLA_MASTER], 0),
                                 .up = (head.ifi_flags & IFF_UP) != 0};
    keep_text(ret->name, sizeof ret->name, tb[IFLA_IFNAME]);
    keep_text(ret->alias, sizeof ret->alias, tb[IFLA_IFALIAS]);
    if (tb[IFLA_ADDRESS] != NULL && netlink_len(tb[IFLA_ADDRESS]) == sizeof ret->mac) {
        memcpy(ret->mac, netlink_data(tb[IFLA_ADDRESS]), sizeof ret->mac);
    }
    const struct nlattr *a = tb[IFLA_LINKINFO];
    if (a != NULL) {
        if (netlink_attrs(netlink_data(a), netlink_len(a), 0, info, IFLA_INFO_KIND) < 0) {
            return -EBADMSG;
        }
        keep_text(ret->kind, sizeof ret->kind, info[IFLA_INFO_KIND]);
    }
    return 0;
}

int netlink_read_route(const struct netlink_message *m, struct netlink_route *ret)
{
    const struct nlattr *tb[RTA_DST + 1];
    struct rtmsg head;
    if (m->type != RTM_NEWROUTE || m->len < sizeof head ||
        netlink_attrs(m->data, m->len, sizeof head, tb, RTA_DST) < 0) {
        return -EBADMSG;
    }
    memcpy(&head, m->data, sizeof head);
    *ret = (struct netlink_route){
        .family = head.rtm_family, .prefix = head.rtm_dst_len, .type = head.rtm_type};
    const struct nlattr *dst = tb[RTA_DST];
    if (dst != NULL) {
        size_t n = netlink_len(dst);
        if (n > sizeof ret->dst || head.rtm_dst_len > n * 8) {
            return -EBADMSG;
        }
        memcpy(ret->dst, netlink_data(dst), n);
    }
    return 0;
}

static int keep_link(void *arg, const struct netlink_message *m)
{
    return netlink_read_link(m, arg);
}

void netlink_add_settle(struct netlink_batch *b, const char *name)
{
    struct ifinfomsg head = {0};
    netlink_begin(b, RTM_GETLINK, NLM_F_ACK, &head, sizeof head);
    netlink_put_text(b, IFLA_IFNAME, name);
}

int netlink_find_link(struct netlink *nl, const char *name, struct netlink_link *ret)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    netlink_add_settle(&b, name);
    struct netlink_link found = {0};
    int r = netlink_send(nl, &b, keep_link, &found, NULL);
    if (r == 0) {
        *ret = found;
    }
    return r;
}

struct each {
    int (*link)(void *, const struct netlink_link *);
    int (*route)(void *, const struct netlink_route *);
    void *arg;
};

static int tell_link(void *arg, const struct netlink_message *m)
{
    struct each *each = arg;
    struct netlink_link link;
    int r = netlink_read_link(m, &link);
    return r < 0 ? r : each->link(each->arg, &link);
}

int netlink_each_link(struct netlink *nl, int (*fn)(void *, const struct netlink_link *),
                      void *arg)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    struct ifinfomsg head = {0};
    struct each each = {.link = fn, .arg = arg};
    netlink_begin(&b, RTM_GETLINK, NLM_F_DUMP, &head, sizeof head);
    return netlink_send(nl, &b, tell_link, &each, NULL);
}

static int tell_route(void *arg, const struct netlink_message *m)
{
    struct each *each = arg;
    struct netlink_route route;
    int r = netlink_read_route(m, &route);
    return r < 0 ? r : each->route(each->arg, &route);
}

int netlink_each_route(struct netlink *nl,
                       int (*fn)(void *, const struct netlink_route *), void *arg)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    struct rtmsg head = {0};
    struct each each = {.route = fn, .arg = arg};
    netlink_begin(&b, RTM_GETROUTE, NLM_F_DUMP, &head, sizeof head);
    return netlink_send(nl, &b, tell_route, &each, NULL);
}
