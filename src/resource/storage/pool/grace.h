/* grace.h - waiting until everybody has left who may still use what was taken away.
 *
 * Requests enter and leave without a lock; `grace_wait` returns when all that were inside as
 * it was called have left.  Those that enter meanwhile do not hold it up: there are two
 * counts, and each wait lets the other one begin (the idea of read-copy-update). */
#ifndef RESOURCE_STORAGE_POOL_GRACE_H
#define RESOURCE_STORAGE_POOL_GRACE_H

#include "base/strand.h"

/* Zeroed: nobody is inside. */
struct grace {
    unsigned flight[2];
    unsigned turn;
    struct strand_queue waiter;
    struct strand_lock lock;
};

static inline unsigned grace_enter(struct grace *g)
{
    unsigned k = g->turn & 1;

    g->flight[k]++;
    return k;
}

static inline void grace_leave(struct grace *g, unsigned k)
{
    if (--g->flight[k] == 0 && g->waiter.first != NULL) {
        (void)strand_wake_all(&g->waiter);
    }
}

/* Not by somebody who is inside. */
static inline void grace_wait(struct strand_pool *strands, struct grace *g)
{
    unsigned old;

    strand_lock(strands, &g->lock);
    old = g->turn++ & 1;
    while (g->flight[old] > 0) {
        strand_wait(strands, &g->waiter);
    }
    strand_unlock(&g->lock);
}

#endif
