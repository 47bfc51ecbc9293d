/* node/usernet.h - the user-mode network of a guest without a bridge. */
#ifndef NODE_USERNET_H
#define NODE_USERNET_H

#include <jansson.h>
#include <sys/types.h>

struct err;

/* The guest: its first program, its namespaces (borrowed descriptors). */
struct usernet_guest {
    pid_t pid;
    int userns;
    int netns;
};

/* Start the program `usernet` for the guest of `spec`; returns when the guest's
 * network is up.  It ends with the guest. */
int usernet_start(const json_t *spec, const struct usernet_guest *guest, struct err *e);

#endif
