/* raid_private.h - the body of an array. */
#ifndef RESOURCE_STORAGE_REDUNDANCY_RAID_PRIVATE_H
#define RESOURCE_STORAGE_REDUNDANCY_RAID_PRIVATE_H

#include "contract/blk_ops.h"
#include "resource/storage/redundancy/member.h"
#include "resource/storage/redundancy/raid.h"
#include "resource/storage/safe/range.h"

/* Rows [lo, hi) of all chunks of one stripe, in memory.  Index i below `data` is the i-th
 * chunk of data, then come P and Q. */
struct raid_stripe {
    uint64_t number;
    uint32_t lo;
    uint32_t hi;
    uint8_t *chunk[RAID_MOST]; /* owned together: chunk[0] is the allocation */
    unsigned have;             /* bits: the bytes are there */
    unsigned change;           /* bits: to be written */
    struct raid_stripe *next;  /* of those whose write is unfinished */
};

struct raid {
    struct blk blk;
    struct member_set set;
    unsigned parity; /* 0, 1, 2 */
    unsigned data;   /* chunks of data in a stripe */
    uint32_t chunk;  /* bytes */
    uint64_t stripes;
    struct range_lock ranges; /* of stripe numbers */
    uint64_t repaired_bytes;
    uint64_t stripe_reads;
    uint64_t full_stripes;

    /* The journal (raid_journal.c). */
    uint64_t journal_bytes;
    uint64_t journal_at; /* where the next record goes, on every member */
    uint64_t stream;
    uint64_t salt;
    uint64_t transaction;
    unsigned active; /* between `raid_journal_enter` and `raid_journal_leave` */
    bool settling;
    bool broken; /* a record was not written whole: the stream has to end */
    struct strand_queue gate;
    struct strand_queue idle;
    struct raid_stripe *stuck; /* committed, not in place everywhere yet */
    struct strand_lock stuck_lock;

    bool copying;
    bool stop;
    bool copy_failed;
    struct strand_queue copy_ended;
};

static inline struct raid *raid_of(struct blk *b)
{
    return (struct raid *)b;
}

/* Which member has chunk `index` of a stripe. */
unsigned raid_role(const struct raid *x, uint64_t stripe, unsigned index);

/* Bits of the indices that can be read and written. */
unsigned raid_usable(const struct raid *x, uint64_t stripe);

int raid_stripe_init(struct raid *x, struct raid_stripe *s);
void raid_stripe_fini(struct raid_stripe *s);

/* Read these chunks' rows; `ret_failed`: bits of those that failed. */
int raid_stripe_read(struct raid *x, struct raid_stripe *s, unsigned which,
                     unsigned *ret_failed);

/* Write the changed chunks in place; who fails is dropped.  An error: somebody who cannot
 * be dropped failed. */
int raid_stripe_write(struct raid *x, struct raid_stripe *s);

/* Fill in `want` from what is there: -EIO when that is not enough. */
int raid_stripe_recover(const struct raid *x, struct raid_stripe *s, unsigned want);

/* Read all that is usable and recover the data; `unreadable`: bits not to be asked. */
int raid_stripe_load(struct raid *x, struct raid_stripe *s, unsigned unreadable,
                     unsigned *ret_failed);
void raid_stripe_parity(const struct raid *x, struct raid_stripe *s, unsigned which);

/* raid_journal.c */
int raid_journal_enter(struct raid *x, uint32_t rows, uint64_t *ret_at);
void raid_journal_leave(struct raid *x);
int raid_journal_put(struct raid *x, struct raid_stripe *s, uint64_t at);
int raid_journal_replay(struct raid *x);
int raid_journal_settle(struct raid *x); /* all of it in place; it begins anew */
int raid_unstick(struct raid *x, uint64_t stripe); /* UINT64_MAX: all */

/* resize.c */
int raid_resize(struct blk *b, uint64_t size_bytes, struct err *e);

/* raid_write.c, raid_copy.c */
int raid_write_stripe(struct raid *x, uint64_t stripe, struct blk_vec from, uint64_t at);
int raid_read_hard(struct raid *x, uint64_t stripe, unsigned index, struct blk_vec to,
                   uint32_t row);
void raid_kick(struct raid *x);

#endif
