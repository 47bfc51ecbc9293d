/* cache.h - a fast store in front of a slow disk.
 *
 * Write-through: every write is on the slow disk before it is done; the store helps
 * reads.  Write-back: a write is done when the store has it; it goes down later, in
 * epochs.  A flush closes an epoch, and epochs go down in order, so that the slow disk
 * by itself is, whenever an epoch has gone down, what the whole was at an earlier
 * moment.  What was flushed survives a power cut in the store.
 *
 * Threads: that of the disks. */
#ifndef RESOURCE_STORAGE_CACHE_CACHE_H
#define RESOURCE_STORAGE_CACHE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;

struct cache_options {
    bool fresh;          /* forget what the store has; else it must be one of this disk */
    bool write_back;     /* else write-through */
    bool is_volatile;    /* fresh; the store is memory: a flush writes all back */
    bool leave_dirty;    /* at the end keep what is not written back in the store */
    uint32_t line_bytes; /* fresh: a power of two, 1 to 64 blocks; 0: at most 32 KiB */
    uint64_t store_bytes;  /* fresh: use as much of the store; 0: all */
    uint64_t bypass_bytes; /* reads in a row from so many on are not kept; 0: 1 MiB */
};

struct cache_figures {
    uint64_t hits;   /* reads that the store answered wholly */
    uint64_t misses; /* other reads */
    uint64_t hit_bytes;
    uint64_t miss_bytes;
    uint64_t bypassed; /* misses that belonged to a sequential run */
    uint64_t promoted; /* lines that a miss put into the store */
    uint64_t written_back_bytes;
    uint64_t epochs_done; /* gone down since the disk was made */
    uint64_t lines;       /* that fit */
    uint64_t lines_used;
    uint64_t lines_dirty;
    int back_error; /* why nothing goes down at present; 0: it does */
};

/* Takes both disks, also on failure.  -EUCLEAN: the store is none of a cache, or
 * damaged; -ESTALE: it belongs to a disk of another size; -ENOSPC: it is too small. */
int cache_create(struct blk *take_slow, struct blk *take_store,
                 const struct cache_options *o, struct blk **ret_disk, struct err *e);

/* In a strand: put all that is dirty where it belongs, durably. */
int cache_write_back(struct blk *b);

/* In a strand that runs no request of the disk: write all back, and go on with as
 * much of the store as `store_bytes`, empty. */
int cache_resize_store(struct blk *b, uint64_t store_bytes, struct err *e);

void cache_figures(const struct blk *b, struct cache_figures *ret);

#endif
