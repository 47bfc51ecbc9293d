/* A network comes up and goes down.
 *
 * The order on the way up: bridge (down), addresses, the host's switches, rules,
 * and the bridge up as the last step.  So a bridge that is up and marked in the
 * table is whole, and one interrupted half-way is simply made again: each step
 * takes what it finds. */
#include "resource/network/network.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include <dirent.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/network/private.h"

#define PATH_BYTES   512
#define SWITCH_BYTES 64
#define SYSCTL       "/proc/sys/net/"

#define ADDRESS_STEP_NS 500000
#define ADDRESS_STEPS   40

static bool is_switched(const char *path, const char *value)
{
    SCOPED(scope_free) char *text = NULL;
    size_t len;
    return file_read(AT_FDCWD, path, SWITCH_BYTES, &text, &len) == 0 &&
           strncmp(text, value, strlen(value)) == 0 && text[strlen(value)] == '\n';
}

/* Turn one of the kernel's switches, unless it stands so already. */
static int turn(const char *path, const char *value)
{
    return is_switched(path, value) ? 0 : file_write_existing(AT_FDCWD, path, value);
}

bool network_leads_off_loopback(const struct network_spec *s)
{
    char path[PATH_BYTES];
    return is_switched(SYSCTL "ipv4/conf/all/route_localnet", "1") ||
           (str_print(path, sizeof path, SYSCTL "ipv4/conf/%s/route_localnet",
                      s->bridge) == 0 &&
            is_switched(path, "1"));
}

static int turn_of(const char *family, const char *link, const char *what,
                   const char *value)
{
    char path[PATH_BYTES];
    int r = str_print(path, sizeof path, SYSCTL "%s/conf/%s/%s", family, link, what);
    return r < 0 ? r : turn(path, value);
}

/* A host that forwards ignores router advertisements unless told to go on. */
static void keep_advertisements(void)
{
    SCOPED(scope_dir) DIR *dir = opendir(SYSCTL "ipv6/conf");
    struct dirent *d;
    while (dir != NULL && (d = readdir(dir)) != NULL) {
        char path[PATH_BYTES];
        if (d->d_name[0] != '.' &&
            str_print(path, sizeof path, SYSCTL "ipv6/conf/%s/accept_ra", d->d_name) ==
                0 &&
            is_switched(path, "1")) {
            (void)file_write_existing(AT_FDCWD, path, "2");
        }
    }
}

static void forward4(struct network *net, const struct network_spec *s)
{
    int r = turn(SYSCTL "ipv4/ip_forward", "1");
    if (r < 0) {
        network_warn(net,
                     "cannot switch IPv4 forwarding on (%s): guests of network '%s' "
                     "reach nothing beyond this host",
                     strerror(-r), s->name);
    }
    r = turn_of("ipv4", s->bridge, "route_localnet", "1");
    if (r < 0) {
        network_warn(net,
                     "cannot switch route_localnet on (%s): ports of network '%s' "
                     "cannot be reached through 127.0.0.1",
                     strerror(-r), s->name);
    }
}

static void forward6(struct network *net, const struct network_spec *s)
{
    if (s->internal || is_switched(SYSCTL "ipv6/conf/all/forwarding", "1")) {
        return;
    }
    keep_advertisements();
    int r = file_write_existing(AT_FDCWD, SYSCTL "ipv6/conf/all/forwarding", "1");
    if (r < 0) {
        network_warn(net,
                     "cannot switch IPv6 forwarding on (%s): guests of network '%s' "
                     "reach nothing beyond this host by IPv6",
                     strerror(-r), s->name);
    }
}

