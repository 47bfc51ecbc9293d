/* blk.h - what a disk promises to whoever reads and writes it.
 *
 * Implemented by resource/storage (file, qcow2, overlay, cache, mirror ...).
 * Used by it and by the devices of machines.  Neither side sees the other.
 *
 * Two ways to use a disk:
 *  - inside a strand (base/strand.h), `blk_read` and its sisters look as if they
 *    blocked; the thread goes on with others while they wait;
 *  - from anywhere on the disk's thread, `blk_submit` starts requests and
 *    `blk_reap` collects the finished ones, many at a time.
 *
 * Threads: all calls on the one thread that drives the disk's strands.
 * Units:   offsets and lengths are bytes, multiples of block_bytes, inside
 *          size_bytes (`grows`: a write may end behind it and moves it).
 * Order:   requests in flight at once may be done in any order; where two of
 *          them overlap and one writes, each block has the bytes of one of them.
 * Durable: what was finished before a flush began survives a power cut after
 *          the flush ended.  A block that was being written at the cut has its
 *          old or its new bytes, and no other block is touched.
 * Errors:  -EIO the medium failed, -ENOSPC no room (nothing was lost; may be tried
 *          again when there is), -ENODEV it is gone for good, -EROFS read only,
 *          -EINVAL not whole blocks, -ERANGE outside, -EOPNOTSUPP cannot,
 *          -EILSEQ the bytes are not those that were written (checksum),
 *          -EUCLEAN the format is damaged, -EOWNERDEAD writes to it were cut off, and
 *          only who may write to it can finish them, -ENOMEM, -ESHUTDOWN being closed. */
#ifndef CONTRACT_BLK_H
#define CONTRACT_BLK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contract/blk_vec.h"

struct blk;
struct err;
struct strand_pool;

#define BLK_BLOCK_LEAST_BYTES  512
#define BLK_BLOCK_MOST_BYTES   4096
#define BLK_SIZE_MOST_BYTES    ((uint64_t)1 << 62) /* sums of offsets stay positive */
#define BLK_REQUEST_MOST_BYTES ((uint64_t)1 << 30) /* of data in one request */

enum blk_kind {
    BLK_READ,
    BLK_WRITE,
    BLK_ZERO,
    BLK_DISCARD,
    BLK_FLUSH,
    BLK_KIND_COUNT
};

enum blk_flag {
    BLK_FUA = 1,    /* write, zero: durable when done */
    BLK_UNMAP = 2,  /* zero: may give the room back */
    BLK_NO_SLOW = 4 /* zero: -EOPNOTSUPP rather than as slow as a write of zeros */
};

enum blk_state {
    BLK_DATA = 1,      /* may hold something else than zeros */
    BLK_ALLOCATED = 2, /* held by this disk itself, not by one that it is based on */
    BLK_PLACED = 4     /* `at` and `holder` tell where */
};

/* What is known of [off, off + bytes) of a disk. */
struct blk_extent {
    uint64_t bytes;
    unsigned state;           /* enum blk_state */
    uint64_t at;              /* BLK_PLACED: offset of the first byte in `holder` */
    const struct blk *holder; /* BLK_PLACED: the disk below that holds the bytes */
};

/* In a strand.  0 or -errno; all or, after an error, an unknown part. */
int blk_readv(struct blk *b, struct blk_vec to, uint64_t off);
int blk_writev(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags);
int blk_read(struct blk *b, void *to, size_t bytes, uint64_t off);
int blk_write(struct blk *b, const void *from, size_t bytes, uint64_t off,
              unsigned flags);

/* The same with bytes that the pipe `from` holds, without a copy to memory.  -EOPNOTSUPP:
 * nothing has left the pipe, write them from memory; after another error an unknown part is
 * still there. */
int blk_write_pipe(struct blk *b, int from, uint64_t bytes, uint64_t off, unsigned flags);

/* Make [off, off + bytes) read as zeros. */
int blk_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags);

/* Give room back where that is possible: later reads give zeros or the old bytes.
 * 0 also where nothing could be given back. */
int blk_discard(struct blk *b, uint64_t off, uint64_t bytes);

int blk_flush(struct blk *b);

/* The state of the first bytes of [off, off + bytes): at least one block, not
 * always as much as is alike. */
int blk_status(struct blk *b, uint64_t off, uint64_t bytes,
               struct blk_extent *ret_extent);

/* Where a range lies as pages of a file of the host that can be sent without a copy: now,
 * until the caller returns to the loop or suspends, and asks anew.  Never suspends.
 * -EOPNOTSUPP: read it. */
int blk_pages(struct blk *b, uint64_t off, uint64_t bytes, int *ret_fd, uint64_t *ret_at);

/* Grow or shrink; what lies behind a smaller end is lost, new room reads zeros. */
int blk_resize(struct blk *b, uint64_t size_bytes, struct err *e);

/* One asynchronous request; the submitter's storage until it is reaped. */
struct blk_request {
    struct blk *disk; /* set by submit; by the caller of `blk_run_all` */
    enum blk_kind kind;
    unsigned flags; /* enum blk_flag */
    uint64_t off;
    uint64_t bytes; /* zero, discard; reads and writes: vec.bytes counts */
    struct blk_vec vec;
    int result;               /* once done: 0 or -errno */
    struct blk_queue *queue;  /* set by submit */
    struct blk_request *next; /* in the queue's list of finished ones */
};

/* A submitter's end of one disk. */
struct blk_queue {
    struct blk *disk; /* borrowed: keep an edge (contract/blk_graph.h) as long */
    struct blk_request *done_first;
    struct blk_request *done_last;
    unsigned in_flight; /* submitted and not finished */

    /* Called when the list of finished requests stops being empty: reap soon, not
     * necessarily inside the call.  NULL: the owner looks by himself. */
    void (*ready)(struct blk_queue *q);
};

/* Start a request.  It may be finished, and `ready` called, before this returns. */
void blk_submit(struct blk_queue *q, struct blk_request *r);

/* The list of all finished requests, the earliest first, by `next`; the queue
 * forgets them.  NULL: none. */
struct blk_request *blk_reap(struct blk_queue *q);

/* In a strand: run several requests side by side, each of its `disk`, and wait for
 * all.  0, or the error of the first in the array that failed. */
int blk_run_all(struct blk_request *r, unsigned count);

uint64_t blk_size(const struct blk *b);
uint32_t blk_block_bytes(const struct blk *b);
bool blk_is_read_only(const struct blk *b);

#endif
