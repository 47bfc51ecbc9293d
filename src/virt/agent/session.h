/* session.h - one connection between the agent and its host. */
#ifndef VIRT_AGENT_SESSION_H
#define VIRT_AGENT_SESSION_H

#include "virt/agent/private.h"

#define INBOX_BYTES (2 * (FRAME_BYTES_MOST + FRAME_HEAD_BYTES))

/* What has come and is not taken yet. */
struct inbox {
    int fd;
    size_t n;
    uint8_t bytes[INBOX_BYTES];
};

/* Read what is there; the count, 0 at the end, or -errno.  -EPROTO: there is no room,
 * though no frame is whole. */
ssize_t inbox_fill(struct inbox *in);

/* The first frame: 1, 0: it is not whole yet, or -EPROTO.  It stays until dropped. */
int inbox_first(const struct inbox *in, struct frame *ret, size_t *ret_used);
void inbox_drop(struct inbox *in, size_t used);

#endif
