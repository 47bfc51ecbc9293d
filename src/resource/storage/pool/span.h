/* span.h - one disk whose segments lie on several disks, each at the same offset.
 *
 * Pieces are files, or carved disks, that grow; a map on a disk of its own says which piece
 * has which segment.  A plain disk becomes a span without a copy: everything lies on its first
 * piece.  A new segment goes where most room is.  A piece that is lost costs its
 * segments only (-ENODEV); one that is full gets no new ones.
 *
 * Threads: that of the disks, in strands. */
#ifndef RESOURCE_STORAGE_POOL_SPAN_H
#define RESOURCE_STORAGE_POOL_SPAN_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;
struct loop;

#define POOL_PIECES_MOST         64
#define POOL_SEGMENT_LEAST_BYTES 65536
#define POOL_SEGMENT_BYTES       ((uint64_t)64 << 20) /* when nobody says otherwise */

struct pool_span_shape {
    uint64_t segment_bytes; /* a power of two, 64 KiB to 16 GiB; 0: POOL_SEGMENT_BYTES */
    unsigned pieces;        /* at least 1 */
    uint64_t size_bytes;    /* of the disk now */
    bool on_first;          /* all of it lies on piece 0; else it is all zeros */
};

/* Write the map of a new span; the disk stays the caller's.  The pieces are not touched: those
 * that hold nothing read zeros and have 0 bytes. */
int pool_span_format(struct blk *map, const struct pool_span_shape *shape, struct err *e);

/* Bytes that may still be put on a piece. */
typedef uint64_t (*pool_room_fn)(void *arg, unsigned piece);

struct pool_span_options {
    struct loop *loop;
    unsigned pieces;   /* of the array; more than the map knows are added to it */
    pool_room_fn room; /* NULL: in turn */
    void *room_arg;
    bool read_only;
};

/* Takes the map and the pieces (NULL: lost, or removed), also on failure.  Of the pieces only
 * what a crash left half done is touched: none of a fresh map. */
int pool_span_open(struct blk *take_map, struct blk **take_pieces,
                   const struct pool_span_options *o, struct blk **ret_disk,
                   struct err *e);

enum pool_piece_state {
    POOL_PIECE_HERE,
    POOL_PIECE_LOST,
    POOL_PIECE_REMOVED, /* nothing lies on it; its number may be used again */
    POOL_PIECE_STATE_COUNT
};

struct pool_piece_status {
    enum pool_piece_state state;
    bool full; /* said -ENOSPC, and has not taken anything new since */
    uint64_t segments;
    uint64_t requests;
    uint64_t errors;
    uint64_t worst_ns; /* since `pool_span_forget_times` */
    uint64_t mean_ns;  /* of late: each request counts for a sixty-fourth */
};

unsigned pool_span_pieces(const struct blk *span); /* removed ones too */
int pool_span_status(const struct blk *span, unsigned piece,
                     struct pool_piece_status *ret);
void pool_span_forget_times(struct blk *span);
uint64_t pool_span_segment_bytes(const struct blk *span);

/* The piece of a segment (its number from 0); -1: it lies nowhere and reads zeros. */
int pool_span_where(const struct blk *span, uint64_t segment);

/* Another member for new segments; takes the disk, which reads zeros. */
int pool_span_add(struct blk *span, struct blk *take_piece, unsigned *ret_piece,
                  struct err *e);

/* Called now and then during a move; not 0 stops it, and all is as before. */
typedef int (*pool_progress_fn)(void *arg, uint64_t done_bytes, uint64_t total_bytes);

struct pool_span_move {
    pool_progress_fn progress; /* NULL: none */
    void *arg;
    uint64_t bytes_per_s; /* 0: as fast as it goes */
};

/* Bring a segment to another piece while the disk is in use.  -EBUSY: another move runs. */
int pool_span_move(struct blk *span, uint64_t segment, unsigned to,
                   const struct pool_span_move *m, struct err *e);

/* Bring everything away from a piece, to where most room is. */
int pool_span_evacuate(struct blk *span, unsigned piece, const struct pool_span_move *m,
                       struct err *e);

/* Let the disk of a piece go on which nothing lies (or wiped segments only): from here on it
 * is a lost one without segments.  -EBUSY: it has some. */
int pool_span_leave(struct blk *span, unsigned piece, struct err *e);

/* Forget a piece that has no segment (lost or not); its disk is let go.  -EBUSY: it has. */
int pool_span_remove(struct blk *span, unsigned piece, struct err *e);

#endif
