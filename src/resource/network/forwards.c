/* What the kernel's rules cannot carry, and a program must: [::1], from which nothing
 * is led off; 127.0.0.1 where the host's switches are read-only; and every port of a
 * host without nf_tables. */
#include "resource/network/network.h"

#include <errno.h>
#include <string.h>

#include "resource/network/private.h"

static const struct network_ip any4 = {.version = 4};
static const struct network_ip any6 = {.version = 6};
static const struct network_ip local4 = {.version = 4, .bytes = {127, 0, 0, 1}};
static const struct network_ip local6 = {.version = 6, .bytes = {[15] = 1}};

struct listing {
    struct network_forward *items;
    size_t n;
    size_t most;
};

static void add(struct listing *l, const struct network_publish *p,
                const struct network_ip *host, bool optional)
{
    if (l->n < l->most) {
        l->items[l->n] = (struct network_forward){.from = *p, .optional = optional};
        l->items[l->n].from.host = *host;
    }
    l->n++;
}

static bool is_every(const struct network_publish *p, const struct network_ip *zero)
{
    return p->host.version == 0 || network_ip_equal(&p->host, zero);
}

static void add_all(struct listing *l, const struct network_publish *p)
{
    if (p->host.version == 0) {
        add(l, p, &any4, false);
        add(l, p, &any6, true);
    } else {
        add(l, p, &p->host, false);
    }
}

static void add_loopback(struct listing *l, const struct network_publish *p, bool led_off)
{
    if (is_every(p, &any6)) {
        add(l, p, &local6, true);
    } else if (network_ip_equal(&p->host, &local6)) {
        add(l, p, &local6, false);
    }
    if (led_off) {
        return;
    }
    if (is_every(p, &any4)) {
        add(l, p, &local4, true);
    } else if (p->host.version == 4 && p->host.bytes[0] == 127) {
        add(l, p, &p->host, false);
    }
}

int network_forwards(struct network *net, const struct network_spec *s,
                     const struct network_port *p, struct network_forward *ret,
                     size_t most, size_t *ret_n)
{
    struct listing l = {.items = ret, .most = most};
    struct netlink *nft;
    if (s->driver == NETWORK_BRIDGE && p->n_publishes > 0) {
        bool rules = network_nft(net, &nft) == 0;
        bool led_off = rules && network_leads_off_loopback(s);
        for (size_t i = 0; i < p->n_publishes; i++) {
            if (rules) {
                add_loopback(&l, &p->publishes[i], led_off);
            } else {
                add_all(&l, &p->publishes[i]);
            }
        }
    }
    *ret_n = l.n < most ? l.n : most;
    return l.n <= most ? 0 : -E2BIG;
}
