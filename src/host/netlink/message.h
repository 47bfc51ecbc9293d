/* host/netlink/message.h - netlink sockets, batches of messages, and their replies.
 *
 * A batch is built in memory and sent in one system call; the kernel works
 * through it before that call returns, so that no reply is ever waited for.
 * rtnetlink carries out every message of a batch whatever became of the others;
 * nf_tables carries out all or none. */
#ifndef HOST_NETLINK_MESSAGE_H
#define HOST_NETLINK_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/netlink.h>

struct err;

#define NETLINK_NEST_DEPTH 8

/* Starts zeroed.  A failed allocation or an attribute too long is remembered and
 * told by `netlink_send`. */
struct netlink_batch {
    uint8_t *data; /* owned */
    size_t len;
    size_t cap;
    size_t message;                   /* where the newest one begins */
    size_t nests[NETLINK_NEST_DEPTH]; /* where the open attributes begin */
    unsigned depth;
    unsigned n; /* messages so far */
    int failed; /* 0 or -errno */
};

/* Begin a message: `head` is the family's own header.  NLM_F_REQUEST is added. */
void netlink_begin(struct netlink_batch *b, uint16_t type, uint16_t flags,
                   const void *head, size_t head_len);
void netlink_put(struct netlink_batch *b, uint16_t type, const void *data, size_t len);
void netlink_put_text(struct netlink_batch *b, uint16_t type, const char *text);
void netlink_put_u8(struct netlink_batch *b, uint16_t type, uint8_t value);
void netlink_put_u16(struct netlink_batch *b, uint16_t type, uint16_t value);
void netlink_put_u32(struct netlink_batch *b, uint16_t type, uint32_t value);
void netlink_put_be16(struct netlink_batch *b, uint16_t type, uint16_t value);
void netlink_put_be32(struct netlink_batch *b, uint16_t type, uint32_t value);
void netlink_nest(struct netlink_batch *b, uint16_t type);
void netlink_end(struct netlink_batch *b);
/* Bytes without an attribute's header inside an open one (the peer of a veth). */
void netlink_put_raw(struct netlink_batch *b, const void *data, size_t len);
/* Ask for an acknowledgement of the newest message after all. */
void netlink_ask_ack(struct netlink_batch *b);
void netlink_batch_fini(struct netlink_batch *b);
/* Empty it and keep its memory. */
void netlink_batch_reset(struct netlink_batch *b);

/* A message as received: its family header and attributes stand in `data`. */
struct netlink_message {
    uint16_t type;
    uint16_t flags;
    uint32_t seq;
    const void *data; /* borrowed until the callback returns */
    size_t len;
};

/* Return 0 to go on; anything else ends the reading and is returned. */
typedef int netlink_reply_fn(void *arg, const struct netlink_message *m);

/* What became of a batch. */
struct netlink_result {
    int code;      /* 0, or -errno of the first message refused */
    unsigned at;   /* which one that was, from 0 */
    char text[96]; /* the kernel's words, or "" */
};

struct netlink {
    int fd; /* -1: closed */
    uint32_t seq;
    bool strict; /* the kernel filters dumps */
};

/* Open a socket of NETLINK_ROUTE or NETLINK_NETFILTER in the network namespace
 * `netns_fd` (-1: the caller's).  The calling thread visits that namespace for
 * one system call.  0 or -errno. */
int netlink_open(struct netlink *nl, int protocol, int netns_fd);
void netlink_close(struct netlink *nl);

/* The same for a socket that took away elements of sets: the kernel lets its last holder
 * wait until no processor looks at them any more, 5 to 15 ms, which a process of its
 * own does. */
void netlink_close_aside(struct netlink *nl);

/* Send the batch, hand replies to `fn` (may be NULL), return when all are
 * answered.  0 or -errno; `ret` (may be NULL) tells which message failed.  Every
 * message asks for an acknowledgement by NLM_F_ACK or NLM_F_DUMP, except in
 * nf_tables batches, where the last one suffices. */
int netlink_send(struct netlink *nl, struct netlink_batch *b, netlink_reply_fn *fn,
                 void *arg, struct netlink_result *ret);

/* Walk the messages in `buf`, as received.  -EBADMSG when they are malformed;
 * else what `fn` returned first, or 0.  Pure. */
int netlink_walk(const void *buf, size_t len, netlink_reply_fn *fn, void *arg);

/* Index attributes by type: tb[0..max]; later ones win, unknown ones are skipped.
 * -EBADMSG when a length leads outside.  `skip` bytes of family header first. */
int netlink_attrs(const void *data, size_t len, size_t skip, const struct nlattr **tb,
                  unsigned max);
/* The attribute after `prev` (NULL: the first); NULL at the end or when malformed. */
const struct nlattr *netlink_next(const void *data, size_t len,
                                  const struct nlattr *prev);
const void *netlink_data(const struct nlattr *a);
size_t netlink_len(const struct nlattr *a);
unsigned netlink_type(const struct nlattr *a);
/* The value, or `other` when the attribute is NULL or too short. */
uint32_t netlink_u32(const struct nlattr *a, uint32_t other);
uint32_t netlink_be32(const struct nlattr *a, uint32_t other);
/* The text, or NULL when missing or without its NUL. */
const char *netlink_text(const struct nlattr *a);

#endif
