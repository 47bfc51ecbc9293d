/* bitmap.h - dirty bitmaps beside a volume: which parts changed since they were cleared.
 *
 * A set has several bitmaps of one disk, by name, and keeps them in a file of its
 * own, so that every kind of volume has them.  A mark is durable before the write
 * that it stands for reaches the disk: after a crash every change is marked, and a
 * few parts that did not change may be.  A bitmap whose marks cannot be trusted is
 * `lost`: everything counts as changed until it is cleared.
 *
 * Used by incremental backup and by servers that show bitmaps.
 *
 * Threads: that of the disks; functions that take a `struct err` or say so run in a
 * strand. */
#ifndef RESOURCE_STORAGE_BITMAP_BITMAP_H
#define RESOURCE_STORAGE_BITMAP_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct bitmap;
struct bitmap_set;
struct err;

#define BITMAP_NAME_BYTES        64 /* with the NUL */
#define BITMAP_MOST              64 /* in one set */
#define BITMAP_GRANULARITY_LEAST 512
#define BITMAP_GRANULARITY_MOST  ((uint32_t)1 << 31)

/* Write an empty set for a disk of `size_bytes` to a file, which stays the caller's. */
int bitmap_set_format(struct blk *file, uint64_t size_bytes, struct err *e);

/* Open the set in a file, which it takes, also on failure.  `size_bytes`: of the disk;
 * the bitmaps are made to fit when it is another one than at the last time. */
int bitmap_set_open(struct blk *take_file, uint64_t size_bytes,
                    struct bitmap_set **ret_set, struct err *e);

/* In a strand; not for a set that a filter took.  NULL is allowed. */
void bitmap_set_close(struct bitmap_set *set);

/* -EEXIST; -ENOSPC: the set is full.  `granularity_bytes`: a power of two. */
int bitmap_add(struct bitmap_set *set, const char *name, uint32_t granularity_bytes,
               struct bitmap **ret_bitmap, struct err *e);
int bitmap_remove(struct bitmap_set *set, const char *name, struct err *e);

/* NULL: there is none of this name. */
struct bitmap *bitmap_find(struct bitmap_set *set, const char *name);
struct bitmap *bitmap_at(struct bitmap_set *set, unsigned index); /* in order of names */

const char *bitmap_name(const struct bitmap *b);
uint32_t bitmap_granularity(const struct bitmap *b);
uint64_t bitmap_size(const struct bitmap *b); /* of the disk, in bytes */
uint64_t bitmap_dirty_bytes(const struct bitmap *b);
bool bitmap_is_enabled(const struct bitmap *b);
bool bitmap_is_lost(const struct bitmap *b);

/* The first byte at or behind `off` that is (or is not) marked; the size of the disk when
 * there is none. */
uint64_t bitmap_next(const struct bitmap *b, uint64_t off, bool dirty);
bool bitmap_is_dirty(const struct bitmap *b, uint64_t off);

/* Durable when they return.  Marks cover all granules that the range touches; clearing
 * only those that lie in it wholly. */
int bitmap_mark(struct bitmap *b, uint64_t off, uint64_t bytes);
int bitmap_clear(struct bitmap *b, uint64_t off, uint64_t bytes);

/* Clear all; a lost bitmap is right again. */
int bitmap_reset(struct bitmap *b);

/* A disabled bitmap is not changed by writes. */
int bitmap_enable(struct bitmap *b, bool enabled);

/* Mark in `to` what is marked in `from`, whatever their granularities. */
int bitmap_merge(struct bitmap *to, const struct bitmap *from);

/* Move the marks of `b` to a new, disabled bitmap and clear `b`: what a backup of this
 * moment has to copy.  A change that is under way is marked in `b` again. */
int bitmap_freeze(struct bitmap *b, const char *name, struct bitmap **ret_frozen,
                  struct err *e);

/* A disk over `take_lower` that marks what is written, zeroed and discarded in all enabled
 * bitmaps of the set; takes both, also on failure. */
int bitmap_filter_create(struct blk *take_lower, struct bitmap_set *take_set,
                         struct blk **ret_disk, struct err *e);
struct bitmap_set *bitmap_filter_set(struct blk *b); /* of such a disk; borrowed */

#endif
