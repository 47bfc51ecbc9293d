/* control.h - the worker's side of the socket on which a machine is spoken to.
 *
 * Knows packets and words (virt/monitor/remote/message.h), but nothing of what they do: the
 * owner brings a function for each word it obeys.
 *
 * Threads: all on the loop's. */
#ifndef VIRT_MONITOR_CONTROL_CONTROL_H
#define VIRT_MONITOR_CONTROL_CONTROL_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "virt/monitor/remote/message.h"

struct control;
struct err;
struct loop;

#define CONTROL_FDS_MOST 8

/* What came with a word: an object, NULL where there was none, and descriptors.  Borrowed:
 * who wants one for longer takes a copy. */
struct control_call {
    const json_t *arg;
    int fds[CONTROL_FDS_MOST];
    unsigned n_fds;
};

/* Do what a word says; *ret, NULL before, may be set to an object.  It may turn the loop:
 * words of other connections are then obeyed meanwhile. */
typedef int control_fn(void *who, const struct control_call *c, json_t **ret,
                       struct err *e);

struct control_words {
    control_fn *fn[FAR_VERB_COUNT]; /* NULL: refused */
    void *who;                      /* borrowed */
};

/* Listen on `take_fd`, a SOCK_SEQPACKET socket, until it is destroyed.  Only root, which is
 * the caller's own user in a user namespace, is heard. */
int control_create(struct loop *l, int take_fd, const struct control_words *w,
                   struct control **ret, struct err *e);
void control_destroy(struct control *c);

/* The answer to one packet of `n` bytes without descriptors, into `out`; its length. */
size_t control_answer(const struct control_words *w, const uint8_t *packet, size_t n,
                      uint8_t out[FAR_MOST_BYTES]);

#endif
