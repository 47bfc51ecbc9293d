/* The handle, the drivers' names, and the choice of what a network leaves open. */
#include "resource/network/network.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/rtnetlink.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/network/private.h"

#define CHOICES     4096 /* the subnets 10.x.y.0/20: room for all of a bridge's 1,023 ports */
#define ULA_BYTES   6 /* fd, and 40 random bits (RFC 4193, 3.2.1) */
#define TEXT_BYTES  512
#define USUAL_STATE "/var/lib/strata"
#define HASH_DIGITS 8
#define BRIDGE_MARK "st-"

static const char *const driver_names[NETWORK_DRIVER_COUNT] = {"bridge", "host", "none",
                                                               "user"};

const char *network_driver_name(enum network_driver driver)
{
    return (unsigned)driver < NETWORK_DRIVER_COUNT ? driver_names[driver] : NULL;
}

enum network_driver network_driver_named(const char *name)
{
    unsigned i = 0;
    while (i < NETWORK_DRIVER_COUNT && strcmp(driver_names[i], name) != 0) {
        i++;
    }
    return (enum network_driver)i;
}

int network_open(const char *table, struct network **ret, struct err *e)
{
    struct network *net = fault_calloc(1, sizeof *net);
    if (net == NULL) {
        return err_set(e, -ENOMEM, "cannot open the host's network: no memory");
    }
    net->nft.fd = -1;
    int r = str_print(net->table, sizeof net->table, "%s",
                      table == NULL ? NETWORK_TABLE : table);
    if (r == 0) {
        r = netlink_open(&net->route, NETLINK_ROUTE, -1);
    }
    if (r < 0) {
        free(net);
        return err_sys(e, r, "cannot open the host's network");
    }
    *ret = net;
    return 0;
}

void network_close(struct network *net)
{
    if (net != NULL) {
        netlink_close(&net->route);
        if (net->took_back) {
            netlink_close_aside(&net->nft);
        }
        netlink_close(&net->nft);
        strv_fini(&net->warnings);
        free(net);
    }
}

void network_home(struct network *net, const char *state)
{
    if (str_print(net->home, sizeof net->home, "%s", state) < 0) {
        net->home[0] = '\0';
    }
}

void network_table_name(const char *state, char out[NETWORK_TABLE_BYTES])
{
    uint32_t h = 2166136261U; /* FNV-1a, 32 bits */
    if (strcmp(state, USUAL_STATE) == 0) {
        (void)str_print(out, NETWORK_TABLE_BYTES, "%s", NETWORK_TABLE);
        return;
    }
    for (const char *p = state; *p != '\0'; p++) {
        h = (h ^ (unsigned char)*p) * 16777619U;
    }
    (void)str_print(out, NETWORK_TABLE_BYTES, NETWORK_TABLE "_%08x", (unsigned)h);
}

bool network_is_table(const char *name)
{
    size_t n = strlen(NETWORK_TABLE);
    if (strncmp(name, NETWORK_TABLE, n) != 0) {
        return false;
    }
    name += n;
    return name[0] == '\0' || (name[0] == '_' && strlen(name) == 1 + HASH_DIGITS &&
                               strspn(name + 1, "0123456789abcdef") == HASH_DIGITS);
}

const struct strv *network_warnings(const struct network *net)
{
    return &net->warnings;
}

void network_warn(struct network *net, const char *fmt, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!strv_has(&net->warnings, text)) {
        strv_add(&net->warnings, text);
    }
}

bool network_withheld(int r)
{
    return r == -EOPNOTSUPP || r == -EPROTONOSUPPORT || r == -EAFNOSUPPORT ||
           r == -ENOENT || r == -ENOSYS || r == -ENOPROTOOPT;
}

int network_nft(struct network *net, struct netlink **ret)
{
    if (!net->no_nft && net->nft.fd < 0) {
        net->no_nft = fault_step("network.nft") < 0 ||
                      netlink_open(&net->nft, NETLINK_NETFILTER, -1) < 0;
    }
    if (net->no_nft) {
        network_warn(net, "this host has no nf_tables: guests reach each other and the "
                          "host, but nothing beyond, published ports are carried by a "
                          "program, and networks are not kept apart");
        return -EOPNOTSUPP;
    }
    *ret = &net->nft;
    return 0;
}

bool network_bridge_filters(void)
{
    return access("/proc/sys/net/bridge", F_OK) == 0;
}

/* FNV-1a, 64 bits, over both texts and the boundary between them. */
uint64_t network_hash(const char *a, const char *b)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    const char *part[2] = {a, b};
    for (unsigned i = 0; i < 2; i++) {
        for (const char *c = part[i];; c++) {
            h = (h ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
            if (*c == '\0') {
                break;
            }
        }
    }
    return h;
}

void network_derive_mac(uint8_t mac[6], const char *a, const char *b)
{
    uint64_t h = network_hash(a, b);
    memcpy(mac, &h, 6);
    mac[0] = 0x02; /* locally administered, unicast (IEEE 802, 8.2) */
}

/* What a subnet must keep away from. */
struct avoid {
    const struct network_spec *others;
    size_t n;
    struct network_cidr *routes; /* owned */
    size_t n_routes;
    size_t cap;
};

static int keep_route(void *arg, const struct netlink_route *route)
{
    struct avoid *a = arg;
    if (route->prefix == 0 || route->type != RTN_UNICAST) {
        return 0;
    }
    if (a->n_routes == a->cap) {
        size_t cap = a->cap == 0 ? 32 : a->cap * 2;
        struct network_cidr *more = fault_realloc(a->routes, cap * sizeof *more);
        if (more == NULL) {
            return -ENOMEM;
        }
        a->routes = more;
        a->cap = cap;
    }
    struct network_cidr *c = &a->routes[a->n_routes++];
    *c = (struct network_cidr){.prefix = route->prefix};
    c->ip.version = route->family == AF_INET ? 4 : 6;
    memcpy(c->ip.bytes, route->dst, sizeof c->ip.bytes);
    return 0;
}

