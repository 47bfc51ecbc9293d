/* tier.h - one disk over a fast and a slow one: what is used most lies on the fast.
 *
 * The disk is cut into extents, each of which lies on one of the two; they move by their
 * heat, in both directions, while they are used.  The room of both counts. */
#ifndef RESOURCE_STORAGE_FILTER_TIER_H
#define RESOURCE_STORAGE_FILTER_TIER_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;

#define FILTER_TIER_EXTENT_DEFAULT_BYTES (1024u * 1024)

enum filter_tier_tag {
    FILTER_TIER_ANYWHERE,
    FILTER_TIER_KEEP_FAST,
    FILTER_TIER_KEEP_SLOW,
    FILTER_TIER_TAG_COUNT
};

struct filter_tier_options {
    bool fresh;            /* forget what the disks have; the rest is for fresh ones */
    uint64_t size_bytes;   /* of the disk; 0: all that there is room for */
    uint64_t fast_bytes;   /* use as much of the fast disk; 0: all */
    uint32_t extent_bytes; /* a power of two, 4 KiB to 16 MiB; 0: 1 MiB */
    uint32_t look_every;   /* requests after which extents move by themselves; 0: only
                              by `filter_tier_balance`.  Not kept */
};

struct filter_tier_figures {
    uint64_t fast_requests;
    uint64_t slow_requests;
    uint64_t moved_up;
    uint64_t moved_down;
    uint64_t fast_extents; /* that are used; of `fast_room` */
    uint64_t fast_room;
    uint64_t slow_extents;
    uint64_t slow_room;
};

/* Takes both disks, also on failure.  The map lies on the fast one.  Over disks that are
 * read only nothing moves.  -EUCLEAN: there is
 * none, or it is damaged; -ESTALE: the disks are smaller than they were; -ENOSPC: too
 * small for what is asked. */
int filter_tier_create(struct blk *take_fast, struct blk *take_slow,
                       const struct filter_tier_options *o, struct blk **ret_disk,
                       struct err *e);

/* In a strand: move at most so many extents to where they belong; heat fades.  How many
 * moved, or -errno. */
int filter_tier_balance(struct blk *b, unsigned most);

/* The extents that [off, off + bytes) touches stay on one disk; those elsewhere are the
 * first to move.  Kept with the next flush. */
int filter_tier_set_tag(struct blk *b, uint64_t off, uint64_t bytes,
                        enum filter_tier_tag tag);

bool filter_tier_is_fast(const struct blk *b, uint64_t off);
void filter_tier_figures(const struct blk *b, struct filter_tier_figures *ret);

#endif
