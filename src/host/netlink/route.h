/* host/netlink/route.h - rtnetlink: links, addresses, routes.
 *
 * The `netlink_add_...` functions append one message that asks for an
 * acknowledgement; nothing happens before `netlink_send`. */
#ifndef HOST_NETLINK_ROUTE_H
#define HOST_NETLINK_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct netlink;
struct netlink_batch;

#define NETLINK_NAME_BYTES  16  /* IFNAMSIZ */
#define NETLINK_ALIAS_BYTES 256 /* IFALIASZ */

/* A pair of interfaces; `name` here, `peer` in the namespace `peer_netns`. */
struct netlink_veth {
    const char *name;
    const char *peer;
    const uint8_t *peer_mac; /* six bytes; NULL: random */
    int peer_netns;          /* descriptor; -1: here, too */
    uint32_t master;         /* index of the bridge that `name` joins; 0: none */
    uint32_t mtu;            /* bytes; 0: the kernel's */
};

struct netlink_link {
    char name[NETLINK_NAME_BYTES];
    char kind[NETLINK_NAME_BYTES];   /* "veth"; "" for hardware */
    char alias[NETLINK_ALIAS_BYTES]; /* "": none */
    uint8_t mac[6];                  /* zero where the hardware has another kind */
    uint32_t index;
    uint32_t master; /* 0: none */
    bool up;
};

/* A destination that this host routes; `bytes` as many as the family has. */
struct netlink_route {
    uint8_t family; /* AF_INET, AF_INET6 */
    uint8_t prefix; /* bits */
    uint8_t type;   /* RTN_UNICAST ... */
    uint8_t dst[16];
};

/* A bridge that asks for members of multicast groups and sends it to them alone, once it
 * is a second old: else each packet of neighbour discovery goes to every port. */
void netlink_add_bridge(struct netlink_batch *b, const char *name, const uint8_t mac[6],
                        uint32_t mtu);
/* `name` is up at once, and without an IPv6 address where it is a port of a bridge. */
void netlink_add_veth(struct netlink_batch *b, const struct netlink_veth *v);
void netlink_add_up(struct netlink_batch *b, uint32_t index);
/* A note for people, that `ip link` shows; shorter than NETLINK_ALIAS_BYTES. */
void netlink_add_alias(struct netlink_batch *b, uint32_t index, const char *text);
/* Make a link a port of the bridge `master` and bring it up. */
void netlink_add_master(struct netlink_batch *b, const char *name, uint32_t master);
/* A bridge's port may send a packet back where it came from. */
void netlink_add_hairpin(struct netlink_batch *b, const char *name);
void netlink_add_delete(struct netlink_batch *b, const char *name);
/* `ip` has 4 or 16 bytes, as the family says; IPv6 without duplicate detection. */
void netlink_add_address(struct netlink_batch *b, uint32_t index, int family,
                         const uint8_t *ip, uint8_t prefix);
void netlink_add_default_route(struct netlink_batch *b, uint32_t index, int family,
                               const uint8_t *gateway);

struct netlink_rate {
    uint64_t bytes_per_second;
    uint32_t burst_bytes; /* that may leave at once; a whole packet at least */
    uint32_t queue_bytes; /* that may wait; what comes beyond is dropped */
};

/* Let a link send no faster, instead of what was set before; and without a limit again
 * (-ENOENT or -EINVAL when it has none of ours). */
void netlink_add_rate(struct netlink_batch *b, uint32_t index,
                      const struct netlink_rate *rate);
void netlink_add_no_rate(struct netlink_batch *b, uint32_t index);

/* Make the kernel act on a link's carrier now.  Otherwise a worker does so some time
 * later, and the first packets are lost, which costs their sender a second.  Works
 * by asking for the link (from Linux 6.8; before, the question has no effect). */
void netlink_add_settle(struct netlink_batch *b, const char *name);

/* -ENODEV when there is none of that name. */
int netlink_find_link(struct netlink *nl, const char *name, struct netlink_link *ret);

/* Call `fn` for each link / route; it ends the walk by returning not 0. */
int netlink_each_link(struct netlink *nl, int (*fn)(void *, const struct netlink_link *),
                      void *arg);
int netlink_each_route(struct netlink *nl,
                       int (*fn)(void *, const struct netlink_route *), void *arg);

struct netlink_message;
/* What a received message says; -EBADMSG when malformed or of another type. */
int netlink_read_link(const struct netlink_message *m, struct netlink_link *ret);
int netlink_read_route(const struct netlink_message *m, struct netlink_route *ret);

#endif
