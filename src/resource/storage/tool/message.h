/* message.h - a request to the worker, as it came: words and descriptors. */
#ifndef RESOURCE_STORAGE_TOOL_MESSAGE_H
#define RESOURCE_STORAGE_TOOL_MESSAGE_H

#include <stddef.h>

struct err;

#define MESSAGE_BYTES_MOST 65536u
#define MESSAGE_WORDS_MOST 512u
#define MESSAGE_FDS_MOST   32u

struct message {
    char **words; /* owned, each, too; at least one */
    unsigned count;
    int fds[MESSAGE_FDS_MOST]; /* owned */
    unsigned fd_count;
};

/* Words separated by NUL (one more at the end is allowed).  Where a word, or a part of it
 * behind a single comma, gives a descriptor (fd=@0), its number takes the place of what is
 * behind `=`; descriptors that did not come with the message cannot be named.  The
 * descriptors in `m` are those that came. */
int message_parse(struct message *m, const char *bytes, size_t count, struct err *e);

/* Receive one.  -EAGAIN: none is there; -ECONNRESET: the peer has left; -EPROTO: one
 * that is no use, and `e` says why. */
int message_receive(int socket, struct message *m, struct err *e);

/* Give up words and descriptors. */
void message_fini(struct message *m);

#endif
