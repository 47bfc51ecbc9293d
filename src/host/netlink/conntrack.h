/* host/netlink/conntrack.h - the connections that the kernel tracks. */
#ifndef HOST_NETLINK_CONNTRACK_H
#define HOST_NETLINK_CONNTRACK_H

#include <stddef.h>
#include <stdint.h>

struct netlink;
struct netlink_batch;
struct netlink_message;

/* One direction of a flow; addresses have as many bytes as the family. */
struct conntrack_tuple {
    uint8_t src[16];
    uint8_t dst[16];
    uint16_t sport; /* host order */
    uint16_t dport;
};

struct conntrack_flow {
    uint8_t family; /* AF_INET, AF_INET6 */
    uint8_t proto;  /* IPPROTO_UDP ... */
    uint16_t zone;
    uint32_t status; /* IPS_DST_NAT ... */
    struct conntrack_tuple orig;
    struct conntrack_tuple reply; /* after translation: `src` is who answers */
};

/* Call `fn` for each flow of a family (it ends the walk by returning not 0), through a
 * socket of NETLINK_NETFILTER.  -EOPNOTSUPP or so where the kernel tells nothing. */
typedef int conntrack_fn(void *arg, const struct conntrack_flow *flow);
int conntrack_each(struct netlink *nl, uint8_t family, conntrack_fn *fn, void *arg);

/* Forget one; -ENOENT when it is gone already. */
void conntrack_add_delete(struct netlink_batch *b, const struct conntrack_flow *flow);

/* What a received message says; -EBADMSG when malformed or of another type. */
int conntrack_read(const struct netlink_message *m, struct conntrack_flow *ret);

#endif
