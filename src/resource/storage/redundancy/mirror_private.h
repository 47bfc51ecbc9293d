/* mirror_private.h - the body of a mirror. */
#ifndef RESOURCE_STORAGE_REDUNDANCY_MIRROR_PRIVATE_H
#define RESOURCE_STORAGE_REDUNDANCY_MIRROR_PRIVATE_H

#include "contract/blk_ops.h"
#include "resource/storage/redundancy/intent.h"
#include "resource/storage/redundancy/member.h"
#include "resource/storage/redundancy/mirror.h"
#include "resource/storage/safe/range.h"

struct follow_entry;

struct mirror {
    struct blk blk;
    struct loop *loop;
    struct member_set set;
    struct intent intent;
    struct range_lock ranges; /* writes, copies and repairs */

    uint16_t *active; /* owned; per region: writes under way, or not followed yet */
    uint32_t *last;   /* owned; per region: `generation` of the last write */
    uint32_t generation;
    unsigned flushes;
    unsigned turn; /* of the next read */

    uint8_t *pending[MIRROR_MOST]; /* owned; a byte per region: 1, the member lacks it */
    uint64_t pending_count[MIRROR_MOST];
    uint64_t copied_bytes;
    uint64_t repaired_bytes;
    bool copying; /* a strand copies */
    bool stop;
    bool copy_failed; /* until the next flush */
    struct strand_queue copy_ended;

    /* Asynchronous. */
    uint64_t window_bytes;
    uint64_t window_ns;
    struct follow_entry *first;
    struct follow_entry **end;
    uint64_t lag_bytes;
    uint64_t reserved_bytes; /* of changes that are under way on the primary */
    bool following;          /* a strand applies the queue */
    struct strand_queue room;
    struct strand_queue caught_up;
};

static inline struct mirror *mirror_of(struct blk *b)
{
    return (struct mirror *)b;
}

/* Regions of a range of bytes. */
static inline uint64_t mirror_region(const struct mirror *m, uint64_t off)
{
    return off / m->set.unit_bytes;
}

/* Count a change of these regions as under way (`by` 1), or as done (-1). */
void mirror_touch(struct mirror *m, uint64_t off, uint64_t bytes, int by);

/* Leave a member out if that is possible. */
bool mirror_lose(struct mirror *m, unsigned role);

/* A member that has regions [first, end): `not` is not asked.  -1: nobody. */
int mirror_pick(struct mirror *m, uint64_t first, uint64_t end, int not );

void mirror_add_pending(struct mirror *m, unsigned role, uint64_t region);
void mirror_drop_pending(struct mirror *m, unsigned role, uint64_t region);

/* resize.c */
int mirror_resize(struct blk *b, uint64_t size_bytes, struct err *e);

/* Start to copy if there is something to copy and nobody does. */
void mirror_kick(struct mirror *m);

/* Clear marks of regions that were not written for `keep` generations. */
void mirror_sweep(struct mirror *m, uint32_t keep);

/* Asynchronous: wait until the window has room and reserve it, give the reservation back,
 * put a finished change into the window. */
void mirror_wait_room(struct mirror *m, uint64_t bytes);
void mirror_give_room(struct mirror *m, uint64_t bytes);
void mirror_follow(struct mirror *m, const struct blk_request *change);
void mirror_catch_up(struct mirror *m); /* wait until all was followed */

/* Wait until no change of the range is to be followed; the range is held, so none comes. */
void mirror_wait_followed(struct mirror *m, uint64_t off, uint64_t bytes);

#endif