static int make_bridge(struct network *net, const struct network_spec *s,
                       struct netlink_link *ret, struct err *e)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    uint8_t mac[6];
    network_derive_mac(mac, net->table, s->bridge);
    netlink_add_bridge(&b, s->bridge, mac, s->mtu == 0 ? NETWORK_MTU_DEFAULT : s->mtu);
    int r = netlink_send(&net->route, &b, NULL, NULL, NULL);
    if (r == -EOPNOTSUPP) {
        return err_set(e, r,
                       "cannot bring up network '%s': this host's kernel has no "
                       "bridges; use --network user, host or none",
                       s->name);
    }
    if (r == 0 || r == -EEXIST) {
        r = netlink_find_link(&net->route, s->bridge, ret);
    }
    if (r == 0 && strcmp(ret->kind, "bridge") != 0) {
        return err_set(e, -EEXIST,
                       "cannot bring up network '%s': interface '%s' of this "
                       "host is not a bridge",
                       s->name, s->bridge);
    }
    return r < 0 ? err_sys(e, r, "cannot make bridge '%s' of network '%s'", s->bridge,
                           s->name)
                 : 0;
}

/* fe80::1, usable at once: the host asks for neighbours from it. */
static const uint8_t link_local[16] = {0xfe, 0x80, [15] = 1};

static int add_addresses(struct network *net, const struct network_spec *s,
                         uint32_t bridge, struct err *e)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    struct netlink_result result;
    bool four = s->subnet4.ip.version != 0;
    if (four) {
        netlink_add_address(&b, bridge, AF_INET, s->gateway4.bytes, s->subnet4.prefix);
    }
    if (s->subnet6.ip.version != 0) {
        /* Nobody but guests is there: none may advertise, none shares the address. */
        (void)turn_of("ipv6", s->bridge, "accept_ra", "0");
        (void)turn_of("ipv6", s->bridge, "accept_dad", "0");
        netlink_add_address(&b, bridge, AF_INET6, s->gateway6.bytes, s->subnet6.prefix);
        netlink_add_address(&b, bridge, AF_INET6, link_local, 64);
    }
    int r = netlink_send(&net->route, &b, NULL, NULL, &result);
    if (r < 0 && result.at >= four) {
        network_warn(net, "this host has no IPv6 (%s): network '%s' goes without",
                     strerror(-r), s->name);
        return 0;
    }
    return r < 0 ? err_sys(e, r, "cannot give bridge '%s' its address", s->bridge) : 0;
}

static int is_local6(void *arg, const struct netlink_route *route)
{
    return route->family == AF_INET6 && route->type == RTN_LOCAL &&
           memcmp(route->dst, arg, sizeof route->dst) == 0;
}

/* The kernel puts an IPv6 address of ours into effect a moment after it was added, once
 * the link is up.  A guest's first packet would not reach us and cost it a second. */
static void await_address6(struct network *net, const struct network_spec *s)
{
    const struct timespec step = {.tv_nsec = ADDRESS_STEP_NS};
    uint8_t address[16];
    if (s->subnet6.ip.version == 0) {
        return;
    }
    memcpy(address, s->gateway6.bytes, sizeof address);
    for (unsigned i = 0; i < ADDRESS_STEPS; i++) {
        if (netlink_each_route(&net->route, is_local6, address) != 0) {
            return;
        }
        (void)nanosleep(&step, NULL);
    }
}

/* Put the network into the table, which is made when missing. */
static int add_rules(struct network *net, const struct network_spec *s, struct err *e)
{
    struct netlink_result result;
    struct netlink *nft;
    if (network_nft(net, &nft) < 0) {
        return 0;
    }
    int r = network_make_table(net, &result);
    if (r < 0 && r != -EEXIST) {
        if (!network_withheld(r)) {
            return err_sys(e, r, "cannot make the rules of network '%s'", s->name);
        }
        net->no_nft = true;
        return network_nft(net, &nft) == -EOPNOTSUPP ? 0 : -EOPNOTSUPP;
    }
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    nft_begin(&b);
    network_mark(&b, net->table, s, true);
    nft_end(&b);
    r = netlink_send(nft, &b, NULL, NULL, NULL);
    return r < 0 && r != -EEXIST
               ? err_sys(e, r, "cannot enter network '%s' into the rules", s->name)
               : 0;
}

