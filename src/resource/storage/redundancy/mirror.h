/* mirror.h - a disk of which each member has all bytes.
 *
 * Synchronous: what is acknowledged is on every member that is in.  Asynchronous: the
 * first member has it, the others follow in order within a bounded window.  A member
 * that fails is left out and the disk goes on; one that comes back is made equal again
 * while the disk is in use, by copying only the regions that were written meanwhile.
 *
 * Threads: that of the disks, in strands. */
#ifndef RESOURCE_STORAGE_REDUNDANCY_MIRROR_H
#define RESOURCE_STORAGE_REDUNDANCY_MIRROR_H

#include <stdbool.h>
#include <stdint.h>

#include "contract/blk_vec.h"

struct blk;
struct err;
struct loop;

#define MIRROR_MOST         8
#define MIRROR_REGION_BYTES (1u << 20) /* where nothing else is asked for */
#define MIRROR_WINDOW_BYTES (16u << 20)
#define MIRROR_WINDOW_NS    1000000000u

struct mirror_format {
    uint64_t size_bytes; /* 0: as large as the smallest member allows */
    uint64_t most_bytes; /* leave room for the marks of a disk that grows to this size */
    uint32_t region_bytes; /* 0: MIRROR_REGION_BYTES; what one mark stands for */
    bool async;            /* the first disk is the primary */
    bool same;             /* the disks have the same bytes already */
};

struct mirror_options {
    bool read_only;        /* write nothing, and make nobody equal */
    bool degraded;         /* go on without members that are missing */
    bool promote;          /* asynchronous: a follower replaces a missing primary */
    bool choose;           /* after a split `winner` is right */
    unsigned winner;       /* a role */
    uint64_t window_bytes; /* 0: MIRROR_WINDOW_BYTES; of writes that do not follow yet */
    uint64_t window_ns;    /* 0: MIRROR_WINDOW_NS; age of the oldest of them */
};

/* Make members of disks, which stay the caller's. */
int mirror_format(struct blk *const *disk, unsigned count, const struct mirror_format *f,
                  struct err *e);

/* Open a mirror of disks in any order; NULL: missing.  Takes them, also on failure.
 * -ESTALE: a split; -ENODEV: one is missing that knows more; -EUCLEAN: damaged. */
int mirror_open(struct loop *l, struct blk *const *take_disk, unsigned count,
                const struct mirror_options *o, struct blk **ret_disk, struct err *e);

enum mirror_state {
    MIRROR_OK,
    MIRROR_REBUILDING, /* all are there, at least one is being made equal */
    MIRROR_DEGRADED,   /* at least one is out */
    MIRROR_STATE_COUNT
};

struct mirror_member {
    const char *state;     /* "in sync", "rebuilding", "follows", "out" */
    uint64_t behind_bytes; /* to be copied to it */
    uint64_t errors;
};

struct mirror_status {
    enum mirror_state state;
    unsigned count;
    struct mirror_member member[MIRROR_MOST];
    uint64_t copied_bytes;   /* to make members equal, since it was opened */
    uint64_t repaired_bytes; /* written anew after a read error */
    uint64_t lag_bytes;      /* asynchronous: acknowledged and not followed yet */
    uint64_t event;          /* the generation */
};

void mirror_status(const struct blk *b, struct mirror_status *ret);

/* Leave a member out; -EBUSY: the mirror cannot go on without it. */
int mirror_fail(struct blk *b, unsigned role, struct err *e);

/* The same, and its disk is let go: nobody has the role until another disk does. */
int mirror_leave(struct blk *b, unsigned role, struct err *e);

/* A member that is out comes back: as it was, or as another disk, which is taken, also on
 * failure. */
int mirror_return(struct blk *b, unsigned role, struct err *e);
int mirror_replace(struct blk *b, unsigned role, struct blk *take_disk, struct err *e);

struct mirror_scrub {
    bool mend;

    /* Called after each region; not 0 ends the scrub with that.  May suspend.  NULL: none. */
    int (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    uint64_t regions; /* looked at so far */
    uint64_t wrong;   /* that were not equal everywhere, or could not be read somewhere */
    uint64_t mended;
};

/* Compare the copies of all members that are in, region by region, while the mirror is in
 * use; with `mend` the first copy that can be read is written to those that differ. */
int mirror_scrub(struct blk *b, struct mirror_scrub *s);

/* Read one member's copy: 0, 1 ...; -ENOENT: there are no more; -ENODEV: this one is not
 * right at the moment.  For whoever can tell a good copy from a bad one. */
int mirror_read_copy(struct blk *b, unsigned copy, struct blk_vec to, uint64_t off);

#endif
