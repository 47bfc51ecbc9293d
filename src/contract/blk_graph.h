/* blk_graph.h - who uses which disk, for what, and how that changes under load.
 *
 * Disks form a graph: a filter or a format has edges to the disks below it, a
 * device, a server or a job has one to the disk at its top.  An edge says what its
 * user does with the disk and what it lets others do; an edge that contradicts one
 * that is there is refused, whoever comes second.  A disk belongs to its edges: the
 * last one that goes destroys it.
 *
 * The graph changes in transactions: all disks concerned are drained (no request in
 * flight, none begins), then all edges change or none.
 *
 * Threads: that of the disks.  Implemented by contract/blk_graph.c for all. */
#ifndef CONTRACT_BLK_GRAPH_H
#define CONTRACT_BLK_GRAPH_H

#include "contract/blk.h"

struct blk_ops;

enum blk_use {
    BLK_USE_READ = 1,   /* relies on what it reads: no half-done states */
    BLK_USE_WRITE = 2,  /* changes contents */
    BLK_USE_RESIZE = 4, /* changes the size */
    BLK_USE_ALL = 7
};

/* The storage of an edge is its user's and does not move while attached. */
struct blk_edge {
    struct blk *disk;      /* NULL: not attached */
    const char *user;      /* who, for messages; borrowed */
    unsigned uses;         /* enum blk_use: what this user does */
    unsigned lets;         /* what it lets other users do */
    struct blk_edge *next; /* of the users of one disk */
};

/* Attach a user to a disk.  -EBUSY names who contradicts; -EROFS: to write on a
 * read-only disk.  The edge's fields but `disk` and `next` are set before. */
int blk_attach(struct blk_edge *edge, struct blk *disk, struct err *e);

/* Leave a disk; in a strand.  The last one to leave drains and destroys it.
 * An edge that is not attached is left alone. */
void blk_detach(struct blk_edge *edge);

/* Give up a disk that was created or taken: destroy it unless somebody is attached.
 * NULL is allowed.  In a strand. */
void blk_drop(struct blk *disk);

/* In a strand that runs no request of the disk: wait until nothing is in flight;
 * requests that come wait until `blk_drain_end`.  Nests. */
void blk_drain_begin(struct blk *disk);
void blk_drain_end(struct blk *disk);

/* One step of a transaction: `edge` leads to `to` afterwards, with these uses. */
struct blk_step {
    struct blk_edge *edge;
    struct blk *to;
    unsigned uses;
    unsigned lets;
};

/* Make all steps or, with a reason, none.  In a strand that runs no request of the
 * disks.  A disk that is left without users is destroyed. */
int blk_change(struct blk_step *steps, unsigned count, struct err *e);

/* Put a filter between a user and its disk.  `make` creates it over the disk, which is
 * drained meanwhile: it may not read or write it.  On failure all is as before. */
int blk_insert(struct blk_edge *edge,
               int (*make)(struct blk *take_lower, void *arg, struct blk **ret_disk,
                           struct err *e),
               void *arg, struct err *e);

/* Take the filter out that `edge` leads to: it quiesces, and the edge leads to the
 * disk below its first edge. */
int blk_remove(struct blk_edge *edge, struct err *e);

/* Make a disk read only that nobody writes any more (with those below that only it wrote to),
 * or let it be written again.  Files of the host change their locks.  In a strand that
 * runs no request of the disk.  After an error it is as it was, or read only. */
int blk_set_access(struct blk *disk, bool writes, struct err *e);

/* Of the slot `access`: the same for the disk below, and the edge to it. */
int blk_edge_access(struct blk_edge *edge, bool writes, struct err *e);

/* The disks of the graph below `top`, itself included, each once, parents first;
 * stops at the first answer of `visit` that is not 0 and gives it back. */
int blk_visit(struct blk *top, int (*visit)(struct blk *b, unsigned depth, void *arg),
              void *arg);

#endif
