/* How fast a guest's link may be: a token bucket at either end, before the wire.
 *
 * What goes to the guest is shaped on the host's end, what comes from it on the guest's
 * own: there it waits, and TCP slows down, where the host could only drop it.  A guest
 * that was given the right to change its network (CAP_NET_ADMIN) can take that off. */
#include "resource/network/network.h"

#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/network/private.h"

#define BURST_PART  100         /* of a second: what may leave at once */
#define BURST_LEAST (64U << 10) /* a whole GSO packet */
#define BURST_MOST  (16U << 20)
#define QUEUE_PART  10 /* of a second: what may wait */
#define QUEUE_LEAST (256U << 10)
#define QUEUE_MOST  (64U << 20)

static uint32_t part_of(uint64_t rate, uint64_t part, uint32_t least, uint32_t most)
{
    uint64_t bytes = rate / part;
    return bytes < least ? least : bytes > most ? most : (uint32_t)bytes;
}

static int set_rate(struct netlink *nl, const char *name, uint64_t bytes_per_second)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    struct netlink_rate rate = {
        .bytes_per_second = bytes_per_second,
        .burst_bytes = part_of(bytes_per_second, BURST_PART, BURST_LEAST, BURST_MOST),
        .queue_bytes = part_of(bytes_per_second, QUEUE_PART, QUEUE_LEAST, QUEUE_MOST)};
    struct netlink_link link;
    int r = netlink_find_link(nl, name, &link);
    if (r < 0) {
        return r;
    }
    if (bytes_per_second == 0) {
        netlink_add_no_rate(&b, link.index);
    } else {
        netlink_add_rate(&b, link.index, &rate);
    }
    r = netlink_send(nl, &b, NULL, NULL, NULL);
    return bytes_per_second == 0 && (r == -ENOENT || r == -EINVAL) ? 0 : r;
}

int network_limit_rate(struct network *net, const struct network_port *p, int netns_fd,
                       const struct network_rate *rate, struct err *e)
{
    SCOPED(netlink_close) struct netlink inner = {.fd = -1};
    char name[NETWORK_LINK_BYTES];
    char ifname[NETWORK_LINK_BYTES];
    int r = network_link_name(p, name);
    if (r == 0) {
        r = p->ifname[0] != '\0' ? str_print(ifname, sizeof ifname, "%s", p->ifname)
                                 : str_print(ifname, sizeof ifname, "eth%u", p->index);
    }
    if (r == 0) {
        r = netlink_open(&inner, NETLINK_ROUTE, netns_fd);
    }
    if (r == 0) {
        r = set_rate(&net->route, name, rate->to_guest);
    }
    if (r == 0) {
        r = set_rate(&inner, ifname, rate->from_guest);
    }
    if (network_withheld(r)) {
        return err_set(e, -EOPNOTSUPP,
                       "cannot limit the network rate of guest '%s': this host's kernel "
                       "has no token bucket (sch_tbf)",
                       p->guest_id);
    }
    return r < 0
               ? err_sys(e, r, "cannot limit the network rate of guest '%s'", p->guest_id)
               : 0;
}
