/* node/usernet.h - the user-mode network of a guest without a bridge. */
#ifndef NODE_USERNET_H
#define NODE_USERNET_H

#include <jansson.h>
#include <sys/types.h>

struct err;

/* Start the program `usernet` for the guest of `spec`, whose first program is `pid`;
 * returns when the guest's network is up.  It ends with the guest. */
int usernet_start(const json_t *spec, pid_t pid, struct err *e);

#endif
