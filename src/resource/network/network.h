/* resource/network/network.h - virtual networks of one host: bridges, links into
 * guests' network namespaces, addresses, translation and published ports.
 *
 * `struct network` is a handle on the caller's own network namespace and on one
 * nf_tables table there, in which all rules of one state directory live.  No
 * state of ours is kept: what the kernel holds is the truth, so that any later
 * command can go on after a crash.  Not shared between threads. */
#ifndef RESOURCE_NETWORK_NETWORK_H
#define RESOURCE_NETWORK_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "resource/network/address.h"

struct err;
struct strv;
struct network;

enum network_driver {
    NETWORK_BRIDGE, /* a bridge of this host, with routing and translation */
    NETWORK_HOST,   /* the host's own network; nothing is made */
    NETWORK_NONE,   /* loopback only */
    NETWORK_USER,   /* user-mode stack: the program `usernet` */
    NETWORK_DRIVER_COUNT
};

#define NETWORK_TABLE       "strata" /* the default table */
#define NETWORK_TABLE_BYTES 32
#define NETWORK_HOME_BYTES  256
#define NETWORK_MTU_DEFAULT 1500
#define NETWORK_MTU_MIN     576 /* RFC 791, 3.1; 1280 with IPv6 (RFC 8200, 5) */

struct network_spec {
    const char *name; /* borrowed, for messages */
    enum network_driver driver;
    char bridge[NETWORK_LINK_BYTES]; /* name of the host's interface */
    struct network_cidr subnet4;     /* ip.version 0: no IPv4 */
    struct network_cidr subnet6;     /* ip.version 0: no IPv6 */
    struct network_ip gateway4;      /* the host's address in subnet4 */
    struct network_ip gateway6;
    bool internal; /* leads nowhere but to its own guests; no ports published */
    uint32_t mtu;  /* bytes; 0: NETWORK_MTU_DEFAULT */
};

/* One guest's link to one network. */
struct network_port {
    const char *guest_id;            /* borrowed; 12 or more characters [a-z0-9] */
    unsigned index;                  /* of this link among the guest's, 0..35 */
    char ifname[NETWORK_LINK_BYTES]; /* inside the guest; "": eth<index> */
    uint8_t mac[6];                  /* all zero: derived from guest_id and index */
    struct network_ip addr4;         /* version 0: none */
    struct network_ip addr6;
    bool no_default_route;                   /* for links after a guest's first */
    const struct network_publish *publishes; /* borrowed */
    size_t n_publishes;
};

/* Open a handle; `table` NULL: NETWORK_TABLE.  State directories other than the
 * system's own pass a name of their own. */
int network_open(const char *table, struct network **ret, struct err *e);
void network_close(struct network *net);

/* The table of a state directory: the usual one has the plain name. */
void network_table_name(const char *state, char out[NETWORK_TABLE_BYTES]);

/* Tell the handle its state directory; what is made from then on says so to people,
 * and to `network_orphans`.  A longer path than NETWORK_HOME_BYTES is left out. */
void network_home(struct network *net, const char *state);

/* What this host withholds, one line each, noticed since `network_open`; borrowed. */
const struct strv *network_warnings(const struct network *net);

/* The word of a driver ("bridge"), and back; NULL or COUNT for unknown ones. */
const char *network_driver_name(enum network_driver driver);
enum network_driver network_driver_named(const char *name);

/* Choose what `s` leaves open: the bridge's name, a 10.x.y.0/20 that overlaps no
 * route of this host and none of the `n` networks `others`, the gateways, the MTU;
 * with `ipv6` also a random ULA /64 (RFC 4193).  Fields that are set stay and are
 * checked (overlap with `others` is an error; with the host's routes, too). */
int network_choose(struct network *net, struct network_spec *s, bool ipv6,
                   const struct network_spec *others, size_t n, struct err *e);

/* Make the network be there.  Idempotent, also against other processes; two
 * round trips when it is up already.  Missing IPv6 or nf_tables is a warning.
 * 0: it was there; 1: it was made, or made whole again (somebody flushed the
 * rules or removed the bridge): then running guests want `network_restore`. */
int network_up(struct network *net, const struct network_spec *s, struct err *e);

/* Remove bridge and rules; fine when they are gone.  -EBUSY while guests are linked. */
int network_down(struct network *net, const struct network_spec *s, struct err *e);