/* Whether the table has the mark; true, too, where there are no tables. */
static bool is_marked(struct network *net, const struct network_spec *s)
{
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    uint8_t name[NETWORK_LINK_BYTES];
    struct netlink *nft;
    if (network_nft(net, &nft) < 0) {
        return true;
    }
    network_pad_name(name, s->bridge);
    struct nft_element el = {.key = name, .key_bytes = sizeof name};
    nft_ask_element(&b, net->table, SET_BRIDGES, &el);
    return netlink_send(nft, &b, NULL, NULL, NULL) == 0;
}

int network_up(struct network *net, const struct network_spec *s, struct err *e)
{
    struct netlink_link link = {0};
    if (s->driver != NETWORK_BRIDGE) {
        return 0;
    }
    if (netlink_find_link(&net->route, s->bridge, &link) == 0 && link.up &&
        is_marked(net, s)) {
        return 0;
    }
    int r = make_bridge(net, s, &link, e);
    if (r == 0) {
        r = fault_step("network.up.bridge");
    }
    if (r == 0) {
        r = add_addresses(net, s, link.index, e);
    }
    if (r < 0) {
        return r;
    }
    forward4(net, s);
    if (s->subnet6.ip.version != 0) {
        forward6(net, s);
    }
    r = add_rules(net, s, e);
    if (r == 0) {
        r = fault_step("network.up.rules");
    }
    if (r < 0) {
        return r;
    }
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    if (net->home[0] != '\0') {
        netlink_add_alias(&b, link.index, net->home);
    }
    netlink_add_up(&b, link.index);
    r = netlink_send(&net->route, &b, NULL, NULL, NULL);
    if (r == 0) {
        await_address6(net, s);
    }
    return r < 0 ? err_sys(e, r, "cannot bring up bridge '%s'", s->bridge) : 1;
}

struct members {
    uint32_t master;
    unsigned n;
};

static int count_member(void *arg, const struct netlink_link *link)
{
    struct members *m = arg;
    m->n += link->master == m->master;
    return 0;
}

static int remove_bridge(struct network *net, const struct network_spec *s, struct err *e)
{
    struct netlink_link link;
    int r = netlink_find_link(&net->route, s->bridge, &link);
    if (r == -ENODEV) {
        return 0;
    }
    struct members members = {.master = r == 0 ? link.index : 0};
    if (r == 0) {
        r = netlink_each_link(&net->route, count_member, &members);
    }
    if (r == 0 && members.n > 0) {
        return err_set(e, -EBUSY,
                       "cannot remove network '%s': %u guests are linked to it", s->name,
                       members.n);
    }
    if (r == 0) {
        SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
        netlink_add_delete(&b, s->bridge);
        r = netlink_send(&net->route, &b, NULL, NULL, NULL);
    }
    return r < 0 && r != -ENODEV ? err_sys(e, r, "cannot remove bridge '%s'", s->bridge)
                                 : 0;
}

static int has_one(void *arg, const struct nft_element *el)
{
    (void)arg;
    (void)el;
    return 1;
}

int network_down(struct network *net, const struct network_spec *s, struct err *e)
{
    struct netlink *nft;
    if (s->driver != NETWORK_BRIDGE) {
        return 0;
    }
    int r = remove_bridge(net, s, e);
    if (r < 0 || network_nft(net, &nft) < 0) {
        return r;
    }
    SCOPED(netlink_batch_fini) struct netlink_batch b = {0};
    nft_begin(&b);
    network_mark(&b, net->table, s, false);
    nft_end(&b);
    r = netlink_send(nft, &b, NULL, NULL, NULL);
    if (r < 0 && r != -ENOENT) {
        return err_sys(e, r, "cannot take network '%s' out of the rules", s->name);
    }
    if (nft_each_element(nft, net->table, SET_BRIDGES, has_one, NULL) == 0) {
        netlink_batch_reset(&b); /* the last one takes the table along */
        nft_begin(&b);
        nft_delete_table(&b, net->table);
        nft_end(&b);
        (void)netlink_send(nft, &b, NULL, NULL, NULL);
    }
    return 0;
}
