/* private.h - what the files of the NBD server share. */
#ifndef RESOURCE_STORAGE_NBD_PRIVATE_H
#define RESOURCE_STORAGE_NBD_PRIVATE_H

#include <sys/types.h>

#include "base/strand.h"
#include "contract/blk.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/nbd/nbd.h"

struct ssl_st;

#define NBD_CONTEXTS_MOST 16
#define NBD_IN_BYTES      (128u * 1024)       /* of a connection's input buffer */
#define NBD_FLIGHT_MOST   256u                /* requests in work per connection */
#define NBD_PIPES         4u                  /* payloads that wait in the kernel */
#define NBD_HELD_MOST     (64u * 1024 * 1024) /* bytes of buffers in work per connection */

struct export
{
    struct export *next;
    char *name;        /* owned */
    char *description; /* owned; NULL: none */
    struct blk_edge edge;
    bool read_only;
    bool resizable;
    const struct nbd_context *contexts;
    unsigned context_count;
};

struct connection;

/* A request from its first byte to the last byte of its answer. */
struct request {
    struct blk_request blk; /* first */
    struct connection *c;
    struct request *next; /* free, or in the order of answers */
    uint64_t cookie;
    uint64_t off;
    uint64_t bytes;
    uint16_t command;
    uint16_t flags;
    struct iovec piece;
    char *buf; /* owned; payload of a write, answer of a read */
    size_t room;
    size_t held;               /* that the connection counts for it */
    size_t filled;             /* of a write's payload, while it comes in */
    struct payload_pipe *pipe; /* where it comes; NULL: to `buf` */
    char head[64];             /* of the answer */
    unsigned head_bytes;
    const char *data; /* behind the head; mostly `buf` */
    size_t data_bytes;
    int file; /* the data are pages of this file, not copied; -1: they are not */
    uint64_t file_at;
    char *text; /* owned; an answer of another shape: block status */
};

enum phase {
    PHASE_HANDSHAKE, /* a strand reads options */
    PHASE_TRANSMIT,
    PHASE_ENDING /* nothing is read any more; answers go out */
};

/* Holds the payload of one write. */
struct payload_pipe {
    int from;
    int to;
    size_t room; /* 0: it is not open */
    bool used;
};

/* How big answers of reads go to a client: as pages of the file, or copied. */
struct pages_choice {
    bool copies;
    bool settles;      /* what is on its way went the other way: not measured yet */
    unsigned trial;    /* the window of the trial; PAGES_TRIALS: it is decided */
    uint64_t left;     /* bytes of what is under way: settling, a window, a decision */
    uint64_t rest;     /* bytes that the next decision holds */
    uint64_t began_ns; /* of the window */
    uint64_t last_ns;  /* when the last read came */
    uint64_t least[2]; /* nanoseconds of the best window: pages, copies */
};

#define PAGES_TRIALS 6u

struct connection {
    struct nbd_server *server;
    struct connection *next;
    int fd;
    struct ssl_st *ssl; /* NULL: plain */
    enum phase phase;
    struct export *export;
    bool structured;
    bool extended;
    uint32_t context_mask; /* bit 0: base:allocation; bit n + 1: the export's context n */

    struct loop_watch watch;
    struct loop_poller poller;
    struct loop_task send_task;
    struct loop_task end_task;
    uint64_t last_ns; /* when something came in */

    char *in; /* owned, NBD_IN_BYTES */
    size_t in_at;
    size_t in_end;
    bool big;                 /* payloads are: read exactly what belongs to them */
    struct request *incoming; /* a write whose payload is coming in */

    struct pages_choice pages;
    struct payload_pipe pipe[NBD_PIPES];
    unsigned pipes_used;
    unsigned pipe_shy; /* payloads that go to memory before a pipe is tried again */

