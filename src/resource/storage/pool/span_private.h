/* span_private.h - the body of a span.  The layout of its map is at the head of span_map.c, what
 * is true during a move at the head of span_move.c. */
#ifndef RESOURCE_STORAGE_POOL_SPAN_PRIVATE_H
#define RESOURCE_STORAGE_POOL_SPAN_PRIVATE_H

#include "base/strand.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/pool/grace.h"
#include "resource/storage/pool/span.h"
#include "resource/storage/safe/range.h"
#include "resource/storage/safe/slot.h"

#define SPAN_SEGMENTS_MOST ((uint64_t)1 << 24)
#define SPAN_SEGMENT_MOST  ((uint64_t)1 << 34)
#define SPAN_MAP           PLACE_PIECES_MOST /* its edge: behind those of the pieces */

enum span_state {
    SPAN_STILL,
    SPAN_COMING,  /* `other` is being filled; `home` has the bytes */
    SPAN_LEAVING, /* `other` has bytes that nobody needs, to be wiped */
    SPAN_STATE_COUNT
};

/* Where a segment lies; pieces plus 1, 0: none. */
struct span_entry {
    uint8_t home;
    uint8_t other;
    uint8_t state;
};

struct span_piece {
    bool removed;
    bool lost; /* said so; its disk may still be there */
    bool full;
    bool emptied; /* nothing new is put on it */
    bool dirty;   /* written to since its last flush */
    uint64_t segments;
    uint64_t requests;
    uint64_t errors;
    uint64_t worst_ns;
    uint64_t mean_ns;
};

struct span_moving {
    bool running;
    bool active; /* writers ask how far it is */
    bool unsure; /* the map may say that it has turned: no flush before it says not */
    uint64_t segment;
    unsigned to;
    uint64_t copied; /* offset in the disk */
    int failed;
    struct range_lock ranges; /* of the segment: writers, and the copy */
};

struct span {
    struct blk blk;
    struct blk_edge edge[PLACE_PIECES_MOST + 1];
    struct loop *loop;
    place_room_fn room;
    void *room_arg;
    struct slot slot;
    uint64_t uid;
    uint32_t sheet_bytes;
    uint32_t segment_shift;
    bool fresh;            /* made of a plain disk, and never opened since */
    uint64_t durable_size; /* as the map has it */
    unsigned pieces;
    unsigned turn; /* the piece that is tried first when nobody knows of room */
    struct span_piece piece[PLACE_PIECES_MOST];
    struct span_entry *entry; /* owned */
    uint64_t entries;         /* that there is room for; the rest lie nowhere */
    struct grace grace;
    struct range_lock placing; /* segments that are being given a place */
    struct strand_lock store;  /* one writes to the map at a time */
    struct strand_lock keep;   /* one flushes at a time */
    struct span_moving move;
};

static inline struct span *span_of(const struct blk *b)
{
    return (struct span *)(uintptr_t)b;
}

static inline struct span_entry span_entry(const struct span *s, uint64_t segment)
{
    return segment < s->entries ? s->entry[segment] : (struct span_entry){0};
}

static inline bool span_is_here(const struct span *s, unsigned piece)
{
    return piece < s->pieces && s->edge[piece].disk != NULL && !s->piece[piece].lost;
}

/* ---- span_map.c ---- */

int span_map_load(struct span *s);

/* Durable when it returns 0; after an error either is there. */
int span_map_store_head(struct span *s, uint64_t size);
int span_map_store_entry(struct span *s, uint64_t segment, struct span_entry entry);

/* Segments [first, end) of a disk that nobody uses lie on piece 0, if nowhere. */
int span_map_put_on_first(struct span *s, uint64_t first, uint64_t end);

/* Room in memory for segments up to this one. */
int span_map_room(struct span *s, uint64_t segment);

/* ---- span.c ---- */

extern const struct blk_ops span_ops;

enum span_job_kind {
    SPAN_READ,
    SPAN_WRITE,
    SPAN_ZERO,
    SPAN_DISCARD,
    SPAN_JOB_KIND_COUNT
};

/* A part of a request: inside one segment. */
struct span_job {
    enum span_job_kind kind;
    unsigned flags;
    uint64_t off;
    uint64_t bytes;
    struct blk_vec vec;
};

/* Do it on one piece; counts.  -ENODEV: the piece is lost. */
int span_piece_do(struct span *s, unsigned piece, const struct span_job *job);

/* The piece for a new segment, none of the bits `tried`; -1: there is none with room. */
int span_pick(struct span *s, uint64_t segment, uint64_t tried);

/* Let a piece read zeros where a segment would be.  -ENODEV: it is lost. */
int span_wipe(struct span *s, unsigned piece, uint64_t segment);
int span_keep(struct span *s);

/* ---- span_open.c ---- */
int span_access(struct blk *b, bool writes, struct err *e);

/* ---- span_move.c ---- */

/* Write, zero or discard in the segment that is being moved. */
int span_move_do(struct span *s, const struct span_job *job);

/* Tell the map again what it may not have taken. */
int span_move_settle(struct span *s);

#endif
