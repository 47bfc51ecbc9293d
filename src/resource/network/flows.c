/* Tracked UDP flows of published ports, forgotten when a port changes hands.
 *
 * A client that goes on sending keeps its flow alive, and the kernel translates by the
 * flow, not by the rules: such packets would reach the guest that had the port before,
 * or whoever has its address now; or, sent before the port was published, nobody.  TCP
 * needs nothing: a connection to a guest that is gone ends. */
#include "resource/network/published.h"

#include <errno.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/scope.h"

struct forgetting {
    const struct entries *list;
    struct netlink_batch batch; /* owned */
};

static size_t ip_bytes(const struct conntrack_flow *flow)
{
    return flow->family == AF_INET ? 4 : 16;
}

/* The guest's address and port stand in the entry's data. */
static bool is_answered_by(const struct conntrack_flow *flow, const struct entry *en)
{
    uint16_t port;
    memcpy(&port, en->data + ip_bytes(flow), sizeof port);
    return memcmp(flow->reply.src, en->data, ip_bytes(flow)) == 0 &&
           flow->reply.sport == ntohs(port);
}

static bool is_stale(const struct conntrack_flow *flow, const struct entry *en)
{
    bool any = en->which == ANY4 || en->which == ANY6;
    if (en->proto != IPPROTO_UDP ||
        (en->host.version == 4) != (flow->family == AF_INET)) {
        return false;
    }
    if (is_answered_by(flow, en)) {
        return true;
    }
    /* What leaves under the host's address asks a server elsewhere: not ours. */
    return flow->orig.dport == en->port &&
           (any || memcmp(flow->orig.dst, en->host.bytes, ip_bytes(flow)) == 0) &&
           ((flow->status & IPS_SRC_NAT) == 0 || (flow->status & IPS_DST_NAT) != 0);
}

static int forget_one(void *arg, const struct conntrack_flow *flow)
{
    struct forgetting *f = arg;
    for (size_t i = 0; i < f->list->n && flow->proto == IPPROTO_UDP; i++) {
        if (is_stale(flow, &f->list->items[i])) {
            conntrack_add_delete(&f->batch, flow);
            break;
        }
    }
    return 0;
}

void network_forget_flows(struct network *net, const struct entries *list)
{
    struct forgetting f = {.list = list};
    bool udp = false;
    for (size_t i = 0; i < list->n; i++) {
        udp |= list->items[i].proto == IPPROTO_UDP;
    }
    if (!udp) {
        return;
    }
    /* A host that tells nothing of its flows keeps them until they are silent. */
    if (conntrack_each(&net->nft, AF_INET, forget_one, &f) == 0) {
        (void)conntrack_each(&net->nft, AF_INET6, forget_one, &f);
    }
    if (f.batch.n > 0) {
        (void)netlink_send(&net->nft, &f.batch, NULL, NULL, NULL);
    }
    netlink_batch_fini(&f.batch);
}
