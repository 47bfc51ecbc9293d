/* A guest's link: a pair of interfaces, one end on the bridge, one in the guest; or, of a
 * guest with a kernel of its own, a tap on the bridge.
 *
 * The pair is born with its far end in the guest's network namespace, and with
 * its near end on the bridge and up: one message.  What remains is one batch
 * inside the namespace, sent through a socket that was opened there. */
#include "resource/network/network.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/network/private.h"

#define LINK_MARK "sv"
#define ID_CHARS  12
#define LOOPBACK  1 /* every namespace's first interface */

static bool is_plain(const char *id)
{
    size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789");
    return n >= ID_CHARS;
}

int network_link_name(const struct network_port *p, char out[NETWORK_LINK_BYTES])
{
    char hash[ID_CHARS + 8];
    if (p->index > 35 || p->guest_id == NULL || p->guest_id[0] == '\0') {
        return -EINVAL;
    }
    char last = "0123456789abcdefghijklmnopqrstuvwxyz"[p->index];
    const char *id = p->guest_id;
    if (!is_plain(id)) {
        int r = str_print(hash, sizeof hash, "%016llx",
                          (unsigned long long)network_hash(id, "link"));
        if (r < 0) {
            return r;
        }
        id = hash;
    }
    return str_print(out, NETWORK_LINK_BYTES, LINK_MARK "%.*s%c", ID_CHARS, id, last);
}

static int inner_name(const struct network_port *p, char out[NETWORK_LINK_BYTES])
{
    return p->ifname[0] != '\0' ? str_print(out, NETWORK_LINK_BYTES, "%s", p->ifname)
                                : str_print(out, NETWORK_LINK_BYTES, "eth%u", p->index);
}

void network_port_mac(const struct network_port *p, uint8_t ret[6])
{
    static const uint8_t none[6];
    char ifname[NETWORK_LINK_BYTES];
    memcpy(ret, p->mac, sizeof none);
    if (memcmp(p->mac, none, sizeof none) == 0) {
        (void)inner_name(p, ifname);
        network_derive_mac(ret, p->guest_id, ifname);
    }
}

static int loopback_up(struct netlink *nl)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    netlink_add_up(&b, LOOPBACK);
    return netlink_send(nl, &b, NULL, NULL, NULL);
}

int network_loopback_up(int netns_fd, struct err *e)
{
    SCOPED(netlink_close) struct netlink nl = {.fd = -1};
    int r = netlink_open(&nl, NETLINK_ROUTE, netns_fd);
    if (r == 0) {
        r = loopback_up(&nl);
    }
    return r < 0 ? err_sys(e, r, "cannot bring up loopback of the guest") : 0;
}

/* The pair; a leftover of that name (of an attempt that was killed) makes room. */
static int make_pair(struct network *net, const struct netlink_veth *v, bool hairpin)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    netlink_add_veth(&b, v);
    if (hairpin) {
        netlink_add_hairpin(&b, v->name);
    }
    int r = netlink_send(&net->route, &b, NULL, NULL, NULL);
    struct netlink_link left;
    if (r == -EEXIST && netlink_find_link(&net->route, v->name, &left) == 0) {
        netlink_batch_reset(&b);
        netlink_add_delete(&b, v->name);
        netlink_add_veth(&b, v);
        if (hairpin) {
            netlink_add_hairpin(&b, v->name);
        }
        struct netlink_result result;
        r = netlink_send(&net->route, &b, NULL, NULL, &result);
        r = r == -ENODEV && result.at == 0 ? -EAGAIN : r;
    }
    return r;
}

/* Addresses and routes inside the guest; IPv6 comes last, for it may be refused. */
static int configure(struct network *net, struct netlink *nl,
                     const struct network_spec *s, const struct network_port *p,
                     uint32_t index)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    struct netlink_result result;
    bool routes = !s->internal && !p->no_default_route;
    netlink_add_up(&b, index);
    if (p->addr4.version != 0) {
        netlink_add_address(&b, index, AF_INET, p->addr4.bytes, s->subnet4.prefix);
        if (routes) {
            netlink_add_default_route(&b, index, AF_INET, s->gateway4.bytes);
        }
    }
    unsigned six = b.n;
    if (p->addr6.version != 0) {
        netlink_add_address(&b, index, AF_INET6, p->addr6.bytes, s->subnet6.prefix);
        if (routes) {
            netlink_add_default_route(&b, index, AF_INET6, s->gateway6.bytes);
        }
    }
    int r = netlink_send(nl, &b, NULL, NULL, &result);
    if (r < 0 && result.at >= six) {
        network_warn(net, "guest '%s' goes without IPv6 on network '%s' (%s)",
                     p->guest_id, s->name, strerror(-r));
        r = 0;
    }
    return r;
}

/* Let the first packet through: the guest's end, the bridge's port, the bridge. */
static int settle(struct network *net, struct netlink *nl, const char *const names[3])
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    netlink_add_settle(&b, names[0]);
    int r = netlink_send(nl, &b, NULL, NULL, NULL);
    netlink_batch_reset(&b);
    netlink_add_settle(&b, names[1]);
    netlink_add_settle(&b, names[2]);
    return r < 0 ? r : netlink_send(&net->route, &b, NULL, NULL, NULL);
}

