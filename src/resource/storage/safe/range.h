/* range.h - ranges that a strand holds while others of the same disk wait for it.
 *
 * Holders of overlapping ranges exclude each other unless both share.  First come,
 * first served: a waiter is never overtaken by one that overlaps it.  The entry is
 * the holder's own storage, mostly on its stack. */
#ifndef RESOURCE_STORAGE_SAFE_RANGE_H
#define RESOURCE_STORAGE_SAFE_RANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/strand.h"

struct range_hold {
    uint64_t first;
    uint64_t end; /* behind the last */
    bool shares;
    struct strand_queue waiter;
    struct range_hold *next;
};

/* Zeroed: nobody holds anything. */
struct range_lock {
    struct range_hold *first; /* holders and waiters, in the order in which they came */
};

/* In a strand: wait until nobody else excludes [first, end). */
void range_take(struct strand_pool *strands, struct range_lock *lock,
                struct range_hold *hold);

/* The same without waiting: false, and nothing is held, when it would wait. */
bool range_try(struct range_lock *lock, struct range_hold *hold);

void range_give(struct range_lock *lock, struct range_hold *hold);

#endif
