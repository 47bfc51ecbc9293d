/* bitmap.h - dirty bitmaps in memory.
 *
 * The bits are held in pieces of one cluster, as the file has them: a piece is all
 * zeros, all ones, or memory. */
#ifndef RESOURCE_STORAGE_QCOW2_BITMAP_H
#define RESOURCE_STORAGE_QCOW2_BITMAP_H

#include "resource/storage/qcow2/parts.h"

#define BITMAP_IN_USE     1u /* "flags" of a directory entry */
#define BITMAP_AUTO       2u
#define BITMAP_COMPATIBLE 4u
#define BITMAP_RESERVED   (~7u)
#define BITMAP_DIRTY_TYPE 1u /* "dirty tracking bitmap" */

#define BITMAP_ZEROS ((uint8_t *)0)
#define BITMAP_ONES  ((uint8_t *)1)

#define BITMAPS_MOST       65535u
#define BITMAP_NAME_MOST   1023u
#define BITMAP_BITS_LEAST  9 /* of the granularity */
#define BITMAP_BITS_MOST   31
#define BITMAP_TABLES_MOST (64u << 20) /* bytes of all tables, and of the directory */
#define BITMAP_MEMORY_MOST ((uint64_t)512 << 20)

struct qcow2_bitmap {
    struct qcow2_bitmap *next;
    char *name; /* owned */
    uint8_t granularity_bits;
    uint8_t type;
    uint32_t flags;
    uint8_t *extra; /* owned */
    uint32_t extra_bytes;
    uint64_t at;     /* of its table in the file; 0: none yet */
    uint32_t count;  /* entries of that table */
    uint64_t *place; /* owned: the table, as in the file */
    uint8_t **piece; /* owned, each owned; NULL: not loaded */
    uint32_t pieces;
    bool inconsistent; /* was in use, or is of a kind that is not understood */
    bool enabled;
    bool changed; /* differs from the file */
};

/* ---- bitmap.c ---- */

void qcow2_bitmap_fini(struct qcow2 *q, struct qcow2_bitmap *b);
uint64_t qcow2_bitmap_bits(const struct qcow2 *q, const struct qcow2_bitmap *b);

/* Pieces for a disk of that size. */
uint64_t qcow2_bitmap_pieces(const struct qcow2 *q, unsigned granularity_bits,
                             uint64_t size_bytes);
void qcow2_bitmap_set(struct qcow2 *q, struct qcow2_bitmap *b, uint64_t off,
                      uint64_t bytes);

/* ---- bitmap_file.c ---- */

/* Bring its bits into memory. */
int qcow2_bitmap_read(struct qcow2 *q, struct qcow2_bitmap *b);

/* Write what changed and a new directory.  `closing`: nothing is in use any more. */
int qcow2_bitmaps_save(struct qcow2 *q, bool closing);

/* Let the directory in the file say that the enabled ones are in use. */
int qcow2_bitmaps_mark(struct qcow2 *q);

#endif