static int enter(struct network *net, const struct network_spec *s,
                 const struct network_port *p, const char *const names[3], int netns_fd)
{
    SCOPED(netlink_close) struct netlink nl = {.fd = -1};
    struct netlink_link inner;
    int r = netlink_open(&nl, NETLINK_ROUTE, netns_fd);
    if (r == 0) {
        r = loopback_up(&nl);
    }
    if (r == 0) {
        r = netlink_find_link(&nl, names[0], &inner);
    }
    if (r == 0) {
        r = configure(net, &nl, s, p, inner.index);
    }
    return r < 0 ? r : settle(net, &nl, names);
}

static int remove_link(struct network *net, const char *name)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    netlink_add_delete(&b, name);
    int r = netlink_send(&net->route, &b, NULL, NULL, NULL);
    return r == -ENODEV ? 0 : r;
}

static int link_guest(struct network *net, const struct network_spec *s,
                      const struct network_port *p, int netns_fd, struct err *e)
{
    char name[NETWORK_LINK_BYTES];
    char ifname[NETWORK_LINK_BYTES];
    uint8_t mac[6];
    struct netlink_link bridge;
    int r = network_link_name(p, name);
    if (r == 0) {
        r = inner_name(p, ifname);
    }
    if (r < 0) {
        return err_sys(e, r, "cannot link guest '%s'", p->guest_id);
    }
    network_port_mac(p, mac);
    r = netlink_find_link(&net->route, s->bridge, &bridge);
    if (r < 0) {
        return err_sys(e, r, "cannot link guest '%s' to network '%s': bridge '%s'",
                       p->guest_id, s->name, s->bridge);
    }
    struct netlink_veth v = {.name = name,
                             .peer = ifname,
                             .peer_mac = mac,
                             .peer_netns = netns_fd,
                             .master = bridge.index,
                             .mtu = s->mtu};
    r = make_pair(net, &v, p->n_publishes > 0 && network_bridge_filters());
    if (r == 0) {
        r = fault_step("network.attach.linked");
        const char *const names[3] = {ifname, name, s->bridge};
        r = r == 0 ? enter(net, s, p, names, netns_fd) : r;
        if (r < 0) {
            (void)remove_link(net, name);
        }
    }
    return r < 0 ? err_sys(e, r, "cannot link guest '%s' to network '%s'", p->guest_id,
                           s->name)
                 : 0;
}

int network_attach(struct network *net, const struct network_spec *s,
                   const struct network_port *p, int netns_fd, struct err *e)
{
    if (s->driver == NETWORK_NONE) {
        return network_loopback_up(netns_fd, e);
    }
    if (s->driver != NETWORK_BRIDGE) {
        return 0;
    }
    /* Ports first: they are what may be refused, and cost less to undo. */
    int r = network_publish(net, s, p, p->publishes, p->n_publishes, e);
    if (r < 0) {
        return r;
    }
    r = link_guest(net, s, p, netns_fd, e);
    if (r < 0) {
        (void)network_unpublish(net, p, p->publishes, p->n_publishes, NULL);
    }
    return r;
}

/* An interface of that name which lives as long as somebody has it open. */
static int make_tap(const char *name, uint32_t mtu)
{
    SCOPED(scope_close) int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    SCOPED(scope_close) int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    if (fd < 0 || any < 0 || str_print(req.ifr_name, sizeof req.ifr_name, "%s", name)) {
        return -errno;
    }
    if (ioctl(fd, TUNSETIFF, &req) < 0) {
        return -errno;
    }
    req.ifr_mtu = (int)mtu;
    if (mtu != 0 && ioctl(any, SIOCSIFMTU, &req) < 0) {
        return -errno;
    }
    return scope_take_fd(&fd);
}

static int link_tap(struct network *net, const struct network_spec *s,
                    const struct network_port *p, struct err *e)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    SCOPED(scope_close) int fd = -1;
    char name[NETWORK_LINK_BYTES];
    struct netlink_link bridge;
    int r = network_link_name(p, name);
    if (r == 0) {
        r = netlink_find_link(&net->route, s->bridge, &bridge);
    }
    if (r == 0) {
        fd = make_tap(name, s->mtu);
        r = fd < 0 ? fd : fault_step("network.attach.linked");
    }
    if (r == 0) {
        netlink_add_master(&b, name, bridge.index);
        if (p->n_publishes > 0 && network_bridge_filters()) {
            netlink_add_hairpin(&b, name);
        }
        netlink_add_settle(&b, name);
        netlink_add_settle(&b, s->bridge);
        r = netlink_send(&net->route, &b, NULL, NULL, NULL);
    }
    return r < 0 ? err_sys(e, r, "cannot link guest '%s' to network '%s'", p->guest_id,
                           s->name)
                 : scope_take_fd(&fd);
}

int network_attach_tap(struct network *net, const struct network_spec *s,
                       const struct network_port *p, int *ret_fd, struct err *e)
{
    int r = network_publish(net, s, p, p->publishes, p->n_publishes, e);
    if (r < 0) {
        return r;
    }
    r = link_tap(net, s, p, e);
    if (r < 0) {
        (void)network_unpublish(net, p, p->publishes, p->n_publishes, NULL);
        return r;
    }
    *ret_fd = r;
    return 0;
}

int network_detach(struct network *net, const struct network_spec *s,
                   const struct network_port *p, bool dying, struct err *e)
{
    char name[NETWORK_LINK_BYTES];
    if (s->driver != NETWORK_BRIDGE) {
        return 0;
    }
    int ports = network_unpublish(net, p, p->publishes, p->n_publishes, e);
    int r = network_link_name(p, name);
    if (r == 0 && !dying) {
        r = remove_link(net, name);
    }
    return r < 0 ? err_sys(e, r, "cannot remove the link of guest '%s'", p->guest_id)
                 : ports;
}