/* Link a guest: `netns_fd` is its network namespace.  Brings loopback up (for
 * NETWORK_NONE that is all; NETWORK_HOST and _USER: nothing), makes the link,
 * addresses, routes, and publishes ports.  The network must be up.  On failure
 * nothing is left.  -EADDRINUSE names port and owner. */
int network_attach(struct network *net, const struct network_spec *s,
                   const struct network_port *p, int netns_fd, struct err *e);

/* The same for a guest with a kernel of its own: a tap with IFF_VNET_HDR, non-blocking.  The
 * link goes with the last one who has *ret_fd open; the guest is told its addresses by
 * others. */
int network_attach_tap(struct network *net, const struct network_spec *s,
                       const struct network_port *p, int *ret_fd, struct err *e);

/* Take the port's published ports back and remove its link.  With `dying` the
 * link is left to the kernel, which takes it away with the guest's namespace
 * (the quick way: nothing waits).  Fine when already gone. */
int network_detach(struct network *net, const struct network_spec *s,
                   const struct network_port *p, bool dying, struct err *e);

/* Link a running guest again and publish its ports again, after `network_up` returned 1.
 * Idempotent.  -ENODEV when somebody removed the link itself. */
int network_restore(struct network *net, const struct network_spec *s,
                    const struct network_port *p, struct err *e);

/* Bytes per second; 0: not limited. */
struct network_rate {
    uint64_t to_guest;
    uint64_t from_guest;
};

/* Limit a linked guest's rate, instead of what was set before.  -EOPNOTSUPP where the
 * kernel cannot. */
int network_limit_rate(struct network *net, const struct network_port *p, int netns_fd,
                       const struct network_rate *rate, struct err *e);

/* Publish more ports of a linked guest / take some back, all or none. */
int network_publish(struct network *net, const struct network_spec *s,
                    const struct network_port *p, const struct network_publish *pub,
                    size_t n, struct err *e);
int network_unpublish(struct network *net, const struct network_port *p,
                      const struct network_publish *pub, size_t n, struct err *e);

/* Whether the guest could publish these now: -EADDRINUSE with port and owner in `e`;
 * `owner` is the identifier when that is a guest of this handle's table, else "". */
int network_publish_check(struct network *net, const struct network_port *p,
                          const struct network_publish *pub, size_t n,
                          char owner[NETWORK_TEXT_BYTES], struct err *e);

/* What a program must carry to the guest, for the kernel's rules cannot. */
struct network_forward {
    struct network_publish from; /* `host.version` is set */
    bool optional;               /* a host without that address does without */
};

int network_forwards(struct network *net, const struct network_spec *s,
                     const struct network_port *p, struct network_forward *ret,
                     size_t most, size_t *ret_n);

/* Who has a port of this host, in words: "program 'nginx' (process 12) of this host",
 * what one of our own programs was told by --for, or "a program of this host". */
void network_port_holder(bool udp, unsigned port, char *out, size_t size);

/* Remove links and published ports of guests that are not among `live` (identifiers,
 * NULL-terminated).  Touches only links on bridges of this handle's table.
 * Returns how many things were removed, or -errno. */
int network_sweep(struct network *net, const char *const *live, struct err *e);

/* A bridge or table whose state directory is gone; see orphans.c. */
struct network_orphan {
    bool is_bridge; /* else a table */
    char name[NETWORK_TABLE_BYTES];
    char home[NETWORK_HOME_BYTES]; /* the directory that was */
};

/* Call `fn` for each; it ends the walk by returning not 0. */
typedef int network_orphan_fn(void *arg, const struct network_orphan *o);
int network_orphans(struct network *net, network_orphan_fn *fn, void *arg, struct err *e);
int network_remove_orphan(struct network *net, const struct network_orphan *o,
                          struct err *e);

/* Wait until the port's link is gone; 0, or -ETIMEDOUT after `timeout_ms`. */
int network_wait_gone(struct network *net, const struct network_port *p, int timeout_ms);

/* The address of the guest's own interface. */
void network_port_mac(const struct network_port *p, uint8_t ret[6]);

/* The interface on the host's side of a port. */
int network_link_name(const struct network_port *p, char out[NETWORK_LINK_BYTES]);

/* Bring up loopback in a network namespace. */
int network_loopback_up(int netns_fd, struct err *e);

#endif
