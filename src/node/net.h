/* node/net.h - a guest's network as JSON and as the network folder wants it. */
#ifndef NODE_NET_H
#define NODE_NET_H

#include <jansson.h>

#include "resource/network/network.h"

#define NET_PUBLISH_MOST 64

/* Everything borrowed from the JSON it was read from. */
struct err;
struct node;

struct net_plan {
    struct network_spec spec;
    struct network_port port;
    const char *table;
    struct network_publish publishes[NET_PUBLISH_MOST];
};

/* Read what `net_allocate` wrote. */
int net_plan_read(const json_t *network, const char *id, struct net_plan *ret,
                  struct err *e);

/* The nf_tables table of a state directory: the usual one has the plain name. */
void net_table_name(const struct node *n, char out[32]);

#endif
