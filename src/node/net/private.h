/* node/net/private.h - a guest's network as JSON and as the network folder wants it. */
#ifndef NODE_NET_PRIVATE_H
#define NODE_NET_PRIVATE_H

#include <jansson.h>

#include "base/str.h"
#include "resource/network/network.h"

#define NET_PUBLISH_MOST 64

#define NETS_MOST 256

struct container;
struct err;
struct guest;
struct node;

/* Everything borrowed from the JSON it was read from. */
struct net_plan {
    struct network_spec spec;
    struct network_port port;
    const char *table;
    struct network_rate rate; /* zero: not limited */
    struct network_publish publishes[NET_PUBLISH_MOST];
};

/* Read what `net_allocate` wrote. */
int net_plan_read(const json_t *network, const char *id, struct net_plan *ret,
                  struct err *e);

/* json.c: a network's spec as it is recorded; an address, or null. */
json_t *net_spec_json(const struct network_spec *s);
int net_spec_read(const json_t *j, struct network_spec *s, struct err *e);
json_t *net_ip_json(const struct network_ip *ip);

/* The network a guest's record names, or NULL when it is not one of ours. */
const char *net_bridge_name(const struct guest *g);

/* store.c: a recorded network; -ENOENT without a text. */
int net_get(struct node *n, const char *name, json_t **ret, struct err *e);

/* The network, made first when it is the default one. */
int net_need(struct node *n, const char *name, json_t **ret, struct err *e);

/* All networks: their JSON, and room for NETS_MOST of their specs. */
int net_all(struct node *n, json_t **ret_list, struct network_spec *specs, size_t *ret_n,
            struct err *e);

/* Record a network; what `s` leaves open is chosen. */
int net_create(struct node *n, struct network_spec *s, json_t **ret, struct err *e);

/* Take the record of a network away, and fail with -EBUSY when a guest has an address of
 * it by then: one transaction, as that of `net_claim_address`. */
int net_forget(struct node *n, const char *name, struct err *e);

/* address.c: an address of the network for a guest, `wanted` (NULL: any) into
 * p->port.addr4.  -ENOENT when the network goes meanwhile. */
int net_claim_address(struct node *n, struct net_plan *p, const char *id,
                      const char *wanted, struct err *e);

/* hosts.c: change the lines of one guest in its network's file of names; `add`:
 * put new ones in. */
int net_change_hosts(struct node *n, const struct guest *g, const char *network, bool add,
                     struct err *e);

/* show.c: a recorded network as it is shown; `records` are all guests.  `whole`:
 * with its guests' names and addresses, else with their number. */
json_t *net_shown(struct node *n, const json_t *made, const json_t *records, bool whole);

/* What deleted state directories left: show it (`dry`) or remove it. */
int net_prune(struct node *n, bool dry, json_t **ret, struct err *e);

/* helper.c: a program that carries a guest's packets. */
struct net_helper {
    const char *program; /* in libexec */
    struct strv argv;    /* owned by the caller */
    int keep[2];         /* borrowed descriptors that it gets */
    size_t n_keep;
};

/* Start it for the guest whose first program is `guest`; returns once it works. */
int net_helper_start(const json_t *spec, struct net_helper *h, pid_t guest,
                     struct err *e);

/* End it, and wait until it is gone; fine when it is not there. */
void net_helper_end(const json_t *spec, const char *program);

/* join.c: `usernet` with the guest's ports behind the words of `h`, which are used up. */
int net_start_usernet(const json_t *spec, struct net_helper *h, pid_t guest,
                      struct err *e);

/* join.c: what the rules cannot carry (see `network_forwards`), if anything. */
int net_start_forward(const json_t *spec, struct network *net, const struct net_plan *p,
                      pid_t guest, struct err *e);

/* The names of a network that is deleted. */
void net_forget_hosts(struct node *n, const char *network);

#endif
