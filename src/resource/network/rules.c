/* The rules of all networks of one state directory: one table, made at once.
 *
 * Networks and published ports are elements of sets and maps; the rules never
 * change, and their number depends on neither.
 *
 *   loopback   a guest cannot reach 127.0.0.0/8 of the host, though the bridges
 *              route it (so that 127.0.0.1:PORT of the host can reach a guest)
 *   arrive     published ports, for packets from outside and from guests
 *   local      the same for the host's own programs; [::1] cannot be led off the
 *              loopback interface by the kernel and is left to a forwarder
 *   leave      guests' packets leave under the host's address; so do those that
 *              return into the network they came from, and the host's from 127.0.0.1
 *              (told by address, not by interface: where bridges pass packets to
 *              the rules, translation makes such a packet a bridged one, and the
 *              rules no longer see where it came in)
 *   forward    from outside, and from one network to another: published ports only
 *   input      from internal networks nothing but neighbour discovery
 *
 * A port published on one address comes before one published on all of them. */
#include "resource/network/private.h"

#include <errno.h>
#include <string.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>

#include "base/scope.h"

#define IP4_SOURCE      12 /* RFC 791, 3.1: offsets in the header */
#define IP4_DESTINATION 16
#define IP6_SOURCE      8
#define IP6_DESTINATION 24 /* RFC 8200, 3 */
#define TH_DESTINATION  2  /* RFC 768, RFC 9293 3.1: the same place in both */

/* Registers: a key begins at KEY, what a map answers at ANSWER. */
#define KEY    0
#define ANSWER 8

#define PAIR(a, b) ((uint32_t)(a) << 6 | (uint32_t)(b)) /* how `nft` writes key types */

const char *const network_maps[4] = {"one4", "one6", "any4", "any6"};

static const uint8_t loopback4[4] = {127};
static const uint8_t loopback6[16] = {[15] = 1};

static const struct nft_chain chains[] = {
    {"loopback", "filter", NF_INET_PRE_ROUTING, -300},
    {"arrive", "nat", NF_INET_PRE_ROUTING, -100},
    {"local", "nat", NF_INET_LOCAL_OUT, -100},
    {"leave", "nat", NF_INET_POST_ROUTING, 100},
    {"forward", "filter", NF_INET_FORWARD, 0},
    {"input", "filter", NF_INET_LOCAL_IN, 0},
};

static const struct nft_set sets[] = {
    {SET_BRIDGES, 1, NFT_TYPE_IFNAME, 16, 0, 0},
    {SET_SAME, 2, PAIR(NFT_TYPE_IFNAME, NFT_TYPE_IFNAME), 32, 0, 0},
    {SET_INTERNAL, 3, NFT_TYPE_IFNAME, 16, 0, 0},
    {SET_RETURN4, 8, PAIR(NFT_TYPE_IP4, NFT_TYPE_IFNAME), 20, 0, 0, {4, 16}},
    {SET_RETURN6, 9, PAIR(NFT_TYPE_IP6, NFT_TYPE_IFNAME), 32, 0, 0, {16, 16}},
    {"one4", 4, PAIR(PAIR(NFT_TYPE_IP4, NFT_TYPE_PROTO), NFT_TYPE_SERVICE), 12,
     PAIR(NFT_TYPE_IP4, NFT_TYPE_SERVICE), 8},
    {"one6", 5, PAIR(PAIR(NFT_TYPE_IP6, NFT_TYPE_PROTO), NFT_TYPE_SERVICE), 24,
     PAIR(NFT_TYPE_IP6, NFT_TYPE_SERVICE), 20},
    {"any4", 6, PAIR(NFT_TYPE_PROTO, NFT_TYPE_SERVICE), 8,
     PAIR(NFT_TYPE_IP4, NFT_TYPE_SERVICE), 8},
    {"any6", 7, PAIR(NFT_TYPE_PROTO, NFT_TYPE_SERVICE), 8,
     PAIR(NFT_TYPE_IP6, NFT_TYPE_SERVICE), 20},
};

static void if_family(struct netlink_batch *b, uint8_t family)
{
    nft_meta(b, NFT_META_NFPROTO, KEY);
    nft_compare(b, KEY, NFT_CMP_EQ, &family, 1);
}

