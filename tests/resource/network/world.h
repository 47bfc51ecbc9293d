/* A private world for tests: a "host" namespace with an outside neighbour, guests,
 * and plain sockets in any of them.  The machine's own network is not touched. */
#ifndef TESTS_RESOURCE_NETWORK_WORLD_H
#define TESTS_RESOURCE_NETWORK_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "resource/network/network.h"

#define HOST4    "192.0.2.1"
#define OUTSIDE4 "192.0.2.2"
#define HOST6    "2001:db8::1"
#define OUTSIDE6 "2001:db8::2"

struct world {
    int outside; /* namespace */
    struct network *net;
};

/* NULL, or why this machine cannot run such tests. */
const char *world_missing(void);

/* Enter a fresh "host" namespace and join the outside to it. */
void world_init(struct world *w);
void world_fini(struct world *w);

/* A new empty network namespace. */
int world_netns(void);

/* This thread goes into a namespace (-1: stays), and back to the one that it got. */
int world_enter(int netns);
void world_leave(int home);

/* A socket of SOCK_STREAM (listening) or SOCK_DGRAM (bound) in a namespace (-1: the
 * host), times out after a second. */
int world_serve(int netns, int type, const char *address, uint16_t port);

/* Send "hello" from a namespace to an address, receive it at `server`, answer it,
 * and read the answer.  Returns 0, or -errno of the step that failed.  `ret_peer`
 * (NETWORK_TEXT_BYTES, may be NULL) is the client as the server saw it. */
int world_talk(int netns, int server, int type, const char *address, uint16_t port,
               char *ret_peer);

/* Put a whole Ethernet frame on a link of a namespace. */
void world_send_frame(int netns, const char *ifname, const void *frame, size_t len);

/* Bring up a network named `name` with subnets 10.N.0.0/24 and fd00:N::/64. */
struct network_spec world_network(struct world *w, const char *name, unsigned n,
                                  bool internal);

/* Attach guest number `n` to it; its port is filled. */
struct network_port world_guest(struct world *w, const struct network_spec *s,
                                const char *id, unsigned n, int netns);

#endif