    struct blk_queue queue;
    unsigned flight; /* requests taken and not answered */
    struct request *free;
    struct request *out_first; /* answers in order */
    struct request *out_last;
    size_t out_sent;          /* bytes of the first one that have gone */
    size_t out_bytes;         /* read and written, of answers since the last send */
    size_t held;              /* bytes of buffers of requests in work */
    bool out_blocked;         /* the socket is full */
    bool broken;              /* nothing can be sent */
    bool ended;               /* its end is on its way */
    struct strand *handshake; /* not NULL while its strand lives */
};

#define NBD_LISTEN_MOST 4

struct listener {
    struct loop_watch watch; /* first */
    struct nbd_server *server;
};

struct nbd_server {
    struct loop *loop;
    struct nbd_server_options options;
    struct export *exports;
    struct connection *connections;
    struct listener listen[NBD_LISTEN_MOST];
    unsigned listen_count;
    struct nbd_counts counts;
    bool ending;
    struct strand_queue all_gone;
};

/* A handshake of TLS on c->fd; in a strand. */
int nbd_tls_accept(struct connection *c, struct nbd_tls *tls);
void nbd_tls_close(struct connection *c);

/* Options until the transmission begins; 0, or why the connection ends.  In a strand. */
int nbd_handshake(struct connection *c);

/* Read or write all, waiting; in a strand. */
int nbd_read_all(struct connection *c, char *buf, size_t bytes);
int nbd_write_all(struct connection *c, const char *buf, size_t bytes);

/* As recv(2) and sendmsg(2) without waiting, plain or through TLS: bytes, 0 at the
 * end, or -errno (-EAGAIN). */
ssize_t nbd_recv(struct connection *c, const struct iovec *iov, int count);
ssize_t nbd_send(struct connection *c, const struct iovec *iov, int count);

/* Start to serve requests. */
int nbd_transmit_begin(struct connection *c);

/* Take what has come in; whether anything had. */
bool nbd_transmit_take(struct connection *c);

/* A request for use, or NULL; and back, when its answer has gone. */
struct request *nbd_request_get(struct connection *c);
void nbd_request_put(struct request *r);

/* Room for the bytes of a read or a write; false: there is no memory. */
bool nbd_request_room(struct request *r);

/* A read of so many bytes has come: whether pages of the file are to be sent, where it has some. */
bool nbd_pages_wanted(struct pages_choice *p, uint64_t bytes, uint64_t now_ns);

/* Whether the payload of a big write comes to a pipe; `pipe` from then on. */
bool nbd_pipe_takes(struct request *r);

/* As `nbd_recv`, for the payload that is coming in.  -EINTR: it goes to memory now. */
ssize_t nbd_pipe_fetch(struct connection *c);

/* Write a payload that is whole, and answer. */
void nbd_pipe_write(struct request *r);

/* It is not needed any more, whatever it holds. */
void nbd_pipe_leave(struct request *r, bool empty);
void nbd_pipe_close(struct connection *c);

/* Write the answer's head for `result` (0 or -errno), data of a read included, and
 * queue it. */
void nbd_reply(struct request *r, int result);

/* The answer of a read whose data are pages of a file: sent now, and what the socket does not
 * take is copied before anything can change. */
void nbd_reply_pages(struct request *r);

/* Queue an answer whose payload is `text`, as a structured chunk of that type. */
void nbd_reply_text(struct request *r, uint16_t type, char *take_text, size_t bytes);

/* Send what is queued, as far as the socket takes it. */
void nbd_reply_send(struct connection *c);

/* The same once it is worth a call: while it is in the processor's cache, and so that the
 * client has something to do. */
void nbd_reply_send_if_many(struct connection *c);

/* Ask each chosen context for a range and answer; in a strand. */
void nbd_block_status(struct request *r);

/* No more requests; the connection goes when the last answer has. */
void nbd_connection_end(struct connection *c);
void nbd_connection_maybe_free(struct connection *c);

struct export *nbd_export_find(const struct nbd_server *s, const char *name,
                               size_t length);
uint16_t nbd_export_flags(const struct export *x);

#endif
