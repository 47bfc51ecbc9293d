/* dedup.h - a store of blocks by what they contain: equal ones are kept once.
 *
 * A block's address is its SHA-256.  Several volumes, each a disk with blocks of 4096
 * bytes, share one store; a block that nobody refers to any more is room again.  What is
 * read is compared with its address: -EILSEQ when it is not what was written.
 *
 * Threads: that of the disks, in strands. */
#ifndef RESOURCE_STORAGE_DEDUP_DEDUP_H
#define RESOURCE_STORAGE_DEDUP_DEDUP_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct dedup;
struct err;

#define DEDUP_BLOCK_BYTES  4096
#define DEDUP_HASH_BYTES   32
#define DEDUP_NAME_BYTES   64 /* with the NUL */
#define DEDUP_VOLUMES_MOST 64

/* Write an empty store to a disk, which stays the caller's.  `logical_bytes`: what all
 * volumes together may have; 0: four times the disk. */
int dedup_format(struct blk *disk, uint64_t logical_bytes, struct err *e);

/* Open a store on a disk, which it takes, also on failure. */
int dedup_open(struct blk *take_disk, struct dedup **ret_store, struct err *e);

/* Done with it; it goes when its last volume does.  NULL is allowed. */
void dedup_unref(struct dedup *s);

/* An empty volume.  -EEXIST, -ENOSPC. */
int dedup_volume_add(struct dedup *s, const char *name, uint64_t size_bytes,
                     struct err *e);

/* Drop a volume that nobody has open, and all its references.  -EBUSY, -ENOENT. */
int dedup_volume_remove(struct dedup *s, const char *name, struct err *e);

/* The disk of a volume; keeps the store.  -EBUSY: it is open. */
int dedup_volume_open(struct dedup *s, const char *name, struct blk **ret_disk,
                      struct err *e);

/* The name of the n-th volume; NULL: there are fewer. */
const char *dedup_volume_name(const struct dedup *s, unsigned n, uint64_t *ret_size);

/* A block by its address.  -ENOENT: nobody has it; -EILSEQ: it is damaged. */
int dedup_get(struct dedup *s, const uint8_t hash[DEDUP_HASH_BYTES],
              uint8_t to[DEDUP_BLOCK_BYTES]);

/* Give the room of blocks without references back to the disk below, while others write.
 * `progress` (NULL: none) may suspend; not 0 ends it with that. */
int dedup_reclaim(struct dedup *s,
                  int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                  uint64_t *ret_blocks);

struct dedup_status {
    uint64_t blocks;  /* that the disk has room for */
    uint64_t logical; /* blocks of volumes that are not zeros */
    uint64_t stored;  /* blocks on the disk with a reference */
    uint64_t saved;   /* logical - stored */
    uint64_t damaged; /* reads that were not what was written */
};

void dedup_status(const struct dedup *s, struct dedup_status *ret);

/* Count all references anew: 0 if they are right and every block is at an address that can
 * be found; -EUCLEAN.  Nobody may be writing. */
int dedup_check(struct dedup *s, struct err *e);

#endif