/* The name of what `c` overlaps, or NULL; `buf` may hold it. */
static const char *overlap(const struct avoid *a, const struct network_cidr *c,
                           char buf[NETWORK_TEXT_BYTES])
{
    for (size_t i = 0; i < a->n; i++) {
        if (network_cidr_overlaps(c, &a->others[i].subnet4) ||
            network_cidr_overlaps(c, &a->others[i].subnet6)) {
            return a->others[i].name;
        }
    }
    for (size_t i = 0; i < a->n_routes; i++) {
        if (network_cidr_overlaps(c, &a->routes[i])) {
            return network_cidr_text(&a->routes[i], buf);
        }
    }
    return NULL;
}

static int choose_subnet4(const struct avoid *a, struct network_spec *s, struct err *e)
{
    char buf[NETWORK_TEXT_BYTES];
    uint32_t from = (uint32_t)network_hash(s->name, "subnet");
    for (uint32_t i = 0; i < CHOICES; i++) {
        struct network_cidr c = {.ip = {.version = 4, .bytes = {10}}, .prefix = 20};
        uint32_t v = (from + i) % CHOICES;
        c.ip.bytes[1] = (uint8_t)(v >> 4);
        c.ip.bytes[2] = (uint8_t)((v & 15) << 4);
        if (overlap(a, &c, buf) == NULL) {
            s->subnet4 = c;
            return 0;
        }
    }
    return err_set(e, -ENOSPC,
                   "cannot choose a subnet for network '%s': this host routes "
                   "all of 10.0.0.0/8; name one with --subnet",
                   s->name);
}

static int choose_subnet6(const struct avoid *a, struct network_spec *s, struct err *e)
{
    char buf[NETWORK_TEXT_BYTES];
    struct network_cidr c = {.ip = {.version = 6}, .prefix = 64};
    do {
        if (getrandom(c.ip.bytes, ULA_BYTES, 0) != ULA_BYTES) {
            return err_sys(e, -errno, "cannot choose a subnet for network '%s'", s->name);
        }
        c.ip.bytes[0] = 0xfd;
    } while (overlap(a, &c, buf) != NULL);
    s->subnet6 = c;
    return 0;
}

static int check_subnet(const struct avoid *a, const struct network_spec *s,
                        const struct network_cidr *c, struct err *e)
{
    char text[NETWORK_TEXT_BYTES];
    char buf[NETWORK_TEXT_BYTES];
    const char *with = overlap(a, c, buf);
    if (with == NULL) {
        return 0;
    }
    return err_set(e, -EEXIST, "cannot make network '%s': subnet %s overlaps '%s'%s",
                   s->name, network_cidr_text(c, text), with,
                   with == buf ? ", which this host routes" : "");
}

static int check_gateway(const struct network_spec *s, const struct network_cidr *c,
                         struct network_ip *gateway, struct err *e)
{
    char text[NETWORK_TEXT_BYTES];
    if (c->ip.version == 0) {
        return 0;
    }
    int r = gateway->version == 0 ? network_cidr_nth(c, 1, gateway) : 0;
    if (r == 0 && network_cidr_has(c, gateway)) {
        return 0;
    }
    return err_set(e, -EINVAL, "cannot make network '%s': no gateway within subnet %s",
                   s->name, network_cidr_text(c, text));
}

static int choose_bridge(struct network *net, struct network_spec *s)
{
    if (s->bridge[0] != '\0') {
        return 0;
    }
    bool own = strcmp(net->table, NETWORK_TABLE) == 0;
    if (own && str_print(s->bridge, sizeof s->bridge, BRIDGE_MARK "%s", s->name) == 0) {
        return 0;
    }
    uint32_t mark = (uint32_t)network_hash(net->table, s->name);
    return str_print(s->bridge, sizeof s->bridge, BRIDGE_MARK "%08x", mark);
}

static int choose(struct avoid *a, struct network_spec *s, bool ipv6, struct err *e)
{
    int r = s->subnet4.ip.version == 0 ? choose_subnet4(a, s, e)
                                       : check_subnet(a, s, &s->subnet4, e);
    if (r == 0 && s->subnet6.ip.version != 0) {
        r = check_subnet(a, s, &s->subnet6, e);
    } else if (r == 0 && ipv6) {
        r = choose_subnet6(a, s, e);
    }
    if (r == 0) {
        r = check_gateway(s, &s->subnet4, &s->gateway4, e);
    }
    return r < 0 ? r : check_gateway(s, &s->subnet6, &s->gateway6, e);
}

int network_choose(struct network *net, struct network_spec *s, bool ipv6,
                   const struct network_spec *others, size_t n, struct err *e)
{
    if (s->driver != NETWORK_BRIDGE) {
        return 0;
    }
    struct avoid a = {.others = others, .n = n};
    int r = netlink_each_route(&net->route, keep_route, &a);
    if (r < 0) {
        r = err_sys(e, r, "cannot list the routes of this host");
    } else {
        r = choose(&a, s, ipv6, e);
    }
    free(a.routes);
    s->mtu = s->mtu == 0 ? NETWORK_MTU_DEFAULT : s->mtu;
    if (r == 0 && s->mtu < NETWORK_MTU_MIN) {
        r = err_set(e, -EINVAL, "cannot make network '%s': an MTU of %u is below %u",
                    s->name, s->mtu, NETWORK_MTU_MIN);
    }
    return r < 0 ? r : choose_bridge(net, s);
}
