/* member.h - the disks that a mirror or an array is made of, and who of them is current. */
#ifndef RESOURCE_STORAGE_REDUNDANCY_MEMBER_H
#define RESOURCE_STORAGE_REDUNDANCY_MEMBER_H

#include "base/strand.h"
#include "contract/blk_graph.h"
#include "resource/storage/safe/slot.h"

struct err;

#define MEMBER_MOST        32
#define MEMBER_ID_BYTES    16
#define MEMBER_PLACE_BYTES 4096
#define MEMBER_AREA_AT     65536u /* intent or journal; the superblock is before it */

enum member_kind {
    MEMBER_KIND_MIRROR = 1,
    MEMBER_KIND_RAID0 = 2,
    MEMBER_KIND_RAID5 = 5,
    MEMBER_KIND_RAID6 = 6
};

enum member_state {
    MEMBER_OUT,        /* missing, failed, or too old: not read, not written */
    MEMBER_IN_SYNC,    /* has everything that was acknowledged */
    MEMBER_REBUILDING, /* is written; what it lacks is being copied */
    MEMBER_FOLLOWS,    /* asynchronous: has it all but for the window */
    MEMBER_STATE_COUNT
};

struct member {
    struct blk_edge *edge; /* in the set; its `disk` NULL: not there */
    struct slot slot;
    uint8_t id[MEMBER_ID_BYTES];
    enum member_state state;
    bool lacks_all;  /* nothing on it can be relied on */
    uint64_t done;   /* rebuilding an array: stripes before this one are right */
    uint64_t errors; /* requests that failed */
};

struct member_set {
    enum member_kind kind;
    uint8_t id[MEMBER_ID_BYTES];
    unsigned count;
    uint64_t size;       /* of the disk on top */
    uint64_t data_at;    /* on each member */
    uint32_t unit_bytes; /* region of a mirror, chunk of an array */
    bool async;
    bool read_only;  /* nothing is written: states are for this opening alone */
    uint64_t event;  /* grows with every change of a state */
    bool unsaved;    /* a state changed and is not durable: nothing may be acknowledged */
    bool half_saved; /* the last try failed: `event` is on some members only */
    struct strand_pool *strands;
    struct strand_lock lock; /* of saving */
    struct member member[MEMBER_MOST];
    struct blk_edge edge[MEMBER_MOST]; /* together, for `struct blk` */

    /* Whether the set can go on without this one. */
    bool (*can_lose)(const struct member_set *s, unsigned role);
};

struct member_open {
    struct blk **disk; /* `count` of them, in any order; NULL: missing */
    unsigned count;
    bool degraded;  /* missing ones are left out for good */
    bool read_only; /* all disks may be */
    bool promote;   /* asynchronous: a follower takes over from a missing primary */
    int winner;     /* after a split: the role that is right; -1: refuse */
};

/* New superblocks on all disks; ids are drawn, `s` has the geometry and the states. */
int member_format(struct member_set *s, struct blk *const *disk, struct err *e);

/* Read the superblocks, find out who is current, attach.  The disks are taken, also on
 * failure.  States are what they are from now on; the change is not saved yet.
 * -EUCLEAN: damaged; -ESTALE: a split, both sides went on alone; -ENODEV: too few. */
int member_assemble(struct member_set *s, const struct member_open *o, struct err *e);

/* Write the states to all that are in, if they changed.  Who cannot be written is left
 * out, and that is saved, too.  An error: the set cannot go on, nothing was lost. */
int member_save(struct member_set *s);

/* Leave a member out, if the set can lose it; false: it cannot.  To be saved. */
bool member_drop(struct member_set *s, unsigned role);

/* Another disk, or the same again, for a role that is out: REBUILDING, to be saved.
 * Takes the disk, also on failure; NULL: the one that is there. */
int member_replace(struct member_set *s, unsigned role, struct blk *take_disk,
                   struct err *e);

/* As `blk_run_all`; a request that had no strand to run in is run again in this one, so that
 * want of memory is not taken for a failure of the member. */
int member_run(struct blk_request *request, unsigned count);

/* The set is going to be written, or (not `writes`) is not any more: so are its members.  -ESTALE:
 * another program wrote to their superblocks since they were read. */
int member_access(struct member_set *s, bool writes, struct err *e);

/* Make every member that is there at least this large. */
int member_fit(struct member_set *s, uint64_t bytes, struct err *e);

/* The same when members are opened: one was away when the others grew.  -EUCLEAN: none is
 * as large, so that no superblock tells the truth. */
int member_fit_back(struct member_set *s, uint64_t bytes, struct err *e);

/* Zeros, durable, on all that are in; `off` from `data_at` on. */
int member_clear(struct member_set *s, uint64_t off, uint64_t bytes);

/* Another size of the disk on top; after an error some members may have it. */
int member_set_size(struct member_set *s, uint64_t size);

bool member_is_live(const struct member *m); /* there and not out */
unsigned member_count(const struct member_set *s, enum member_state state);
void member_detach_all(struct member_set *s);

#endif
