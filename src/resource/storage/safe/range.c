/* range.c - a list in the order of arrival: whoever has nobody before him that excludes
 * him holds his range. */
#include "resource/storage/safe/range.h"

#include <stddef.h>

static bool excludes(const struct range_hold *a, const struct range_hold *b)
{
    return a->first < b->end && b->first < a->end && !(a->shares && b->shares);
}

static bool may_go(const struct range_lock *lock, const struct range_hold *hold)
{
    for (const struct range_hold *h = lock->first; h != hold; h = h->next) {
        if (excludes(h, hold)) {
            return false;
        }
    }
    return true;
}

static void append(struct range_lock *lock, struct range_hold *hold)
{
    struct range_hold **at = &lock->first;

    while (*at != NULL) {
        at = &(*at)->next;
    }
    hold->next = NULL;
    hold->waiter = (struct strand_queue){NULL, NULL};
    *at = hold;
}

static void remove_hold(struct range_lock *lock, struct range_hold *hold)
{
    struct range_hold **at = &lock->first;

    while (*at != hold) {
        at = &(*at)->next;
    }
    *at = hold->next;
}

void range_take(struct strand_pool *strands, struct range_lock *lock,
                struct range_hold *hold)
{
    append(lock, hold);
    while (!may_go(lock, hold)) {
        strand_wait(strands, &hold->waiter);
    }
}

bool range_try(struct range_lock *lock, struct range_hold *hold)
{
    append(lock, hold);
    if (!may_go(lock, hold)) {
        remove_hold(lock, hold);
        return false;
    }
    return true;
}

/* Whoever is woken may give his own range at once: the list is looked at anew. */
void range_give(struct range_lock *lock, struct range_hold *hold)
{
    struct range_hold *h;

    remove_hold(lock, hold);
    do {
        h = lock->first;
        while (h != NULL && (h->waiter.first == NULL || !may_go(lock, h))) {
            h = h->next;
        }
        if (h != NULL) {
            (void)strand_wake(&h->waiter);
        }
    } while (h != NULL);
}