static void if_input(struct netlink_batch *b, const char *set)
{
    nft_meta(b, NFT_META_IIFNAME, KEY);
    nft_in_set(b, set, KEY, false);
}

static void if_output(struct netlink_batch *b, const char *set, bool absent)
{
    nft_meta(b, NFT_META_OIFNAME, KEY);
    nft_in_set(b, set, KEY, absent);
}

static void if_same(struct netlink_batch *b)
{
    nft_meta(b, NFT_META_IIFNAME, KEY);
    nft_meta(b, NFT_META_OIFNAME, KEY + 4);
    nft_in_set(b, SET_SAME, KEY, false);
}

/* Protocol and destination port into two registers. */
static void load_port(struct netlink_batch *b, unsigned reg)
{
    nft_meta(b, NFT_META_L4PROTO, reg);
    nft_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, TH_DESTINATION, 2, reg + 1);
}

/* One rule per map: `which` as in `network_maps`. */
static void add_dnat(struct netlink_batch *b, const char *table, const char *chain,
                     unsigned which)
{
    bool six = which % 2 == 1;
    bool any = which >= 2;
    unsigned words = six ? 4 : 1;
    nft_begin_rule(b, table, chain);
    if_family(b, six ? NFPROTO_IPV6 : NFPROTO_IPV4);
    if (six && strcmp(chain, "local") == 0) {
        nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, IP6_DESTINATION, 16, KEY);
        nft_compare(b, KEY, NFT_CMP_NEQ, loopback6, sizeof loopback6);
    }
    if (any) {
        uint32_t local = RTN_LOCAL;
        nft_fib_daddr_type(b, KEY);
        nft_compare(b, KEY, NFT_CMP_EQ, &local, sizeof local);
        load_port(b, KEY);
    } else {
        nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER,
                    six ? IP6_DESTINATION : IP4_DESTINATION, six ? 16 : 4, KEY);
        load_port(b, KEY + words);
    }
    nft_look_up(b, network_maps[which], KEY, ANSWER);
    nft_dnat(b, six ? NFPROTO_IPV6 : NFPROTO_IPV4, ANSWER, ANSWER + words);
    nft_end_rule(b);
}

static void add_loopback_guard(struct netlink_batch *b, const char *table)
{
    nft_begin_rule(b, table, "loopback");
    if_family(b, NFPROTO_IPV4);
    if_input(b, SET_BRIDGES);
    nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, IP4_DESTINATION, 4, KEY);
    nft_compare_prefix4(b, KEY, loopback4, 8);
    nft_verdict(b, NF_DROP);
    nft_end_rule(b);
}

static void add_leave(struct netlink_batch *b, const char *table)
{
    nft_begin_rule(b, table, "leave");
    if_input(b, SET_BRIDGES);
    if_output(b, SET_BRIDGES, true);
    nft_masquerade(b);
    nft_end_rule(b);

    for (unsigned six = 0; six < 2; six++) {
        nft_begin_rule(b, table, "leave");
        if_family(b, six ? NFPROTO_IPV6 : NFPROTO_IPV4);
        nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, six ? IP6_SOURCE : IP4_SOURCE,
                    six ? 16 : 4, KEY);
        nft_meta(b, NFT_META_OIFNAME, KEY + (six ? 4 : 1));
        nft_in_set(b, six ? SET_RETURN6 : SET_RETURN4, KEY, false);
        nft_ct_any(b, NFT_CT_STATUS, IPS_DST_NAT);
        nft_masquerade(b);
        nft_end_rule(b);
    }

    nft_begin_rule(b, table, "leave");
    if_family(b, NFPROTO_IPV4);
    if_output(b, SET_BRIDGES, false);
    nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, IP4_SOURCE, 4, KEY);
    nft_compare_prefix4(b, KEY, loopback4, 8);
    nft_masquerade(b);
    nft_end_rule(b);
}

static void add_established(struct netlink_batch *b, const char *table, const char *chain)
{
    nft_begin_rule(b, table, chain);
    nft_ct_any(b, NFT_CT_STATE,
               NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED));
    nft_verdict(b, NF_ACCEPT);
    nft_end_rule(b);
}

