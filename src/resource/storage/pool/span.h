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

#define PLACE_PIECES_MOST         64
#define PLACE_SEGMENT_LEAST_BYTES 65536
#define PLACE_SEGMENT_BYTES       ((uint64_t)64 << 20) /* when nobody says otherwise */

struct place_span_shape {
    uint64_t segment_bytes; /* a power of two, 64 KiB to 16 GiB; 0: PLACE_SEGMENT_BYTES */
    unsigned pieces;        /* at least 1 */
    uint64_t size_bytes;    /* of the disk now */
    bool on_first;          /* all of it lies on piece 0; else it is all zeros */
};

/* Write the map of a new span; the disk stays the caller's.  The pieces are not touched: those
 * that hold nothing read zeros and have 0 bytes. */
int place_span_format(struct blk *map, const struct place_span_shape *shape,
                      struct err *e);

/* Bytes that may still be put on a piece. */
typedef uint64_t (*place_room_fn)(void *arg, unsigned piece);

struct place_span_options {
    struct loop *loop;
    unsigned pieces;    /* of the array; more than the map knows are added to it */
    place_room_fn room; /* NULL: in turn */
    void *room_arg;
    bool read_only;
};

/* Takes the map and the pieces (NULL: lost, or removed), also on failure.  Of the pieces only
 * what a crash left half done is touched: none of a fresh map. */
int place_span_open(struct blk *take_map, struct blk **take_pieces,
                    const struct place_span_options *o, struct blk **ret_disk,
                    struct err *e);

enum place_piece_state {
    PLACE_PIECE_HERE,
    PLACE_PIECE_LOST,
    PLACE_PIECE_REMOVED, /* nothing lies on it; its number may be used again */
    PLACE_PIECE_STATE_COUNT
};

struct place_piece_status {
    enum place_piece_state state;
    bool full; /* said -ENOSPC, and has not taken anything new since */
    uint64_t segments;
    uint64_t requests;
    uint64_t errors;
    uint64_t worst_ns; /* since `place_span_forget_times` */
    uint64_t mean_ns;  /* of late: each request counts for a sixty-fourth */
};

unsigned place_span_pieces(const struct blk *span); /* removed ones too */
int place_span_status(const struct blk *span, unsigned piece,
                      struct place_piece_status *ret);
void place_span_forget_times(struct blk *span);
uint64_t place_span_segment_bytes(const struct blk *span);

/* The piece of a segment (its number from 0); -1: it lies nowhere and reads zeros. */
int place_span_where(const struct blk *span, uint64_t segment);

/* Another member for new segments; takes the disk, which reads zeros. */
int place_span_add(struct blk *span, struct blk *take_piece, unsigned *ret_piece,
                   struct err *e);

/* Called now and then during a move; not 0 stops it, and all is as before. */
typedef int (*place_progress_fn)(void *arg, uint64_t done_bytes, uint64_t total_bytes);

struct place_span_move {
    place_progress_fn progress; /* NULL: none */
    void *arg;
    uint64_t bytes_per_s; /* 0: as fast as it goes */
};

/* Bring a segment to another piece while the disk is in use.  -EBUSY: another move runs. */
int place_span_move(struct blk *span, uint64_t segment, unsigned to,
                    const struct place_span_move *m, struct err *e);

/* Bring everything away from a piece, to where most room is. */
int place_span_evacuate(struct blk *span, unsigned piece, const struct place_span_move *m,
                        struct err *e);

/* Let the disk of a piece go on which nothing lies (or wiped segments only): from here on it
 * is a lost one without segments.  -EBUSY: it has some. */
int place_span_leave(struct blk *span, unsigned piece, struct err *e);

/* Forget a piece that has no segment (lost or not); its disk is let go.  -EBUSY: it has. */
int place_span_remove(struct blk *span, unsigned piece, struct err *e);

#endif
