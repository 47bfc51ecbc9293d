/* blk_ops.h - the other side of contract/blk.h: what a disk implements.
 *
 * The guard in blk.c has checked range, alignment, flags and read_only before a
 * slot is called; lengths are never 0.  Every slot runs in a strand of
 * `b->strands` and may suspend; while it does, other requests of the same disk run.
 * A slot takes no lock of the disk over its own end. */
#ifndef CONTRACT_BLK_OPS_H
#define CONTRACT_BLK_OPS_H

#include "base/strand.h"
#include "contract/blk.h"

struct blk_edge;

struct blk_ops {
    const char *name; /* "qcow2"; also the word on the command line */

    /* Fill all of `to` from `off`. */
    int (*read)(struct blk *b, struct blk_vec to, uint64_t off);

    /* NULL: the disk is read only.  BLK_FUA may be left to the guard, which
     * flushes behind the write unless `does_fua`. */
    int (*write)(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags);

    /* Move `bytes` out of a pipe that holds them.  BLK_FUA is left to the guard.
     * -EOPNOTSUPP: not now, and none has left it.  NULL: never. */
    int (*write_pipe)(struct blk *b, int from, uint64_t bytes, uint64_t off);

    /* NULL: the guard writes zeros. */
    int (*zero)(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags);

    /* NULL: nothing is given back. */
    int (*discard)(struct blk *b, uint64_t off, uint64_t bytes);

    /* NULL: nothing is held back and flush is free. */
    int (*flush)(struct blk *b);

    /* NULL: all of it is allocated data. */
    int (*status)(struct blk *b, uint64_t off, uint64_t bytes, struct blk_extent *ret);

    /* The file of the host, and the offset in it, whose page cache has all of [off, off + bytes)
     * now; never waits.  -EOPNOTSUPP: the bytes are elsewhere, or would have to be
     * waited for.  NULL: they always are. */
    int (*pages)(struct blk *b, uint64_t off, uint64_t bytes, int *ret_fd,
                 uint64_t *ret_at);

    /* Sets `size_bytes`.  NULL: the size is fixed. */
    int (*resize)(struct blk *b, uint64_t size_bytes, struct err *e);

    /* Called when the disk has no request in flight and starts none: put what is
     * held back where a power cut finds it, stop own activity.  In a strand.
     * NULL: nothing to do.  Errors are kept for the next flush. */
    int (*quiesce)(struct blk *b);

    /* The disk is going to be written (`writes`), or is not any more: it is drained and,
     * in the second case, quiesced.  Do so with the disks below by `blk_edge_access`; the
     * guard sets `read_only`.  NULL: with all of them that it writes to; where it is to be
     * written, with the only one. */
    int (*access)(struct blk *b, bool writes, struct err *e);

    /* Release everything, edges too.  In a strand, after quiesce. */
    void (*destroy)(struct blk *b);
};

/* First member of every implementation's own struct. */
struct blk {
    const struct blk_ops *ops;
    const char *label; /* names it in messages; owned by the implementation */
    struct strand_pool *strands;
    uint64_t size_bytes;
    uint32_t block_bytes; /* power of two, 512..4096 */
    uint32_t best_bytes;  /* requests of this size and alignment are best; 0: any */
    bool read_only;
    bool grows;            /* a write behind the end moves the end */
    bool does_fua;         /* write and zero make BLK_FUA durable themselves */
    bool zeroes_fast;      /* BLK_ZERO costs no data; BLK_NO_SLOW may be tried */
    struct blk_edge *edge; /* the disks below: an array, `edge_count` long */
    unsigned edge_count;

    /* Of the guard. */
    unsigned in_flight;
    unsigned drained; /* nested; new requests wait while it is not 0 */
    struct strand_queue waiting;
    struct strand_queue draining;
    struct blk *successor; /* where those go that wait here, after a change */
    struct blk_edge *users;
};

/* Fill in the head of a new disk; geometry follows. */
void blk_init(struct blk *b, const struct blk_ops *ops, struct strand_pool *strands);

/* The same for a filter: geometry, and whether it is read only, are those of the
 * disk below. */
void blk_init_like(struct blk *b, const struct blk_ops *ops, const struct blk *lower);

#endif
