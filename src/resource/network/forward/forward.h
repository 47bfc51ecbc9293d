/* resource/network/forward/forward.h - ports of this host carried to a guest by an
 * ordinary process, where the kernel's rules cannot. */
#ifndef RESOURCE_NETWORK_FORWARD_FORWARD_H
#define RESOURCE_NETWORK_FORWARD_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "resource/network/network.h"

struct err;
struct forward;

#define FORWARD_IDLE_MS     60000 /* an UDP client that was silent so long is forgotten */
#define FORWARD_CLIENTS_MAX 4096  /* of each protocol */

/* A range of ports of one address, and where they lead. */
struct forward_rule {
    struct network_publish from; /* `host.version` is set */
    bool optional;               /* a host that has no such address does without */
};

struct forward_options {
    struct forward_rule *rules; /* owned by the caller */
    size_t n_rules;
    struct network_ip to[2]; /* the guest; the same family first, the other where the
                                first refuses; version 0: none */
    int idle_ms;             /* 0: FORWARD_IDLE_MS */
    unsigned clients_most;   /* 0: as many as descriptors allow, FORWARD_CLIENTS_MAX */
};

/* Listen on all ports, or on none: -EADDRINUSE names the port. */
int forward_create(const struct forward_options *o, struct forward **ret, struct err *e);
void forward_destroy(struct forward *f);

/* Carry until the process of the pidfd `holder` ends (-1: for ever).  0 or -errno. */
int forward_run(struct forward *f, int holder);

/* One turn: wait at most `timeout_ms`.  For tests. */
int forward_turn(struct forward *f, int timeout_ms);

/* What lives in it now; for tests. */
struct forward_counts {
    unsigned connections;
    unsigned flows;
};

struct forward_counts forward_counts(const struct forward *f);

/* Give up privileges, files and all system calls but those that carry bytes.  After
 * `forward_create`; a host without the means is no failure. */
int forward_confine(const struct forward_options *o, struct err *e);

#endif
