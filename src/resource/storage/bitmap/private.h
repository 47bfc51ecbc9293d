/* private.h - the bodies of a set and its bitmaps.  The layout is at the head of set.c. */
#ifndef RESOURCE_STORAGE_BITMAP_PRIVATE_H
#define RESOURCE_STORAGE_BITMAP_PRIVATE_H

#include "base/strand.h"
#include "contract/blk_graph.h"
#include "resource/storage/bitmap/bitmap.h"
#include "resource/storage/safe/slot.h"

#define SHEET_BYTES 512 /* of the file; the last four are the CRC-32C of the others */
#define SHEET_BITS  (508 * 8)
#define UNIT_BYTES  4096 /* what is written at once: eight sheets */
#define UNIT_BITS   (8 * SHEET_BITS)
#define UNIT_ROOM   (8 * 508) /* bytes of bits in a unit */
#define BATCH_UNITS 16
#define AREAS_AT    65536u

enum flag {
    FLAG_ENABLED = 1,
    FLAG_LOST = 2,
    FLAG_KNOWN = 3
};

struct bitmap {
    struct bitmap_set *set;
    char name[BITMAP_NAME_BYTES];
    unsigned shift; /* of the granularity */
    unsigned flags; /* enum flag */
    uint64_t off;   /* of its area in the file */
    uint64_t units; /* of its area */
    uint64_t count; /* of bits */
    uint8_t *bits;  /* owned; `units` * UNIT_ROOM bytes */
    uint8_t *state; /* owned; enum unit_state bits, one byte per unit */
};

enum unit_state {
    UNIT_CHANGED = 1, /* not in the file yet */
    UNIT_WRITING = 2  /* on its way */
};

struct bitmap_set {
    struct blk_edge file;
    struct slot slot;
    uint64_t size; /* of the disk, in bytes */
    unsigned count;
    uint64_t changes;                   /* grows when a mark may have been taken away */
    struct bitmap *bitmap[BITMAP_MOST]; /* owned, in order of names */
    struct strand_lock lock;            /* of the file's areas and the directory */
    uint8_t *batch; /* owned; BATCH_UNITS units, of the lock's holder */
};

/* Bits, in memory only. */
bool bitmap_bit(const struct bitmap *b, uint64_t at);
void bitmap_set_bits(struct bitmap *b, uint64_t from, uint64_t end);
void bitmap_clear_bits(struct bitmap *b, uint64_t from, uint64_t end);
void bitmap_trim(struct bitmap *b); /* clear what lies behind the end */
uint64_t bitmap_units_for(uint64_t size_bytes, unsigned shift);

/* Whether a unit of these bits is not durable yet. */
bool bitmap_is_behind(const struct bitmap *b, uint64_t from, uint64_t end);

/* Write the changed units of one or of all bitmaps; the lock is held. */
int bitmap_put_locked(struct bitmap *b);
int bitmap_put_all(struct bitmap_set *set);
int bitmap_put_directory_locked(struct bitmap_set *set);

/* Read the area; a sheet that is damaged sets `FLAG_LOST`. */
int bitmap_get(struct bitmap *b);

int bitmap_set_resize(struct bitmap_set *set, uint64_t size_bytes, struct err *e);

/* Mark in all enabled bitmaps; durable when it returns 0. */
int bitmap_set_mark(struct bitmap_set *set, uint64_t off, uint64_t bytes);

#endif
