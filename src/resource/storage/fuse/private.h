/* private.h - what the files of the FUSE server share. */
#ifndef RESOURCE_STORAGE_FUSE_PRIVATE_H
#define RESOURCE_STORAGE_FUSE_PRIVATE_H

#include <stddef.h>
#include <sys/uio.h>

#include <linux/fuse.h>

#include "base/strand.h"
#include "contract/blk.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/fuse/fuse.h"

#define FUSE_DATA_MOST   (1u << 20) /* of one read or write: 256 pages */
#define FUSE_FLIGHT_MOST 64u        /* requests in work */
#define FUSE_PAGE_BYTES  4096u

/* A write's head; what is longer than it goes on in the data. */
#define FUSE_HEAD_BYTES (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))

/* A request from its arrival to its answer. */
struct call {
    struct blk_request blk; /* first */
    struct fuse_server *server;
    struct call *next;        /* free */
    char *room;               /* owned: a head, data, and two blocks more */
    char *data;               /* in `room`, aligned to a page: behind the head */
    struct fuse_in_header in; /* as it came, checked */
    const void *arg;          /* what follows it */
    size_t arg_bytes;
    uint64_t off; /* of a read or write */
    size_t bytes; /* that the answer gives or counts */
    struct iovec piece;
    bool writes; /* counted in `writing` */
};

/* Writes of whole blocks run side by side; one of a part of a block reads it, and puts
 * it back whole, and so is alone among the writes. */
struct gate {
    unsigned writing;
    unsigned alone_waiting;
    bool alone;
    struct strand_queue queue;
};

struct fuse_server {
    struct loop *loop;
    struct fuse_options options;
    struct blk_edge edge;
    struct blk_queue queue;
    struct loop_watch watch; /* of /dev/fuse */
    struct loop_poller poller;
    struct loop_task answer_task;
    struct loop_task gone_task;
    uint64_t last_ns; /* when something came in */
    uint64_t made_s;  /* the file's times */
    struct call *free;
    unsigned flight;
    bool ending; /* nothing is read any more */
    struct fuse_counts counts;
    struct gate gate;
    char edges[2][BLK_BLOCK_MOST_BYTES]; /* of the write that is alone */
    struct strand_queue all_answered;
};

/* server.c: answer with 0 or -errno and, after 0, with these bytes; the request is over. */
void fuse_reply(struct call *c, int result, const void *body, size_t bytes);

/* Answer to nobody: the request is over. */
void fuse_no_reply(struct call *c);

/* operate.c: carry a request out, now or later. */
void fuse_operate(struct call *c);

/* Run the request in a strand. */
void fuse_in_strand(struct call *c, void (*fn)(void *arg));

/* data.c: read, write and fallocate. */
void fuse_read(struct call *c);
void fuse_write(struct call *c);
void fuse_allocate(struct call *c);

/* The disk has finished the request that `fuse_read` or `fuse_write` had begun. */
void fuse_data_done(struct call *c);

#endif