static void add_forward(struct netlink_batch *b, const char *table)
{
    add_established(b, table, "forward");
    nft_begin_rule(b, table, "forward");
    if_same(b); /* seen here only on hosts whose bridges pass packets to the rules */
    nft_verdict(b, NF_ACCEPT);
    nft_end_rule(b);

    nft_begin_rule(b, table, "forward");
    if_output(b, SET_BRIDGES, false);
    nft_ct_any(b, NFT_CT_STATUS, IPS_DST_NAT);
    nft_verdict(b, NF_ACCEPT);
    nft_end_rule(b);

    nft_begin_rule(b, table, "forward");
    if_output(b, SET_BRIDGES, false);
    nft_verdict(b, NF_DROP);
    nft_end_rule(b);

    nft_begin_rule(b, table, "forward");
    if_input(b, SET_INTERNAL);
    nft_verdict(b, NF_DROP);
    nft_end_rule(b);
}

static void add_input(struct netlink_batch *b, const char *table)
{
    uint8_t icmp6 = IPPROTO_ICMPV6;
    add_established(b, table, "input");
    nft_begin_rule(b, table, "input");
    if_input(b, SET_INTERNAL);
    nft_meta(b, NFT_META_L4PROTO, KEY);
    nft_compare(b, KEY, NFT_CMP_NEQ, &icmp6, 1);
    nft_verdict(b, NF_DROP);
    nft_end_rule(b);
}

int network_make_table(struct network *net, struct netlink_result *ret)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    nft_begin(&b);
    nft_add_table(&b, net->table, net->home[0] != '\0' ? net->home : NULL, true);
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        nft_add_set(&b, net->table, &sets[i]);
    }
    for (size_t i = 0; i < sizeof chains / sizeof chains[0]; i++) {
        nft_add_chain(&b, net->table, &chains[i]);
    }
    add_loopback_guard(&b, net->table);
    for (unsigned which = 0; which < 4; which++) {
        add_dnat(&b, net->table, "arrive", which);
        add_dnat(&b, net->table, "local", which);
    }
    add_leave(&b, net->table);
    add_forward(&b, net->table);
    add_input(&b, net->table);
    nft_end(&b);
    return netlink_send(&net->nft, &b, NULL, NULL, ret);
}

typedef void change_fn(struct netlink_batch *, const char *, const char *,
                       const struct nft_element *);

/* The range from a subnet's first address to its last, each with the bridge's name. */
static void mark_subnet(struct netlink_batch *b, const char *table,
                        const struct network_cidr *c, const char *bridge,
                        change_fn *change)
{
    size_t bytes = c->ip.version == 4 ? 4 : 16;
    uint8_t first[16 + NETWORK_LINK_BYTES];
    uint8_t last[16 + NETWORK_LINK_BYTES];
    if (c->ip.version == 0) {
        return;
    }
    memcpy(first, c->ip.bytes, bytes);
    network_pad_name(first + bytes, bridge);
    memcpy(last, first, sizeof last);
    for (size_t i = c->prefix; i < bytes * 8; i++) {
        last[i / 8] = (uint8_t)(last[i / 8] | 0x80 >> i % 8);
    }
    struct nft_element el = {
        .key = first, .key_bytes = bytes + NETWORK_LINK_BYTES, .key_end = last};
    change(b, table, bytes == 4 ? SET_RETURN4 : SET_RETURN6, &el);
}

void network_mark(struct netlink_batch *b, const char *table,
                  const struct network_spec *s, bool add)
{
    change_fn *change = add ? nft_add_element : nft_delete_element;
    uint8_t name[2 * NETWORK_LINK_BYTES];
    network_pad_name(name, s->bridge);
    network_pad_name(name + NETWORK_LINK_BYTES, s->bridge);
    struct nft_element one = {.key = name, .key_bytes = NETWORK_LINK_BYTES};
    struct nft_element two = {.key = name, .key_bytes = sizeof name};
    change(b, table, SET_BRIDGES, &one);
    change(b, table, SET_SAME, &two);
    if (s->internal) {
        change(b, table, SET_INTERNAL, &one);
    }
    mark_subnet(b, table, &s->subnet4, s->bridge, change);
    mark_subnet(b, table, &s->subnet6, s->bridge, change);
}

void network_pad_name(uint8_t out[NETWORK_LINK_BYTES], const char *name)
{
    memset(out, 0, NETWORK_LINK_BYTES);
    memcpy(out, name, strnlen(name, NETWORK_LINK_BYTES - 1));
}
