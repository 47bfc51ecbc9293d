/* strand.h - functions that can stop in the middle and go on later (coroutines).
 *
 * A strand runs a function on a stack of its own.  `strand_suspend` gives the
 * processor back to whoever started or resumed it; `strand_resume` lets it go on
 * behind the suspend.  Code that waits for a disk or a socket so reads as if it
 * blocked, while its thread serves others.
 *
 * Threads: a pool and its strands belong to one thread; nothing here locks.
 * A strand that waits holds memory and nothing else: it never migrates. */
#ifndef BASE_STRAND_H
#define BASE_STRAND_H

#include <stdbool.h>
#include <stddef.h>

struct strand;
struct strand_pool;

int strand_pool_create(struct strand_pool **ret_pool);

/* No strand of the pool may be running or waiting.  NULL is allowed. */
void strand_pool_destroy(struct strand_pool *pool);

/* Run fn(arg) on a new stack; returns when it returned or suspended first.
 * May be called from inside a strand.  -ENOMEM: fn was not called. */
int strand_start(struct strand_pool *pool, void (*fn)(void *arg), void *arg);

/* The strand that runs now; NULL outside of any. */
struct strand *strand_current(const struct strand_pool *pool);

/* Stop here until `strand_resume`.  Only inside a strand. */
void strand_suspend(struct strand_pool *pool);

/* Go on with a strand that is suspended; returns when it returned or suspended
 * again.  May be called from inside another strand. */
void strand_resume(struct strand *s);

/* Strands that were started and have not returned. */
unsigned strand_count(const struct strand_pool *pool);

/* A queue of strands that wait for the same event, first come, first served.
 * Zeroed: nobody waits. */
struct strand_queue {
    struct strand *first;
    struct strand *last;
};

/* Suspend the current strand in the queue until somebody wakes it. */
void strand_wait(struct strand_pool *pool, struct strand_queue *q);

/* Resume the first one, or everyone who waits at this moment.  False: nobody
 * waited. */
bool strand_wake(struct strand_queue *q);
bool strand_wake_all(struct strand_queue *q);

/* A lock that a strand may hold while it is suspended.  Zeroed: free. */
struct strand_lock {
    struct strand_queue waiters;
    bool held;
};

void strand_lock(struct strand_pool *pool, struct strand_lock *lock);
void strand_unlock(struct strand_lock *lock);

#endif
