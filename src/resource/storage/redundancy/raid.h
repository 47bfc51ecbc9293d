/* raid.h - a disk striped over members, with parity or without.
 *
 * Levels: 0 (stripes), 1 (a mirror), 5 (one parity), 6 (two), 10 (stripes over mirrors of
 * two).  With parity, every acknowledged write is durable, and no power cut followed by
 * the loss of as many members as there are parities loses or tears a block.
 *
 * Threads: that of the disks, in strands. */
#ifndef RESOURCE_STORAGE_REDUNDANCY_RAID_H
#define RESOURCE_STORAGE_REDUNDANCY_RAID_H

#include <stdbool.h>
#include <stdint.h>

#include "contract/blk_vec.h"

struct blk;
struct err;
struct loop;

#define RAID_MOST          16
#define RAID_CHUNK_BYTES   65536u
#define RAID_CHUNK_MOST    (1u << 20)
#define RAID_JOURNAL_BYTES (32u << 20) /* of each member */

struct raid_format {
    unsigned level;         /* 0, 1, 5, 6, 10 */
    uint32_t chunk_bytes;   /* 0: RAID_CHUNK_BYTES; a power of two from 4096 */
    uint64_t size_bytes;    /* 0: all that the members allow; rounded up to stripes */
    uint64_t journal_bytes; /* 0: RAID_JOURNAL_BYTES */
};

struct raid_options {
    unsigned level;
    bool
        read_only; /* write nothing; -EOWNERDEAD: writes that were cut have to be finished */
    bool degraded; /* go on without members that are missing */
    bool choose;   /* after a split `winner` is right */
    unsigned winner;
};

/* Make members of disks, which stay the caller's.  What is on them is overwritten: with
 * parity the disks are zeroed, so that every stripe is right from the beginning. */
int raid_format(struct loop *l, struct blk *const *disk, unsigned count,
                const struct raid_format *f, struct err *e);

/* Open an array of disks in any order (level 10: pairs stay next to each other); NULL:
 * missing.  Takes them, also on failure. */
int raid_open(struct loop *l, struct blk *const *take_disk, unsigned count,
              const struct raid_options *o, struct blk **ret_disk, struct err *e);

/* Of levels 0, 5 and 6; those of 1 and 10 are mirrors (`mirror_status`). */
struct raid_status {
    bool degraded;
    bool rebuilding;
    unsigned count;
    const char *state[RAID_MOST]; /* "in sync", "rebuilding", "out" */
    uint64_t errors[RAID_MOST];
    uint64_t done_stripes; /* of the member that is being rebuilt */
    uint64_t stripes;
    uint64_t event;          /* the generation */
    uint64_t repaired_bytes; /* written anew after a read error */
    uint64_t stripe_reads;   /* chunk reads that writes needed */
    uint64_t full_stripes;   /* writes that needed none */
};

void raid_status(const struct blk *b, struct raid_status *ret);

/* Leave a member out; -EBUSY: the array cannot go on without it. */
int raid_fail(struct blk *b, unsigned role, struct err *e);

/* Put a disk, or NULL: the one that is there, in for a member that is out; it is rebuilt
 * while the array is in use.  The disk is taken, also on failure. */
int raid_replace(struct blk *b, unsigned role, struct blk *take_disk, struct err *e);

struct raid_scrub {
    bool mend;

    /* Called after each stripe; not 0 ends the scrub with that.  May suspend.  NULL: none. */
    int (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    uint64_t stripes; /* looked at so far */
    uint64_t wrong; /* whose parity was not that of their data, or that were unreadable */
    uint64_t mended;
};

/* Read all stripes; `s` shows the progress.  With two parities a single wrong chunk is found
 * and mended; with one, the parity is made to fit. */
int raid_scrub(struct blk *b, struct raid_scrub *s);

/* Read by another way: 0 as it is, 1 from the first parity, 2 from the second; -ENOENT: there
 * are no more.  Inside one chunk. */
int raid_read_copy(struct blk *b, unsigned copy, struct blk_vec to, uint64_t off);

#endif
