/* through.h - a client and its server as the one disk that the suite wants. */
#ifndef TESTS_RESOURCE_STORAGE_REMOTE_THROUGH_H
#define TESTS_RESOURCE_STORAGE_REMOTE_THROUGH_H

#include "contract/blk_graph.h"
#include "contract/blk_ops.h"

/* A filter that passes everything to the client. */
struct through {
    struct blk blk; /* first */
    struct blk_edge client;
    void (*release)(struct through *t); /* the server, when the client is gone */
};

/* Takes the client. */
void through_init(struct through *t, struct blk *take_client);

/* A stream socket that listens on 127.0.0.1; its port. */
int through_listen(unsigned *ret_port);

#endif
